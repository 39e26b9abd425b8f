"""A diffusion model's training: it learns, resumed is uninterrupted, mistakes are one line."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel

from framework.errors import UserError
from framework.files import sha256_file
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.models.diffusion.unet import check_diffusers
from framework.training.callbacks import RunCheckpoints
from framework.training.diffusion.module import DiffusionTraining
from framework.training.diffusion.settings import DiffusionSettings
from framework.training.phases import Micro
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
