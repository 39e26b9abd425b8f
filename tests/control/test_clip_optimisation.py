"""Latents optimised for a text: what CLIP sees grows, the rest holds, each picture by itself."""

from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.control.clip_optimisation import ClipWeights, optimised
from framework.models.features.clip import CLIP, Clip
from framework.models.frozen import NOISE_MODE
from framework.models.stylegan2 import Generator
from tests.inversion.small import small_generator
from tests.stand_in_clip import COLOURS, install


@pytest.fixture(scope="module")
def generator() -> Generator:
    return small_generator()


@pytest.fixture
def clip(tmp_path, monkeypatch) -> Clip:
    return Clip.open(install(tmp_path, monkeypatch), "clip")


def latents(generator: Generator, count: int) -> Tensor:
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(1))
    return generator.mapping(z, None).detach()


def drawn(generator: Generator, ws: Tensor) -> Tensor:
    return generator.synthesis(ws, noise_mode=NOISE_MODE).detach()


def test_a_cosine_is_that_of_normalised_pictures_and_texts(clip):
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    said = clip.texts(["a red car", "blue"])
    assert torch.allclose(said, F.normalize(torch.tensor([*COLOURS.values()])))
    mean, std = torch.tensor(CLIP.mean), torch.tensor(CLIP.std)
    seen = ((pictures + 1) / 2).mean(dim=(2, 3))
    expected = 1 - F.cosine_similarity((seen - mean) / std, said)
    assert torch.allclose(clip(pictures, said), expected, atol=2e-3)
    assert not any(p.requires_grad for p in clip.parameters())


def test_pictures_turn_to_what_the_text_says(generator, clip):
    ws, red = latents(generator, 2), clip.texts(["red"])
    first, *_, last = islice(optimised(generator, ws, lambda x: clip(x, red)), 61)
    assert torch.equal(first.ws, ws) and last.look == 60
    assert (last.missed < first.missed - 0.2).all()
    seen = clip(drawn(generator, last.ws).clamp(-1, 1), red)
    assert torch.allclose(seen, last.missed, atol=1e-5)
    before, after = drawn(generator, ws), drawn(generator, last.ws)
    redder = (after - before).mean(dim=(2, 3))
    assert (redder[:, 0] > redder[:, 2]).all()


def test_pixels_and_latents_hold_what_the_text_would_move(generator, clip):
    ws, blue = latents(generator, 1), clip.texts(["blue"])

    def moved(weights: ClipWeights) -> tuple[Tensor, Tensor]:
        *_, last = islice(optimised(generator, ws, lambda x: clip(x, blue), weights), 41)
        pixels = drawn(generator, last.ws) - drawn(generator, ws)
        return pixels.square().mean(), (last.ws - ws).square().mean()

    free = moved(ClipWeights(pixel=0, latent=0))
    assert moved(ClipWeights(pixel=50, latent=0))[0] < 0.7 * free[0]
    assert moved(ClipWeights(pixel=0, latent=50))[1] < 0.7 * free[1]


def test_each_picture_is_optimised_by_itself(generator, clip):
    ws, red = latents(generator, 2), clip.texts(["red"])
    both = next(islice(optimised(generator, ws, lambda x: clip(x, red)), 5, None))
    alone = next(islice(optimised(generator, ws[1:], lambda x: clip(x, red)), 5, None))
    assert torch.allclose(both.ws[1:], alone.ws, atol=1e-3)
