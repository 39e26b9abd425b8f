"""The measures of the benchmark against naive formulas, and how passes are counted."""

import math

import numpy as np
import pytest
import torch

from framework.drag.settings import DragSettings
from framework.drag.stylegan2 import StyleGAN2
from framework.errors import UserError
from framework.evaluation.drag.measures import (
    car_area,
    mean_change,
    measure_edit,
    outside,
    repainted_levels,
    sharpness,
)
from framework.evaluation.drag.numbers import LEAST_FOR_KID, Looks, _kernel
from framework.evaluation.drag.specs import MethodSpec, parse_specs
from framework.evaluation.drag.trial import Trial, counted, run_trial
from framework.evaluation.intervals import wilson
from framework.evaluation.report_folder import Record, ReportFolder
from framework.models.stylegan2 import Generator
from tests.evaluation.drag.conftest import GAIN_PX

SMALL = "small+max_steps=40+feature_resolution=64+stop_distance_px=0.3"


def pictures(seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(2)]


def test_outside_is_the_mean_change_away_from_all_points():
    before, after = pictures()
    points, total, count = [(3.0, 4.0), (15.5, 12.0)], 0.0, 0
    for y in range(20):
        for x in range(24):
            if all(math.dist((x, y), point) > 10 for point in points):
                change = np.abs(after[y, x].astype(int) - before[y, x].astype(int))
                total, count = total + change.mean() / 255, count + 1
    assert 0 < count < 480
    assert outside(before, after, points) == pytest.approx(total / count)
    assert mean_change(before, after, np.zeros((20, 24))) == 0


def test_sharpness_is_the_mean_squared_difference_of_neighbours():
    picture = pictures()[0]
    image = picture / 127.5 - 1
    right = np.mean((image[:, 1:] - image[:, :-1]) ** 2)
    down = np.mean((image[1:] - image[:-1]) ** 2)
    assert sharpness(picture) == pytest.approx(right + down, rel=1e-5)


def test_a_car_is_repainted_where_its_colour_changes_and_not_where_it_moves(car, lab):
    points = {name: list(place) for name, place in car.keypoints.items()}
    before = np.array(car.image)
    area = car_area((64, 64), points)
    assert 0.05 < area.mean() < 0.5
    assert not area[:, 0].any() and area[round(points["left_windowsill"][1]) + 2, 32]
    moved = np.roll(before, 3, axis=1)
    there = {name: [x + 3, y] for name, (x, y) in points.items()}
    assert repainted_levels(before, moved, points, there) < 3
    painted = before.copy()
    painted[area] = np.clip(painted[area].astype(int) // 3, 0, 255)
    expected = np.abs(painted[area].mean(axis=0) - before[area].mean(axis=0)).mean()
    assert repainted_levels(before, painted, points, points) == pytest.approx(expected)


def test_an_edit_is_scored_from_all_sides(lab, car):
    """A shift by (4, 0) px takes a wheel to a target at (6, 0) px: 2 px are missing."""
    start, end = torch.zeros(1, 4, 2), torch.zeros(1, 4, 2)
    end[..., 0] = 4 / GAIN_PX
    before, after = lab.picture(torch.cat([start, end]))
    x, y = car.keypoints["left_wheel_hub"]
    trial = Trial(end, [(x + 0.5, y)], {"status": "arrived", "called_lost": False})
    facts = measure_edit(lab, before, after, [(x, y)], [(x + 6, y)], ["left_wheel_hub"], trial)
    assert facts["px"] == pytest.approx(2, abs=0.5) and not facts["under_1"]
    assert facts["others_px"] == pytest.approx(4, abs=0.6)
    assert facts["off_px"] == pytest.approx(3.5, abs=0.6)
    assert facts["wrong"] == (facts["off_px"] > 3)
    assert facts["good"] == (facts["px"] < 2)
    assert facts["realism"] is None and facts["sharp"] == pytest.approx(1, abs=0.2)
    assert 0 < facts["outside"] < 0.3 and facts["identity"] > 0 and not facts["repainted"]
    still = measure_edit(lab, before, before, [(x, y)], [(x + 6, y)], ["left_wheel_hub"], None)
    assert still["identity"] == 0 and still["outside"] == 0 and "wrong" not in still


def test_a_trial_moves_the_picture_and_says_what_it_cost(lab, car):
    x, y = car.keypoints["left_wheel_hub"]
    spec = MethodSpec.parse(SMALL)
    trial = run_trial(lab, spec, torch.zeros(1, 4, 2), [(x, y)], [(x - 4, y)])
    assert trial.facts["status"] == "arrived" and not trial.facts["called_lost"]
    assert float(GAIN_PX * trial.ws[..., 0].mean()) == pytest.approx(-4, abs=0.6)
    steps = trial.facts["steps"]
    assert steps > 2 and steps <= trial.facts["backward"] <= trial.facts["forward"] + 1
    assert trial.facts["critic_passes"] == 0 and trial.facts["cpu_seconds"] > 0
    refused = run_trial(lab, spec, torch.zeros(1, 4, 2), [(x, y)], [(999.0, y)])
    assert (
        refused.facts["status"] == "refused" and "outside the picture" in refused.facts["refusal"]
    )
    assert refused.points == [(x, y)]


def test_passes_are_counted_whoever_asks_for_them_and_wherever_they_stop():
    generator = Generator(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8)
    generator.eval().requires_grad_(False)
    draggable = StyleGAN2(generator, DragSettings(feature_resolution=8))
    ws = torch.randn(1, generator.num_ws, 8)
    with counted(generator.synthesis.blocks[0]) as passes:
        view = draggable.view(ws)
        for _ in range(2):
            draggable.gradient(view, view.features.sum(), keep=True)
        draggable.picture(ws, view)  # goes on from the view: no pass of its own
        draggable.finer(ws)
        with torch.no_grad():
            generator.synthesis(ws.expand(3, -1, -1), noise_mode="const")
    assert (passes.forward, passes.backward) == (5, 2)
    generator.synthesis(ws)
    assert passes.forward == 5


def test_a_share_has_the_interval_of_wilson():
    """Its ends are the shares p at which |share - p| is 1.96 standard errors of p."""
    for count, of in [(0, 24), (23, 24), (7, 10)]:
        numbers = wilson(count, of)
        for end in (numbers["low"], numbers["high"]):
            error = math.sqrt(end * (1 - end) / of)
            assert abs(count / of - end) == pytest.approx(1.959964 * error, abs=1e-6)
    assert wilson(0, 24)["low"] == 0 and wilson(0, 24)["high"] > 0.1
    assert wilson(0, 0)["share"] is None


def test_a_spec_is_a_preset_or_a_method_with_changes():
    spec = MethodSpec.parse("small+max_steps=60+tracker=off+max_seconds=null")
    assert (spec.settings.max_steps, spec.settings.tracker) == (60, "off")
    assert spec.settings.template_radius_px == DragSettings.preset("small").template_radius_px
    assert MethodSpec.parse("draggan").settings == DragSettings()


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["fastest"], "'fastest' is none of draggan, "),
        (["small+steps=3"], "no setting 'steps'"),
        (["small+max_steps"], "expected SETTING=VALUE"),
        (["small+max_steps=many"], "max_steps 'many'"),
        (["small+tracker=eyes"], "'eyes': expected one of"),
        (["small", "draggan", "small"], "small: named twice"),
    ],
)
def test_a_spec_that_does_not_fit_is_one_line(texts, complaint):
    with pytest.raises(UserError) as refusal:
        parse_specs(texts)
    assert complaint in str(refusal.value) and "\n" not in str(refusal.value)
    assert refusal.value.field == "methods"


def test_a_row_far_from_its_starts_has_a_larger_kernel_distance(lab, tmp_path):
    """Starts and results of two rows; the second paints its results, which features notice."""
    random, kinds = np.random.default_rng(5), ("landmarks/a/one/", "landmarks/a/two/")
    with ReportFolder(tmp_path / "report", "test", {}, {}) as folder:
        for index in range(LEAST_FOR_KID):
            start = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            images = {"start": start, "result": start}
            folder.keep(Record(kinds[0], index, {}, images))
            folder.keep(Record(kinds[1], index, {}, {**images, "result": start // 4}))
        looks, indices = Looks(lab), range(LEAST_FOR_KID)
        same, painted = (
            _kernel(folder, looks, kind, indices, ("start", "result")) for kind in kinds
        )
        assert _kernel(folder, looks, kinds[0], indices[:-1], ("start", "result")) is None
    assert same is not None and painted is not None and len(looks._seen) == 2 * LEAST_FOR_KID
    assert painted["value"] - painted["ci95"] > same["value"]
    starts = [folder.image(kinds[0], index, "start", 3) for index in indices]
    alone = lab.stranger(torch.from_numpy(np.stack(starts)).permute(0, 3, 1, 2))
    torch.testing.assert_close(looks.features(starts), alone, rtol=1e-4, atol=1e-5)
