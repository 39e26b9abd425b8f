"""Photographs of every kind through the commands: what a model sees, and what comes back."""

import json

import numpy as np
import pytest
from PIL import Image

from framework.cli.edit import main
from framework.cli.framing import Framing
from framework.cli.photos import read_photo
from framework.drag import EditFile
from framework.errors import UserError
from framework.formats import load_generator
from framework.inversion.inverted_image import InvertedImage
from framework.media.geometry import valid_mask
from tests.cli.conftest import save_small_model

FEW = ("--stages", "refine", "--refine-steps", "1")


def picture(path):
    with Image.open(path) as image:
        return np.array(image)


def mode(path):
    with Image.open(path) as image:
        return image.mode


def inverted(model, photo, out, *flags):
    words = ["invert", str(photo), "--model", str(model), "--out", str(out)]
    return main([*words, *FEW, "--json", *flags])


@pytest.fixture(scope="module")
def small(small_model):
    return load_generator(small_model)


# A10f
def test_what_lies_outside_the_photograph_is_mirrored_and_told(small, photograph):
    path = photograph()  # 40x30
    photo = read_photo(path, small, Framing(box="28,4,44,20"))
    assert photo.geometry.valid_box == (0, 0, 12, 16)
    wanted = picture(path)[4:20, 28:40]
    assert np.array_equal(photo.canvas[:, :12], wanted)
    assert np.array_equal(photo.canvas[:, 12:], wanted[:, :-5:-1])
    note = "25 % of the model's picture lies outside the photograph: filled with the photograph"
    assert [n for n in photo.notes if n.startswith(note)]
    padded = read_photo(path, small, Framing("pad", "28,4,44,20"))
    assert (padded.canvas[:, 12:] == 255).all()
    assert "25 %" in padded.notes[0] and "filled with white" in padded.notes[0]
    for framing in (Framing(), Framing("pad"), Framing(box="0,0,30,30"), Framing(rotate=12)):
        assert not [n for n in read_photo(path, small, framing).notes if "outside" in n]


# A10f
@pytest.mark.parametrize(
    "flags",
    [{"box": "31,0,51,20"}, {"box": "-11,-11,5,5", "crop": "pad"},
     {"align": "2,2:10,2", "align_to": "12,14:15,14"}],
)  # fmt: skip
def test_a_part_that_lies_mostly_outside_is_refused(small, photograph, flags):
    with pytest.raises(UserError, match=r"--(box|align) .* % of the model's picture empty"):
        read_photo(photograph(), small, Framing(**flags))


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--align", "1,2"], "--align '1,2': give two points"),
        (["--align", "1,2:3,nan"], "--align '1,2:3,nan': give two points"),
        (["--align", "1,2:3,4", "--box", "0,0,9,9"], "--align and --box"),
        (["--align", "1,2:3,4", "--rotate", "3"], "--align and --rotate"),
        (["--align-to", "1,2:3,4"], "--align-to 1,2:3,4: say with --align"),
        (["--rotate", "361"], "--rotate 361: give degrees"),
        (["--rotate", "nan"], "--rotate nan: give"),
        (["--align", "1,2:300,4"], "--align 1,2:300,4: (300, 4) lies outside the photograph"),
        (["--align", "1,2:1,2"], "give two points apart"),
    ],
)
# D1f
def test_turns_that_make_no_sense_are_one_line(
    small_model, photograph, tmp_path, capsys, flags, complaint
):
    assert inverted(small_model, photograph(), tmp_path / "out", *flags) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# D1f
def test_a_turned_photograph_stands_upright_and_keeps_what_is_outside(small_model, small, tmp_path):
    pixels = np.full((60, 60, 3), 90, np.uint8)
    post = Image.fromarray(pixels.copy())
    post.paste((250, 250, 250), (27, 10, 33, 50))
    post.rotate(-20, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90)).save(tmp_path / "post.png")
    flags = ("--box", "14,14,46,46", "--rotate", "20")
    assert inverted(small_model, tmp_path / "post.png", tmp_path / "out", *flags) == 0
    seen = picture(tmp_path / "out" / "photo.png")[..., 0].astype(int)
    assert (seen[:, 7:9] > 200).all() and (seen[:, [0, 1, 2, 3, 12, 13, 14, 15]] < 120).all()
    geometry = InvertedImage.load(tmp_path / "out" / "post.inv.safetensors").geometry
    assert geometry is not None
    x, y = np.meshgrid(range(60), range(60))
    at = geometry.to_canvas_points(np.stack([x, y], axis=-1))
    outside = ((at < -0.5) | (at > 15.5)).any(axis=-1)
    before, after = picture(tmp_path / "post.png"), picture(tmp_path / "out" / "pasted.png")
    assert np.array_equal(after[outside], before[outside]) and not np.array_equal(after, before)


# A3f, A4f, D1f
def test_a_tilted_grey_photograph_is_dragged_by_a_painted_mask(small_model, tmp_path, capsys):
    y, x = np.mgrid[:48, :64]
    grey = (100 + 40 * np.sin(x / 9) + 30 * np.cos(y / 6)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    mask = np.full((16, 16, 4), 255, np.uint8)  # white all over, but only painted in a part
    mask[..., 3] = 0
    mask[3:13, 2:14, 3] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    words = ["drag", "--image", str(tmp_path / "grey.png"), "--model", str(small_model)]
    words += [
        "--align",
        "20,20:40,28",
        "--align-to",
        "3,8:12,8",
        "--mask",
        str(tmp_path / "mask.png"),
    ]
    words += ["--points", "5,8:9,8", "--stages", "embed", "--steps", "3", "--lr", "0.2"]
    assert main([*words, "--preset", "draggan", "--no-video", "--json", "--out", str(out)]) == 0
    edit = EditFile.load(out / "edit.safetensors")
    assert edit.mask is not None and np.array_equal(edit.mask.numpy(), mask[..., 3] / 255)
    assert mode(out / "pasted.png") == "L"
    geometry = InvertedImage.load(out / "grey.inv.safetensors").geometry
    assert geometry is not None
    assert geometry.to_canvas_points([[20, 20], [40, 28]]) == pytest.approx(
        np.array([[3, 8], [12, 8]])
    )
    at = geometry.to_canvas_points(np.stack([x, y], axis=-1))
    outside = ((at < -0.5) | (at > 15.5)).any(axis=-1)
    after = picture(out / "pasted.png")
    assert np.array_equal(after[outside], grey[outside]) and not np.array_equal(after, grey)


@pytest.mark.parametrize(("channels", "wanted"), [(1, "L"), (4, "RGBA")])
# A4f
def test_pictures_have_the_models_channels(tmp_path, capsys, channels, wanted):
    model = save_small_model(tmp_path / "model", img_channels=channels)
    words = ["generate", "--model", str(model), "--seeds", "1-3", "--grid", "--psi", "1"]
    assert main([*words, "--out", str(tmp_path / "seeds")]) == 0
    for name in ("seed0001", "seed0003", "grid"):
        assert mode(tmp_path / "seeds" / f"{name}.png") == wanted
    words = ["drag", "--model", str(model), "--seed", "1", "--points", "5,8:9,8", "--steps", "1"]
    assert main([*words, "--preset", "draggan", "--no-video", "--out", str(tmp_path / "drag")]) == 0
    assert mode(tmp_path / "drag" / "before.png") == mode(tmp_path / "drag" / "after.png") == wanted
    assert mode(tmp_path / "drag" / "side_by_side.png") == "RGB"
    cut = np.zeros((30, 30, 4), np.uint8)
    cut[8:22, 8:22] = [200, 90, 40, 255]
    Image.fromarray(cut).save(tmp_path / "cut.png")
    assert inverted(model, tmp_path / "cut.png", tmp_path / "inv") == 0
    assert mode(tmp_path / "inv" / "photo.png") == mode(tmp_path / "inv" / "refine.png") == wanted
    assert mode(tmp_path / "inv" / "pasted.png") == "RGBA"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["stages"]["refine"]["mse"] > 0
    if channels == 1:
        assert np.array_equal(picture(tmp_path / "inv" / "pasted.png")[..., 3], cut[..., 3])


def test_the_valid_box_counts_and_nothing_else(small, photograph):
    photo = read_photo(photograph(), small, Framing(box="28,4,44,20"))
    assert valid_mask(photo.geometry).sum() == 12 * 16
