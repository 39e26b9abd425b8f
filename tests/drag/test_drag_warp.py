"""Pixels that move with points, the ground they uncover, and models that redraw the picture."""

from dataclasses import replace

import pytest
import torch

from framework.drag.adapters import draggable_of
from framework.drag.algorithm import drag_points
from framework.drag.edit_file import EditFile
from framework.drag.redrawing import apart, importance
from framework.drag.settings import DragSettings
from framework.drag.warping import painted, warped
from tests.drag.fakes import ShiftGenerator
from tests.models.diffusion.tiny import tiny_generator

SETTINGS = DragSettings.preset("warp")


def points(*pairs):
    return torch.tensor(pairs, dtype=torch.float32)


def dot(x, y, size=32):
    picture = torch.zeros(1, 3, size, size)
    picture[..., y - 1 : y + 2, x - 1 : x + 2] = 1
    return picture


@pytest.mark.parametrize("move", [(6.0, 0.0), (-5.0, 3.0), (0.0, -7.0)])
def test_what_is_about_a_point_goes_with_it(move):
    picture = dot(16, 16)
    shown, uncovered = warped(picture, points((16, 16)), points(move), 4)
    moved = dot(16 + int(move[0]), 16 + int(move[1]))
    torch.testing.assert_close(shown.masked_fill(uncovered, 0), moved, atol=1e-4, rtol=0)


def test_half_a_pixel_is_sampled_between_pixels():
    picture = torch.arange(32.0).expand(1, 1, 32, 32)
    shown, _ = warped(picture, points((16, 16)), points((0.5, 0.0)), 6)
    torch.testing.assert_close(shown[0, 0, 16, 14:19], picture[0, 0, 16, 14:19] - 0.5)


def test_what_is_far_from_all_points_stays_to_the_bit():
    picture = torch.rand(1, 3, 32, 32)
    shown, uncovered = warped(picture, points((8, 8)), points((3.0, 0.0)), 4)
    assert torch.equal(shown[..., 20:], picture[..., 20:]) and not uncovered[:, 20:].any()
    assert not torch.equal(shown, picture)


def test_a_long_way_uncovers_ground_and_a_short_one_does_not():
    picture = torch.rand(1, 3, 32, 32)
    far = warped(picture, points((10, 16)), points((10.0, 0.0)), 4)[1]
    assert far[16, 7:13].all() and not far[16, 19:24].any()
    assert not warped(picture, points((10, 16)), points((0.4, 0.0)), 4)[1].any()


def test_outside_the_mask_nothing_changes():
    picture, mask = torch.rand(1, 3, 32, 32), torch.ones(32, 32)
    mask[:, 18:] = 0
    shown, uncovered = warped(picture, points((14, 16)), points((8.0, 0.0)), 5, mask)
    assert torch.equal(shown[..., 18:], picture[..., 18:]) and not uncovered[:, 18:].any()
    assert not torch.equal(shown[..., :18], picture[..., :18])


def test_two_points_carry_their_own_surroundings():
    picture = dot(8, 16) + dot(24, 16)
    shown, _ = warped(picture, points((8, 16), (24, 16)), points((4.0, 0.0), (0.0, 5.0)), 4)
    torch.testing.assert_close(shown, dot(12, 16) + dot(24, 21), atol=0.1, rtol=0)


def test_uncovered_ground_is_filled_from_the_rest_alone():
    picture, hole = torch.full((1, 3, 32, 32), 0.25), torch.zeros(32, 32, dtype=torch.bool)
    hole[10:16, 10:16] = True
    torch.testing.assert_close(
        painted(picture.masked_fill(hole, -1.0), hole), picture, atol=1e-4, rtol=0
    )
    assert painted(picture, torch.zeros_like(hole)) is picture


def test_a_diffusion_model_shows_the_warped_picture_itself(tmp_path):
    generator = tiny_generator(tmp_path / "m")
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ws = generator.mapping(z)
    model = draggable_of(generator, SETTINGS)
    picture = model.picture(ws).clamp(-1, 1)
    shown, uncovered = warped(picture, points((10, 12)), points((7.0, 0.0)), 4)
    again = model.picture(model.showing(painted(shown, uncovered), ws))
    assert (again - painted(shown, uncovered)).abs().max() < 0.02
    steps = list(drag_points(generator, ws, [(10, 12)], [(17, 12)], None, SETTINGS))
    assert [step.step for step in steps] == [0, 1] and steps[1].status in ("arrived", "lost")
    EditFile.from_steps(steps, generator, model_name="m", settings=SETTINGS).save(tmp_path / "e")
    edit = EditFile.load(tmp_path / "e")
    assert torch.equal(edit.ws[-1:], steps[1].ws) and edit.settings.method == "warp"


def test_a_generator_comes_as_near_as_it_can():
    """The fake can only shift its whole picture, so it shifts it after the part that moved."""
    generator = ShiftGenerator(gain=50.0)
    settings = replace(SETTINGS, motion_radius_px=40)
    steps = list(drag_points(generator, generator.ws(), [(32, 32)], [(35, 32)], None, settings))
    x, y = generator.shift(steps[-1].ws).tolist()
    assert steps[-1].status == "arrived" and abs(x - 3) < 0.5 and abs(y) < 0.5


def test_half_of_what_counts_is_what_changes():
    old, new = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    new[..., 10:14, 10:14] = 1
    weights = importance(old, new)
    assert float(weights.mean()) == pytest.approx(1)
    changed = weights > weights.min()
    assert int(changed.sum()) == 64  # 4x4 and 2 px about it
    assert float(weights[changed].sum() / weights.sum()) == pytest.approx(0.5, abs=0.05)
    assert float(apart(old, old, weights)) == 0 < float(apart(old, new, weights))


def test_a_part_that_is_far_off_pulls_from_afar():
    """The pictures do not overlap: at their own size the difference would be flat."""
    nearer, farther, wanted = dot(16, 16), dot(10, 16), dot(20, 16)
    weights = torch.ones(1, 1, 32, 32)
    assert apart(nearer, wanted, weights) < apart(farther, wanted, weights)
