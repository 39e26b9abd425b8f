import numpy as np
import pytest

from framework.media import draw

GREY = np.full((64, 64, 3), 128, np.uint8)


def changed(picture: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Rows and columns (N, 2) of the pixels that differ."""
    return np.argwhere((picture != plain).any(axis=2))


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (31, 33), (512, 512), (700, 300)])
def test_enlargement_reaches_the_panel_by_a_whole_factor(shape):
    factor = draw.enlargement(*shape)
    assert max(shape) * factor >= draw.MIN_PANEL_PX
    assert factor == 1 or max(shape) * (factor - 1) < draw.MIN_PANEL_PX


def test_nearest_enlargement_repeats_pixels():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(draw.enlarge(image, 3), image.repeat(3, axis=0).repeat(3, axis=1))


@pytest.mark.parametrize("point", [(10, 50), (0, 0), (63, 63), (31.5, 7.25)])
def test_a_dot_is_centred_on_its_pixels_centre(point):
    sheet = draw.Overlay(64, 64, 6)
    sheet.dot(point, radius=1.0)
    rows_columns = changed(sheet.on(GREY), draw.enlarge(GREY, 6))
    inside = all(3 <= value <= 60 for value in point)
    if inside:  # a dot at the edge is cut off, so that its mean is not its centre
        y, x = rows_columns.mean(axis=0)
        assert x == pytest.approx((point[0] + 0.5) * 6 - 0.5, abs=0.5)
        assert y == pytest.approx((point[1] + 0.5) * 6 - 0.5, abs=0.5)
    else:
        corner = np.array(point)[::-1] * 6
        assert (np.abs(rows_columns - corner) < 24).all() and len(rows_columns)


def test_an_arrow_ends_at_the_target_and_leaves_the_rest_alone():
    sheet = draw.Overlay(64, 64, 6)
    sheet.arrow((10, 32), (40, 32))
    rows_columns = changed(sheet.on(GREY), draw.enlarge(GREY, 6))
    tip = (40 + 0.5) * 6 - 0.5
    assert rows_columns[:, 1].max() == pytest.approx(tip, abs=5)
    assert rows_columns[:, 1].min() == pytest.approx((10 + 0.5) * 6 - 0.5, abs=5)
    assert np.abs(rows_columns[:, 0] - (32.5 * 6 - 0.5)).max() < 20


@pytest.mark.parametrize("point", [(0, 0), (63, 63), (31.5, 7.25), (30, 60)])
def test_a_sheet_around_its_points_looks_like_one_of_the_whole(point):
    pictures = []
    for around in (None, [point, (20, 40)]):
        sheet = draw.Overlay(64, 64, 6, around)
        sheet.arrow(point, (20, 40))
        sheet.dot(point)
        sheet.ring((20, 40))
        sheet.number(point, "12")
        pictures.append(sheet.on(GREY))
    assert np.array_equal(*pictures)


def test_a_sheet_around_nothing_changes_nothing():
    assert np.array_equal(draw.Overlay(64, 64, 6, []).on(GREY), draw.enlarge(GREY, 6))


def test_an_arrow_of_no_length_draws_nothing():
    sheet = draw.Overlay(64, 64, 6)
    sheet.arrow((10, 32), (10, 32))
    assert np.array_equal(sheet.on(GREY), draw.enlarge(GREY, 6))


def test_the_task_shows_the_mask_and_the_handle():
    mask = np.zeros((64, 64))
    mask[:, 32:] = 1
    picture = draw.draw_task(GREY, [(48, 32)], [(56, 32)], mask, resample="nearest")
    assert picture.shape == (384, 384, 3)
    assert picture[10, 10].max() < 100  # fixed: darkened
    assert np.array_equal(picture[10, 380], [128, 128, 128])  # may change: as it was
    assert tuple(picture[round(32.5 * 6), round(48.5 * 6)]) == draw.HANDLE


def test_side_by_side_shows_the_track_to_the_last_point_only_on_the_right():
    track = [[(10, 10 + step)] for step in range(30)]
    sheet = draw.side_by_side(GREY, GREY, [(10, 10)], [(10, 50)], track)
    middle = sheet.shape[1] // 2
    is_track = (sheet == np.array(draw.TRACK)).all(axis=2)
    assert is_track[:, middle:].sum() > 50
    assert not is_track[:, :middle].any()


def test_side_by_side_without_steps_still_shows_the_handles():
    sheet = draw.side_by_side(GREY, GREY, [(10, 10)], [(10, 50)], [])
    is_handle = (sheet == np.array(draw.HANDLE)).all(axis=2)
    assert is_handle[:, sheet.shape[1] // 2 :].any()


def test_every_number_of_points_is_needed_on_both_sides():
    with pytest.raises(ValueError, match="shorter"):
        draw.draw_task(GREY, [(1, 1), (2, 2)], [(3, 3)])


def test_rgb_repeats_grey_and_lays_transparency_on_white():
    assert draw.rgb(np.full((2, 2, 1), 7, np.uint8)).tolist() == [[[7, 7, 7]] * 2] * 2
    clear = np.zeros((1, 2, 4), np.uint8)
    clear[0, 1] = (10, 20, 30, 255)
    assert draw.rgb(clear).tolist() == [[[255, 255, 255], [10, 20, 30]]]
