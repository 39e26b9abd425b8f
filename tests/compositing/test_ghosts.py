"""What an edit leaves of the old outline, against the truth: toy cars on a textured ground."""

import numpy as np
import pytest

from framework.compositing.geometry import fit_geometry
from framework.compositing.paste import CHANGE_REACH_PX, CHANGED_LEVELS, paste_back
from tests.compositing.textured import EDITS, edited, ghost, grown, off_in_colour, texture


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("index", [0, 3])
def test_no_ghost_of_the_old_outline_is_left(index, kind):
    case = edited(index, kind)
    pasted = paste_back(
        case.photo, case.after, case.geometry, original=case.before, changed_only=True
    )
    assert ghost(pasted, case) < 0.16
    assert 0.8 < texture(pasted, case) < 1.2
    assert off_in_colour(pasted, case) < 9
    # The measures see one: the canvas alone leaves a smooth patch with the old outline around it.
    plain = paste_back(
        case.photo, case.after, case.geometry, original=case.before, changed_only=True, carry=False
    )
    assert texture(plain, case) < 0.87 and ghost(pasted, case) < 0.7 * ghost(plain, case)


def test_far_from_the_edit_every_pixel_stays():
    case = edited(0, "roof")
    pasted = paste_back(
        case.photo, case.after, case.geometry, original=case.before, changed_only=True
    )
    scale = len(case.photo) / len(case.before)
    change = np.abs(case.after.astype(int) - case.before).max(axis=2) > CHANGED_LEVELS
    near = grown(np.kron(change, np.ones((int(scale),) * 2)), int(scale * CHANGE_REACH_PX))
    assert np.array_equal(pasted[~near], case.photo[~near]) and (~near).mean() > 0.3


def test_detail_of_what_did_not_move_stays_whatever_the_colours_do():
    """A cloud that the model left out, in a picture that gets a little lighter everywhere."""
    photo = np.full((128, 128, 3), 100, np.uint8)
    photo[90:110, 90:110], photo[20:24, 20:60] = 20, 190  # what moves, and what does not
    geometry = fit_geometry((128, 128), (32, 32))
    before = np.full((32, 32, 3), 100, np.uint8)
    before[22:27, 22:27] = 20
    after = np.roll(before, -6, axis=1) + np.uint8(12)
    pasted = paste_back(photo, after, geometry, original=before, changed_only=True)
    assert np.array_equal(pasted[16:30, 16:64], photo[16:30, 16:64] + 12)
