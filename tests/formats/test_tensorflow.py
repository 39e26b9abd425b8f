"""TensorFlow's pickles: read into the networks that TensorFlow would have computed.

No pickle that TensorFlow wrote was at hand: the official ones are hundreds of megabytes on servers.
Verified here: the names, the axes, the turned kernels and the offset of the styles, against a
forward pass with TensorFlow's own conventions (`conv2d` correlates HWIO kernels, `conv2d_transpose`
is its gradient, a dense layer is x @ W) in float64; and pickles as Python writes them for classes
of those names, protocols 2 to 4, with the names that numpy 1 and numpy 2 write. Not verified: that
the official files hold what their source says they do.
"""

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import load_discriminator, load_generator, load_training_generator
from framework.formats.architecture import WHOLE_BATCH
from framework.formats.opening import open_model
from framework.models.stylegan2 import Discriminator, Generator
from tests.formats import tf_layout
from tests.formats.tf_layout import SIZES, Network, network_of, write

TOLERANCE = {"rtol": 0, "atol": 1e-4}
LABELS = {"label_size": 4}
CLAMPED = {"conv_clamp": 1.5, "num_fp16_res": 2}


# TensorFlow's operations


def conv2d(x: Tensor, w: Tensor, stride: int = 1, same: bool = True) -> Tensor:
    """`tf.nn.conv2d` on NCHW with kernels (h, w, in, out): a correlation."""
    kernel = w.shape[0]
    if same:
        x = F.pad(x, [kernel // 2] * 4)
    rows, columns = ((side - kernel) // stride + 1 for side in x.shape[2:])
    total = 0
    for i in range(kernel):
        for j in range(kernel):
            seen = x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            total = total + torch.einsum("nchw,co->nohw", seen[:, :, :rows, :columns], w[i, j])
    return total


def conv2d_transpose(x: Tensor, w: Tensor, stride: int) -> Tensor:
    """`tf.nn.conv2d_transpose` (VALID), the gradient of `conv2d`; kernels (h, w, out, in)."""
    kernel, (n, _, height, width) = w.shape[0], x.shape
    sides = [(side - 1) * stride + kernel for side in (height, width)]
    out = x.new_zeros(n, w.shape[2], *sides)
    for i in range(kernel):
        for j in range(kernel):
            rows = slice(i, i + stride * height, stride)
            columns = slice(j, j + stride * width, stride)
            out[:, :, rows, columns] += torch.einsum("nchw,oc->nohw", x, w[i, j])
    return out


def upfirdn(x: Tensor, gain: float, before: int, after: int, up: int = 1, down: int = 1) -> Tensor:
    """`upfirdn_2d` with the taps (1, 3, 3, 1): zeros between, pad, filter, drop."""
    n, c, height, width = x.shape
    wide = x.new_zeros(n, c, height * up, width * up)
    wide[:, :, ::up, ::up] = x
    wide = F.pad(wide, [before, after, before, after]).flatten(0, 1)[:, None]
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    out = conv2d(wide, (gain * torch.outer(taps, taps))[:, :, None, None], same=False)
    return out.unflatten(0, (n, c))[:, :, 0, ::down, ::down]


def upsample_conv(x: Tensor, w: Tensor) -> Tensor:
    """`upsample_conv_2d`: the kernels turned by 180 degrees, transposed, then the filter."""
    x = conv2d_transpose(x, w.flip(0, 1).transpose(2, 3), stride=2)
    spare = (4 - 2) - (w.shape[0] - 1)
    return upfirdn(x, 4, (spare + 1) // 2 + 1, spare // 2 + 1)


def conv_downsample(x: Tensor, w: Tensor) -> Tensor:
    """`conv_downsample_2d`: the filter, then a convolution with stride 2."""
    spare = (4 - 2) + (w.shape[0] - 1)
    return conv2d(upfirdn(x, 1, (spare + 1) // 2, spare // 2), w, stride=2, same=False)


def dense(x: Tensor, w: Tensor, rate: float = 1.0) -> Tensor:
    return x.flatten(1) @ (w * rate / math.sqrt(w.shape[0]))


def bias_act(x: Tensor, b: Tensor, act: str = "linear", clamp: float | None = None) -> Tensor:
    x = x + b.reshape(-1, *[1] * (x.ndim - 2))
    if act == "lrelu":
        x = F.leaky_relu(x, 0.2) * math.sqrt(2)
    return x if clamp is None else x.clamp(-clamp, clamp)


def normalised(x: Tensor) -> Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


# TensorFlow's networks


class Scope:
    """Variables of a network in float64, by name."""

    def __init__(self, network: Network) -> None:
        self.arguments = network.static_kwargs
        self.found = dict(network.variables)
        for name, component in network.components.items():
            self.found |= {f"{name}/{key}": value for key, value in component.variables}

    def __call__(self, name: str) -> Tensor:
        return torch.as_tensor(np.asarray(self.found[name], dtype=np.float64))

    def kernel(self, scope: str) -> Tensor:
        """A layer's weight at the scale of an equalised learning rate."""
        w = self(f"{scope}/weight")
        return w / math.sqrt(math.prod(w.shape[:-1]))


def mapped(var: Scope, z: Tensor, labels: Tensor | None) -> Tensor:
    x = normalised(z)
    if labels is not None:
        y = dense(labels, var("mapping/LabelEmbed/weight"))
        x = torch.cat([x, normalised(bias_act(y, var("mapping/LabelEmbed/bias")))], dim=1)
    for i in range(var.arguments["mapping_layers"]):
        w, b = var(f"mapping/Dense{i}/weight"), var(f"mapping/Dense{i}/bias")
        x = bias_act(dense(x, w, 0.01), b * 0.01, "lrelu")
    return x


def modulated(var: Scope, scope: str, x: Tensor, dlatent: Tensor, up=False, demod=True) -> Tensor:
    w = var.kernel(scope)
    style = dense(dlatent, var(f"{scope}/mod_weight"))
    style = bias_act(style, var(f"{scope}/mod_bias")) + 1
    results = []
    for sample, s in zip(x, style, strict=True):
        ww = w * s[None, None, :, None]
        if demod:
            ww = ww * (ww.square().sum(dim=(0, 1, 2)) + 1e-8).rsqrt()
        results.append(upsample_conv(sample[None], ww) if up else conv2d(sample[None], ww))
    return torch.cat(results)


def picture(var: Scope, dlatents: Tensor) -> Tensor:
    """`G_synthesis_stylegan2` with constant noise."""
    arguments, clamp = var.arguments, var.arguments.get("conv_clamp")
    design, top = arguments.get("architecture", "skip"), tf_layout.stages(arguments)[-1]
    colours, index = None, 0
    x = var("synthesis/4x4/Const/const").expand(len(dlatents), -1, -1, -1)

    def layer(scope: str, x: Tensor, up: bool = False) -> Tensor:
        nonlocal index
        x = modulated(var, scope, x, dlatents[:, index], up)
        if arguments.get("use_noise", True):
            x = x + var(f"synthesis/noise{index}") * var(f"{scope}/noise_strength")
        index += 1
        return bias_act(x, var(f"{scope}/bias"), "lrelu", clamp)

    for stage in (2, *tf_layout.stages(arguments)):
        scope = f"synthesis/{2**stage}x{2**stage}"
        if stage == 2:
            x = layer(f"{scope}/Conv", x)
        else:
            below = x
            x = layer(f"{scope}/Conv1", layer(f"{scope}/Conv0_up", x, up=True))
            if design == "resnet":
                larger = upfirdn(below, 4, 2, 1, up=2)
                x = (x + conv2d(larger, var.kernel(f"{scope}/Skip"))) / math.sqrt(2)
            colours = colours if colours is None else upfirdn(colours, 4, 2, 1, up=2)
        if design != "skip" and stage != top:
            continue
        rgb = modulated(var, f"{scope}/ToRGB", x, dlatents[:, index], demod=False)
        rgb = bias_act(rgb, var(f"{scope}/ToRGB/bias"), clamp=clamp)
        colours = rgb if colours is None else colours + rgb
    return colours


def with_statistics(x: Tensor, group: int | None) -> Tensor:
    group = len(x) if group is None else min(group, len(x))
    y = x.reshape(group, -1, *x.shape[1:])
    y = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, y.tile(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


def scores(var: Scope, x: Tensor, labels: Tensor | None) -> Tensor:
    """`D_stylegan2`, and stylegan2-ada's `D_main` with labels."""
    arguments, clamp = var.arguments, var.arguments.get("conv_clamp")

    def act(x: Tensor, scope: str) -> Tensor:
        return bias_act(x, var(f"{scope}/bias"), "lrelu", clamp)

    for stage in reversed(tf_layout.stages(arguments)):
        scope = f"{2**stage}x{2**stage}"
        if 2**stage == arguments["resolution"]:
            x = act(conv2d(x, var.kernel(f"{scope}/FromRGB")), f"{scope}/FromRGB")
        y = act(conv2d(x, var.kernel(f"{scope}/Conv0")), f"{scope}/Conv0")
        y = act(conv_downsample(y, var.kernel(f"{scope}/Conv1_down")), f"{scope}/Conv1_down")
        if arguments.get("architecture", "resnet") == "resnet":
            y = (y + conv_downsample(x, var.kernel(f"{scope}/Skip"))) / math.sqrt(2)
        x = y
    if (group := arguments.get("mbstd_group_size", 4)) != 0:
        x = with_statistics(x, group)
    x = act(conv2d(x, var.kernel("4x4/Conv")), "4x4/Conv")
    x = bias_act(dense(x, var("4x4/Dense0/weight")), var("4x4/Dense0/bias"), "lrelu")
    x = bias_act(dense(x, var("Output/weight")), var("Output/bias"))
    if labels is None:
        return x
    y = bias_act(dense(labels, var("LabelEmbed/weight")), var("LabelEmbed/bias"))
    return (x * normalised(y)).sum(dim=1, keepdim=True) / math.sqrt(x.shape[1])


# What is compared


def model(**arguments) -> tuple[Network, Network, Network]:
    """G, D, Gs with different weights each."""
    return (
        tf_layout.generator(SIZES, 10, **arguments),
        tf_layout.discriminator(SIZES, 20, **arguments),
        tf_layout.generator(SIZES, 30, **arguments),
    )


def one_hot(arguments: dict, count: int) -> Tensor | None:
    size = arguments.get("label_size", 0)
    return torch.eye(size, dtype=torch.float64)[:count] if size else None


@pytest.mark.parametrize(
    "arguments",
    [{}, {**LABELS, "latent_size": 10}, CLAMPED, {"use_noise": False}, {"num_channels": 1},
     {"architecture": "resnet"}, {"architecture": "orig"}],
    ids=["plain", "labels", "clamped", "no noise", "grey", "resnet", "orig"],
)  # fmt: skip
# G7f
def test_pictures_are_tensorflows(tmp_path, arguments):
    networks = model(**arguments)
    file = write(tmp_path / "model.pkl", networks)
    torch.manual_seed(0)
    z = torch.randn(3, networks[2].static_kwargs["latent_size"])
    labels = one_hot(arguments, 3)
    for load, theirs in ((load_generator, networks[2]), (load_training_generator, networks[0])):
        ours, var = load(file), Scope(theirs)
        assert ours.img_size == (16, 16)
        ws = ours.mapping(z, None if labels is None else labels.float())
        expected = mapped(var, z.double(), labels)
        torch.testing.assert_close(ws[:, 0], expected.float(), rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.mapping.w_avg, var("dlatent_avg").float())
        dlatents = torch.randn(3, ours.num_ws, ours.w_dim)
        expected = picture(var, dlatents.double()).float()
        assert expected.std() > 0.5
        torch.testing.assert_close(
            ours.synthesis(dlatents, noise_mode="const"), expected, **TOLERANCE
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"architecture": "orig", "mbstd_group_size": 2},
        LABELS,
        CLAMPED,
        {"mbstd_group_size": None},
        {"mbstd_group_size": 0},
    ],
    ids=["plain", "orig", "labels", "clamped", "whole batch", "no statistics"],
)
def test_scores_are_tensorflows(tmp_path, arguments):
    theirs = tf_layout.discriminator(SIZES, 20, **arguments)
    ours = load_discriminator(write(tmp_path / "d.pkl", theirs))
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 16, 16), one_hot(arguments, 4)
    labels = None if labels is None else labels.repeat(2, 1)
    expected = scores(Scope(theirs), images.double(), labels).float()
    assert expected.std() > 0.01
    logits = ours(images, None if labels is None else labels.float())
    torch.testing.assert_close(logits, expected, **TOLERANCE)


def test_our_networks_in_their_layout_come_back_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    sizes = {"channel_base": 128, "channel_max": 12}
    g = Generator(16, z_dim=8, w_dim=10, mapping_layers=3, **sizes)
    d = Discriminator(16, **sizes)
    for parameter in [*g.parameters(), *d.parameters()]:  # the styles' 1 comes and goes exactly
        parameter.data = (torch.randn(parameter.shape) * 1024).round() / 1024
    g.mapping.w_avg.normal_()
    theirs = [network_of(tf_layout.from_ours(net.state_dict(), net is g), {}) for net in (g, d, g)]
    file = write(tmp_path / "model.pkl", tuple(theirs))
    for load, ours in ((load_generator, g), (load_discriminator, d)):
        loaded = load(file)
        assert loaded.config["img_size"] == [16, 16]
        for name, tensor in ours.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name


# What a pickle looks like


@pytest.fixture
def numpy_1(monkeypatch):
    """Let numpy 2 write the module names of numpy 1."""
    function = np._core.multiarray._reconstruct
    scalar = np._core.multiarray.scalar
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for made in (function, scalar):
            monkeypatch.setattr(made, "__module__", "numpy.core.multiarray")
        yield


def opened_like(file, network: Network) -> bool:
    expected = dict(network.components["synthesis"].variables)["4x4/Conv/noise_strength"]
    generator = load_generator(file)
    return generator.synthesis.b4.conv1.noise_strength.item() == expected.item()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_numpy_2(tmp_path, protocol):
    networks = model()
    file = write(tmp_path / "model.pkl", networks, protocol)
    assert b"numpy._core.multiarray" in file.read_bytes()
    assert opened_like(file, networks[2])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_numpy_1(tmp_path, numpy_1, protocol):
    networks = model()
    file = write(tmp_path / "model.pkl", networks, protocol)
    assert b"numpy._core" not in file.read_bytes()
    assert opened_like(file, networks[2])


def test_arrays_in_column_order_and_tables_of_their_own(tmp_path):
    network = model()[2]
    synthesis = network.components["synthesis"]
    synthesis.variables = [
        (n, np.asfortranarray(v) if v.ndim else v) for n, v in synthesis.variables
    ]
    easy = type("EasyDict", (dict,), {})
    network.static_kwargs = easy(network.static_kwargs, extra=easy(depth=np.float64(2)))
    with tf_layout.stand_in_modules(dnnlib__util__EasyDict=easy):
        file = write(tmp_path / "gs.pkl", network)
    generator = load_generator(file)
    expected = torch.from_numpy(np.array(dict(synthesis.variables)["16x16/Conv1/weight"]))
    assert torch.equal(generator.synthesis.b16.conv1.weight, expected.permute(3, 2, 0, 1))
    assert generator.provenance["arguments"]["generator"]["extra"] == {"depth": 2.0}


def test_a_network_alone(tmp_path):
    _, d, gs = model()
    held = [open_model(write(tmp_path / "one.pkl", network)).networks for network in (gs, d)]
    assert held == [("generator",), ("discriminator",)]


def test_arguments_are_taken_over(tmp_path):
    arguments = {**CLAMPED, "dlatent_avg_beta": 0.99, "mbstd_group_size": None}
    file = write(tmp_path / "model.pkl", model(**arguments))
    config = load_generator(file).config
    assert (config["conv_clamp"], config["low_precision_blocks"]) == (1.5, 2)
    assert (config["channel_max"], config["w_avg_beta"]) == (12, 0.99)
    assert load_discriminator(file).config["mbstd_group_size"] == WHOLE_BATCH
    odd = tf_layout.generator({**SIZES, "fmap_base": 66})  # as wide as with 64
    assert load_generator(write(tmp_path / "odd.pkl", odd)).config["channel_base"] == 132
    plain = write(tmp_path / "plain.pkl", model())
    assert load_generator(plain).config["w_avg_beta"] == 0.995
    assert load_discriminator(plain).config["mbstd_group_size"] == 4


def test_the_file_says_what_it_is(tmp_path):
    opened = open_model(write(tmp_path / "model.pkl", model()))
    assert opened.dialect == "TensorFlow pickle"
    assert opened.networks == ("generator", "training_generator", "discriminator")
    assert opened.facts["arguments"]["generator"]["resolution"] == 16


# What is refused


def refusal(tmp_path, value, kind=UserError, under="dnnlib__tflib__network") -> str:
    file = write(tmp_path / "model.pkl", value, under=under)
    with pytest.raises(kind) as caught:
        open_model(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    return str(caught.value)


def with_variable(name: str, *shape: int, component: str = "synthesis") -> Network:
    network = model()[2]
    part = network.components[component] if component else network
    part.variables.append((name, np.zeros(shape, np.float32)))
    return network


OTHER_DESIGNS = {
    "StyleGAN (the first one)": with_variable("4x4/Const/StyleMod/weight", 10, 24),
    "labels beside z": with_variable("LabelConcat/weight", 4, 8, component="mapping"),
    "configurations B to D": with_variable("ToRGB_lod0/weight", 1, 1, 8, 3),
    "a network of encoder; only": Network("G", [], {}, {"encoder": model()[1]}),
    "it holds Dense/weight": Network("G", [("Dense/weight", np.zeros((3, 4)))], {}),
    "16x16/Conv0_up/SelfAttention/weight belongs": with_variable(
        "16x16/Conv0_up/SelfAttention/weight", 3, 3
    ),
    "only some of its blocks have a skip": with_variable("8x8/Skip/weight", 1, 1, 12, 12),
}


@pytest.mark.parametrize("words", OTHER_DESIGNS)
def test_other_designs_are_refused_by_name(tmp_path, words):
    assert words in refusal(tmp_path, OTHER_DESIGNS[words])


def test_progan_is_refused_by_name(tmp_path):
    grown = [Network(name, [("ToRGB_lod0/bias", np.zeros(3))], {}, version=2) for name in "GDS"]
    assert "this is a ProGAN" in refusal(tmp_path, tuple(grown), under="tfutil")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resample_kernel": None}, "resampling with [1, 1]"),
        ({"resample_kernel": [1, 2, 1]}, "resampling with [1, 2, 1]"),
        ({"normalize_latents": False}, "not normalised"),
        ({"nonlinearity": "relu"}, "activation relu"),
        ({"mapping_nonlinearity": "relu"}, "activation relu"),
        ({"mapping_lrmul": 0.1}, "lr_multiplier 0.1"),
        ({"label_size": 4, "label_fmaps": 9}, "embedded in 9"),
        ({"resolution": 32}, "img_resolution 32"),
        ({"dlatent_size": 12}, "w_dim 12"),
        ({"use_noise": True}, None),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, arguments, words):
    network = tf_layout.generator(SIZES, **{k: v for k, v in arguments.items() if "label" in k})
    network.static_kwargs |= arguments
    if words is None:
        write(tmp_path / "model.pkl", network)
        assert open_model(tmp_path / "model.pkl").networks == ("generator",)
    else:
        assert words in refusal(tmp_path, network)


def test_labels_of_the_first_stylegan2_in_a_discriminator(tmp_path):
    network = tf_layout.discriminator(SIZES)
    network.variables = [(n, v) for n, v in network.variables if not n.startswith("Output")]
    network.variables += [("Output/weight", np.zeros((12, 4))), ("Output/bias", np.zeros(4))]
    assert "labels that enter it in such a way" in refusal(tmp_path, network)


def test_a_discriminator_of_another_design_does_not_cost_the_generator(tmp_path):
    g, d, gs = model()
    d.static_kwargs["nonlinearity"] = "relu"
    opened = open_model(write(tmp_path / "model.pkl", (g, d, gs)))
    assert "discriminator" not in opened.networks
    assert any("activation relu" in note for note in opened.notes)


def damage(change) -> Network:
    network = model()[2]
    change(network, network.components["synthesis"])
    return network


def replace(part: Network, name: str, value) -> None:
    part.variables = [(n, value if n == name else v) for n, v in part.variables]


@pytest.mark.parametrize(
    "change",
    [
        lambda g, s: setattr(g, "variables", None),
        lambda g, s: setattr(s, "variables", [("4x4/Const/const", "text")]),
        lambda g, s: setattr(s, "variables", s.variables[:-1]),
        lambda g, s: setattr(g, "components", {"synthesis": 3}),
        lambda g, s: setattr(g, "components", [s]),
        lambda g, s: g.components.update(mapping=Network("a", [], {}, {"synthesis": s})),
        lambda g, s: g.components.update(mapping=g),
        lambda g, s: replace(s, "4x4/Const/const", np.zeros((2, 12, 4, 4), np.float32)),
        lambda g, s: replace(s, "4x4/Conv/weight", np.zeros((3, 3, 12), np.float32)),
        lambda g, s: replace(s, "noise0", np.zeros((4, 4), np.float32)),
        lambda g, s: replace(s, "noise1", np.zeros((1, 1, 4, 4), np.float32)),
    ],
)
def test_damaged_networks_are_refused(tmp_path, change):
    file = write(tmp_path / "model.pkl", damage(change))
    with pytest.raises(BrokenCheckpoint) as caught:
        load_generator(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
