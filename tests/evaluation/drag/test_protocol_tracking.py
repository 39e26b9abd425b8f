import json
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc

from framework.evaluation.drag.following import Followed
from framework.evaluation.drag.protocols import tracking
from framework.evaluation.drag.protocols.tracking import (
    PATHS,
    PROTOCOL,
    SHIFTED,
    TURNED,
    auc,
    measure,
)
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.targets import judge_knows
from framework.evaluation.drag.true_picture import keypoints_apart_px


def test_the_area_under_the_curve_is_that_of_torchmetrics():
    rng = torch.Generator().manual_seed(0)
    scores = (torch.rand(40, generator=rng) * 8).round() / 8  # with ties
    wrong = torch.rand(40, generator=rng) < scores
    expected = binary_auroc(scores, wrong.long()).item()
    assert auc(scores.tolist(), wrong.tolist()) == pytest.approx(expected)
    assert auc([0.1, 0.9], [False, True]) == 1
    assert auc([0.1, 0.9], [True, True]) is None


def test_errors_are_measured_at_the_end_on_the_way_and_by_part():
    truth = torch.tensor([[[1.0, 0.0], [9.0, 0.0]], [[2.0, 0.0], [8.0, 0.0]]])
    path = truth + torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 3.5], [0.0, 1.0]]])
    followed = Followed(path, torch.tensor([0.4, 0.1]), (0.2, 0.9), 1.5)
    handles = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    facts = measure(followed, truth, handles, ["left_wheel_hub", "roof_top"])
    assert facts["px"] == pytest.approx(2.25) and facts["lost"] == 0.5
    assert facts["path_px"] == pytest.approx(5.5 / 4) and facts["moved_px"] == 2
    assert facts["wheels_px"] == pytest.approx(3.5) and "roofs_px" not in facts
    line = {column.name: column.text(column.summary([facts])) for column in PROTOCOL.columns}
    assert line["auc_drift"] == line["auc_doubt"] == "1.00" and line["px"] == "2.25"


@pytest.mark.parametrize("group", PROTOCOL.groups)
def test_tasks_are_the_same_every_time_and_survive_json(toycars, group):
    first = list(islice(PROTOCOL.tasks(toycars, group), 2))
    assert json.loads(json.dumps(first)) == list(islice(PROTOCOL.tasks(toycars, group), 2))
    for task in first:
        points = torch.tensor([*task["handles"], *task["targets"]])
        assert ((points >= 0) & (points <= 63)).all()


@pytest.mark.parametrize("group", PROTOCOL.groups)
def test_staying_misses_by_what_moved_and_a_patch_by_less(toycars, group):
    (task,) = islice(PROTOCOL.tasks(toycars, group), 1)
    rows = PROTOCOL.rows(group, [MethodSpec.parse("small")])
    stays, patch = (
        PROTOCOL.run(toycars, group, task, row, rows[row]).facts
        for row in ("off, small", "patch, small")
    )
    assert stays["px"] == pytest.approx(stays["moved_px"], abs=1e-4)
    assert patch["px"] < (0.5 if group in (SHIFTED, TURNED) else stays["px"])
    assert PROTOCOL.lines("patch, small", patch) == {"patch, small": patch}


def test_a_tracker_that_cannot_run_is_refused_by_name(toycars, monkeypatch):
    def without_weights(*_):
        raise tracking.UserError("raft: its weights are missing")

    monkeypatch.setattr(tracking, "follow", without_weights)
    (task,) = islice(PROTOCOL.tasks(toycars, SHIFTED), 1)
    facts = PROTOCOL.run(toycars, SHIFTED, task, "raft, small", MethodSpec.parse("small")).facts
    assert facts == {"status": "refused", "refusal": "raft: its weights are missing"}
    assert all(isinstance(c.text(c.summary([facts])), str) for c in PROTOCOL.columns)
    assert PROTOCOL.lines("raft, small", facts) == {"raft": facts}


def test_what_the_judge_does_not_know_has_no_paths(toycars):
    noise = torch.Generator().manual_seed(0)
    blurred = SimpleNamespace(
        img_size=(64, 64),
        img_channels=3,
        synthesis=lambda ws, noise_mode: torch.rand(len(ws), 3, 64, 64, generator=noise) * 2 - 1,
    )
    strange = replace(toycars, generator=blurred, pairs=[])
    assert list(PROTOCOL.tasks(strange, PATHS)) == []
    assert keypoints_apart_px(strange, *np.zeros((2, 64, 64, 3), np.uint8)) is None
    assert judge_knows(toycars) and not judge_knows(replace(strange, pairs=[]))
