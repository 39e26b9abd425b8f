"""Toy cars: the same everywhere and always, annotated where they are drawn."""

import hashlib
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from framework.data.toycars import Part, ToyCars
from framework.data.toycars_car import HEADLIGHT, draw_car
from framework.data.toycars_parameters import (
    BACKDROPS,
    BODY_SHAPES,
    COLORS,
    RIM_STYLES,
    SKIES,
    brightness,
    describe,
    draw_parameters,
)
from framework.data.toycars_shapes import lighter
from framework.errors import UserError

PINNED = "a452f2fbb8aaf1e67a5f7e7e1c8f5b2084ad28866824fb8d89ae367829057e39"
CAR_PARTS = [part for part in Part if part not in (Part.BACKGROUND, Part.SHADOW)]


@pytest.fixture(scope="module")
def samples():
    cars = ToyCars(128, count=60, seed=5)
    return [cars[index] for index in range(60)]


def neighbourhood(mask, point, radius):
    x, y = round(point[0]), round(point[1])
    return mask[y - radius : y + radius + 1, x - radius : x + radius + 1]


def test_look_is_pinned():
    """Trained models and their pages rest on this look: a change is a new data set, not a fix.

    Only a change of Pillow's polygon filling may move this digest; look at the pictures then.
    """
    cars = ToyCars()
    digest = hashlib.sha256()
    for index in (0, 1, 2, 3, 17, 4096, 49_999):
        digest.update(cars.image(index).tobytes())
    assert digest.hexdigest() == PINNED


def test_a_car_depends_on_seed_and_index_alone():
    forwards = [ToyCars(64, count=8, seed=3).image(i) for i in range(8)]
    other = ToyCars(64, count=1000, seed=3)
    backwards = [other[i].image for i in reversed(range(8))][::-1]
    assert np.array_equal(forwards, backwards)
    assert not any(np.array_equal(a, ToyCars(64, seed=4).image(i)) for i, a in enumerate(forwards))


@pytest.mark.parametrize("size", [64, 128])
def test_a_car_is_the_same_at_any_resolution(size):
    small, large = ToyCars(size), ToyCars(2 * size)
    for index in range(12):
        a, b = small[index], large[index]
        shrunk = np.asarray(Image.fromarray(b.image).reduce(2)).astype(int)
        assert np.abs(shrunk - a.image).mean() < 2.5
        for name, (x, y) in a.keypoints.items():
            assert b.keypoints[name] == pytest.approx((2 * x + 0.5, 2 * y + 0.5))


def test_shapes_and_types():
    car = ToyCars((48, 80))[1]
    assert car.image.shape == (48, 80, 3) and car.image.dtype == np.uint8
    assert car.part_mask.shape == car.sketch.shape == (48, 80)
    assert car.part_mask.dtype == car.sketch.dtype == np.uint8
    assert np.array_equal(ToyCars((48, 80)).image(1), car.image)
    assert set(np.unique(ToyCars(256)[9].part_mask)) == set(Part)


def test_hubs_are_in_the_middle_of_the_rims(samples):
    for car in samples:
        ys, xs = np.nonzero(car.part_mask == Part.RIM)
        left = xs < (car.keypoints["left_wheel_hub"][0] + car.keypoints["right_wheel_hub"][0]) / 2
        for side, here in (("left", left), ("right", ~left)):
            drawn = xs[here].mean(), ys[here].mean()
            assert car.keypoints[f"{side}_wheel_hub"] == pytest.approx(drawn, abs=0.3)


def test_hubs_wear_the_hub_cap(samples):
    for car in samples:
        for side in ("left", "right"):
            x, y = (round(v) for v in car.keypoints[f"{side}_wheel_hub"])
            assert tuple(car.image[y, x]) == lighter(car.parameters.rim_color, 0.6)


def test_bumpers_and_roof_top_are_on_their_parts(samples):
    for car in samples:
        mask = car.part_mask
        for side, outwards in (("left", -1), ("right", 1)):
            x, y = (round(v) for v in car.keypoints[f"{side}_bumper"])
            assert mask[y, x] == Part.BUMPER
            assert mask[y, x + 3 * outwards] == Part.BACKGROUND
        x, y = (round(v) for v in car.keypoints["roof_top"])
        assert mask[y + 1, x] == Part.ROOF
        assert mask[y - 2, x] in (Part.BACKGROUND, Part.TRIM)


@pytest.mark.parametrize("name", ["roof_corner", "windowsill"])
def test_corners_are_on_the_outline(samples, name):
    """Both the car and what is behind it are within two pixels of such a point."""
    for car in samples:
        for side in ("left", "right"):
            near = neighbourhood(car.part_mask, car.keypoints[f"{side}_{name}"], 2)
            assert np.isin(near, (Part.ROOF, Part.BODY)).any()
            assert np.isin(near, (Part.BACKGROUND, Part.TRIM)).any()


def test_left_is_left_of_right():
    for index in range(500):
        _, points = draw_car(draw_parameters(0, index))
        lefts = [name for name in points if name.startswith("left_")]
        assert len(lefts) == 4
        for name in lefts:
            assert points[name][0] < points[name.replace("left_", "right_")][0]


def test_turning_a_car_mirrors_it():
    for index in range(20):
        p = replace(draw_parameters(0, index), facing="right", x=0.0)
        _, right = draw_car(p)
        shapes, left = draw_car(replace(p, facing="left"))
        for name, (x, y) in right.items():
            side, _, thing = name.partition("_")
            other = {"left": "right", "right": "left"}.get(side, side)
            assert left[f"{other}_{thing}"] == pytest.approx((-x, y))
        headlights = [s for s in shapes if s.color == HEADLIGHT]
        assert headlights and all(x < 0 for s in headlights for x, _ in s.points)


def test_cars_fill_the_picture_and_stay_inside():
    for index in range(200):
        p = draw_parameters(1, index)
        shapes, _ = draw_car(p)
        xs, ys = np.array([q for s in shapes for q in s.points]).T
        assert xs.min() > -0.5 and xs.max() < 0.5 and ys.min() > -0.5 and ys.max() < 0.5
        assert 0.70 <= p.length <= 0.86
        assert p.wheel_radius * 64 >= 6
        rear, front = (p.axle_shift + side * p.wheelbase / 2 for side in (-1, 1))
        reach = 1.13 * p.wheel_radius
        assert -p.length / 2 < rear - reach and front + reach < p.length / 2
        assert p.nose_height > 2.1 * p.wheel_radius


def test_cars_stand_out_from_sky_and_hills():
    for index in range(300):
        p = draw_parameters(2, index)
        for behind in SKIES[p.scene.sky][:3]:
            chroma = np.abs(np.subtract(p.color, behind)).max()
            assert max(chroma, abs(brightness(p.color) - brightness(behind))) > 35


def test_captions_say_what_is_drawn():
    for index in range(300):
        p = draw_parameters(0, index)
        caption = describe(p)
        assert caption.startswith("an orange" if p.color_name == "orange" else f"a {p.color_name}")
        assert f" {p.body_type} facing {p.facing} with {p.rim_style} wheels" in caption
        assert caption.endswith(f"under a {p.scene.sky} sky")
        assert (f"a {p.second_color_name} roof" in caption) == (p.two_tone == "roof")
        assert (f"a {p.second_color_name} lower half" in caption) == (p.two_tone == "lower")
        assert ("spoiler" in caption) == p.spoiler
        assert ("roof rack" in caption) == p.roof_rack
        assert ("antenna" in caption) == p.antenna
        assert ("in front of" in caption) == (p.scene.backdrop != "plain")
    assert ToyCars()[7].caption == describe(draw_parameters(0, 7))


def test_cars_are_many_kinds():
    drawn = [draw_parameters(0, index) for index in range(400)]
    assert {p.body_type for p in drawn} == set(BODY_SHAPES)
    assert {p.color_name for p in drawn} == set(COLORS)
    assert {p.facing for p in drawn} == {"left", "right"}
    assert {p.rim_style for p in drawn} == set(RIM_STYLES)
    assert {p.scene.backdrop for p in drawn} == set(BACKDROPS)
    assert {p.scene.sky for p in drawn} == set(SKIES)
    assert len(set(drawn)) == 400
    assert np.std([p.roof_height for p in drawn]) > 0.01
    pictures = np.stack([ToyCars(32).image(index) for index in range(100)]).astype(float)
    assert pictures.std(axis=0).mean() > 20


def test_sketches_are_dark_lines_on_white(samples):
    for car in samples:
        ink = car.sketch < 128
        assert 0.01 < ink.mean() < 0.2
        assert not ink[car.part_mask == Part.SHADOW].mean() > 0.1
        x, y = (round(v) for v in car.keypoints["left_wheel_hub"])
        assert car.sketch[y, x] == 255
        if not car.parameters.roof_rack:
            x, y = (round(v) for v in car.keypoints["roof_top"])
            assert car.sketch[y - 1 : y + 2, x].min() < 128
        drawn = np.isin(car.part_mask, CAR_PARTS)
        ys, xs = np.nonzero(drawn)
        outside = np.ones_like(drawn)
        outside[ys.min() - 2 : ys.max() + 3, xs.min() - 2 : xs.max() + 3] = False
        assert (car.sketch[outside] == 255).all()


@pytest.mark.parametrize("size", [(100, 300), (300, 100)])
def test_oblong_pictures_hold_the_whole_car(size):
    cars = ToyCars(size)
    for index in range(10):
        mask = np.isin(cars[index].part_mask, CAR_PARTS)
        assert mask.any()
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_what_cannot_be_drawn_is_refused():
    for arguments in ({"size": 8}, {"size": (64, 4)}, {"count": 0}):
        with pytest.raises(UserError, match="give"):
            ToyCars(**arguments)
    for index in (-1, 5):
        with pytest.raises(IndexError, match="0 to 4"):
            ToyCars(64, count=5)[index]
    assert len(ToyCars(64, count=5)) == 5 == sum(1 for _ in ToyCars(32, count=5))


def test_speed_is_told(capsys):
    cars = ToyCars()
    start = time.process_time()
    pictures = [cars.image(index) for index in range(50)]
    elapsed_ms = (time.process_time() - start) / len(pictures) * 1000
    with capsys.disabled():
        print(f" [{elapsed_ms:.1f} ms a 64 px car]", end="")
    assert all(picture.shape == (64, 64, 3) for picture in pictures)
