"""The protocol `mask`: its areas, and what is said of a drag with one."""

import numpy as np
import pytest
import torch

from framework.evaluation.drag.measures import mean_change
from framework.evaluation.drag.protocols.mask import PROTOCOL, SIZES, area, mask_of
from framework.evaluation.drag.specs import MethodSpec

HANDLE, TARGET = (10.0, 40.2), (16.0, 40.2)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ("no", (0, 0, 64, 64)),
        ("small", (2, 32, 25, 49)),
        ("medium", (0, 24, 33, 57)),
        ("large", (4, 2, 60, 62)),
    ],
)
def test_an_area_lies_about_handle_and_target_or_within_a_border(size, box):
    assert area(size, HANDLE, TARGET, (64, 64)) == box
    mask = mask_of(box, (64, 64))
    assert float(mask.sum()) == (box[2] - box[0]) * (box[3] - box[1])
    assert mask[round(HANDLE[1]), round(HANDLE[0])] == 1


def test_a_masked_drag_is_compared_with_the_unmasked_one(lab, car):
    x, y = car.keypoints["left_wheel_hub"]
    task = {
        "seed": 7000, "parts": ["left_wheel_hub"], "handles": [[x, y]], "targets": [[x + 2, y]],
    }  # fmt: skip
    lab = type(lab)(lab.generator, None, lambda seed: torch.zeros(1, 4, 2), 7000)
    spec = MethodSpec.parse("small+max_steps=12+feature_resolution=64+settle_steps=0")
    group = PROTOCOL.groups[0]
    result = PROTOCOL.run(lab, group, task, spec.text, spec)
    assert list(result.images) == list(PROTOCOL.images) == ["start", *SIZES]
    lines = PROTOCOL.lines(spec.text, result.facts)
    assert list(lines) == [f"{spec.text}, {size} mask" for size in SIZES]
    for size in SIZES[1:]:
        facts = lines[f"{spec.text}, {size} mask"]
        fixed = 1 - mask_of(area(size, (x, y), (x + 2, y), (64, 64)), (64, 64)).numpy()
        change, free = (
            mean_change(result.images["start"], result.images[name], fixed) for name in (size, "no")
        )
        assert facts["fixed"] == pytest.approx(change) and free > 0
        near = facts["under_2"] and facts["free_under_2"]
        assert facts["share"] == (pytest.approx(change / free) if near else None)
        assert facts["may_change"] == pytest.approx(1 - fixed.mean())
    assert np.array_equal(result.images["start"], lab.picture(torch.zeros(1, 4, 2))[0])
