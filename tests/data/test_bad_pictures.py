"""One folder with every picture that people have trouble with, from the scan to the training.

Rows B1-B21 of docs/reliability.md. What decoding does with each kind is tested in
tests/media/test_images.py; here they lie side by side, and one spoils nothing for the others.
"""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from framework.data import decoded, mapped, open_dataset
from framework.data.inspect import inspect
from framework.data.prepare import prepare
from tests.training.processes import finish, fit, start

SIDE = 16


def noise(seed: int = 0, height: int = SIDE, width: int = SIDE) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file(noise(), exif=exif)


def animated() -> bytes:
    return file(noise(1), "GIF", save_all=True, append_images=[noise(2), noise(3)])


def transparent_red() -> bytes:
    """A black corner, and red that nobody should see."""
    image = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    return file(image)


def white_cmyk() -> bytes:
    return file(Image.new("CMYK", (SIDE, SIDE), (0, 0, 0, 0)), "JPEG", quality=100)


def deep_grey() -> bytes:
    return file(Image.fromarray(np.full((SIDE, SIDE), 200 * 257, np.uint16)))


def large_metadata() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 5_000_000)
    return file(noise(4), pnginfo=info, icc_profile=b"not a profile")


def huge() -> bytes:
    """Says that it has 20000x20000 pixels, in 69 bytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    )  # fmt: skip


# row, name, content, and what an `inspect` must say about it: a kind of refusal, a note, or nothing
USABLE: list[tuple[str, bytes, Callable[[], bytes], str | None]] = [
    ("B2", b"png.jpg", lambda: file(noise(5)), "PNG under another suffix"),
    ("B4", b"cmyk.jpg", white_cmyk, "CMYK converted"),
    ("B5", b"deep.png", deep_grey, "16-bit grey scaled to 8"),
    *((f"B6 {n}", b"turned%d.png" % n, lambda n=n: turned(n), "rotated by EXIF") for n in (3, 6)),
    ("B7", b"moving.gif", animated, "several frames, the first is used"),
    ("B8", b"hidden.png", transparent_red, "transparency laid on white"),
    ("B9", b"grey.png", lambda: file(Image.new("L", (SIDE, SIDE), 90)), None),
    ("B10", b"wide.png", lambda: file(noise(6, 30, 40)), None),
    ("B11", b"small.png", lambda: file(noise(7, 10, 10)), None),
    ("B12 line", b"two\nlines.png", lambda: file(noise(8)), None),
    ("B12 bytes", b"\xff.png", lambda: file(noise(9)), None),
    ("B12 flag", b"-rf.png", lambda: file(noise(10)), None),
    ("B14", b"turned1.png", lambda: turned(1), None),
    ("B14 again", b"zz again.png", lambda: turned(1), None),
    ("B18", b"metadata.png", large_metadata, None),
]
REFUSED: list[tuple[str, bytes, Callable[[], bytes], str]] = [
    ("B1 empty", b"empty.jpg", lambda: b"", "empty"),
    ("B1 page", b"page.jpg", lambda: b"<!DOCTYPE html><html>404</html>", "not an image"),
    ("B1 LFS", b"lfs.jpg", lambda: b"version https://git-lfs.github.com/spec/v1\n", "not an image"),
    ("B1 cut", b"cut.jpg", lambda: file(noise(0, 64, 64), "JPEG", quality=95)[:-200], "truncated"),
    ("B3 claims", b"huge.png", huge, "too large"),
    ("B3 bomb", b"bomb.png", lambda: file(Image.new("1", (8000, 8000))), "too large"),
    ("B10 line", b"line.png", lambda: file(Image.new("RGB", (1000, 1))), "too small"),
    ("B10 dot", b"dot.png", lambda: file(Image.new("RGB", (1, 1))), "too small"),
]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, and what B13 adds: links, loops and a pipe."""
    folder = tmp_path_factory.mktemp("zoo") / "photos"
    folder.mkdir()
    for _, name, content, _ in [*USABLE, *REFUSED]:
        (folder / os.fsdecode(name)).write_bytes(content())
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "pipe.png")
    return folder


LINKS = {"loop": "unreadable", "dangling.png": "unreadable", "pipe.png": "unreadable"}


def shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace").replace("\n", r"\n")


def test_every_specimen_is_reported_for_what_it_is(zoo):
    """B1-B14, B18: the report is JSON, names all refusals, and counts the rest."""
    report = json.loads(json.dumps(inspect(zoo), ensure_ascii=False).encode())
    expected = {shown(name): kind for _, name, _, kind in REFUSED} | LINKS
    assert {item["name"]: item["kind"] for item in report["unusable"]} == expected
    assert report["count"] == len(USABLE)
    notes = [note for _, _, _, note in USABLE if note]
    assert report["notes"] == {note: notes.count(note) for note in notes}


def test_what_can_be_used_comes_out_as_it_should(zoo):
    """B4-B8, B11, B14: white is white, 16 bits scale, turned ones stand, hidden stays hidden."""
    dataset = open_dataset(zoo, SIDE, on_bad="skip")
    at = {dataset.name(i): dataset.image(i).transpose(1, 2, 0) for i in range(len(dataset))}
    assert sorted(at) == sorted(shown(name) for _, name, _, _ in USABLE)
    upright = np.asarray(noise())
    assert (at["cmyk.jpg"] >= 253).all()
    assert (at["deep.png"] == 200).all()
    assert (at["turned3.png"] == upright[::-1, ::-1]).all()
    assert (at["turned6.png"] == np.rot90(upright, -1)).all()
    assert (at["hidden.png"][0, 0] == 0).all() and (at["hidden.png"][1:] == 255).all()
    assert (at["grey.png"] == 90).all()
    facts = dataset.facts()
    assert (facts["duplicates"], facts["upscaled"]) == (1, 1)
    assert len(open_dataset(zoo, SIDE, on_bad="skip", dedup=True)) == len(USABLE) - 1


def test_a_zip_is_made_of_what_can_be_used(zoo, tmp_path):
    """B1-B14: `prepare` leaves out, counts and goes on; odd names are gone from the zip."""
    facts = prepare(zoo, tmp_path / "a.zip", SIDE, on_bad="skip")
    assert facts["count"] == len(USABLE) and len(facts["unusable"]) == len(REFUSED) + len(LINKS)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert len(archive.namelist()) == len(USABLE) + 1
    again = decoded(open_dataset(tmp_path / "a.zip"))
    assert (again == decoded(open_dataset(zoo, SIDE, on_bad="skip"))).all()


def test_a_training_names_them_all_or_leaves_them_out(zoo, tmp_path):
    """B1-B14: told before anything is written; with `skip` the rest trains."""
    log, run_dir = tmp_path / "log", tmp_path / "run"
    args = fit(run_dir, "--data.source", str(zoo), "--run.kimg", "0.008")
    assert finish(start(args, log), 60) == 2
    line = log.read_text()
    total = len(USABLE) + len(REFUSED) + len(LINKS)
    bad = len(REFUSED) + len(LINKS)
    assert line.startswith("error: ") and line.count("\n") == 1
    assert f"{bad} of {total} files cannot be used" in line and "bomb.png (8000x8000" in line
    assert not run_dir.exists()
    assert finish(start([*args, "--data.on_bad", "skip"], log), 60) == 0
    assert f"on {len(USABLE)} pictures of" in log.read_text()


def test_bombs_take_no_memory(tmp_path):
    """B3: 1.2 GB and 64 MB of pixels, never decoded."""
    (tmp_path / "huge.png").write_bytes(huge())
    (tmp_path / "bomb.png").write_bytes(file(Image.new("1", (8000, 8000))))
    code = (
        "import resource, sys; from framework.data.inspect import inspect;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        f"before = peak(); found = inspect({str(tmp_path)!r});"
        "print(len(found['unusable']), peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unusable, kilobytes = map(int, done.stdout.split())
    assert unusable == 2 and kilobytes < 50_000


def test_a_cache_of_older_pictures_is_not_taken_for_todays(tmp_path, put):
    """B20: known by the data set's fingerprint."""
    source, cache = tmp_path / "photos", tmp_path / "cache"
    for i in range(3):
        put(source / f"{i}.png", i)
    old = np.array(mapped(open_dataset(source), cache))
    put(source / "1.png", 7)
    new = mapped(open_dataset(source), cache)
    assert (new[[0, 2]] == old[[0, 2]]).all() and (new[1] != old[1]).any()
    assert (new == decoded(open_dataset(source))).all()


KEPT = """
import sys, tracemalloc
from framework.data import open_dataset
open_dataset(sys.argv[1])  # whatever is loaded once
tracemalloc.start()
dataset = open_dataset(sys.argv[1])
print(len(dataset), tracemalloc.get_traced_memory()[0])
"""


def test_a_scan_keeps_little_of_each_file(tmp_path, put):
    """B21, in small: at 3 kB a file, a hundred thousand take 300 MB. The whole: test_prepare.py.

    Measured in a process of its own, where nobody else allocates.
    """
    data, count = put(tmp_path / "0.png", size=(8, 8)).read_bytes(), 600
    for i in range(1, count):
        (tmp_path / f"{i:04d}.png").write_bytes(data)
    command = [sys.executable, "-c", KEPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, kept = map(int, done.stdout.split())
    assert found == count
    assert 0 < kept / count < 3000
