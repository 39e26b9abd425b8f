"""Encoders to files and back, and files that lie."""

import re
from dataclasses import replace

import pytest
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import EncoderWeights, open_model, save_model_folder
from framework.models.encoders import loading
from framework.models.encoders.irse50 import Encoder4Editing, GradualStyleEncoder
from framework.models.encoders.loading import build_encoder, encoder_weights
from tests.inversion.small import small_encoder, small_generator


def published(family=Encoder4Editing, **sizes):
    """A thin network of pSp's or e4e's for the small generator."""
    torch.manual_seed(2)
    encoder = family(6, 8, img_size=(32, 32), width=16, **sizes)
    encoder.latent_avg.normal_()
    return encoder.eval()


MAKERS = {
    "group": small_encoder,
    "batch": lambda: small_encoder(norm="batch").eval(),
    "residual": lambda: small_encoder(residual=True),
    "e4e": published,
    "psp": lambda: published(GradualStyleEncoder),
    "e4e, group": lambda: published(norm="group"),
    "e4e, residual, sketches": lambda: published(residual=True, in_channels=1),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("half", [False, True])
def test_an_encoder_comes_back_from_its_model_folder(tmp_path, name, half):
    encoder, generator = MAKERS[name](), small_generator()
    save_model_folder(tmp_path, generator, encoder=encoder_weights(encoder), half=half)
    opened = open_model(tmp_path)
    assert "encoder" in opened.networks
    again = build_encoder(opened.encoder(), generator)
    pictures = torch.randn(2, encoder.in_channels, 16, 16)
    current = (torch.randn_like(pictures), torch.randn(2, 6, 8)) if encoder.residual else None
    first, second = encoder(pictures, 3, current), again(pictures, 3, current)
    start = current[1] if current else encoder.placed(torch.zeros(1, 6, 8), None)
    tolerance = 2e-3 * float((first - start).abs().max()) if half else 0.0
    torch.testing.assert_close(second, first, rtol=0, atol=tolerance)
    assert type(again) is type(encoder) and again.config == encoder.config
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    assert all(t.dtype in (torch.float32, torch.int64) for t in again.state_dict().values())


def test_weights_are_copies():
    encoder = small_encoder()
    weights = encoder_weights(encoder)
    before = weights.tensors["w_avg"].clone()
    encoder.w_avg.add_(1)
    weights.opts["num_ws"] = 0
    assert torch.equal(weights.tensors["w_avg"], before) and encoder.config["num_ws"] == 6


def test_building_leaves_the_callers_random_numbers_alone():
    weights, generator = encoder_weights(small_encoder()), small_generator()
    torch.manual_seed(7)
    wanted = torch.randn(3)
    torch.manual_seed(7)
    build_encoder(weights, generator)
    assert torch.equal(torch.randn(3), wanted)


def test_a_silent_file_needs_to_be_told_what_it_is():
    encoder, generator = published(GradualStyleEncoder), small_generator()
    weights = replace(encoder_weights(encoder), encoder_type="")
    with pytest.raises(UserError, match="encoder_type, Encoder4Editing or GradualStyleEncoder"):
        build_encoder(weights, generator)
    told = build_encoder(weights, generator, "GradualStyleEncoder")
    assert type(told) is GradualStyleEncoder


def test_another_programs_kind_is_named():
    weights = replace(
        encoder_weights(published()), encoder_type="BackboneEncoderUsingLastLayerIntoW"
    )
    with pytest.raises(UserError, match=r"BackboneEncoderUsingLastLayerIntoW.*Encoder4Editing"):
        build_encoder(weights, small_generator())


@pytest.mark.parametrize("maker", [small_encoder, published])
@pytest.mark.parametrize("sizes", [{"img_size": 32}, {"w_dim": 16}])
def test_an_encoder_of_another_generator_is_refused(maker, sizes):
    with pytest.raises(UserError, match="belongs to another generator"):
        build_encoder(encoder_weights(maker()), small_generator(**sizes))


def foreign(latent_avg, **opts):
    """What a file of e4e's own training holds: no configuration of ours."""
    return EncoderWeights("Encoder4Editing", encoder_weights(published()).tensors, latent_avg, opts)


def test_a_published_file_is_built_from_its_shapes():
    encoder = build_encoder(foreign(None, dataset_type="ffhq_encode"), small_generator())
    assert encoder.img_size == (256, 256) and encoder.config["width"] == 16
    assert build_encoder(foreign(None, dataset_type="cars_encode"), small_generator()).img_size == (
        192,
        256,
    )


def test_the_mean_style_is_the_files_or_the_generators_or_none():
    generator = small_generator()
    w_avg = generator.mapping.w_avg
    means = {
        "each": torch.randn(6, 8),
        "one": torch.randn(8),
        "row": torch.randn(1, 8),
    }
    for mean in means.values():
        encoder = build_encoder(foreign(mean, start_from_latent_avg=True), generator)
        assert torch.equal(encoder.latent_avg, mean.expand(6, 8))
    told = build_encoder(foreign(None, start_from_latent_avg=True), generator)
    assert torch.equal(told.latent_avg, w_avg.expand(6, 8))
    assert not build_encoder(foreign(None), generator).latent_avg.any()
    for bad in (torch.randn(5, 8), torch.randn(6), torch.randn(8, 6)):
        with pytest.raises(BrokenCheckpoint, match="latent_avg"):
            build_encoder(foreign(bad), generator)


HOSTILE_OPTS = {
    "wide": {"channel_base": 10**12, "channel_max": 10**6},
    "wide maps": {"map_channels": 10**6},
    "wide heads": {"head_features": 10**9},
    "many blocks": {"blocks": 10**7},
    "many channels": {"in_channels": 10**9},
    "endless picture": {"img_size": [2**40, 2**40]},
    "no pyramid": {"img_size": [9, 9]},
    "no picture": {"img_size": None},
    "three sides": {"img_size": [16, 16, 16]},
    "text": {"channel_max": "16"},
    "truth": {"blocks": True},
    "fraction": {"w_dim": 8.0},
    "not a number": {"head_features": float("nan")},
    "negative": {"map_channels": -8},
    "unknown norm": {"norm": "layer"},
    "norm of another type": {"norm": ["group"]},
    "residual by number": {"residual": 1},
    "unknown argument": {"device": "cuda"},
}


@pytest.mark.parametrize("name", HOSTILE_OPTS)
def test_a_configuration_that_lies_is_refused_before_a_network_is_made(monkeypatch, name):
    weights = encoder_weights(small_encoder())
    lying = replace(weights, opts={**weights.opts, **HOSTILE_OPTS[name]})
    monkeypatch.setattr(loading, "_filled", lambda *_: pytest.fail("a network was made"))
    with pytest.raises(UserError) as caught:
        build_encoder(lying, small_generator())
    assert str(caught.value).startswith("encoder: ") and len(str(caught.value)) < 200


def test_a_configuration_with_nothing_in_it_is_refused():
    weights = replace(encoder_weights(small_encoder()), opts={})
    with pytest.raises(BrokenCheckpoint, match="not that of a dragline encoder"):
        build_encoder(weights, small_generator())


@pytest.mark.parametrize("maker", [small_encoder, published])
def test_tensors_that_do_not_fit_are_named(maker):
    whole = encoder_weights(maker())
    last = [name for name in whole.tensors if name.endswith("weight")][-1]
    changes = {
        "missing": {n: t for n, t in whole.tensors.items() if n != last},
        "extra": {**whole.tensors, "surplus.weight": torch.ones(2)},
        "shape": {**whole.tensors, last: torch.ones(3, 3)},
    }
    for tensors in changes.values():
        with pytest.raises(BrokenCheckpoint, match="surplus.weight|" + re.escape(last)):
            build_encoder(replace(whole, tensors=tensors), small_generator())


def test_whole_numbers_are_no_weights():
    whole = encoder_weights(small_encoder())
    tensors = {**whole.tensors, "stem.bias": whole.tensors["stem.bias"].long()}
    with pytest.raises(BrokenCheckpoint, match=r"stem\.bias holds torch\.int64"):
        build_encoder(replace(whole, tensors=tensors), small_generator())


def test_a_published_file_whose_stem_lies_about_its_width_is_refused(monkeypatch):
    whole = encoder_weights(published())
    tensors = {**whole.tensors, "input_layer.0.weight": torch.ones(16000, 1, 1, 1)}
    monkeypatch.setattr(loading, "_filled", lambda *_: pytest.fail("a network was made"))
    with pytest.raises(BrokenCheckpoint, match="do not fit each other"):
        build_encoder(replace(whole, tensors=tensors), small_generator())


def test_tensors_of_something_else_are_no_irse50():
    weights = EncoderWeights("Encoder4Editing", {"a.weight": torch.ones(2)}, None, {})
    with pytest.raises(BrokenCheckpoint, match="no IR-SE50"):
        build_encoder(weights, small_generator())
    headless = {"styles.0.linear.weight": torch.tensor(1.0), "input_layer.0.weight": torch.ones(2)}
    with pytest.raises(BrokenCheckpoint, match="no IR-SE50"):
        build_encoder(replace(weights, tensors=headless), small_generator())
