"""The tasks of the benchmark on a drawing whose latents shift it: where they begin and end."""

import math
from itertools import islice

import pytest
import torch

from framework.errors import UserError
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.targets import (
    ANY_PART,
    FREE_PX,
    HARD_PX,
    MATES,
    MIX_PX,
    ROOFS,
    WHEELS,
    free_tasks,
    mix_tasks,
    mixed,
    several_tasks,
)
from tests.evaluation.drag.conftest import GAIN_PX, ShiftedCar, shifts


def shift_px(seed: int) -> torch.Tensor:
    return GAIN_PX * shifts(seed)[0, 0]


@pytest.mark.parametrize("pulls", [WHEELS, ROOFS, ANY_PART])
def test_free_tasks_take_turns_and_pull_by_six_pixels(lab, pulls):
    count = len(pulls) + 2
    tasks = list(islice(free_tasks(lab, pulls), count))
    assert [task["parts"] for task in tasks] == [[part] for part, _ in (*pulls, *pulls)][:count]
    for task, (_, along_px) in zip(tasks, (*pulls, *pulls), strict=False):
        (handle,), (target,), (part,) = task["handles"], task["targets"], task["parts"]
        seen = lab.look(lab.picture(shifts(task["seed"]))).points[0, lab.judge.names.index(part)]
        assert handle == pytest.approx(seen.tolist(), abs=0.05)
        assert target[1] == handle[1] and target[0] - handle[0] == pytest.approx(along_px)
        assert abs(along_px) == FREE_PX
    assert all(("left" in part) == (along_px < 0) for part, along_px in (*WHEELS, *ROOFS))


@pytest.mark.parametrize("between_px", [MIX_PX, HARD_PX])
def test_a_mix_shows_where_the_target_is(lab, between_px):
    """The mix takes all of the drawing's latents: it moves by the shifts' difference."""
    tasks = list(islice(mix_tasks(lab, "wheel_hub", between_px), 6))
    assert {task["parts"][0] for task in tasks} == {"left_wheel_hub", "right_wheel_hub"}
    for task in tasks:
        seed, (handle,), (target,) = task["seed"], task["handles"], task["targets"]
        assert task["layers"] == 4 + 2 * (seed % 2)
        move = shift_px(MATES + seed) - shift_px(seed)
        assert between_px[0] <= math.dist(handle, target) <= between_px[1]
        went = [b - a for a, b in zip(handle, target, strict=True)]
        assert went == pytest.approx(move.tolist(), abs=1)
        assert torch.equal(mixed(lab, seed, 4), shifts(MATES + seed))
        first = mixed(lab, seed, 1)
        assert torch.equal(first[:, :1], shifts(MATES + seed)[:, :1])
        assert torch.equal(first[:, 1:], shifts(seed)[:, 1:])


@pytest.mark.parametrize(("number", "points"), [(3, 3), (99, 9)])
def test_several_points_are_drawn_by_the_seed(lab, number, points):
    tasks = list(islice(several_tasks(lab, number), 3))
    for task in tasks:
        assert len(set(task["parts"])) == len(task["handles"]) == len(task["targets"]) == points
        far = [math.dist(*both) for both in zip(task["handles"], task["targets"], strict=True)]
        assert MIX_PX[0] <= sum(far) / points <= MIX_PX[1]
    again = Lab(lab.generator, None, shifts, lab.first_seed)
    assert tasks == list(islice(several_tasks(again, number), 3))
    assert number > 9 or len({tuple(task["parts"]) for task in tasks}) > 1


def test_a_target_outside_the_picture_gives_no_task(shifted_car):
    def aside(seed: int) -> torch.Tensor:
        w = torch.tensor([-6 / GAIN_PX if seed < 8 else 0.0, 0.0])
        return w.expand(1, 4, 2).clone()

    tasks = islice(free_tasks(Lab(shifted_car, None, aside, 0), (("left_bumper", -FREE_PX),)), 1)
    assert all(task["targets"][0][0] >= 0 for task in tasks)


def test_a_model_of_something_else_is_refused():
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    lab = Lab(ShiftedCar(noise), None, shifts, 0)
    with pytest.raises(UserError, match="no toy car"):
        next(free_tasks(lab, WHEELS))
