"""The compiled operations equal torch's: values, and derivatives of both orders."""

import itertools
import re

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from framework.errors import UserError
from framework.models.stylegan2 import Discriminator, Generator
from framework.ops import compiled
from framework.ops.bias_act import bias_act
from framework.ops.build import NATIVE
from framework.ops.compiled import use_ops
from framework.ops.modulate_act import modulate_act
from framework.ops.upfirdn2d import setup_filter, upfirdn2d
from framework.training.stylegan2.losses import path_lengths, r1_penalty

pytestmark = pytest.mark.usefixtures("cpu_ops")

SMOOTH = setup_filter([1, 3, 3, 1])
CROOKED = torch.tensor([[1.0, 2.0, -1.0], [0.5, 3.0, 7.0]])  # no column times a row
LONG = torch.outer(torch.arange(1.0, 21.0), torch.tensor([1.0, -2.0])) / 200  # beyond the fast way
WIDE = setup_filter([1, 5, 10, 10, 5, 1])
KERNELS = {"smooth": SMOOTH, "crooked": CROOKED, "long": LONG, "wide": WIDE}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def tensor(*shape, layout="contiguous", dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)
    return x.contiguous(memory_format=LAYOUTS[layout]) if len(shape) == 4 else x


def derivatives(function, *inputs):
    """Value, gradients, and the gradients of those to the inputs and to what flowed in."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = function(*inputs)
    flow = tensor(*y.shape, dtype=y.dtype, seed=1).requires_grad_()
    first = torch.autograd.grad(y, inputs, flow, create_graph=True)
    weights = [tensor(*g.shape, dtype=g.dtype, seed=2) for g in first]
    second = torch.autograd.grad(first, [flow], weights)
    return [y, *first, *second]


def compare(function, *inputs, **tolerance):
    """Both ways; and that they were two ways."""
    use_ops("torch")
    expected = derivatives(function, *inputs)
    use_ops("compiled")
    ours = derivatives(function, *inputs)
    assert "_Compiled" in ours[0].grad_fn.name() and "_Compiled" not in expected[0].grad_fn.name()
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, **tolerance)


STEPS = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)]
PADDINGS = [(0, 0), (1, 1), (2, 2), (2, 1), (0, 3), (9, 0)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("up", "down"), STEPS)
def test_upfirdn2d(up, down, layout):
    x = tensor(2, 3, 21, 13, layout=layout)
    for padding, kernel in itertools.product(PADDINGS, KERNELS.values()):
        compare(lambda x, p=padding, k=kernel: upfirdn2d(x, k.double(), up, down, p, 1.7), x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3, 8, 17])
def test_upfirdn2d_at_the_networks_sizes(channels, layout):
    for side, (up, down, padding, gain) in itertools.product(
        (4, 9, 33),
        [(1, 1, (1, 1), 4.0), (1, 1, (2, 2), 1.0), (1, 2, (1, 1), 1.0), (2, 1, (2, 1), 4)],
    ):
        x = tensor(3, channels, side, side, layout=layout, dtype=torch.float32)
        compare(lambda x, a=(up, down, padding, gain): upfirdn2d(x, SMOOTH, *a), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_upfirdn2d_in_low_precision_adds_in_float32(dtype):
    x = tensor(2, 8, 12, 12, dtype=dtype)
    use_ops("compiled")
    low = upfirdn2d(x, SMOOTH, down=2, padding=(1, 1))
    exact = upfirdn2d(x.float(), SMOOTH, down=2, padding=(1, 1))
    torch.testing.assert_close(low, exact.to(dtype), rtol=0, atol=0)
    compare(lambda x: upfirdn2d(x, SMOOTH, padding=(2, 2)), x, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, ::2],
        lambda x: x[..., 1:-1],
        lambda x: x.transpose(2, 3),
        lambda x: x[:1].expand(4, -1, -1, -1),
        lambda x: x[:0],
    ],
    ids=["channels", "columns", "transposed", "expanded", "empty"],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_and_empty_batches(view, layout):
    x = tensor(2, 6, 9, 8, layout=layout)
    compare(lambda x: upfirdn2d(view(x), SMOOTH.double(), 2, 1, (2, 1), 4.0), x)
    compare(lambda x: bias_act(view(x), clamp=1.0), x)
    compare(lambda x: modulate_act(view(x), view(x)[..., 0, 0], clamp=1.0), x)


def test_results_keep_the_layout():
    use_ops("compiled")
    x = tensor(2, 6, 8, 8, layout="channels_last")
    for y in (upfirdn2d(x, SMOOTH, padding=(2, 2)), bias_act(x, clamp=1.0)):
        assert y.is_contiguous(memory_format=torch.channels_last)
    assert modulate_act(x, x[..., 0, 0]).is_contiguous(memory_format=torch.channels_last)
    for y in (upfirdn2d(x.contiguous(), SMOOTH), bias_act(x.contiguous(), clamp=1.0)):
        assert y.is_contiguous()


@pytest.mark.parametrize("clamp", [None, 1.2])
@pytest.mark.parametrize("act", ["lrelu", "linear"])
@pytest.mark.parametrize(
    "shape", [(5, 3), (2, 3, 7, 5), (1, 40, 3, 3), (2, 700, 1, 1), (2, 1, 9, 9)]
)
def test_bias_act(shape, act, clamp):
    bias = tensor(shape[1], seed=3)
    for layout, dtype in itertools.product(LAYOUTS, (torch.float32, torch.float64)):
        x = tensor(*shape, layout=layout, dtype=dtype)
        compare(lambda x, b: bias_act(x, b, act, gain=0.7, clamp=clamp), x, bias.to(dtype))
        if clamp is not None and act == "lrelu":
            compare(lambda x: bias_act(x, None, act, clamp=clamp), x)


def test_bias_act_in_low_precision_rounds_once():
    use_ops("compiled")
    x, bias = tensor(4, 6, 8, 8, dtype=torch.bfloat16), tensor(6, dtype=torch.bfloat16)
    exact = bias_act(x.float(), bias.float(), clamp=1.0)
    torch.testing.assert_close(bias_act(x, bias, clamp=1.0), exact.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape",
    [(2, 3, 7, 5), (3, 8, 9, 9), (1, 16, 33, 20), (2, 40, 3, 3), (2, 700, 1, 1), (2, 1, 9, 9)],
)
def test_modulate_act(shape, layout):
    n, channels, *size = shape
    x, scale, bias = tensor(*shape, layout=layout), tensor(n, channels, seed=3), tensor(channels)
    options = {"act": "lrelu", "clamp": 1.2}
    for noise in (tensor(n, 1, *size, seed=4), tensor(1, 1, *size), tensor(*size)):
        compare(lambda x, s, n, b: modulate_act(x, s, n, b, **options), x, scale, noise, bias)
    compare(lambda x, s, b: modulate_act(x, s, None, b, act="lrelu"), x, scale, bias)
    compare(lambda x, s, n: modulate_act(x, s, n, act="lrelu"), x, scale, tensor(*size))
    compare(lambda x, s: modulate_act(x, s, clamp=0.5), x, scale)
    compare(modulate_act, x, scale)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_modulate_act_in_low_precision_rounds_once(dtype, layout):
    use_ops("compiled")
    x = tensor(3, 16, 12, 11, layout=layout, dtype=dtype)
    inputs = [tensor(*size, dtype=torch.float32) for size in ((3, 16), (3, 1, 12, 11), (16,))]
    flow = tensor(*x.shape, dtype=dtype, seed=1)

    def values(x):
        leaves = [v.detach().requires_grad_() for v in (x, *inputs)]
        y = modulate_act(*leaves, act="lrelu")
        return [y, *torch.autograd.grad(y, leaves, flow.to(y.dtype))]

    low, exact = values(x), values(x.float())
    for ours, theirs in zip(low[:2], exact[:2], strict=True):
        assert ours.dtype == dtype and torch.equal(ours, theirs.to(dtype))
    for ours, theirs in zip(low[2:], exact[2:], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_derivatives_of_modulate_act_by_differences(layout):
    use_ops("compiled")
    leaves = [tensor(2, 3, 2, 2, layout=layout), tensor(2, 3, seed=5), tensor(2, 2), tensor(3)]
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def activate(*leaves):
        return modulate_act(*leaves, act="lrelu", clamp=1.5).square()

    assert gradcheck(activate, leaves) and gradgradcheck(activate, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_not_finite_passes_through_modulate_act(dtype):
    use_ops("compiled")
    infinite = float("inf")
    x = torch.tensor([float("nan"), infinite, -infinite, 3e38], dtype=dtype).reshape(1, 1, 2, 2)
    y = modulate_act(x, torch.full((1, 1), 1e38), act="lrelu").flatten()
    assert y[0].isnan() and y[1] == infinite and y[2] == -infinite and y[3] == infinite
    assert modulate_act(x, torch.ones(1, 1), clamp=2.0).flatten()[0].isnan()


def test_sums_over_many_pixels_stay_exact():
    use_ops("compiled")
    for layout in LAYOUTS:
        x = torch.ones(1, 2, 400, 500).contiguous(memory_format=LAYOUTS[layout])
        bias = torch.tensor([0.5, 1.5], requires_grad=True)
        grad = torch.full_like(x, 0.1)
        (total,) = torch.autograd.grad(bias_act(x, bias, gain=1.0), bias, grad)
        torch.testing.assert_close(total, torch.full((2,), 20000.0), rtol=1e-5, atol=0)


def test_what_is_not_finite_shows():
    use_ops("compiled")
    x = torch.tensor([[float("nan"), float("inf"), -float("inf")]], requires_grad=True)
    y = bias_act(x, torch.zeros(3))
    assert y[0, 0].isnan() and y[0, 1] == float("inf") and y[0, 2] == -float("inf")
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad[0, 1:], torch.tensor([1.0, 0.2]) * 2**0.5)
    assert bias_act(x, torch.zeros(3), clamp=2.0)[0, 0].isnan()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_derivatives_by_differences(layout):
    use_ops("compiled")
    x = tensor(2, 2, 3, 4, layout=layout).requires_grad_()
    bias = tensor(2, seed=4).requires_grad_()
    for up, down, padding in [(1, 1, (2, 1)), (2, 1, (1, 1)), (1, 2, (1, 2))]:

        def resample(x, up=up, down=down, padding=padding):
            return upfirdn2d(x, CROOKED.double(), up, down, padding).pow(3)

        assert gradcheck(resample, x) and gradgradcheck(resample, x)

    def activate(x, bias):
        return bias_act(x, bias, gain=0.7, clamp=1.5).square()

    assert gradcheck(activate, (x, bias)) and gradgradcheck(activate, (x, bias))


def test_threads_change_nothing():
    use_ops("compiled")
    x, bias = tensor(4, 16, 64, 64, layout="channels_last", dtype=torch.float32), tensor(16).float()

    def both(threads):
        torch.set_num_threads(threads)
        return [
            *derivatives(lambda x: upfirdn2d(x, SMOOTH, 1, 2, (1, 1)), x),
            *derivatives(lambda x, b: bias_act(x, b, clamp=1.0), x, bias),
            *derivatives(lambda x, s: modulate_act(x, s, None, bias, "lrelu"), x, x[..., 0, 0]),
        ]

    before = torch.get_num_threads()
    try:
        for one, three in zip(both(1), both(3), strict=True):
            assert torch.equal(one, three)
    finally:
        torch.set_num_threads(before)


def test_networks_of_both_kinds_are_the_same_networks():
    torch.manual_seed(0)
    sizes = {"img_size": 32, "channel_base": 256, "channel_max": 16, "conv_clamp": 20.0}
    generator, discriminator = Generator(**sizes, z_dim=8, w_dim=8), Discriminator(**sizes)
    discriminator.memory_format = generator.synthesis.memory_format = torch.channels_last
    z = torch.randn(4, 8)

    def gradients():
        generator.zero_grad()
        discriminator.zero_grad()
        images = generator(z)
        r1_penalty(discriminator(images), images).mean().backward()
        networks = itertools.chain(generator.parameters(), discriminator.parameters())
        ws = generator.mapping(z)
        pictures = generator.synthesis(ws, noise_mode="const")
        path_lengths(pictures, ws, torch.ones_like(pictures)).sum().backward()
        networks = itertools.chain(generator.parameters(), discriminator.parameters())
        return [images, *(p.grad.clone() for p in networks if p.grad is not None)]

    use_ops("torch")
    expected = gradients()
    use_ops("compiled")
    for ours, theirs in zip(gradients(), expected, strict=True):
        largest = float(theirs.detach().abs().max())
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * largest)


SAMPLES = {
    "upfirdn2d": lambda x: (x, SMOOTH, 2, 1, 2, 2, 16, 18, True, 4.0),
    "bias_act": lambda x: (x, torch.ones(3), 0.2, 1.0, float("nan")),
    "bias_act_forward": lambda x: (x, torch.ones(3), x, 0.2, 1.0, 2.0),
    "bias_act_backward": lambda x: (x, x, 0.2, 1.0, 2.0),
    "modulate_act": lambda x: (x, torch.ones(2, 3), x[:1, :1], None, 0.2, 2.0),
    "modulate_act_forward": lambda x: (
        x, torch.ones(2, 3), x[:, :1], torch.ones(3), x, torch.ones(2, 3), x, 0.2, 2.0,
    ),
    "modulate_act_backward": lambda x: (x, x, torch.ones(2, 3), None, 1.0, float("nan")),
    "nearest_patches": lambda x: (
        x[0].movedim(0, 2), x[1].movedim(0, 2), torch.ones(6, 7) > 0, torch.ones(6, 7) > 0,
        torch.zeros(6, 7, 2, dtype=torch.int32), 3, 2, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SAMPLES)
def test_torch_compile_is_told_the_truth(name, layout):
    operation = getattr(torch.ops.dragline, name).default
    arguments = SAMPLES[name](tensor(2, 3, 8, 9, layout=layout, dtype=torch.float32))
    torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))


def test_every_declared_operation_is_sampled():
    assert set(SAMPLES) == set(compiled.SCHEMAS)


@pytest.mark.parametrize(("device", "ending"), [("cpu", "cpp"), ("cuda", "cu")])
def test_an_operation_is_listed_for_the_devices_that_it_is_written_for(device, ending):
    sources = "".join(path.read_text() for path in sorted(NATIVE.glob(f"*.{ending}")))
    written = set(re.findall(r'm\.impl\("(\w+)"', sources))
    assert {name for name in written if name in compiled.OPS["cpu"]} == set(compiled.OPS[device])


def test_auto_takes_what_was_measured_faster():
    assert use_ops("auto", "cpu") == compiled.FASTER["cpu"]
    assert use_ops("compiled", "cpu") == compiled.OPS["cpu"]
    assert use_ops("torch", "cpu") == ()
    assert use_ops("auto", "mps") == ()


def test_wishes_that_cannot_be_met_are_refused():
    with pytest.raises(UserError, match="auto, torch or compiled"):
        use_ops("fast")
    with pytest.raises(UserError, match="none for mps"):
        use_ops("compiled", "mps")
