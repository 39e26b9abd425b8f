"""Captions of photographs: true, varied, the same anywhere, read back by what trains on them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from framework.control.attributes import read_attributes
from framework.data.__main__ import main
from framework.data.captions import ATTRIBUTES, Traits, captions, sentences
from framework.data.images import open_dataset
from framework.errors import UserError
from framework.models.text.words import words_of
from framework.training.text.captions import captions_of

PAINT = {"red": (200, 20, 20), "blue": (20, 40, 170), "white": (250, 250, 250)}
GROUNDS = {"green": (60, 110, 50), "grey": (128, 128, 128)}
FULL = Traits("sports car", "red", "dark", "pale grey")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """24 pictures of two classes, the colours of thing and ground in their names."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    names = [(kind, paint, ground, i) for kind in ("sports_car", "van") for paint in PAINT
             for ground in GROUNDS for i in range(2)]  # fmt: skip
    y, x = (np.mgrid[:32, :40] + 0.5) / [[[32]], [[40]]] - 0.5
    for kind, paint, ground, i in names:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        disc = np.hypot(y, x)[..., None] < 0.3 + 0.02 * i
        pixels = np.where(disc, np.uint8(PAINT[paint]), np.uint8(GROUNDS[ground]))
        Image.fromarray(pixels).save(folder / kind / f"{kind}-{paint}-{ground}-{i}.png")
    return folder


def test_captions_are_true_and_read_back_by_the_training(photos, tmp_path):
    captions(photos, tmp_path / "out", count=6)
    dataset = open_dataset(photos, 16)
    for index, texts in enumerate(captions_of(dataset, str(tmp_path / "out"), 100)):
        kind, paint, ground, _ = dataset.name(index).split("/")[1].split("-")
        assert len(texts) == 6
        words = set(words_of(" ".join(texts)))
        kinds = {"sports_car": {"sports", "car"}, "van": {"van"}}
        assert words & {"sports", "car", "van"} == kinds[kind]
        grounds = {"gray", "grey"} if ground == "grey" else {ground}
        assert words & {*PAINT} == {paint} and words & {"gray", "grey", "green"} <= grounds
        assert {paint, ground} | kinds[kind] <= set(words_of(texts[-1]))


def test_captions_of_a_zip_are_those_of_the_folder(photos, tmp_path):
    for source in (photos, shutil.make_archive(str(tmp_path / "photos"), "zip", photos)):
        captions(source, tmp_path / f"of-{str(source)[-3:]}")
    first, second = sorted(tmp_path.glob("of-*"))
    assert contents(first) == contents(second) and len(contents(first)) == 25


def test_the_same_seed_writes_the_same_and_another_picture_changes_nothing(photos, tmp_path):
    small = tmp_path / "small"
    shutil.copytree(photos, small)
    (small / "van" / "van-blue-grey-0.png").unlink()
    sources, seeds = (photos, photos, photos, small), (3, 3, 4, 3)
    for name, source, seed in zip("abcd", sources, seeds, strict=True):
        captions(source, tmp_path / name, seed=seed)
    a, b, c, d = (contents(tmp_path / name) for name in "abcd")
    assert a == b and a != c
    assert {name: a[name] for name in d if name != ATTRIBUTES} == {
        name: text for name, text in d.items() if name != ATTRIBUTES
    }


def contents(folder) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def test_sentences_name_different_traits_in_different_words():
    texts = sentences(FULL, "one", 12, 0)
    assert texts[-1] == "a dark red sports car on a pale grey background"
    assert len(set(texts)) > 9 and sentences(FULL, "other", 12, 0)[:-1] != texts[:-1]
    named = {tuple(word in words_of(text) for word in ("car", "red", "background", "ground"))
             for text in texts}  # fmt: skip
    assert len(named) > 3
    assert all("red" in words_of(t) for t in texts if {"dark", "deep"} & {*words_of(t)})
    assert sentences(FULL, "one", 1, 0) == texts[-1:]
    many = [text for i in range(50) for text in sentences(FULL, str(i), 5, 0)]
    assert {"gray", "light", "deep", "photo", "painted"} <= {w for t in many for w in words_of(t)}


def test_an_article_fits_its_word():
    assert sentences(Traits("SUV", "orange", "", ""), "x", 1, 0) == ["an orange SUV"]
    assert sentences(Traits("ox", "", "", "green"), "x", 1, 0) == ["an ox on a green background"]


def test_the_table_is_one_of_attributes_without_what_never_changes(photos, tmp_path):
    captions(photos, tmp_path / "out")
    key, table = read_attributes(tmp_path / "out" / ATTRIBUTES)
    colours = {f"colour:{word}" for word in PAINT} | {f"background:{word}" for word in GROUNDS}
    assert key == "name" and colours | {"class:van", "lightness"} <= set(table)
    assert not [name for name, values in table.items() if len(set(values.values())) < 2]
    for name, yes in table["colour:red"].items():
        assert yes == ("-red-" in name)
    for name, yes in table["class:sports car"].items():
        assert yes == name.startswith("sports_car")


def test_what_all_pictures_share_is_not_named(tmp_path, photos):
    grey = tmp_path / "grey"
    for path in photos.rglob("*-grey-*.png"):
        for turn in range(2):
            (grey / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, grey / path.parent.name / f"{path.stem}{turn}.png")
    facts = captions(grey, tmp_path / "out")
    assert "all backgrounds are grey" in facts["remarks"][0]
    assert not facts["words"]["background"]
    assert not [t for t in contents(tmp_path / "out").values() if "grey" in t.replace("-grey-", "")]


def test_pictures_without_classes_need_a_noun(photos, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photos.rglob("*.png"):
        shutil.copy(path, flat)
    with pytest.raises(UserError, match=r"no labels: .* sort the pictures into sub-folders"):
        captions(flat, tmp_path / "out")
    captions(flat, tmp_path / "out", noun="lorry")
    text = contents(tmp_path / "out")["van-red-green-0.txt"]
    assert text.endswith("\na red lorry on a green background\n")


def test_the_command_says_what_it_found(photos, tmp_path, capsys):
    assert main(["captions", str(photos), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "captions of 24 pictures" in said and "sports car (12), van (12)" in said
    assert "red (8)" in said and "green (12)" in said


@pytest.mark.parametrize("case", ["empty", "no classes", "numbers", "unreadable", "there", "few",
                                  "twins", "count", "noun", "none"])  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(case, photos, tmp_path, capsys, put):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(photos, data)
    words = ["captions", str(data), "--out", str(out)]
    about = {
        "empty": "no pictures found", "no classes": "sort the pictures into sub-folders",
        "numbers": "no classes with names", "unreadable": "broken.png", "there": "already holds",
        "few": "3 pictures are too few; give 20", "twins": "would share their captions",
        "count": "--count", "noun": "--noun", "none": "--noun car",
    }[case]  # fmt: skip
    if case == "empty":
        shutil.rmtree(data)
        data.mkdir()
    elif case == "no classes":
        put(data / "loose.png")
    elif case == "numbers":
        names = [str(path.relative_to(data)) for path in data.rglob("*.png")]
        (data / "dataset.json").write_text(json.dumps({"labels": [[n, 0] for n in names]}))
    elif case == "unreadable":
        (data / "van" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    elif case == "there":
        out.mkdir()
        (out / "van.txt").write_text("a van\n")
    elif case == "few":
        shutil.rmtree(data)
        for i in range(3):
            put(data / "van" / f"{i}.png", i)
    elif case == "twins":
        put(data / "sports_car" / "same.png"), put(data / "van" / "same.png", 1)
    words += {"count": ["--count", "0"], "noun": ["--noun", "!"], "none": ["--labels", "none"]}.get(
        case, []
    )
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and about in error
    assert not out.exists() or [path.name for path in out.iterdir()] == ["van.txt"]


def test_two_pictures_never_share_captions_unnoticed(photos, tmp_path, put):
    captions(photos, tmp_path / "out")
    put(tmp_path / "more" / "a" / "same.png"), put(tmp_path / "more" / "b" / "same.png", 1)
    with pytest.raises(UserError, match=r"same\.txt would be of a/same\.png and of b/same\.png"):
        captions_of(open_dataset(tmp_path / "more", 16), str(tmp_path / "out"), 5)
