"""Resampling and modulated convolutions against their definitions, step by step."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from framework.ops.conv2d_resample import conv2d_resample
from framework.ops.modulated_conv2d import demodulation, modulated_conv2d
from framework.ops.upfirdn2d import setup_filter

KERNEL = setup_filter([1, 3, 3, 1]).double()
CROOKED = (torch.tensor([[1.0, 2, 0, 1], [3, 5, 4, 1], [0, 2, 7, 1], [1, 1, 0, 2]]) / 31).double()


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def fir(x, kernel):
    """Every full overlap of x with the flipped kernel: a convolution, channel by channel."""
    return torch.cat(
        [F.conv2d(x[:, i : i + 1], kernel.flip(0, 1)[None, None]) for i in range(x.shape[1])], 1
    )


@pytest.mark.parametrize("kernel", [KERNEL, CROOKED])
@pytest.mark.parametrize("size", [1, 3])
def test_doubling_is_zeros_then_convolution_then_filter(size, kernel):
    x, weight = double(2, 3, 5, 4), double(6, 3, size, size)
    zeros = x.new_zeros(2, 3, 10, 8)
    zeros[:, :, ::2, ::2] = x
    # Stored weights are applied flipped when doubling. All of it is kept, then cut to size.
    full = F.conv2d(zeros, weight.flip(2, 3), padding=size - 1)
    before, after = 2 - (size - 1) // 2, 1 - (size - 1) // 2
    full = F.pad(full, (before, after, before, after))
    expected = fir(full, kernel) * 4
    ours = conv2d_resample(x, weight, kernel, up=2)
    assert ours.shape == (2, 6, 10, 8)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("kernel", [KERNEL, CROOKED])
@pytest.mark.parametrize("size", [1, 3])
def test_halving_is_filter_then_convolution_then_every_second(size, kernel):
    x, weight, bias = double(2, 3, 8, 6), double(5, 3, size, size), double(5)
    half = size // 2
    padded = F.pad(x, (half + 1, half + 1, half + 1, half + 1))
    expected = F.conv2d(fir(padded, kernel), weight)[:, :, ::2, ::2] + bias[:, None, None]
    ours = conv2d_resample(x, weight, kernel, down=2, bias=bias)
    assert ours.shape == (2, 5, 4, 3)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("size", [1, 3])
def test_without_resampling_the_size_stays(size):
    x, weight, bias = double(2, 4, 5, 7), double(6, 2, size, size), double(6)
    ours = conv2d_resample(x, weight, bias=bias, groups=2)
    expected = F.conv2d(x, weight, bias, padding=size // 2, groups=2)
    assert ours.shape == (2, 6, 5, 7)
    torch.testing.assert_close(ours, expected)


def test_groups_are_doubled_one_by_one():
    x, weight = double(1, 6, 4, 4), double(8, 3, 3, 3)
    whole = conv2d_resample(x, weight, KERNEL, up=2, groups=2)
    parts = [conv2d_resample(a, b, KERNEL, up=2) for a, b in zip(x.split(3, 1), weight.split(4))]  # noqa: B905
    torch.testing.assert_close(whole, torch.cat(parts, 1))


def test_derivatives_of_resampling():
    x, weight = double(1, 2, 4, 4).requires_grad_(), double(2, 2, 3, 3).requires_grad_()
    for options in ({"up": 2}, {"down": 2}):

        def convolve(x, weight, options=options):
            return conv2d_resample(x, weight, KERNEL, **options)

        assert gradcheck(convolve, (x, weight))
        assert gradgradcheck(convolve, (x, weight))


def by_sample(x, weight, styles, up, demodulate, gain):
    """Equations 1 and 3 of StyleGAN2, one sample and one filter at a time."""
    pictures = []
    for sample, style in zip(x, styles, strict=True):
        filters = []
        for one in weight:
            one = one * style[:, None, None]
            filters.append(one / (one.square().sum() + 1e-8).sqrt() if demodulate else one)
        kernels = torch.stack(filters)
        pictures.append(conv2d_resample(sample[None], kernels, KERNEL.to(x.dtype), up=up))
    return torch.cat(pictures) * gain


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("modulation", ["scaled", "grouped"])
def test_modulation_equals_its_equations(modulation, up, size, demodulate, layout):
    x, weight, styles = torch.randn(3, 4, 6, 5), torch.randn(5, 4, size, size), torch.randn(3, 4)
    noise = torch.randn(3, 1, 6 * up, 5 * up)
    expected = by_sample(x, weight, styles, up, demodulate, 1.3) + noise
    ours = modulated_conv2d(
        x.to(memory_format=layout), weight, styles, KERNEL.float(), up, demodulate, 1.3,
        modulation, noise,
    )  # fmt: skip
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
    without = modulated_conv2d(x, weight, styles, KERNEL.float(), up, demodulate, 1.3, modulation)
    torch.testing.assert_close(without, expected - noise, rtol=0, atol=1e-4)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_both_ways_have_the_same_gradients(size, demodulate):
    grads = []
    inputs = [double(2, 3, 5, 5), double(4, 3, size, size), double(2, 3)]
    for modulation in ("scaled", "grouped"):
        leaves = [t.clone().requires_grad_() for t in inputs]
        y = modulated_conv2d(*leaves, demodulate=demodulate, modulation=modulation)
        first = torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        grads.append([*first, *second])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_derivatives_of_modulation():
    leaves = [t.requires_grad_() for t in (double(2, 2, 3, 3), double(2, 2, 3, 3), double(2, 2))]
    for demodulate in (True, False):

        def convolve(x, weight, styles, demodulate=demodulate):
            return modulated_conv2d(x, weight, styles, demodulate=demodulate)

        assert gradcheck(convolve, leaves)
        assert gradgradcheck(convolve, leaves)


def test_derivatives_of_colour_layers():
    leaves = [t.requires_grad_() for t in (double(2, 3, 2, 3), double(2, 3, 1, 1), double(2, 3))]

    def colours(x, weight, styles):
        x = x.contiguous(memory_format=torch.channels_last)
        return modulated_conv2d(x, weight, styles, demodulate=False)

    assert gradcheck(colours, leaves)
    assert gradgradcheck(colours, leaves)


def test_demodulation_gives_unit_variance():
    x, weight = torch.randn(4, 64, 32, 32), torch.randn(16, 64, 3, 3) * 9
    styles = torch.randn(4, 64)
    y = modulated_conv2d(x, weight, styles * 50)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(y.std(), torch.tensor(1.0), rtol=0.03, atol=0)
    assert demodulation(weight, styles).shape == (4, 16)


@pytest.mark.parametrize("modulation", ["scaled", "grouped"])
def test_half_precision_neither_overflows_nor_changes_values(modulation):
    x, weight = torch.randn(2, 32, 8, 8), torch.randn(8, 32, 3, 3) * 300
    styles = torch.randn(2, 32) * 500  # products far beyond 65504 before demodulation
    expected = modulated_conv2d(x, weight, styles)
    half = modulated_conv2d(x.half(), weight, styles, modulation=modulation)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("modulation", ["scaled", "grouped"])
@pytest.mark.parametrize("demodulate", [True, False])
def test_bfloat16_is_close(modulation, demodulate):
    size = 3 if demodulate else 1
    x, weight, styles = torch.randn(2, 8, 6, 6), torch.randn(4, 8, size, size), torch.randn(2, 8)
    options = {"demodulate": demodulate, "modulation": modulation}
    low = modulated_conv2d(x.bfloat16(), weight, styles, **options)
    assert low.dtype == torch.bfloat16
    exact = modulated_conv2d(x, weight, styles, **options)
    torch.testing.assert_close(low.float(), exact, rtol=0.05, atol=0.1)
