"""What each phase differentiates, for every choice of loss and regularisation."""

from pathlib import Path
from typing import Any

import pytest
import torch

from framework.checkpoint import latest_whole
from framework.models.stylegan2.game import Micro
from framework.models.stylegan2.module import StyleGAN2Training
from framework.models.stylegan2.state import fitted
from framework.training.callbacks import RunCheckpoints
from framework.training.data import Batch
from framework.training.randomness import keyed_generator
from tests.training.tiny import tiny_module, train

CPU, ONE = torch.device("cpu"), torch.ones(())


def assembled(c_dim: int = 0, batch: int = 4, **settings: Any) -> StyleGAN2Training:
    """A training's networks and phases, without a trainer."""
    module = tiny_module(**settings)
    module.assemble((16, 16), 3, c_dim, CPU, batch)
    return module


def some_batch(n: int = 4, c_dim: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=rng)
    labels = torch.eye(c_dim)[torch.arange(n) % c_dim] if c_dim else torch.zeros(n, 0)
    return Batch(images, labels, 0)


def rng() -> torch.Generator:
    return keyed_generator("cpu", 1)


def listed(module: StyleGAN2Training) -> list[tuple[str, str, str, int]]:
    networks = {id(module.generator): "G", id(module.discriminator): "D"}
    return [(p.name, p.timing, networks[id(p.network)], p.interval) for p in module.phases]


def test_path_length_is_a_phase_of_the_generators_and_nothing_without_weight():
    module = assembled(pl_weight=2.0)
    assert listed(module) == [
        ("Gmain", "Gmain", "G", 1), ("Gpl", "Greg", "G", 4),
        ("Dmain", "Dmain", "D", 1), ("Dr1", "Dreg", "D", 4),
    ]  # fmt: skip
    without = assembled()
    assert [phase.name for phase in without.phases] == ["Gmain", "Dmain", "Dr1"]
    extra = set(module.state_dict()) - set(without.state_dict())
    assert extra == {"path_length.mean.value"}


def test_path_length_sees_a_share_of_the_samples_and_makes_up_for_it():
    module = assembled(pl_weight=3.0, pl_interval=8)
    module.path_length.mean.value.fill_(0.7)
    loss = module.phase_loss("Gpl", some_batch(5), rng())
    source = rng()
    micro = Micro(some_batch(5).pictures, torch.zeros(2, 0), source)  # two of the five
    images, ws, _ = module.game.fakes(micro)
    noise = torch.randn(2, 3, 16, 16, generator=source) / 16
    lengths = []
    for i in range(2):
        grads = torch.autograd.grad((images[i] * noise[i]).sum(), ws, retain_graph=True)[0][i]
        lengths.append(sum(float(row.square().sum()) for row in grads) / len(grads))
    penalty = sum((length**0.5 - 0.7) ** 2 for length in lengths) / 2
    assert loss.item() == pytest.approx(3.0 * 8 * 5 * penalty, rel=1e-4)


def test_path_length_slows_the_generators_optimizer():
    module = assembled(pl_weight=2.0, pl_interval=4, lr=0.0025, r1_gamma=0)
    g, d = (made.param_groups[0] for made in module.configure_optimizers())
    assert g["lr"] == pytest.approx(0.0025 * 4 / 5)
    assert g["betas"] == (0.0, pytest.approx(0.99 ** (4 / 5)))
    assert (d["lr"], d["betas"]) == (0.0025, (0.0, 0.99))


def saved(tmp_path: Path, images: int = 8, **settings: Any) -> Path:
    """A checkpoint of a training with `settings`."""
    train(tiny_module(**settings), images, callbacks=(RunCheckpoints(tmp_path, 1, 1, keep=1),))
    checkpoint = latest_whole(tmp_path)
    assert checkpoint is not None
    return checkpoint


def test_a_run_goes_on_with_regularisation_that_its_checkpoint_knows_nothing_of(tmp_path):
    module = tiny_module(pl_weight=2.0)
    trainer = train(module, 12, checkpoint=saved(tmp_path))
    assert module.seen_images == 12 and trainer.global_step == 3
    assert module.path_length.mean.value.item() == 0  # its turn comes at the fifth batch
    assert len(trainer.optimizers[0].state) == len(list(module.generator.parameters()))


def test_a_run_goes_on_without_regularisation_that_its_checkpoint_had(tmp_path):
    module = tiny_module()
    train(module, 12, checkpoint=saved(tmp_path, pl_weight=2.0))
    assert module.seen_images == 12 and module.path_length is None


def test_only_what_lies_beside_the_networks_may_be_missing():
    ours = {"generator.a": ONE, "discriminator.b": ONE, "path_length.c": ONE, "ada.d": ONE}
    held = {"generator.a": ONE * 2, "ada.d": ONE * 2, "gone.e": ONE * 2}
    assert fitted(held, ours) == {"generator.a": ONE * 2, "path_length.c": ONE, "ada.d": ONE * 2}
