"""Folders and toy cars as data sets: what is used, what is refused, and in which words."""

import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image, features

from framework.data import decoded, open_dataset
from framework.data.fit import MAX_SIDE_PX, fit, size_pair
from framework.errors import UserError


def names(dataset):
    return [dataset.name(index) for index in range(len(dataset))]


def bad_folder(tmp_path, put):
    for index in range(5):
        put(tmp_path / f"good{index}.png", index)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1\n")
    whole = put(tmp_path / "cut.jpg", 1, (64, 64), quality=95).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:-200])
    return tmp_path


def test_pictures_of_all_kinds_and_depths_come_out_equal(tmp_path, put):
    put(tmp_path / "a.png", 0, (20, 30))
    put(tmp_path / "deep/er/b.JPG", 1, (40, 24), format="JPEG")
    Image.new("L", (50, 50), 7).save(tmp_path / "deep/c.bmp")
    (tmp_path / "notes.txt").write_text("mine")
    dataset = open_dataset(tmp_path, (16, 24))
    assert names(dataset) == ["a.png", "deep/c.bmp", "deep/er/b.JPG"]
    assert (dataset.size, dataset.channels, dataset.label_dim) == ((16, 24), 3, 0)
    pixels = decoded(dataset)
    assert (pixels.shape, pixels.dtype) == ((3, 3, 16, 24), np.uint8)
    assert (pixels[1] == 7).all()
    assert all((pixels[i] == dataset.image(i)).all() for i in range(3))
    facts = json.loads(json.dumps(dataset.facts()))
    assert facts["resolutions"] == {"30x20": 1, "50x50": 1, "24x40": 1}
    assert facts["modes"] == {"RGB": 2, "L": 1}
    assert facts["other_files"] == 1


@pytest.mark.parametrize("channels", [1, 3, 4])
# B9
def test_grey_and_colour_mix(tmp_path, put, channels):
    put(tmp_path / "color.png")
    Image.new("L", (16, 16), 90).save(tmp_path / "grey.png")
    dataset = open_dataset(tmp_path, channels=channels)
    assert decoded(dataset).shape == (2, channels, 16, 16)
    assert set(dataset.image(1)[:3].ravel()) == {90}


# B1
def test_bad_files_are_named_with_reasons_in_one_line(tmp_path, put):
    with pytest.raises(UserError) as caught:
        open_dataset(bad_folder(tmp_path, put), 16)
    message = str(caught.value)
    assert "4 of 9 files cannot be used: cut.jpg (truncated" in message
    assert "empty.jpg (empty file (0 bytes))" in message
    assert "page.jpg (an HTML page" in message
    assert "pointer.jpg (a Git-LFS pointer" in message
    assert message.endswith("remove them, or leave them out: on_bad=skip")
    assert "\n" not in message


def test_bad_files_can_be_skipped_and_are_reported(tmp_path, put, caplog):
    dataset = open_dataset(bad_folder(tmp_path, put), 16, on_bad="skip")
    assert names(dataset) == [f"good{index}.png" for index in range(5)]
    assert "4 of 9 files cannot be used: cut.jpg" in caplog.text
    unusable = {item["name"]: item["kind"] for item in dataset.facts()["unusable"]}
    assert unusable == {
        "cut.jpg": "truncated",
        "empty.jpg": "empty",
        "page.jpg": "not an image",
        "pointer.jpg": "not an image",
    }


def test_a_folder_that_is_mostly_bad_is_not_skipped_over(tmp_path, put):
    put(tmp_path / "good.png")
    for index in range(12):
        (tmp_path / f"bad{index:02d}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"12 of 13 .*bad09.png .* and 2 more; more than half"):
        open_dataset(tmp_path, 16, on_bad="skip")


@pytest.mark.parametrize("content", [None, "text.txt", "empty.png"])
# B15
def test_nothing_to_use_is_an_error(tmp_path, content):
    if content:
        (tmp_path / content).write_bytes(b"")
    with pytest.raises(
        UserError, match="none is left" if content == "empty.png" else "no pictures"
    ):
        open_dataset(tmp_path, 16, on_bad="skip")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size 0"),
        ({"size": (8, 8, 3)}, "size"),
        ({"channels": 2}, "channels 2"),
        ({"on_bad": "ignore"}, "on_bad ignore"),
        ({"size": 8, "crop": "left"}, "crop left"),
        ({"size": 8, "filter": "nearest"}, "filter nearest"),
        ({"use_labels": True, "labels": "color"}, "labels color"),
    ],
)
def test_wrong_options_are_named(tmp_path, put, options, words):
    put(tmp_path / "a.png")
    with pytest.raises(UserError, match=words):
        open_dataset(tmp_path, **options)


def test_a_missing_folder_and_a_text_file_are_no_data_sets(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(tmp_path / "none", 16)
    with pytest.raises(UserError, match="neither a folder nor"):
        open_dataset(tmp_path / "a.txt", 16)


# B2
def test_wrong_suffix_is_used_and_noted(tmp_path, put):
    put(tmp_path / "a.jpg", format="PNG")
    put(tmp_path / "b.jpeg", format="JPEG")
    assert open_dataset(tmp_path).facts()["notes"] == {"PNG under another suffix": 1}


def test_several_sizes_need_one_to_be_given(tmp_path, put):
    put(tmp_path / "a.png", 0, (16, 16))
    put(tmp_path / "b.png", 1, (16, 20))
    with pytest.raises(UserError, match=r"2 sizes \(16x16, 20x16"):
        open_dataset(tmp_path)
    (tmp_path / "a.png").unlink()
    assert open_dataset(tmp_path).size == (16, 20)


# B11
def test_small_pictures_are_enlarged_and_counted(tmp_path, put):
    put(tmp_path / "a.png", 0, (10, 40))
    put(tmp_path / "b.png", 1, (20, 20))
    assert open_dataset(tmp_path, 16).facts()["upscaled"] == 1
    assert open_dataset(tmp_path, 16, crop="pad").facts()["upscaled"] == 0


# ------------------------------------------------------------------------------- names and links

ODD_NAMES = [
    "ü 猫 😀.jpg".encode(),
    b"with space.jpg",
    b"new\nline.jpg",
    b"quote'\".jpg",
    b"x" * 251 + b".jpg",
    b"\xff.jpg",
    b"-rf.jpg",
    b"%0d.jpg",
]


# B12
def test_odd_names_are_listed_loaded_and_printed(tmp_path, put, caplog):
    for index, name in enumerate(ODD_NAMES):
        put(tmp_path / "a.jpg", index).rename(tmp_path / os.fsdecode(name))
    (tmp_path / os.fsdecode(b"bad\n\xfe.jpg")).write_bytes(b"")
    dataset = open_dataset(tmp_path, on_bad="skip")
    assert decoded(dataset).shape[0] == len(ODD_NAMES)
    shown = ["ü 猫 😀", "with space", r"new\nline", "quote'\"", "x" * 251, r"\xff", "-rf", "%0d"]
    assert sorted(names(dataset)) == sorted(f"{name}.jpg" for name in shown)
    assert r"bad\n\xfe.jpg (empty file" in caplog.text
    text = json.dumps(dataset.facts(), ensure_ascii=False).encode("utf-8")
    assert json.loads(text)["unusable"][0]["name"] == r"bad\n\xfe.jpg"


# B13
def test_links_pipes_and_loops_neither_hang_nor_lead_out(tmp_path, put):
    outside = put(tmp_path / "outside/secret.png", 9)
    root = tmp_path / "root"
    put(root / "sub/a.png")
    (root / "sub/loop").symlink_to("..")
    (root / "inside.png").symlink_to("sub/a.png")
    (root / "out.png").symlink_to(outside)
    (root / "outfolder").symlink_to(outside.parent)
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "self.png").symlink_to("self.png")
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe")
    with pytest.raises(UserError, match="6 of 8 files cannot be used"):
        open_dataset(root)
    for index in range(4):
        put(root / f"more{index}.png", index)
    dataset = open_dataset(root, on_bad="skip")
    assert names(dataset) == ["inside.png", *(f"more{i}.png" for i in range(4)), "sub/a.png"]
    assert {item["name"]: item["reason"] for item in dataset.facts()["unusable"]} == {
        "dangling.png": "cannot be read (No such file or directory)",
        "out.png": "a link out of the folder; allow with follow_links",
        "outfolder": "a link out of the folder; allow with follow_links",
        "pipe.png": "not a regular file",
        "self.png": "cannot be read (Too many levels of symbolic links)",
        "sub/loop": "a link to a folder that is already read",
    }
    followed = names(open_dataset(root, on_bad="skip", follow_links=True))
    assert {"out.png", "outfolder/secret.png"} < set(followed)


# B13
def test_a_folder_that_cannot_be_read_is_reported(tmp_path, put, monkeypatch):
    put(tmp_path / "a.png")
    put(tmp_path / "locked/b.png")
    list_folder = os.scandir

    def deny(path):  # permissions do not bind root, who may run the tests
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(UserError, match=r"locked \(folder cannot be read \(Permission denied\)\)"):
        open_dataset(tmp_path)


def test_hidden_files_and_the_traces_of_macs_are_no_pictures(tmp_path, put):
    put(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"\0\5\26\7")
    put(tmp_path / "__MACOSX/a.png")
    put(tmp_path / ".cache/a.png")
    assert names(open_dataset(tmp_path)) == ["a.png"]


def test_pictures_in_unread_formats_are_not_silently_left_out(tmp_path, put):
    put(tmp_path / "a.png")
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(UserError, match=r"phone.HEIC \(HEIC, AVIF or video"):
        open_dataset(tmp_path)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
# D5f
def test_pictures_of_phones_and_browsers_are_data(tmp_path, put):
    pillow_heif = pytest.importorskip("pillow_heif")
    put(tmp_path / "a.png")
    picture = Image.open(tmp_path / "a.png").convert("RGB").resize((16, 16))
    picture.save(tmp_path / "b.avif")
    pillow_heif.from_pillow(picture).save(tmp_path / "c.HEIC")
    dataset = open_dataset(tmp_path, 16)
    assert names(dataset) == ["a.png", "b.avif", "c.HEIC"]
    assert dataset.facts()["formats"] == {"PNG": 1, "AVIF": 1, "HEIF": 1}
    assert not [note for note in dataset.facts()["notes"] if "suffix" in note]


# ----------------------------------------------------------------------------- order, fingerprint


# B19
def test_order_and_fingerprint_do_not_depend_on_the_file_system(tmp_path, put):
    order = ["B.png", "a.png", "a/b.png", "é.png"]
    for index, name in enumerate(order):
        put(tmp_path / "one" / name, index)
    for index, name in reversed(list(enumerate(order))):
        put(tmp_path / "two" / name, index)
    os.utime(tmp_path / "two/a.png", (0, 0))
    one, two = open_dataset(tmp_path / "one"), open_dataset(tmp_path / "two")
    assert names(one) == names(two) == order
    assert one.fingerprint == two.fingerprint
    assert len(one.fingerprint) == 64


def test_the_fingerprint_tells_data_and_treatment_apart(tmp_path, put):
    for index in range(3):
        put(tmp_path / f"k{index % 2}/{index}.png", index, (16, 20))
    seen = {
        open_dataset(tmp_path).fingerprint,
        open_dataset(tmp_path, 8).fingerprint,
        open_dataset(tmp_path, 8, crop="pad").fingerprint,
        open_dataset(tmp_path, 8, filter="box").fingerprint,
        open_dataset(tmp_path, 8, channels=1).fingerprint,
        open_dataset(tmp_path, use_labels=True).fingerprint,
    }
    (tmp_path / "k0/0.png").rename(tmp_path / "k0/00.png")
    seen.add(open_dataset(tmp_path).fingerprint)
    put(tmp_path / "k1/1.png", 77, (16, 20))
    seen.add(open_dataset(tmp_path).fingerprint)
    assert len(seen) == 8


@pytest.mark.parametrize("change", ["vanish", "replace"])
# B16
def test_a_file_that_changes_after_the_scan_is_named(tmp_path, put, change):
    path = put(tmp_path / "a.png", 0)
    put(tmp_path / "b.png", 1)
    dataset = open_dataset(tmp_path)
    path.unlink()
    if change == "replace":
        put(path, 5)
    with pytest.raises(UserError, match=r"a.png: .*when|a.png: changed since"):
        decoded(dataset)
    assert dataset.image(1).shape == (3, 16, 16)


# B14
def test_duplicates_are_counted_and_can_be_left_out(tmp_path, put):
    put(tmp_path / "b.png", 1)
    put(tmp_path / "c.bmp", 1)  # other bytes, equal pixels
    put(tmp_path / "a.png", 2)
    shutil.copy(tmp_path / "b.png", tmp_path / "d.png")
    assert open_dataset(tmp_path).facts()["duplicates"] == 2
    assert names(open_dataset(tmp_path, dedup=True)) == ["a.png", "b.png"]


def test_data_sets_travel_to_other_processes(tmp_path, put):
    put(tmp_path / "a.png")
    dataset = open_dataset(tmp_path)
    assert (pickle.loads(pickle.dumps(dataset)).image(0) == dataset.image(0)).all()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert (pool.map(dataset.image, [0])[0] == dataset.image(0)).all()


def test_more_than_the_memory_is_refused_before_it_is_taken(tmp_path, put):
    put(tmp_path / "a.png")
    dataset = open_dataset(tmp_path, 16)
    dataset.size = (2**21, 2**21)
    with pytest.raises(UserError, match="does not fit in memory"):
        decoded(dataset)


def test_progress_is_told(tmp_path, put):
    for index in range(3):
        put(tmp_path / f"{index}.png", index)
    told = []
    dataset = open_dataset(tmp_path, progress=lambda *numbers: told.append(numbers))
    decoded(dataset, lambda *numbers: told.append(numbers))
    assert told == [(1, 3), (2, 3), (3, 3)] * 2


# ------------------------------------------------------------------------------------------ labels


def test_folders_become_classes(tmp_path, put):
    for index, folder in enumerate(["car", "bus", "car"]):
        put(tmp_path / folder / f"{index}.png", index)
    dataset = open_dataset(tmp_path, use_labels=True)
    assert dataset.classes == ("bus", "car")
    assert [dataset.label(i).tolist() for i in range(3)] == [[1, 0], [0, 1], [0, 1]]
    assert dataset.label(0).dtype == np.float32
    put(tmp_path / "loose.png", 5)
    with pytest.raises(UserError, match=r"loose.png lies in no class folder"):
        open_dataset(tmp_path, use_labels=True)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([2, 0], [[0, 0, 1], [1, 0, 0]]), ([[0.5, 1], [0, -2]], [[0.5, 1], [0, -2]])],
)
def test_a_label_file_gives_classes_or_vectors(tmp_path, put, labels, expected):
    content = {
        "labels": [[name, label] for name, label in zip(["k/a.png", "b.png"], labels, strict=True)]
    }
    put(tmp_path / "k/a.png")
    put(tmp_path / "b.png", 1)
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path, use_labels=True)
    assert names(dataset) == ["b.png", "k/a.png"]
    assert [dataset.label(1).tolist(), dataset.label(0).tolist()] == expected
    assert open_dataset(tmp_path).label_dim == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected"),
        ('{"labels": [["a.png", 1]]}', "no label for 1 of 2 pictures: b.png"),
        ('{"labels": [["a.png", 1], ["b.png", [1, 2]]]}', "b.png: a label is"),
        ('{"labels": [["a.png", [1]], ["b.png", [1, 2]]]}', "b.png: a label is"),
        ('{"labels": [["a.png", -1], ["b.png", 0]]}', "a.png: a label is"),
        ('{"labels": [["a.png", [NaN]], ["b.png", [0]]]}', "a.png: a label is"),
        ('{"labels": [["a.png", "car"], ["b.png", "bus"]]}', "a.png: a label is"),
        ('{"labels": {"a.png": 1}}', "list of"),
        ('{"labels": null}', "no labels in dataset.json"),
    ],
)
def test_broken_label_files_are_explained(tmp_path, put, text, words):
    put(tmp_path / "a.png")
    put(tmp_path / "b.png", 1)
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=words):
        open_dataset(tmp_path, use_labels=True, labels="file")


# ------------------------------------------------------------------------------------------- sizes


# B10
def test_center_crop_takes_the_middle():
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, 4:12] = 200
    assert (fit(picture, (8, 8)) == 200).all()
    assert (fit(picture.swapaxes(0, 1), (4, 4)) == 200).all()


# B10
def test_padding_keeps_everything_and_adds_white():
    padded = fit(np.full((8, 16, 1), 60, np.uint8), (16, 16), "pad")
    assert (padded[4:12] == 60).all()
    assert (padded[:4] == 255).all() and (padded[12:] == 255).all()


def test_stretching_ignores_proportions():
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, :8] = 100
    stretched = fit(picture, (8, 8), "stretch", "box")
    assert stretched[0, :, 0].tolist() == [100] * 4 + [0] * 4


def test_box_averages():
    picture = np.array([[0, 100], [50, 250]], np.uint8)[..., None]
    assert fit(picture, (1, 1), filter="box").item() == 100


def test_the_right_size_is_left_alone():
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    assert fit(picture, (9, 7)) is picture


# --------------------------------------------------------------------------------------- toy cars


def test_toy_cars_of_another_look_are_another_data_set(monkeypatch):
    """A run that goes on over other drawings is told so, even if its first cars look the same."""
    before = open_dataset("toycars:12", 16).fingerprint
    monkeypatch.setattr("framework.data.images.LOOK", 1)
    assert open_dataset("toycars:12", 16).fingerprint != before


def test_toy_cars_are_a_data_set():
    dataset = open_dataset("toycars:12", (32, 48))
    assert (len(dataset), dataset.size) == (12, (32, 48))
    assert decoded(dataset).shape == (12, 3, 32, 48)
    assert open_dataset("toycars:12", (32, 48)).fingerprint == dataset.fingerprint
    others = {open_dataset(spec, (32, 48)).fingerprint for spec in ("toycars:13", "toycars:12:1")}
    assert len(others | {dataset.fingerprint}) == 3
    assert open_dataset("toycars:2", 32, channels=1).image(0).shape == (1, 32, 32)
    with pytest.raises(UserError, match="toycars:COUNT"):
        open_dataset("toycars:many")


def test_the_largest_side_is_a_side_and_one_more_is_none():
    assert size_pair((MAX_SIDE_PX, 1)) == (MAX_SIDE_PX, 1)
    for side in (MAX_SIDE_PX + 1, 0, True):
        with pytest.raises(UserError, match="give one side"):
            size_pair((64, side))
