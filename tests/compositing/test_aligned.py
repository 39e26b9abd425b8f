"""Photographs laid by two points."""

import numpy as np
import pytest

from framework.compositing.aligned import align_geometry, at_border, default_places
from framework.compositing.geometry import Geometry, fit_geometry, photo_box
from framework.compositing.paste import seam_sides
from framework.errors import UserError

POINTS, PLACES = [(60.0, 70.0), (110.0, 95.0)], [(20.0, 30.0), (44.0, 28.0)]


# D1f
def test_the_two_points_lie_where_they_were_asked_to():
    geometry = align_geometry((160, 200), (64, 64), POINTS, PLACES)
    assert geometry.to_canvas_points(POINTS) == pytest.approx(np.array(PLACES))
    (a, b, _), (c, d, _) = geometry.affine
    assert (a, b) == pytest.approx((d, -c))  # a turn and one scale: nothing is sheared
    assert Geometry.from_dict(geometry.to_dict()) == geometry


def test_by_default_they_are_level_and_half_a_picture_apart():
    geometry = align_geometry((160, 200), (48, 64), POINTS)
    assert geometry.to_canvas_points(POINTS) == pytest.approx(np.array(default_places((48, 64))))
    assert default_places((48, 64)) == ((15.75, 23.5), (47.25, 23.5))


def test_what_leaves_the_photograph_is_not_in_the_valid_box():
    geometry = align_geometry((160, 200), (64, 64), [(20, 80), (60, 90)], PLACES)
    left, top, right, bottom = geometry.valid_box
    assert (left, top, right, bottom) != (0, 0, 64, 64)
    x, y, end_x, end_y = photo_box(geometry)
    assert 0 <= x < end_x <= 200 and 0 <= y < end_y <= 160


@pytest.mark.parametrize("box", [(-100, 0, 200, 300), (111, 77, 411, 377), (60, -31, 360, 269)])
def test_a_photograph_that_ends_on_the_canvas_ends_between_its_pixels(box):
    rough = fit_geometry((350, 350), (64, 64), box=box)
    fine = at_border(rough)
    assert fine.valid_box != (0, 0, 64, 64)
    assert np.abs(np.subtract(fine.affine, rough.affine)).max() <= 0.5
    ends = [value not in (0, 64) for value in fine.valid_box]
    # No strip is left between the edit and the photograph's border: there is no seam there.
    assert any(ends) and not any(np.logical_and(seam_sides(fine), ends))


def test_what_covers_the_canvas_or_is_turned_is_not_moved():
    for options in ({}, {"box": (20, 30, 300, 310)}, {"box": (-90, 0, 200, 290), "rotate_deg": 9}):
        geometry = fit_geometry((350, 350), (64, 64), **options)
        assert at_border(geometry) == geometry


@pytest.mark.parametrize(
    ("points", "places", "words"),
    [
        ([(60, 70), (60.4, 70.2)], None, "give two points apart"),
        ([(60, 70), (260, 70)], None, r"\(260, 70\) lies outside the photograph of 200x160"),
        (POINTS, [(1, 1), (64, 1)], "outside the model's picture of 64x64"),
        ([(60, float("nan")), (1, 1)], None, "outside the photograph"),
    ],
)
def test_points_that_cannot_be_laid_are_refused(points, places, words):
    with pytest.raises(UserError, match=words):
        align_geometry((160, 200), (64, 64), points, places)
