"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation): features of any picture.

It is a small classifier of ImageNet that comes as a package of its own, so nothing is downloaded
when it is used. Nothing here is trained against it, so it is an independent ruler.
Names of modules are those of the published weights.
"""

from collections.abc import Iterator
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import BrokenCheckpoint
from framework.models.features.weights import LITE0, read_weights

# Repeats, kernel, stride, expansion, channels out (Tan and Le 2019, table 1; width and depth 1.0).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS, NUM_FEATURES, NUM_CLASSES = 32, 1280, 1000
_EPSILON = 1e-3
_LAST_OF_A_SIZE = (0, 2, 4, 10, 15)  # the blocks before each halving, and the last block
_FIRST_OF_A_SIZE = (1, 3, 5, 11)  # the blocks that halve


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: an odd pixel of padding goes right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, O, ceil(H / stride), ceil(W / stride))."""
        (k, _), (s, _) = self.kernel_size, self.stride
        padding = [max(0, (-(-side // s) - 1) * s + k - side) for side in input.shape[2:]]
        pad_h, pad_w = padding
        x = F.pad(input, (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2))
        return super().forward(x)


class InvertedResidual(nn.Module):
    """A block that expands, filters each channel and projects (Sandler et al. 2018), with ReLU6."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.adds = stride == 1 and channels == out
        if expansion > 1:
            self._expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, out, 1, bias=False)
        self._bn2 = _norm(out)

    def expanded(self, x: Tensor) -> Tensor:
        """Return the inner features, (N, C * expansion, H, W), before they are filtered."""
        return F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, O, H / stride, W / stride)."""
        return self.projected(self.expanded(x), x)

    def projected(self, expanded: Tensor, x: Tensor) -> Tensor:
        """Return the block's output from its input and its inner features."""
        y = F.relu6(self._bn1(self._depthwise_conv(expanded)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network, always in evaluation mode and without gradients to its weights.

    Pictures are (N, 3, H, W) in [-1, 1], of any size; it was trained on 224x224.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, STEM_CHANNELS, 3, 2, bias=False)
        self._bn0 = _norm(STEM_CHANNELS)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = nn.Conv2d(STAGES[-1][-1], NUM_FEATURES, 1, bias=False)
        self._bn1 = _norm(NUM_FEATURES)
        self._fc = nn.Linear(NUM_FEATURES, NUM_CLASSES)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Stay in evaluation mode: the normalisation is a part of the weights."""
        return super().train(False)

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the last features of each size, 1/2 to 1/32 of the pictures', finest first."""
        x = F.relu6(self._bn0(self._conv_stem(images)))
        outputs = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in _LAST_OF_A_SIZE:
                outputs.append(x)
        return outputs

    def rectified(self, images: Tensor) -> list[Tensor]:
        """Return what the network rectifies before each halving, 1/2 to 1/16, finest first.

        The stem, then the first expansion of blocks that halve: many channels, not negative, where
        the blocks' outputs are few and linear. What lies behind the last of them is not computed.
        """
        x = F.relu6(self._bn0(self._conv_stem(images)))
        outputs = [x]
        for index, block in enumerate(self._blocks):
            assert isinstance(block, InvertedResidual)
            expanded = block.expanded(x)
            if index in _FIRST_OF_A_SIZE:
                outputs.append(expanded)
            if index == _FIRST_OF_A_SIZE[-1]:
                break
            x = block.projected(expanded, x)
        return outputs

    def pooled(self, images: Tensor) -> Tensor:
        """Return the classifier's input: the head's mean over positions, (N, 1280)."""
        x = self.stages(images)[-1]
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of ImageNet's classes, (N, 1000)."""
        return self._fc(self.pooled(images))


def _blocks() -> Iterator[InvertedResidual]:
    channels = STEM_CHANNELS
    for repeats, kernel, stride, expansion, out in STAGES:
        for repeat in range(repeats):
            yield InvertedResidual(channels, out, kernel, 1 if repeat else stride, expansion)
            channels = out


def load_lite0(weights: Path) -> EfficientNetLite0:
    """Load the network with the published weights (`find_weights`); `UserError` for others."""
    network = EfficientNetLite0()
    try:
        network.load_state_dict(read_weights(weights))
    except RuntimeError as error:
        raise BrokenCheckpoint(f"{weights}: not the weights of {LITE0.name}") from error
    return network.requires_grad_(False)
