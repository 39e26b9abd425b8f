"""What went wrong, said once: every mistake a user can make is a `UserError` of one line."""


class UserError(ValueError):
    """A mistake of the caller's: what, where, what to do, in one line.

    Command lines print the message and exit with code 2; a traceback would help nobody. Line
    breaks become spaces, and what would move a cursor or turn the writing around is shown as an
    escape: messages quote files that strangers made.
    """

    def __str__(self) -> str:
        line = " ".join(super().__str__().splitlines())
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class BrokenCheckpoint(UserError):
    """A model or run file that is damaged, incomplete or does not fit its own description."""


class UnsafeCheckpoint(UserError):
    """A model file that asks for code to be run, or that only an unsafe reader could open."""


class InvalidEdit(UserError):
    """A drag that cannot be done as asked: points, mask or latents that do not fit the model."""
