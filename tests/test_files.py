"""Files are whole or absent, their permissions the user's own; new folders are new."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.files import new_folder, sha256_file, whole_file, write_text


@pytest.fixture
def umask():
    """Set the umask for one test."""
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_text_arrives_whole(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    write_text(path, "other")
    assert path.read_text() == "other"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_no_part(tmp_path, error):
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as temporary:
        temporary.write_text("half of the new")
        assert path.read_text() == "old"
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_before_the_first_byte_is_the_error_that_is_seen(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a"):
        raise ZeroDivisionError
    assert not any(tmp_path.iterdir())


def test_a_body_that_writes_nothing_makes_no_file(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a"):
        pass
    assert not any(tmp_path.iterdir())


def test_the_part_lies_beside_the_target_and_keeps_its_suffix(tmp_path):
    with whole_file(tmp_path / "clip.mp4") as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".mp4"
        assert temporary.name.startswith(".") and not temporary.exists()
        temporary.touch()


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, sys; from framework.files import whole_file\n"
        "with whole_file(sys.argv[1]) as part:\n"
        "    part.write_text('new'); os._exit(9)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root)
    assert done.returncode == 9 and path.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mask, expected):
    umask(mask)
    path = tmp_path / "a"
    with whole_file(path) as temporary:
        temporary.touch(mode=0o600)  # as safetensors does
    assert mode(path) == expected


def test_digest(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"dragline" * 99_999)
    assert sha256_file(path) == hashlib.sha256(b"dragline" * 99_999).hexdigest()


def test_new_folders(tmp_path):
    folder = new_folder(tmp_path / "a" / "b")
    assert folder.is_dir() and new_folder(folder) == folder  # empty is as good as new


def test_used_folders_and_files_are_refused(tmp_path):
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path, "already holds"), (tmp_path / "file", "is a file")):
        with pytest.raises(UserError, match=reason) as caught:
            new_folder(path, field="--to")
        assert str(caught.value).startswith(f"--to {path}") and "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# F3f
def test_a_new_file_replaces_the_old_one_and_is_never_a_copy(tmp_path):
    """Whoever has the old file open goes on reading it: no byte was written over."""
    path = tmp_path / "a"
    path.write_text("old")
    with open(path) as reader:
        with whole_file(path) as temporary:
            temporary.write_text("new")
            inode = temporary.stat().st_ino
        assert reader.read() == "old"
    assert path.stat().st_ino == inode and path.read_text() == "new"


# F4f
def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    """After a power cut there is the old file or the new one, never an empty one."""
    order = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle):
        order.append(("sync", os.fstat(handle).st_ino))
        real_sync(handle)

    def replace(source, target):
        order.append(("replace", os.stat(source).st_ino))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_text(tmp_path / "a", "new")
    file, folder = (p.stat().st_ino for p in (tmp_path / "a", tmp_path))
    assert order == [("sync", file), ("replace", file), ("sync", folder)]
