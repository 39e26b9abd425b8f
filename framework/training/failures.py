"""Torch's failures of memory, processes and ports, put into one line each."""

import errno
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from framework.errors import UserError

# Host memory: torch's allocator, numpy's. GPU memory that is not torch's own: cuBLAS, cuDNN, NCCL.
# oneDNN's words are the third line, those of a machine without more threads the last.
_MEMORY = re.compile(
    r"can'?t allocate memory|unable to allocate|out of memory|not enough memory|bad_alloc|"
    r"could not (create|execute) a |cannot allocate|unable to mmap|_ALLOC_FAILED|"
    r"can't start new thread|resource temporarily unavailable",
    re.IGNORECASE,
)
_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ESTALE, errno.EMFILE,
}  # fmt: skip
_READER = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (.*)", re.DOTALL)
_PORT = re.compile(r"port: (\d+).*EADDRINUSE", re.DOTALL)
_SILENCE = re.compile(r"timed? ?out", re.IGNORECASE)
_LOST = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|remote process exited|socket error|"
    r"^process \d+ (terminated|exited)",
    re.IGNORECASE,
)
_GOES_ON = "the last checkpoint is good, the same command goes on from it"
_FAREWELL_SEC = 2.0


@contextmanager
def failures_in_words(trainer: lightning.Trainer, module: Any, data: Any) -> Iterator[None]:
    """Turn failures of memory and of other processes into a UserError; end processes started here.

    Args:
        trainer: The trainer whose helper processes must not outlive a failure of the first one.
        module: The training module, for its sizes.
        data: The pictures of the run.
    """
    try:
        yield
    except BaseException as error:
        _end_helpers(trainer)
        if not isinstance(error, Exception):
            raise
        words = in_words(error, lambda on_gpu: _advice(trainer, module, data, on_gpu))
        if words is None:
            raise
        raise UserError(words) from error


def in_words(error: Exception, memory_advice: Callable[[bool], str]) -> str | None:
    """Return the line for a failure; None if it is a fault of the program.

    Args:
        error: The exception.
        memory_advice: Function from "is it a GPU's memory?" to advice in words.
    """
    text = str(error)
    if isinstance(error, ProcessRaisedException):
        # Of an error in a process that the trainer started, there is only the printed form.
        kind, _, text = text.strip().splitlines()[-1].partition(": ")
        if kind.startswith("framework."):
            return text
    elif _in_handover(error):  # before torch noticed which reader
        return (
            "a reader of the pictures is gone; if it was for lack of memory, a lower "
            f"--data.workers helps; {_GOES_ON}"
        )
    elif isinstance(error, OSError) and error.errno in _DISK and error.filename:
        return f"{error.filename}: {error.strerror}; {_GOES_ON}"
    elif not isinstance(error, RuntimeError | MemoryError | OSError | ProcessExitedException):
        return None
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _MEMORY.search(text):
        on_gpu = isinstance(error, torch.OutOfMemoryError) or "CU" in text
        return f"out of memory: {memory_advice(on_gpu)}"
    if reader := _READER.search(text):
        how = reader[2].strip().splitlines()[0]
        return (
            f"a reader of the pictures (process {reader[1].strip()}) {how} if it was for lack of "
            f"memory, a lower --data.workers helps; {_GOES_ON}"
        )
    if port := _PORT.search(text):
        return (
            f"MASTER_PORT {port[1]} is taken by another program; set another one, or unset it to "
            "have a free one chosen"
        )
    if _SILENCE.search(text):
        return (
            f"another process of this run did not answer in time ({_first_sentence(text)}); "
            f"{_GOES_ON}"
        )
    if _LOST.search(text):
        return (
            f"another process of this run is gone ({_first_sentence(text)}); its own last "
            f"line says why; {_GOES_ON}"
        )
    return None


def _in_handover(error: Exception) -> bool:
    """Return whether a reader ended while it was handing pictures over."""
    frames = traceback.extract_tb(error.__traceback__)
    files = {Path(frame.filename).name for frame in frames}
    return isinstance(error, EOFError | ConnectionError) and "resource_sharer.py" in files


def _first_sentence(text: str) -> str:
    """Return the beginning of a message of torch, without its source file."""
    return re.sub(r"^\[[^\]]*\]\s*", "", text.strip().splitlines()[0]).split(". ")[0][:160]


def _advice(trainer: lightning.Trainer, module: Any, data: Any, on_gpu: bool) -> str:
    """Describe what a step keeps in memory, and the flags that reduce it."""
    height, width = data.dataset.size
    share = data.share(trainer.world_size)
    at_once = min(module.settings.micro_batch or share, share)
    flags = []
    if at_once > 1:
        smaller = next(n for n in range(at_once // 2, 0, -1) if share % n == 0)
        flags.append(f"--model.micro_batch {smaller}")
    machine = getattr(module.settings, "machine", None)
    if machine is not None and machine.low_precision == "none":
        flags.append("--model.machine.low_precision auto")
    flags.append(f"a smaller {module.settings.flag(module.widths[0])}")
    if not on_gpu and data.cache is None:
        flags.append("--data.cache FOLDER for the pictures")
    return (
        f"a step works on {at_once} pictures of {width}x{height} at once, of a batch of "
        f"{data.batch_size}; try, in this order, {', '.join(flags)}; {_GOES_ON}"
    )


def _end_helpers(trainer: lightning.Trainer) -> None:
    """End the processes that Lightning started from this one, after time for their last words.

    Otherwise one that waits for this process would wait for half an hour.
    """
    launcher = getattr(trainer.strategy, "launcher", None)
    helpers = getattr(launcher, "procs", [])
    end = time.monotonic() + _FAREWELL_SEC
    while any(_is_running(helper) for helper in helpers) and time.monotonic() < end:
        time.sleep(0.05)
    if helpers and launcher is not None:
        launcher.kill(signal.SIGKILL)


def _is_running(helper: Any) -> bool:
    """Return whether a process, of `subprocess` or of `multiprocessing`, is running."""
    return helper.poll() is None if hasattr(helper, "poll") else helper.is_alive()
