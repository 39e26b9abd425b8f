"""The decoder of styles: shapes, what strength does, folders."""

import pytest
import torch

from framework.errors import UserError
from framework.formats.decoder_folder import DECODERS
from framework.models.features.lite0 import EfficientNetLite0
from framework.models.style.network import StyleDecoder, restyled
from framework.models.style.statistics import moments


def pictures(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("size", "made"), [((32, 48), (32, 48)), ((33, 47), (34, 48))])
def test_pictures_of_any_size_come_back_in_their_size_or_the_next_even_one(size, made):
    features = EfficientNetLite0().rectified(pictures(*size))
    assert StyleDecoder(8)(features).shape == (2, 3, *made)


def test_strength_goes_from_the_contents_features_to_those_of_the_style():
    content, style = [pictures(8, 8)], [pictures(4, 6, 1) * 3]
    assert torch.allclose(restyled(content, style, 0.0)[0], content[0])
    whole, half = (restyled(content, style, s)[0] for s in (1.0, 0.5))
    assert torch.allclose(moments(whole)[1], moments(style[0])[1], atol=1e-3)
    assert torch.allclose(half, (content[0] + whole) / 2, atol=1e-6)


def test_a_folder_holds_it_in_half_precision(tmp_path):
    decoder = StyleDecoder(8)
    loaded = DECODERS.load(DECODERS.save(tmp_path, decoder, {"by": "test"}, "# card"))
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())
    assert not any(p.requires_grad for p in loaded.parameters())


# H35f
def test_a_folder_without_a_decoder_or_with_another_networks_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"holds no decoder\.safetensors"):
        DECODERS.load(tmp_path)
    DECODERS.save(tmp_path, StyleDecoder(8))
    file = tmp_path / "decoder.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="decoder"):
        DECODERS.load(tmp_path)
    other = StyleDecoder(8)
    other.config["features"] = "vgg"
    DECODERS.save(tmp_path, other)
    with pytest.raises(UserError, match="is no decoder of styles: features vgg"):
        DECODERS.load(tmp_path)


def test_a_width_that_cannot_be_quartered_is_named():
    with pytest.raises(UserError, match="width"):
        StyleDecoder(10)
