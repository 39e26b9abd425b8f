"""Training of a network that fills holes: it learns, resumes bit for bit, mistakes are told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_cdt

from framework.errors import UserError
from framework.formats.filler_folder import WEIGHTS, load_filler
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.training.callbacks import RunCheckpoints
from framework.training.filling.module import FillingTraining
from framework.training.filling.objectives import discounts, draw_holes
from framework.training.filling.settings import FillingSettings
from framework.training.phases import Micro
from tests.training.test_training_resume import differing
from tests.training.tiny import tiny_data, train

BATCH, SIZE = 4, (16, 16)
TINY: dict[str, Any] = {"width": 8, "adversarial_from_kimg": 0.004}


def assembled(**settings: Any) -> FillingTraining:
    module = FillingTraining(**{**TINY, **settings})
    module.assemble(SIZE, 3, 0, torch.device("cpu"), BATCH)
    return module


def trained(folder: Path, batches: int, start: int | None = None) -> dict[str, Any]:
    """Train up to so many batches, from a checkpoint after `start` of them; what was saved."""
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    module = FillingTraining(**TINY)
    train(module, batches * BATCH, tiny_data(BATCH), (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


def test_a_resumed_run_is_bit_equal(tmp_path):
    whole = trained(tmp_path / "whole", 4)
    first = trained(tmp_path / "parts", 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    assert differing(trained(tmp_path / "parts", 4, 2), whole) == []
    assert whole["dragline"]["width"] == 8


def test_it_learns_a_batch_by_heart():
    module = assembled(adversarial=0.0)
    pictures = torch.full((8, 3, *SIZE), 0.8)
    pictures[:, 1, :8] = -0.8
    adam, losses = torch.optim.Adam(module.filler.parameters(), lr=1e-2), []
    for step in range(60):
        micro = Micro(lambda: pictures, torch.zeros(8, 0), torch.Generator().manual_seed(step))
        outcome = module.phases[0].objective(micro)
        losses.append(outcome.loss.item())  # type: ignore[union-attr]
        adam.zero_grad()
        outcome.loss.backward()  # type: ignore[union-attr]
        adam.step()
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])


def test_filler_and_judge_want_opposite_things():
    module, rng = assembled(), torch.Generator().manual_seed(0)
    micro = Micro(lambda: torch.rand(4, 3, *SIZE) * 2 - 1, torch.zeros(4, 0), rng)
    names = [phase.name for phase in module.phases]
    assert names == ["Fmain", "Fadv", "Jmain"]
    assert [phase.begins for phase in module.phases] == [0, 4, 4]
    opinion = module.phases[1].objective(micro)
    grads = torch.autograd.grad(opinion.loss, module.filler.out.weight)  # type: ignore[union-attr]
    assert grads[0].abs().max() > 0
    told = module.phases[2].objective(micro).loss  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(told, module.filler.out.weight)
    assert [phase.name for phase in assembled(adversarial=0.0).phases] == ["Fmain"]


def test_holes_are_of_about_the_area_and_leave_something():
    holes = draw_holes(300, (32, 48), 0.1, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert holes.shape == (300, 1, 32, 48) and set(holes.unique().tolist()) == {0.0, 1.0}
    shares = holes.mean(dim=(1, 2, 3))
    assert shares.min() > 0 and shares.max() < 0.5 and 0.05 < shares.mean() < 0.15
    assert holes.mean(dim=0)[0].min() >= 0 and (holes.mean(dim=0)[0, 4:-4, 4:-4] > 0).all()


def test_an_error_counts_less_the_deeper_it_lies():
    holes = draw_holes(6, (24, 20), 0.2, torch.Generator().manual_seed(3), torch.device("cpu"))
    for hole, weight in zip(holes[:, 0].numpy(), discounts(holes, 0.9)[:, 0].numpy(), strict=True):
        framed = np.pad(hole, 24, mode="edge")  # the picture's border is no way out
        steps = distance_transform_cdt(framed, "chessboard")[24:-24, 24:-24]
        wanted = np.where(hole > 0, 0.9 ** (steps - 1.0), 0)
        assert np.allclose(weight, wanted, atol=1e-5)


def test_a_snapshot_is_a_folder_that_loads(tmp_path):
    module = assembled()
    module.write_model(tmp_path, module.provenance({"count": 3}), "# card")
    loaded = load_filler(tmp_path)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, module.filler_ema.state_dict()[name].half().float())
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["provenance"]["training"]["width"] == 8
    assert "fills holes" in module.card("network-1", {"size": SIZE, "count": 1, "source": "x"})


def test_a_folder_without_a_filler_or_with_a_damaged_one_is_one_line(tmp_path):
    with pytest.raises(UserError, match=f"holds no {WEIGHTS}"):
        load_filler(tmp_path)
    assembled().write_model(tmp_path, {}, "")
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(UserError, match=WEIGHTS):
        load_filler(tmp_path)


def test_its_sheets_are_the_same_pictures_with_the_same_holes():
    module, data = assembled(), tiny_data()
    data.setup("fit")
    sheets = module.exhibit(data, 4, 8)
    assert sheets.begin()["holes"].shape == sheets.now()["filled"].shape == (8, *SIZE, 3)
    assert (sheets.now()["filled"] == sheets.now()["filled"]).all()


@pytest.mark.parametrize(
    ("wrong", "about"),
    [
        ({"width": 10}, "width"),
        ({"hole_area": 0.0}, "hole_area"),
        ({"hole_area": 0.6}, "hole_area"),
        ({"discount": 1.1}, "discount"),
        ({"adversarial": -1.0}, "adversarial"),
    ],
)
def test_settings_that_cannot_be_are_named(wrong, about):
    with pytest.raises(UserError, match=about):
        FillingSettings(**{**TINY, **wrong})


def test_a_size_that_cannot_be_quartered_is_named():
    with pytest.raises(UserError, match=r"data.size 18x16: must be multiples of 4"):
        FillingTraining(**TINY).sketch((18, 16), 3, 0, torch.device("cpu"))
