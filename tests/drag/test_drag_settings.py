import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from framework.drag.settings import PRESETS, DragSettings
from framework.errors import UserError
from framework.jobs.requests.drag import Preset

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FOLDER = ROOT / "configs" / "edit" / "drag"


def sizes(settings=None, size=(512, 512), points=1):
    return (settings or DragSettings()).sizes(size, points)


# Pan et al. 2023: r1 = round(3 / 512 · size), r2 = round(12 / 512 · size); never below 1 here.
@pytest.mark.parametrize(
    ("height", "r1", "r2"),
    [(16, 1, 1), (64, 1, 2), (128, 1, 3), (256, 2, 6), (512, 3, 12), (1024, 6, 24)],
)
def test_radii_follow_the_height_as_published(height, r1, r2):
    r = sizes(size=(height, 48))
    assert (r.motion_radius_px, r.tracking_radius_px) == (r1, r2)


def test_radii_in_picture_pixels_override_those_of_the_paper():
    r = sizes(DragSettings(motion_radius_px=5, tracking_radius_px=7), size=(64, 64))
    assert (r.motion_radius_px, r.tracking_radius_px) == (5, 7)


def test_stop_distance_is_one_pixel_for_up_to_five_points_and_two_beyond():
    assert sizes(points=5).stop_distance_px == 1
    assert sizes(points=6).stop_distance_px == 2
    assert sizes(DragSettings(stop_distance_px=0.5), points=6).stop_distance_px == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("motion_radius", 0), ("motion_radius", None), ("motion_radius_px", 0),
        ("motion_radius_px", 1.5), ("tracking_radius_px", True), ("template_radius_px", -1),
        ("mask_weight", -1), ("mask_weight", float("nan")), ("learning_rate", 0),
        ("learning_rate", float("inf")), ("learning_rate", "2e-3"), ("layers", 0),
        ("latent_space", "z"), ("feature_resolution", 2), ("tracker", "sift"), ("method", 3),
        ("tracker_weights", ""), ("tracker_weights", 3),
        ("stop_distance_px", -1), ("max_steps", 0), ("max_steps", None), ("max_seconds", "ten"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line_that_names_the_setting(name, value):
    with pytest.raises(UserError, match=rf"^file.yaml: {name} .*: expected ") as error:
        DragSettings.from_dict({name: value}, "file.yaml")
    assert "\n" not in str(error.value)


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"no setting 'lambda'; there are method, tracker, "):
        DragSettings.from_dict({"lambda": 20})
    with pytest.raises(UserError, match="expected settings by name, got list"):
        DragSettings.from_dict([1])


def test_settings_survive_json():
    settings = DragSettings(learning_rate=0.01, motion_radius_px=3, tracker="off")
    assert DragSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_a_file_of_before_trackers_had_names_is_read():
    assert DragSettings.from_dict({"tracking": "off"}) == DragSettings(tracker="off")


def test_the_paper_is_the_default():
    assert DragSettings.preset("draggan") == DragSettings()
    with pytest.raises(UserError, match="preset 'raft': expected one of draggan, small, dragline"):
        DragSettings.preset("raft")


@pytest.mark.parametrize("name", PRESETS)
def test_the_file_of_a_preset_has_all_its_values(name):
    values = yaml.safe_load((CONFIG_FOLDER / f"{name}.yaml").read_text("utf-8"))
    assert DragSettings.from_dict(values, name) == DragSettings.preset(name)
    assert name != "draggan" or set(values) == set(DragSettings().to_dict())


def test_a_request_offers_every_preset():
    assert get_args(Preset) == ("auto", *PRESETS)


def test_every_file_is_that_of_a_preset():
    assert {path.stem for path in CONFIG_FOLDER.glob("*.yaml")} == set(PRESETS)


@pytest.mark.parametrize(
    ("height", "reduction", "stop_px"), [(64, 1, 0.3), (200, 1, 0.3), (256, 2, 0.6), (1024, 8, 2.4)]
)
def test_dragline_looks_at_large_pictures_reduced(height, reduction, stop_px):
    sizes = DragSettings.preset("dragline").sizes((height, 2 * height), 9)
    assert sizes.reduction == reduction and sizes.stop_distance_px == pytest.approx(stop_px)


def test_settings_and_tasks_are_read_without_torch():
    code = (
        "import sys, framework.drag.settings, framework.drag, framework.jobs.tasks;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
