"""Style by optimisation: pixels that have the content's features and the style's statistics.

Gatys et al. 2016 (Image style transfer using convolutional neural networks) on the features of
EfficientNet-Lite0, by L-BFGS as there, but coarse to fine and from the photograph in the style's
colours: a few dozen steps of small pictures move what hundreds of large ones would not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.filling import FillStep
from framework.models.frozen import gradients
from framework.models.style.statistics import gram, gram_distance
from framework.style.carry import Carrier
from framework.style.colours import in_colours_of
from framework.style.settings import StyleNetworks, StyleSettings

KEEPS_EDGES = False
COARSEST_PX = 48  # longer side of the smallest picture, at least
_CONTENT_LEVEL = 4  # of `seen`: 1/4 of the picture
_CONTENT_WEIGHT = 0.02  # beside the style's
_HISTORY = 20  # of L-BFGS
_SCALE = 1e3  # of the loss: L-BFGS' first step is 1 / |gradient|
_OUTSIDE = 1.0  # weight of values that no pixel has

Extra = Callable[[Tensor], Tensor]


def run(
    content: Tensor, style: Tensor, networks: StyleNetworks, settings: StyleSettings
) -> Iterator[FillStep]:
    """Optimise from the coarsest picture to the finest."""
    return optimised(content, style, networks, settings, lambda _: None)


def optimised(
    content: Tensor,
    style: Tensor,
    networks: StyleNetworks,
    settings: StyleSettings,
    extra_for: Callable[[Tensor], Extra | None],
) -> Iterator[FillStep]:
    """Optimise a picture from coarse to fine.

    Args:
        content: The photograph, float32 (1, 3, H, W).
        style: The style's picture, float32 (1, 3, any, any).
        networks: The features.
        settings: Steps and strength.
        extra_for: Function from the content at a level's size to a further term of the loss there,
            a function of the picture; None for none.
    """
    sizes = levels(content)
    steps = settings.steps * len(sizes) if settings.strength else 0
    current, before, step = in_colours_of(content, style, settings.strength), content, 0
    yield FillStep(current, "colours", 0, steps)
    if not steps:
        return
    for number, size in enumerate(sizes):
        shown = F.adaptive_avg_pool2d(content, size)
        model = smaller(style, size[0] / content.shape[2])
        current = (
            Carrier(before, current, strokes=True).carried(shown, slice(0, size[0]), size)
            if number
            else F.adaptive_avg_pool2d(current, size)
        )
        before = shown
        loss = Loss.of(shown, model, networks, settings.strength, extra_for(shown))
        descent = _Descent(current, loss)
        for _ in range(settings.steps):
            current, step = descent.step(), step + 1
            stage = f"level {number + 1} of {len(sizes)}"
            yield FillStep(current, stage, step, steps)


def levels(content: Tensor) -> list[tuple[int, int]]:
    """Return the sizes to work at, coarse to fine, each half of the next."""
    sizes = [(content.shape[2], content.shape[3])]
    while max(sizes[0]) >= 2 * COARSEST_PX and min(sizes[0]) >= 64:
        sizes.insert(0, (round(sizes[0][0] / 2), round(sizes[0][1] / 2)))
    return sizes


def smaller(picture: Tensor, factor: float) -> Tensor:
    """Shrink a picture (1, 3, H, W) by averaging, to at least 32 px a side."""
    size = [min(side, max(32, round(side * factor))) for side in picture.shape[2:]]
    return F.adaptive_avg_pool2d(picture, (size[0], size[1]))


@dataclass(frozen=True, eq=False)
class Loss:
    """What a picture is judged by (Gatys et al. 2016, equation 7).

    Attributes:
        networks: The features.
        content: The content's features of one level.
        grams: The style's Gram matrices of colours and all levels.
        strength: Weight of the style, above 0.
        extra: A further term.
    """

    networks: StyleNetworks
    content: Tensor
    grams: list[Tensor]
    strength: float
    extra: Extra | None

    @classmethod
    def of(
        cls, content: Tensor, style: Tensor, networks: StyleNetworks, strength: float,
        extra: Extra | None,
    ) -> "Loss":  # fmt: skip
        """Compute what is wanted, of pictures (1, 3, any, any)."""
        with gradients(False):
            wanted = seen(content, networks)[_CONTENT_LEVEL]
            grams = [gram(features) for features in seen(style, networks)]
        return cls(networks, wanted, grams, strength, extra)

    def __call__(self, picture: Tensor) -> Tensor:
        """Return the loss of a picture (1, 3, H, W)."""
        features = seen(picture, self.networks)
        manner = gram_distance(features, self.grams)
        error = (features[_CONTENT_LEVEL] - self.content).square().mean()
        content = error / self.content.square().mean().clamp(min=1e-6)
        total = manner + _CONTENT_WEIGHT / self.strength**2 * content
        total = total + _OUTSIDE * F.relu(picture.abs() - 1).square().mean()
        return total if self.extra is None else total + self.extra(picture)


def seen(picture: Tensor, networks: StyleNetworks) -> list[Tensor]:
    """Return all that has a manner: colours, from 0 to 1, their slopes, and features.

    The network's strides skip pixels. Without slopes, grids that it does not see would grow.
    """
    across, down = picture.diff(dim=3)[:, :, :-1], picture.diff(dim=2)[..., :-1]
    slopes = torch.cat([across, down, picture.diff(dim=3).diff(dim=2)], dim=1)
    return [(picture + 1) / 2, slopes, *networks.features(picture)]


class _Descent:
    """A descent by L-BFGS that keeps the best picture.

    A step that leads out of the finite numbers, or to ten times the best loss, is taken back, and
    the memory of curvature is dropped.
    """

    def __init__(self, start: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        self._loss, self._best, self._least = loss, start, float("inf")
        self._begin()

    def _begin(self) -> None:
        self._x = self._best.detach().clone().contiguous().requires_grad_(True)
        self._solver = torch.optim.LBFGS(
            [self._x], max_iter=1, history_size=_HISTORY, tolerance_grad=0, tolerance_change=0
        )

    def step(self) -> Tensor:
        """Take a step; returns the best picture of those whose loss is known."""
        here = self._x.detach().clone()
        value = self._solver.step(self._closure).item()  # the loss before the step
        if value < self._least:
            self._best, self._least = here, value
        elif not value < 10 * self._least:
            self._begin()
        return self._best.clamp(-1, 1)

    def _closure(self) -> Tensor:
        with gradients(True):
            self._x.grad = None
            value = _SCALE * self._loss(self._x)
            value.backward()
        return value.detach()
