"""Trackers on their own, along motions whose truth is known."""

import pytest
import torch

from framework.drag.registry import names
from framework.drag.settings import DragSettings
from framework.drag.stylegan2 import StyleGAN2
from framework.errors import UserError
from framework.evaluation.drag.following import MovingFeatures, follow
from framework.evaluation.drag.known_motion import Motion
from framework.formats import load_generator

SETTINGS = DragSettings(feature_resolution=32, template_radius_px=2, tracking_radius_px=2)
HANDLES = torch.tensor([[22.0, 36.0], [42.0, 38.5]])
SHIFT = Motion(torch.eye(2), torch.tensor([6.0, -3.0]), (64, 64))
STATES = list(torch.linspace(0, 1, 9)[:, None])


@pytest.fixture(scope="module")
def model() -> StyleGAN2:
    return StyleGAN2(load_generator("toycars64"), SETTINGS)


@pytest.fixture(scope="module")
def moving(model) -> MovingFeatures:
    z = torch.randn(1, model.generator.z_dim, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ws = model.generator.mapping(z, truncation_psi=0.7)
    return MovingFeatures(model, ws, SHIFT)


def test_features_and_picture_move_as_the_motion_says(moving):
    with torch.no_grad():
        before, after = (moving.view(torch.tensor([share])) for share in (0.0, 1.0))
        pictures = [moving.picture(view.state, view) for view in (before, after)]
    assert before.features.shape[2] == 32  # half the picture: 6 and -3 px are 3 and -1.5 cells
    torch.testing.assert_close(
        pictures[1][..., 10:40, 16:50], pictures[0][..., 13:43, 10:44], atol=2e-3, rtol=0
    )
    half = Motion(torch.eye(2), torch.tensor([6.0, -4.0]), (64, 64))
    moved = half.warped(before.features)
    torch.testing.assert_close(
        moved[..., 6:20, 9:26], before.features[..., 8:22, 6:23], atol=1e-3, rtol=1e-3
    )
    assert not torch.allclose(before.features, after.features, atol=0.1)


@pytest.mark.parametrize("tracker", names("trackers"))
def test_every_tracker_follows_and_only_off_stays(moving, tracker):
    settings = DragSettings(**{**SETTINGS.to_dict(), "tracker": tracker})
    try:
        followed = follow(moving, STATES, HANDLES, settings)
    except UserError:
        pytest.skip(f"{tracker} has no weights here")
    error_px = (followed.path[-1] - SHIFT.points(HANDLES)).norm(dim=1)
    assert followed.path.shape == (8, 2, 2)
    if tracker == "off":
        assert torch.equal(followed.path[-1], HANDLES)
        assert max(followed.confidence) < 0.5
    else:
        assert error_px.max() < 1
        assert min(followed.confidence) > 0.5
    assert followed.cpu_ms > 0


def test_a_lost_point_drifts_more_than_one_that_is_followed(moving):
    drifts = {}
    for tracker in ("off", "patch"):
        settings = DragSettings(**{**SETTINGS.to_dict(), "tracker": tracker})
        drifts[tracker] = follow(moving, STATES, HANDLES, settings).drift
    assert drifts["patch"].max() < 0.5 * drifts["off"].min()
