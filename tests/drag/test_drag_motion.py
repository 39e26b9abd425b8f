import pytest
import torch

from framework.drag.mask import balance, fixed_area, mask_loss
from framework.drag.motion import directions, motion_loss

SIZE = (32, 32)


def test_a_step_is_one_pixel_long_and_shorter_near_the_target():
    points = torch.tensor([[0.0, 0.0], [5.0, 5.0], [5.0, 5.0]])
    targets = torch.tensor([[30.0, 40.0], [5.3, 4.6], [5.0, 5.0]])
    torch.testing.assert_close(
        directions(points, targets), torch.tensor([[0.6, 0.8], [0.3, -0.4], [0.0, 0.0]])
    )


def naive_motion_loss(features, point, step, radius, size):
    """Equation 1 pixel by pixel, for features at the image's own size and whole-pixel steps."""
    values = []
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            x, y = int(point[0]) + dx, int(point[1]) + dy
            ahead_x, ahead_y = x + int(step[0]), y + int(step[1])
            within = all(0 <= a < size[1] for a in (x, ahead_x))
            within &= all(0 <= a < size[0] for a in (y, ahead_y))
            if dx * dx + dy * dy <= radius**2 and within:
                difference = features[0, :, y, x].detach() - features[0, :, ahead_y, ahead_x]
                values.append(difference.abs().mean())
    return torch.stack(values).mean()


@pytest.mark.parametrize("point", [(10, 12), (1, 0), (30, 31), (2, 30), (29, 3)])
@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("inward", [1, -1])
def test_motion_loss_equals_the_equation_with_gradient_on_the_far_side_only(point, radius, inward):
    features = torch.randn(1, 5, *SIZE, dtype=torch.float64, requires_grad=True)
    step = (inward if point[0] < 16 else -inward, 0)
    arguments = (torch.tensor([point]).double(), torch.tensor([step]).double())
    got = motion_loss(features, *arguments, radius, SIZE)
    want = naive_motion_loss(features, point, step, radius, SIZE)
    torch.testing.assert_close(got[0], want)
    (got_gradient,) = torch.autograd.grad(got.sum(), features)
    (want_gradient,) = torch.autograd.grad(want, features)
    torch.testing.assert_close(got_gradient, want_gradient)


def test_each_point_has_its_own_loss():
    features = torch.randn(1, 3, 16, 16)
    points = torch.tensor([[4.0, 4.0], [20.5, 11.0]])
    steps = torch.tensor([[0.6, 0.8], [-1.0, 0.0]])
    both = motion_loss(features, points, steps, 2, SIZE)
    alone = [motion_loss(features, points[i : i + 1], steps[i : i + 1], 2, SIZE) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(alone))


def test_an_arrived_point_still_pulls_what_is_left():
    features = torch.randn(1, 3, 16, 16, requires_grad=True)
    points, targets = torch.tensor([[8.0, 8.0]]), torch.tensor([[8.4, 8.0]])
    loss = motion_loss(features, points, directions(points, targets), 1, SIZE)
    (gradient,) = torch.autograd.grad(loss.sum(), features)
    assert loss.item() > 0 and gradient.abs().max() > 0


@pytest.mark.parametrize("size", [8, 16, 64, 85, 86, 256])
def test_a_disc_is_never_empty(size):
    features = torch.randn(1, 2, 8, 8)
    corners = torch.tensor([[0.0, 0.0], [size - 1.0, size - 1.0], [0.0, size - 1.0]])
    steps = directions(corners, torch.full((3, 2), size / 2))
    assert torch.isfinite(motion_loss(features, corners, steps, 1, (size, size))).all()


def test_mask_loss_is_the_mean_change_outside_whatever_its_area():
    initial = torch.randn(1, 3, 8, 8)
    for columns in (4, 16, 28):
        mask = torch.ones(SIZE)
        mask[:, :columns] = 0
        fixed = fixed_area(mask, initial)
        changed = initial.clone()
        changed[:, :, :, : columns // 4] += 0.25
        changed[:, :, :, columns // 4 :] += 9.0  # may change
        size = initial.abs().mean().item()
        loss = mask_loss([changed], [initial], fixed).item()
        assert loss == pytest.approx(0.25 / size, rel=1e-4)
        picture = torch.full((1, 3, 8, 8), 0.5)  # counts as much, in its own mean size
        both = mask_loss([changed, picture + 0.1], [initial, picture], fixed).item()
        assert both == pytest.approx(0.25 / size + 0.2, rel=1e-4)


def test_a_mask_reaches_the_features_by_area():
    mask = torch.ones(8, 8)
    mask[0, 0] = 0
    fixed = fixed_area(mask, torch.zeros(1, 1, 4, 4))
    assert fixed[0, 0, 0, 0] == 1 and fixed.sum() == 1


def test_a_mask_that_allows_everything_holds_nothing():
    assert fixed_area(torch.ones(8, 8), torch.zeros(1, 1, 4, 4)) is None


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_a_mask_steers_whatever_its_gradient_measures(size):
    """A1f: what opposes the pull is taken out, the rest is `weight` times as long."""
    pull, hold = torch.tensor([3.0, 0.0]), size * torch.tensor([-1.0, 2.0])
    both = balance(pull, hold, 1.0, torch.tensor(0.0))
    torch.testing.assert_close(both.gradient, torch.tensor([3.0, min(3.0, 40 * size)]))
    assert both.opposition.item() == pytest.approx(5**-0.5)
    assert not both.outweighed
    assert balance(pull, hold, 50.0, torch.tensor(0.0)).outweighed == (size >= 1)
    torch.testing.assert_close(balance(pull, pull, 1.0, torch.tensor(0.0)).gradient, 2 * pull)


def test_a_mask_goes_on_pulling_when_the_points_have_arrived():
    """A1f: as long as the points usually pulled."""
    pull, hold = torch.tensor([0.1, 0.0]), torch.tensor([0.0, 2.0])
    both = balance(pull, hold, 1.0, torch.tensor(5.0))
    torch.testing.assert_close(both.gradient, torch.tensor([0.1, 5.0]))
    assert both.pull_length.item() == pytest.approx(0.1)


def test_a_mask_that_wants_the_opposite_leaves_the_pull():
    """A1f: and is known to oppose it."""
    pull = torch.tensor([3.0, 4.0])
    both = balance(pull, -20 * pull, 1.0, torch.tensor(0.0))
    torch.testing.assert_close(both.gradient, pull, atol=1e-3, rtol=0)
    assert both.opposition.item() == pytest.approx(1)
    untouched = balance(pull, torch.zeros(2), 1.0, torch.tensor(0.0))
    assert torch.equal(untouched.gradient, pull) and untouched.opposition == 0
