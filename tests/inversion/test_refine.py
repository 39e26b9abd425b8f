"""Refining: latents of known pictures are found again, each picture on its own."""

import time
from dataclasses import replace

import pytest
import torch

from framework.errors import UserError
from framework.inversion.refine import noise_loss, ramp, refine
from framework.inversion.settings import RefineSettings
from framework.inversion.target import check_target
from framework.models.digest import state_digest
from framework.models.features.distance import MultiscaleDistance
from framework.models.stylegan2.statistics import StyleStatistics, style_statistics
from tests.inversion.small import small_encoder, small_generator
from tests.inversion.streams import known, monotone, mse, seeds_ws, small_distance

QUICK = RefineSettings(steps=6, prior=0.0)


def mean_of(generator, count=1):
    return generator.mapping.w_avg.expand(count, generator.num_ws, generator.w_dim)


def finish(*args, **kwargs):
    return list(refine(*args, **kwargs))


# --- it finds what there is to find -------------------------------------------------------------


@pytest.mark.parametrize("space", ["w+", "w"])
def test_a_generated_picture_is_found_again_far_better_than_w_avg(space):
    generator, pictures, _ = known(2)
    settings = RefineSettings(steps=40, lr=0.2, space=space)
    steps = finish(generator, pictures, mean_of(generator, 2), small_distance(), settings)
    before, after = mse(steps[0].images, pictures), mse(steps[-1].images, pictures)
    assert (after < before / 10).all()
    assert steps[-1].status == "max_steps" and len(steps) == 41
    assert monotone(steps)
    layers = steps[-1].ws - mean_of(generator, 2)
    assert torch.allclose(layers, layers[:, :1].expand_as(layers), atol=1e-5) == (space == "w")


def test_a_step_tells_of_its_best_alone():
    generator, pictures, _ = known(2)
    steps = finish(generator, pictures, mean_of(generator, 2), None, replace(QUICK, lr=1.0))
    assert any((s.loss > s.best_loss).any() for s in steps)  # so large a step misses sometimes
    assert monotone(steps)
    for step in steps:
        image = generator.synthesis(step.ws, noise_mode="const")
        assert torch.allclose(step.images, image, atol=1e-4)
        assert torch.allclose(mse(image, pictures), step.best_loss, rtol=1e-3)
    assert steps[0].ws.equal(mean_of(generator, 2)) and not steps[1].ws.equal(steps[0].ws)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    generator, pictures, _ = known(2)
    settings = replace(QUICK, pixel=2.0, perceptual=0.5, encoder=0.3, prior=0.2, noise="optimise")
    encoder = small_encoder().eval()
    statistics = StyleStatistics(encoder.w_avg, encoder.w_std)
    start = seeds_ws(generator, 2, seed=5)
    first, second, *_ = finish(
        generator, pictures, start, small_distance(), replace(settings, noise_weight=7.0),
        encoder=encoder, statistics=statistics,
    )  # fmt: skip
    t = second.terms
    assert set(t) == {"pixel", "perceptual", "encoder", "prior", "noise"}
    total = 2 * t["pixel"] + t["perceptual"] / 2 + 0.3 * t["encoder"] + 0.2 * t["prior"]
    assert torch.allclose(second.loss, total + 7 * t["noise"], rtol=1e-5)
    # The terms themselves, of the start.
    with torch.no_grad():
        image = generator.synthesis(start, noise_mode="const")
        off = (start - encoder(image)) / encoder.w_std
    assert torch.allclose(first.terms["encoder"], off.square().mean(dim=(1, 2)), rtol=1e-3)
    assert torch.allclose(first.terms["prior"], statistics.deviations(start) ** 2, rtol=1e-5)
    assert torch.allclose(first.terms["pixel"], mse(image, pictures), rtol=1e-4)


@pytest.mark.parametrize("residual", [False, True])
def test_the_encoders_term_keeps_latents_where_it_would_put_their_picture(residual):
    generator, pictures, _ = known(1)
    encoder = small_encoder(residual=residual).eval()
    statistics = style_statistics(generator, 200)
    ends = [
        finish(
            generator, pictures, mean_of(generator), None,
            RefineSettings(steps=15, lr=0.1, encoder=weight, pixel=0.01),
            encoder=encoder, statistics=statistics,
        )[-1].ws
        for weight in (1e-6, 10.0)
    ]  # fmt: skip
    with torch.no_grad():
        apart = []
        for ws in ends:
            image, mean = (
                generator.synthesis(w, noise_mode="const") for w in (ws, mean_of(generator))
            )
            current = (mean, mean_of(generator)) if residual else None
            apart.append(
                ((ws - encoder(image, current=current)) / statistics.w_std).square().mean()
            )
    assert apart[1] < apart[0] / 2


def test_the_prior_pulls_towards_the_mean():
    generator, pictures, _ = known(1)
    statistics = style_statistics(generator, 200)
    start = mean_of(generator)  # whose distance from itself has a gradient, too: zero
    ends = [
        finish(generator, pictures, start, None, RefineSettings(steps=20, lr=0.1, prior=prior))[-1]
        for prior in (0.0, 1.0)
    ]
    near, far = (statistics.deviations(end.ws) for end in (ends[1], ends[0]))
    assert near < 0.7 * far


def test_steps_are_in_standard_deviations():
    generator, pictures, _ = known(1)
    statistics = StyleStatistics(torch.zeros(8), torch.logspace(-3, 0, 8))
    settings = RefineSettings(steps=1, lr=0.5)
    stream = refine(generator, pictures, mean_of(generator), None, settings, statistics=statistics)
    next(stream)
    last = next(stream)
    if int(last.best_step[0]) == 0:
        pytest.fail("the first step was no better: choose another seed")
    # Adam's first step is its learning rate whatever the gradient.
    moved = (last.ws - mean_of(generator)).abs() / statistics.w_std
    assert torch.allclose(moved, torch.full_like(moved, 0.5), rtol=1e-2)


def test_learning_rates_ramp_up_and_down():
    rates = [ramp(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[4:76] == [pytest.approx(1.0)] * 72
    assert rates[76:] == sorted(rates[76:], reverse=True) and 0 < rates[99] < 0.01
    assert [ramp(step, 1) for step in range(1)] == [1.0]


# --- every picture on its own -------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [QUICK, replace(QUICK, noise="optimise"), replace(QUICK, latent_noise=0.3, space="w")],
    ids=["w+", "noise", "w with latent noise"],
)
def test_rows_of_a_batch_are_what_they_are_alone(settings):
    generator, pictures, _ = known(3)
    start, distance = seeds_ws(generator, 3, seed=5), small_distance()
    weight = (torch.rand(3, 1, 16, 16) > 0.3).float()
    batch = finish(generator, pictures, start, distance, settings, weight=weight)[-1]
    for row in range(3):
        one = slice(row, row + 1)
        alone = finish(
            generator, pictures[one], start[one], distance, settings, weight=weight[one]
        )[-1]
        assert torch.allclose(alone.ws, batch.ws[one], atol=1e-3)
        assert torch.allclose(alone.best_loss, batch.best_loss[one], rtol=1e-3)
        for name, maps in alone.noise.items():
            assert torch.allclose(maps, batch.noise[name][one], atol=1e-2)


def test_a_picture_that_is_near_enough_is_finished_and_the_others_go_on_as_if_alone():
    generator, pictures, ws = known(2)
    start = torch.stack([ws[0], mean_of(generator)[0]])
    distance, settings = small_distance(), replace(QUICK, stop=1e-6)
    steps = finish(generator, pictures, start, distance, settings)
    assert [step.finished.tolist() for step in steps] == [[True, False]] * 7
    assert steps[-1].status == "max_steps"
    assert all(torch.equal(step.ws[0], ws[0]) for step in steps)
    assert steps[-1].best_step[0] == 0 and steps[-1].best_step[1] > 0
    alone = finish(generator, pictures[1:], start[1:], distance, settings)
    for both, one in zip(steps, alone, strict=True):
        assert torch.allclose(both.ws[1:], one.ws, atol=1e-4)
        assert torch.allclose(both.loss[1:], one.loss, rtol=1e-3)


def test_all_pictures_near_enough_is_done():
    generator, pictures, ws = known(2)
    (only,) = finish(generator, pictures, ws, small_distance(), replace(QUICK, stop=1e-6))
    assert only.status == "done" and only.finished.all() and torch.equal(only.ws, ws)


class SpoilsWhite(MultiscaleDistance):
    """NaN for white photographs from its third look on."""

    looks = 0

    def compare(self, a, b, weight=None):
        self.looks += 1
        white = (b[0] == 1).all(dim=(1, 2, 3)) if self.looks > 2 else b[0].new_zeros(len(b[0])) > 0
        return torch.where(white, torch.nan, super().compare(a, b, weight))


def test_a_row_that_diverges_leaves_the_others_alone():
    generator, pictures, _ = known(2)
    pictures[0] = 1.0
    steps = finish(generator, pictures, mean_of(generator, 2), SpoilsWhite(), QUICK)
    assert [s.finished.tolist() for s in steps] == [[False] * 2] * 2 + [[True, False]] * 5
    assert steps[-1].status == "max_steps" and steps[-1].best_step.tolist() == [1, 6]
    assert steps[-1].best_loss.isfinite().all() and torch.equal(steps[-1].ws[0], steps[1].ws[0])
    alone = finish(generator, pictures[1:], mean_of(generator), SpoilsWhite(), QUICK)
    assert torch.allclose(steps[-1].ws[1:], alone[-1].ws, atol=1e-4)


# --- how it ends ----------------------------------------------------------------------------------


class Breaks(MultiscaleDistance):
    """NaN from its fourth look on."""

    looks = 0

    def compare(self, a, b, weight=None):
        self.looks += 1
        return super().compare(a, b, weight) * (float("nan") if self.looks > 3 else 1)


def test_nan_ends_it_with_the_best_kept():
    generator, pictures, _ = known(2)
    steps = finish(generator, pictures, mean_of(generator, 2), Breaks(), QUICK)
    assert [s.status for s in steps] == ["running"] * 3 + ["diverged"]
    assert not steps[-1].loss.isfinite().any() and steps[-1].best_loss.isfinite().all()
    assert torch.equal(steps[-1].ws, steps[-2].ws) and torch.equal(
        steps[-1].best_loss, steps[-2].best_loss
    )


def test_nan_at_once_is_an_error():
    generator, pictures, _ = known(1)
    generator.synthesis.b16.torgb.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="NaN"):
        next(refine(generator, pictures, mean_of(generator), None, QUICK))


def test_time_is_up():
    generator, pictures, _ = known(1)
    settings = replace(QUICK, max_seconds=0.0)
    (only,) = finish(generator, pictures, mean_of(generator), None, settings)
    assert only.status == "max_seconds" and only.step == 0
    stream = refine(generator, pictures, mean_of(generator), None, replace(QUICK, max_seconds=5.0))
    next(stream)
    real = time.monotonic
    try:
        time.monotonic = lambda: real() + 6
        assert next(stream).status == "max_seconds"
    finally:
        time.monotonic = real


def test_no_steps_measure_only():
    generator, pictures, _ = known(1)
    (only,) = finish(generator, pictures, mean_of(generator), None, RefineSettings(steps=0))
    assert only.status == "max_steps" and torch.equal(only.ws, mean_of(generator))


def test_an_abandoned_stream_leaves_nothing_behind():
    generator, pictures, _ = known(1)
    before = state_digest(generator)
    whole = finish(generator, pictures, mean_of(generator), small_distance(), QUICK)
    abandoned = refine(generator, pictures, mean_of(generator), small_distance(), QUICK)
    for _ in range(3):
        kept = next(abandoned)
    ws = kept.ws.clone()
    other = refine(generator, pictures, mean_of(generator), small_distance(), QUICK)
    interleaved = [step for _, step in zip(range(3), other, strict=False) if next(abandoned)]
    abandoned.close()
    assert torch.equal(kept.ws, ws)  # what was handed out does not change any more
    for a, b in zip(interleaved, whole, strict=False):
        assert torch.equal(a.ws, b.ws) and torch.equal(a.loss, b.loss)
    again = finish(generator, pictures, kept.ws, small_distance(), QUICK)
    assert again[-1].best_loss <= kept.best_loss
    assert state_digest(generator) == before
    assert not any(p.requires_grad or p.grad is not None for p in generator.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_callers_gradient_mode_is_its_own(mode):
    generator, pictures, _ = known(1)
    distance, encoder = small_distance(), small_encoder().eval()
    with mode():
        grads, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        stream = refine(
            generator, pictures * 1, mean_of(generator) * 1, distance, QUICK, encoder=encoder
        )  # fmt: skip
        steps = []
        for step in stream:
            assert torch.is_grad_enabled() == grads
            assert torch.is_inference_mode_enabled() == inference
            steps.append(step)
    assert monotone(steps) and steps[-1].best_step[0] > 0
    assert not steps[-1].ws.requires_grad and not steps[-1].loss.requires_grad


# --- masks, noise, shapes -------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [small_distance, MultiscaleDistance])
def test_pixels_outside_the_weight_have_exactly_no_gradient(distance):
    generator, pictures, _ = known(2)
    weight = torch.zeros(1, 1, 16, 16)
    weight[..., 3:9, 5:14] = 1
    target = check_target(generator, pictures, weight, distance())
    images = (pictures + 0.1 * torch.randn_like(pictures)).requires_grad_()
    loss = sum(term.sum() for term in target.terms(target.visible(images)).values())
    (gradient,) = torch.autograd.grad(loss, images)
    outside = (weight == 0).expand_as(gradient)
    assert (gradient[outside] == 0).all() and (gradient[~outside] != 0).float().mean() > 0.9


def test_only_what_counts_is_matched():
    generator, pictures, _ = known(1)
    weight = torch.zeros(16, 16)
    weight[:, :8] = 1
    strange = pictures.clone()
    strange[..., 8:] = 1.0
    settings = RefineSettings(steps=30, prior=0.0)
    last = finish(generator, strange, mean_of(generator), None, settings, weight=weight)[-1]
    start = generator.synthesis(mean_of(generator), noise_mode="const")
    left = slice(None, 8)
    assert mse(last.images[..., left], pictures[..., left]) < 0.2 * mse(
        start[..., left], pictures[..., left]
    )
    assert torch.allclose(
        last.best_loss, mse(last.images[..., left], strange[..., left]), rtol=1e-4
    )


def test_noise_maps_belong_to_the_picture_and_stay_noise():
    generator, pictures, _ = known(2)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.3)
    settings = replace(QUICK, noise="optimise", noise_weight=1.0)
    last = finish(generator, pictures, mean_of(generator, 2), None, settings)[-1]
    assert set(last.noise) == {n for n, _ in generator.named_buffers() if "noise_const" in n}
    for name, maps in last.noise.items():
        assert maps.shape == (2, 1, *generator.get_buffer(name).shape)
        assert not torch.allclose(maps[0], maps[1])
        assert torch.allclose(maps.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-4)
        assert torch.allclose(maps.var(dim=(1, 2, 3), correction=0), torch.ones(2), atol=1e-3)
    from framework.inversion.deltas import personal

    own = personal(generator, last.noise_of(1))
    image = own.synthesis(last.ws[1:], noise_mode="const")
    assert torch.allclose(image, last.images[1:], atol=1e-4)


def test_repeating_noise_is_told_from_noise():
    noise = torch.randn(2, 1, 32, 32)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    assert (noise_loss([smooth / smooth.std()]) > 10 * noise_loss([noise])).all()
    # By hand, one scale: shifts wrap around, products averaged, squared.
    small = torch.randn(1, 1, 8, 8)
    right = (small * torch.roll(small, 1, 3)).mean() ** 2
    down = (small * torch.roll(small, 1, 2)).mean() ** 2
    assert torch.allclose(noise_loss([small]), right + down)


def test_latent_noise_fades_and_is_seeded():
    generator, pictures, _ = known(1)
    runs = [
        finish(
            generator, pictures, mean_of(generator), None, replace(QUICK, latent_noise=0.5, seed=s)
        )
        for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0][-1].ws, runs[1][-1].ws)
    assert not torch.equal(runs[0][0].ws, runs[2][0].ws)
    assert not torch.equal(runs[0][0].ws, mean_of(generator))
    # What is kept is what was looked at, noise and all.
    image = generator.synthesis(runs[0][-1].ws, noise_mode="const")
    assert torch.allclose(mse(image, pictures), runs[0][-1].best_loss, rtol=1e-3)


def test_rectangles_grey_pictures_and_classes():
    generator, pictures, _ = known(1, img_size=(12, 16), img_channels=1, c_dim=2)
    distance = small_distance((12, 16), img_channels=1)
    steps = finish(
        generator, pictures, mean_of(generator), distance, RefineSettings(steps=20, lr=0.1)
    )
    assert steps[-1].images.shape == (1, 1, 12, 16)
    assert steps[-1].best_loss < 0.5 * steps[0].best_loss


@pytest.mark.parametrize(
    ("ws", "message"),
    [
        (torch.zeros(2, 6, 8), "for these pictures"),
        (torch.zeros(1, 5, 8), r"\(1, 6, 8\)"),
        (torch.full((1, 6, 8), float("inf")), "NaN or infinity"),
        (torch.zeros(1, 6, 8, dtype=torch.long), "expected a float tensor"),
        (None, "NoneType"),
    ],
)
def test_latents_that_do_not_fit_are_refused_at_once(ws, message):
    with pytest.raises(UserError, match=message):
        refine(small_generator(), torch.zeros(1, 3, 16, 16), ws, None)


def test_stop_needs_a_distance():
    with pytest.raises(UserError, match="stop: there is no"):
        refine(
            small_generator(), torch.zeros(1, 3, 16, 16), torch.zeros(6, 8), None,
            RefineSettings(stop=0.1),
        )  # fmt: skip
