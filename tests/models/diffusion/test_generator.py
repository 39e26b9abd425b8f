"""A diffusion model as a generator: noise to latents to pictures and back, shared attention."""

import pytest
import torch

from framework.errors import UserError
from framework.models.diffusion.attention import (
    answered_by_the_first,
    self_attentions,
    shared_layers,
)
from framework.models.diffusion.generator import feature_block
from framework.models.diffusion.sampling import sample
from framework.models.diffusion.unet import to_pictures
from tests.models.diffusion.tiny import tiny_generator


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("m") / "m")


@pytest.fixture(scope="module")
def ws(generator):
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return generator.mapping(z)


def test_its_latents_are_the_noisy_picture_twice(generator, ws):
    assert ws.shape == (1, generator.num_ws, generator.w_dim) == (1, 24, 256)
    x, reference = generator.parts(ws)
    assert x.shape == (1, 12, 16, 16) and torch.equal(x, reference)
    assert torch.equal(generator.joined(x, reference), ws)
    assert generator.img_size == [32, 32] and generator.level == 6


@torch.no_grad()
def test_noise_to_latents_to_a_picture_is_sampling(tmp_path):
    """The two halves of the way are DDIM's one, where nothing is clipped in the second."""
    generator = tiny_generator(tmp_path, strength=0.01)  # all but the last step are in `mapping`
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(1))
    made = generator.synthesis(generator.mapping(z)).clamp(-1, 1)
    noise = z.view(1, 12, 16, 16)
    whole = to_pictures(sample(generator.output, generator.schedule, noise, 8), 2)
    assert torch.allclose(made, whole, atol=1e-4)


@torch.no_grad()
def test_a_picture_comes_back_from_its_latents(generator, ws):
    picture = generator.synthesis(ws)
    errors = [
        (generator.synthesis(generator.inverted(picture, often)) - picture).abs().mean().item()
        for often in (0, 2, 6)
    ]
    assert errors[2] < 1e-3 < errors[1] < errors[0] / 5


@torch.no_grad()
def test_one_attention_is_answered_by_the_first_picture(generator):
    """Against the formula: softmax(q kᵀ / √d) v with the first picture's k and v."""
    layer = self_attentions(generator.unet)[-1]
    x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    with answered_by_the_first([layer]):
        together = layer(x)
    alone = layer(x)
    assert torch.allclose(together[:1], alone[:1], atol=1e-6)
    flat = layer.group_norm(x.flatten(2)).transpose(1, 2)
    q, k, v = layer.to_q(flat[1]), layer.to_k(flat[0]), layer.to_v(flat[0])
    heads = []
    for part in range(layer.heads):
        of_head = slice(part * 8, part * 8 + 8)
        weights = (q[:, of_head] @ k[:, of_head].T / 8**0.5).softmax(dim=1)
        heads.append(weights @ v[:, of_head])
    expected = layer.to_out[0](torch.cat(heads, dim=1)).T.view(16, 4, 4) + x[1]
    assert torch.allclose(together[1], expected, atol=1e-5)
    assert not torch.allclose(together[1], alone[1], atol=1e-2)
    assert torch.equal(layer(x), alone)  # and nothing stays behind


def test_layers_are_shared_from_a_depth_on(generator):
    """Stable Diffusion's tenth of sixteen; in the order of the way, the middle before the top."""
    layers = self_attentions(generator.unet)
    assert len(layers) == 6
    assert layers[0] in list(generator.unet.down_blocks.modules())
    assert layers[1] in list(generator.unet.mid_block.modules())
    assert shared_layers(generator.unet) == layers[4:]
    assert shared_layers(generator.unet, 1.0) == [] and shared_layers(generator.unet, 0) == layers


@torch.no_grad()
def test_what_is_edited_keeps_to_what_it_was(generator, ws, tmp_path):
    """Shared attention changes the picture of an edit, and never that of unchanged latents."""
    free = tiny_generator(tmp_path, reference=1.0)
    assert torch.equal(free.synthesis(ws), generator.synthesis(ws))
    edited = ws.clone()
    edited[:, :12] += 0.5
    assert not torch.allclose(free.synthesis(edited), generator.synthesis(edited), atol=1e-3)
    x, _ = generator.parts(edited)
    assert torch.equal(free.synthesis(edited), free.synthesis(free.joined(x)))


def test_blocks_are_found_by_their_side(generator):
    blocks = list(generator.unet.up_blocks)
    assert feature_block(generator.unet, None, (16, 16)) is blocks[1]
    assert feature_block(generator.unet, 8, (16, 16)) is blocks[0]
    assert feature_block(generator.unet, 16, (16, 16)) is blocks[1]  # the first that has it
    with pytest.raises(UserError, match=r"feature_resolution 12: this model has 8, 16"):
        feature_block(generator.unet, 12, (16, 16))


def test_a_strength_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match="strength"):
        tiny_generator(tmp_path, strength=1.5)
