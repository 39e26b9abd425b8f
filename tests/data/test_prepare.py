"""`python -m framework.data`: a report of what is there, a zip that NVIDIA's tools read."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from framework.data import decoded, open_dataset
from framework.data.__main__ import main
from framework.data.duplicates import difference_hash, near_pairs
from framework.data.prepare import prepare
from framework.errors import UserError


@pytest.fixture
def photos(tmp_path, put):
    folder = tmp_path / "photos"
    for index in range(4):
        put(folder / f"k{index % 2}" / f"{index}.png", index, (20, 30))
    put(folder / "k1/2again.png", 1, (20, 30))
    return folder


# H20
def test_the_zip_is_nvidias_layout(photos, tmp_path):
    facts = prepare(photos, tmp_path / "a.zip", 16, labels="folders")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        entries = archive.infolist()
        content = json.loads(archive.read("dataset.json"))
        with archive.open("00000/img00000003.png") as file:
            stored = np.asarray(Image.open(file))
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert {entry.date_time[0] for entry in entries} == {1980}  # or no two zips would be equal
    names = [f"00000/img0000000{index}.png" for index in range(5)]
    assert [entry.filename for entry in entries] == [*names, "dataset.json"]
    labels = [[name, label] for name, label in zip(names, [0, 0, 1, 1, 1], strict=True)]
    assert content == {"labels": labels, "classes": ["k0", "k1"]}
    assert (stored == open_dataset(photos, 16).image(3).transpose(1, 2, 0)).all()
    assert facts["count"] == 5


@pytest.mark.parametrize("labels", [None, [3, 0, 1, 1, 0], [[0.5, 1.0]] * 5])
# H20
def test_labels_of_the_zip_are_those_of_the_label_file(labels, photos, tmp_path):
    names = [f"k0/{i}.png" for i in (0, 2)] + [f"k1/{n}.png" for n in ("1", "2again", "3")]
    if labels is not None:
        listed = {"labels": [list(pair) for pair in zip(names, labels, strict=True)]}
        (photos / "dataset.json").write_text(json.dumps(listed))
    prepare(photos, tmp_path / "a.zip", 16, labels="none" if labels is None else "file")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        content = json.loads(archive.read("dataset.json"))
    assert content["labels"] == (labels and [
        [f"00000/img0000000{i}.png", label] for i, label in enumerate(labels)
    ])  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"crop": "pad"}, {"filter": "box"}, {"channels": 1}])
def test_training_on_the_zip_is_training_on_the_folder(photos, tmp_path, options):
    prepare(photos, tmp_path / "a.zip", (16, 24), **options)
    back = open_dataset(tmp_path / "a.zip", channels=options.get("channels", 3))
    assert (decoded(back) == decoded(open_dataset(photos, (16, 24), **options))).all()


def test_labels_and_class_numbers_survive(photos, tmp_path):
    prepare(photos, tmp_path / "a.zip", 16, labels="folders")
    prepare(tmp_path / "a.zip", tmp_path / "b.zip", 8, labels="file")
    dataset = open_dataset(tmp_path / "b.zip", use_labels=True)
    assert [dataset.label(i).argmax() for i in range(5)] == [0, 0, 1, 1, 1]


def test_the_same_pictures_give_the_same_bytes(photos, tmp_path):
    for name in ("a.zip", "b.zip"):
        prepare(photos, tmp_path / name, 16)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_dedup_keeps_the_first_by_name(photos, tmp_path):
    assert prepare(photos, tmp_path / "a.zip", 16, dedup=True)["count"] == 4
    whole, less = open_dataset(photos, 16), open_dataset(tmp_path / "a.zip")
    kept = [i for i in range(5) if whole.name(i) != "k1/2again.png"]
    assert [whole.name(i) for i in range(5)].index("k1/2again.png") == 3
    # 1.png comes first and stays.
    assert (decoded(less) == decoded(whole)[kept]).all()


def test_an_existing_file_is_never_overwritten(photos, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match="already there"):
        prepare(photos, tmp_path / "a.zip", 16)
    assert (tmp_path / "a.zip").read_bytes() == b"mine"
    with pytest.raises(UserError, match=r"ends in \.zip"):
        prepare(photos, tmp_path / "folder", 16)


def test_a_failure_leaves_nothing_behind(photos, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("framework.data.prepare.png_bytes", full)
    with pytest.raises(UserError, match=r"a.zip: cannot be written \(No space left on device"):
        prepare(photos, tmp_path / "a.zip", 16)
    assert os.listdir(tmp_path) == ["photos"]


def test_bad_files_stop_or_are_left_out(photos, tmp_path):
    (photos / "bad.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 6 files"):
        prepare(photos, tmp_path / "a.zip", 16)
    assert not (tmp_path / "a.zip").exists()
    assert prepare(photos, tmp_path / "a.zip", 16, on_bad="skip")["count"] == 5


# ----------------------------------------------------------------------------------------- inspect


def smooth(seed):
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(cells).resize((96, 96), Image.Resampling.BICUBIC)


# B14
def test_the_report_finds_equal_and_nearly_equal_pictures(tmp_path, capsys):
    for seed in range(6):
        smooth(seed).save(tmp_path / f"{seed}.png")
    smooth(1).save(tmp_path / "copy.bmp")
    smooth(2).save(tmp_path / "encoded.jpg", quality=60)
    smooth(3).resize((64, 64)).save(tmp_path / "small.png")
    (tmp_path / "bad.png").write_bytes(b"")
    main(["inspect", str(tmp_path), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["count"] == 9
    assert report["duplicates"] == 1
    assert report["duplicate_groups"] == [["1.png", "copy.bmp"]]
    assert {(a, b) for a, b, _ in report["near_pairs"]} == {
        ("2.png", "encoded.jpg"),
        ("3.png", "small.png"),
    }
    assert report["unusable"] == [
        {"name": "bad.png", "kind": "empty", "reason": "empty file (0 bytes)"}
    ]
    main(["inspect", str(tmp_path)])
    text = capsys.readouterr().out
    for words in (
        "9 of 10 pictures can be used",
        "96x96 (8), 64x64 (1)",
        "PNG (7), BMP (1), JPEG (1)",
        "1.png = copy.bmp",
        "2.png ~ encoded.jpg",
        "bad.png: empty file (0 bytes)",
    ):
        assert words in text


def test_the_hash_tells_pictures_apart_and_knows_them_again():
    hashes = [difference_hash(np.asarray(smooth(seed))) for seed in range(30)]
    assert {len(value) for value in hashes} == {16}
    names = [str(index) for index in range(30)]
    assert near_pairs(names, hashes) == []
    assert near_pairs([*names, "7 again"], [*hashes, hashes[7]]) == [("7", "7 again", 0)]
    assert near_pairs([], []) == []


# -------------------------------------------------------------------------------------------- main


def command(*words, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "framework.data", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, **options)


def test_the_command_makes_a_data_set(photos, tmp_path):
    done = command(
        "prepare", photos, "--out", tmp_path / "a.zip", "--size", "[16,24]", "--on-bad=skip"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 pictures of 24x16, 3 channels\n" in done.stdout
    assert open_dataset(tmp_path / "a.zip").size == (16, 24)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["prepare"],
        ["prepare", "/nowhere", "--out", "x.zip", "--size", "16"],
        ["prepare", ".", "--out", "x.zip", "--crop", "left"],
        ["prepare", ".", "--out", "x.zip", "--size", "big"],
        ["inspect", ".", "--unknown"],
        ["repair"],
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(words, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_lack_of_memory_is_one_line(photos, tmp_path, monkeypatch, capsys):
    """And no picture is taken for damaged."""

    def load(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", load)
    monkeypatch.setattr(PngImageFile, "load", load)
    out = str(tmp_path / "a.zip")
    for words in (["inspect", str(photos)], ["prepare", str(photos), "--out", out, "--size", "8"]):
        assert main(words) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
        assert said.err.startswith("error: out of memory: ")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_interruption_is_130(monkeypatch):
    monkeypatch.setattr("framework.data.__main__.build_parser", raising(KeyboardInterrupt()))
    assert main(["inspect", "."]) == 130


def raising(error: BaseException):
    def build():
        raise error

    return build


@pytest.mark.parametrize(
    "words", [[], ["inspect"], ["prepare"], ["shard"], ["index"], ["captions"]]
)
def test_help_shows_two_commands_and_needs_no_torch(words, capsys):
    assert main([*words, "--help"]) == 0
    assert capsys.readouterr().out.count("  python -m framework.data ") == 2


def test_nothing_here_loads_torch():
    code = "import framework.data.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
# B21
def test_a_hundred_thousand_files_are_scanned_in_little_memory(tmp_path, put):
    data = put(tmp_path / "first.png", size=(8, 8)).read_bytes()
    for index in range(100):
        (tmp_path / f"{index:03d}").mkdir()
        for number in range(1000):
            (tmp_path / f"{index:03d}/{number:03d}.png").write_bytes(data)
    code = (
        "import resource; from framework.data import open_dataset;"
        f"count = len(open_dataset({str(tmp_path)!r}));"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(count, used.ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, kilobytes = map(float, done.stdout.split())
    assert count == 100_001
    assert kilobytes < 300_000
