"""The report on texts for photographs: what it counts, on a small model and drawn pictures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from framework.data.captions import captions
from framework.errors import UserError
from framework.evaluation.__main__ import main
from framework.evaluation.text import model as models
from framework.evaluation.text import photographs
from framework.evaluation.text.photographs import ClassProbe, Judge, retrieved, text_photographs
from framework.models.alignment.code_space import Belief
from framework.models.text.words import words_of
from tests.cli.conftest import save_small_model
from tests.cli.describable import add_text_encoder

PAINT = {"red": (200, 20, 20), "blue": (20, 40, 170)}


class Pixels(torch.nn.Module):
    """Features that a test needs no weights for."""

    def __init__(self, weights: object = None) -> None:
        super().__init__()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pictures.float() / 255, 4).flatten(1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Wide vans and narrow cars, red and blue, on grey that varies."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for number in range(48):
        kind, paint = ("van", "car")[number % 2], [*PAINT][number // 2 % 2]
        pixels = np.full((16, 16, 3), 110 + number, np.uint8)
        pixels[4:12, slice(1, 15) if kind == "van" else slice(5, 11)] = PAINT[paint]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / f"{kind}{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def texts(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("texts") / "captions"
    captions(photos, out)
    return out


@pytest.fixture(scope="module")
def model(tmp_path_factory, texts):
    folder = save_small_model(tmp_path_factory.mktemp("models") / "small", encoder=True)
    words = {word for file in texts.glob("*.txt") for word in words_of(file.read_text())}
    return add_text_encoder(folder, sorted(words))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(photographs, "Lite0Features", Pixels)
    monkeypatch.setattr(photographs, "find_weights", lambda weights: "here")
    monkeypatch.setattr(models, "LOOKS", 1)


def test_a_report_has_every_table(photos, texts, model, tmp_path):
    out = tmp_path / "out"
    brief = text_photographs(str(photos), str(texts), str(out), str(model), held_out=0.4, n=10)
    report = json.loads((out / "report.json").read_text())
    assert report["classes"] == ["car", "van"] and sorted(report["colours"]) == ["blue", "red"]
    assert report["judge"]["photographs, cross-validated"]["share"] == 1
    assert report["judge"]["held-out photographs"]["share"] == 1
    changed = report["photographs"]
    assert changed["colour named"]["named and right"]["of"] == 10
    assert sum(row["of"] for row in changed["class named"]["by word"].values()) == 10
    assert changed["encoded and drawn again"]["class kept"]["of"] == 10
    both = report["seeds"]["the text"]
    assert both["both"]["count"] <= min(both["colour"]["count"], both["class"]["count"])
    assert brief["colour_right"] == changed["colour named"]["named and right"]["share"]
    page = (out / "report.md").read_text()
    assert "| … red |" in page and "| everything |" in page and "| chance |" in page
    assert Image.open(out / "edits.png").size[0] > 4 * 32


def test_what_captions_allow_is_the_mean_over_those_alike(model):
    opened = models.TextModel.open(str(model), None)
    opened.texts.read = lambda texts: Belief(  # type: ignore[method-assign]
        torch.zeros(len(texts), 4), torch.zeros(len(texts), 4)
    )
    codes = torch.randn(6, opened.generator.num_ws, opened.generator.w_dim)
    said = [["x", "a"], ["x", "a"], ["x", "a"], ["y", "b"], ["z", "c"], ["z", "c"]]
    found = retrieved(opened, said, codes)["everything"]
    assert found["R@1 at best"] == pytest.approx(3 / 6) and found["R@5 at best"] == 1
    assert found["different captions"] == 3 and found["R@1"]["of"] == 6


def test_a_probe_of_classes_says_how_often_it_is_right():
    rng = torch.Generator().manual_seed(0)
    classes = torch.arange(60) % 3
    features = torch.randn(60, 8, generator=rng) + 5 * torch.eye(8)[classes]
    assert (ClassProbe(features, classes)(features) == classes).all()
    noise = torch.randint(0, 255, (60, 3, 16, 16), generator=rng).byte()
    judge = Judge(Pixels(), noise, [f"class {i}" for i in classes.tolist()])
    assert judge.cross_validated["share"] < 0.7  # of noise nothing can be known


@pytest.mark.parametrize("case", ["weights", "table", "other pictures", "n", "held_out",
                                  "strength"])  # fmt: skip
def test_mistakes_are_one_line(case, photos, texts, model, tmp_path, monkeypatch, capsys):
    words = ["text-photographs", "--data", str(photos), "--captions", str(texts), "--model",
             str(model), "--out", str(tmp_path / "out")]  # fmt: skip
    about = {"weights": "lite0", "table": "attributes.csv", "other pictures": "--captions",
             "n": "--n", "held_out": "--held_out", "strength": "--strength"}[case]  # fmt: skip
    if case == "weights":
        monkeypatch.setattr(photographs, "find_weights", lambda weights: None)
    elif case == "table":
        words[4] = str(tmp_path)
    elif case == "other pictures":
        (tmp_path / "some").mkdir()
        lines = (texts / "attributes.csv").read_text().splitlines()
        (tmp_path / "some" / "attributes.csv").write_text("\n".join(lines[:30]) + "\n")
        words[4] = str(tmp_path / "some")
    words += {
        "n": ["--n", "3"],
        "held_out": ["--held_out", "0.9"],
        "strength": ["--strength", "0"],
    }.get(case, [])
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and about in error
    assert not (tmp_path / "out").exists()


def test_a_model_without_an_encoder_is_refused(photos, texts, tmp_path):
    bare = save_small_model(tmp_path / "bare")
    with pytest.raises(UserError, match=r"model .*no encoder of pictures"):
        text_photographs(str(photos), str(texts), str(tmp_path / "out"), str(bare))
