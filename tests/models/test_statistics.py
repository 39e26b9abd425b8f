"""Mean and spread of styles against one naive pass over the same latents."""

import pytest
import torch

from framework.errors import UserError
from framework.models.stylegan2.statistics import StyleStatistics, style_statistics
from tests.inversion.small import small_generator


def naive(generator, samples, seed=0, rows=None):
    """All w in one batch, from the same z."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.z_dim, generator=rng)
    c = None if rows is None else rows[torch.arange(samples) % len(rows)]
    return generator.mapping(z, c)[:, 0]


def test_spread_is_that_of_mapped_latents():
    generator = small_generator()
    found = style_statistics(generator, samples=1300, seed=5)  # not a multiple of a batch
    w = naive(generator, 1300, seed=5)
    torch.testing.assert_close(found.w_std, w.std(dim=0, correction=0))
    assert torch.equal(found.w_avg, generator.mapping.w_avg)


def test_spread_does_not_drown_in_a_large_mean():
    generator = small_generator()
    generator.mapping.fc1.bias += 1e6  # with the layer's gain of 0.01 a mean of 1e4
    generator.mapping.w_avg.copy_(naive(generator, 500).mean(dim=0))
    w = naive(generator, 500).double()
    torch.testing.assert_close(
        style_statistics(generator, 500).w_std.double(), w.std(dim=0, correction=0), rtol=1e-2,
        atol=0,
    )  # fmt: skip


def test_labels_give_their_own_mean():
    generator = small_generator(c_dim=3)
    rows = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    found = style_statistics(generator, samples=600, labels=rows)
    w = naive(generator, 600, rows=rows)
    torch.testing.assert_close(found.w_avg, w.mean(dim=0))
    torch.testing.assert_close(found.w_std, w.std(dim=0, correction=0))


def test_without_labels_all_classes_are_equally_frequent():
    generator = small_generator(c_dim=3)
    w = naive(generator, 600, rows=torch.eye(3))
    found = style_statistics(generator, samples=600)
    torch.testing.assert_close(found.w_std, w.std(dim=0, correction=0))
    assert torch.equal(found.w_avg, generator.mapping.w_avg)


def test_a_generator_of_labels_alone_has_statistics():
    generator = small_generator(z_dim=8, c_dim=2)
    torch.manual_seed(0)
    bare = type(generator)(
        16, z_dim=8, c_dim=2, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8
    )
    assert style_statistics(bare.eval(), 100).w_std.min() > 0


def test_deviations_count_standard_deviations():
    statistics = StyleStatistics(torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.5]))
    ws = torch.tensor([[[1.0, -1.0]] * 3, [[7.0, -2.5]] * 3, [[7.0, -1.0], [1, -1], [1, -1]]])
    wanted = torch.tensor([0.0, 3.0, (9 / 6) ** 0.5])
    torch.testing.assert_close(statistics.deviations(ws), wanted)
    torch.testing.assert_close(statistics.normalise(ws)[1], torch.tensor([[3.0, -3.0]] * 3))


def test_mapped_styles_are_one_deviation_away():
    generator = small_generator()
    w = naive(generator, 2000)
    generator.mapping.w_avg.copy_(w.mean(dim=0))
    ws = w[:, None].repeat(1, 6, 1)
    rms = style_statistics(generator, 2000).deviations(ws).square().mean().sqrt()
    assert abs(rms - 1) < 1e-3


def test_a_seed_is_a_measurement():
    generator = small_generator()
    first, again = style_statistics(generator, 200, 3), style_statistics(generator, 200, 3)
    assert torch.equal(first.w_std, again.w_std)
    assert not torch.equal(first.w_std, style_statistics(generator, 200, 4).w_std)


@pytest.mark.parametrize(
    ("sizes", "asked", "word"),
    [
        ({}, {"samples": 1}, "samples 1"),
        ({}, {"labels": torch.eye(2)}, "takes none"),
        ({"c_dim": 3}, {"labels": torch.eye(2)}, r"\(M, 3\)"),
        ({"c_dim": 3}, {"labels": torch.zeros(0, 3)}, r"\(M, 3\)"),
    ],
)
def test_what_cannot_be_measured_is_said(sizes, asked, word):
    with pytest.raises(UserError, match=word):
        style_statistics(small_generator(**sizes), **asked)
