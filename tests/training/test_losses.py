"""Objectives against naive float64 versions; how styles are mixed."""

import itertools
import math

import pytest
import torch

from framework.training.stylegan2 import losses
from framework.training.stylegan2.objectives import LOSSES, lecam
from framework.training.stylegan2.regularizers import LeCam, PathLength, RunningMean

EXTREMES = [-90.0, -30.0, -1.0, 0.0, 1.0, 30.0, 90.0]


def negative_log_sigmoid(value):
    """-log(1 / (1 + e^-v)), by hand where that would overflow or vanish."""
    return math.log1p(math.exp(-value)) if value > 0 else -value + math.log1p(math.exp(value))


# From numbers to numbers: the generator's loss of a margin, the discriminator's of fake and real.
NAIVE = {
    "nonsaturating": (
        negative_log_sigmoid,
        lambda fake, real: negative_log_sigmoid(-fake) + negative_log_sigmoid(real),
    ),
    "hinge": (
        lambda fake: -fake,
        lambda fake, real: max(0.0, 1 + fake) + max(0.0, 1 - real),
    ),
    "wgan-gp": (lambda fake: -fake, lambda fake, real: fake - real),
    "relativistic": (negative_log_sigmoid, lambda fake, real: negative_log_sigmoid(real - fake)),
}


def slope(function, *values, step=1e-6):
    """Central differences with respect to each value."""
    slopes = []
    for i, value in enumerate(values):
        up, down = ([*values[:i], value + sign * step, *values[i + 1 :]] for sign in (1, -1))
        slopes.append((function(*up) - function(*down)) / (2 * step))
    return slopes


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_slopes_equal_naive_ones(name):
    loss, (generator, discriminator) = LOSSES[name], NAIVE[name]
    pairs = list(itertools.product(EXTREMES, EXTREMES))
    logits = torch.tensor(pairs, dtype=torch.float64, requires_grad=True)
    fake, real = logits[:, :1], logits[:, 1:]
    values = loss.discriminator(fake, real)
    assert values.shape == (len(pairs), 1)
    torch.testing.assert_close(values[:, 0].tolist(), [discriminator(*pair) for pair in pairs])
    (slopes,) = torch.autograd.grad(values.sum(), logits)
    smooth = [i for i, (f, r) in enumerate(pairs) if name != "hinge" or (f != -1 and r != 1)]
    expected = [slope(discriminator, *pairs[i]) for i in smooth]
    torch.testing.assert_close(slopes[smooth].tolist(), expected, atol=1e-7, rtol=1e-7)
    values = loss.generator(fake)
    torch.testing.assert_close(values[:, 0].tolist(), [generator(pair[0]) for pair in pairs])
    (slopes,) = torch.autograd.grad(values.sum(), logits)
    expected = [slope(generator, pair[0])[0] for pair in pairs]
    torch.testing.assert_close(slopes[:, 0].tolist(), expected, atol=1e-7, rtol=1e-7)


def test_lecam_draws_logits_over_to_the_other_sides_mean_from_one_side_only():
    fake, real = torch.tensor([[-3.0], [2.0]]), torch.tensor([[4.0], [-1.0]])
    values = lecam(fake, real, torch.tensor(-0.5), torch.tensor(1.0))
    # (4 + 0.5)^2 + (1 + 3)^2; a real logit below the fakes' mean and a fake above are left alone.
    assert values.tolist() == [[36.25], [0.0]]


def test_lecams_anchors_are_the_mean_of_the_batches_from_the_first_on():
    regularisation = LeCam(0.3, decay=0.9)
    logits = torch.zeros(1, 1)
    assert regularisation(logits, logits).item() == 0
    for fake, real in ((-2.0, 4.0), (-1.0, 1.0)):
        regularisation.anchors.update(torch.tensor([fake, real]))
    fake, real = -(0.9 * 2 + 1) / 1.9, (0.9 * 4 + 1) / 1.9
    torch.testing.assert_close(regularisation.anchors.unbiased(), torch.tensor([fake, real]))
    assert regularisation(logits, logits).item() == pytest.approx(fake**2 + real**2)


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


def test_the_penalty_of_interpolates_on_a_quadratic():
    """D(x) = a |x|^2 / 2 has a gradient of length a |x|, so the penalty is (a |x| - 1)^2."""
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    penalty = losses.unit_slope_penalty(a / 2 * x.square().sum(dim=(1, 2, 3))[:, None], x)
    length = x.detach().square().sum(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(penalty.detach(), (0.7 * length - 1).square())
    (slope,) = torch.autograd.grad(penalty.sum(), a)
    torch.testing.assert_close(slope, (2 * (0.7 * length - 1) * length).sum())


def test_a_flat_discriminator_has_a_penalty_of_one_and_a_finite_slope():
    x = torch.zeros(2, 1, 3, 3, requires_grad=True)
    a = torch.tensor(0.7, requires_grad=True)
    penalty = losses.unit_slope_penalty(a * x.square().sum(dim=(1, 2, 3))[:, None], x)
    assert penalty.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert torch.autograd.grad(penalty.sum(), a)[0].isfinite()


def test_interpolates_lie_on_the_lines_one_draw_a_pair():
    real, fake = torch.full((500, 1, 2, 2), 3.0), torch.full((500, 1, 2, 2), 1.0)
    between = losses.interpolates(real, fake, torch.Generator().manual_seed(0))
    assert torch.equal(between, between[:, :, :1, :1].expand_as(between))
    shares = (between[:, 0, 0, 0] - 1) / 2
    assert 0 <= shares.min() < 0.05 and 0.95 < shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_penalty_without_a_graph_is_an_error(monkeypatch):
    """H16: as older versions of torch gave where compiled functions were differentiated twice."""
    x, a = (torch.ones(2, 1, 3, 3, requires_grad=True) for _ in range(2))
    real = torch.autograd.grad

    def without_graph(*args, **options):
        return real(*args, **options | {"create_graph": False})

    monkeypatch.setattr(torch.autograd, "grad", without_graph)
    with pytest.raises(AssertionError, match="no graph"):
        losses.r1_penalty((a * x.square()).sum(dim=(1, 2, 3))[:, None], x)
    with pytest.raises(AssertionError, match="no graph"):
        losses.path_lengths(a * x, x, torch.ones(2, 1, 3, 3))


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
    torch.testing.assert_close(mean.unbiased(), torch.tensor([4.0, 1 / (1 - 0.75**2)]))
    assert list(mean.state_dict()) == ["value", "weight"]


def test_the_path_length_penalty_is_the_squared_distance_from_the_mean():
    pl = PathLength(2.0, 4, decay=0.01, batch_shrink=2)
    pl.mean.update(torch.tensor([300.0]))
    ws, a = (torch.full((1, 1, 1), value, requires_grad=True) for value in (1.0, 7.0))
    penalty, length = pl((ws * a)[..., None], ws, torch.ones(1, 1, 1, 1))
    assert (length.item(), penalty.item()) == (7.0, pytest.approx(16.0, abs=1e-3))
    assert penalty.requires_grad
