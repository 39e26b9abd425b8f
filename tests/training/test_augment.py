"""DiffAugment against loops over pixels; all of it differentiable twice."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from framework.errors import UserError
from framework.training.stylegan2 import augment as changes
from framework.training.stylegan2.augment import augment, parse_policy


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_policies():
    assert parse_policy("") == ()
    assert parse_policy("color, cutout") == ("color", "cutout")
    assert parse_policy("color,translation,cutout") == changes.POLICIES


@pytest.mark.parametrize("policy", ["colour", "color;cutout", "color,flip", "Color"])
def test_unknown_policies_are_refused(policy):
    with pytest.raises(UserError, match="choose from color, translation, cutout") as caught:
        parse_policy(policy)
    assert "\n" not in str(caught.value)


def test_translation_by_loop():
    images = torch.randn(4, 2, 5, 7)
    dx, dy = torch.tensor([2, -3, 0, 9]), torch.tensor([-1, 4, 0, 1])
    moved = changes.translate(images, dx, dy)
    expected = torch.zeros_like(images)
    for n in range(4):
        for y in range(5):
            for x in range(7):
                if 0 <= y - dy[n] < 5 and 0 <= x - dx[n] < 7:
                    expected[n, :, y, x] = images[n, :, y - dy[n], x - dx[n]]
    assert torch.equal(moved, expected)


def test_translation_stays_within_an_eighth():
    images = torch.ones(300, 1, 16, 32)
    moved = augment(images, ("translation",), source())
    rows, columns = moved.sum(3)[:, 0] > 0, moved.sum(2)[:, 0] > 0
    # Lines that stay: 16 less up to 2, 32 less up to 4; every shift occurs.
    assert set(rows.sum(1).tolist()) == {14, 15, 16}
    assert set(columns.sum(1).tolist()) == {28, 29, 30, 31, 32}


def test_cutout_blanks_a_quarter():
    images = torch.ones(3, 2, 16, 8)
    middle, corner = torch.full((3, 1, 1, 1), 0.5), torch.zeros(3, 1, 1, 1)
    cut = changes.cut_out(images, middle, middle)
    assert torch.equal(cut[0, 0, 4:12, 2:6], torch.zeros(8, 4))
    assert float(cut.mean()) == 0.75
    assert float(changes.cut_out(images, corner, corner).mean()) == 1 - 1 / 16
    drawn = augment(images.expand(3, 2, 16, 8), ("cutout",), source())
    shares = drawn.mean(dim=(1, 2, 3))
    assert (shares >= 0.75).all() and (shares < 1).all() and len(shares.unique()) > 1


def test_colour_by_hand():
    images = torch.rand(2, 3, 4, 5) * 2 - 1
    draws = [torch.tensor([0.2, 0.9]), torch.tensor([0.1, 0.8]), torch.tensor([0.6, 0.3])]
    changed = changes.change_color(images, *(d[:, None, None, None] for d in draws))
    for n in range(2):
        brightness, saturation, contrast = (float(d[n]) for d in draws)
        bright = images[n] + brightness - 0.5
        grey = bright.mean(0)
        vivid = torch.stack([grey + 2 * saturation * (channel - grey) for channel in bright])
        expected = vivid.mean() + (contrast + 0.5) * (vivid - vivid.mean())
        torch.testing.assert_close(changed[n], expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_only_rgb_has_saturation(channels):
    images, half = torch.randn(2, channels, 3, 3), torch.full((2, 1, 1, 1), 0.5)
    low = changes.change_color(images, half, half * 0, half)
    torch.testing.assert_close(low, changes.change_color(images, half, half * 2, half))


def test_neutral_draws_change_nothing():
    images, half = torch.randn(2, 3, 4, 4), torch.full((2, 1, 1, 1), 0.5)
    torch.testing.assert_close(changes.change_color(images, half, half, half), images)
    assert augment(images, (), source()) is images


def test_every_sample_has_its_own_draw_and_the_source_decides():
    images = torch.randn(1, 3, 16, 16).expand(4, 3, 16, 16)
    one = augment(images, changes.POLICIES, source(1))
    assert torch.equal(one, augment(images, changes.POLICIES, source(1)))
    assert not torch.equal(one, augment(images, changes.POLICIES, source(2)))
    assert all(not torch.equal(one[0], other) for other in one[1:])


@pytest.mark.parametrize("policy", [("color",), ("translation",), ("cutout",), changes.POLICIES])
def test_differentiable_twice(policy):
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def change(images):
        return augment(images, policy, source()).pow(3)

    assert gradcheck(change, images, fast_mode=True)
    assert gradgradcheck(change, images, fast_mode=True)


def test_flips_mirror_about_half_from_left_to_right():
    images = torch.randn(1, 3, 4, 6).expand(400, 3, 4, 6)
    flipped = changes.random_flips(images, source())
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 150 < int(mirrored.sum()) < 250
