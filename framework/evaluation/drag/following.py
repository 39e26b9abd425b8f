"""Trackers on their own: points followed along states whose truth somebody else knows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework.drag.interface import Draggable, View
from framework.drag.likeness import last_look
from framework.drag.registry import named
from framework.drag.settings import DragSettings
from framework.drag.stylegan2 import StyleGAN2
from framework.evaluation.drag.known_motion import Motion
from framework.models.frozen import gradients


@dataclass(frozen=True, eq=False)
class Followed:
    """K points followed along S states after the first.

    Args:
        path: Where the tracker saw them, (x, y) in pixels, shape (S, K, 2).
        drift: The tracker's own measure of how much they have changed at the end, shape (K,).
        confidence: The drag's own doubt, `framework.drag.likeness.last_look`, K values.
        cpu_ms: Mean CPU time of a call of `follow`; the views of the states are not in it.
    """

    path: Tensor
    drift: Tensor
    confidence: tuple[float, ...]
    cpu_ms: float


def follow(
    draggable: Draggable, states: Sequence[Any], handles: Tensor, settings: DragSettings
) -> Followed:
    """Follow handles (x, y), shape (K, 2), of the first state through the others.

    The tracker is not told of any move: `off` stays where it is.

    Raises:
        UserError: If the tracker lacks something, such as its weights.
    """
    sizes = settings.sizes(draggable.img_size, len(handles))
    path, spent_sec, points = [], 0.0, handles
    with gradients(False):
        before = now = draggable.view(states[0])
        tracker = named("trackers", settings.tracker)(draggable, before, handles, sizes)
        drift = torch.zeros(len(handles))
        for state in states[1:]:
            now = draggable.view(state)
            start_sec = time.process_time()
            points, drift = tracker.follow(now, points, torch.zeros_like(points))
            spent_sec += time.process_time() - start_sec
            path.append(points)
        confidence = last_look(draggable, before, now, handles, points)
    return Followed(torch.stack(path), drift, confidence, 1000 * spent_sec / len(path))


class MovingFeatures:
    """A still picture of a model whose features, and picture, are moved as is known.

    A `Draggable` for trackers alone: its state is the share of the motion, shape (1,), and it has
    neither statistics nor realism.

    Args:
        model: The model, whose features at the settings' block are moved.
        ws: Latents of the picture, shape (1, num_ws, w_dim).
        motion: The whole motion.
    """

    def __init__(self, model: StyleGAN2, ws: Tensor, motion: Motion) -> None:
        self.img_size, self._motion = model.img_size, motion
        with gradients(False):
            self._still = model.view(ws)
            self._maps = model.maps(self._still)
            self._picture = model.picture(ws, self._still)
            self._finer = model.finer(ws)

    def own(self, state: Tensor) -> Tensor:
        """A copy of the share."""
        return state.clone()

    def trainable(self, state: Tensor) -> Tensor:
        """The share itself."""
        return state

    def moved(self, state: Tensor, update: Tensor) -> Tensor:
        """Further on."""
        return state + update

    def view(self, state: Tensor) -> View:
        """The features after the share of the motion."""
        running = self._still.running
        return View(
            state,
            state,
            self._warped(state, self._still.features),
            None if running is None else self._warped(state, running),
        )

    def gradient(self, view: View, loss: Tensor, keep: bool = False) -> Tensor:
        """Gradient by the share."""
        return torch.autograd.grad(loss, view.leaf, retain_graph=keep)[0]

    def picture(self, state: Tensor, view: View | None = None) -> Tensor:
        """The picture, moved in the same way."""
        return self._warped(state, self._picture)

    def showing(self, picture: Tensor, state: Tensor) -> Tensor:
        """The state as it is: nothing is dragged here."""
        return state

    def finer(self, state: Tensor) -> Tensor | None:
        """The features of a larger block, moved in the same way."""
        return None if self._finer is None else self._warped(state, self._finer)

    def maps(self, view: View) -> list[Tensor]:
        """All maps, moved in the same way."""
        return [self._warped(view.state, each) for each in self._maps]

    def predicted(self, view: View, points: Tensor, moves: Tensor) -> None:
        """Not known."""

    def statistics(self) -> Any:
        """There are none: nothing is dragged."""
        raise NotImplementedError("moving features are for trackers alone")

    def realism(self, picture: Tensor) -> None:
        """Nobody judges."""

    def _warped(self, state: Tensor, values: Tensor) -> Tensor:
        return self._motion.part(float(state)).warped(values)
