"""`edit.py texture` and `edit.py transfer`: files, what is refused, what Ctrl-C keeps."""

import json

import numpy as np
import pytest
from PIL import Image

from framework.cli.edit import main
from framework.jobs.requests.compositing import TextureRequest
from framework.jobs.texture import MOST_WORKED_PX, texture
from framework.jobs.watcher import Watcher

CHECKS = np.kron(np.indices((5, 6)).sum(axis=0) % 2 * 180 + 40, np.ones((4, 4))).astype(np.uint8)


@pytest.fixture
def files(tmp_path):
    """A texture in grey, a photograph in colour, and the same pictures of other kinds."""
    Image.fromarray(CHECKS).save(tmp_path / "t.png")
    Image.fromarray(CHECKS.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    ramp = np.linspace(0, 255, 32 * 28 * 3).reshape(28, 32, 3).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "p.png")
    see_through = np.concatenate([ramp, ramp[..., :1]], axis=2)
    Image.fromarray(see_through).save(tmp_path / "alpha.png")
    return tmp_path


@pytest.mark.parametrize("method", ["quilting", "field", "pixels"])
def test_a_texture_of_the_size_that_was_asked_for(files, method, capsys):
    out = str(files / "out")
    flags = ["--size", "19x14", "--method", method, "--json"]
    assert main(["texture", str(files / "t.png"), "--out", out, *flags]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["method"] == method and facts["size"] == [14, 19]
    assert facts["files"] == [f"{out}/texture.png"]
    assert Image.open(f"{out}/texture.png").size == (19, 14)


# H26f
@pytest.mark.parametrize("photo", ["p.png", "alpha.png", "deep.png", "t.png"])
def test_pictures_of_every_kind_are_drawn_in_textures_of_any_size(files, photo):
    out = files / "out"
    texture = str(files / "deep.png")
    assert main(["transfer", str(files / photo), "--texture", texture, "--out", str(out)]) == 0
    assert Image.open(out / "transfer.png").size == Image.open(files / photo).size
    assert (out / "side_by_side.png").is_file()


def test_an_analogy_takes_what_was_done(files):
    Image.fromarray(255 - CHECKS).save(files / "after.png")
    words = ["--texture", str(files / "after.png"), "--before", str(files / "t.png")]
    out = files / "out"
    assert main(["transfer", str(files / "t.png"), *words, "--out", str(out)]) == 0
    made = np.asarray(Image.open(out / "transfer.png").convert("L")).astype(int)
    assert np.abs(made - (255 - CHECKS)).mean() < 12


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("texture {tmp}/t.png --size 9", "--size '9': give width x height"),
        ("texture {tmp}/t.png --size 0x9", "--size '0x9'"),
        ("texture {tmp}/t.png --size 99999x9", "--size '99999x9'"),
        ("texture {tmp}/t.png --patch 8", "--patch 8: give an odd number"),
        ("texture {tmp}/t.png --method paint", "--method paint"),
        ("texture {tmp}/none.png", "none.png: cannot be read"),
        ("transfer {tmp}/p.png --texture {tmp}/t.png --likeness -1", "--likeness -1"),
        ("transfer {tmp}/p.png --texture {tmp}/t.png --before {tmp}/p.png", "--before"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(files, capsys, line, complaint):
    words = [word.format(tmp=files) for word in line.split()]
    assert main([*words, "--out", str(files / "out")]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1
    assert not (files / "out").exists()


# H24f
def test_ctrl_c_keeps_the_texture_so_far(files):
    class Stops(Watcher):
        def progress(self, text):
            if "step 2 " in text:
                raise KeyboardInterrupt

    request = TextureRequest(exemplar=str(files / "t.png"), out=str(files / "out"), patch=9)
    outcome = texture(request, Stops())
    assert outcome.status == "interrupted" and outcome.steps == 2
    made = np.asarray(Image.open(files / "out" / "texture.png"))
    assert made.shape == (40, 48, 3)
    assert made[:9, :9].std() > 50 and made[20:].std() == 0  # grey: not yet laid


# H26f
def test_a_large_exemplar_is_worked_on_smaller_with_a_note(files, capsys):
    large = np.tile(CHECKS, (5, 100))
    Image.fromarray(large).save(files / "large.png")
    out = str(files / "out")
    flags = ["--size", "30x20", "--out", out]
    assert main(["texture", str(files / "large.png"), *flags]) == 0
    assert f"{large.shape[1]}x100 px, worked on at {MOST_WORKED_PX}x" in capsys.readouterr().err
