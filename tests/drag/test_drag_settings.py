import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from framework.drag.settings import DragSettings
from framework.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FOLDER = ROOT / "configs" / "edit" / "drag"


def resolved(settings=None, size=(512, 512), points=1, num_ws=16, blocks=8):
    resolutions = tuple(4 * 2**k for k in range(blocks))
    return (settings or DragSettings()).resolve(size, resolutions, num_ws, points)


# Pan et al. 2023: r1 = round(3 / 512 · size), r2 = round(12 / 512 · size); never below 1 here.
@pytest.mark.parametrize(
    ("height", "r1", "r2"),
    [(16, 1, 1), (64, 1, 2), (128, 1, 3), (256, 2, 6), (512, 3, 12), (1024, 6, 24)],
)
def test_radii_follow_the_height_as_published(height, r1, r2):
    r = resolved(size=(height, 48))
    assert (r.motion_radius_px, r.tracking_radius_px) == (r1, r2)


def test_radii_in_picture_pixels_override_those_of_the_paper():
    r = resolved(DragSettings(motion_radius_px=5, tracking_radius_px=7), size=(64, 64))
    assert (r.motion_radius_px, r.tracking_radius_px) == (5, 7)


def test_features_are_those_of_the_sixth_block_or_the_last():
    assert resolved(blocks=9).resolution == 128
    assert resolved(blocks=5).resolution == 64
    assert resolved(DragSettings(feature_resolution=32)).resolution == 32
    with pytest.raises(
        UserError, match=r"feature_resolution 256: this model has 4, 8, 16, 32, 64;"
    ):
        resolved(DragSettings(feature_resolution=256), blocks=5)


def test_stop_distance_is_one_pixel_for_up_to_five_points_and_two_beyond():
    assert resolved(points=5).stop_distance_px == 1
    assert resolved(points=6).stop_distance_px == 2
    assert resolved(DragSettings(stop_distance_px=0.5), points=6).stop_distance_px == 0.5


def test_all_latents_move_in_w_and_the_first_six_in_w_plus():
    assert resolved().layers == 6
    assert resolved(num_ws=4).layers == 4
    assert resolved(DragSettings(latent_space="w")).layers == 16


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("motion_radius", 0), ("motion_radius", None), ("motion_radius_px", 0),
        ("motion_radius_px", 1.5), ("tracking_radius_px", True), ("template_radius_px", -1),
        ("mask_weight", -1), ("mask_weight", float("nan")), ("learning_rate", 0),
        ("learning_rate", float("inf")), ("learning_rate", "2e-3"), ("layers", 0),
        ("latent_space", "z"), ("feature_resolution", 2), ("tracking", "raft"),
        ("stop_distance_px", -1), ("max_steps", 0), ("max_steps", None), ("max_seconds", "ten"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line_that_names_the_setting(name, value):
    with pytest.raises(UserError, match=rf"^file.yaml: {name} .*: expected ") as error:
        DragSettings.from_dict({name: value}, "file.yaml")
    assert "\n" not in str(error.value)


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"no setting 'lambda'; there are motion_radius, "):
        DragSettings.from_dict({"lambda": 20})
    with pytest.raises(UserError, match="expected settings by name, got list"):
        DragSettings.from_dict([1])


def test_settings_survive_json():
    settings = DragSettings(learning_rate=0.01, motion_radius_px=3, tracking="off")
    assert DragSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_the_preset_draggan_is_the_paper_and_names_every_setting():
    values = yaml.safe_load((CONFIG_FOLDER / "draggan.yaml").read_text("utf-8"))
    assert set(values) == set(DragSettings().to_dict())
    assert DragSettings.from_dict(values) == DragSettings()


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_is_read(path):
    DragSettings.from_dict(yaml.safe_load(path.read_text("utf-8")), str(path))


def test_settings_and_tasks_are_read_without_torch():
    code = (
        "import sys, framework.drag.settings, framework.drag.tasks, framework.drag;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
