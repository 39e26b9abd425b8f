"""Drawings put into models of both families, and dragged to what another drawing shows."""

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from framework.errors import UserError
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.protocols import ablations, drawn
from framework.evaluation.drag.protocols.drawn import NO_EDIT, PROTOCOL, VARIANTS, drawings
from framework.evaluation.drag.put_in import PutIn, Variant
from framework.evaluation.drag.specs import MethodSpec
from tests.models.diffusion.tiny import tiny_generator


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    generator = tiny_generator(tmp_path_factory.mktemp("m") / "m", size=(64, 64), steps=4)
    latents = lambda seed: torch.zeros(1, generator.num_ws, generator.w_dim)  # noqa: E731
    return Lab(generator, None, latents, 0, put_in=PutIn(lambda: None, generator))  # type: ignore


@pytest.mark.parametrize("group", PROTOCOL.groups)
def test_a_task_is_what_the_second_drawing_shows(lab, group):
    for task in islice(PROTOCOL.tasks(lab, group), 3):
        before, true = drawings(group, task["car"])
        (part,) = task["parts"]
        assert tuple(task["handles"][0]) == before.keypoints[part]
        assert tuple(task["targets"][0]) == true.keypoints[part]
        far = math.dist(task["handles"][0], task["targets"][0])
        assert drawn.BETWEEN_PX[0] <= far <= drawn.BETWEEN_PX[1]
        assert (before.image != true.image).any() and before.caption[:4] == true.caption[:4]


def test_what_is_not_dragged_stays_in_the_true_drawing(lab):
    (task,) = islice(PROTOCOL.tasks(lab, "wheels"), 1)
    before, true = drawings("wheels", task["car"])
    assert before.parameters.scene == true.parameters.scene
    same = [n for n in before.keypoints if "wheel" not in n]
    assert all(math.dist(before.keypoints[n], true.keypoints[n]) < 1 for n in same)
    assert before.image[:8].tolist() == true.image[:8].tolist()


def test_rows_say_what_a_diffusion_model_leaves_out():
    specs = [MethodSpec.parse("diffusion"), MethodSpec.parse("dragline")]
    rows = PROTOCOL.rows("wheels", specs)
    assert list(rows) == [NO_EDIT, *(f"diffusion{name}" for name in VARIANTS), "dragline"]
    more = ablations.PROTOCOL.rows("wheels", specs[:1])
    assert set(rows) - {"dragline"} < set(more)


def test_a_drag_is_measured_against_the_true_drawing(lab):
    (task,) = islice(PROTOCOL.tasks(lab, "wheels"), 1)
    spec = MethodSpec.parse("diffusion+max_steps=1")
    names = ["diffusion+max_steps=1, no LoRA", "diffusion+max_steps=1, no tracking"]
    quick = {"": Variant(lora_steps=0), ", no LoRA": Variant(lora_steps=0),
             ", no tracking": Variant(lora_steps=0, settings=(("tracker", "off"),))}  # fmt: skip
    protocol = replace(PROTOCOL, variants=quick)
    start = protocol.run(lab, "wheels", task, NO_EDIT, None)
    before, true = drawings("wheels", task["car"])
    assert (start.images["start"] == before.image).all()
    assert (start.images["true"] == true.image).all()
    assert start.facts["mse"] > 0.1 and start.facts["inversion_psnr"] > 20
    for row in names:
        result = protocol.run(lab, "wheels", task, row, spec)
        assert result.facts["steps"] == 1 and result.facts["forward"] >= 1
        assert np.isfinite(result.facts["px"]) and result.facts["cpu_seconds"] > 0
    for column in protocol.columns:
        column.text(column.summary([start.facts]))


def test_two_models_stand_in_one_table(lab):
    both = replace(lab, others={"other": lab})
    specs = [MethodSpec.parse("dragline"), MethodSpec.parse("some/where/other:warp+max_steps=1")]
    assert [(spec.text, spec.of, spec.model) for spec in specs] == [
        ("dragline", "", ""), ("other:warp+max_steps=1", "other", "some/where/other")
    ]  # fmt: skip
    rows = PROTOCOL.rows("wheels", specs)
    assert list(rows) == [NO_EDIT, f"other: {NO_EDIT}", "dragline", "other:warp+max_steps=1"]
    (task,) = islice(PROTOCOL.tasks(both, "wheels"), 1)
    quick = replace(PROTOCOL, variants={"": Variant(lora_steps=0)})
    start = quick.run(both, "wheels", task, f"other: {NO_EDIT}", None)
    moved = quick.run(both, "wheels", task, specs[1].text, specs[1])
    assert moved.facts["px"] != start.facts["px"] and moved.facts["grown_mb"] >= 0
    with pytest.raises(KeyError):
        quick.run(lab, "wheels", task, specs[1].text, specs[1])


def test_variants_are_put_in_as_they_say(lab):
    (task,) = islice(PROTOCOL.tasks(lab, "wheels"), 1)
    image, put_in = drawings("wheels", task["car"])[0].image, lab.put_in
    assert put_in is not None
    plain = put_in(image, Variant(lora_steps=0))
    free = put_in(image, Variant(lora_steps=0, reference=1.0))
    assert free.ws is plain.ws and free.generator.reference == 1.0  # one inversion for both
    assert plain.generator.digest == lab.generator.digest
    tuned = put_in(image, Variant(lora_steps=1))
    assert tuned.generator.digest != lab.generator.digest
    low = put_in(image, Variant(lora_steps=0, strength=0.3))
    assert low.generator.level == 1 and not torch.equal(low.ws, plain.ws)
    assert lab.generator.strength == 0.7 and lab.generator.reference == 10 / 16


def test_a_model_of_another_size_is_refused(tmp_path):
    generator = tiny_generator(tmp_path)
    small = Lab(generator, None, lambda seed: torch.zeros(1), 0)
    with pytest.raises(UserError, match="protocol drawn: for models of 64x64 px"):
        PROTOCOL.identity(small)
