"""Exported files hold every bit, and draw the same in programs that know only their layouts."""

import argparse
import ast
import copy
import io
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from framework.errors import UserError
from framework.formats import exported_networks as exported
from framework.formats import (
    load_discriminator,
    load_generator,
    load_training_generator,
    rosinality_writer,
    save_model_folder,
)
from framework.formats.export import export_model, export_networks
from framework.formats.pickle_writer import Call, Name, Pieces, write_pickle
from framework.formats.run_checkpoint import FORMAT_VERSION, write_checkpoint
from framework.models.stylegan2 import Discriminator, Generator
from framework.ops.upfirdn2d import setup_filter
from tests.formats import fixtures, independent_readers
from tests.formats.independent_readers import Tensors, load_network_pkl, nvidia_packages

TOLERANCE = {"rtol": 0, "atol": 1e-4}
ZOO = ("toycars64", "vehicles64")
SMALL = {"channel_base": 64, "channel_max": 8, "mapping_layers": 2}
# Each changes one thing that a file has to carry.
GENERATORS = {
    "square": {},
    "labels": {"c_dim": 3},
    "clamped halves": {"conv_clamp": 256.0, "low_precision_blocks": 2},
    "tight clamp": {"conv_clamp": 0.5},
    "wide": {"img_size": (24, 32)},
    "base of five": {"img_size": 40},
    "grey": {"img_channels": 1},
    "RGBA": {"img_channels": 4},
    "eight layers of styles": {"mapping_layers": 8},
    "half as wide": {"channel_base": 16384, "channel_max": 16},
    "slow mean": {"w_avg_beta": 0.995},
    "shortcuts": {"architecture": "resnet"},
    "colours once": {"architecture": "orig"},
    "labels alone": {"z_dim": 0, "c_dim": 3},
}
DISCRIMINATORS = {
    **{
        n: o
        for n, o in GENERATORS.items()
        if not {"w_avg_beta", "architecture", "z_dim"} & o.keys()
    },
    "groups of two": {"mbstd_group_size": 2},
    "no statistics": {"mbstd_group_size": 0},
    "no shortcuts": {"architecture": "orig"},
}


def made(kind, seed=3, **options):
    """A network with random numbers everywhere, where new ones have zeros, too."""
    options = {"img_size": 32, **SMALL, **options}
    if kind is Generator:
        options = {"z_dim": 10, "w_dim": 10, **options}
    torch.manual_seed(seed)
    network = kind(**options)
    for name, tensor in network.state_dict().items():
        if not name.endswith("resample_filter"):
            tensor.copy_(torch.randn(tensor.shape) * tensor.std(correction=0).clamp(0.1))
    return network.eval().requires_grad_(False)


def assert_same(loaded, original):
    ours, theirs = original.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    unlike = {n for n in original.config | loaded.config if original.config[n] != loaded.config[n]}
    if isinstance(original, Discriminator) and not original.c_dim:
        unlike -= {"mapping_layers"}  # of labels that there are none of
    assert not unlike, unlike


def nvidia_bytes(tmp_path, generator, discriminator=None, training_generator=None):
    out = tmp_path / "stylegan2.pkl"
    export_networks(generator, discriminator, "nvidia", out, training_generator)
    return out.read_bytes()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def opened(tmp_path):
    """G_ema of an exported file, as the programs have it."""
    data = nvidia_bytes(tmp_path, made(Generator), made(Discriminator))
    with nvidia_packages():
        yield load_network_pkl(data)["G_ema"]


# Ours to theirs and back


@pytest.mark.parametrize("options", GENERATORS.values(), ids=GENERATORS.keys())
# H14
def test_generators_survive_nvidias_pickle_bit_for_bit(tmp_path, options):
    generator, trained = made(Generator, **options), made(Generator, seed=4, **options)
    out = tmp_path / "a.pkl"
    export_networks(generator, None, "nvidia", out, trained)
    assert_same(load_generator(out), generator)
    assert_same(load_training_generator(out), trained)


@pytest.mark.parametrize("options", DISCRIMINATORS.values(), ids=DISCRIMINATORS.keys())
# H14
def test_discriminators_survive_nvidias_pickle_bit_for_bit(tmp_path, options):
    shared = {name: options[name] for name in ("img_size", "c_dim") if name in options}
    discriminator = made(Discriminator, **options)
    out = tmp_path / "a.pkl"
    export_networks(made(Generator, **shared), discriminator, "nvidia", out)
    assert_same(load_discriminator(out), discriminator)


@pytest.mark.parametrize("mapping_layers", [2, 8])
# H14
def test_networks_survive_rosinalitys_file_bit_for_bit(tmp_path, mapping_layers):
    generator, discriminator = made(Generator, mapping_layers=mapping_layers), made(Discriminator)
    out = tmp_path / "a.pt"
    export_networks(generator, discriminator, "rosinality", out)
    assert_same(load_generator(out), generator)
    assert_same(load_discriminator(out), discriminator)


@pytest.mark.parametrize("to", ["nvidia", "rosinality"])
@pytest.mark.parametrize("taps", [(1, 4, 4, 1), (1, 1, 1, 1), (0, 1, 1, 0), (1, 2, 3, 4)], ids=str)
# G9f
def test_filters_of_other_taps_go_out_and_come_back(tmp_path, to, taps):
    generator, discriminator = made(Generator), made(Discriminator)
    for network in (generator, discriminator):
        for name, tensor in network.state_dict().items():
            if name.endswith("resample_filter"):
                tensor.copy_(setup_filter(taps))
    out = tmp_path / "a.pt"
    export_networks(generator, discriminator, to, out)
    assert_same(load_generator(out), generator)
    assert_same(load_discriminator(out), discriminator)
    if to == "rosinality":
        file, z = torch.load(out, weights_only=True), torch.randn(2, 10)
        g_ema, d = Tensors(file["g_ema"]), Tensors(file["d"])
        w = independent_readers.rosinality_w(g_ema, z, file["latent_avg"])
        picture = independent_readers.rosinality_picture(g_ema, w)
        torch.testing.assert_close(picture, generator(z), **TOLERANCE)
        logits = independent_readers.rosinality_logits(d, picture)
        torch.testing.assert_close(logits, discriminator(picture), **TOLERANCE)
    else:
        with nvidia_packages():
            exported = load_network_pkl(out.read_bytes())["G_ema"]
            picture = exported(z := torch.randn(2, 10), None, noise_mode="const")
        torch.testing.assert_close(picture, generator(z), **TOLERANCE)


@pytest.mark.parametrize("to", ["nvidia", "rosinality"])
def test_models_stored_in_halves_are_written_as_they_are_opened(tmp_path, to):
    folder = save_model_folder(tmp_path / "m", made(Generator), made(Discriminator), half=True)
    export_model(folder, to, tmp_path / "a.pkl")
    assert_same(load_generator(tmp_path / "a.pkl"), load_generator(folder))
    assert_same(load_discriminator(tmp_path / "a.pkl"), load_discriminator(folder))


def test_a_run_gives_all_three_networks(tmp_path):
    networks = {
        "generator_ema": made(Generator),
        "generator": made(Generator, seed=4),
        "discriminator": made(Discriminator),
    }
    state = {f"{n}.{k}": t for n, net in networks.items() for k, t in net.state_dict().items()}
    facts = {"format": FORMAT_VERSION, "seen_images": 1}
    facts |= {name: networks[name].config for name in ("generator", "discriminator")}
    write_checkpoint({"state_dict": state, "dragline": facts}, tmp_path / "run.ckpt")
    out = tmp_path / "a.pkl"
    export_model(tmp_path / "run.ckpt", "nvidia", out)
    for load, name in (
        (load_generator, "generator_ema"),
        (load_training_generator, "generator"),
        (load_discriminator, "discriminator"),
    ):
        assert_same(load(out), networks[name])


def test_a_pickle_goes_on_with_all_three_networks(tmp_path):
    first, second = tmp_path / "a.pkl", tmp_path / "b.pkl"
    networks = made(Generator), made(Discriminator)
    export_networks(*networks, "nvidia", first, made(Generator, seed=4))
    export_model(first, "nvidia", second)
    assert second.read_bytes() == first.read_bytes()


def test_a_generator_that_is_there_twice_is_stored_once(tmp_path):
    generator = made(Generator, channel_base=1024, channel_max=64)
    weights = sum(4 * tensor.numel() for tensor in generator.state_dict().values())
    data = nvidia_bytes(tmp_path, generator)
    assert len(data) < 1.5 * weights
    with nvidia_packages():
        networks = load_network_pkl(data)
        networks["G"].mapping.w_avg.add_(1)
        difference = networks["G"].mapping.w_avg - networks["G_ema"].mapping.w_avg
    assert torch.equal(difference.round(), torch.ones(10))


# Readers that know only the layouts


@pytest.mark.parametrize("model", ZOO)
@pytest.mark.parametrize("decorates", [True, False])
def test_nvidias_programs_draw_the_same_with_the_files_own_source(tmp_path, model, decorates):
    out = tmp_path / "stylegan2.pkl"
    export_model(model, "nvidia", out)
    generator, z = load_generator(model), torch.randn(4, 128)
    with nvidia_packages(decorates):
        networks = load_network_pkl(out.read_bytes())
        for name in ("G", "G_ema"):
            picture = networks[name](z, None, truncation_psi=0.7, noise_mode="const")
            expected = generator(z, truncation_psi=0.7)
            torch.testing.assert_close(picture, expected, **TOLERANCE)
        expected = load_discriminator(model)(picture)
        torch.testing.assert_close(networks["D"](picture, None), expected, **TOLERANCE)


@pytest.mark.parametrize("model", ZOO)
# H14
def test_nvidias_tensors_alone_draw_the_same(tmp_path, model):
    out = tmp_path / "stylegan2.pkl"
    export_model(model, "nvidia", out)
    tensors = independent_readers.nvidia_tensors(out.read_bytes(), "G_ema")
    z = torch.randn(2, 128)
    w = independent_readers.nvidia_w(tensors, z, psi=0.7)
    expected = load_generator(model)(z, truncation_psi=0.7)
    picture = independent_readers.nvidia_picture(tensors, w)
    torch.testing.assert_close(picture, expected, **TOLERANCE)
    assert all(name.endswith("resample_filter") for name in tensors.unused)


@pytest.mark.parametrize("model", ZOO)
# H14
def test_rosinalitys_tensors_alone_draw_and_judge_the_same(tmp_path, model):
    out = tmp_path / "a.pt"
    export_model(model, "rosinality", out)
    file = torch.load(out, weights_only=True)
    g_ema, d, z = Tensors(file["g_ema"]), Tensors(file["d"]), torch.randn(2, 128)
    w = independent_readers.rosinality_w(g_ema, z, file["latent_avg"], psi=0.7)
    picture = independent_readers.rosinality_picture(g_ema, w)
    expected = load_generator(model)(z, truncation_psi=0.7)
    torch.testing.assert_close(picture, expected, **TOLERANCE)
    logits = independent_readers.rosinality_logits(d, picture)
    torch.testing.assert_close(logits, load_discriminator(model)(picture), **TOLERANCE)
    assert not g_ema.unused and not d.unused  # nothing that a strict loading would refuse


@pytest.mark.parametrize("options", DISCRIMINATORS.values(), ids=DISCRIMINATORS.keys())
# H14
def test_the_exported_source_computes_what_our_networks_compute(tmp_path, options):
    shared = ("img_size", "c_dim", "img_channels", "conv_clamp", "low_precision_blocks")
    shared = {name: options[name] for name in shared if name in options}
    generator, discriminator = made(Generator, **shared), made(Discriminator, **options)
    z, labels = torch.randn(4, 10), torch.eye(3)[:4] if generator.c_dim else None
    labels = None if labels is None else torch.cat([labels, labels[:1]])
    data = nvidia_bytes(tmp_path, generator, discriminator)
    with nvidia_packages():
        networks = load_network_pkl(data)
        picture = networks["G_ema"](z, labels, truncation_psi=0.5, noise_mode="const")
        expected = generator(z, labels, truncation_psi=0.5)
        torch.testing.assert_close(picture, expected, rtol=1e-4, atol=1e-4)
        logits = networks["D"](expected, labels)
        torch.testing.assert_close(logits, discriminator(expected, labels), rtol=1e-4, atol=1e-4)


@fixtures.needs_fixtures
def test_the_exported_source_computes_what_nvidias_computes(tmp_path):
    out, given = tmp_path / "stylegan2.pkl", fixtures.arrays(fixtures.NVIDIA)
    export_model(fixtures.NVIDIA, "nvidia", out)
    with nvidia_packages():
        networks = load_network_pkl(out.read_bytes())
        generator, discriminator = networks["G_ema"], networks["D"]
        ws = generator.mapping(given["z"], None)
        in_generator = fixtures.layers(
            generator, lambda: generator.synthesis(ws, noise_mode="const")
        )
        real = given["real"]
        in_discriminator = fixtures.layers(discriminator, lambda: discriminator(real, None))
        outputs = {
            "w": ws,
            "w_trunc05_cut4": generator.mapping(given["z"], None, 0.5, 4),
            "img_none": generator.synthesis(ws, noise_mode="none"),
            "img_wplus_const": generator.synthesis(given["wplus"], noise_mode="const"),
            "logits_real": discriminator(real, None),
            **{f"G_ema:{name}": tensor for name, tensor in in_generator.items()},
            **{f"D:{name}": tensor for name, tensor in in_discriminator.items()},
        }
    fixtures.compare({n: t for n, t in outputs.items() if n in given}, given)
    layers = {name for name in given if name.startswith(("G_ema:synthesis.", "D:b"))}
    assert layers <= outputs.keys()


@fixtures.needs_fixtures
def test_a_file_of_rosinalitys_is_written_as_that_program_wrote_it(tmp_path):
    export_model(fixtures.ROSINALITY, "rosinality", tmp_path / "a.pt")
    written = torch.load(tmp_path / "a.pt", weights_only=True)
    with torch.serialization.safe_globals([argparse.Namespace]):
        original = torch.load(fixtures.ROSINALITY, weights_only=True)
    for network in ("g_ema", "d"):  # every key that a strict loading asks for, and its numbers
        assert written[network].keys() == original[network].keys()
        for name, tensor in original[network].items():
            assert torch.equal(written[network][name], tensor), name


# What programs do with the objects


def test_objects_and_rebuilt_ones_can_be_stored_for_other_processes(tmp_path):
    z, data = torch.randn(2, 10), nvidia_bytes(tmp_path, made(Generator))
    with nvidia_packages():
        first = load_network_pkl(data)["G_ema"]
        rebuilt = type(first)(**first.init_kwargs).eval()
        rebuilt.load_state_dict(first.state_dict())
        picture = first(z, None, noise_mode="const")
        stored = pickle.dumps([first, rebuilt, first.synthesis.b8.conv0])
    with nvidia_packages():  # nothing is known any more of the classes made before
        *networks, layer = pickle.loads(stored)
        for network in networks:
            assert torch.equal(network(z, None, noise_mode="const"), picture)
        assert torch.equal(layer.weight, networks[0].synthesis.b8.conv0.weight)


def test_objects_can_be_copied_moved_and_trained(opened):
    copied = copy.deepcopy(opened).to(torch.device("cpu")).train().requires_grad_(True)
    assert not any(parameter.requires_grad for parameter in opened.parameters())
    copied(torch.randn(2, 10), None, noise_mode="random").square().mean().backward()
    assert all(parameter.grad is not None for parameter in copied.parameters())


def test_projectors_find_gradients_to_styles_and_noise(opened):
    ws = opened.mapping.w_avg.repeat(2, opened.mapping.num_ws, 1).requires_grad_()
    buffers = dict(opened.synthesis.named_buffers())
    noises = [buffer for name, buffer in buffers.items() if "noise_const" in name]
    for noise in noises:
        noise.requires_grad = True
    opened.synthesis(ws, noise_mode="const", force_fp32=True).square().mean().backward()
    assert len(noises) == 7
    assert all(tensor.grad.abs().sum() > 0 for tensor in (ws, *noises))


@pytest.mark.parametrize(
    ("mapping", "synthesis"),
    [
        ({"skip_w_avg_update": True}, {"fused_modconv": True, "force_fp32": True}),
        ({"update_emas": False}, {"fused_modconv": False, "update_emas": False}),
    ],
    ids=["stylegan2-ada-pytorch", "stylegan3"],
)
def test_arguments_of_both_programs_are_taken(opened, mapping, synthesis):
    z = torch.randn(2, 10)
    ws = opened.mapping(z=z, c=None, truncation_psi=0.7, truncation_cutoff=4, **mapping)
    picture = opened.synthesis(ws, noise_mode="const", **synthesis)
    whole = opened(z, None, truncation_psi=0.7, truncation_cutoff=4, noise_mode="const")
    assert torch.equal(picture, whole)
    assert torch.equal(picture, opened(z=z, c=None, truncation_psi=0.7, truncation_cutoff=4,
                                       noise_mode="const", **synthesis))  # fmt: skip


def test_the_mean_style_follows_only_on_demand(opened):
    before, z = opened.mapping.w_avg.clone(), torch.randn(64, 10)
    w = opened.train().mapping(z, None)[:, 0]
    assert torch.equal(opened.mapping.w_avg, before)
    opened.mapping(z, None, update_emas=True)
    expected = 0.998 * before + 0.002 * w.mean(dim=0)
    torch.testing.assert_close(opened.mapping.w_avg, expected)


def test_attributes_are_those_that_tools_look_up(opened):
    assert (opened.z_dim, opened.c_dim, opened.w_dim) == (10, 0, 10)
    assert (opened.img_resolution, opened.img_channels, opened.num_ws) == (32, 3, 8)
    assert opened.synthesis.block_resolutions == [4, 8, 16, 32]
    assert [opened.synthesis.b4.num_conv, opened.synthesis.b8.num_conv] == [1, 2]
    assert not opened.training


def test_dragan_can_build_its_own_network_from_the_arguments(opened):
    assert opened.init_args == ()
    arguments = dict(opened.init_kwargs)
    mapping, synthesis = arguments.pop("mapping_kwargs"), arguments.pop("synthesis_kwargs")
    assert arguments.keys() == {"z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"}
    assert mapping == {"num_layers": 2, "w_avg_beta": 0.998}
    assert synthesis == {"channel_base": 64, "channel_max": 8, "num_fp16_res": 0,
                         "conv_clamp": None}  # fmt: skip


@pytest.mark.parametrize("flat", [False, True])
def test_legacy_loaders_can_rebuild_it_in_half_precision(opened, flat):
    arguments = copy.deepcopy(dict(opened.init_kwargs))
    (arguments if flat else arguments["synthesis_kwargs"]).update(num_fp16_res=4, conv_clamp=256)
    if flat:  # the way of stylegan3, where there is no group
        arguments = {**arguments.pop("synthesis_kwargs"), **arguments}
    rebuilt = type(opened)(**arguments).eval()
    rebuilt.load_state_dict(opened.state_dict())
    assert [rebuilt.synthesis.b4.use_fp16, rebuilt.synthesis.b8.use_fp16] == [False, True]
    assert rebuilt.synthesis.b8.conv0.conv_clamp == 256


def test_half_precision_blocks_neither_overflow_nor_drift(monkeypatch):
    arguments = {"w_dim": 10, "img_resolution": 32, "img_channels": 3, "channel_base": 256}
    torch.manual_seed(0)
    network = exported.SynthesisNetwork(**arguments, num_fp16_res=3, conv_clamp=256)
    network.requires_grad_(False).b16.conv0.weight.mul_(1e4)
    network.b16.conv0.affine.bias.mul_(1e4)
    ws = torch.randn(2, network.num_ws, 10)
    expected = network(ws, noise_mode="const")
    half = lambda use_fp16, force_fp32, x: torch.float16 if use_fp16 else torch.float32  # noqa: E731
    monkeypatch.setattr(exported, "_dtype", half)  # as on a GPU
    picture = network(ws, noise_mode="const")
    assert not torch.equal(picture, expected)
    torch.testing.assert_close(picture, expected, rtol=0, atol=0.01 * expected.std().item())


def test_a_file_without_discriminator_says_so_where_one_is_asked(tmp_path):
    data = nvidia_bytes(tmp_path, made(Generator))
    with nvidia_packages():
        nobody = load_network_pkl(data)["D"].eval().requires_grad_(False)
        assert not list(nobody.state_dict())
        with pytest.raises(RuntimeError, match="without a discriminator"):
            nobody(torch.zeros(1, 3, 32, 32), None)
    with pytest.raises(UserError, match="has no discriminator"):
        load_discriminator(tmp_path / "stylegan2.pkl")


def test_the_source_is_for_old_pythons_and_stands_alone():
    tree = ast.parse(Path(exported.__file__).read_text("utf-8"), feature_version=(3, 7))
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert modules == {
        "__future__", "math", "torch", "torch.nn.functional", "torch_utils.persistence"
    }  # fmt: skip


def test_exporting_leaves_no_module_of_others_behind(tmp_path):
    nvidia_bytes(tmp_path, made(Generator), made(Discriminator))
    load_generator(tmp_path / "stylegan2.pkl")
    foreign = ("torch_utils", "dnnlib", "legacy", "_from_a_file_", "_imported_module_")
    assert not [name for name in sys.modules if name.startswith(foreign)]


# What is refused, what is said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"c_dim": 3}, "no labels"),
        ({"img_channels": 1}, "RGB only"),
        ({"img_size": (24, 32)}, "squares"),
        ({"img_size": 40}, "squares"),
        ({"z_dim": 12}, "as long as w"),
    ],
)
def test_what_rosinality_cannot_express_is_refused_in_one_line(tmp_path, options, words):
    with pytest.raises(UserError, match=words) as caught:
        export_networks(made(Generator, **options), None, "rosinality", tmp_path / "a.pt")
    assert "\n" not in str(caught.value) and "export to nvidia" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [{"architecture": "orig"}, {"mbstd_group_size": 0}, {"c_dim": 3}]
)
def test_a_discriminator_that_rosinality_has_not_is_left_out(tmp_path, options):
    out = tmp_path / "a.pt"
    notes = export_networks(made(Generator), made(Discriminator, **options), "rosinality", out)
    assert sum("discriminator is left out" in note for note in notes) == 1
    assert torch.load(out, weights_only=True).keys() == {"g_ema", "latent_avg"}


def test_no_file_is_overwritten_and_no_target_guessed(tmp_path):
    out = tmp_path / "a.pkl"
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"a\.pkl: already there"):
        export_networks(made(Generator), None, "nvidia", out)
    assert out.read_bytes() == b"mine"
    with pytest.raises(UserError, match="to tensorflow: give one of nvidia, rosinality, onnx"):
        export_networks(made(Generator), None, "tensorflow", tmp_path / "b.pkl")


def notes_of(tmp_path, to, name="a.pkl", **options):
    return " ".join(export_networks(made(Generator, **options), None, to, tmp_path / name))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "DragGAN's window draws z of 512 numbers; this generator takes 10."),
        ({}, "DragGAN drags features of 128 px"),
        ({}, "stylegan2 in their name"),
        ({}, "D in the file is empty"),
        ({"img_size": (24, 32)}, "Pictures of 32x24"),
        ({"img_channels": 1}, "these have 1."),
        ({"low_precision": "bfloat16", "low_precision_blocks": 1}, "bfloat16 is not known there"),
    ],
)
def test_what_the_user_is_told_of_nvidias_file(tmp_path, options, words):
    assert words in notes_of(tmp_path, "nvidia", **options)


def test_a_file_that_draggan_opens_is_not_grumbled_at(tmp_path):
    options = {"img_size": 128, "z_dim": 512}
    notes = notes_of(tmp_path, "nvidia", "stylegan2-cars.pkl", **options)
    assert "DragGAN" not in notes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--size 32, latent 10 where they say 512, n_mlp 2 where they say 8, in model.py"),
        ({}, "channels {4: 8, 8: 8, 16: 4, 32: 2}"),
        ({"conv_clamp": 256.0}, "clamp at 256 is lost"),
        ({"low_precision_blocks": 1}, "runs in float32 there"),
    ],
)
def test_what_the_user_is_told_of_rosinalitys_file(tmp_path, options, words):
    assert words in notes_of(tmp_path, "rosinality", **options)


@pytest.mark.parametrize(("base", "told"), [(32768, ""), (16384, ", --channel_multiplier 1")])
def test_the_usual_sizes_are_told_shortly(tmp_path, base, told):
    usual = {"z_dim": 512, "w_dim": 512, "mapping_layers": 8, "channel_max": 512}
    with torch.device("meta"):
        generator = Generator(64, **usual, channel_base=base)
    assert rosinality_writer._arguments(generator.config) == (
        f"Tell rosinality's scripts: --size 64{told}."
    )


# The pickles themselves


def test_values_of_every_kind_and_size_arrive():
    value = {
        "numbers": [0, 255, 256, 65535, 65536, -1, -(2**31), 2**31, 2**80, -(2**80), 1.5, -0.0],
        "plain": (None, True, False, "ä\ud800", b"", b"x" * 300, "t" * 70000),
        "nested": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {"a": {"b": ()}}, {1, 2}],
        "table": OrderedDict(b=1, a=2),
        **{f"key {i}": f"text {i % 400}" for i in range(800)},  # more than one byte of memo
    }
    file = io.BytesIO()
    write_pickle(file, value)
    loaded = pickle.loads(file.getvalue())
    assert loaded == value and list(loaded["table"]) == ["b", "a"]
    assert type(loaded["table"]) is OrderedDict and type(loaded["plain"][1]) is bool


def test_pieces_are_one_bytes_object_and_calls_are_calls():
    pieces, file = Pieces((b"ab", memoryview(b"cd"))), io.BytesIO()
    pair = Call(Name("builtins", "complex"), (1.0, 2.0))
    write_pickle(file, [pieces, pieces, pair, Call(Name("collections", "Counter"), (), {"a": 3})])
    first, second, number, counter = pickle.loads(file.getvalue())
    assert first == b"abcd" and first is second
    assert number == 1 + 2j and counter == {"a": 3}


def test_anything_else_is_a_mistake():
    with pytest.raises(TypeError, match="a Tensor is not written"):
        write_pickle(io.BytesIO(), [torch.zeros(1)])
