"""Objectives against naive float64 versions; how styles are mixed."""

import math

import pytest
import torch

from framework.models.stylegan2 import losses

EXTREMES = [-90.0, -30.0, -1.0, 0.0, 1.0, 30.0, 90.0]


def negative_log_sigmoid(value):
    """-log(1 / (1 + e^-v)), by hand where that would overflow or vanish."""
    return math.log1p(math.exp(-value)) if value > 0 else -value + math.log1p(math.exp(value))


@pytest.mark.parametrize(
    ("loss", "sign"),
    [
        (losses.generator_loss, 1),
        (losses.discriminator_real_loss, 1),
        (losses.discriminator_fake_loss, -1),
    ],
)
def test_logistic_losses(loss, sign):
    logits = torch.tensor(EXTREMES, dtype=torch.float64, requires_grad=True)[:, None]
    values = loss(logits)
    assert values.shape == (7, 1)
    expected = [negative_log_sigmoid(sign * value) for value in EXTREMES]
    torch.testing.assert_close(values[:, 0].tolist(), expected)
    (slopes,) = torch.autograd.grad(values.sum(), logits)
    expected = [-sign / (1 + math.exp(sign * value)) for value in EXTREMES]
    torch.testing.assert_close(slopes[:, 0].tolist(), expected)


def test_r1_on_a_quadratic():
    """D(x) = a sum x^2 has the gradient 2 a x, so the penalty is 4 a^2 |x|^2 for each sample."""
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    penalty = losses.r1_penalty(a * x.square().sum(dim=(1, 2, 3))[:, None], x)
    assert penalty.shape == (3,)
    energy = x.detach().square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(penalty.detach(), 4 * 0.49 * energy)
    (slope,) = torch.autograd.grad(penalty.sum(), a)  # d/da 4 a^2 |x|^2
    torch.testing.assert_close(slope, 8 * 0.7 * energy.sum())


def mixed_layers(n, num_ws, probability, seed=0):
    """Which (sample, layer) comes from the others."""
    ws, other = torch.zeros(n, num_ws, 2), torch.ones(n, num_ws, 2)
    rng = torch.Generator().manual_seed(seed)
    mixed = losses.mix_styles(ws, other, probability, rng)
    assert mixed.shape == ws.shape and torch.equal(mixed[..., 0], mixed[..., 1])
    return mixed[..., 0].bool()


def test_mixing_takes_a_run_of_late_layers():
    mixed = mixed_layers(500, 6, 1.0)
    assert mixed[:, -1].all() and not mixed[:, 0].any()
    assert (mixed[:, 1:] >= mixed[:, :-1]).all()  # once crossed, never back


def test_mixing_probability_and_crossing_points():
    mixed = mixed_layers(6000, 6, 0.9)
    assert float(mixed.any(1).float().mean()) == pytest.approx(0.9, abs=0.02)
    cuts = 6 - mixed[mixed.any(1)].sum(1)
    counts = torch.bincount(cuts, minlength=6)
    assert counts[0] == 0
    expected = len(cuts) / 5
    assert all(abs(int(count) - expected) < 0.1 * expected for count in counts[1:])


def test_mixing_repeats_with_its_source_and_can_be_off():
    assert torch.equal(mixed_layers(50, 6, 0.5), mixed_layers(50, 6, 0.5))
    assert not torch.equal(mixed_layers(50, 6, 0.5), mixed_layers(50, 6, 0.5, seed=1))
    assert not mixed_layers(50, 6, 0.0).any()
