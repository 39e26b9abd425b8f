import os
import signal
import subprocess
import sys
from argparse import ArgumentError

import pytest

from framework.command_line import Terminated, run
from framework.errors import UserError


def raising(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no such model"), 2),
        (ArgumentError(None, "bad flag"), 2),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
        (SystemExit(None), 0),
        (SystemExit(7), 7),
        (SystemExit("words"), 2),
        (PermissionError(13, "Permission denied", "/out"), 2),
        (OSError(28, "No space left on device", "/out/x.png"), 2),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 2),
        (MemoryError(), 2),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory\n 4 bytes"), 2),
    ],
)
def test_every_end_has_its_code(error, code, capsys):
    assert run(raising(error)) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if code == 2:
        assert said.startswith("error: ") and said.count("\n") == 1


# B6f
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 5.2 GiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: you tried to allocate 400 bytes. Error"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
        OSError(12, "Cannot allocate memory", "/a/file"),
    ],
)
def test_lack_of_memory_says_so_and_what_to_reduce(error, capsys):
    assert run(raising(error)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory") and said.count("\n") == 1
    assert "smaller model" in said


# B6f
@pytest.mark.parametrize(
    ("code", "words"),
    [(27, "File too large"), (28, "No space left on device"), (122, "quota"), (30, "Read-only"),
     (13, "Permission denied"), (40, "Too many levels of symbolic links"), (36, "File name too"),
     (17, "File exists"), (5, "Input/output error")],
)  # fmt: skip
def test_a_disk_that_refuses_is_a_line_with_the_path(code, words, capsys):
    assert run(raising(OSError(code, os.strerror(code), "/out/\nx.png"))) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: /out/ x.png: ") and words in said and said.count("\n") == 1


def test_names_that_are_no_text_are_printed(capsys):
    assert run(lambda: print("\udcff")) == 0
    assert capsys.readouterr().out == "\\udcff\n"


def test_success_is_zero_and_says_nothing(capsys):
    assert run(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_a_message_of_several_lines_becomes_one(capsys):
    run(raising(UserError("first\n  second\nthird")))
    assert capsys.readouterr().err == "error: first second third\n"


def test_a_fault_of_the_program_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)  # type: ignore[arg-type, return-value]


def test_an_os_error_without_a_file_is_not_the_users():
    with pytest.raises(OSError, match="weird"):
        run(raising(OSError(5, "weird")))


def test_a_torchvision_for_another_torch_is_told_in_one_line(capsys):
    assert run(raising(RuntimeError("operator torchvision::nms does not exist"))) == 2
    assert "pip install" in capsys.readouterr().err


def test_sigterm_lets_the_work_be_kept_and_the_old_handler_returns():
    kept = []
    before = signal.getsignal(signal.SIGTERM)

    def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except KeyboardInterrupt:
            kept.append("work")
            raise

    assert run(main) == 143
    assert kept == ["work"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_may_handle_sigterm_itself():
    before = signal.getsignal(signal.SIGTERM)
    seen = []
    assert run(lambda: seen.append(signal.getsignal(signal.SIGTERM)), catch_sigterm=False) == 0
    assert seen == [before]


def test_a_closed_pipe_ends_quietly():
    program = (
        "import sys; from framework.command_line import run\n"
        "def main():\n    while True: print('x' * 1000)\n"
        "sys.exit(run(main))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=200) == 141
