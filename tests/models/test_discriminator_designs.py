"""The two designs of the discriminator, each against its definition in plain sums."""

import math

import pytest
import torch
import torch.nn.functional as F

from framework.errors import UserError
from framework.models.stylegan2 import Discriminator
from framework.models.stylegan2.discriminator import minibatch_stddev

SMALL = {"channel_base": 128, "channel_max": 12, "mbstd_group_size": 2}


def filtered(x, stride):
    """The FIR filter (1, 3, 3, 1) / 8 along both axes of zero-padded pictures."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, stride=stride, groups=x.shape[1])


def activated(x, bias, gain):
    return F.leaky_relu(x + bias[:, None, None], 0.2) * math.sqrt(2) * gain


def naive_logits(state, x, resolutions, residual):
    """Figure 7 of Karras et al. 2020, block by block, from a state dict alone."""

    def weight(name):
        w = state[f"{name}.weight"]
        return w / math.sqrt(w[0].numel())

    gain = math.sqrt(0.5) if residual else 1.0
    top = f"b{resolutions[0]}"
    x = activated(F.conv2d(x, weight(f"{top}.fromrgb")), state[f"{top}.fromrgb.bias"], 1)
    for block in (f"b{r}" for r in resolutions[:-1]):
        y = F.conv2d(x, weight(f"{block}.conv0"), padding=1)
        y = activated(y, state[f"{block}.conv0.bias"], 1)
        y = F.conv2d(filtered(F.pad(y, [2] * 4), 1), weight(f"{block}.conv1"), stride=2)
        y = activated(y, state[f"{block}.conv1.bias"], gain)
        if residual:
            y = y + gain * F.conv2d(filtered(F.pad(x, [1] * 4), 2), weight(f"{block}.skip"))
        x = y
    x = F.conv2d(minibatch_stddev(x, SMALL["mbstd_group_size"]), weight("b4.conv"), padding=1)
    x = activated(x, state["b4.conv.bias"], 1).flatten(1)
    x = F.leaky_relu(x @ weight("b4.fc").T + state["b4.fc.bias"], 0.2) * math.sqrt(2)
    return x @ weight("b4.out").T + state["b4.out.bias"]


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_each_design_is_its_definition(architecture):
    torch.manual_seed(0)
    network = Discriminator((24, 32), **SMALL, architecture=architecture)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    images = torch.randn(4, 3, 24, 32)
    expected = naive_logits(
        {k: v.double() for k, v in network.state_dict().items()},
        images.double(),
        network.resolutions,
        residual=architecture == "resnet",
    )
    torch.testing.assert_close(network(images), expected.float(), rtol=0, atol=1e-4)


def test_the_plain_design_has_no_shortcuts():
    names = set(Discriminator(16, **SMALL, architecture="orig").state_dict())
    full = set(Discriminator(16, **SMALL).state_dict())
    assert full - names == {
        f"b{r}.skip.{tensor}" for r in (8, 16) for tensor in ("weight", "resample_filter")
    }
    assert not names - full


def test_other_designs_are_refused():
    with pytest.raises(UserError, match="resnet or orig"):
        Discriminator(16, **SMALL, architecture="skip")
