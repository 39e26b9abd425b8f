"""Networks of other designs and layouts are named; pickles of old protocols and arrays open."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from framework.errors import UnsafeCheckpoint, UserError
from framework.formats import load_generator
from framework.models.stylegan2 import Discriminator, Generator
from tests.formats import specimens
from tests.formats.nvidia_layout import Module, as_module, made, module_of, torch_save, write
from tests.formats.specimens import Call, Name, networks, pickled, torch_zip


def names(*tensors: str) -> dict[str, torch.Tensor]:
    return {name: torch.ones(2) for name in tensors}


STATE_DICTS = {
    "a StyleGAN3 generator": names("synthesis.input.freqs", "synthesis.L0_36_512.weight",
                                   "mapping.fc0.weight", "mapping.w_avg"),
    "a StyleGAN-XL generator": names("mapping.embed_proj.weight", "mapping.fc0.weight",
                                     "synthesis.input.freqs"),
    "a FastGAN": names("init.init.1.weight_orig", "feat_8.1.weight_orig", "se_64.main.1.weight",
                       "to_big.weight_orig", "to_128.weight_orig"),
    "the layout of mmgeneration": names("generator_ema.style_mapping.1.linear.weight_orig",
                                        "generator_ema.constant_input.const",
                                        "generator_ema.injected_noise_0"),
    "lucidrains' stylegan2-pytorch": names("S.net.0.weight", "G.initial_conv.weight",
                                           "G.blocks.0.to_style1.weight", "D.blocks.0.net.0.bias"),
    "the layout of BasicSR": names("style_mlp.1.weight", "style_conv1.modulated_conv.weight",
                                   "style_convs.0.modulated_conv.weight"),
    "GFPGAN": names("stylegan_decoder.to_rgbs.0.bias", "conv_body_first.weight"),
    "the layout of GenForce": names("mapping.dense0.wscale", "synthesis.layer0.weight"),
    "BigGAN": names("shared.weight", "blocks.0.0.bn1.gain.weight", "linear.weight"),
    "ProGAN": names("scaleLayers.0.0.module.weight", "formatLayer.module.weight"),
    "Stable Diffusion": names("model.diffusion_model.input_blocks.0.0.weight",
                              "first_stage_model.decoder.up.0.block.0.conv1.weight"),
    "diffusion U-Net of diffusers'": names("down_blocks.0.resnets.0.conv1.weight",
                                           "time_embedding.linear_1.weight"),
    "a LoRA": names("lora_unet_down_blocks_0.lora_down.weight"),
    "a language model": names("model.layers.0.self_attn.q_proj.weight", "lm_head.weight"),
    "a ResNet": names("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"),
    "LPIPS": names("lin0.model.1.weight", "lin1.model.1.weight"),
    "StarGAN v2": names("decode.0.norm1.fc.weight", "encode.0.conv1.weight"),
}  # fmt: skip


# G4f
@pytest.mark.parametrize("words", STATE_DICTS)
def test_state_dicts_of_other_designs_are_named(tmp_path, words):
    state = STATE_DICTS[words]
    wrapped = [state, {"GAN": state, "version": "1.8"}, {"state_dict": state, "epoch": 3}]
    for value in wrapped:
        with pytest.raises(UserError, match="this is ") as caught:
            load_generator(torch_save(tmp_path / "model.pt", value))
        assert words in str(caught.value)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError) as caught:
        load_generator(tmp_path / "model.safetensors")
    assert words in str(caught.value)


def test_no_stylegan2_is_taken_for_another_design(tmp_path):
    pair = made(Generator, 16), made(Discriminator, 16)
    files = [pair[0].state_dict(), {"g_ema": pair[0].state_dict(), "D": pair[1].state_dict()}]
    for value in (*files, {"a": {"b": pair[0].state_dict()}}):
        load_generator(torch_save(tmp_path / "model.pt", value))


# G4f
def test_pickled_modules_of_other_designs_are_named(tmp_path):
    fast = module_of(names("synthesis.feat_8.0.weight", "synthesis.to_big.0.weight"), "Generator")
    with pytest.raises(UserError, match="a FastGAN or Projected GAN generator"):
        load_generator(write(tmp_path / "m.pkl", {"G": None, "D": None, "G_ema": fast}))
    for module, name, words in (
        ("training.networks_fastgan", "Generator", "FastGAN"),
        ("pg_modules.discriminator", "ProjectedDiscriminator", "StyleGAN-XL"),
        ("mmgen.models", "StyleGANv2", "mmgeneration"),
        ("torch.nn.modules.container", "Sequential", "saved whole"),
        ("model", "Generator", "saved whole"),
    ):
        data = pickled({"G_ema": Call(Name(module, name), (), state={}, new=True)})
        (tmp_path / "m.pkl").write_bytes(data)
        with pytest.raises(UnsafeCheckpoint) as caught:
            load_generator(tmp_path / "m.pkl")
        assert words in str(caught.value) and f"{module}.{name}" in str(caught.value)


# Pickles of protocol 0 and 1


# G5f
@pytest.mark.parametrize("protocol", [0, 1])
def test_pickles_of_old_protocols_open(tmp_path, protocol):
    g = made(Generator, 16)
    path = tmp_path / "m.pkl"
    for value in ({"G_ema": as_module(g)}, g.state_dict(), {"ema": dict(g.state_dict())}):
        assert load_generator(write(path, value, protocol)).digest == g.digest
    arrays = OrderedDict((name, tensor.numpy()) for name, tensor in g.state_dict().items())
    path.write_bytes(pickle.dumps(arrays, protocol))
    assert load_generator(path).digest == g.digest


def test_old_pickles_are_bounded_and_run_nothing(tmp_path):
    path = tmp_path / "m.pkl"
    for data in (
        b"cposix\nsystem\n(S'echo'\ntR.",
        b"(dp0\nS'G_ema'\np1\ncos\nsystem\np2\nsu.",
        b"(cbuiltins\nobject\ncbuiltins\nobject\nN",
        b"ccopy_reg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR.",
        b"(dp0\nI" + b"9" * 5000 + b"\nsI1\n.",
        b"(dp0\nV" + rb"\U0001f600" * 200_000 + b"\np1\nI1\ns.",
        b"(lp0\n" + b"V" + b"x" * 900_000 + b"\np1\n" + b"g1\na" * 200_000 + b".",
        b"(dp0\nSunquoted\np1\nI1\ns.",
        b"(dp0\np-5\n.",
        b"(dp0\nV" + b"x" * 5000,
    ):
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            load_generator(path)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("line", ["S'a\\x41\\n'", 'S"quoted"', "Vé\\u20ac\\u000a", "F0.5", "L-7L"])
def test_old_texts_and_numbers_mean_what_python_says(tmp_path, line):
    from framework.formats.pickle_machine import Budget, Source, read_pickle

    data = f"(lp0\n{line}\naI01\na.".encode("latin-1")
    value, end = read_pickle(Source(memoryview(data), "x"), {}, Budget(len(data)))
    assert value == pickle.loads(data, encoding="latin-1") and end == len(data)


# Means as arrays


# G6f
@pytest.mark.parametrize("shape", [(6,), (4, 6), (1, 4, 6)])
def test_a_mean_style_may_be_an_array_of_numpys(tmp_path, shape):
    generator = networks()[0]
    mean = np.broadcast_to(generator.mapping.w_avg.numpy(), shape)
    data = np.ascontiguousarray(mean).tobytes()
    float32 = Call(Name("numpy", "dtype"), ("f4", False, True))
    array = Call(Name("numpy.core.multiarray", "_reconstruct"),
                 (Name("numpy", "ndarray"), (0,), b"b"),
                 state=(1, shape, float32, False, data))  # fmt: skip
    path = tmp_path / "m.pt"
    for value in (specimens.rosinality(generator), specimens.e4e(generator)):
        path.write_bytes(torch_zip(value | {"latent_avg": array}))
        loaded = load_generator(path)
        assert torch.equal(loaded.mapping.w_avg, generator.mapping.w_avg)
        assert not any("latent_avg" in note for note in loaded.provenance["notes"])


def test_a_module_that_is_no_table(tmp_path):
    for value in ({"G_ema": Module("G")}, Module("D")):
        with pytest.raises(UserError):
            load_generator(write(tmp_path / "m.pkl", value))
