"""Networks of translations: sizes, noise, and the normalisation of SPADE against its formula."""

import pytest
import torch
import torch.nn.functional as F

from framework.errors import UserError
from framework.models.translation.condition import Condition
from framework.models.translation.judge import PatchJudge
from framework.models.translation.resnet import ResnetTranslator
from framework.models.translation.spade import SpadeGenerator, SpadeNorm, StyleReader
from framework.models.translation.unet import UNet


@pytest.fixture(autouse=True)
def drawn():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_labels_become_planes_and_sketches_stay():
    levels = torch.tensor([[[[0.0, 2], [1, 1]]]]) / 127.5 - 1
    planes = Condition("labels", 1, 3).encode(levels)
    assert planes.shape == (1, 3, 2, 2) and planes.sum(dim=1).eq(1).all()
    assert planes[0, :, 0, 1].tolist() == [0, 0, 1] and planes[0, :, 1, 0].tolist() == [0, 1, 0]
    assert Condition("sketch").encode(levels) is levels
    again = Condition("labels", 1, 3, ("a", "b", "c"))
    assert Condition.from_dict(again.to_dict()) == again
    for wrong in (("labels", 1, 1), ("sketch", 1, 3), ("sketch", 2, 0)):
        with pytest.raises(ValueError):
            Condition(*wrong)


@pytest.mark.parametrize("network", [UNet(2, 3, 4, 3), ResnetTranslator(2, 3, 4, 1)])
def test_pictures_have_the_size_of_their_conditions(network):
    assert network(torch.rand(2, 2, 16, 24)).shape == (2, 3, 16, 24)
    with pytest.raises(UserError, match=r"must be multiples of"):
        network(torch.rand(1, 2, 18, 16))


def test_dropout_is_the_only_noise_and_keyed():
    network, condition = UNet(1, 3, 4, 3), torch.rand(1, 1, 16, 16)
    draws = [network(condition, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(network(condition), network(condition))


def test_spade_normalises_then_scales_and_shifts_each_place_by_the_map():
    norm = SpadeNorm(3, 4, 5).double()
    x, maps = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 4, 8, 8).double()
    seen = F.relu(norm.shared(maps[:, :, ::2, ::2]))
    scale, shift = norm.scale_shift(seen)[:, :3], norm.scale_shift(seen)[:, 3:]
    centred = x - x.mean(dim=(0, 2, 3), keepdim=True)
    plain = centred / (centred.square().mean(dim=(0, 2, 3), keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(norm(x, maps), plain * (1 + scale) + shift)


def test_a_style_is_drawn_given_or_nothing():
    network = SpadeGenerator(3, 3, 16, (16, 16), 4, 4).eval()
    maps = F.one_hot(torch.randint(3, (2, 16, 16)), 3).movedim(-1, 1).float()
    drawn = network(maps, torch.Generator().manual_seed(1))
    assert drawn.shape == (2, 3, 16, 16) and not torch.allclose(drawn, network(maps), atol=1e-4)
    assert torch.equal(network(maps), network(maps, style=torch.zeros(2, 4)))
    mean, log_variance = StyleReader(3, 4, 4)(torch.rand(2, 3, 16, 16))
    assert mean.shape == log_variance.shape == (2, 4)
    with pytest.raises(UserError, match=r"must be a square"):
        SpadeGenerator(3, 3, 16, (16, 24))


def test_plain_weights_make_the_same_pictures():
    network = SpadeGenerator(3, 3, 16, (16, 16), 4, 4)
    maps = F.one_hot(torch.randint(3, (2, 16, 16)), 3).movedim(-1, 1).float()
    network(maps)  # a step of the power iteration, and running means
    network.eval()
    before = network(maps)
    assert any("original" in name for name in network.state_dict())
    loaded = SpadeGenerator.from_config(network.config)
    loaded.load_state_dict(network.plain_state())
    assert torch.allclose(loaded.eval()(maps), before, atol=1e-6)


def test_a_judge_sees_patches_at_each_scale():
    judge, pictures = PatchJudge(3, 4, 2, scales=2, spectral=True), torch.rand(1, 3, 64, 64)
    outcomes = judge(pictures)
    assert [features[-1].shape for features in outcomes] == [(1, 1, 14, 14), (1, 1, 6, 6)]
    assert [len(features) for features in outcomes] == [4, 4]
    judge = PatchJudge(3, 4, 1).eval()
    pictures.requires_grad_()
    judge(pictures)[0][0].sum()  # no norm: what one logit sees is its patch
    judge.scales[0][1] = torch.nn.Conv2d(4, 8, 4, 1, 1)
    x = F.leaky_relu(judge.scales[0][0](pictures), 0.2)
    for layer in list(judge.scales[0])[1:]:
        x = layer(x)
    (grad,) = torch.autograd.grad(x[0, 0, 10, 10], pictures)
    rows = grad.abs().sum(dim=(0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 16
