"""A drag: a stream of steps, each moving a picture's state a little towards its targets."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from framework.drag.adapters import draggable_of
from framework.drag.inputs import check_drag
from framework.drag.interface import Draggable
from framework.drag.registry import named
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep
from framework.errors import InvalidEdit
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.frozen import gradients
from framework.models.stylegan2 import Discriminator, Generator

WATCHED = frozenset({"dragline"})  # methods that take a discriminator, where there is one
PREDICTING = frozenset({"latent-transformer"})  # those that take an editor


def drag_points(
    generator: Generator | DiffusionGenerator,
    ws: Tensor,
    handles: Any,
    targets: Any,
    mask: Any = None,
    settings: DragSettings | None = None,
    *,
    resume_from: DragStep | None = None,
    discriminator: Discriminator | None = None,
    editor: LatentTransformer | None = None,
    origin: Generator | DiffusionGenerator | None = None,
) -> Iterator[DragStep]:
    """Drag handle points of a generated picture to targets.

    Inputs are checked at once; each step is computed when the caller asks for it. To stop, ask for
    no more. The generator is only read: its weights get no gradients and nothing on it is set, so
    one generator can serve many drags.

    Args:
        generator: A frozen generator (`framework.models.stylegan2.Generator` or similar), or a
            diffusion model.
        ws: Latents of the picture, shape (1, num_ws, w_dim) or (num_ws, w_dim).
        handles: Points (x, y) to drag, in pixels, origin top left, pixel centres at integers,
            shape (K, 2), 1 ≤ K ≤ 64, inside the picture; fractions are kept.
        targets: Where the handles should go, shape (K, 2), inside the picture.
        mask: What may change, shape (H, W), from 0 (stays) to 1 (may change); None for everything.
        settings: See `DragSettings`; None for the paper's.
        resume_from: A step of an earlier drag with the same `ws` and `handles`: go on from there.
            `targets`, `mask` and `settings` may differ.
        discriminator: The generator's frozen discriminator, by which the method "dragline" keeps
            pictures real; other methods do not use it.
        editor: The generator's frozen latent transformer, which the method "latent-transformer"
            needs; other methods do not use it.
        origin: The generator that this one was tuned from, if it was: "dragline" takes its
            statistics rather than measure new ones.

    Returns:
        The steps, beginning with the picture as it is (step 0, or `resume_from`'s), ending with one
        whose status is not "moving".

    Raises:
        InvalidEdit: If latents, points or mask do not fit the model.
        UserError: If a setting does not.
    """
    draggable = draggable_of(generator, settings, discriminator, editor, origin)
    return drag_state(draggable, ws, handles, targets, mask, settings, resume_from=resume_from)


def drag_state(
    draggable: Draggable,
    state: Any,
    handles: Any,
    targets: Any,
    mask: Any = None,
    settings: DragSettings | None = None,
    *,
    resume_from: DragStep | None = None,
) -> Iterator[DragStep]:
    """Drag handle points of any draggable's picture; see `drag_points`."""
    settings = settings or DragSettings()
    with gradients(False):  # copies made in a caller's inference mode could get no gradients
        drag = check_drag(draggable, state, handles, targets, mask)
    if resume_from is not None and resume_from.points.shape != drag.handles.shape:
        raise InvalidEdit(
            f"{len(drag.handles)} points but the step to resume from has"
            f" {len(resume_from.points)}: start a new drag from its ws and points"
        )
    return named("methods", settings.method)(draggable, drag, settings, resume_from)
