"""Generator and discriminator over sizes, channels, labels; names of their tensors."""

import pytest
import torch

from framework.errors import UserError
from framework.models.digest import state_digest
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.layers import channels_at, normalize_2nd_moment

SMALL = {"channel_base": 64, "channel_max": 8}
SIZES = {  # size: (base, blocks)
    8: ((4, 4), 2),
    64: ((4, 4), 5),
    (192, 256): ((3, 4), 7),
    (48, 64): ((3, 4), 5),
    (64, 48): ((4, 3), 5),
    (384, 512): ((3, 4), 8),
    (32, 8): ((4, 1), 4),
    (80, 48): ((5, 3), 5),
    96: ((6, 6), 5),
    112: ((7, 7), 5),
}


def both(img_size, **options):
    generator = Generator(img_size, z_dim=6, w_dim=10, mapping_layers=2, **SMALL, **options)
    return generator, Discriminator(img_size, mapping_layers=2, **SMALL, **options)


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    base, blocks = SIZES[size]
    height, width = (size, size) if isinstance(size, int) else size
    generator, discriminator = both(size)
    synthesis = generator.synthesis
    assert generator.img_size == discriminator.img_size == (height, width)
    assert synthesis.resolutions == tuple(4 * 2**k for k in range(blocks))
    assert generator.num_ws == 2 * blocks  # 2 a block, one less in the first, 1 for colours
    for level, resolution in enumerate(synthesis.resolutions):
        expected = (base[0] * 2**level, base[1] * 2**level)
        assert synthesis.block_size(resolution) == expected
        layer = synthesis.get_submodule(f"b{resolution}.conv1")
        assert layer.noise_const.shape == expected
    images = generator(torch.randn(2, 6))
    assert images.shape == (2, 3, height, width) and images.dtype == torch.float32
    assert discriminator(images).shape == (2, 1)


@pytest.mark.parametrize("size", [100, 2, 3, 4, 7, 0, (640, 480), (64, 72), (-64, 64)])
def test_impossible_sizes_are_refused(size):
    for network in (Generator, Discriminator):
        with pytest.raises(UserError) as caught:
            network(size, **SMALL)
        shape = (size, size) if isinstance(size, int) else size
        message = str(caught.value)
        assert str(shape) in message and "base * 2^k" in message and "512x384" in message
        assert "\n" not in message


def test_channels():
    assert [channels_at(r, 1536, 96) for r in (4, 8, 16, 32, 64)] == [96, 96, 96, 48, 24]
    assert channels_at(1024, 512, 96) == 1


@pytest.mark.parametrize("img_channels", [1, 3, 4])
def test_grey_rgb_and_rgba(img_channels):
    generator, discriminator = both(16, img_channels=img_channels)
    images = generator(torch.randn(2, 6))
    assert images.shape == (2, img_channels, 16, 16)
    assert discriminator(images).shape == (2, 1)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"img_channels": 2}, "img_channels"),
        ({"z_dim": 0}, "z_dim"),
        ({"w_dim": -1}, "w_dim"),
        ({"low_precision": "float8"}, "low_precision"),
    ],
)
def test_impossible_settings_are_refused(options, name):
    with pytest.raises(UserError, match=name):
        Generator(16, **SMALL, **options)


@pytest.mark.parametrize("w_dim", [1, 7, 300])
def test_any_width_of_w(w_dim):
    generator = Generator(16, z_dim=5, w_dim=w_dim, mapping_layers=1, **SMALL)
    ws = generator.mapping(torch.randn(3, 5))
    assert ws.shape == (3, generator.num_ws, w_dim)
    assert generator.synthesis(ws).shape == (3, 3, 16, 16)


def test_labels_steer_both_networks():
    torch.manual_seed(0)
    generator, discriminator = both(16, c_dim=4)
    assert {"mapping.embed.weight", "mapping.embed.bias"} <= set(generator.state_dict())
    assert generator.mapping.embed.weight.shape == (10, 4)
    assert generator.mapping.fc0.weight.shape == (10, 6 + 10)
    names = set(discriminator.state_dict())
    assert {"mapping.embed.weight", "mapping.fc1.bias"} <= names
    assert "mapping.w_avg" not in names  # labels have no mean to truncate to
    z, labels = torch.randn(2, 6), torch.eye(4)[:2]
    one, other = generator(z, labels), generator(z, labels.flip(0))
    assert not torch.allclose(one, other, atol=1e-3)
    assert not torch.allclose(discriminator(one, labels), discriminator(one, labels.flip(0)))


def test_the_projection_is_an_inner_product():
    _, discriminator = both(8, c_dim=3)
    images, labels = torch.randn(2, 3, 8, 8), torch.eye(3)[:2]
    features = []
    discriminator.b4.register_forward_hook(lambda _m, _i, output: features.append(output))
    logits = discriminator(images, labels)
    directions = discriminator.mapping(None, labels)[:, 0]
    for i in range(2):
        expected = (features[0][i] @ directions[i]) / features[0].shape[1] ** 0.5
        torch.testing.assert_close(logits[i, 0], expected)


def test_latents_of_a_wrong_shape_are_refused():
    generator, _ = both(8, c_dim=3)
    with pytest.raises(AssertionError, match="z is"):
        generator.mapping(torch.randn(2, 5), torch.zeros(2, 3))
    with pytest.raises(AssertionError, match="c is"):
        generator.mapping(torch.randn(2, 6))
    with pytest.raises(AssertionError, match="ws"):
        generator.synthesis(torch.randn(2, 1, 10))


def test_length_of_z_does_not_matter():
    generator, _ = both(8)
    z = torch.randn(2, 6)
    torch.testing.assert_close(generator.mapping(z * 7), generator.mapping(z), rtol=0, atol=1e-5)
    torch.testing.assert_close(normalize_2nd_moment(z).square().mean(1), torch.ones(2))


FIR = ["resample_filter"]
LAYER = ["affine.bias", "affine.weight", "bias", "noise_const", "noise_strength", *FIR, "weight"]
TORGB = ["affine.bias", "affine.weight", "bias", "weight"]


def test_names_are_the_fields_own_generator():
    generator = Generator(32, z_dim=32, w_dim=48, mapping_layers=2, channel_base=256)
    expected = {"mapping.w_avg"} | {
        f"mapping.fc{i}.{p}" for i in (0, 1) for p in ("weight", "bias")
    }
    expected |= {"synthesis.b4.const"}
    for resolution in (4, 8, 16, 32):
        block = f"synthesis.b{resolution}."
        expected |= {block + "resample_filter"} | {f"{block}torgb.{name}" for name in TORGB}
        for conv in ("conv1",) if resolution == 4 else ("conv0", "conv1"):
            expected |= {f"{block}{conv}.{name}" for name in LAYER}
    held = generator.state_dict()
    assert set(held) == expected
    shapes = {
        "mapping.w_avg": (48,),
        "mapping.fc0.weight": (48, 32),
        "synthesis.b4.const": (64, 4, 4),
        "synthesis.b8.resample_filter": (4, 4),
        "synthesis.b8.conv0.weight": (32, 64, 3, 3),
        "synthesis.b8.conv0.affine.weight": (64, 48),
        "synthesis.b8.conv0.noise_const": (8, 8),
        "synthesis.b8.conv0.noise_strength": (),
        "synthesis.b32.torgb.weight": (3, 8, 1, 1),
    }
    assert {name: tuple(held[name].shape) for name in shapes} == shapes


def test_names_are_the_fields_own_discriminator():
    discriminator = Discriminator(32, channel_base=256, channel_max=32)
    expected = {"b32.fromrgb.weight", "b32.fromrgb.bias", "b32.fromrgb.resample_filter"}
    for resolution in (8, 16, 32):
        expected |= {f"b{resolution}.resample_filter", f"b{resolution}.skip.weight"}
        expected |= {f"b{resolution}.skip.resample_filter"}
        for conv in ("conv0", "conv1"):
            expected |= {f"b{resolution}.{conv}.{n}" for n in ("weight", "bias", *FIR)}
    expected |= {f"b4.{n}.{p}" for n in ("conv", "fc", "out") for p in ("weight", "bias")}
    expected |= {"b4.conv.resample_filter"}
    held = discriminator.state_dict()
    assert set(held) == expected
    assert held["b4.conv.weight"].shape == (32, 33, 3, 3)
    assert held["b4.fc.weight"].shape == (32, 32 * 16)
    assert held["b4.out.weight"].shape == (1, 32)


def test_the_digest_knows_values_and_not_dtypes():
    _, network = both(8)
    digest = state_digest(network)
    assert len(digest) == 64
    network.half().float()
    rounded = state_digest(network)
    assert rounded == state_digest(network.half()) != digest
    network.float().b4.out.bias.data += 1
    assert state_digest(network) != rounded
