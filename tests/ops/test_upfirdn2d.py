"""Resampling against its definition, written out; derivatives of both orders."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from framework.ops.upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d

# Not symmetric in any way: a correlation in place of a convolution would show.
CROOKED = torch.tensor([[1.0, 2.0, -1.0], [0.5, 3.0, 7.0]])


def naive(x, kernel, up, down, padding, gain):
    """y[i, j] = gain * sum_ab k[a, b] * u[i * down - a, j * down - b], u upsampled and padded."""
    n, c, h, w = x.shape
    before, after = padding
    wide = torch.zeros(n, c, h * up + before + after, w * up + before + after, dtype=x.dtype)
    wide[:, :, before : before + h * up : up, before : before + w * up : up] = x
    kh, kw = kernel.shape
    rows = range(kh - 1, wide.shape[2], down)
    columns = range(kw - 1, wide.shape[3], down)
    y = torch.zeros(n, c, len(rows), len(columns), dtype=x.dtype)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            for a in range(kh):
                for b in range(kw):
                    y[:, :, i, j] += kernel[a, b] * wide[:, :, row - a, column - b]
    return y * gain


@pytest.mark.parametrize("padding", [(0, 0), (2, 2), (2, 1), (0, 3)])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_definition(up, down, padding, layout):
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    kernel = CROOKED.double()
    ours = upfirdn2d(x.to(memory_format=layout), kernel, up, down, padding, gain=1.7)
    expected = naive(x, kernel, up, down, padding, 1.7)
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected)


def test_filter_is_normalised_and_separable():
    kernel = setup_filter([1, 3, 3, 1])
    assert kernel.shape == (4, 4) and kernel.dtype == torch.float32
    expected = torch.tensor([1, 3, 3, 1]) / 8
    torch.testing.assert_close(kernel, expected[:, None] * expected[None])


def test_doubling_and_halving_keep_a_constant_inside():
    x, kernel = torch.full((1, 2, 8, 6), 3.0), setup_filter([1, 3, 3, 1])
    big, small = upsample2d(x, kernel), downsample2d(x, kernel)
    assert big.shape == (1, 2, 16, 12) and small.shape == (1, 2, 4, 3)
    torch.testing.assert_close(big[:, :, 2:-2, 2:-2], x.new_full((1, 2, 12, 8), 3.0))
    torch.testing.assert_close(small[:, :, 1:-1, 1:-1], x.new_full((1, 2, 2, 1), 3.0))


def test_doubling_and_halving_do_not_shift_the_picture():
    ramp = torch.arange(16.0)[None, None, None].expand(1, 1, 16, 16)
    kernel = setup_filter([1, 3, 3, 1])
    fine = torch.arange(32.0) / 2 - 0.25  # centres of the half pixels
    coarse = torch.arange(8.0) * 2 + 0.5
    torch.testing.assert_close(upsample2d(ramp, kernel)[0, 0, 16, 4:-4], fine[4:-4])
    torch.testing.assert_close(downsample2d(ramp, kernel)[0, 0, 4, 2:-2], coarse[2:-2])


STEPS = [(1, 1, (2, 1)), (2, 1, (1, 1)), (1, 2, (1, 2))]


@pytest.mark.parametrize(("up", "down", "padding"), STEPS)
def test_derivatives_of_both_orders(up, down, padding):
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)

    def resample(x):
        return upfirdn2d(x, CROOKED.double(), up, down, padding).pow(3)

    assert gradcheck(resample, x)
    assert gradgradcheck(resample, x)


def test_gradient_is_the_depthwise_convolutions_own():
    kernel = setup_filter([1, 3, 3, 1])
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    weight = torch.randn(2, 3, 5, 5)
    (ours,) = torch.autograd.grad((upfirdn2d(x, kernel, down=2, padding=(2, 2)) * weight).sum(), x)
    plain = F.conv2d(x, kernel.flip(0, 1).expand(3, 1, 4, 4), stride=2, padding=2, groups=3)
    (expected,) = torch.autograd.grad((plain * weight).sum(), x)
    torch.testing.assert_close(ours, expected)


def test_second_derivatives_make_no_weight_gradients():
    """R1 walks here; torch's own depthwise convolution makes a call for each channel."""
    x = torch.randn(2, 16, 8, 8, requires_grad=True)
    y = upfirdn2d(x, setup_filter([1, 3, 3, 1]), down=2, padding=(1, 1))
    with torch.profiler.profile() as profile:
        (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        grad.square().sum().backward()
    calls = sum(e.count for e in profile.key_averages() if e.key == "aten::convolution")
    assert 0 < calls <= 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_keeps_its_dtype(dtype):
    x, kernel = torch.randn(1, 2, 8, 8), setup_filter([1, 3, 3, 1])
    low = upsample2d(x.to(dtype), kernel)
    assert low.dtype == dtype
    torch.testing.assert_close(low.float(), upsample2d(x, kernel), rtol=0.02, atol=0.03)


def test_a_strided_adjoint_is_not_computed_in_bfloat16_on_a_cpu(monkeypatch):
    """Torch takes 20 to 70 times as long for it; results are those of float32, rounded once."""
    computed_in, transposed = [], F.conv_transpose2d

    def watched(x, *rest):
        computed_in.append(x.dtype)
        return transposed(x, *rest)

    monkeypatch.setattr(F, "conv_transpose2d", watched)
    kernel = setup_filter([1, 3, 3, 1])
    x = torch.randn(2, 3, 8, 8).bfloat16().requires_grad_()
    weight = torch.randn(2, 3, 4, 4).bfloat16()
    (low,) = torch.autograd.grad((downsample2d(x, kernel) * weight).sum(), x)
    wide = x.detach().float().requires_grad_()
    (full,) = torch.autograd.grad((downsample2d(wide, kernel) * weight.float()).sum(), wide)
    assert computed_in == [torch.float32, torch.float32] and low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), full, rtol=0.01, atol=0.01)
