"""The CUDA operations equal torch's: `pytest -m gpu`. Untested until a machine with one runs it."""

import itertools

import pytest
import torch

from framework.ops.bias_act import bias_act
from framework.ops.compiled import use_ops
from framework.ops.upfirdn2d import setup_filter, upfirdn2d

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SMOOTH = setup_filter([1, 3, 3, 1])
CROOKED = torch.tensor([[1.0, 2.0, -1.0], [0.5, 3.0, 7.0]])
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# Torch's own rounds the kernel and every step; the compiled one adds in float32 and rounds once.
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.bfloat16: {"rtol": 0.03, "atol": 0.1},
    torch.float16: {"rtol": 4e-3, "atol": 2e-2},
}


@pytest.fixture(autouse=True)
def exact_float32():
    """TF32 would hide behind the tolerances."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before
    use_ops("torch", "cuda")


def tensor(*shape, dtype, layout="contiguous", seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x.to("cuda", dtype)
    return x.contiguous(memory_format=LAYOUTS[layout]) if len(shape) == 4 else x


def derivatives(function, *inputs):
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = function(*inputs)
    flow = tensor(*y.shape, dtype=y.dtype, seed=1).requires_grad_()
    first = torch.autograd.grad(y, inputs, flow, create_graph=True)
    weights = [tensor(*g.shape, dtype=g.dtype, seed=2) for g in first]
    return [y, *first, *torch.autograd.grad(first, [flow], weights)]


def compare(function, *inputs):
    """Value and derivatives of both orders, both ways; and that they were two ways."""
    use_ops("torch", "cuda")
    expected = derivatives(function, *inputs)
    use_ops("compiled", "cuda")
    ours = derivatives(function, *inputs)
    assert "_Compiled" in ours[0].grad_fn.name() and "_Compiled" not in expected[0].grad_fn.name()
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype and a.device == b.device
        torch.testing.assert_close(a, b, **TOLERANCE[a.dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_upfirdn2d(layout, dtype):
    x = tensor(3, 5, 21, 13, dtype=dtype, layout=layout)
    steps = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)]
    for (up, down), padding in itertools.product(steps, [(0, 0), (1, 1), (2, 2), (2, 1), (0, 3)]):
        for kernel in (SMOOTH, CROOKED / 8):
            kernel = kernel.to("cuda", torch.float64 if dtype == torch.float64 else torch.float32)
            compare(lambda x, a=(kernel, up, down, padding, 1.5): upfirdn2d(x, *a), x)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 7, 5), (4, 40, 33, 65), (2, 700, 1, 1)])
def test_bias_act(shape, layout, dtype):
    x, bias = tensor(*shape, dtype=dtype, layout=layout), tensor(shape[1], dtype=dtype, seed=3)
    for act, clamp in itertools.product(("lrelu", "linear"), (None, 1.2)):
        compare(lambda x, b, a=act, c=clamp: bias_act(x, b, a, gain=0.7, clamp=c), x, bias)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_and_empty(layout):
    kernel = SMOOTH.cuda()
    large = tensor(2, 64, 257, 255, dtype=torch.float32, layout=layout)
    compare(lambda x: upfirdn2d(x, kernel, down=2, padding=(1, 1)), large)
    compare(lambda x: bias_act(x, clamp=1.0), large)
    compare(lambda x: bias_act(upfirdn2d(x, kernel, 2, 1, (2, 1)), clamp=1.0), large[:0])
    compare(lambda x: upfirdn2d(x[:, ::2, 1:-1], kernel, padding=(2, 2)), large)


def test_many_images():
    """More than a grid has rows."""
    x = tensor(70000, 1, 4, 4, dtype=torch.float32)
    compare(lambda x: upfirdn2d(x, SMOOTH.cuda(), padding=(2, 1)), x)
