"""Textures hold what their exemplar holds; transfers follow what corresponds."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from framework.compositing.quilting import _before_cut, grown, masked_distances, quilted
from framework.compositing.textures import analogy, texture, transfer

CHECKS = torch.from_numpy(np.kron(np.indices((6, 6)).sum(axis=0) % 2, np.ones((4, 4)))).float()
EXEMPLAR = torch.stack([CHECKS * 1.4 - 0.7, CHECKS * 0.5, -CHECKS])[None]


def last(steps):
    *_, step = steps
    assert step.step == step.steps or step.stage == "growing"
    return step.picture


@pytest.mark.parametrize("make", [quilted, texture, grown])
@pytest.mark.parametrize("size", [(20, 27), (5, 7)])
def test_a_texture_has_the_exemplars_colours_and_the_size_that_was_asked_for(make, size):
    made = last(make(EXEMPLAR, size, 7))
    assert made.shape == (1, 3, *size)
    near = torch.cdist(made[0].flatten(1).T, EXEMPLAR[0].flatten(1).T).min(dim=1).values
    assert near.mean() < 0.05


@pytest.mark.parametrize("make", [quilted, texture])
def test_checks_stay_checks(make):
    made = last(make(EXEMPLAR, (40, 40), 9))[0, 0]
    run_of = (made[:, 1:].sign() != made[:, :-1].sign()).float().mean()
    assert 0.8 * 0.25 < run_of < 1.2 * 0.25  # a change every four pixels


# H26f
@pytest.mark.parametrize("make", [quilted, texture, grown])
def test_an_exemplar_smaller_than_a_patch_is_used_whole(make):
    assert last(make(EXEMPLAR[..., :3, :4], (9, 8), 15)).shape == (1, 3, 9, 8)
    assert last(make(EXEMPLAR[..., :1, :1], (6, 6), 15)).unique().numel() <= 3


def test_seeds_decide():
    first, same, other = (last(quilted(EXEMPLAR, (40, 40), 9, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_masked_distances_are_what_a_loop_says():
    rng = torch.Generator().manual_seed(0)
    picture, patch = torch.rand(2, 7, 8, generator=rng), torch.rand(2, 3, 3, generator=rng)
    weight = torch.rand(3, 3, generator=rng)
    naive = [[(weight * (picture[:, y : y + 3, x : x + 3] - patch).square()).sum()
              for x in range(6)] for y in range(5)]  # fmt: skip
    torch.testing.assert_close(masked_distances(picture, patch, weight), torch.tensor(naive))


def test_the_cut_is_the_cheapest_of_all():
    gap = torch.rand(4, 3, generator=torch.Generator().manual_seed(2))
    paths = [
        path for path in np.ndindex(3, 3, 3, 3) if all(abs(a - b) <= 1 for a, b in pairwise(path))
    ]
    best = min(paths, key=lambda path: sum(gap[row, at] for row, at in enumerate(path)))
    assert _before_cut(gap).sum(dim=1).tolist() == list(best)


# H26f
def test_a_transfer_follows_light_and_dark_whatever_the_sizes():
    ramp = torch.linspace(-0.6, 0.6, 40).expand(1, 3, 30, 40).contiguous()
    columns = torch.linspace(-1, 1, 24).expand(1, 3, 20, 24).contiguous()  # of every brightness
    made = last(transfer(ramp, columns, 5, 3.0))
    assert made.shape == (1, 3, 30, 40)
    assert torch.corrcoef(torch.stack([made[0, 0].flatten(), ramp[0, 0].flatten()]))[0, 1] > 0.9


def test_an_analogy_does_what_was_done():
    rng = torch.Generator().manual_seed(0)
    before = torch.rand(1, 3, 32, 32, generator=rng) * 2 - 1
    before = torch.nn.functional.avg_pool2d(before, 5, 1, 2)
    photo = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 28, 36, generator=rng) * 2 - 1, 5, 1, 2)
    made = last(analogy(before, -before, photo, 3, 4.0))  # a negative
    assert torch.corrcoef(torch.stack([made.flatten(), photo.flatten()]))[0, 1] < -0.8
