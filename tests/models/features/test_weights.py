"""Published weights: where they are looked for, what is refused, what is read of them."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.files import sha256_file
from framework.models.features import weights
from framework.models.features.weights import INCEPTION, find_weights, read_weights

pytestmark = pytest.mark.usefixtures("bare")


@pytest.fixture
def known_file(tmp_path, monkeypatch) -> Path:
    """A file that is taken for VGG16's."""
    path = tmp_path / "weights" / weights.VGG16.file
    path.parent.mkdir()
    path.write_bytes(b"the field's weights")
    known = replace(weights.VGG16, sha256=sha256_file(path))
    monkeypatch.setattr(weights, "KNOWN", (INCEPTION, known))
    monkeypatch.setattr(weights, "VGG16", known)
    return path


def test_weights_are_found_where_they_are_said_to_be(known_file):
    known = weights.VGG16
    assert find_weights(known, known_file) == known_file
    assert find_weights(known, known_file.parent) == known_file
    assert find_weights(known) is None


def test_weights_are_found_in_the_folder_of_the_variable_and_in_the_cache(
    known_file, bare, monkeypatch
):
    known = weights.VGG16
    monkeypatch.setenv("DRAGLINE_WEIGHTS", str(known_file.parent))
    assert find_weights(known) == known_file
    monkeypatch.delenv("DRAGLINE_WEIGHTS")
    bare.mkdir(parents=True)
    moved = known_file.rename(bare / known_file.name)
    assert find_weights(known) == moved


def test_a_file_of_other_weights_is_refused(known_file):
    other = known_file.with_name("other.pth")
    other.write_bytes(b"somebody's weights")
    with pytest.raises(UserError, match=r"--metrics\.weights .*other\.pth: its SHA-256 begins"):
        find_weights(weights.VGG16, other)
    with pytest.raises(UserError, match="no such file or folder"):
        find_weights(weights.VGG16, "/nowhere")
    assert find_weights(INCEPTION, known_file) is None  # another known file is no mistake


def test_a_damaged_file_is_refused(known_file):
    known_file.write_bytes(b"the field's weigh")
    with pytest.raises(UserError, match="damaged or another file"):
        find_weights(weights.VGG16, known_file.parent)


def test_nothing_is_fetched_unless_allowed(known_file, bare, monkeypatch):
    asked = []

    def fetch(url: str, target: str, digest: str, progress: bool) -> None:
        asked.append((url, digest))
        Path(target).write_bytes(b"x")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    known = weights.VGG16
    assert find_weights(known) is None and not asked
    assert find_weights(known, allow_download=True) == bare / known.file
    assert asked == [(known.url, known.sha256)]


def test_a_download_that_fails_is_one_line(known_file):
    with pytest.raises(UserError, match=r"not fetched \(.*\); fetch it elsewhere \(553 MB\)"):
        find_weights(weights.VGG16, allow_download=True)


def test_what_is_published_is_known_by_its_digest():
    for known in weights.KNOWN:
        if known.file.endswith(".pth"):  # torch's own names tell it, XFeat's does not
            assert known.sha256.startswith(known.file.split("-")[-1].removesuffix(".pth"))
        assert len(known.sha256) == 64
        assert known.url.endswith(known.file) if known.url else known.package


def test_what_is_said_names_the_flag_of_the_caller(known_file):
    other = known_file.with_name("other.pth")
    other.write_bytes(b"somebody's weights")
    for place in (other, "/nowhere"):
        with pytest.raises(UserError, match=r"^--perceptual-weights "):
            find_weights(weights.VGG16, place, flag="--perceptual-weights")
    with pytest.raises(UserError, match=r"folder with --perceptual-weights$"):
        find_weights(weights.VGG16, None, True, "--perceptual-weights")


# --- reading ---------------------------------------------------------------------------------

TENSORS = {"features.0.weight": torch.arange(6.0).reshape(2, 3)}


def test_weights_of_every_age_are_read(tmp_path):
    torch.save(TENSORS, tmp_path / "new.pth")
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(TENSORS, tmp_path / "other.safetensors")
    for path in tmp_path.glob("*.*"):
        assert torch.equal(read_weights(path)["features.0.weight"], TENSORS["features.0.weight"])
    assert len(list(tmp_path.glob("*.*"))) == 3


class Danger:
    """Unpickled, it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["junk.pth", "empty.pth", "cut.pth", "junk.safetensors"])
def test_files_that_are_none_are_one_line(tmp_path, name):
    torch.save(TENSORS, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    bytes_of = {"junk": b"junk" * 99, "empty": b"", "cut": whole[: len(whole) // 2]}
    path = tmp_path / name
    path.write_bytes(bytes_of[path.stem])
    with pytest.raises(BrokenCheckpoint, match=f"{name}: no file of weights"):
        read_weights(path)


def test_a_file_that_would_run_something_runs_nothing(tmp_path):
    path, made = tmp_path / "danger.pth", tmp_path / "made"
    path.write_bytes(pickle.dumps({"a": Danger(made)}, protocol=2))
    with pytest.raises(BrokenCheckpoint):
        read_weights(path)
    torch.save({"a": Danger(made)}, path)
    with pytest.raises(BrokenCheckpoint):
        read_weights(path)
    assert not made.exists()


def test_a_file_of_more_than_tensors_is_no_state_dict(tmp_path):
    torch.save({"state_dict": TENSORS, "epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(BrokenCheckpoint, match="more than tensors"):
        read_weights(tmp_path / "x.pth")
