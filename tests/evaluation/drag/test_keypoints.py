import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from framework.data.toycars import LOOK, ToyCars
from framework.errors import BrokenCheckpoint, UserError
from framework.evaluation.__main__ import main
from framework.evaluation.drag import keypoint_training as training
from framework.evaluation.drag.keypoint_network import KeypointNetwork, read_points
from framework.evaluation.drag.keypoint_training import held_out_error_px, train_judge
from framework.evaluation.drag.keypoints import SHIPPED, KeypointJudge
from framework.media.images import to_float


@pytest.fixture(scope="module")
def judge() -> KeypointJudge:
    return KeypointJudge.load()


def bump(at: tuple[float, float], height: float = 1.0, side: int = 32) -> torch.Tensor:
    """Logits whose heat is a bell of 1.5 px about a place in pixels."""
    centers = torch.arange(side) * 2 + 0.5
    bell = torch.exp(-(centers - at[0]).square() / 4.5) * torch.exp(
        -(centers - at[1]).square() / 4.5
    ).unsqueeze(1)
    return height * bell


# ------------------------------------------------------------------------------ reading points


@pytest.mark.parametrize("at", [(20.0, 33.5), (31.3, 12.9), (2.0, 61.0)])
def test_a_point_is_read_between_the_cells(at):
    points, confidence = read_points((bump(at) + 1e-9).log()[None, None])
    assert points[0, 0].tolist() == pytest.approx(at, abs=0.15)
    assert confidence[0, 0] > 0.98


def test_a_second_peak_costs_confidence_and_does_not_pull():
    both = bump((12.0, 40.0)) + bump((50.0, 40.0), height=0.6)
    points, confidence = read_points((both + 1e-9).log()[None, None])
    assert points[0, 0].tolist() == pytest.approx((12.0, 40.0), abs=0.15)
    assert confidence[0, 0].item() == pytest.approx(1 / 1.6, abs=0.03)


# --------------------------------------------------------------------------------- disturbances


def test_mirroring_swaps_left_and_right():
    names = ("left_wheel_hub", "right_wheel_hub", "roof_top")
    assert training.mirror_order(names) == [1, 0, 2]


def dots(points: torch.Tensor) -> torch.Tensor:
    """Soft white dots on black at points (N, K, 2)."""
    rows = torch.arange(64.0)
    x = torch.exp(-(rows - points[..., :1]).square() / 6)
    y = torch.exp(-(rows - points[..., 1:]).square() / 6)
    return (y[..., :, None] * x[..., None, :]).sum(1, keepdim=True).repeat(1, 3, 1, 1)


def test_a_warp_carries_the_points_with_the_picture():
    random = torch.Generator().manual_seed(0)
    points = torch.tensor([[[26.0, 38.0]]]).repeat(12, 1, 1)
    images, went = training.warp(dots(points), points, random)
    weight = images[:, 0].square()
    rows = torch.arange(64.0)
    x = (weight.sum(1) * rows).sum(1) / weight.sum((1, 2))
    y = (weight.sum(2) * rows).sum(1) / weight.sum((1, 2))
    seen = torch.stack([x, y], dim=1)
    moved = (went - points).norm(dim=2)
    assert moved.max() > 4  # otherwise the next line would prove nothing
    assert (seen - went[:, 0]).norm(dim=1).max() < 0.5


def test_a_mirrored_drawing_keeps_every_name_on_its_part():
    drawings = training.draw(8, seed=5)
    order = training.mirror_order(drawings.names)
    random = torch.Generator().manual_seed(1)
    images, points = training.disturb(drawings.images, drawings.points, order, random)
    assert images.shape == drawings.images.shape
    assert images.abs().max() <= 1
    left, right = (drawings.names.index(f"{side}_wheel_hub") for side in ("left", "right"))
    assert (points[:, left, 0] < points[:, right, 0]).all()


def test_points_outside_the_picture_do_not_count():
    logits = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    inside = torch.tensor([[[10.0, 10.0], [20.0, 20.0]]])
    outside = torch.tensor([[[10.0, 10.0], [-9.0, 20.0]]])
    size = torch.Size((64, 64))
    alone, _ = training.heat_loss(logits[:, :1], inside[:, :1], size)
    ignored, _ = training.heat_loss(logits, outside, size)
    counted, _ = training.heat_loss(logits, inside, size)
    assert ignored.item() == pytest.approx(alone.item(), rel=1e-5)
    assert counted.item() != pytest.approx(alone.item(), rel=1e-3)


# -------------------------------------------------------------------------------- the whole judge


def test_the_shipped_judge_is_small_and_as_recorded(judge):
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    assert size < 500_000
    recorded = judge.facts["held_out_error_px"]
    assert set(recorded) == set(judge.names)
    measured = held_out_error_px(judge, count=60)
    assert sum(measured.values()) / 9 == pytest.approx(sum(recorded.values()) / 9, abs=0.15)


def test_pictures_and_tensors_are_seen_alike(judge):
    cars = ToyCars(64, count=3, seed=31)
    pictures = np.stack([car.image for car in cars])
    found = judge(pictures)
    again = judge(to_float(pictures))
    assert found.points.shape == (3, 9, 2)
    assert found.confidence.shape == (3, 9)
    np.testing.assert_array_equal(found.points, again.points)
    for car, points in zip(cars, found.points, strict=True):
        for name, point in zip(judge.names, points.tolist(), strict=True):
            assert math.dist(point, car.keypoints[name]) < 4


def test_a_moved_part_is_seen_where_it_is(judge):
    """A roof lifted, a wheel shifted by 5 px: places that no drawing has them at."""
    pictures, wanted = [], []
    for car in ToyCars(64, count=20, seed=32):
        x, y = (round(v) for v in car.keypoints["left_wheel_hub"])
        if y > 56 or x < 14:
            continue
        picture = car.image.copy()
        wheel = picture[y - 8 : y + 8, x - 8 : x + 8].copy()
        picture[y - 8 : y + 8, x - 8 : x + 8] = picture[y - 8 : y + 8, x + 16 : x + 17]
        picture[y - 8 : y + 8, x - 13 : x + 3] = wheel
        pictures.append(picture)
        wanted.append((car.keypoints["left_wheel_hub"][0] - 5, car.keypoints["left_wheel_hub"][1]))
    found = judge(np.stack(pictures)).points[:, judge.names.index("left_wheel_hub")]
    assert len(wanted) > 10
    assert np.median(np.linalg.norm(found - np.array(wanted), axis=1)) < 1


def test_noise_makes_the_judge_unsure(judge):
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    car = np.stack([ToyCars(64, count=1, seed=33).image(0)])
    assert judge(noise).confidence.mean() < 0.6 * judge(car).confidence.mean()


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (64, 64, 3), (1, 64, 64, 1)])
def test_other_pictures_are_refused(judge, shape):
    with pytest.raises(UserError, match="64x64"):
        judge(np.zeros(shape, np.uint8))


def test_a_judge_comes_back_from_its_files(judge, tmp_path):
    judge.save(tmp_path)
    again = KeypointJudge.load(tmp_path)
    pictures = np.stack([ToyCars(64, count=1, seed=34).image(0)])
    np.testing.assert_array_equal(judge(pictures).points, again(pictures).points)


def test_no_judge_and_a_broken_one_are_one_line(judge, tmp_path):
    with pytest.raises(UserError, match="no judge"):
        KeypointJudge.load(tmp_path)
    judge.save(tmp_path)
    weights = tmp_path / "keypoints.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BrokenCheckpoint, match="not a judge"):
        KeypointJudge.load(tmp_path)
    judge.save(tmp_path)
    facts = tmp_path / "keypoints.json"
    facts.write_text(json.dumps({"names": ["a"]}))
    with pytest.raises(BrokenCheckpoint, match="not a judge"):
        KeypointJudge.load(tmp_path)


# -------------------------------------------------------------------------------------- training


def test_training_learns(capsys):
    drawings = training.draw(48, seed=8)
    errors = []
    network = training.train(drawings, 40, 8, 0.004, 0, lambda _, error: errors.append(error))
    assert isinstance(network, KeypointNetwork)
    assert not network.training
    assert np.mean(errors[-5:]) < 0.6 * np.mean(errors[:3])


def test_training_writes_a_judge_and_keeps_the_test_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("framework.evaluation.drag.keypoint_training.HELD_OUT_COUNT", 4)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    train_judge(str(tmp_path / "judge"), drawings=8, steps=2, batch_size=4)
    judge = KeypointJudge.load(tmp_path / "judge")
    assert judge.facts["trained"]["data"] == f"toycars:8, seed 0, look {LOOK}"
    (x0, y0), (x1, y1) = judge.usual("left_wheel_hub")
    assert 10 < x0 < x1 < 22
    assert 33 < y0 < y1 < 42
    with pytest.raises(UserError, match="seed 777"):
        train_judge(str(tmp_path / "other"), seed=777)
    with pytest.raises(UserError, match="already holds files"):
        train_judge(str(tmp_path / "judge"))


def test_the_command_line_teaches(capsys):
    assert main(["keypoints", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--drawings" in shown
    assert "Highest learning rate" in shown


def test_the_command_line_refuses_in_one_line(tmp_path):
    (tmp_path / "mine").touch()
    command = [sys.executable, "-m", "framework.evaluation", "keypoints"]
    refused = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=250
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: --out {tmp_path}")
    assert refused.stderr.count("\n") == 1
