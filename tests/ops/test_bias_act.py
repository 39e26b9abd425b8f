"""Bias, activation, gain and clamp."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from framework.ops.bias_act import bias_act


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 6)])
def test_leaky_relu_by_hand(shape):
    x, bias = torch.randn(shape), torch.tensor([1.0, -2.0, 0.5])
    y = bias_act(x, bias)
    for index, value in enumerate(x.flatten()):
        place = [int(i) for i in torch.unravel_index(torch.tensor(index), shape)]
        value = float(value) + float(bias[place[1]])
        expected = math.sqrt(2) * (value if value > 0 else 0.2 * value)
        assert float(y[tuple(place)]) == pytest.approx(expected, abs=1e-6)


def test_linear_gain_and_clamp():
    x = torch.tensor([[-4.0, 0.5, 3.0]])
    torch.testing.assert_close(bias_act(x, act="linear"), x)
    expected = torch.tensor([[-5.0, 1.0, 5.0]])
    torch.testing.assert_close(bias_act(x, act="linear", gain=2, clamp=5), expected)


def test_second_moment_of_a_unit_normal_is_kept():
    y = bias_act(torch.randn(400, 250))
    assert float(y.square().mean()) == pytest.approx(1.04, abs=0.02)  # 2 * (1 + 0.2^2) / 2


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="swish"):
        bias_act(torch.zeros(1, 1), act="swish")


def test_derivatives():
    x = (torch.randn(2, 3, 2, 2, dtype=torch.float64) * 3).requires_grad_()
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, b: bias_act(x, b, gain=0.7), (x, bias))
    assert gradgradcheck(lambda x, b: bias_act(x, b, gain=0.7).square(), (x, bias))


def test_bfloat16_stays_bfloat16():
    x, bias = torch.randn(2, 3), torch.randn(3)
    low = bias_act(x.bfloat16(), bias)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), bias_act(x, bias), rtol=0.03, atol=0.03)
