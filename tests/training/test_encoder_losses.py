"""Losses of inversion: each against its equation, each picture on its own."""

import math

import pytest
import torch
from torch import Tensor

from framework.inversion.losses import encoder_loss, pixel_loss
from framework.models.encoders.latent_discriminator import LatentDiscriminator
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.styles import affines, style_directions, style_vectors
from framework.training.encoder import losses


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- pictures --------------------------------------------------------------------------------


def test_pixel_loss_by_hand():
    a = torch.tensor([[[[1.0, -1.0]]], [[[0.0, 0.0]]]])
    b = torch.tensor([[[[-1.0, -1.0]]], [[[0.5, 0.5]]]])
    assert pixel_loss(a, b).tolist() == [2.0, 0.25]
    assert pixel_loss(a, b, torch.tensor([[[[1.0, 0.0]]]])).tolist() == [4.0, 0.25]
    assert pixel_loss(a, b, torch.tensor([[[[1.0, 3.0]]]])).tolist() == [1.0, 0.25]


def test_pixel_loss_over_a_valid_box_is_exactly_that_of_the_cropped_pictures():
    """192x256 in a canvas of 256x256. Values of 8 bits in float64, so that every sum is exact."""
    rng = torch.Generator().manual_seed(0)
    a, b = (
        torch.randint(0, 256, (2, 3, 256, 256), generator=rng).double() / 128 - 1 for _ in range(2)
    )
    weight = torch.zeros(1, 1, 256, 256)
    weight[..., 32:224, :] = 1
    cropped = pixel_loss(a[:, :, 32:224], b[:, :, 32:224])
    b.requires_grad_()
    found = pixel_loss(a, b, weight)
    assert torch.equal(found, cropped) and (found != pixel_loss(a, b)).all()
    found.sum().backward()
    assert b.grad is not None
    assert (b.grad[:, :, :32] == 0).all() and (b.grad[:, :, 224:] == 0).all()
    expected = 2 * (b - a)[:, :, 32:224] / (3 * 192 * 256)
    torch.testing.assert_close(b.grad[:, :, 32:224], expected.detach())


def test_each_picture_may_have_a_box_of_its_own():
    a, b = randn(2, 3, 8, 8), randn(2, 3, 8, 8, seed=1)
    weight = torch.zeros(2, 1, 8, 8)
    weight[0, :, :4], weight[1, :, :, 2:] = 1, 1
    crops = (
        pixel_loss(a[:1, :, :4], b[:1, :, :4]),
        pixel_loss(a[1:, ..., 2:], b[1:, ..., 2:]),
    )
    torch.testing.assert_close(pixel_loss(a, b, weight), torch.cat(crops))


def test_adversarial_losses_by_hand():
    logits = torch.tensor([[[0.0], [math.log(3.0)]]])
    passed = (math.log(2) + math.log(4 / 3)) / 2  # -log sigmoid
    caught = (math.log(2) + math.log(4)) / 2
    assert losses.adversarial_loss(logits).tolist() == pytest.approx([passed])
    assert losses.real_loss(logits).tolist() == pytest.approx([passed])
    assert losses.fake_loss(logits).tolist() == pytest.approx([caught])


# --- latents ---------------------------------------------------------------------------------


def test_delta_loss_is_the_sum_of_distances_from_the_first_layer():
    ws = torch.zeros(2, 3, 2)
    ws[1, 0] = torch.tensor([1.0, 1.0])
    ws[1, 1] = torch.tensor([4.0, 5.0])
    ws[1, 2] = torch.tensor([1.0, 3.0])
    assert losses.delta_loss(ws).tolist() == [0.0, 5.0 + 2.0]


def test_delta_loss_of_w_has_no_gradient_and_no_nan():
    ws = randn(1, 1, 4).repeat(2, 3, 1).requires_grad_()
    losses.delta_loss(ws).sum().backward()
    assert ws.grad is not None and torch.equal(ws.grad, torch.zeros_like(ws))


def test_w_norm_loss_is_the_distance_over_all_layers():
    w_avg = torch.tensor([1.0, 2.0])
    ws = w_avg.repeat(2, 2, 1)
    ws[1] += torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert losses.w_norm_loss(ws, w_avg).tolist() == [0.0, 5.0]


def test_encoder_loss_is_a_mean_square():
    ws = torch.zeros(2, 2, 2)
    assert encoder_loss(ws, ws + torch.tensor([1.0, 3.0])).tolist() == [5.0, 5.0]


def test_latent_penalty_is_the_squared_slope_and_trains():
    codes = randn(3, 4).requires_grad_()
    slope = torch.tensor([1.0, 2.0, 0.0, 2.0], requires_grad=True)
    penalty = losses.latent_r1_penalty((codes * slope).sum(dim=1, keepdim=True), codes)
    assert penalty.tolist() == [9.0, 9.0, 9.0]
    penalty.sum().backward()
    assert slope.grad is not None and slope.grad.tolist() == [6.0, 12.0, 0.0, 12.0]


def test_a_latent_discriminator_takes_its_penalty_layer_by_layer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LatentDiscriminator(4)
    ws = randn(2, 3, 4).requires_grad_()
    layers = losses.latent_r1_penalty(network(ws), ws)
    one = ws[:, 1].detach().requires_grad_()
    assert layers.shape == (2,)
    assert (layers > losses.latent_r1_penalty(network(one), one)).all()


# --- style vectors ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Generator(
            (16, 24), z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8
        )
    return made.eval().requires_grad_(False)


def test_style_vectors_are_what_the_layers_are_modulated_by(generator):
    seen: list[Tensor] = []
    hooks = [a.register_forward_hook(lambda m, i, o: seen.append(o)) for a in affines(generator)]
    ws = randn(2, generator.num_ws, generator.w_dim)
    generator.synthesis(ws, noise_mode="const")
    used, seen = seen, []
    for hook in hooks:
        hook.remove()
    vectors = style_vectors(generator, ws)
    assert len(vectors) == len(used) == generator.num_ws
    assert all(torch.equal(v, u) for v, u in zip(vectors, used, strict=True))


def test_alignment_is_the_mean_cosine_distance_to_random_styles(generator):
    w = generator.mapping(randn(1200, 8))[:, 0]
    directions = style_directions(generator, w)
    ws = randn(2, generator.num_ws, 8, seed=1)
    found = losses.alignment_loss(style_vectors(generator, ws), directions)
    of_random = style_vectors(generator, w[:, None].expand(-1, generator.num_ws, -1))
    for row in range(2):
        mine = [v[row] for v in style_vectors(generator, ws)]
        cosines = [
            torch.cosine_similarity(m[None], t, dim=1).mean()
            for m, t in zip(mine, of_random, strict=True)
        ]
        torch.testing.assert_close(found[row], 1 - torch.stack(cosines).mean())


def test_alignment_grows_with_the_distance_from_the_mean_and_can_be_descended(generator):
    w = generator.mapping(randn(500, 8))
    directions = style_directions(generator, w[:, 0])
    mean = w[:, 0].mean(dim=0)
    near, far = (
        losses.alignment_loss(style_vectors(generator, mean + s * (w - mean)), directions).mean()
        for s in (1, 4)
    )
    assert near < far
    ws = (mean + 4 * (w[:4] - mean)).requires_grad_()
    before = losses.alignment_loss(style_vectors(generator, ws), directions)
    before.sum().backward()
    assert ws.grad is not None
    after = losses.alignment_loss(style_vectors(generator, ws.detach() - 0.1 * ws.grad), directions)
    assert (after < before).all()
