"""Photographs of every kind through the commands: what a model sees, and what comes back."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from framework.cli.edit import main
from framework.compositing.photograph import Photograph
from framework.drag.edit_file import EditFile
from framework.formats import load_generator
from framework.inversion.inverted_image import InvertedImage
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
@pytest.mark.parametrize(
    ("flag", "numbers", "said"),
    [("--box", "-11,-11,5,5", "more than half"), ("--align", "-9,2:3,4", "(-9, 2) lies outside"),
     ("--rotate", "-400", "--rotate -400: give degrees")],
)  # fmt: skip
def test_numbers_below_zero_are_no_flags(
    small_model, photograph, tmp_path, capsys, flag, numbers, said
):
    assert inverted(small_model, photograph(), tmp_path / "out", flag, numbers) == 2
    assert said in capsys.readouterr().err


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


@pytest.fixture(scope="module")
def dragged(small_model, tmp_path_factory):
    """A drag in a part of a cut-out of 300x200 px: its folder, which is not to be written to."""
    folder = tmp_path_factory.mktemp("dragged")
    y, x = np.mgrid[:200, :300]
    colours = np.stack([x * 0.8, y, 255 - x * 0.8], axis=2)
    alpha = np.where((x - 150) ** 2 + (y - 100) ** 2 < 4000, 255, 0)
    Image.fromarray(np.dstack([colours, alpha]).astype(np.uint8)).save(folder / "cut.png")
    words = ["drag", "--image", str(folder / "cut.png"), "--model", str(small_model), "--no-video"]
    words += ["--box", "100,50,200,150", "--points", "5,8:9,8", "--stages", "embed", "--lr", "0.5"]
    words += ["--steps", "4", "--preset", "draggan", "--out", str(folder / "out")]
    assert main(words) == 0
    return folder / "out"


# D2f
@pytest.mark.parametrize("overlay", [True, False])
def test_the_clip_of_a_photograph_shows_all_of_it(dragged, tmp_path, monkeypatch, overlay):
    frames = []
    monkeypatch.setattr(
        "framework.jobs.video.write_video",
        lambda path, pictures, fps: frames.extend(pictures) or len(frames),
    )
    words = ["video", "--edit", str(dragged / "edit.safetensors"), "--show", "photo"]
    words += [] if overlay else ["--no-overlay"]
    assert main([*words, "--out", str(tmp_path / "clip.mp4")]) == 0
    pasted = Photograph.read(dragged / "pasted.png").shown()
    if overlay:  # enlarged to where marks can be seen, and marked near the points alone
        marked = np.abs(frames[-1][::2, ::2].astype(int) - pasted).max(axis=2) > 30
        assert frames[-1].shape == (400, 600, 3) and 20 < marked.sum() < 4000
        assert not marked[:, :90].any() and not marked[:, 210:].any()
    else:
        # As pasted.png, without the detail that follows what has moved.
        apart = np.abs(frames[-1].astype(int) - pasted).max(axis=2)
        assert not apart[:, :90].any() and not apart[:, 210:].any() and (apart > 8).mean() < 0.01
        unedited = Photograph.read(dragged / "original.png").shown()
        assert np.array_equal(frames[0], unedited) and not np.array_equal(frames[-1], unedited)


def test_a_large_photograph_is_shrunk_for_its_clip(dragged, monkeypatch):
    import framework.jobs.paste as module

    image = dragged / "cut.inv.safetensors"
    base = load_generator(InvertedImage.load(image).model_name)
    inverted_image = module.open_image(image, base)
    monkeypatch.setattr(module, "_CLIP_PX", 150)
    small = module.InPhoto.of(inverted_image)
    assert small.photo.size == (100, 150)
    assert small.points([[0, 0]])[0] == pytest.approx([51.0625, 26.0625])  # of (102.625, 52.625)
    same = small.picture(inverted_image.reconstruction)
    assert np.array_equal(same, small.photo.shown())


# D2f
@pytest.mark.parametrize("case", ["seeds", "no photograph", "photograph gone"])
def test_a_photograph_that_is_not_there_cannot_be_shown(
    small_model, dragged, tmp_path, capsys, case
):
    if case == "seeds":
        words = ["--model", str(small_model), "--seeds", "1,2"]
    elif case == "no photograph":
        drag = ["drag", "--model", str(small_model), "--seed", "1", "--points", "5,8:9,8"]
        drag += [
            "--steps",
            "1",
            "--preset",
            "draggan",
            "--no-video",
            "--out",
            str(tmp_path / "seed"),
        ]
        assert main(drag) == 0
        words = ["--edit", str(tmp_path / "seed" / "edit.safetensors")]
    else:
        shutil.copytree(dragged, tmp_path / "alone")
        (tmp_path / "alone" / "original.png").unlink()
        words = ["--edit", str(tmp_path / "alone" / "edit.safetensors")]
    capsys.readouterr()
    assert main(["video", *words, "--show", "photo", "--out", str(tmp_path / "clip.gif")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --show photo: ") and said.count("\n") == 1
    assert not (tmp_path / "clip.gif").exists()


# A10f
@pytest.mark.parametrize(("strangeness", "warns"), [(9.5, True), (1.2, False), (None, False)])
def test_a_photograph_of_something_else_is_warned_of_once(
    small_model, photograph, tmp_path, capsys, monkeypatch, strangeness, warns
):
    monkeypatch.setattr("framework.jobs.models.Networks.strangeness", lambda *_: strangeness)
    assert inverted(small_model, photograph(), tmp_path / "out") == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if "does not look like" in line]
    assert len(lines) == warns and all(line.startswith("warning: ") for line in lines)
    outcome = json.loads(said.out.splitlines()[-1])
    assert outcome["strangeness"] == strangeness
    assert outcome["familiar"] is (None if strangeness is None else not warns)
