"""What strangers send: photographs and edits, stored under names of ours or not at all."""

import io
import os
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image

from framework.errors import UserError
from framework.studio import storage as module
from framework.studio.storage import NoRoom, Storage


def picture(file_format: str = "PNG", size=(40, 30), **how) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(buffer, file_format, **how)
    return buffer.getvalue()


BAD = {
    "nothing": b"",
    "half": picture()[:60],
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "html": b"<!doctype html><title>x.png</title>",
    "script": b"GIF89a/*" + b"*/=1;alert(1)",
    "tiny": picture(size=(3, 3)),
    "model": b"PK\x03\x04" + bytes(100),
    "noise": bytes(range(256)) * 20,
}


# F11
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_photograph_is_refused_and_not_kept(storage, name):
    with pytest.raises(UserError) as refusal:
        storage.photograph(BAD[name])
    assert str(refusal.value).startswith("the photograph") and not list(storage._root.rglob("*.*"))


# F11
def test_a_bomb_is_refused_by_its_head(storage, monkeypatch):
    monkeypatch.setattr(module, "MOST_PIXELS", 1000)
    with pytest.raises(UserError, match="40x30"):
        storage.photograph(picture())


# F12
def test_names_are_ours(storage):
    first, second = storage.photograph(picture()), storage.photograph(picture("JPEG"))
    assert (first.name, second.name) == ("photo.png", "photo.jpg")
    assert first.parent != second.parent and stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    storage.remove(first.parent)
    assert not first.exists() and second.exists()
    storage.remove(second.parent.parent.parent)  # not one of its own
    assert second.exists()


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# F12
@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:x",
        "..",
        ".hidden",
        "x" * 300,
        "é\u202e.png",
        "a\nb",
    ],
)
def test_names_in_a_zip_lead_nowhere(storage, name):
    data = zipped(**{"edit.safetensors": b"x", name: b"y"})
    with pytest.raises(UserError, match="not a zip as the studio saves it"):
        storage.edit(data)
    assert not list(storage._root.rglob("*.*"))


def test_zips_of_other_kinds_are_refused(storage, monkeypatch):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO(zipped(**{"edit.safetensors": b"x"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    many = zipped(**{"edit.safetensors": b""}, **{f"a{i}": b"" for i in range(9)})
    large = io.BytesIO()
    with zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("edit.safetensors", bytes(1000))
    monkeypatch.setattr(module, "_MOST_UNPACKED", 999)
    for bad in (buffer.getvalue(), many, large.getvalue(), zipped(other=b"x"), b"PK\x03\x04"):
        with pytest.raises(UserError, match="not a zip as the studio saves it"):
            storage.edit(bad)


def test_a_zip_of_ours_is_unpacked(storage):
    file = storage.edit(zipped(**{"edit.safetensors": b"x", "photo.inv.safetensors": b"y"}))
    assert file.read_bytes() == b"x"
    assert (file.parent / "photo.inv.safetensors").read_bytes() == b"y"


# F28
def test_there_is_room_for_so_much_and_all_of_it_goes(tmp_path, monkeypatch):
    (tmp_path / "999999999").mkdir()  # of a process that is gone
    (tmp_path / str(os.getppid())).mkdir()
    storage = Storage(tmp_path)
    storage.clean()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getppid())]
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    storage.photograph(picture())
    with pytest.raises(NoRoom):
        storage.photograph(picture(size=(60, 60)))
    storage.close()
    assert not (tmp_path / str(os.getpid())).exists()
