"""The whole line on the shipped toy-car model: what is pulled arrives, as an outsider sees it.

The judge learned from procedural drawings alone (`framework.evaluation.drag.keypoints`); nothing
here asks the generator where it believes its points to be.
"""

import os
from dataclasses import replace

import pytest

from framework.drag.settings import DragSettings, preset_for
from framework.evaluation.drag.benchmark import PULL_PX, make_tasks, run_tasks, summarize
from framework.evaluation.drag.keypoint_training import held_out_error_px
from framework.evaluation.drag.keypoints import KeypointJudge
from framework.formats import zoo_models
from framework.jobs.models import open_generator, seed_latents

# Another model folder can be put to the same test.
MODEL = os.environ.get("DRAGLINE_TOYCARS_MODEL", "toycars64")
COUNT = 10

needs_model = pytest.mark.skipif(
    MODEL == "toycars64" and MODEL not in zoo_models(),
    reason="framework/zoo/toycars64 is not in this checkout",
)


@pytest.fixture(scope="module")
def judge():
    return KeypointJudge.load()


@pytest.fixture(scope="module")
def generator():
    return open_generator(MODEL, "cpu")


@pytest.fixture(scope="module")
def tasks(generator, judge):
    latents = {seed: seed_latents(generator, seed) for seed in range(3 * COUNT)}
    return make_tasks(generator, judge, latents, COUNT)


@pytest.fixture(scope="module")
def settings(generator):
    """What `edit.py drag` takes for a model of this size."""
    return DragSettings.preset(preset_for(generator.img_size))


def test_the_judge_sees_drawings_it_never_saw(judge):
    errors = held_out_error_px(judge, count=80, seed=20_251)
    assert max(errors.values()) < 1


@needs_model
def test_most_pictures_show_a_car(tasks):
    assert len(tasks) == COUNT
    assert tasks[-1].seed < 2 * COUNT
    assert {task.part for task in tasks} == {"left_wheel_hub", "right_wheel_hub"}


@needs_model
def test_what_is_pulled_arrives(generator, judge, tasks, settings):
    untouched = summarize(run_tasks(generator, judge, tasks, None))
    assert untouched.hits == 0
    assert untouched.mean_px == pytest.approx(PULL_PX, abs=0.1)
    outcomes = run_tasks(generator, judge, tasks, settings)
    report = [(o.task.seed, o.task.part, round(o.left_px, 2), o.status) for o in outcomes]
    assert summarize(outcomes).hits >= 9, report


@needs_model
def test_without_tracking_most_miss(generator, judge, tasks, settings):
    blind = run_tasks(generator, judge, tasks, replace(settings, tracker="off"))
    assert summarize(blind).hits < COUNT / 2
