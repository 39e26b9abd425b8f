"""A diffusion model's training: it learns, resumed is uninterrupted, mistakes are one line."""

import json
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from diffusers import UNet2DModel

from framework.errors import UserError
from framework.files import sha256_file
from framework.formats.opening import load_generator
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.models.diffusion.unet import check_diffusers
from framework.training.callbacks import RunCheckpoints
from framework.training.diffusion.lora import LoraTraining
from framework.training.diffusion.module import DiffusionTraining
from framework.training.diffusion.settings import DiffusionSettings
from framework.training.phases import Micro
from framework.training.trainer import TRAINER_DEFAULTS
from tests.models.diffusion.tiny import tiny_folder
from tests.training.test_training_resume import differing
from tests.training.tiny import in_groups, tiny_data, train

BATCH, SIZE = 4, (16, 16)
TINY: dict[str, Any] = {
    "channels": (16, 16), "attention_px": 4, "head_width": 8, "timesteps": 20, "sample_steps": 2,
    "warmup_kimg": 0.0, "low_precision": "none",
}  # fmt: skip


def module_of(**settings: Any) -> DiffusionTraining:
    return DiffusionTraining(**in_groups(DiffusionSettings, **{**TINY, **settings}))


def assembled(**settings: Any) -> DiffusionTraining:
    module = module_of(**settings)
    module.assemble(SIZE, 3, 0, torch.device("cpu"), BATCH)
    return module


def trained(folder: Path, batches: int, start: int | None = None) -> dict[str, Any]:
    """Train up to so many batches, from a checkpoint after `start` of them; what was saved."""
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    train(module_of(), batches * BATCH, tiny_data(BATCH), (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


def test_a_resumed_diffusion_run_is_bit_equal(tmp_path):
    """C29f."""
    whole = trained(tmp_path / "whole", 4)
    first = trained(tmp_path / "parts", 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    assert differing(trained(tmp_path / "parts", 4, 2), whole) == []
    assert whole["dragline"]["unet"]["channels"] == [16, 16]
    with pytest.raises(UserError, match=r"its network-\* folders beside the checkpoints"):
        load_generator(checkpoint_path(tmp_path / "whole", 4 * BATCH))


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_it_learns_a_batch_by_heart(prediction):
    module = assembled(prediction=prediction)
    pictures = torch.full((8, 3, *SIZE), 0.8)
    pictures[:, 1, :8] = -0.8
    adam, losses = torch.optim.Adam(module.unet.parameters(), lr=1e-2), []
    for step in range(50):
        rng = torch.Generator().manual_seed(step)
        outcome = module.objective.main(Micro(lambda: pictures, torch.zeros(8, 0), rng))
        losses.append(outcome.loss.item())
        adam.zero_grad()
        outcome.loss.backward()
        adam.step()
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_a_snapshot_is_a_folder_of_diffusers(tmp_path):
    module = assembled()
    module.write_model(tmp_path, module.provenance({"count": 3}), "# card")
    unet = UNet2DModel.from_pretrained(tmp_path, subfolder="unet")
    assert differing(unet.state_dict(), module.unet_ema.state_dict()) == []
    assert unet.config["sample_size"] == 8 and unet.config["in_channels"] == 12
    description = json.loads((tmp_path / "config.json").read_text())
    assert description["provenance"]["training"]["unet"]["cell_px"] == 2
    for name, digest in description["sha256"].items():
        assert sha256_file(tmp_path / name) == digest


def test_its_sheets_are_pictures_of_the_data_and_of_the_same_noise():
    module, data = assembled(), tiny_data()
    data.setup("fit")
    sheets = module.exhibit(data, 4, 8)
    assert sheets.begin()["reals"].shape == (8, *SIZE, 3)
    assert (sheets.now()["fakes"] == sheets.now()["fakes"]).all()
    assert "Diffusion model" in module.card("network-1", {"size": SIZE, "count": 1, "source": "x"})


def test_attention_is_where_the_settings_say():
    kinds = assembled(attention_px=8).unet.config["up_block_types"]
    assert kinds == ("AttnUpBlock2D", "AttnUpBlock2D")
    assert assembled(attention_px=4).unet.config["up_block_types"] == (
        "AttnUpBlock2D",
        "UpBlock2D",
    )
    assert assembled(attention_px=0).unet.config["down_block_types"] == ("DownBlock2D",) * 2


def test_a_training_without_diffusers_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'dragline\[diffusion\]'"):
        check_diffusers()


def test_a_size_that_cannot_be_halved_is_named():
    with pytest.raises(UserError, match=r"data.size 18x16: must be multiples of 4"):
        module_of()._new((18, 16), 3)


@pytest.mark.parametrize(
    ("wrong", "about"),
    [
        ({"channels": (17,)}, "multiples of 16"),
        ({"channels": ()}, "unet.channels"),
        ({"prediction": "epsilon"}, "prediction"),
        ({"noise": "pink"}, "noise"),
        ({"sample_steps": 21}, "at most 20"),
        ({"snr_gamma": 0.0}, "snr_gamma"),
    ],
)
def test_settings_that_cannot_be_are_named(wrong, about):
    with pytest.raises(UserError, match=about):
        DiffusionSettings(**in_groups(DiffusionSettings, **{**TINY, **wrong}))


# ------------------------------------------------------------------------------- identity LoRAs


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "m")


def lora_of(model: Path, **settings: Any) -> LoraTraining:
    return LoraTraining(**{"generator": str(model), "rank": 2, "lr": 0.02, **settings})


def lora_trained(model: Path, folder: Path, batches: int, start: int | None = None) -> dict:
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    data = tiny_data(BATCH, source="toycars:1", size=32)
    train(lora_of(model), batches * BATCH, data, (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


def test_a_stopped_lora_resumes_bit_for_bit(model, tmp_path):
    """C29f."""
    whole = lora_trained(model, tmp_path / "whole", 4)
    first = lora_trained(model, tmp_path / "parts", 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    assert differing(lora_trained(model, tmp_path / "parts", 4, 2), whole) == []
    assert all(name.startswith("lora.") for name in whole["state_dict"])  # not the model


def test_a_loras_snapshot_is_the_model_with_its_changes(model, tmp_path):
    module = lora_of(model)
    module.assemble((32, 32), 3, 0, torch.device("cpu"), BATCH)
    with torch.no_grad():
        module.lora[1].normal_(generator=torch.Generator().manual_seed(0))
    folder = tmp_path / "network-1"
    folder.mkdir()
    module.write_model(folder, module.provenance({"count": 1}), module.card("n", {
        "count": 1, "source": "x"
    }))  # fmt: skip
    opened, original = load_generator(folder), load_generator(model)
    assert opened.digest != original.digest
    x = torch.randn(1, 12, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(opened.output(x, 20), module._network[0].output(x, 20), atol=1e-4)
    assert opened.provenance["lora"]["training"]["rank"] == 2
    data = tiny_data(source="toycars:1", size=32)
    data.setup("fit")
    assert module.exhibit(data, 4, 8).now()["fakes"].shape == (8, 32, 32, 3)


def test_a_lora_of_another_size_or_model_is_one_line(model):
    trainer = lightning.Trainer(**{**TRAINER_DEFAULTS, "accelerator": "cpu"})
    with pytest.raises(UserError, match=r"data.size 16x16: this model has 32x32 RGB"):
        lora_of(model).foresee(trainer, tiny_data(BATCH))
    with pytest.raises(UserError, match="toycars64: no diffusion model"):
        _ = lora_of(Path("toycars64")).opened
