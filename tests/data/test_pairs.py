"""Data sets of pairs: every layout, what is no pair, labels that stay numbers."""

import numpy as np
import pytest
from PIL import Image

from framework.data.pair_layouts import PARTS
from framework.data.pairs import open_pairs
from framework.data.toycars import ToyCars
from framework.errors import UserError
from framework.media.images import ImageRefused
from framework.media.label_maps import coloured, read_label_map
from framework.media.sketches import as_sketch
from framework.training.data import TrainingImages


def drawing(path, level=20, size=(16, 16), paper=255):
    """A sketch: a line on paper."""
    pixels = np.full((*size, 3), paper, np.uint8)
    pixels[4:6] = level
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_toy_cars_come_with_sketches_and_parts():
    cars = ToyCars(32, 9, 4)
    sketches = open_pairs("toycars:9:4", 32, "sketch")
    labels = open_pairs("toycars:9:4", 32, "labels", channels=1)
    assert (sketches.channels, labels.channels, labels.num_labels) == (4, 2, 10)
    assert labels.names[4] == "window" and labels.facts()["label_names"][1] == "shadow"
    pair = sketches.image(3)
    assert np.array_equal(pair[:3].transpose(1, 2, 0), cars[3].image)
    assert np.array_equal(pair[3], cars[3].sketch)
    assert np.array_equal(labels.image(3)[1], cars[3].part_mask)
    assert sketches.fingerprint != open_pairs("toycars:9:4", 32, "sketch", False).fingerprint


@pytest.mark.parametrize(("a", "b"), [("A", "B"), ("trainA", "trainB"), ("sketch", "images")])
def test_two_folders_pair_by_name(a, b, tmp_path, put):
    for i in range(3):
        put(tmp_path / b / f"{i}.png", i)
        drawing(tmp_path / a / f"{i}.jpg", 20 + 60 * i)
    pairs = open_pairs(str(tmp_path), 16, "sketch")
    assert len(pairs) == 3 and pairs.size == (16, 16) and pairs.name(2) == f"{b}/2.png"
    with Image.open(tmp_path / b / "1.png") as picture:
        assert np.array_equal(pairs.picture(1).transpose(1, 2, 0), np.asarray(picture))
    assert abs(int(pairs.condition(1)[0, 4, 4]) - 80) < 9
    data = TrainingImages(str(tmp_path), 16, batch_size=2, condition="sketch")
    assert data.dataset.channels == 4 and data.identity()["pictures"]["condition"] == "sketch"


def test_pictures_side_by_side_are_halved(tmp_path, put):
    put(tmp_path / "train" / "0.png", 1, (16, 32))
    put(tmp_path / "val" / "0.png", 2, (16, 32))
    pairs = open_pairs(str(tmp_path), None, "picture")
    with Image.open(tmp_path / "train" / "0.png") as both:
        pixels = np.asarray(both)
    assert len(pairs) == 1 and pairs.channels == 6
    assert np.array_equal(pairs.image(0)[:3].transpose(1, 2, 0), pixels[:, 16:])
    assert np.array_equal(pairs.image(0)[3:].transpose(1, 2, 0), pixels[:, :16])


def test_without_pairs_both_sides_come_whole_and_apart(tmp_path, put):
    for i in range(5):
        put(tmp_path / "trainB" / f"car{i}.png", i)
    for i in range(3):
        drawing(tmp_path / "trainA" / f"line{i}.png", 20 + 60 * i)
    apart = open_pairs(str(tmp_path), 16, "sketch", paired=False)
    assert len(apart) == 5
    assert {int(apart.condition(i)[0, 4, 4]) for i in range(5)} == {20, 80, 140}


def multimodal(folder, put):
    """Multi-Modal CelebA-HQ in small: pictures, sketches, captions, part masks."""
    for i in range(2):
        put(folder / "images" / f"{i}.png", i)
        drawing(folder / "sketch" / f"{i}.png")
        (folder / "text").mkdir(exist_ok=True)
        (folder / "text" / f"{i}.txt").write_text("".join(f"She smiles, {k}.\n" for k in range(10)))
    masks = folder / "CelebAMask-HQ-mask-anno" / "0"
    for part, rows in (("skin", slice(0, 12)), ("hair", slice(0, 5)), ("nose", slice(6, 8))):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[rows] = 255
        masks.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(masks / f"00001_{part}.png")


def test_multimodal_celeba_hq_gives_sketches_and_parts(tmp_path, put):
    multimodal(tmp_path, put)
    assert len(open_pairs(str(tmp_path), 16, "sketch")) == 2
    labels = open_pairs(str(tmp_path), 16, "labels")
    assert len(labels) == 1 and labels.name(0) == "images/1.png" and labels.num_labels == 19
    column = labels.condition(0)[0, :, 3].tolist()
    names = [PARTS[label] for label in column]
    assert names == ["hair"] * 5 + ["skin"] + ["nose"] * 2 + ["skin"] * 4 + ["background"] * 4
    assert labels.names == PARTS
    drawing(tmp_path / "CelebAMask-HQ-mask-anno" / "0" / "00000_beard.png")
    with pytest.raises(UserError, match=r"00000_beard.png: not a part mask"):
        open_pairs(str(tmp_path), 16, "labels")


# G31f
def test_what_is_no_pair_is_one_line(tmp_path, put):
    put(tmp_path / "alone" / "x.png", 1)
    with pytest.raises(UserError, match=r"no pairs: x.png is 16x16; give folders A and B"):
        open_pairs(str(tmp_path / "alone"), 16, "sketch")
    put(tmp_path / "two" / "A" / "x.png", 1)
    put(tmp_path / "two" / "B" / "y.png", 1)
    with pytest.raises(UserError, match=r"2 files have no partner .* such as A/x.png, B/y.png"):
        open_pairs(str(tmp_path / "two"), 16, "sketch")
    put(tmp_path / "odd" / "A" / "x.png", 1, (16, 20))
    put(tmp_path / "odd" / "B" / "x.png", 1, (16, 40))
    with pytest.raises(UserError, match=r"B/x.png is 40x16 and A/x.png 20x16: a pair has one"):
        open_pairs(str(tmp_path / "odd"), 16, "sketch")
    put(tmp_path / "odd" / "A" / "sub" / "x.png", 1)
    with pytest.raises(UserError, match=r"A/sub/x.png and A/x.png have one name|A/x.png and A/sub"):
        open_pairs(str(tmp_path / "odd"), 16, "sketch")
    with pytest.raises(UserError, match="toy cars have sketch and labels"):
        open_pairs("toycars:4", 16, "picture")
    with pytest.raises(UserError, match="have no classes"):
        TrainingImages(condition="sketch", labels="folders")
    with pytest.raises(UserError, match="which hold no pairs"):
        TrainingImages("shards:x", condition="sketch")


def test_labels_stay_numbers(tmp_path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "A").mkdir(), (tmp_path / "B").mkdir()
    palette = Image.fromarray(labels, mode="P")
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    grey = Image.fromarray(labels)
    for image, name in ((palette, "p.png"), (grey, "l.png"), (grey.convert("RGB"), "c.png")):
        image.save(tmp_path / name)
        assert np.array_equal(read_label_map((tmp_path / name).read_bytes(), name), labels)
    Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "16.png")
    assert np.array_equal(read_label_map((tmp_path / "16.png").read_bytes(), "x"), labels)
    grey.save(tmp_path / "A" / "x.png"), grey.save(tmp_path / "B" / "x.png")
    pairs = open_pairs(str(tmp_path), 8, "labels", crop="pad")
    assert pairs.num_labels == 256 and set(pairs.condition(0).ravel()) <= set(range(256))
    assert coloured(labels).shape == (16, 16, 3) and len(np.unique(coloured(labels)[0], axis=0)) > 9


# G32f
def test_labels_in_colour_or_as_jpeg_are_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with pytest.raises(ImageRefused, match=r"x.png: in colour \(\d+ colours\)"):
        read_label_map((tmp_path / "x.png").read_bytes(), "x.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "x.jpg")
    with pytest.raises(ImageRefused, match=r"as JPEG, which changes numbers"):
        read_label_map((tmp_path / "x.jpg").read_bytes(), "x.jpg")
    with pytest.raises(ImageRefused, match="labels up to"):
        Image.fromarray(np.full((16, 16), 300, np.uint16)).save(tmp_path / "y.png")
        read_label_map((tmp_path / "y.png").read_bytes(), "y.png")


def test_a_sketch_is_dark_on_white_whatever_it_was():
    paper = np.full((16, 16, 3), 255, np.uint8)
    paper[4] = 30
    assert as_sketch(paper)[1] == []
    sketch, notes = as_sketch(255 - paper)
    assert np.array_equal(sketch, paper[..., 0]) and notes == ["white on black: inverted"]
    paper[8] = (200, 30, 30)
    sketch, notes = as_sketch(paper)
    assert notes == ["in colour: only its brightness counts"] and sketch[8, 0] == 81
