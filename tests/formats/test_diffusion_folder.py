"""Folders of diffusers: both kinds open; whatever is wrong with one is a line."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMPipeline

from framework.cli.edit import main
from framework.errors import BrokenCheckpoint, UserError
from framework.evaluation.drag.keypoints import KeypointJudge
from framework.formats.diffusion_folder import load_diffusion, save_diffusion_folder
from framework.formats.opening import ZOO, load_generator, load_prompted, open_model
from framework.media.images import to_uint8
from tests.models.diffusion.tiny import SCHEDULER, stable_folder, tiny_folder, tiny_unet

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("m") / "m")


@pytest.fixture(scope="module")
def stable(tmp_path_factory) -> Path:
    return stable_folder(tmp_path_factory.mktemp("sd") / "sd")


@pytest.fixture
def folder(shared, tmp_path) -> Path:
    """A copy to be damaged, without our own digests, as other programs write it."""
    copy = Path(shutil.copytree(shared, tmp_path / "m"))
    (copy / "config.json").unlink()
    return copy


@pytest.fixture
def stable_copy(stable, tmp_path) -> Path:
    return Path(shutil.copytree(stable, tmp_path / "sd"))


def changed(path: Path, **values: Any) -> None:
    """Change values of a table; None removes one."""
    table = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({n: v for n, v in table.items() if v is not None}))


def test_a_model_of_pixels_is_read_back(shared):
    generator = load_generator(shared)
    unet = tiny_unet()
    assert all(torch.equal(v, unet.state_dict()[n]) for n, v in generator.unet.state_dict().items())
    assert generator.provenance == {"data": "none"} and generator.img_size == [32, 32]
    assert not any(p.requires_grad for p in generator.parameters())
    opened = open_model(shared)
    assert opened.networks == ("diffusion",)


def test_it_is_a_pipeline_of_diffusers(shared):
    pipeline = DDIMPipeline.from_pretrained(shared)
    assert pipeline.unet.config.in_channels == 12


def test_half_precision_is_read_into_float32_on_any_device(tmp_path):
    """C23f. Nothing is computed in float16 on a CPU, where it is slow or missing."""
    generator = load_diffusion(tiny_folder(tmp_path, half=True))
    assert {p.dtype for p in generator.parameters()} == {torch.float32}
    expected = tiny_unet().state_dict()["conv_in.weight"].half().float()
    assert torch.equal(generator.unet.state_dict()["conv_in.weight"], expected)


def test_stable_diffusions_kind_opens_with_its_text(stable):
    generator = load_generator(stable)
    assert (generator.num_ws, generator.w_dim, generator.img_size) == (8, 256, [32, 32])
    with torch.no_grad():
        ws = generator.mapping(torch.zeros(1, generator.z_dim))
        assert generator.synthesis(ws).shape == (1, 3, 32, 32)
        back = generator.inverted(generator.synthesis(ws))
    assert back.shape == ws.shape
    prompted = load_prompted(open_model(stable), "a car")
    assert prompted.digest != generator.digest  # another text is another model


def test_a_variant_of_half_precision_is_found(stable_copy):
    unet = stable_copy / "unet"
    (unet / WEIGHTS).rename(unet / "diffusion_pytorch_model.fp16.safetensors")
    assert load_diffusion(stable_copy).num_ws == 8


def refused(folder: Path, about: str, kind: type[UserError] = UserError, **choices: Any) -> None:
    with pytest.raises(kind, match=about) as caught:
        load_diffusion(folder, **choices)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "about"),
    [
        ({"unet": ["diffusers", "UNet3DConditionModel"]}, "its unet is a UNet3DConditionModel"),
        ({"unet": None, "transformer": ["diffusers", "FluxTransformer2DModel"],
          "_class_name": "FluxPipeline"}, "a FluxPipeline has no unet"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "has controlnet: of a kind"),
        ({"scheduler": None}, "has no scheduler"),
        ({"unet": 7}, "has no unet"),
    ],
)  # fmt: skip
def test_a_pipeline_of_an_unknown_kind(folder, values, about):
    """C20f."""
    changed(folder / "model_index.json", **values)
    refused(folder, about)


def test_a_scheduler_that_is_missing_or_of_another_kind(folder):
    """C21f."""
    path = folder / "scheduler" / "scheduler_config.json"
    changed(path, beta_schedule="sigmoid")
    refused(folder, r"scheduler_config.json: beta_schedule 'sigmoid': linear")
    path.unlink()
    refused(folder, r"scheduler_config.json: missing; fetch the whole folder")


def test_sizes_that_do_not_fit(folder):
    """C22f."""
    path = folder / "unet" / "config.json"
    changed(path, block_out_channels=[16, 16, 32])
    refused(folder, "tensors do not fit unet/config.json", BrokenCheckpoint)
    changed(path, block_out_channels=[16, 16, 10**9])
    refused(folder, "are no sizes", BrokenCheckpoint)
    changed(path, block_out_channels=[16, 16, 16], down_block_types=["NoBlock"] * 3)
    refused(folder, "not a UNet2DModel's", BrokenCheckpoint)
    path.write_text("{")
    refused(folder, "not a table of a diffusion model", BrokenCheckpoint)


def test_parts_of_different_models(stable_copy):
    """C22f."""
    path = stable_copy / "vae" / "config.json"
    changed(path, latent_channels=3)
    refused(stable_copy, "do not fit vae/config.json", BrokenCheckpoint)
    changed(stable_copy / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    refused(stable_copy, "its vae is a AutoencoderTiny")


def test_channels_that_are_no_pictures(tmp_path):
    """C22f."""
    unet: Any = tiny_unet()
    config = {**dict(unet.config), "in_channels": 5, "out_channels": 5}
    odd = type(unet).from_config(config)
    refused(save_diffusion_folder(tmp_path, odd, SCHEDULER), "5 channels; models of RGB")


def test_weights_that_are_half_downloaded(folder):
    """C24f."""
    path = folder / "unet" / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(folder, WEIGHTS, BrokenCheckpoint)
    path.unlink()
    refused(folder, "missing; fetch the whole folder again")
    (folder / "unet" / f"{WEIGHTS}.incomplete").write_bytes(whole[:100])
    refused(folder, "is half downloaded; fetch")


def test_weights_as_pickles_are_not_opened(folder):
    """C24f."""
    (folder / "unet" / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    refused(folder, "weights as pickles; fetch the same as safetensors")


def test_weights_that_are_not_finite(tmp_path):
    """C24f."""
    unet: Any = tiny_unet()
    unet.conv_in.weight[0, 0, 0, 0] = float("nan")
    folder = save_diffusion_folder(tmp_path, unet, SCHEDULER)
    refused(folder, "values that are not finite", BrokenCheckpoint)


def test_a_changed_byte_of_our_own_folder(shared, tmp_path):
    """C24f."""
    folder = Path(shutil.copytree(shared, tmp_path / "m"))
    changed(folder / "scheduler" / "scheduler_config.json", beta_end=0.03)
    refused(folder, "its digest is not the one in config.json", BrokenCheckpoint)
    (folder / "scheduler" / "scheduler_config.json").unlink()
    refused(folder, "missing, config.json names it", BrokenCheckpoint)


def test_a_text_encoder_that_is_missing_or_damaged(stable_copy):
    """C26f."""
    path = stable_copy / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    refused(stable_copy, "its text encoder does not open", BrokenCheckpoint)
    shutil.rmtree(stable_copy / "tokenizer")
    refused(stable_copy, r"tokenizer: missing; fetch the whole folder")


def test_a_text_that_is_too_long_or_not_taken(stable, shared):
    """C26f."""
    refused(stable, r"prompt 42 words and signs: this model reads 16", prompt="a " * 40)
    with pytest.raises(UserError, match=r"prompt 'a car': this model takes no text"):
        load_prompted(open_model(shared), "a car")


def test_without_diffusers_it_is_one_line(shared, monkeypatch):
    """C25f."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    refused(shared, r"pip install 'dragline\[diffusion\]'")


def test_a_drag_on_the_command_line_makes_the_same_files(shared, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["drag", "--model", str(shared), "--seed", "3", "--points", "10,12:20,12", "--steps",
             "2", "--no-video", "--json", "--wandb", "disabled", "--out", str(out)]  # fmt: skip
    assert main(words) == 0
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert outcome["steps"] == 2 and {path.name for path in out.iterdir()} == {
        "before.png", "after.png", "side_by_side.png", "edit.safetensors", "stats.jsonl",
    }  # fmt: skip
    words = ["drag", "--edit", str(out / "edit.safetensors"), "--steps", "1", "--no-video",
             "--wandb", "disabled", "--out", str(tmp_path / "on")]  # fmt: skip
    assert main(words) == 0


def test_a_mistake_about_the_model_is_one_line_on_the_command_line(folder, tmp_path, capsys):
    """C20f."""
    changed(folder / "model_index.json", unet=["diffusers", "UNet3DConditionModel"])
    words = ["drag", "--model", str(folder), "--seed", "3", "--points", "10,12:20,12", "--out",
             str(tmp_path / "out")]  # fmt: skip
    assert main(words) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: --model") and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [["export", "{}", "--to", "onnx", "--out", "{out}"], ["import", "{}", "--out", "{out}"],
     ["invert-report", "--model", "{}", "--data", "toycars:4", "--out", "{out}"]],
)  # fmt: skip
def test_what_is_for_a_stylegan2_alone_is_refused_in_one_line(shared, tmp_path, capsys, words):
    """C20f."""
    out = tmp_path / "out"
    assert main([word.format(shared, out=out) for word in words]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1 and "diffus" in line
    assert not out.exists()


def test_the_shipped_model_draws_cars():
    """The judge of drawings is as sure of its cars as of drawings, and not of noise."""
    folder = ZOO / "toycars64-diffusion"
    assert sum(file.stat().st_size for file in folder.rglob("*.safetensors")) < 8e6
    generator, judge = load_diffusion(folder, steps=10), KeypointJudge.load()
    z = torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cars = to_uint8(generator.synthesis(generator.mapping(z)))
    noise = to_uint8(generator.space.decode(z.view(4, 12, 32, 32)))
    assert judge(cars).confidence.mean() > 0.6 > judge(noise).confidence.mean()
    assert generator.provenance


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    words = r"a diffusion model needs diffusers: pip install 'dragline\[diffusion\]'"
    with pytest.raises(UserError, match=words):
        load_generator("toycars64-diffusion")
