"""What went wrong, said once: every mistake a user can make is a `UserError` of one line."""


class UserError(ValueError):
    """A mistake of the caller's: what, where, what to do, in one line.

    Command lines print the message and exit with code 2; a traceback would help nobody.
    """


class BrokenCheckpoint(UserError):
    """A model or run file that is damaged, incomplete or does not fit its own description."""


class UnsafeCheckpoint(UserError):
    """A model file that asks for code to be run, or that only an unsafe reader could open."""


class InvalidEdit(UserError):
    """A drag that cannot be done as asked: points, mask or latents that do not fit the model."""
