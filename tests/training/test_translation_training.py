"""Trainings of translations: losses by their formulas, resumed bit for bit, mistakes are told."""

import json
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from framework.errors import UserError
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.formats.translator_folder import WEIGHTS, load_translator
from framework.media.images import to_float
from framework.training.callbacks import RunCheckpoints
from framework.training.phases import Micro
from framework.training.trainer import TRAINER_DEFAULTS
from framework.training.translation import losses
from framework.training.translation.cyclegan import CycleGANTraining
from framework.training.translation.module import TranslationTraining, condition_of
from framework.training.translation.pix2pix import Pix2PixTraining
from framework.training.translation.settings import (
    CycleGANSettings,
    Pix2PixSettings,
    SpadeSettings,
)
from framework.training.translation.spade import SpadeTraining
from tests.training.test_training_resume import differing
from tests.training.tiny import tiny_data, tiny_module, train

BATCH, SIZE = 2, (16, 16)
JUDGE: dict[str, Any] = {"judge_width": 4, "judge_layers": 1}
KINDS: dict[str, tuple[type[TranslationTraining], dict[str, Any], dict[str, Any]]] = {
    "pix2pix": (Pix2PixTraining, {"width": 4, "depth": 3, **JUDGE}, {"condition": "sketch"}),
    "cyclegan": (
        CycleGANTraining,
        {"width": 4, "blocks": 1, "buffer": 3, **JUDGE},
        {"condition": "sketch", "paired": False},
    ),
    "spade": (
        SpadeTraining,
        {"width": 16, "z_dim": 4, "hidden": 4, "features": None, **JUDGE, "mirror": True},
        {"condition": "labels"},
    ),
}


def data_of(kind: str):
    return tiny_data(BATCH, **KINDS[kind][2])


def built(kind: str, **settings: Any) -> Any:
    """A module built for toy cars, as a run builds it."""
    module, data = KINDS[kind][0](**{**KINDS[kind][1], **settings}), data_of(kind)
    module.condition = condition_of(data, 10, kind)
    module._size = SIZE
    module.build(data, torch.device("cpu"))
    return module


def trained(folder: Path, kind: str, batches: int, start: int | None = None) -> dict[str, Any]:
    """Train up to so many batches, from a checkpoint after `start` of them; what was saved."""
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    module, data = KINDS[kind][0](**KINDS[kind][1]), data_of(kind)
    module.condition = condition_of(data, 10, kind)
    train(module, batches * BATCH, data, (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


# G30f
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_translation_is_bit_equal(kind, tmp_path):
    whole = trained(tmp_path / "whole", kind, 3)
    first = trained(tmp_path / "parts", kind, 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    assert differing(trained(tmp_path / "parts", kind, 3, 2), whole) == []
    assert whole["dragline"]["method"] == kind


def batch(kind: str, seed: int = 0) -> Micro:
    """Four toy cars with their conditions."""
    dataset = data_of(kind).dataset
    pictures = np.stack([dataset.image(i) for i in range(4)]).transpose(0, 2, 3, 1)
    rng = torch.Generator().manual_seed(seed)
    return Micro(lambda: to_float(pictures), torch.zeros(4, 0), rng)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_a_batch_by_heart(kind):
    module = built(kind, mirror=False)
    adam = torch.optim.Adam(module.translator.parameters(), lr=8e-3)
    stat = {"pix2pix": "l1", "cyclegan": "cycle", "spade": "perceptual"}[kind]
    values = []
    for step in range(15):
        outcome = module.make(batch(kind, step))
        values.append(outcome.stats[f"Loss/G/{stat}"].mean().item())
        adam.zero_grad()
        outcome.loss.backward()
        adam.step()
    assert sum(values[-3:]) < 0.9 * sum(values[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_judge_and_translator_want_opposite_things(kind):
    module = built(kind)
    micro = batch(kind)
    told = module.tell(micro).loss
    judges = list(module.judge.parameters())
    down = torch.autograd.grad(told, judges, allow_unused=True)
    assert any(g is not None and g.abs().max() > 0 for g in down)
    first = next(p for p in module.translator.parameters())
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(module.tell(micro).loss, first)
    weights = torch.autograd.grad(module.make(micro).loss, first)
    assert weights[0].abs().max() > 0


def test_pix2pix_is_log_loss_and_a_hundred_times_l1():
    module, micro = built("pix2pix", dropout=0.0), batch("pix2pix")
    conditions, pictures = micro.pictures()[:, 3:], micro.pictures()[:, :3]
    made = module.translator(conditions)
    logits = module.judge(torch.cat([conditions, made], dim=1))[0][-1]
    wanted = -torch.sigmoid(logits).log().mean() + 100 * (made - pictures).abs().mean()
    assert torch.allclose(module.make(micro).loss / 4, wanted, rtol=1e-4)
    real = module.judge(torch.cat([conditions, pictures], dim=1))[0][-1]
    told = -torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(logits)).log().mean()
    assert torch.allclose(module.tell(micro).loss / 4, told / 2, rtol=1e-4)


def test_cyclegan_never_sees_a_pair_and_comes_back():
    module = built("cyclegan", identity=0.0)
    sides = module.sides(batch("cyclegan", 3))
    made = module.translator["picture"](sides["condition"])
    back = module.translator["condition"](made)
    there = module.translator["condition"](sides["picture"])
    again = module.translator["picture"](there)
    cycle = (back - sides["condition"]).abs().mean() + (again - sides["picture"]).abs().mean()
    opinions = [module.judge["picture"](made), module.judge["condition"](there)]
    adversarial = sum((judged[0][-1] - 1).square().mean() for judged in opinions)
    assert torch.allclose(
        module.make(batch("cyclegan", 3)).loss / 4, adversarial + 10 * cycle, rtol=1e-4
    )
    with_identity = built("cyclegan").make(batch("cyclegan", 3))
    assert with_identity.stats["Loss/G/identity"].min() > 0
    pairs, others = data_of("cyclegan").dataset, tiny_data(condition="sketch").dataset
    assert np.array_equal(pairs.image(5)[:3], others.image(5)[:3])
    assert not np.array_equal(pairs.image(5)[3], others.image(5)[3])


def test_a_buffer_gives_half_of_what_was_before():
    buffer, rng = losses.Buffer(5, (1, 1, 1)), torch.Generator().manual_seed(0)
    first = torch.arange(5.0).reshape(5, 1, 1, 1)
    assert torch.equal(buffer.exchange(first, rng), first) and int(buffer.count) == 5
    later = torch.arange(5.0, 405.0).reshape(400, 1, 1, 1)
    passed = buffer.exchange(later, rng)
    older = (passed < later).float().mean()
    assert 0.4 < older < 0.6 and (passed <= later).all()
    values = torch.cat([passed.flatten(), buffer.stored.flatten()])
    assert sorted(values.tolist()) == list(range(405))  # none is lost, none twice
    assert losses.Buffer(0, (1, 1, 1)).exchange(first, rng) is first


def test_features_match_by_their_mean_absolute_difference():
    made = [[torch.ones(2, 3, 4, 4), torch.zeros(2, 1, 2, 2)]]
    real = [[torch.zeros(2, 3, 4, 4), torch.full((2, 1, 2, 2), 9.0)]]
    assert losses.matched(made, real).tolist() == [1, 1]  # logits do not count
    mean, log_variance = torch.full((1, 2), 3.0), torch.zeros(1, 2)
    assert losses.divergence(mean, log_variance).item() == 9  # sum of squares, halved


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_is_a_folder_that_loads(kind, tmp_path):
    module, data = built(kind), data_of(kind)
    data.setup("fit")
    sheets = module.exhibit(data, 4, 12)
    assert sheets.begin()["pairs"].shape == sheets.now()["translations"].shape == (8, *SIZE, 3)
    module.write_model(tmp_path, module.provenance({"count": 3}), "# card")
    loaded = load_translator(tmp_path)
    assert loaded.method == kind and loaded.img_size == SIZE
    levels = batch(kind).pictures()[:, 3:]
    ours = module.translate(module.condition.encode(levels), torch.Generator().manual_seed(1))
    theirs = loaded.pictures(levels, torch.Generator().manual_seed(1))
    assert torch.allclose(ours, theirs, atol=0.02)
    assert json.loads((tmp_path / "config.json").read_text())["provenance"]["seen_kimg"] == 0
    facts = {"size": SIZE, "count": 1, "source": "x", "paired": True}
    assert "edit.py from-" in module.card("network-1", facts)
    if kind == "spade":
        style = loaded.pictures(levels, style=torch.rand(1, 3, *SIZE))
        assert style.shape == (4, 3, *SIZE)
    else:
        with pytest.raises(UserError, match="takes no style"):
            loaded.pictures(levels, style=torch.rand(1, 3, *SIZE))


# G30f
def test_a_folder_without_a_translation_or_with_a_damaged_one_is_one_line(tmp_path):
    with pytest.raises(UserError, match=f"holds no {WEIGHTS}"):
        load_translator(tmp_path)
    built("pix2pix").write_model(tmp_path, {}, "")
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(UserError, match=WEIGHTS):
        load_translator(tmp_path)


# G32f
def test_labels_that_a_run_does_not_know_are_named(tmp_path):
    trainer = lightning.Trainer(**TRAINER_DEFAULTS, accelerator="cpu", devices=1)
    module = SpadeTraining(**{**KINDS["spade"][1], "num_labels": 5})
    module.foresee(trainer, data_of("spade"))
    with pytest.raises(UserError, match=r"num_labels 5: toycars:24 has labels up to 9; give 10"):
        module.plan(trainer, data_of("spade"))
    with pytest.raises(UserError, match=r"data.condition none: spade learns from pairs"):
        module.foresee(trainer, tiny_data(BATCH))
    with pytest.raises(UserError, match=r"data.size 18x16: must be multiples of 8"):
        module = Pix2PixTraining(**KINDS["pix2pix"][1])
        module.foresee(trainer, tiny_data(BATCH, condition="sketch", size=(18, 16)))
    with pytest.raises(UserError, match=r"data.condition labels: a number has no way back"):
        CycleGANTraining().foresee(trainer, data_of("spade"))
    with pytest.raises(UserError, match=r"data.condition sketch: this learns from pictures alone"):
        tiny_module().plan(trainer, data_of("pix2pix"))


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (Pix2PixSettings, {"depth": 1}),
        (Pix2PixSettings, {"dropout": 1.0}),
        (CycleGANSettings, {"cycle": -1.0}),
        (CycleGANSettings, {"buffer": 1.5}),
        (SpadeSettings, {"num_labels": 1}),
        (SpadeSettings, {"judge_scales": 0}),
    ],
)
def test_settings_that_cannot_be_are_named(settings, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        settings(**wrong)
