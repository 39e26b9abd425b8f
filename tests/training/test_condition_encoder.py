"""Training of encoders of sketches and labels: they learn, resume bit for bit, refuse in a line."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from framework.errors import UserError
from framework.formats import load_generator
from framework.formats.condition_file import NAMES, load_condition_encoder
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.training.alignment.conditions import (
    ConditionEncoderSettings,
    ConditionEncoderTraining,
)
from framework.training.callbacks import RunCheckpoints
from framework.training.data import TrainingImages
from framework.training.phases import Micro
from framework.training.trainer import TRAINER_DEFAULTS
from framework.training.translation.module import condition_of
from tests.cli.conftest import save_small_model
from tests.training.test_training_resume import differing
from tests.training.tiny import tiny_data, train

BATCH = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small", encoder=True)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def tiny(model: Path, kind: str = "sketch", **settings: Any) -> ConditionEncoderTraining:
    sizes = {"coordinates": 6, "hidden": 16, "width": 4}
    module = ConditionEncoderTraining(generator=str(model), **{**sizes, **settings})
    module.condition = condition_of(pictures(kind), module.settings.num_labels, "it")
    return module


def pictures(kind: str = "sketch", **settings: Any) -> TrainingImages:
    settings = {"source": "toycars:40", "held_out": 0.2, "condition": kind, **settings}
    return tiny_data(BATCH, **settings)


def trained(model: Path, folder: Path, batches: int, start: int | None = None) -> dict[str, Any]:
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    train(tiny(model), batches * BATCH, pictures(), (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


# G30f
def test_a_resumed_condition_encoder_is_bit_equal(model, tmp_path):
    whole = trained(model, tmp_path / "whole", 3)
    first = trained(model, tmp_path / "parts", 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    assert differing(trained(model, tmp_path / "parts", 3, 2), whole) == []


@pytest.mark.parametrize("kind", ["sketch", "labels"])
def test_it_learns_pairs_by_heart_and_its_file_reads_the_same(model, kind, tmp_path):
    module, data = tiny(model, kind), pictures(kind)
    train(module, BATCH, data)  # type: ignore[arg-type]
    adam, losses = torch.optim.Adam(module.encoder.parameters(), lr=1e-2), []
    module.encoder.requires_grad_(True)
    for _ in range(30):
        micro = Micro(lambda: torch.zeros(8), torch.zeros(8, 0), torch.Generator().manual_seed(0))
        outcome: Any = module.phases[0].objective(micro)
        losses.append(outcome.loss.item())
        adam.zero_grad()
        outcome.loss.backward()
        adam.step()
    assert min(losses) < losses[0] - 0.3 * abs(losses[0])
    sheets = module.exhibit(data, 2, 6).now()
    assert sheets["described"].shape == (6, 16, 16, 3)
    module.write_model(tmp_path, module.provenance({"count": 1}), "# card")
    digests = load_generator(model).digest, module.opened.encoder_digest
    loaded = load_condition_encoder(tmp_path, kind, *digests, "small")  # type: ignore[arg-type]
    conditions = data.images[:2, 3:]
    assert torch.allclose(loaded(conditions).mean, module.encoder_ema(conditions).mean, atol=0.05)
    if kind == "labels":
        assert loaded.condition.names[4] == "window"
    with pytest.raises(UserError, match=r"no such file; python train.py fit --config configs/"):
        load_condition_encoder(tmp_path / NAMES["labels"][:3], "labels", *digests, "small")


def test_thick_lines_are_drawn_for_some_sketches_and_never_for_labels(model):
    module, data = tiny(model, thick=1.0), pictures()
    train(module, BATCH, data)  # type: ignore[arg-type]
    micro = Micro(lambda: torch.zeros(8), torch.zeros(8, 0), torch.Generator().manual_seed(0))
    thick = module.pairs(micro)[0]
    module.settings = ConditionEncoderSettings(thick=0.0)
    thin = module.pairs(micro)[0]
    assert thick.dtype == thin.dtype == torch.uint8 and thick.shape == (8, 1, 16, 16)
    assert (thick <= thin).all() and thick.float().mean() < thin.float().mean()


def test_what_it_cannot_learn_from_is_one_line(model):
    trainer = lightning.Trainer(**TRAINER_DEFAULTS, accelerator="cpu", devices=1)
    for data, message in (
        (tiny_data(BATCH), "data.condition none: this learns from pairs with sketch or labels"),
        (pictures(paired=False), "data.condition no pairs"),
        (pictures(size=32), "data.size 32x32"),
        (pictures(channels=1), "data.channels"),
    ):
        with pytest.raises(UserError, match=message):
            tiny(model).foresee(trainer, data)
    with pytest.raises(UserError, match="thick"):
        ConditionEncoderSettings(thick=2.0)
