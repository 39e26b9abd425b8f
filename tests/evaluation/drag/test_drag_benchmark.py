"""The benchmark against a generator whose truth is known: a drawing that its latents shift."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from framework.data.toycars import ToyCars
from framework.drag.settings import DragSettings
from framework.evaluation.drag.benchmark import (
    PULL_PX,
    PULLS,
    Task,
    make_tasks,
    run_tasks,
    summarize,
)
from framework.evaluation.drag.keypoints import KeypointJudge
from framework.media.images import to_float

SETTINGS = DragSettings(
    motion_radius_px=3, tracking_radius_px=2, template_radius_px=1, learning_rate=0.02, max_steps=60
)
GAIN_PX = 20.0


@dataclass(frozen=True)
class Partial:
    x: torch.Tensor
    img: None = None


class Shifted(nn.Module):
    """A picture moved by GAIN_PX times the mean of ws[..., :2]; its features are the picture."""

    resolutions = (4, 8, 16, 32, 64)

    def __init__(self, picture):
        super().__init__()
        self.picture = nn.Parameter(picture, requires_grad=False)

    def forward(self, ws, noise_mode="const"):
        shift = GAIN_PX * ws[0, :, :2].mean(dim=0)
        axis = torch.arange(64.0)
        x, y = torch.meshgrid(axis - shift[0], axis - shift[1], indexing="xy")
        grid = ((torch.stack([x, y], dim=2) * 2 + 1) / 64 - 1)[None]
        return F.grid_sample(self.picture, grid, padding_mode="border", align_corners=False)

    def block_size(self, resolution):
        return 64, 64

    def partial(self, ws, resolution, noise_mode="const"):
        return Partial(self(ws))

    def finish(self, partial, ws, noise_mode="const"):
        return partial.x


class ShiftedCar(nn.Module):
    img_size, num_ws, w_dim = (64, 64), 4, 2

    def __init__(self, picture):
        super().__init__()
        self.synthesis = Shifted(picture)


@pytest.fixture(scope="module")
def judge():
    return KeypointJudge.load()


@pytest.fixture(scope="module")
def car():
    return ToyCars(64, count=2, seed=41)[1]


@pytest.fixture(scope="module")
def generator(car):
    return ShiftedCar(to_float(car.image[None]))


@pytest.fixture(scope="module")
def tasks(generator, judge):
    return make_tasks(generator, judge, {seed: torch.zeros(1, 4, 2) for seed in range(9)}, 8)


@pytest.mark.parametrize("kind", PULLS)
def test_tasks_take_turns_and_pull_by_six_pixels(generator, judge, car, kind):
    tasks = make_tasks(generator, judge, {seed: torch.zeros(1, 4, 2) for seed in range(4)}, 4, kind)
    assert [task.part for task in tasks] == [part for part, _ in PULLS[kind] * 4][: len(tasks)]
    for task in tasks:
        assert math.dist(task.handle, car.keypoints[task.part]) < 1.5
        assert math.dist(task.handle, task.target) == pytest.approx(PULL_PX)


def test_outward_is_away_from_the_middle_of_the_car(tasks):
    for task in tasks:
        away = -1 if task.part.startswith("left") else 1
        assert (task.target[0] - task.handle[0]) * away == pytest.approx(PULL_PX)


def test_a_target_outside_the_picture_gives_no_task(generator, judge):
    aside = torch.zeros(1, 4, 2)
    aside[..., 0] = -12 / GAIN_PX
    tasks = make_tasks(generator, judge, {0: aside, 1: aside}, 2)
    assert all(task.target[0] >= 0 for task in tasks)


def test_pictures_without_a_car_are_passed_over(judge):
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert make_tasks(ShiftedCar(noise), judge, {0: torch.zeros(1, 4, 2)}, 1) == []


def test_a_picture_left_alone_is_as_far_as_asked(generator, judge, tasks):
    outcomes = run_tasks(generator, judge, tasks[:2], None)
    assert [outcome.left_px for outcome in outcomes] == pytest.approx([PULL_PX] * 2, abs=0.01)
    assert not any(outcome.hit for outcome in outcomes)
    assert outcomes[0].status == "no edit"


def pull_wheel(car, dx):
    x, y = car.keypoints["left_wheel_hub"]
    return Task(0, torch.zeros(1, 4, 2), "left_wheel_hub", (x, y), (x + dx, y))


@pytest.mark.parametrize("dx", [6.0, -6.0])
def test_a_drag_is_judged_by_where_the_car_went(generator, judge, car, dx):
    task = pull_wheel(car, dx)
    (outcome,) = run_tasks(generator, judge, [task], SETTINGS)
    shift = GAIN_PX * outcome.ws[0, :, :2].mean(dim=0)
    went = (torch.tensor(task.handle) + shift).tolist()
    assert outcome.left_px == pytest.approx(math.dist(went, task.target), abs=0.6)
    assert outcome.status == "arrived"
    assert outcome.steps > 0
    assert outcome.hit


def test_what_the_drag_believes_does_not_count(generator, judge, car):
    blind = replace(SETTINGS, tracker="off", learning_rate=1e-5)
    (outcome,) = run_tasks(generator, judge, [pull_wheel(car, 6.0)], blind)
    assert outcome.status == "lost" and outcome.doubtful and outcome.wrong  # A2f
    assert outcome.left_px > 5
    assert not outcome.hit


def test_an_unsure_judge_is_a_miss_and_sums_add_up(generator, judge, tasks):
    outcomes = run_tasks(generator, judge, tasks[:2], None)
    near = replace(outcomes[0], left_px=1.0, steps=4, seconds=0.5)
    unsure = replace(near, confidence=0.2)
    assert near.hit
    assert not unsure.hit
    total = summarize([near, unsure, replace(near, left_px=7.0, steps=1)])
    assert (total.count, total.hits, total.worst_px) == (3, 1, 7.0)
    assert total.mean_px == pytest.approx(3.0)
    assert total.median_px == 1.0
    assert total.steps == 3
    assert total.seconds == pytest.approx(0.5)
