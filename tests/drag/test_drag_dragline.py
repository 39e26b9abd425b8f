"""The method of few steps: what it promises of points, of what else changes, and of itself."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from framework.drag import solver
from framework.drag.algorithm import drag_points, drag_state
from framework.drag.settings import DragSettings
from framework.drag.solver import Linear
from framework.drag.statistics import FLOOR, Statistics, effects_of, scales_of, spread_of
from framework.drag.statistics_cache import cached_statistics
from framework.drag.stylegan2 import StyleGAN2
from framework.drag.template import Template
from framework.errors import InvalidEdit
from framework.formats import load_discriminator, load_generator
from tests.drag.test_drag_interface import HANDLE, TARGET, Card

SETTINGS = DragSettings.preset("dragline")


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def cars():
    """The shipped toy cars, their discriminator, and the latents of one."""
    generator = load_generator("toycars64")
    with torch.no_grad():
        ws = generator.mapping(randn(1, generator.z_dim, seed=8), truncation_psi=0.7)
    return generator, load_discriminator("toycars64"), ws


def dragged(cars, *points, mask=None, **changes):
    generator, discriminator, ws = cars
    settings = replace(SETTINGS, **changes)
    return list(drag_points(generator, ws, *points, mask, settings, discriminator=discriminator))


def test_a_car_is_dragged_in_few_steps_and_looks_as_real_as_before(cars):
    generator, discriminator, ws = cars
    steps = dragged(cars, [(48, 20)], [(51, 20)])
    assert steps[0].step == 0 and torch.equal(steps[0].ws, ws)
    assert [step.step for step in steps] == list(range(len(steps))) and len(steps) <= 8
    last = steps[-1]
    assert last.arrived and last.max_distance_px <= 0.3 and last.min_confidence is not None
    with torch.no_grad():
        before, after = discriminator(steps[0].image()), discriminator(last.image())
    assert after > before - 1.5
    assert torch.equal(last.image(), generator.synthesis(last.ws, noise_mode="const"))


def test_it_gives_the_same_bits_twice_and_leaves_no_gradients(cars):
    one, two = (dragged(cars, [(48, 20)], [(51, 20)])[-1] for _ in range(2))
    assert torch.equal(one.ws, two.ws) and not one.ws.requires_grad
    assert all(p.grad is None for p in cars[0].parameters())


def test_what_cannot_be_reached_is_not_called_arrived(cars):
    last = dragged(cars, [(32, 20)], [(2, 60)])[-1]
    assert last.status == "stuck" and last.max_distance_px > 2


# E17
def test_steps_and_time_are_limited(cars):
    assert dragged(cars, [(48, 20)], [(51, 20)], max_steps=1)[-1].status == "max_steps"
    assert dragged(cars, [(48, 20)], [(51, 20)], max_seconds=0)[0].status == "max_seconds"


# E15
def test_a_mask_makes_the_outside_dear(cars):
    mask = torch.zeros(64, 64)
    mask[8:34, 30:64] = 1
    free, held = (
        dragged(cars, [(48, 20)], [(51, 20)], mask=m, mask_weight=w)[-1]
        for m, w in ((mask, 0.0), (mask, 5.0))
    )
    assert held.arrived and 0 < held.mask_loss < 0.7 * free.mask_loss


def test_colours_are_kept_where_the_points_allow_it(cars, monkeypatch):
    def painted():
        steps = dragged(cars, [(48, 20)], [(53, 20)])
        cells = [F.adaptive_avg_pool2d(step.image(), 8) for step in (steps[0], steps[-1])]
        tints = [each - each.mean(dim=1, keepdim=True) for each in cells]
        return (tints[1] - tints[0]).square().mean()

    kept = painted()
    monkeypatch.setattr(solver, "TINT_PRICE", 0.0)
    assert kept < 0.8 * painted()


def test_it_goes_on_from_a_step(cars):
    generator, discriminator, ws = cars
    first = dragged(cars, [(48, 20)], [(51, 20)], max_steps=1)[-1]
    more = drag_points(
        generator, ws, [(48, 20)], [(51, 20)], settings=SETTINGS, resume_from=first,
        discriminator=discriminator,
    )  # fmt: skip
    start, *_, last = more
    assert start.step == first.step and last.arrived
    torch.testing.assert_close(start.ws, first.ws, atol=1e-3, rtol=1e-3)


def test_several_points_are_solved_for_at_once():
    far = [(40.0, 12.0), (46.0, 9.0)]
    shift = torch.tensor(far[1]) - torch.tensor(far[0])
    settings = replace(SETTINGS, feature_resolution=None)
    handles, targets = [HANDLE, far[0]], [tuple((torch.tensor(HANDLE) + shift).tolist()), far[1]]
    *_, last = drag_state(Card(), torch.zeros(2), handles, targets, None, settings)
    assert last.arrived and last.step <= 6
    torch.testing.assert_close(last.state, shift, atol=0.5, rtol=0)


class Poster(Card):
    """A large card: its waves are as many times longer."""

    img_size, spread = (384, 512), 8.0


def test_a_large_picture_is_looked_at_reduced():
    handle, target = (160.0, 240.0), (216.0, 208.0)
    *_, last = drag_state(Poster(), torch.zeros(2), [handle], [target], None, SETTINGS)
    assert last.arrived and last.step <= 12 and last.max_distance_px <= 0.9
    torch.testing.assert_close(last.state, torch.tensor([56.0, -32.0]), atol=2.0, rtol=0)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(InvalidEdit, match="NaN or infinity"):
        next(drag_state(Card(), torch.full((2,), float("nan")), [HANDLE], [TARGET], None, SETTINGS))


# --- its parts -------------------------------------------------------------------------------


def test_a_template_is_found_to_a_fraction_of_a_pixel():
    for card, times in ((Card(), 1), (Poster(), 8)):
        handle, start = times * torch.tensor([HANDLE]), card.draw(torch.zeros(2))
        radius_px = 4 * times // max(1, 3 * times // 8)
        template = Template(
            [start], scales_of([start]), handle, radius_px, card.img_size, max(1, 3 * times // 8)
        )
        for move in times * torch.tensor([(0.3, -0.4), (1.6, 1.2), (-2.3, 0.7)]):
            now = template.reduced([card.draw(move)])
            points = template.find(now, handle, 9)
            torch.testing.assert_close(points, handle + move, atol=0.1 * times, rtol=0)
            assert template.drift(now, points) < 0.1 < template.drift(now, points + 3 * times)


def test_the_shift_of_a_template_has_the_right_sign_and_gradient():
    card, zero = Card(), torch.zeros(2)
    template = Template(
        [card.draw(zero)], scales_of([card.draw(zero)]), torch.tensor([HANDLE]), 4, card.img_size
    )
    state = zero.clone().requires_grad_()
    shift = template.shift([card.draw(state)], torch.tensor([HANDLE]))[0]
    rows = [torch.autograd.grad(each, state, retain_graph=True)[0] for each in shift]
    torch.testing.assert_close(
        torch.stack(rows), torch.eye(2), atol=0.25, rtol=0
    )  # waves are short


def test_the_cheapest_change_moves_the_points_and_costs_least():
    jacobian, root = randn(4, 12).double(), randn(12, 12, seed=1).double()
    metric = root @ root.T + torch.eye(12)
    linear = Linear(jacobian, torch.linalg.solve(metric, jacobian.T).T)
    moves = randn(4, seed=2).double()
    change = linear.change(moves)
    torch.testing.assert_close(jacobian @ change, moves, atol=0.02, rtol=0.02)
    for seed in range(5):  # any other change that moves them likewise costs more
        other = change + linear.aside(randn(12, seed=3 + seed).double())
        torch.testing.assert_close(jacobian @ other, jacobian @ change, atol=0.02, rtol=0.02)
        assert other @ metric @ other > change @ metric @ change


def test_statistics_by_hand():
    w = randn(4000, 3) @ torch.diag(torch.tensor([1.0, 2.0, 0.0]))
    spread = spread_of(w)
    torch.testing.assert_close(spread @ spread, torch.cov(w.T), atol=1e-3, rtol=1e-3)
    effects = effects_of(torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 2.0]]))
    torch.testing.assert_close(effects.T @ effects, torch.tensor([[1.0, 0.4], [0.4, 1.0]]))
    statistics = Statistics(spread, effects, [])
    metric, rows = effects.T @ effects + FLOOR * torch.eye(2), randn(5, 2)
    cheapest = statistics.cheapest(rows, statistics.kernel())
    torch.testing.assert_close(cheapest, torch.linalg.solve(metric, rows.T).T)
    change = torch.tensor([[0.5, -1.0, 0.0]])
    torch.testing.assert_close(statistics.whitened(statistics.update(change)), change)
    loud = [100 * randn(2, 4, 8, 8), randn(2, 1, 8, 8)]
    for each, scale in zip(loud, scales_of(loud), strict=True):
        power = (each * scale[:, None, None]).square().sum(dim=1).mean()
        torch.testing.assert_close(power, torch.tensor(0.5), atol=0.05, rtol=0)


def test_statistics_are_measured_once_and_known_by_the_model(tiny_generator, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = StyleGAN2(tiny_generator).statistics()
    monkeypatch.setattr(StyleGAN2, "_measure", lambda self: pytest.fail("measured again"))
    again = StyleGAN2(tiny_generator).statistics()
    assert torch.equal(first.effects, again.effects) and len(first.scales) == len(again.scales)
    (file,) = (tmp_path / "dragline" / "statistics").iterdir()
    assert file.name.startswith(tiny_generator.digest[:32])


@pytest.mark.parametrize("harm", ["cut", "locked"])
def test_a_cache_that_cannot_be_used_is_none(harm, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    known = Statistics(torch.eye(2), torch.eye(2), [torch.ones(3)])
    calls = itertools.count()

    def measure():
        next(calls)
        return known

    if harm == "locked":
        (tmp_path / "dragline").write_text("not a folder")
    cached_statistics("model", torch.device("cpu"), measure)
    if harm == "cut":
        file = tmp_path / "dragline" / "statistics" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:40])
    cached_statistics("model", torch.device("cpu"), measure)
    assert next(calls) == 2
