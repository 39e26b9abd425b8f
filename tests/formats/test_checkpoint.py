"""Run checkpoints: damage is noticed, nothing inside is run, the newest whole one is found."""

import json
import os
import stat

import pytest
import torch

from framework.errors import BrokenCheckpoint
from framework.formats import run_checkpoint as checkpoints
from framework.formats.run_checkpoint import (
    FORMAT_VERSION,
    checkpoint_path,
    is_whole,
    latest_whole,
    manifest_path,
    newest_first,
    prune,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)


@pytest.fixture
def content():
    return {
        "dragline": {"format": FORMAT_VERSION, "seen_images": 7},
        "state_dict": {"a": torch.arange(500.0), "b": torch.tensor(2)},
    }


@pytest.fixture
def saved(tmp_path, content):
    path = checkpoint_path(tmp_path, 7)
    write_checkpoint(content, path)
    return path


def refusal(path):
    """The one line that `path` is refused with; it names the file."""
    with pytest.raises(BrokenCheckpoint) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def vouch(path):
    """Give `path` a manifest that fits, as if it had been written so."""
    facts = {"sha256": checkpoints.sha256_file(path), "bytes": path.stat().st_size}
    manifest_path(path).write_text(json.dumps(facts))


def test_round_trip(saved, content):
    held = read_checkpoint(saved)
    assert held["dragline"] == content["dragline"]
    for name, tensor in content["state_dict"].items():
        assert torch.equal(held["state_dict"][name], tensor)
    assert sorted(p.name for p in saved.parent.iterdir()) == [
        "run-00000000007.ckpt", "run-00000000007.json",
    ]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_are_those_of_any_file(saved):
    plain = saved.with_name("plain")
    plain.touch()
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (plain, saved, manifest_path(saved))}
    assert len(modes) == 1


@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.99])
def test_any_flipped_bit_is_noticed(saved, share):
    flip(saved, int(share * saved.stat().st_size))
    assert not is_whole(saved)
    assert "damaged" in refusal(saved)


@pytest.mark.parametrize("left", [0, 10, 400])
def test_truncation_is_noticed(saved, left):
    os.truncate(saved, left)
    assert "damaged" in refusal(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 3, "bytes": "x"}'])
def test_a_damaged_manifest_vouches_for_nothing(saved, text):
    manifest_path(saved).write_text(text)
    assert "manifest" in refusal(saved)


def test_a_missing_manifest_or_file(saved):
    manifest_path(saved).unlink()
    assert not is_whole(saved)
    assert "manifest" in refusal(saved)
    assert "no such checkpoint" in refusal(saved.with_name("other.ckpt"))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# H12
def test_code_inside_is_not_run(tmp_path, saved, content):
    torch.save(content | {"extra": Evil(tmp_path / "run")}, saved)
    vouch(saved)
    assert "not a readable checkpoint" in refusal(saved)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04" + b"\0" * 60])
def test_other_files_are_not_checkpoints(saved, data):
    saved.write_bytes(data)
    vouch(saved)
    assert "not a readable checkpoint" in refusal(saved)


@pytest.mark.parametrize(
    "content", [[1, 2], {"state_dict": {}}, {"dragline": 3}, {"dragline": {"format": "1"}}, "text"]
)
def test_checkpoints_of_others_are_refused(saved, content):
    torch.save(content, saved)
    vouch(saved)
    assert "not a run checkpoint" in refusal(saved)


# A17
def test_a_newer_format_is_refused(saved, content):
    content["dragline"]["format"] = FORMAT_VERSION + 1
    write_checkpoint(content, saved)
    assert "update" in refusal(saved)


def test_a_failed_write_keeps_the_old_checkpoint(saved, content, monkeypatch):
    def fails(_checkpoint, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(content, saved)
    assert read_checkpoint(saved)["dragline"]["seen_images"] == 7
    assert len(list(saved.parent.iterdir())) == 2


def test_the_newest_whole_checkpoint_is_found(tmp_path, content):
    assert latest_whole(tmp_path) is None
    paths = {}
    for seen in (9, 10, 200, 3000):
        paths[seen] = checkpoint_path(tmp_path, seen)
        write_checkpoint(content, paths[seen])
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert list(newest_first(tmp_path)) == [paths[s] for s in (3000, 200, 10, 9)]
    assert latest_whole(tmp_path) == paths[3000]
    flip(paths[3000], 50)
    manifest_path(paths[200]).unlink()
    assert latest_whole(tmp_path) == paths[10]


def test_pruning_keeps_the_newest(tmp_path, content):
    paths = [checkpoint_path(tmp_path, seen) for seen in (1, 2, 3)]
    for path in paths:
        write_checkpoint(content, path)
    prune(tmp_path, keep=1)
    assert list(newest_first(tmp_path)) == paths[2:]
    assert not manifest_path(paths[0]).exists()
    remove_checkpoint(paths[2])
    remove_checkpoint(paths[2])  # gone already is as good
    assert not any((tmp_path / "checkpoints").iterdir())
