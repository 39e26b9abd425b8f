"""FreeDrag's parts against naive formulas, and what the whole does."""

import math
from dataclasses import replace

import pytest
import torch

from framework.drag.algorithm import drag_points, drag_state
from framework.drag.methods.freedrag import _next_aims, adaptation, line, samples
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep
from tests.drag.test_drag_interface import HANDLE, SETTINGS, TARGET, Card

SIZES = DragSettings(motion_radius_px=3).sizes((24, 32), 1)
EXPECTED = torch.tensor(0.3)


def ramp(width: int = 32, height: int = 24) -> torch.Tensor:
    """Features that rise by .1 a pixel to the right."""
    return (0.1 * torch.arange(width, dtype=torch.float32)).expand(1, 1, height, width)


@pytest.mark.parametrize(("share_of_l", "wanted"), [(0.2, 0.5), (0.8, 0.1), (0.0, 0.675)])
def test_a_template_takes_over_the_more_the_better_it_fits(share_of_l, wanted):
    a, b = math.log(9) / (0.6 * 0.3), 0.2 * 0.3
    naive = 1 / (1 + math.exp(a * (share_of_l * 0.3 - b)))
    share = float(adaptation(share_of_l * EXPECTED, EXPECTED))
    assert share == pytest.approx(naive, abs=1e-6) and share == pytest.approx(wanted, abs=2e-3)


def test_nine_places_are_sampled_and_the_rim_is_repeated():
    features = torch.randn(1, 2, 24, 32)
    seen = samples(features, torch.tensor([[10.0, 12.0], [31.0, 23.0]]), SIZES)
    assert seen.shape == (2, 2, 3, 3)
    torch.testing.assert_close(seen[0], features[0, :, 9:16:3, 7:14:3])
    rows, columns = torch.tensor([20, 23, 23]), torch.tensor([28, 31, 31])
    torch.testing.assert_close(seen[1], features[0][:, rows[:, None], columns])


def test_the_line_ends_at_the_target():
    start, targets = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[30.0, 40.0], [1.0, 0]])
    places = line(start, targets, 5.0)
    torch.testing.assert_close(places[0, :, 0], 0.3 * torch.arange(1, 11))
    torch.testing.assert_close(places[0, -1], torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(places[1, -1], targets[1])
    assert torch.equal(line(targets, targets, 5.0), targets[:, None].expand(-1, 10, -1))


def aims(features, aim, began, ended, origin=(6.0, 12.0), content_at=None):
    point = torch.tensor([aim])
    template = samples(features, torch.tensor([content_at or aim]), SIZES)
    following = _next_aims(
        features, template, point, torch.tensor([origin]), torch.tensor([[26.0, 12.0]]),
        torch.tensor([began]), torch.tensor([ended]), EXPECTED, 5.0, SIZES,
    )  # fmt: skip
    return following[0].tolist()


def test_after_a_success_the_aim_moves_to_the_expected_difference():
    # A ramp of .1 a pixel differs by .3 after 3 pixels, which is less than the longest hop.
    assert aims(ramp(), (10.0, 12.0), 0.2, 0.1) == pytest.approx([13.0, 12.0], abs=1e-4)


def test_while_it_comes_nearer_the_aim_stays():
    assert aims(ramp(), (10.0, 12.0), began=0.4, ended=0.2) == [10.0, 12.0]


def test_without_progress_the_aim_goes_back_to_the_best_place_about_it():
    # Rolled back by 5 px, not beyond the origin, the content is searched over 10 px.
    back = aims(ramp(), (12.0, 12.0), began=0.2, ended=0.3, content_at=(9.0, 12.0))
    assert back == pytest.approx([9.0, 12.0], abs=1e-4)
    bounded = aims(ramp(), (12.0, 12.0), 0.2, 0.3, origin=(11.0, 12.0), content_at=(9.0, 12.0))
    assert bounded == pytest.approx([12.0, 12.0], abs=1e-4)


def dragged(settings: DragSettings, card: Card | None = None) -> list[DragStep]:
    settings = replace(settings, method="freedrag")
    return list(drag_state(card or Card(), torch.zeros(2), [HANDLE], [TARGET], None, settings))


def test_points_are_claimed_only_where_the_template_fits():
    steps = dragged(SETTINGS)
    assert steps[-1].arrived and len({tuple(step.points[0].tolist()) for step in steps}) > 4
    for step in steps:
        true = torch.tensor(HANDLE) + step.state
        assert (step.points[0] - true).norm() < 2.5


class Stubborn(Card):
    """Its picture does not change, whatever its state."""

    def draw(self, state):
        return super().draw(torch.zeros(2)) + 0 * state.sum()


def test_what_does_not_follow_is_not_called_arrived():
    last = dragged(replace(SETTINGS, max_steps=20), Stubborn())[-1]
    assert last.status == "max_steps" and last.max_distance_px > 6


def test_a_stylegan2_is_dragged_with_one_forward_and_one_backward_pass_a_step(shifter):
    settings = DragSettings(
        method="freedrag",
        learning_rate=0.005,
        motion_radius_px=3,
        max_steps=12,
        stop_distance_px=0.5,
    )
    steps = list(drag_points(shifter, shifter.ws(), [(20, 30)], [(24, 30)], settings=settings))
    forward = [call for call in shifter.synthesis.calls if call[0] == "partial"]
    assert len(forward) <= len(steps) + 4  # the start twice, and the last look
    assert steps[-1].max_distance_px < steps[0].max_distance_px
