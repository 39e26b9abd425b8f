"""What a discriminator sees of pictures, and how pictures come to it."""

import torch

from framework.models.features.blocks import block_features, in_float32, suited
from framework.models.stylegan2 import Generator
from tests.models.features.networks import discriminator


def test_features_have_unit_mean_square_at_every_position():
    torch.manual_seed(0)
    for block in block_features(discriminator(), torch.rand(2, 3, 16, 16) * 2 - 1):
        assert torch.allclose(block.square().mean(dim=1), torch.ones(()), atol=1e-3)


def test_pictures_of_other_shapes_are_made_to_fit():
    rng = torch.Generator().manual_seed(0)
    rgba = torch.rand(2, 4, 48, 32, generator=rng)
    assert torch.equal(suited(rgba, (48, 32), 3), rgba[:, :3])
    grey = suited(rgba[:, :1], (48, 32), 3)
    assert torch.equal(grey, rgba[:, :1].expand(-1, 3, -1, -1))
    assert suited(rgba[:, :3], (16, 16), 1).shape == (2, 1, 16, 16)
    # Antialiased: fine noise averages out when a picture becomes eight times smaller.
    noise = torch.randn(1, 3, 128, 128, generator=rng)
    assert suited(noise, (16, 16), 3).std() < 0.25


def test_low_precision_does_not_change_the_numbers():
    sizes = {"img_size": 32, "channel_base": 128, "channel_max": 8}
    torch.manual_seed(0)
    generator = Generator(**sizes, z_dim=8, w_dim=8, mapping_layers=1)
    low = Generator(
        **sizes,
        z_dim=8,
        w_dim=8,
        mapping_layers=1,
        low_precision_blocks=2,
        low_precision="bfloat16",
    )
    low.load_state_dict(generator.state_dict())
    z = torch.randn(2, 8)
    with torch.no_grad():
        assert not torch.allclose(low(z), generator(z), atol=1e-5)
        assert torch.allclose(in_float32(low)(z), generator(z), atol=1e-5)
