"""`edit.py fill --method gan`: a model makes up what a mask covers, in the photograph's kind."""

import json

import numpy as np
import pytest
from PIL import Image

import framework.inversion.photo_fill as filling
from framework.cli.edit import main
from framework.inversion.prior_fill import PriorFillSettings
from framework.inversion.settings import RefineSettings, TuneSettings
from framework.jobs.fill import fill
from framework.jobs.requests.compositing import FillRequest
from framework.jobs.watcher import Watcher

Y, X = np.mgrid[:40, :44]
SPOT = np.hypot(X - 20, Y - 20) < 7


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    few = PriorFillSettings(RefineSettings(steps=3), RefineSettings(steps=2), TuneSettings(steps=2))
    monkeypatch.setattr(filling, "PriorFillSettings", lambda: few)


def files(tmp_path, kind="RGB"):
    """A slope of colours with a grey spot, and a mask of the spot."""
    slope = np.stack([60 + 3 * X, 90 + 2 * Y, 120 + X - Y], axis=2)
    slope[SPOT] = 128
    image = Image.fromarray(slope.astype(np.uint8))
    if kind == "16":
        image = Image.fromarray((slope[..., 0] * 257).astype(np.uint16))
    elif kind == "RGBA":
        image.putalpha(Image.fromarray((200 + X).astype(np.uint8)))
    elif kind == "L":
        image = image.convert("L")
    image.save(tmp_path / "p.png")
    Image.fromarray(SPOT).save(tmp_path / "m.png")
    return str(tmp_path / "p.png"), str(tmp_path / "m.png"), str(tmp_path / "out")


# H27f
@pytest.mark.parametrize("kind", ["RGB", "L", "16", "RGBA"])
def test_a_model_fills_a_photograph_in_its_own_kind(small_model, tmp_path, capsys, kind):
    photo, mask, out = files(tmp_path, kind)
    flags = ["--method", "gan", "--model", str(small_model), "--out", out, "--json"]
    assert main(["fill", photo, "--mask", mask, *flags]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["method"] == "gan" and facts["status"] == "done"
    before, after = (np.asarray(Image.open(name)) for name in (photo, f"{out}/filled.png"))
    assert after.dtype == before.dtype and after.shape == before.shape
    assert np.array_equal(after[~SPOT], before[~SPOT])
    assert not np.array_equal(after[SPOT], before[SPOT])


# H28f
@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--method", "gan"], "--model: give the model that fills"),
        (["--model", "{model}"], "only with --method gan"),
        (["--box", "0,0,9,9"], "--box 0,0,9,9: only with --method gan"),
        (["--method", "gan", "--model", "none"], "--model none"),
        (["--method", "gan", "--model", "{model}", "--mask", "{tmp}/small.png"], "it has 9x9 px"),
        (["--method", "gan", "--model", "{model}", "--mask", "{tmp}/black.png"], "it is empty"),
        (
            ["--method", "gan", "--model", "{model}", "--mask", "{tmp}/white.png"],
            "the model must see",
        ),
        (["--method", "gan", "--model", "{model}", "--box", "30,20,44,34"], "the model must see"),
        (["--method", "gan", "--model", "{model}", "--box", "80,20,90,34"], "puts no part of"),
    ],
)
def test_what_a_model_cannot_fill_is_one_line_and_leaves_nothing(
    small_model, tmp_path, capsys, flags, complaint
):
    photo, mask, out = files(tmp_path)
    Image.new("L", (9, 9)).save(tmp_path / "small.png")
    Image.new("L", (44, 40)).save(tmp_path / "black.png")
    Image.new("L", (44, 40), 255).save(tmp_path / "white.png")
    flags = [flag.format(tmp=tmp_path, model=small_model) for flag in flags]
    assert main(["fill", photo, "--mask", mask, "--out", out, *flags]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# H29f
def test_ctrl_c_keeps_what_the_model_has_so_far(small_model, tmp_path):
    class Stops(Watcher):
        def progress(self, text: str) -> None:
            if "step 3" in text:
                raise KeyboardInterrupt

    photo, mask, out = files(tmp_path)
    request = FillRequest(photo=photo, mask=mask, out=out, method="gan", model=str(small_model))
    outcome = fill(request, Stops())
    assert outcome.status == "interrupted" and outcome.steps == 3
    assert (tmp_path / "out" / "filled.png").exists()
