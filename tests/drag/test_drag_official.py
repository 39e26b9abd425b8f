"""Each number in which the public code differs from the paper, against a naive value."""

import math

import pytest
import torch

from framework.drag.algorithm import drag_state
from framework.drag.methods.official import (
    mask_loss,
    motion_loss,
    patch,
    resized,
    stop_px,
    track,
)
from framework.drag.settings import DragSettings
from tests.drag.test_drag_interface import SETTINGS, Card

SIZE = (24, 32)


@pytest.mark.parametrize(("p", "offset"), [(10, -0.11), (256, -0.5), (500, -0.89)])
def test_the_patch_lies_too_far_to_the_top_left(p, offset):
    # Offsets of the centroid as they were measured on the public code at 512 px.
    pixels = patch(torch.tensor([float(p), float(p)]), 3, (512, 512))
    wanted = [
        (x, y)
        for y in range(p - 9, min(512, p + 9))
        for x in range(p - 9, min(512, p + 9))
        if math.hypot(x * 512 / 511 - p, y * 512 / 511 - p) < 3
    ]
    assert sorted(map(tuple, pixels.tolist())) == sorted(wanted) and 25 <= len(wanted) <= 32
    torch.testing.assert_close(
        pixels.mean(dim=0) - p, torch.tensor([offset, offset]), atol=0.05, rtol=0
    )


@pytest.mark.parametrize(
    ("height", "wanted"), [(64, 2.0), (256, 2.0), (512, 2.0), (768, 3.0), (1024, 4.0)]
)
def test_the_stop_radius_is_two_pixels_and_grows_beyond_512(height, wanted):
    assert stop_px(height) == wanted


def test_points_are_found_by_l2():
    features = torch.full((1, 2, *SIZE), 9.0)
    handle = torch.tensor([[0.0, 0.0]])
    features[0, :, 12, 16] = torch.tensor([2.0, 2.0])  # L1 4, L2 2.8
    features[0, :, 12, 18] = torch.tensor([3.0, 0.0])  # L1 3, L2 3
    points, drift = track(features, torch.tensor([[17.0, 12.0]]), handle, 2)
    assert points.tolist() == [[16.0, 12.0]] and drift.tolist() == [2.0]
    features[0, :, 0, 0] = 0.0  # the square is cut at the rim
    assert track(features, torch.tensor([[1.0, 1.0]]), handle, 3)[0].tolist() == [[0.0, 0.0]]


def test_the_motion_loss_is_a_mean_and_near_points_are_released():
    features = torch.randn(1, 3, *SIZE, dtype=torch.float64, requires_grad=True)
    points = torch.tensor([[10.0, 12.0], [20.0, 5.0]], dtype=torch.float64)
    targets = torch.tensor([[16.0, 12.0], [20.6, 5.6]], dtype=torch.float64)  # 6 px and .8 px away
    pixels = [
        (x, y)
        for y in range(SIZE[0])
        for x in range(SIZE[1])
        if math.hypot(x * 32 / 31 - 10, y * 24 / 23 - 12) < 2
    ]
    wanted = torch.stack(
        [(features[0, :, y, x + 1] - features[0, :, y, x].detach()).abs().mean() for x, y in pixels]
    ).mean()
    loss = motion_loss(features, points, targets, 2)
    torch.testing.assert_close(loss, wanted)
    for one, other in zip(
        torch.autograd.grad(loss, features), torch.autograd.grad(wanted, features), strict=True
    ):
        torch.testing.assert_close(one, other)
    assert motion_loss(features, points[1:], targets[1:], 2) == 0


def test_the_mask_loss_is_a_mean_over_the_whole_picture():
    first, now = torch.randn(1, 3, *SIZE), torch.randn(1, 3, *SIZE)
    fixed = torch.zeros(SIZE)
    fixed[:4] = 1
    change = (now - first)[:, :, :4].abs().sum() / now.numel()
    torch.testing.assert_close(mask_loss(now, first, fixed), change)
    fixed[0] = 0.5
    assert mask_loss(now, first, torch.ones(SIZE)) == mask_loss(now, first, None) == 0
    assert mask_loss(now, first, fixed) > 0


def test_features_are_resized_to_the_whole_picture():
    assert resized(torch.zeros(1, 5, 4, 6), SIZE).shape == (1, 5, *SIZE)


class Rendered(Card):
    """Counts the pictures that are rendered."""

    count = 0

    def picture(self, state, view=None):
        self.count += 1
        return super().picture(state, view)


def test_every_step_renders_a_picture_and_a_mask_holds_by_twenty_times_its_loss():
    settings = DragSettings(
        method="official", motion_radius_px=3, tracking_radius_px=2, learning_rate=0.4, max_steps=4
    )
    card, mask = Rendered(), torch.zeros(48, 64)
    mask[20:, :40] = 1
    way = ([(20.0, 30.0)], [(27.0, 26.0)])
    free = list(drag_state(card, torch.zeros(2), *way, None, settings))
    assert card.count == len(free) == 5
    held = list(drag_state(card, torch.zeros(2), *way, mask, settings))
    assert held[-1].max_distance_px > free[-1].max_distance_px + 1 and held[-1].mask_loss > 0


def test_a_point_is_tracked_before_it_is_pulled():
    settings = DragSettings.from_dict({**SETTINGS.to_dict(), "method": "official", "max_steps": 3})
    steps = list(drag_state(Card(), torch.zeros(2), [(20.0, 30.0)], [(27.0, 26.0)], None, settings))
    for step in steps:  # the points belong to the state that they are shown with
        true = torch.tensor([20.0, 30.0]) + step.state
        assert (step.points[0] - true).abs().max() <= 0.75
