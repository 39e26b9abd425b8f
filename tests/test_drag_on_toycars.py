"""The whole line on the shipped toy-car model: what is pulled arrives, as an outsider sees it.

The judge learned from procedural drawings alone (`framework.evaluation.drag.keypoints`); nothing
here asks the generator where it believes its points to be.
"""

import os
from itertools import islice

import pytest

from framework.drag.settings import DEFAULT_PRESET
from framework.evaluation.drag.keypoint_training import held_out_error_px
from framework.evaluation.drag.keypoints import KeypointJudge
from framework.evaluation.drag.protocols.landmarks import NO_EDIT, PROTOCOL
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import FREE_PX
from framework.formats import zoo_models
from framework.jobs.bench import open_lab
from framework.jobs.requests.bench import BenchRequest

# Another model folder can be put to the same test.
MODEL = os.environ.get("DRAGLINE_TOYCARS_MODEL", "toycars64")
COUNT, GROUP = 10, "wheels, free 6 px"

needs_model = pytest.mark.skipif(
    MODEL == "toycars64" and MODEL not in zoo_models(),
    reason="framework/zoo/toycars64 is not in this checkout",
)


@pytest.fixture(scope="module")
def lab():
    return open_lab(BenchRequest(what="drag", out="nowhere", model=MODEL, first_seed=0))


@pytest.fixture(scope="module")
def tasks(lab):
    return list(islice(PROTOCOL.tasks(lab, GROUP), COUNT))


def results(lab, tasks, text):
    spec = None if text == NO_EDIT else MethodSpec.parse(text)
    return [PROTOCOL.run(lab, GROUP, task, text, spec).facts for task in tasks]


def hits(facts):
    return sum(line["under_2"] and line["judge_confidence"] >= 0.5 for line in facts)


def test_the_judge_sees_drawings_it_never_saw():
    errors = held_out_error_px(KeypointJudge.load(), count=80, seed=20_251)
    assert max(errors.values()) < 1


@needs_model
def test_most_pictures_show_a_car(tasks):
    assert len(tasks) == COUNT
    assert tasks[-1]["seed"] < 2 * COUNT
    assert {task["parts"][0] for task in tasks} == {"left_wheel_hub", "right_wheel_hub"}


@needs_model
def test_what_is_pulled_arrives(lab, tasks):
    untouched = results(lab, tasks, NO_EDIT)
    assert hits(untouched) == 0
    assert sum(line["px"] for line in untouched) / COUNT == pytest.approx(FREE_PX, abs=0.1)
    facts = results(lab, tasks, DEFAULT_PRESET)
    report = [(task["seed"], round(line["px"], 2), line["status"])
              for task, line in zip(tasks, facts, strict=True)]  # fmt: skip
    assert hits(facts) >= 9, report


@needs_model
def test_without_tracking_most_miss(lab, tasks):
    blind = results(lab, tasks, "small+tracker=off")
    assert hits(blind) < COUNT / 2
