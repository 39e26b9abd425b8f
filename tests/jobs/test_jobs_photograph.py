"""Photographs as a model sees them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from framework.compositing.geometry import valid_mask
from framework.errors import UserError
from framework.formats import load_generator
from framework.jobs.models import Networks
from framework.jobs.photograph import find_photos, read_photo
from framework.jobs.requests.framing import Framing
from framework.media.images import to_float


def picture(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def small(small_model):
    return load_generator(small_model)


# A10f
def test_what_lies_outside_the_photograph_is_mirrored_and_told(small, photograph):
    path = photograph()  # 40x30
    photo = read_photo(path, small, Framing(box="28,4,44,20"))
    assert photo.geometry.valid_box == (0, 0, 12, 16)
    wanted = picture(path)[4:20, 28:40]
    assert np.array_equal(photo.canvas[:, :12], wanted)
    assert np.array_equal(photo.canvas[:, 12:], wanted[:, :-5:-1])
    note = "25 % of the model's picture lies outside the photograph: filled with the photograph"
    assert [n for n in photo.notes if n.startswith(note)]
    padded = read_photo(path, small, Framing(crop="pad", box="28,4,44,20"))
    assert (padded.canvas[:, 12:] == 255).all()
    assert "25 %" in padded.notes[0] and "filled with white" in padded.notes[0]
    for framing in (Framing(), Framing(crop="pad"), Framing(box="0,0,30,30"), Framing(rotate=12)):
        assert not [n for n in read_photo(path, small, framing).notes if "outside" in n]


# A10f
@pytest.mark.parametrize(
    "flags",
    [{"box": "31,0,51,20"}, {"box": "-11,-11,5,5", "crop": "pad"},
     {"align": "2,2:10,2", "align_to": "12,14:15,14"}],
)  # fmt: skip
def test_a_part_that_lies_mostly_outside_is_refused(small, photograph, flags):
    with pytest.raises(UserError, match=r"`(box|align)` .* % of the model's picture empty"):
        read_photo(photograph(), small, Framing(**flags))


def test_the_valid_box_counts_and_nothing_else(small, photograph):
    photo = read_photo(photograph(), small, Framing(box="28,4,44,20"))
    assert valid_mask(photo.geometry).sum() == 12 * 16


def test_names_of_results_are_unique_whatever_the_case(tmp_path):
    for name in ("a/Car.png", "a/car.jpg", "b/car.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, problems = find_photos([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [name for name, _ in found] == ["Car", "car-2", "car-3"] and not problems


def test_white_borders_do_not_make_a_photograph_strange(small_model, photograph):
    networks = Networks(str(small_model), "cpu")
    path = photograph(size=(40, 20))
    padded, whole = (read_photo(path, networks.generator, Framing(crop=c)) for c in ("pad", None))
    assert (padded.canvas[0] == 255).all() and not (whole.canvas[0] == 255).all()
    seen = padded.whole.canvas(replace(padded.geometry, fill="mirror"), 3)
    assert np.array_equal(padded.without_borders(), seen)
    assert networks.familiarity is not None
    wanted = networks.familiarity.strangeness(to_float(seen[None])).item()
    assert networks.strangeness(seen) == pytest.approx(wanted, abs=1e-3)
