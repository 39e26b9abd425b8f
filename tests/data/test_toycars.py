"""Toy cars: the same everywhere and always, annotated where they are drawn."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from framework.data.toycars import Part, ToyCars
from framework.data.toycars_bodies import BODY_TYPES, TRAITS, body_type
from framework.data.toycars_car import HEADLIGHT, draw_car
from framework.data.toycars_parameters import (
    BACKDROPS,
    COLORS,
    MAX_TURN,
    RIM_STYLES,
    SKIES,
    brightness,
    describe,
    draw_parameters,
)
from framework.data.toycars_shapes import lighter
from framework.errors import UserError

PINNED = "fc4a17885e69ab5e7c946505a7d6e0e3365d2097a4192d3aedb3fdf4bb994482"
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
            assert mask[y, min(max(x + 7 * outwards, 0), 127)] == Part.BACKGROUND
        x, y = (round(v) for v in car.keypoints["roof_top"])
        assert mask[y + 1, x] == Part.ROOF
        assert mask[y - 2, x] in (Part.BACKGROUND, Part.TRIM)


@pytest.mark.parametrize("name", ["roof_corner", "windowsill"])
def test_corners_are_on_the_outline(samples, name):
    """The car and what is behind it are within two pixels, its far side's width where it shows."""
    for car in samples:
        p = car.parameters
        shown = "right" if (p.turn > 0) == (p.facing == "right") else "left"
        for side in ("left", "right"):
            reach = 2 + math.ceil(abs(p.turn) * p.scale * 128) * (side == shown)
            point = car.keypoints[f"{side}_{name}"]
            assert np.isin(neighbourhood(car.part_mask, point, 2), (Part.ROOF, Part.BODY)).any()
            around = neighbourhood(car.part_mask, point, reach)
            assert np.isin(around, (Part.BACKGROUND, Part.TRIM)).any()


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
        b = p.body
        assert 0.66 <= b.length * p.scale <= 0.88
        assert b.wheel_radius * p.scale * 64 >= 5.4
        reach = 1.13 * b.wheel_radius
        assert -b.length / 2 < b.rear_axle - reach and b.front_axle + reach < b.length / 2
        assert b.front_axle - b.rear_axle > 2 * reach + 0.05
        assert min(b.nose_height, b.deck_height) > b.wheel_radius + reach
        assert 0 < b.rear_sill < b.roof_rear < b.roof_front - 0.14
        assert b.roof_front < b.front_sill < 0.9


def test_windows_are_inside_the_cabin(samples):
    for car in samples:
        ys, xs = np.nonzero(car.part_mask == Part.WINDOW)
        assert len(ys) > 150
        sills = [car.keypoints[f"{side}_windowsill"] for side in ("left", "right")]
        spare = 2 + MAX_TURN * 128
        assert sills[0][0] - spare < xs.min() and xs.max() < sills[1][0] + spare
        assert ys.min() > car.keypoints["roof_top"][1]
        assert ys.max() < max(y for _, y in sills) + 2


# ---------------------------------------------------------------------------- continuous shapes


@pytest.fixture(scope="module")
def places():
    """Where 2,000 cars have their parts: from the body's middle forwards and from the road up.

    In pixels of a 64 px picture, by name, without the car's scale.
    """
    rows = []
    for index in range(2000):
        p = replace(draw_parameters(0, index), scale=1.0, x=0.0, facing="right", tilt=0.0)
        points = draw_car(p)[1]
        (rear, _), (front, bumper) = points["left_bumper"], points["right_bumper"]
        row = {name: x * 64 for name, (x, _) in points.items()}
        row |= {f"{name}_height": (p.ground - y) * 64 for name, (_, y) in points.items()}
        row["hood"] = (front - points["right_windowsill"][0]) * 64
        row["rear_overhang"] = (points["left_wheel_hub"][0] - rear) * 64
        row["front_overhang"] = (front - points["right_wheel_hub"][0]) * 64
        row["bumper"] = (p.ground - bumper) * 64
        row["glass"] = row["right_roof_corner_height"] - row["right_windowsill_height"]
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


MOVING = ("left_roof_corner", "right_roof_corner", "left_windowsill", "right_windowsill")
MOVING += ("left_roof_corner_height", "right_roof_corner_height", "hood")
MOVING += ("left_wheel_hub", "right_wheel_hub")


@pytest.mark.parametrize("name", MOVING)
def test_parts_are_anywhere_between_their_extremes(places, name):
    """No body type is an island: no gap and no empty pixel in the middle nine tenths."""
    low, high = np.percentile(places[name], (5, 95))
    middle = np.sort(places[name][(places[name] >= low) & (places[name] <= high)])
    assert high - low > 3
    assert np.diff(middle).max() < 0.2
    counts, _ = np.histogram(middle, round(high - low))
    assert counts.min() > 0.25 * counts.mean()


def test_parts_vary_on_their_own(places):
    names = ["left_roof_corner", "right_roof_corner", "glass", "right_windowsill_height"]
    names += ["bumper", "rear_overhang", "front_overhang"]
    related = np.abs(np.corrcoef([places[name] for name in names])) - np.eye(len(names))
    assert related.max() < 0.3
    hood = [np.corrcoef(places["hood"], places[name])[0, 1] for name in names]
    assert max(abs(r) for r in hood) < 0.7  # the windscreen hangs between roof and hood


@pytest.mark.parametrize("name", list(BODY_TYPES))
def test_a_pure_type_has_its_own_name(name):
    pure = dict(zip(TRAITS, BODY_TYPES[name], strict=True))
    for index in range(5):
        body = draw_parameters(0, index).body
        pure["roof_height"] = body.belt_height + pure["glass_height"]
        traits = {trait: value for trait, value in pure.items() if trait != "glass_height"}
        assert body_type(replace(body, **traits)) == name


def test_a_car_is_called_after_the_nearest_type():
    units = np.array(list(TRAITS.values()))
    for index in range(100):
        p = draw_parameters(0, index)
        traits = np.array([getattr(p.body, trait) for trait in TRAITS])
        steps = [np.linalg.norm((traits - pure) / units) for pure in BODY_TYPES.values()]
        assert p.body_type == list(BODY_TYPES)[int(np.argmin(steps))]


def test_turning_shows_the_far_side_and_leaves_the_near_one():
    for index in range(20):
        p = replace(draw_parameters(0, index), facing="right", tilt=0.0)
        edges = []
        for turn in (-MAX_TURN, 0.0, MAX_TURN):
            shapes, points = draw_car(replace(p, turn=turn))
            body = [x for s in shapes if s.part is Part.BODY for x, _ in s.points]
            edges.append((min(body), max(body), points))
        (left, _, a), (flat_left, flat_right, b), (_, right, c) = edges
        assert a == b == c
        assert flat_left - left == pytest.approx(MAX_TURN * p.scale)
        assert right - flat_right == pytest.approx(MAX_TURN * p.scale)


def test_a_tilted_body_leaves_its_wheels_on_the_road():
    for index in range(20):
        p = replace(draw_parameters(0, index), facing="right")
        level, tilted = (draw_car(replace(p, tilt=tilt))[1] for tilt in (0.0, 1.0))
        middle = complex(p.x, p.ground - p.scale * p.body.wheel_radius)
        for name, point in level.items():
            turned = middle + (complex(*point) - middle) * np.exp(-1j * math.radians(1.0))
            wanted = point if name.endswith("hub") else (turned.real, turned.imag)
            assert tilted[name] == pytest.approx(wanted, abs=1e-9)


def test_scale_is_about_the_road_under_the_car():
    p = draw_parameters(0, 3)
    small, large = (draw_car(replace(p, scale=scale))[1] for scale in (1.0, 1.1))
    for name, (x, y) in small.items():
        wanted = p.x + 1.1 * (x - p.x), p.ground + 1.1 * (y - p.ground)
        assert large[name] == pytest.approx(wanted, abs=1e-9)


# ------------------------------------------------------------------------------------ the look


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
    assert {p.body_type for p in drawn} == set(BODY_TYPES)
    assert {p.color_name for p in drawn} == set(COLORS)
    assert {p.facing for p in drawn} == {"left", "right"}
    assert {p.rim_style for p in drawn} == set(RIM_STYLES)
    assert {p.scene.backdrop for p in drawn} == set(BACKDROPS)
    assert {p.scene.sky for p in drawn} == set(SKIES)
    assert len(set(drawn)) == 400
    assert np.std([p.body.roof_height for p in drawn]) > 0.01
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
