"""What can be dragged, and what drags it: the drag is written against these, not against a model.

A model needs an adapter (`stylegan2.py` is one). It has *states*: whatever changes while a picture
is dragged, such as latents. A part of a state is trainable; features at a block, and a picture, are
computed from the whole state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from framework.drag.settings import Sizes
from framework.drag.statistics import Statistics


@dataclass(frozen=True, eq=False)
class View:
    """What the drag sees of a state; with gradients on it holds the graph that led to it.

    Args:
        state: The state that is viewed.
        leaf: The leaf of the graph that `Draggable.gradient` differentiates by.
        features: Features, shape (1, C, h, w), in the dtype of the points.
        running: The unfinished picture at the features' block, shape (1, D, h, w), which a mask
            holds as well; None where the model has none.
        rest: What `Draggable.picture` continues from.
        sketch: What to show of the state while its picture would take too long, shape
            (1, C, h, w); None for the running picture.
    """

    state: Any
    leaf: Any
    features: Tensor
    running: Tensor | None = None
    rest: Any = None
    sketch: Tensor | None = None


class Draggable(Protocol):
    """A model whose pictures can be dragged; it is only read, and serves many drags at once.

    States are never written to: each method returns something new.
    """

    @property
    def img_size(self) -> tuple[int, int]:
        """The pictures' (height, width), in whose pixels points are given."""
        ...

    def own(self, state: Any) -> Any:
        """A copy of a caller's state, checked, on the model's device; `InvalidEdit` if it is none.

        The copy can get gradients whatever the caller's gradient mode.
        """
        ...

    def trainable(self, state: Any) -> Tensor:
        """The part of a state that the drag moves, any shape."""
        ...

    def moved(self, state: Any, update: Tensor) -> Any:
        """The state with an update added to its trainable part."""
        ...

    def view(self, state: Any) -> View:
        """Features of a state, with a graph where gradients are on."""
        ...

    def gradient(self, view: View, loss: Tensor, keep: bool = False) -> Tensor:
        """Gradient of a scalar by the trainable part, in its shape; `keep=True` keeps the graph."""
        ...

    def picture(self, state: Any, view: View | None = None) -> Tensor:
        """The picture, shape (1, C, H, W), about [-1, 1]; faster from the state's own view."""
        ...

    def showing(self, picture: Tensor, state: Any) -> Any:
        """The state that shows a picture, (1, C, H, W), as well as the model can.

        Args:
            picture: What is to be shown.
            state: A state that shows about the same.
        """
        ...

    def finer(self, state: Any) -> Tensor | None:
        """Features of a larger block, for the last check; None where there is none."""
        ...

    def maps(self, view: View) -> Sequence[Tensor]:
        """Feature maps of several sizes and the picture, last, with the view's graph: (1, C, h, w).

        Methods that track to a fraction of a pixel use these, others use `view.features`.
        """
        ...

    def statistics(self) -> Statistics:
        """How states vary, and how changing them changes pictures."""
        ...

    def predicted(self, view: View, points: Tensor, moves: Tensor) -> Tensor | None:
        """The update that a network thinks moves points; None where there is no such network.

        Args:
            view: View of the state.
            points: Where the points are, (x, y) in pixels, shape (K, 2).
            moves: Where they go from there, in pixels, shape (K, 2); zero holds a point.

        Returns:
            Shape of the trainable part.
        """
        ...

    def realism(self, picture: Tensor) -> Tensor | None:
        """How real a picture looks, a scalar, higher is better; None if there is no judge."""
        ...


@dataclass(frozen=True, eq=False)
class Drag:
    """The checked inputs of a drag: tensors on the model's device, of one dtype.

    Args:
        start: The state before the drag.
        handles: Points (x, y) in pixels, shape (K, 2).
        targets: Where the handles should go, shape (K, 2).
        mask: The mask, shape (H, W), 1 = may change, or None.
    """

    start: Any
    handles: Tensor
    targets: Tensor
    mask: Tensor | None


class Tracker(Protocol):
    """A way to find handles again: the class `Tracker` of each file in `trackers/`."""

    def __init__(self, draggable: Draggable, view: View, handles: Tensor, sizes: Sizes) -> None:
        """Remember how handles (x, y), shape (K, 2), look before the drag."""
        ...

    def follow(self, view: View, points: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find the points after an update.

        Args:
            view: View of the state now.
            points: Where they were before the update, shape (K, 2).
            moves: The moves that they should have made, shape (K, 2); None if there was no update.

        Returns:
            Where they are now, inside the picture, and their drift, shape (K,): the mean absolute
            difference between their features and those of the handles before the drag.
        """
        ...
