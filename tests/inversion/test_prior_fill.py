"""A generator makes up what a mask covers: what is known is matched, what is covered never read."""

import pytest
import torch

from framework.errors import UserError
from framework.inversion.prior_fill import PriorFillSettings, compose, fill_by_prior
from framework.inversion.settings import RefineSettings, TuneSettings
from framework.models.stylegan2 import Generator

FEW = PriorFillSettings(
    RefineSettings(steps=30, prior=0.0), RefineSettings(steps=10), TuneSettings(steps=4)
)


@pytest.fixture(scope="module")
def generator():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Generator(
            img_size=(16, 16), z_dim=6, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8
        )
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def own(generator):
    """A picture of the generator's own, and its latents."""
    ws = generator.mapping(torch.randn(1, 6, generator=torch.Generator().manual_seed(1)))
    return generator.synthesis(ws, noise_mode="const").clamp(-1, 1), ws


def hole_of(rows=slice(4, 9), columns=slice(6, 12)):
    hole = torch.zeros(16, 16, dtype=torch.bool)
    hole[rows, columns] = True
    return hole


def test_its_own_picture_is_completed(generator, own):
    picture, _ = own
    hole = hole_of()
    spoiled = torch.where(hole, 0.0, picture)
    *_, last = fill_by_prior(generator, spoiled, hole, None, FEW)
    first = next(iter(fill_by_prior(generator, spoiled, hole, None, FEW)))
    error = (last.picture - picture).square()
    assert error[..., hole].mean() < 0.5 * (first.picture - picture).square()[..., hole].mean()
    assert error[..., hole].mean() < 0.5 * picture[..., hole].var()
    assert last.stage == "composed" and last.step == last.steps == 44


def test_what_is_covered_does_not_count(generator, own):
    picture, _ = own
    hole = hole_of()
    results = []
    for colour in (-1.0, 1.0):
        *_, last = fill_by_prior(generator, torch.where(hole, colour, picture), hole, None, FEW)
        results.append(last.picture)
    assert torch.equal(*results)


def test_a_composition_is_one_picture_inside_and_the_other_far_away(generator, own):
    _, outside = own
    inside = generator.mapping(torch.randn(1, 6, generator=torch.Generator().manual_seed(2)))
    nothing, everything = torch.zeros(16, 16, dtype=torch.bool), torch.ones(16, 16).bool()
    plain = generator.synthesis(outside, noise_mode="const")
    assert torch.allclose(compose(generator, inside, outside, nothing, 8), plain, atol=1e-5)
    whole = generator.synthesis.partial(inside, 8, "const")
    finished = generator.synthesis.finish(whole, outside, "const")
    assert torch.allclose(compose(generator, inside, outside, everything, 8), finished, atol=1e-5)
    corner = compose(generator, inside, outside, hole_of(slice(0, 4), slice(0, 4)), 8)
    apart = (corner - plain).abs().amax(dim=1)[0]
    assert apart[:4, :4].max() > 0 and apart[12:, 12:].max() < 1e-5


@pytest.mark.parametrize(
    ("hole", "complaint"),
    [
        (torch.zeros(16, 16).bool(), "a part of what the model sees"),
        (torch.ones(16, 16).bool(), "a part of what the model sees"),
        (torch.ones(8, 16).bool(), "this model's pictures are"),
    ],
)
def test_a_hole_that_does_not_fit_is_one_line(generator, own, hole, complaint):
    with pytest.raises(UserError, match=complaint):
        fill_by_prior(generator, own[0], hole, None, FEW)
    with pytest.raises(UserError, match="this model has blocks"):
        fill_by_prior(generator, own[0], hole_of(), None, PriorFillSettings(composed_at=3))
