"""Objectives against naive float64 versions; how styles are mixed."""

import math

import pytest
import torch

from framework.models.stylegan2 import losses
from framework.models.stylegan2.regularizers import PathLength, RunningMean

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


def test_path_lengths_of_a_linear_generator():
    """Pictures A w have the Jacobian A: the length is |A^T y| / sqrt(H W), layer by layer."""
    n, num_ws, w_dim, size = 3, 4, 5, (2, 3, 6)
    a = torch.randn(num_ws, w_dim, *size, dtype=torch.float64, requires_grad=True)
    ws = torch.randn(n, num_ws, w_dim, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(n, *size, dtype=torch.float64)
    lengths = losses.path_lengths(torch.einsum("nlw,lwchx->nchx", ws, a), ws, noise)
    assert lengths.shape == (n,)
    for i in range(n):
        squares = 0.0
        for layer in range(num_ws):
            for k in range(w_dim):
                squares += ((a[layer, k] * noise[i]).sum() / math.sqrt(3 * 6)).item() ** 2
        assert lengths[i].item() == pytest.approx(math.sqrt(squares / num_ws))
    (slope,) = torch.autograd.grad(lengths.sum(), a)
    assert torch.allclose((slope * a).sum(), lengths.sum())  # lengths are of degree 1 in A


def test_a_running_mean_keeps_its_share_and_passes_over_what_is_not_finite():
    mean = RunningMean(2, decay=0.75)
    mean.update(torch.tensor([4.0, -4.0]))
    assert mean.value.tolist() == [1.0, -1.0]
    mean.update(torch.tensor([torch.nan, 7.0]))
    assert mean.value.tolist() == [1.0, 1.0]
    assert list(mean.state_dict()) == ["value"]


def test_the_path_length_penalty_is_the_squared_distance_from_the_mean():
    pl = PathLength(2.0, 4, decay=0.01, batch_shrink=2)
    pl.mean.update(torch.tensor([300.0]))
    ws, a = (torch.full((1, 1, 1), value, requires_grad=True) for value in (1.0, 7.0))
    penalty, length = pl((ws * a)[..., None], ws, torch.ones(1, 1, 1, 1))
    assert (length.item(), penalty.item()) == (7.0, pytest.approx(16.0, abs=1e-3))
    assert penalty.requires_grad
