"""`edit.py fill`: files, what is refused, what Ctrl-C keeps."""

import json

import numpy as np
import pytest
from PIL import Image

from framework.cli.edit import main
from framework.compositing.fill_registry import DEFAULT_METHOD
from framework.jobs.fill import fill
from framework.jobs.requests.compositing import FillRequest
from framework.jobs.watcher import Watcher

Y, X = np.mgrid[:40, :44]
STRIPES = (60 + 120 * (X // 4 % 2)).astype(np.uint8)


@pytest.fixture
def files(tmp_path):
    """A photograph of stripes with a grey spot, and a mask of the spot."""
    spot = np.hypot(X - 20, Y - 20) < 7
    Image.fromarray(np.where(spot, np.uint8(128), STRIPES)).convert("RGB").save(tmp_path / "p.png")
    Image.fromarray(spot).save(tmp_path / "m.png")
    return str(tmp_path / "p.png"), str(tmp_path / "m.png"), str(tmp_path / "out")


def test_the_hole_is_filled_and_the_outcome_told(files, capsys):
    photo, mask, out = files
    assert main(["fill", photo, "--mask", mask, "--out", out, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["method"] == DEFAULT_METHOD and facts["status"] == "done"
    assert facts["size"] == [40, 44]
    assert facts["files"] == [f"{out}/filled.png", f"{out}/side_by_side.png"]
    filled = np.asarray(Image.open(f"{out}/filled.png"))
    assert filled.shape == (40, 44, 3)
    assert np.abs(filled[..., 0].astype(int) - STRIPES).mean() < 1


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--method", "magic"], "--method magic: expected one of"),
        (["--patch", "4"], "--patch 4: give an odd number"),
        (["--seed", "-1"], "--seed -1"),
        (["--mask", "{photo}x"], "cannot be read"),
        (["--mask", "{tmp}/small.png"], "it has 9x9 px, the photograph 44x40"),
        (["--mask", "{tmp}/black.png"], "it is empty"),
        (["--out", "{tmp}"], "--out {tmp}: already holds files"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    files, tmp_path, capsys, flags, complaint
):
    photo, mask, out = files
    Image.new("L", (9, 9)).save(tmp_path / "small.png")
    Image.new("L", (44, 40)).save(tmp_path / "black.png")
    flags = [flag.format(tmp=tmp_path, photo=photo) for flag in flags]
    assert main(["fill", photo, "--mask", mask, "--out", out, *flags]) == 2
    said = capsys.readouterr().err
    assert complaint.format(tmp=tmp_path) in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# H24f
def test_ctrl_c_keeps_the_filling_so_far(files):
    class Stops(Watcher):
        def progress(self, text):
            if "step 3 " in text:
                raise KeyboardInterrupt

    photo, mask, out = files
    outcome = fill(FillRequest(photo=photo, mask=mask, out=out, method="patches"), Stops())
    assert outcome.status == "interrupted" and outcome.steps == 3 and outcome.stop is not None
    filled = np.asarray(Image.open(f"{out}/filled.png"))[..., 0]
    assert filled.shape == (40, 44) and np.array_equal(filled[:, :12], STRIPES[:, :12])


# H25f
@pytest.mark.slow
def test_a_photograph_of_24_million_pixels_is_filled(tmp_path):
    stripes = np.tile((60 + 120 * (np.arange(6000) // 40 % 2)).astype(np.uint8), (4000, 1))
    Image.fromarray(stripes).save(tmp_path / "large.png", compress_level=1)
    mask = Image.new("L", (6000, 4000))
    mask.paste(255, (2000, 1000, 2400, 1300))
    mask.save(tmp_path / "m.png", compress_level=1)
    paths = {"photo": str(tmp_path / "large.png"), "mask": str(tmp_path / "m.png")}
    fill(FillRequest(**paths, out=str(tmp_path / "out")))
    filled = np.asarray(Image.open(tmp_path / "out" / "filled.png"))
    assert filled.shape == (4000, 6000)
    assert np.abs(filled.astype(int) - stripes)[1000:1300, 2000:2400].mean() < 2
