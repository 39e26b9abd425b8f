"""How every command of this project ends: with an exit code, and with one line if it failed."""

import errno
import os
import signal
import sys
from argparse import ArgumentError
from collections.abc import Callable
from types import FrameType

from framework.errors import UserError

USER_ERROR, BROKEN_PIPE = 2, 128 + signal.SIGPIPE
_DISK_ERRNOS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT,
    errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip
TORCHVISION_MISMATCH = (
    "torchvision was built for another torch: a CPU-only torch and the index's torchvision do not "
    "fit together; install both in one go: pip install --force-reinstall torch torchvision"
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where the program is.

    It is a `KeyboardInterrupt`, so whatever keeps its work on Ctrl-C keeps it here too.
    """


def run(main: Callable[[], None], catch_sigterm: bool = True) -> int:
    """Run `main` and turn the way it ends into an exit code.

    Args:
        main: The command. It raises `UserError` for the user's mistakes.
        catch_sigterm: Turn SIGTERM into `Terminated` inside `main`. A command that handles the
            signal itself (training: it finishes its step first) passes False.

    Returns:
        0 done; 2 a mistake of the user's, told in one line on stderr; 130 Ctrl-C; 143 SIGTERM;
        141 nobody reads the output any more; or what `main` passed to `sys.exit`.
        Anything else is a fault of the program and keeps its traceback.
    """
    previous = signal.signal(signal.SIGTERM, _raise_terminated) if catch_sigterm else None
    try:
        main()
        sys.stdout.flush()
        return 0
    except SystemExit as stop:
        return _code_of(stop)
    except BrokenPipeError:
        # Python flushes stdout once more on its way out and would complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt as stop:
        return interrupted_code(stop)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return USER_ERROR
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def interrupted_code(stop: KeyboardInterrupt) -> int:
    """Return the shell's exit code for an interruption: 143 for SIGTERM, 130 for Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def explain(error: Exception) -> str | None:
    """Return the one line that tells the user what to do, or None if the program is at fault."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError | ArgumentError):
        return text
    if isinstance(error, OSError) and error.errno in _DISK_ERRNOS and error.filename:
        return f"{error.filename}: {error.strerror}"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return (
            "out of GPU memory: use the CPU (--device cpu; train.py: --trainer.accelerator cpu), "
            "a smaller model, or free the GPU"
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return "out of memory: end other programs, or ask for fewer or smaller pictures at once"
    if isinstance(error, RuntimeError) and "operator torchvision::" in text:
        return TORCHVISION_MISMATCH
    if isinstance(error, ImportError) and error.name in {"torch", "torchvision", "wandb"}:
        return f"{error.name} is not installed: run `make demo` or `pip install -e .`"
    return None


def _raise_terminated(_signum: int, _frame: FrameType | None) -> None:
    raise Terminated


def _code_of(stop: SystemExit) -> int:
    """Give what `sys.exit` was called with the meaning it has for the shell."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(f"error: {stop.code}", file=sys.stderr)
    return USER_ERROR
