"""torch.compile is no option of training (benchmarks/README.md), but must change no number."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch._dynamo import config
from torch._dynamo.utils import counters

from framework.training.data import Batch
from framework.training.randomness import keyed_generator
from framework.training.stylegan2.module import StyleGAN2Training
from tests.training.tiny import tiny_module

SIDE = 8


def assembled() -> StyleGAN2Training:
    torch.manual_seed(0)
    module = tiny_module(style_mixing_prob=1.0)
    module.assemble((SIDE, SIDE), 3, 0, torch.device("cpu"), 4)
    with torch.no_grad():
        for parameter in module.parameters():  # biases and noise strengths begin at 0
            parameter += 0.05 * torch.randn(parameter.shape)
    return module


def loss_and_gradients(
    module: StyleGAN2Training, name: str
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What a phase makes of always the same pictures and draws."""
    rng = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8, generator=rng)
    batch = Batch(images, torch.zeros(4, 0), 0)
    network = next(phase.network for phase in module.phases if phase.name == name)
    loss = module.phase_loss(name, batch, keyed_generator("cpu", 0, 0, name))
    names, weights = zip(*network.named_parameters(), strict=True)
    return loss, dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


@contextmanager
def fresh_compiler() -> Iterator[None]:
    """Nothing compiled before or after; and as many sizes as there are layers."""
    torch._dynamo.reset()
    counters.clear()
    with config.patch(recompile_limit=64):
        yield
    torch._dynamo.reset()


# H16
@pytest.mark.slow
def test_compiled_networks_have_the_same_loss_gradients_and_names():
    module = assembled()
    phases = ("Gmain", "Dmain")  # those of R1 and path lengths want second derivatives
    expected = {name: loss_and_gradients(module, name) for name in phases}
    names = list(module.state_dict())
    with fresh_compiler():
        # In place: torch.compile(network) would be a module around it, with names of its own.
        for network in (module.generator.synthesis, module.discriminator):
            network.compile()
        for name in phases:
            counters.clear()
            loss, gradients = loss_and_gradients(module, name)
            assert counters["stats"]["unique_graphs"] > 0
            torch.testing.assert_close(loss, expected[name][0])
            torch.testing.assert_close(gradients, expected[name][1], rtol=1e-4, atol=1e-6)
    assert list(module.state_dict()) == names
