"""Tuning: changes for one photograph, kept apart from the generator, small elsewhere."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from framework.errors import UserError
from framework.inversion.deltas import WeightDeltas, personal
from framework.inversion.refine import refine
from framework.inversion.settings import Locality, RefineSettings, TuneSettings
from framework.inversion.tune import USUAL_FAN_IN, difference_at, nearby, tune, tuned_weights
from framework.models.digest import state_digest
from framework.models.features.distance import MultiscaleDistance
from framework.models.stylegan2.statistics import style_statistics
from tests.inversion.small import small_generator
from tests.inversion.streams import known, monotone, mse, seeds_ws, small_distance

QUICK = TuneSettings(steps=5, lr=0.001, locality=Locality(every=2))


def photograph(count: int = 1, **sizes):
    """A generator, pictures of another one, and latents of the first that do not make them."""
    generator, _, ws = known(count, **sizes)
    torch.manual_seed(8)
    pictures = torch.nn.functional.interpolate(
        torch.rand(count, generator.img_channels, 4, 4) * 2 - 1, generator.img_size
    )
    return generator, pictures, ws


def finish(*args, **kwargs):
    return list(tune(*args, **kwargs))


def rendered(generator, ws):
    with torch.no_grad():
        return generator.synthesis(ws, noise_mode="const")


@pytest.mark.parametrize(
    "settings",
    [
        TuneSettings(steps=25, lr=0.003),
        TuneSettings(steps=25, lr=0.003, parameters="all", locality=None),
        TuneSettings(steps=25, lr=0.003, rank=2),
    ],
    ids=["conv", "all", "rank 2"],
)
def test_the_picture_comes_much_closer_and_the_generator_stays(settings):
    generator, pictures, ws = photograph()
    before, flags = state_digest(generator), [p.requires_grad for p in generator.parameters()]
    steps = finish(generator, pictures, ws, small_distance(), settings)
    last = steps[-1]
    assert len(steps) == 26 and last.status == "max_steps" and monotone(steps)
    assert mse(last.images, pictures) < 0.5 * mse(steps[0].images, pictures)
    assert torch.allclose(steps[0].images, rendered(generator, ws), atol=1e-5)
    assert state_digest(generator) == before
    assert [p.requires_grad for p in generator.parameters()] == flags
    assert all(p.grad is None for p in generator.parameters())
    own = personal(generator, None, last.deltas)
    assert torch.allclose(rendered(own, ws), last.images, atol=1e-4)
    assert torch.equal(last.ws, ws)
    half = rendered(personal(generator, None, last.deltas.half()), ws)
    assert (half - last.images).abs().max() < 1 / 255


def test_what_may_change():
    generator, pictures, ws = photograph()
    convolutions = tuned_weights(generator, "conv")
    assert all(name.endswith(".weight") and w.ndim == 4 for name, w in convolutions.items())
    assert "synthesis.b8.torgb.weight" in convolutions and len(convolutions) == 8
    everything = tuned_weights(generator, "all")
    held = {n for n, _ in generator.named_parameters() if not n.startswith("mapping.")}
    assert set(everything) == held > set(convolutions)
    deltas = finish(generator, pictures, ws, None, replace(QUICK, rank=3))[-1].deltas
    assert isinstance(deltas, WeightDeltas) and set(deltas.names) == set(convolutions)
    assert {a.shape[1] for a, _ in deltas.low_rank.values()} == {3}
    assert set(deltas.full) == {n for n in convolutions if "torgb" in n}  # factors were no smaller


def test_small_layers_change_faster():
    generator, pictures, ws = photograph()
    settings = TuneSettings(steps=1, lr=1e-4, parameters="all", locality=None)
    last = finish(generator, pictures, ws, None, settings)[-1]
    if not int(last.best_step[0]):
        pytest.fail("the first step was no better: choose another picture")
    # Adam's first step is its learning rate wherever there is a gradient.
    for name, fan_in in {
        "synthesis.b16.conv1.weight": 8 * 9,
        "synthesis.b16.torgb.weight": 8,
        "synthesis.b8.conv0.affine.weight": 8,
        "synthesis.b16.torgb.bias": 1,
        "synthesis.b4.const": 1,
    }.items():
        moved = last.deltas.full[name].abs().median()
        assert torch.allclose(moved, torch.tensor(1e-4 * (USUAL_FAN_IN / fan_in) ** 0.5), rtol=0.02)


def test_several_pictures_share_one_set_of_changes():
    generator, pictures, ws = photograph(3)
    settings = TuneSettings(steps=25, lr=0.003, locality=None)
    steps = finish(generator, pictures, ws, small_distance(), settings)
    assert steps[-1].loss.shape == steps[-1].best_step.shape == (3,)
    means = [step.best_loss.mean() for step in steps]
    assert all(b <= a for a, b in pairwise(means))
    own = personal(generator, None, steps[-1].deltas)
    assert torch.allclose(rendered(own, ws), steps[-1].images, atol=1e-4)
    assert (
        mse(steps[-1].images, pictures).mean() < 0.6 * mse(rendered(generator, ws), pictures).mean()
    )


# --- locality -------------------------------------------------------------------------------------


def test_locality_lowers_the_change_elsewhere():
    generator, pictures, ws = photograph()
    elsewhere = seeds_ws(generator, 8, seed=44)  # none that was compared in tuning
    changes, errors = [], []
    for locality in (None, Locality(weight=3.0, every=1, samples=2)):
        settings = TuneSettings(steps=20, lr=0.003, locality=locality)
        last = finish(generator, pictures, ws, small_distance(), settings)[-1]
        own = personal(generator, None, last.deltas)
        changes.append(mse(rendered(own, elsewhere), rendered(generator, elsewhere)).mean())
        errors.append(mse(last.images, pictures) / mse(rendered(generator, ws), pictures))
    assert changes[1] < 0.6 * changes[0]
    assert errors[1] < 0.9  # and it still tunes


def test_locality_is_on_by_default_measured_and_seeded():
    generator, pictures, ws = photograph()
    assert TuneSettings().locality is not None
    runs = [finish(generator, pictures, ws, None, replace(QUICK, seed=s)) for s in (0, 0, 1)]
    apart = [step.terms["locality"].item() for step in runs[0]]
    # Every second step compares, before its update.
    assert apart[0] == apart[1] == 0 < apart[2] == apart[3] != apart[4] == apart[5]
    ends = [run[-1].deltas.tensors() for run in runs]
    same, other = ([torch.equal(ends[0][n], e[n]) for n in ends[0]] for e in ends[1:])
    assert all(same) and not all(other)


@pytest.mark.parametrize("classes", [0, 3])
def test_compared_latents_lie_at_alpha_from_a_pivot_towards_random_ones(classes):
    generator = small_generator(c_dim=classes)
    statistics = style_statistics(generator, 300)
    pivots, rng = seeds_ws(generator, 2), torch.Generator().manual_seed(0)
    ws = nearby(generator, pivots, Locality(alpha=0.7, samples=6), statistics, rng)
    assert ws.shape == (6, 6, 8)
    lengths = ((ws[:, None] - pivots) / statistics.w_std).square().mean(dim=(2, 3)).sqrt()
    at = (lengths - 0.7).abs() < 1e-4
    assert at.any(dim=1).all() and at.any(dim=0).all()  # each from a pivot, no pivot left out
    assert len({tuple(row) for row in ws[:, 0].tolist()}) == 6


def test_changes_are_measured_against_the_generator_as_it_was():
    generator, _, ws = photograph(2)
    weights = tuned_weights(generator, "conv")
    assert difference_at(generator, ws, weights, small_distance()) == 0
    name = "synthesis.b16.torgb.weight"
    changed = {**weights, name: 2 * weights[name]}
    own = personal(generator, None, WeightDeltas({name: weights[name]}))
    a, b, distance = rendered(own, ws), rendered(generator, ws), small_distance()
    expected = (mse(a, b) + distance(a, b)).mean()
    assert torch.allclose(difference_at(generator, ws, changed, distance), expected, rtol=1e-4)


# --- how it ends ----------------------------------------------------------------------------------


def test_it_stops_when_every_picture_is_near_enough():
    generator, pictures, ws = photograph()
    distance = small_distance()
    free = finish(generator, pictures, ws, distance, replace(QUICK, steps=8, locality=None))
    near = [step.terms["perceptual"].item() for step in free]
    assert near[4] < near[0]
    settings = replace(QUICK, steps=8, locality=None, stop=near[4])
    steps = finish(generator, pictures, ws, distance, settings)
    assert steps[-1].status == "done" and steps[-1].finished.all() and steps[-1].step <= 4
    both = torch.cat([pictures, -pictures])
    last = finish(generator, both, torch.cat([ws, ws]), distance, settings)[-1]
    assert last.status == "max_steps"  # opposites cannot both be near


class Breaks(MultiscaleDistance):
    """NaN from its fourth look on."""

    looks = 0

    def compare(self, a, b, weight=None):
        self.looks += 1
        return super().compare(a, b, weight) * (float("nan") if self.looks > 3 else 1)


def test_nan_ends_it_with_the_best_kept():
    generator, pictures, ws = photograph()
    settings = replace(QUICK, locality=None)
    steps = finish(generator, pictures, ws, Breaks(), settings)
    assert [s.status for s in steps] == ["running"] * 3 + ["diverged"]
    assert steps[-1].best_loss.isfinite() and not steps[-1].loss.isfinite()
    kept = steps[-1].deltas.tensors().values()
    assert steps[-1].best_step > 0 and all(t.isfinite().all() for t in kept)


def test_nan_at_once_is_an_error():
    generator, pictures, ws = photograph()
    generator.synthesis.b16.torgb.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="NaN"):
        next(tune(generator, pictures, ws, None, QUICK))


def test_time_and_steps_are_up():
    generator, pictures, ws = photograph()
    (only,) = finish(generator, pictures, ws, None, replace(QUICK, max_seconds=0.0))
    assert only.status == "max_seconds" and only.step == 0
    (only,) = finish(generator, pictures, ws, None, replace(QUICK, steps=0))
    assert only.status == "max_steps"
    assert all((t == 0).all() for t in only.deltas.tensors().values())


def test_an_abandoned_stream_leaves_nothing_behind():
    generator, pictures, ws = photograph()
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    whole = finish(generator, pictures, ws, small_distance(), QUICK)
    abandoned = tune(generator, pictures, ws, small_distance(), QUICK)
    for _ in range(3):
        kept = next(abandoned)
    tensors = {name: value.clone() for name, value in kept.deltas.tensors().items()}
    other = tune(generator, pictures, ws, small_distance(), QUICK)
    interleaved = []
    for _ in range(3):
        interleaved.append(next(other))
        next(abandoned)
    abandoned.close()
    assert all(torch.equal(kept.deltas.tensors()[n], tensors[n]) for n in tensors)
    for a, b in zip(interleaved, whole, strict=False):
        assert torch.equal(a.loss, b.loss)
    assert all(torch.equal(value, generator.state_dict()[n]) for n, value in state.items())
    assert not any(p.requires_grad or p.grad is not None for p in generator.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_callers_gradient_mode_is_its_own(mode):
    generator, pictures, ws = photograph()
    distance = small_distance()
    with mode():
        grads, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        steps = []
        for step in tune(generator, pictures * 1, ws * 1, distance, QUICK):
            assert torch.is_grad_enabled() == grads
            assert torch.is_inference_mode_enabled() == inference
            steps.append(step)
    assert steps[-1].best_step > 0 and not steps[-1].loss.requires_grad
    tensors = steps[-1].deltas.tensors().values()
    assert not any(t.requires_grad or t.is_inference() for t in tensors)


# --- noise, masks, what does not fit --------------------------------------------------------------


def test_a_refined_pictures_noise_is_tuned_with():
    generator, pictures, ws = photograph(2)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.3)
    refined = list(
        refine(generator, pictures, ws, None, RefineSettings(steps=2, noise="optimise"))
    )[-1]
    steps = finish(generator, pictures, refined.ws, None, QUICK, noise=refined.noise)
    assert torch.allclose(steps[0].images, refined.images, atol=1e-4)
    own = personal(generator, steps[-1].noise_of(1), steps[-1].deltas)
    assert torch.allclose(rendered(own, refined.ws[1:]), steps[-1].images[1:], atol=1e-4)


def test_only_what_counts_is_matched():
    generator, pictures, ws = photograph()
    weight = torch.zeros(16, 16)
    weight[4:12] = 1
    settings = TuneSettings(steps=15, lr=0.003, locality=None, perceptual=0.0)
    last = finish(generator, pictures, ws, None, settings, weight=weight)[-1]
    inside = slice(4, 12)
    assert torch.allclose(
        last.best_loss, mse(last.images[:, :, inside], pictures[:, :, inside]), rtol=1e-4
    )
    other = torch.where(weight > 0, pictures, -pictures)
    again = finish(generator, other, ws, None, settings, weight=weight)[-1]
    assert torch.equal(again.best_loss, last.best_loss)


@pytest.mark.parametrize(
    "noise",
    [
        {"synthesis.b99.conv0.noise_const": torch.ones(1, 1, 8, 8)},
        {"synthesis.b8.conv0.noise_const": torch.ones(2, 1, 8, 8)},
        {"synthesis.b8.conv0.noise_const": None},
    ],
)
def test_noise_of_another_model_is_refused_at_once(noise):
    generator, pictures, ws = photograph()
    with pytest.raises(UserError, match="noise map synthesis"):
        tune(generator, pictures, ws, None, QUICK, noise=noise)


def test_stop_needs_a_distance():
    generator, pictures, ws = photograph()
    with pytest.raises(UserError, match="stop: there is no"):
        tune(generator, pictures, ws, None, replace(QUICK, stop=0.1))
