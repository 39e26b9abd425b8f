"""Editability against truths that are known: a drawing that its latents shift, naive loops."""

import math
from dataclasses import replace

import pytest
import torch

from framework.drag.settings import DragSettings
from framework.errors import InvalidEdit
from framework.evaluation.inversion.editability import (
    latent_error,
    outward,
    random_edits,
    realism,
    realism_shifts,
    sampled_ws,
    share_below,
    strong_points,
    there_and_back,
)
from framework.models.stylegan2 import Discriminator
from framework.models.stylegan2.statistics import StyleStatistics
from tests.evaluation.drag.conftest import SETTINGS, ShiftedCar
from tests.inversion.small import small_generator


@pytest.fixture(scope="module")
def generator():
    return small_generator()


@pytest.fixture(scope="module")
def discriminator():
    torch.manual_seed(5)
    made = Discriminator(16, channel_base=128, channel_max=8, mbstd_group_size=4)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def statistics():
    return StyleStatistics(torch.zeros(8), torch.arange(1.0, 9.0))


@pytest.fixture(scope="module")
def blob():
    """A generator of a soft spot at (32, 32) on a slope, moved as its latents say."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    spot = torch.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 60)
    return ShiftedCar(torch.stack([2 * spot - 1, x / 64 * spot, y / 64 * spot])[None])


# ----------------------------------------------------------------------------------------- points


def test_strong_points_are_the_strongest_gradients_of_the_middle():
    image = torch.rand(3, 40, 32, generator=torch.Generator().manual_seed(0))
    grey = image.mean(dim=0)
    strength = {
        (x, y): (grey[y, x + 1] - grey[y, x - 1]).item() ** 2
        + (grey[y + 1, x] - grey[y - 1, x]).item() ** 2
        for y in range(10, 30)
        for x in range(8, 24)
    }
    points = strong_points(image, 3)
    assert points[0] == max(strength, key=strength.__getitem__)
    for number, point in enumerate(points):
        before = points[:number]
        apart = {p: v for p, v in strength.items() if all(math.dist(p, q) >= 4 for q in before)}
        assert strength[int(point[0]), int(point[1])] == pytest.approx(max(apart.values()))


def test_of_equal_gradients_the_first_in_reading_order_comes_first():
    image = torch.zeros(1, 16, 16)
    image[0, 6, 9] = 1
    assert strong_points(image, 1) == ((9.0, 5.0),)
    assert len(strong_points(torch.zeros(1, 8, 8), 50)) <= 16


def test_points_are_pulled_straight_away_from_the_centre():
    (right, corner, middle) = outward([(20.0, 7.5), (3.0, 3.0), (7.5, 7.5)], (16, 32), 3.0)
    assert right == pytest.approx((23.0, 7.5))
    away = math.atan2(3.0 - 7.5, 3.0 - 15.5)
    assert corner == pytest.approx((3 + 3 * math.cos(away), 3 + 3 * math.sin(away)))
    assert outward([(15.5, 7.5)], (16, 32), 3.0)[0] == pytest.approx((18.5, 7.5))
    assert outward([(30.0, 7.5)], (16, 32), 9.0)[0] == pytest.approx((31.0, 7.5))  # stays inside
    assert middle != pytest.approx((7.5, 7.5))


# ------------------------------------------------------------------------------- there and back


def test_a_drag_there_and_back_moves_the_picture_and_brings_it_home(blob):
    ws = torch.zeros(1, 4, 2)
    settings = replace(SETTINGS, stop_distance_px=0.5)
    way = there_and_back(blob, ws, [(36.0, 31.5)], 6.0, settings)
    assert way.targets[0] == pytest.approx((42.0, 31.5))
    moved = (way.there - way.start).square().mean().item()
    returned = (way.back - way.start).square().mean().item()
    assert moved > 4 * returned > 0, (moved, returned)
    assert way.status == ("arrived", "arrived") and min(way.steps) > 1
    assert max(way.missed_px, way.home_px) <= 0.5
    # The spot itself, not only what the tracker says, went to the right by about as much.
    columns = [image[0, 0].mean(dim=0).argmax().item() for image in (way.start, way.there)]
    assert columns[1] - columns[0] == pytest.approx(6, abs=1.5)


def test_a_drag_that_is_given_no_steps_says_how_far_it_is(blob):
    settings = DragSettings(max_steps=1, learning_rate=1e-6, tracking_radius_px=1)
    way = there_and_back(blob, torch.zeros(1, 4, 2), [(36.0, 32.0)], 6.0, settings)
    assert way.missed_px == pytest.approx(6.0, abs=0.1)
    assert torch.allclose(way.there, way.start, atol=1e-3)


def test_latents_that_give_no_picture_are_refused(blob):
    with pytest.raises(InvalidEdit):
        there_and_back(blob, torch.full((1, 4, 2), torch.nan), [(9.0, 9.0)], 2.0, SETTINGS)


# ------------------------------------------------------------------------------------ random edits


def test_random_edits_have_the_asked_length_in_standard_deviations(statistics):
    edits = random_edits(statistics, 5, 0.5, seed=3)
    assert edits.shape == (5, 8)
    assert (edits / statistics.w_std).square().mean(dim=1).sqrt() == pytest.approx([0.5] * 5)
    assert torch.equal(edits, random_edits(statistics, 5, 0.5, seed=3))
    assert not torch.equal(edits, random_edits(statistics, 5, 0.5, seed=4))


def test_realism_judges_each_picture_alone(generator, discriminator):
    ws = sampled_ws(generator, 18)  # more than are drawn at once
    naive = [
        discriminator(generator.synthesis(ws[i : i + 1], noise_mode="const")).item()
        for i in range(len(ws))
    ]
    assert realism(generator, discriminator, ws).tolist() == pytest.approx(naive, abs=1e-4)
    together = discriminator(generator.synthesis(ws, noise_mode="const"))[:, 0]
    assert together.tolist() != pytest.approx(naive, abs=1e-3)


def test_realism_shifts_are_what_each_edit_changes(generator, discriminator, statistics):
    ws, edits = sampled_ws(generator, 2), random_edits(statistics, 3, 1.0)
    before, shifts = realism_shifts(generator, discriminator, ws, edits)
    assert before.shape == (2,) and shifts.shape == (2, 3)
    for i in range(2):
        for k in range(3):
            edited = ws[i : i + 1] + edits[k]
            after = discriminator(generator.synthesis(edited, noise_mode="const"))
            assert shifts[i, k].item() == pytest.approx((after - before[i]).item(), abs=1e-4)


# ----------------------------------------------------------------------------------------- latents


def test_sampled_latents_are_those_of_seeded_z(generator):
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(sampled_ws(generator, 4, 7), generator.mapping(z, None), atol=1e-6)


def test_classes_take_turns():
    generator = small_generator(c_dim=3)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(3)[[0, 1, 2, 0]]
    assert torch.allclose(sampled_ws(generator, 4), generator.mapping(z, labels), atol=1e-6)


def test_latent_error_is_in_standard_deviations(statistics):
    true = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    ws = true.clone()
    ws[1] += 2 * statistics.w_std
    assert latent_error(ws, true, statistics).tolist() == pytest.approx([0.0, 2.0])


def test_rank_is_the_share_that_is_smaller():
    assert share_below([0.0, 2.5, 9.0], [1.0, 2.0, 3.0, 4.0]) == [0.0, 0.5, 1.0]
