"""Files unlike the usual: not square, labels, no noise, bare state dicts, other designs."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import load_discriminator, load_generator, load_training_generator
from framework.formats.architecture import WHOLE_BATCH, discriminator_config, generator_config
from framework.formats.model_folder import build, save_model_folder
from framework.formats.opening import open_model
from framework.models.stylegan2 import Discriminator, Generator
from tests.formats.nvidia_layout import Module, as_module, made, module_of, torch_save, write

HUMAN = {"square": False}  # StyleGAN-Human: twice as high as wide, of a smallest block 4 high
PEOPLE, FIVE_BY_THREE = (32, 16), (40, 24)


def shapes_of(network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def refusal(call, *arguments, kind=UserError) -> str:
    with pytest.raises(kind) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same_pictures(loaded: Generator, original: Generator, noise_mode="const"):
    ws = torch.randn(2, original.num_ws, original.w_dim)
    expected = original.synthesis(ws, noise_mode=noise_mode)
    assert torch.equal(loaded.synthesis(ws, noise_mode="const"), expected)
    z = torch.randn(2, original.z_dim)
    labels = torch.eye(original.c_dim)[:2] if original.c_dim else None
    assert torch.equal(loaded.mapping(z, labels), original.mapping(z, labels))


def assert_same_scores(loaded: Discriminator, original: Discriminator):
    images = torch.randn(4, original.img_channels, *original.img_size)
    labels = torch.eye(4)[:, : original.c_dim] if original.c_dim else None
    assert torch.equal(loaded(images, labels), original(images, labels))


# Pictures that are not square


FORKS = {
    "StyleGAN-Human": (PEOPLE, HUMAN),
    "eps696, high": (FIVE_BY_THREE, {"init_res": [5, 3]}),
    "eps696, wide": ((24, 40), {"init_res": (3, 5)}),
    "a side as resolution": ((24, 32), {"img_resolution": 32}),
    "both sides as resolution": ((24, 32), {"img_resolution": [32, 24]}),
    "silent": (PEOPLE, {}),
}


@pytest.mark.parametrize("fork", FORKS)
def test_shapes_say_the_sides(tmp_path, fork):
    size, said = FORKS[fork]
    g, d = made(Generator, size), made(Discriminator, size)
    file = write(
        tmp_path / "model.pkl", {n: as_module(m, **said) for n, m in {"G_ema": g, "D": d}.items()}
    )
    generator, discriminator = load_generator(file), load_discriminator(file)
    assert generator.img_size == discriminator.img_size == size
    assert_same_pictures(generator, g)
    assert_same_scores(discriminator, d)


@pytest.mark.parametrize(
    ("size", "said"),
    [(PEOPLE, HUMAN), (FIVE_BY_THREE, {"init_res": [5, 3]}), ((24, 32), {"img_size": [24, 32]}),
     ((20, 20), {})],
)  # fmt: skip
def test_a_discriminator_alone_takes_its_sides_from_what_is_said(tmp_path, size, said):
    d = made(Discriminator, size)
    assert_same_scores(
        load_discriminator(write(tmp_path / "d.pkl", {"D": as_module(d, **said)})), d
    )


def test_a_discriminator_alone_whose_sides_nobody_says(tmp_path):
    file = write(tmp_path / "d.pkl", {"D": as_module(made(Discriminator, (24, 32)))})
    assert "12 pixels, and nothing in the file says" in refusal(load_discriminator, file)


@pytest.mark.parametrize(
    "said",
    [{"square": True}, {"img_resolution": 64}, {"init_res": [4, 4]}, {"img_size": [64, 32]},
     {"img_resolution": [32, 32]}],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Generator, Discriminator])
def test_sides_that_contradict_the_shapes(tmp_path, kind, said):
    network = as_module(made(kind, PEOPLE), **{**HUMAN, **said})
    file = write(tmp_path / "m.pkl", network)
    assert "it says" in refusal(open_model, file, kind=BrokenCheckpoint)


def test_a_smallest_block_that_is_too_long():
    shapes = shapes_of(made(Generator, 32)) | {"synthesis.b4.const": (12, 4, 8)}
    words = refusal(generator_config, shapes, {"init_res": [4, 8]}, "file")
    assert "64x32 pictures from a smallest block of 8x4" in words


# Labels, channels, noise, statistics


@pytest.mark.parametrize(
    ("g_options", "d_options"),
    [
        ({"c_dim": 4}, {"c_dim": 4, "mapping_layers": 3}),
        ({"z_dim": 10, "c_dim": 3}, {"c_dim": 3, "mapping_layers": 1}),
        ({"z_dim": 17, "w_dim": 5}, {"mbstd_group_size": 2}),
        ({"img_channels": 1}, {"img_channels": 1}),
        ({"img_channels": 4}, {"img_channels": 4}),
        ({"channel_base": 100, "channel_max": 500}, {"channel_base": 77, "channel_max": 9}),
        ({}, {"architecture": "orig"}),
        ({}, {"mbstd_group_size": 0}),
        ({}, {"mbstd_group_size": WHOLE_BATCH}),
    ],
)
def test_all_kinds_of_networks(tmp_path, g_options, d_options):
    g, d = made(Generator, 16, **g_options), made(Discriminator, 16, **d_options)
    more = {}
    if d_options.get("mbstd_group_size") == 0:
        more = {"epilogue_kwargs": {"mbstd_num_channels": 0}}
    if d_options.get("mbstd_group_size") == WHOLE_BATCH:
        more = {"epilogue_kwargs": {"mbstd_group_size": None}}
    if "architecture" in d_options:
        more = {"architecture": "orig"}
    file = write(tmp_path / "model.pkl", {"G_ema": as_module(g), "D": as_module(d, **more)})
    loaded, opponent = load_generator(file), load_discriminator(file)
    assert_same_pictures(loaded, g)
    assert_same_scores(opponent, d)
    assert torch.equal(loaded.mapping.w_avg, g.mapping.w_avg)
    for name in ("mbstd_group_size", "architecture", "channel_base", "channel_max"):
        assert opponent.config[name] == d.config[name]


def test_a_model_folder_keeps_the_plain_design_and_older_ones_still_open(tmp_path):
    plain, usual = made(Discriminator, 16, architecture="orig"), made(Discriminator, 16)
    save_model_folder(tmp_path, made(Generator, 16), plain)
    assert_same_scores(load_discriminator(tmp_path), plain)
    older = {name: value for name, value in usual.config.items() if name != "architecture"}
    assert_same_scores(build("discriminator", older, usual.state_dict(), "older"), usual)


def without(tensors: dict, *endings: str) -> dict:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(endings)}


def test_a_generator_without_noise(tmp_path):
    g = made(Generator, PEOPLE)
    quiet = without(g.state_dict(), "noise_const", "noise_strength")
    file = write(tmp_path / "quiet.pkl", module_of(quiet, "Generator", {"use_noise": False}))
    loaded = load_generator(file)
    assert_same_pictures(loaded, g, noise_mode="none")
    ws = torch.randn(1, g.num_ws, g.w_dim)
    pictures = [loaded.synthesis(ws, noise_mode=mode) for mode in ("random", "none")]
    assert torch.equal(*pictures)
    assert any("no noise" in note for note in loaded.provenance["notes"])


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ((".noise_const", ".noise_strength"), {"use_noise": True}),
        ((".noise_const",), {}),
        ((".noise_strength",), {}),
        (("b8.conv0.noise_const", "b8.conv0.noise_strength"), {}),
    ],
)
def test_noise_that_was_lost_is_damage(tmp_path, lost, said):
    tensors = without(made(Generator, 16).state_dict(), *lost)
    file = write(tmp_path / "m.pkl", module_of(tensors, "Generator", said))
    assert "noise" in refusal(load_generator, file, kind=BrokenCheckpoint)


@pytest.mark.parametrize("c_dim", [0, 3])
def test_a_generator_that_never_kept_its_mean_style(tmp_path, c_dim):
    g = made(Generator, 16, c_dim=c_dim)
    tensors = without(g.state_dict(), "w_avg")
    file = write(tmp_path / "m.pkl", module_of(tensors, "Generator", {"w_avg_beta": None}))
    loaded = load_generator(file)
    torch.manual_seed(1)
    labels = torch.eye(c_dim).repeat(3000, 1) if c_dim else None
    w = g.mapping(torch.randn(3000 * max(c_dim, 1), 6), labels)[:, 0]
    off = (loaded.mapping.w_avg - w.mean(dim=0)).abs() / w.std(dim=0)
    assert off.max() < 0.1 and loaded.mapping.w_avg.abs().max() > 0.3 * w.std()
    assert any("no w_avg" in note for note in loaded.provenance["notes"])


# Networks alone, and in torch's containers


def test_a_table_of_one_and_a_network_alone(tmp_path):
    g, d = made(Generator, 16), made(Discriminator, 16)
    for value, network in (({"G_ema": as_module(g)}, g), (as_module(g), g)):
        assert_same_pictures(load_generator(write(tmp_path / "m.pkl", value)), network)
    for value in ({"D": as_module(d)}, as_module(d)):
        assert_same_scores(load_discriminator(write(tmp_path / "m.pkl", value)), d)


def test_only_the_trained_generator(tmp_path):
    g = made(Generator, 16)
    file = write(tmp_path / "m.pkl", {"G": as_module(g), "D": None, "G_ema": None})
    loaded = load_generator(file)
    assert_same_pictures(loaded, g)
    assert "no averaged generator" in loaded.provenance["notes"][0]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_as_pti_saves_it(tmp_path, zipped):
    g = made(Generator, 16)
    assert_same_pictures(load_generator(torch_save(tmp_path / "pti.pt", as_module(g), zipped)), g)


def test_arguments_left_to_their_default_are_read_off_the_modules(tmp_path):
    g, d = as_module(made(Generator, 16)), as_module(made(Discriminator, 16), epilogue_kwargs={})
    for r in (4, 8, 16):
        g.child(f"synthesis.b{r}").state["use_fp16"] = r > 8
        g.child(f"synthesis.b{r}.conv1").state["conv_clamp"] = 256
    g.child("mapping").state["w_avg_beta"] = 0.9
    d.child("b4.mbstd").state["group_size"] = None
    d.child("b16.conv1").state["conv_clamp"] = 128
    file = write(tmp_path / "m.pkl", {"G_ema": g, "D": d})
    config, opponent = load_generator(file).config, load_discriminator(file).config
    assert (config["low_precision_blocks"], config["conv_clamp"], config["w_avg_beta"]) == (
        1,
        256,
        0.9,
    )
    assert (opponent["mbstd_group_size"], opponent["conv_clamp"]) == (WHOLE_BATCH, 128)


# Bare state dicts


def prefixed(prefix: str, network) -> dict:
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.fixture
def g():
    return made(Generator, PEOPLE)


@pytest.fixture
def d():
    return made(Discriminator, PEOPLE)


WRAPPED = {
    "bare": lambda g: g.state_dict(),
    "data parallel": lambda g: prefixed("module.", g),
    "compiled": lambda g: prefixed("_orig_mod.", g),
    "both": lambda g: prefixed("module._orig_mod.", g),
    "compiled within": lambda g: {
        name.replace("synthesis.", "synthesis._orig_mod."): t for name, t in g.state_dict().items()
    },
    "in a table": lambda g: {"generator": g.state_dict(), "step": 3},
    "Lightning": lambda g: {"state_dict": prefixed("G_ema.", g), "epoch": 1},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_state_dicts_are_known_by_their_names(tmp_path, g, wrapped):
    loaded = load_generator(torch_save(tmp_path / "weights.bin", WRAPPED[wrapped](g)))
    assert_same_pictures(loaded, g)
    assert loaded.config["conv_clamp"] is None
    assert any("no arguments" in note for note in loaded.provenance["notes"])


def test_a_checkpoint_of_all_networks(tmp_path, g, d):
    trained = made(Generator, PEOPLE, seed=4)
    value = {
        "G": trained.state_dict(),
        "D": d.state_dict(),
        "ema": g.state_dict(),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }
    file = torch_save(tmp_path / "run.pt", value)
    assert_same_pictures(load_generator(file), g)
    assert_same_pictures(load_training_generator(file), trained)
    assert_same_scores(load_discriminator(file), d)
    assert any("1, such as optimizer.state.0" in note for note in open_model(file).notes)


def test_a_discriminators_state_dict_alone(tmp_path):
    d = made(Discriminator, 16, architecture="orig", c_dim=3)
    assert_same_scores(load_discriminator(torch_save(tmp_path / "d.pt", d.state_dict())), d)


def test_parameters_without_constants(tmp_path, g):
    file = torch_save(tmp_path / "g.pt", without(g.state_dict(), "resample_filter"))
    assert_same_pictures(load_generator(file), g)


def test_two_generators_and_no_word_which(tmp_path, g):
    file = torch_save(tmp_path / "two.pt", {"a": g.state_dict(), "b": g.state_dict()})
    words = refusal(open_model, file)
    assert "several networks" in words and "'a.', 'b.'" in words


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_safetensors_of_other_programs(tmp_path, g, d, suffix):
    file = tmp_path / f"model.{suffix}"
    save_file({**prefixed("G_ema.", g), **prefixed("D.", d)}, file, metadata={"format": "pt"})
    assert_same_pictures(load_generator(file), g)
    assert_same_scores(load_discriminator(file), d)


def test_half_precision_of_other_programs(tmp_path, g):
    file = tmp_path / "half.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in g.state_dict().items()}, file)
    weight = load_generator(file).synthesis.b8.conv0.weight
    assert torch.equal(weight, g.synthesis.b8.conv0.weight.bfloat16().float())


def header(**rows) -> bytes:
    text = json.dumps(rows).encode()
    return struct.pack("<Q", len(text)) + text


ROW = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NAME = "synthesis.b4.const"


@pytest.mark.parametrize(
    "data",
    [
        header(**{NAME: ROW}) + bytes(4),
        header(**{NAME: {**ROW, "data_offsets": [8, 0]}}) + bytes(8),
        header(**{NAME: {**ROW, "data_offsets": [-8, 8]}}) + bytes(8),
        header(**{NAME: {**ROW, "data_offsets": [0.0, 8.0]}}) + bytes(8),
        header(**{NAME: {**ROW, "shape": [3]}}) + bytes(8),
        header(**{NAME: {**ROW, "shape": [-2]}}) + bytes(8),
        header(**{NAME: {**ROW, "shape": 2}}) + bytes(8),
        header(**{NAME: {**ROW, "shape": [1]}}) + bytes(8),
        header(**{NAME: {**ROW, "dtype": "C64"}}) + bytes(8),
        header(**{NAME: {**ROW, "dtype": []}}) + bytes(8),
        header(**{NAME: [1]}) + bytes(8),
        header(**{NAME: {}}),
        struct.pack("<Q", 9) + b'{"a": 1',
        struct.pack("<Q", 2) + b"{]",
        struct.pack("<Q", 9_000_000) + b"{" * 9_000_000,
        struct.pack("<Q", 200_000) + b'{"a":' * 40_000,
    ],
    ids=range(16),
)
def test_broken_safetensors(tmp_path, data):
    for suffix in ("bin", "safetensors"):
        file = tmp_path / f"broken.{suffix}"
        file.write_bytes(data)
        words = refusal(open_model, file, kind=BrokenCheckpoint)
        assert str(file) in words and "safetensors file" in words


def test_tensors_over_the_same_bytes_are_refused(tmp_path, g):
    rows, size = {}, 0
    for name, tensor in g.state_dict().items():
        size = max(size, 4 * tensor.numel())
        rows[name] = {
            "dtype": "F32",
            "shape": [*tensor.shape],
            "data_offsets": [0, 4 * tensor.numel()],
        }
    file = tmp_path / "alias.bin"
    file.write_bytes(header(**rows) + b"\1" * size)
    assert "more bytes than the file has" in refusal(load_generator, file, kind=BrokenCheckpoint)


# What is no StyleGAN2


def marked(**tensors: int) -> Module:
    names = {name.replace("__", "."): torch.zeros(size) for name, size in tensors.items()}
    return module_of(names, "Generator")


def style_gan_xl() -> Module:
    module = marked(synthesis__input__freqs=2, mapping__embed_proj__weight=4)
    module.child("mapping").state["_modules"]["embed"] = torch.nn.Embedding(3, 2)
    return module


OTHERS = {
    "a StyleGAN3 generator": lambda: marked(synthesis__input__freqs=2, synthesis__L0__weight=3),
    "a StyleGAN-XL generator": style_gan_xl,
    "an EG3D generator": lambda: module_of(prefixed("backbone.", made(Generator, 16)), "TriPlane"),
}


@pytest.mark.parametrize("words", OTHERS)
def test_other_designs_are_refused_by_name(tmp_path, words):
    for value in ({"G_ema": OTHERS[words]()}, OTHERS[words]()):
        file = write(tmp_path / "other.pkl", value)
        assert f"this is {words}; only StyleGAN2 is supported" in refusal(open_model, file)


def test_an_unknown_generator_is_told_by_its_class_and_names(tmp_path):
    file = write(tmp_path / "other.pkl", {"G_ema": marked(main__weight=3)})
    words = "Generator is not a StyleGAN2 generator; it holds main.weight"
    assert words in refusal(open_model, file)


def test_eg3d_by_its_state_dict(tmp_path):
    tensors = prefixed("backbone.", made(Generator, 16)) | {"decoder.net.0.weight": torch.zeros(3)}
    assert "EG3D" in refusal(open_model, torch_save(tmp_path / "eg3d.pt", tensors))


def test_files_of_other_kinds_are_told_by_what_is_in_them(tmp_path):
    layers = {f"layers.{i}.weight": torch.zeros(2) for i in range(9)}
    words = refusal(open_model, torch_save(tmp_path / "x.pt", {"model": layers, "step": 3}))
    assert "2 entries, such as model, step; model holds layers.0.weight, " in words
    assert "layers.4.weight" in words and "layers.5.weight" not in words
    words = refusal(open_model, torch_save(tmp_path / "x.pt", torch.zeros(3)))
    assert "a tensor of shape (3,)" in words


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (Generator, {"synthesis.b8.skip.weight": (12, 12, 1, 1)}, "only some of its blocks"),
        (Generator, {"synthesis.b8.torgb.weight": None}, "only some of its blocks"),
        (Generator, {"synthesis.b8.skip.weight": (12, 12, 1, 1),
                     "synthesis.b16.skip.weight": (8, 12, 1, 1)}, "shortcuts and colours"),
        (Generator, {"synthesis.b8.conv1.weight": (12, 12, 5, 5)}, "kernels of 5x5"),
        (Generator, {"synthesis.b8.conv0.resample_filter": (6, 6)}, "only 4x4 is known"),
        (Generator, {"mapping.fc0.weight": (9, 6)}, "gives 9 numbers; only 10"),
        (Generator, {"mapping.embed.weight": (7, 3)}, "embedded in 7 numbers; only 10"),
        (Generator, {"synthesis.b8.conv1.weight": (5, 12, 3, 3)}, "follow no min"),
        (Discriminator, {"b8.fromrgb.weight": (12, 3, 1, 1)}, "architecture skip; only resnet and"),
        (Discriminator, {"b4.conv.weight": (12, 16, 3, 3)}, "4 statistics maps"),
        (Discriminator, {"b4.fc.weight": (30, 192)}, "hidden layer is 30 wide"),
        (Discriminator, {"b4.out.weight": (5, 12)}, "gives 5 numbers and not 1"),
        (Discriminator, {"mapping.embed.weight": (7, 3)}, "embedded in 7 numbers; only 12"),
        (Discriminator, {"mapping.embed.weight": (12, 3)}, "gives 1 numbers and not 12"),
    ],
)  # fmt: skip
def test_designs_that_only_shapes_give_away(kind, changes, words):
    shapes = {n: s for n, s in {**shapes_of(made(kind, 16)), **changes}.items() if s is not None}
    read = generator_config if kind is Generator else discriminator_config
    assert words in refusal(read, shapes, {}, "file")


@pytest.mark.parametrize(
    ("kind", "claims", "words"),
    [
        (Generator, {"mapping_kwargs": {"activation": "relu"}, "activation": "lrelu"}, "relu"),
        (Generator, {"synthesis_kwargs": {"architecture": "resnet"}}, "says architecture resnet"),
        (Generator, {"mapping_kwargs": {"num_layers": 8}}, "says num_layers 8"),
        (Generator, {"lr_multiplier": 0.1}, "lr_multiplier 0.1"),
        (Generator, {"w_dim": 512}, "says w_dim 512"),
        (Generator, {"c_dim": 3}, "says c_dim 3"),
        (Generator, {"img_channels": 1}, "says img_channels 1"),
        (Discriminator, {"architecture": "orig"}, "says architecture orig"),
        (Discriminator, {"epilogue_kwargs": {"mbstd_num_channels": 2}}, "mbstd_num_channels 2"),
        (Discriminator, {"epilogue_kwargs": {"activation": "relu"}}, "activation relu"),
        (Discriminator, {"c_dim": 3}, "says c_dim 3"),
    ],
)
def test_claims_that_do_not_fit(kind, claims, words):
    read = generator_config if kind is Generator else discriminator_config
    assert words in refusal(read, shapes_of(made(kind, 16)), claims, "file")


def test_damage_that_only_shapes_give_away():
    shapes = shapes_of(made(Discriminator, 16))
    del shapes["b8.skip.weight"]
    assert "only some" in refusal(discriminator_config, shapes, {}, "f", kind=BrokenCheckpoint)
    shapes = shapes_of(made(Discriminator, 16)) | {"b4.fc.weight": (12, 191)}
    assert "191 numbers" in refusal(discriminator_config, shapes, {}, "f", kind=BrokenCheckpoint)


def test_arguments_without_a_meaning_for_shapes():
    shapes = shapes_of(made(Generator, 16))

    def config(**claims):
        return generator_config(shapes, claims, "file")

    assert config(num_fp16_res=9)["low_precision_blocks"] == 2
    assert config(num_fp16_res=None, conv_clamp=None)["low_precision_blocks"] == 0
    assert config(conv_clamp=None)["conv_clamp"] is None
    assert config(conv_clamp=256)["conv_clamp"] == 256.0
    assert config(conv_clamp=float("nan"))["conv_clamp"] is None
    assert config(w_avg_beta=None)["w_avg_beta"] == config()["w_avg_beta"] == 0.998
    assert config(synthesis_kwargs={"num_fp16_res": 1})["low_precision_blocks"] == 1
    unlabelled = shapes_of(made(Discriminator, 16))
    # Without labels NVIDIA's programs look at none of these.
    claims = {"cmap_dim": 7, "mapping_kwargs": {"num_layers": 5, "lr_multiplier": 0.1}}
    assert discriminator_config(unlabelled, claims, "file")["c_dim"] == 0


@pytest.mark.parametrize("base", [*range(33, 70, 3), 128, 1000, 5000])
@pytest.mark.parametrize("most", [5, 16, 64])
def test_every_width_is_found_again(base, most):
    channels = {r: max(1, min(base // r, most)) for r in (4, 8, 16, 32)}
    shapes = {
        name: (channels[int(name.split(".")[1][1:])], *shape[1:])
        if "conv1.weight" in name
        else shape
        for name, shape in shapes_of(made(Generator, 32)).items()
    }
    inferred = generator_config(shapes, {}, "file")
    told = generator_config(shapes, {"channel_base": base, "channel_max": most}, "file")
    assert (told["channel_base"], told["channel_max"]) == (base, most)
    widths = {r: min(inferred["channel_base"] // r, inferred["channel_max"]) for r in channels}
    assert widths == channels
