"""Embedding: the encoder's latents as they are, w_avg without one, the best of several looks."""

import pytest
import torch

from framework.errors import UserError
from framework.inversion.embed import embed
from framework.inversion.settings import EmbedSettings
from framework.models.digest import state_digest
from tests.inversion.small import small_encoder, small_generator
from tests.inversion.streams import known, monotone, mse, seeds_ws, small_distance


def test_without_an_encoder_it_is_w_avg():
    generator, pictures, _ = known(2)
    (step,) = embed(generator, pictures)
    assert step.status == "done" and step.step == 0 and step.stage == "embed"
    assert step.ws.shape == (2, 6, 8)
    assert torch.equal(step.ws, generator.mapping.w_avg.expand(2, 6, 8))
    image = generator.synthesis(step.ws, noise_mode="const")
    assert torch.allclose(step.images, image, atol=1e-5)
    assert torch.allclose(step.loss, mse(image, pictures), rtol=1e-4)


def test_a_generator_with_classes_has_one_mean():
    generator = small_generator(c_dim=3)
    pictures = torch.rand(2, 3, 16, 16)
    (step,) = embed(generator, pictures)
    assert torch.equal(step.ws, generator.mapping.w_avg.expand(2, 6, 8))


def test_an_encoders_latents_are_taken_as_they_are():
    generator, pictures, _ = known(2)
    encoder, distance = small_encoder().eval(), small_distance()
    (step,) = embed(generator, pictures, encoder, distance=distance)
    with torch.no_grad():
        assert torch.equal(step.ws, encoder(pictures))
    assert step.step == 1 and set(step.terms) == {"pixel", "perceptual"}
    assert torch.allclose(step.loss, step.terms["pixel"] + step.terms["perceptual"])
    assert step.finished.all() and not step.ws.requires_grad


def test_a_residual_encoder_corrects_its_own_reconstruction_and_the_best_is_kept():
    generator, pictures, _ = known(3)
    encoder = small_encoder(residual=True).eval()
    encoder.w_std.fill_(30.0)  # corrections that overshoot, each photograph's differently
    steps = list(embed(generator, pictures, encoder, EmbedSettings(iterations=4)))
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert [step.status for step in steps] == ["running"] * 3 + ["done"]
    assert monotone([steps[0], *steps])  # numbered from 1
    ws = generator.mapping.w_avg.expand(3, 6, 8)
    found = []
    with torch.no_grad():
        for _ in range(4):
            current = (generator.synthesis(ws, noise_mode="const"), ws)
            ws = encoder(pictures, current=current)
            found.append(ws)
    best = steps[-1].best_step
    assert best.unique().numel() > 1 or best[0] < 4  # else the last look would do
    for row in range(3):
        assert torch.allclose(steps[-1].ws[row], found[best[row] - 1][row], rtol=1e-3, atol=1e-3)


def test_where_photographs_do_not_count_they_may_be_anything():
    generator, pictures, _ = known(1)
    weight = torch.zeros(16, 16)
    weight[4:12, 2:14] = 1
    other = torch.where(weight > 0, pictures, torch.rand_like(pictures))
    (a,) = embed(generator, pictures, weight=weight)
    (b,) = embed(generator, other, weight=weight)
    assert torch.equal(a.loss, b.loss)
    inside = a.images[..., 4:12, 2:14]
    assert torch.allclose(a.loss, mse(inside, pictures[..., 4:12, 2:14]))


def test_the_generator_and_the_callers_mode_stay_as_they_are():
    generator, pictures, _ = known(1)
    before = state_digest(generator)
    with torch.inference_mode():
        stream = embed(generator, pictures.clone(), small_encoder().eval())
        step = next(stream)
        assert torch.is_inference_mode_enabled()
    assert state_digest(generator) == before
    assert not step.ws.is_inference()
    step = next(embed(generator, pictures))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (torch.zeros(1, 3, 16, 8), r"\(1, 3, 16, 8\): this model takes \(N, 3, 16, 16\)"),
        (torch.zeros(3, 16, 16), "this model takes"),
        (torch.zeros(0, 3, 16, 16), "this model takes"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "expected a float tensor"),
        (torch.full((1, 3, 16, 16), 255.0), "from -1 to 1"),
        (torch.full((1, 3, 16, 16), float("nan")), "without NaN"),
        ("photo.png", "expected a float tensor"),
    ],
)
def test_pictures_that_do_not_fit_are_refused_at_once(pictures, message):
    with pytest.raises(UserError, match=message):
        embed(small_generator(), pictures)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(16, 16), "zero everywhere"),
        (-torch.ones(16, 16), "at least 0"),
        (torch.full((16, 16), float("inf")), "without NaN"),
        (torch.ones(16, 8), "expected"),
        (torch.ones(3, 1, 16, 16), "expected"),
    ],
)
def test_weights_that_do_not_fit_are_refused_at_once(weight, message):
    with pytest.raises(UserError, match=message):
        embed(small_generator(), torch.zeros(2, 3, 16, 16), weight=weight)


def test_encoders_that_do_not_fit_are_refused_at_once():
    pictures = torch.zeros(1, 3, 16, 16)
    with pytest.raises(UserError, match=r"encoder of latents \(8, 8\)"):
        embed(small_generator(), pictures, small_encoder((32, 32), num_ws=8))
    with pytest.raises(UserError, match="iterations 2"):
        embed(small_generator(), pictures, small_encoder(), EmbedSettings(iterations=2))
    with pytest.raises(UserError, match="iterations 2"):
        embed(small_generator(), pictures, None, EmbedSettings(iterations=2))


def test_a_model_that_gives_nan_says_so():
    generator, pictures, _ = known(1)
    generator.mapping.w_avg.fill_(float("nan"))
    with pytest.raises(UserError, match="NaN"):
        next(embed(generator, pictures))


def test_rectangles_and_other_channels():
    generator, pictures, ws = known(1, img_size=(12, 16), img_channels=1)
    (step,) = embed(generator, pictures)
    assert step.images.shape == (1, 1, 12, 16)
    assert seeds_ws(generator, 1).shape == ws.shape == step.ws.shape
