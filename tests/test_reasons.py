"""What is passed on of other libraries' complaints."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.errors import BrokenCheckpoint, reason_of
from framework.files import sha256_file
from framework.formats.run_checkpoint import manifest_path, read_checkpoint

ADVICE = ("weights_only", "safe_globals", "torch.load", "trust", "allow_pickle", "pickle_load")


class Hostile:
    """Asks for a program to be run."""

    def __reduce__(self):
        return print, ("run",)


def complaint(content: bytes) -> Exception:
    """What torch says of a file that it does not read."""
    with pytest.raises(Exception) as caught:
        torch.load(io.BytesIO(content), weights_only=True)
    return caught.value  # pyright: ignore[reportReturnType]


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


# B4f
@pytest.mark.parametrize(
    "content",
    [
        saved(Hostile()),
        saved(np.zeros(3)),
        pickle.dumps(Hostile()),
        pickle.dumps({"a": Path("x")}),
        b"\x80\x04junk" * 9,
        saved({"w": torch.ones(2)})[:200],
        b"",
    ],
)
def test_no_reason_advises_to_read_unsafely(content):
    said = reason_of(complaint(content))
    assert 0 < len(said) <= 200 and "\n" not in said and "\x1b" not in said
    assert not any(word in said for word in ADVICE), said


def test_what_is_asked_for_is_named_and_plain_reasons_stay():
    assert reason_of(complaint(saved(Hostile()))).startswith("it asks for ")
    assert reason_of(ValueError("broken at byte 7. Try --unsafe.")) == "broken at byte 7"
    assert reason_of(EOFError()) == "EOFError"
    stubborn = io.BytesIO()
    np.save(stubborn, np.array([{}]), allow_pickle=True)
    stubborn.seek(0)
    with pytest.raises(ValueError) as caught:
        np.load(stubborn, allow_pickle=False)
    assert "pickle" not in reason_of(caught.value)


# B4f
def test_a_checkpoint_that_would_run_something_is_refused_without_advice(tmp_path):
    path = tmp_path / "run-00000000004.ckpt"
    path.write_bytes(saved({"dragline": {"format": 1}, "x": Hostile()}))
    manifest_path(path).write_text(
        f'{{"sha256": "{sha256_file(path)}", "bytes": {path.stat().st_size}}}'
    )
    with pytest.raises(
        BrokenCheckpoint, match=r"not a readable checkpoint \(it asks for"
    ) as caught:
        read_checkpoint(path)
    assert not any(word in str(caught.value) for word in ADVICE)
