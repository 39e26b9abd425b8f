"""What a safetensors file claims is looked at before the library reads it."""

import os
import struct

import pytest
import torch
from safetensors.torch import save_file

from framework.drag.edit_file import EditFile
from framework.errors import BrokenCheckpoint, InvalidEdit, UserError
from framework.tensor_files import (
    LONGEST_HEADER,
    contents_digest,
    opened_tensors,
    read_tensors,
    write_tensors,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)}, path, {"who": "me"})
    return path


def test_what_was_written_is_read(path):
    tensors, metadata = read_tensors(path)
    assert metadata == {"who": "me"} and tensors.keys() == {"a", "b"}
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3))


def long_header(path):
    """A file that would be whole, but for the length of its header."""
    header = b"{}" + b" " * LONGEST_HEADER
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def test_a_header_of_more_than_a_megabyte_is_refused_also_of_edits(path):
    with pytest.raises(BrokenCheckpoint, match=r"x.safetensors: not a readable .*a megabyte"):
        read_tensors(long_header(path))
    with pytest.raises(InvalidEdit, match=r"cannot be read as an edit .*a megabyte"):
        EditFile.load(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path, tmp_path / "pipe.safetensors", tmp_path / "missing"):
        with pytest.raises(UserError, match="not a readable safetensors file"):
            read_tensors(path)


def test_size_complaint_and_kind_are_the_callers(path):
    size = path.stat().st_size
    assert read_tensors(path, most_bytes=size)[0]
    with pytest.raises(InvalidEdit, match=f"no edit .{size} bytes; at most"):
        read_tensors(path, complaint="no edit", kind=InvalidEdit, most_bytes=size - 1)


def test_a_tensor_that_is_missing_is_the_callers_complaint(path):
    with (
        pytest.raises(UserError, match=r"holds no latents .*nothing"),
        opened_tensors(path, complaint="holds no latents", kind=UserError) as opened,
    ):
        opened.get_tensor("nothing")


def test_the_digest_is_of_everything_but_itself(path):
    tensors, metadata = read_tensors(path)
    digest = contents_digest(metadata, tensors)
    assert digest == contents_digest({**metadata, "sha256": digest}, tensors)
    others = [
        contents_digest({"who": "you"}, tensors),
        contents_digest(metadata, {"a": tensors["a"]}),
        contents_digest(metadata, {**tensors, "a": tensors["a"].reshape(3, 2)}),
        contents_digest(metadata, {**tensors, "a": tensors["a"].view(torch.int32)}),
        contents_digest(metadata, {"c": tensors["a"], "b": tensors["b"]}),
        contents_digest(metadata, {**tensors, "a": tensors["a"] + 1e-6}),
    ]
    assert len({digest, *others}) == 7


def test_what_was_loaded_does_not_change_with_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(4096)}, path)
    tensors, _ = read_tensors(path)
    content = path.read_bytes()
    with open(path, "r+b") as file:  # in place, as `cp` does it
        file.write(content[:-4096] + bytes(4096))
    assert (tensors["x"] == 1).all()


def test_the_same_contents_are_the_same_bytes(tmp_path):
    """The library writes metadata in another order every time."""
    facts = {f"fact {i}": "é\n\u2028\x7f" for i in range(8)}
    for i in range(6):
        write_tensors(tmp_path / str(i), {"a": torch.arange(3.0)}, facts)
    assert len({(tmp_path / str(i)).read_bytes() for i in range(6)}) == 1
    tensors, metadata = read_tensors(tmp_path / "0")
    assert tensors["a"].tolist() == [0, 1, 2] and metadata.items() >= facts.items()
