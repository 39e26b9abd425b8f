"""The map of layers by resolution, and what is mixed by it, to the bit."""

import json

import pytest
import torch

from framework.control.layers import LayerMap, mix, resample
from framework.errors import BrokenCheckpoint, UserError
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.styles import affines

SMALL = {"z_dim": 4, "w_dim": 6, "mapping_layers": 1, "channel_base": 64, "channel_max": 8}


@pytest.mark.parametrize(
    ("size", "groups"),
    [
        (16, {"pose": (0, 1, 2), "shape": (3, 4), "colour": (5,)}),
        (64, {"pose": (0, 1, 2), "shape": (3, 4, 5, 6), "colour": (7, 8, 9)}),
        (256, {"pose": (0, 1, 2), "shape": (3, 4, 5, 6), "colour": (7, 8, 9, 10),
               "detail": (11, 12, 13)}),
        ((192, 256), {"pose": (0, 1, 2), "shape": (3, 4, 5, 6), "colour": (7, 8, 9, 10),
                      "detail": (11, 12, 13)}),
    ],
)  # fmt: skip
def test_every_layer_is_in_the_group_of_its_resolution(size, groups):
    generator = Generator(size, **SMALL)
    layers = LayerMap.of(generator)
    assert layers.groups == groups
    assert sorted(sum(groups.values(), ())) == list(range(generator.num_ws))
    # A layer modulates as many channels as its block's convolution has.
    for resolution, affine in zip(layers.resolutions, affines(generator), strict=True):
        block = generator.synthesis.get_submodule(f"b{resolution}")
        assert affine in [module for module in block.modules()]


def test_layers_are_read_from_words_and_numbers_and_named_again():
    layers = LayerMap((4, 8, 8, 16, 16, 32, 32, 64, 64, 64))
    assert layers.parse("colour") == (7, 8, 9)
    assert layers.parse("pose, 4-5,9") == (0, 1, 2, 4, 5, 9)
    for words in ("pose", "shape", "all", "0-1,4", "3"):
        assert layers.named(layers.parse(words)) == words
    assert layers.named((3, 4, 5, 6)) == "shape"


# G20f
@pytest.mark.parametrize("words", ["", "detail", "10", "0-10", "5-3", "colour,x", "-1", "1.5"])
def test_words_that_name_no_layers_are_refused(words):
    layers = LayerMap((4, 8, 8, 16, 16, 32, 32, 64, 64, 64))
    with pytest.raises(UserError, match="give pose, shape, colour, all, or layers from 0 to 9"):
        layers.parse(words)


def test_mixing_takes_exactly_the_layers_asked_for():
    a, b = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    mixed = mix(a, b, (1, 4))
    for layer in range(6):
        assert torch.equal(mixed[:, layer], (b if layer in (1, 4) else a)[:, layer])
    assert torch.equal(mix(a, b[:1], (2,))[:, 2], b[:1, 2].expand(2, -1))
    for layers in ((6,), (-1, 2), ()):
        with pytest.raises(UserError, match="this model has layers 0 to 5"):
            mix(a, b, layers)


def test_resampling_keeps_what_was_touched_and_nothing_else():
    ws, fresh = torch.randn(1, 6, 4), torch.randn(3, 6, 4)
    variants = resample(ws, (0, 5), fresh)
    assert torch.equal(variants[:, [0, 5]], ws[:, [0, 5]].expand(3, -1, -1))
    assert torch.equal(variants[:, 1:5], fresh[:, 1:5])
    assert torch.equal(resample(ws, range(6), fresh), ws.expand(3, -1, -1))


MEASURED = {"pose": [0, 1], "colour": [2, 5, 7, 9], "shape": [3, 4], "detail": [6, 8]}


def test_a_measured_map_is_read_again(tiny_generator, tmp_path):
    names = ("pose", "pose", "colour", "shape", "shape", "colour", "detail", "colour", "detail",
             "colour")  # fmt: skip
    measured = LayerMap(LayerMap.of(tiny_generator).resolutions, names)
    facts = {"generator_digest": tiny_generator.digest, "map": measured.to_dict()}
    assert facts["map"]["measured"] == {k: MEASURED[k] for k in facts["map"]["measured"]}
    assert facts["map"]["by_resolution"]["pose"] == [0, 1, 2]
    (tmp_path / "layers.json").write_text(json.dumps(facts))
    assert LayerMap.read(tmp_path / "layers.json", tiny_generator, "tiny") == measured


# G21f
@pytest.mark.parametrize(
    ("changes", "kind", "complaint"),
    [
        ({"generator_digest": "0" * 64}, UserError, "edit.py layers --model tiny --out DIR"),
        ({"map": {"measured": {"pose": [0, 1]}}}, BrokenCheckpoint, "not all layers"),
        ({"map": {"measured": {**MEASURED, "hue": [9]}}}, BrokenCheckpoint, "not all layers"),
        ({"map": {"measured": {"pose": ["x"]}}}, BrokenCheckpoint, "cannot be read as layers"),
        ({"map": [1]}, BrokenCheckpoint, "cannot be read as layers"),
    ],
)
def test_a_measured_map_that_does_not_fit_is_refused(
    tiny_generator, tmp_path, changes, kind, complaint
):
    facts = {"generator_digest": tiny_generator.digest, "map": {"measured": MEASURED}, **changes}
    (tmp_path / "layers.json").write_text(json.dumps(facts))
    with pytest.raises(kind, match=complaint):
        LayerMap.read(tmp_path / "layers.json", tiny_generator, "tiny")
