"""The drag itself: a stream of steps, each moving the latents a little (Pan et al. 2023)."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.drag.features import patches
from framework.drag.inputs import EditInputs, check_inputs, image_size
from framework.drag.likeness import LEAST_CONFIDENCE, confidence
from framework.drag.motion import directions, fixed_area, mask_loss, motion_loss
from framework.drag.pulls import Pulls, stalled, usual_length
from framework.drag.settings import DragSettings, ResolvedSettings
from framework.drag.step import DragStep, Picture, Status
from framework.drag.tracking import track
from framework.errors import InvalidEdit
from framework.models.frozen import NOISE_MODE, Adam, adam_update, gradients
from framework.models.stylegan2 import Generator


def drag_points(
    generator: Generator,
    ws: Tensor,
    handles: Any,
    targets: Any,
    mask: Any = None,
    settings: DragSettings | None = None,
    *,
    resume_from: DragStep | None = None,
) -> Iterator[DragStep]:
    """Drag handle points of a generated picture to targets.

    Inputs are checked at once; then each step is computed when it is asked for. To stop, ask for no
    more. The generator is only read: its weights get no gradients and nothing on it is set, so that
    one generator may serve many drags.

    Args:
        generator: A frozen generator (`framework.models.stylegan2.Generator` or alike).
        ws: Latents of the picture, shape (1, num_ws, w_dim) or (num_ws, w_dim).
        handles: Points (x, y) to drag, in image pixels, origin top left, pixel centres at integers,
            shape (K, 2), 1 ≤ K ≤ 64, inside the picture; fractions are kept.
        targets: Where they should go, shape (K, 2), inside the picture.
        mask: What may change, shape (H, W), from 0 (stays) to 1 (may change); None for everything.
        settings: See `DragSettings`; None for the paper's.
        resume_from: A step of an earlier drag with the same `ws` and `handles`: go on from there.
            `targets`, `mask` and `settings` may differ.

    Returns:
        The steps, beginning with the picture as it is (step 0, or `resume_from`'s), ending with one
        whose status is not "moving".

    Raises:
        InvalidEdit: If latents, points or mask do not fit the model.
        UserError: If a setting does not.
    """
    settings = settings or DragSettings()
    with gradients(False):  # copies made in a caller's inference mode could get no gradients
        inputs = check_inputs(generator, ws, handles, targets, mask)
    resolved = settings.resolve(
        image_size(generator),
        generator.synthesis.resolutions,
        generator.num_ws,
        len(inputs.handles),
    )
    if resume_from is not None and resume_from.points.shape != inputs.handles.shape:
        raise InvalidEdit(
            f"{len(inputs.handles)} points but the step to resume from has"
            f" {len(resume_from.points)}: start a new drag from its ws and points"
        )
    return _drag(generator, inputs, settings, resolved, resume_from)


def _drag(
    generator: Generator,
    inputs: EditInputs,
    settings: DragSettings,
    resolved: ResolvedSettings,
    resume_from: DragStep | None,
) -> Iterator[DragStep]:
    """The paper's loop, in one piece to be read beside it (section 3.2, algorithm and equations).

    Nothing is yielded inside a `with`: the caller's gradient mode is the caller's.
    """
    synthesis, img_size = generator.synthesis, image_size(generator)
    targets = inputs.targets
    picture = Picture(generator)
    deadline = None if settings.max_seconds is None else time.monotonic() + settings.max_seconds

    # What the handles and the fixed area looked like before the drag.
    with gradients(False):
        partial = synthesis.partial(inputs.ws, resolved.resolution, noise_mode=NOISE_MODE)
        initial = partial.x.to(inputs.ws.dtype)
        initial_views = _views(partial, initial)
        templates = patches(initial, inputs.handles, settings.template_radius_px, img_size)
        fixed = None if inputs.mask is None else fixed_area(inputs.mask, initial)
        step_index, ws, points, optimizer = _beginning(inputs, settings, resolved, resume_from)
        usual, settled = _settling(ws, targets, resume_from)
        steps = torch.zeros_like(points)
    del partial
    first_index, last, nearness = step_index, None, []
    pulls = Pulls(settings, resolved.layers, masked=fixed is not None and settings.mask_weight > 0)
    settle_steps = settings.settle_steps if pulls.masked else 0

    try:
        while True:
            with gradients(True):
                ws = ws.detach().requires_grad_()
                partial = synthesis.partial(ws, resolved.resolution, noise_mode=NOISE_MODE)
                features = partial.x.to(ws.dtype)
                picture = Picture(generator, partial)

                # Point tracking (eq. 2): the update moved the handles; find them again.
                with torch.no_grad():
                    moved = step_index > first_index
                    if moved and settings.tracking == "off":
                        points = points + steps
                    searched = moved and settings.tracking == "nearest"
                    radius = resolved.tracking_radius_px if searched else 0
                    points, drift = track(features, points, templates, radius, img_size)
                    distances = (targets - points).norm(dim=1)
                    steps = directions(points, targets)

                # Motion supervision (eq. 1), for arrived handles too: released, they would wander.
                motion = motion_loss(features, points, steps, resolved.motion_radius_px, img_size)
                total = motion.sum()
                change = total.new_zeros(())
                if fixed is not None:
                    change = mask_loss(_views(partial, features), initial_views, fixed)

                # All numbers leave the device together: one wait a step.
                health = ws.detach().sum() + features.detach().sum()
                scalars = torch.stack([health, total, change, usual]).detach()
                numbers = torch.cat([scalars, distances, drift, points.flatten()]).cpu()

            if not torch.isfinite(numbers).all():
                if last is None:
                    raise InvalidEdit("the model gives NaN or infinity for these latents")
                yield replace(last, step=step_index, status="diverged")
                return

            count = len(points)
            apart, drifts, places = numbers[4:].split([count, count, 2 * count])
            at_targets = max(apart.tolist()) <= resolved.stop_distance_px
            out_of_steps = step_index - first_index >= settings.max_steps
            out_of_time = deadline is not None and time.monotonic() >= deadline
            settles = settled < settle_steps and not (out_of_steps or out_of_time)
            status = _status(at_targets and not settles, out_of_steps, out_of_time)
            nearness.append(max(apart.tolist()))
            if status == "max_steps" and stalled(nearness) and pulls.held(total, change, ws):
                status = "held"
            sure = ()
            if status != "moving":  # is what was taken hold of still there?
                sure = _confidence(generator, inputs, ws, points, initial, features)
            if status == "arrived" and min(sure) < LEAST_CONFIDENCE:
                status = "lost"
            last = DragStep(
                step=step_index,
                status=status,
                ws=ws.detach(),
                points=places.view(count, 2).clone(),
                targets=targets.cpu(),
                motion_loss=numbers[1].item(),
                mask_loss=numbers[2].item(),
                distance_px=tuple(apart.tolist()),
                drift=tuple(drifts.tolist()),
                optimizer=optimizer,
                picture=picture,
                confidence=sure,
                pull_length=numbers[3].item(),
                settled=settled,
            )
            yield last
            if status != "moving":
                return

            # Only the latents get a gradient; then one step of Adam on those that move.
            # The mask pulls as hard as the points do now; once they are there, as they used to.
            both = pulls.of(total, change, ws, usual if at_targets else torch.zeros_like(usual))
            with gradients(False):
                optimizer, update = adam_update(optimizer, both.gradient, settings.learning_rate)
                ws = ws.detach().clone()
                ws[:, : resolved.layers] += update
                usual = usual if at_targets else usual_length(usual, both.pull_length)
            step_index += 1
            settled += at_targets
            # Let go of this step's features before the next are made: half the memory.
            picture.forget()
            del partial, features, motion, total, change
    finally:
        picture.forget()


def _views(partial: Any, features: Tensor) -> list[Tensor]:
    """What a mask compares: the block's features and, where it has one, its running picture."""
    return [features] if partial.img is None else [features, partial.img.to(features.dtype)]


def _settling(ws: Tensor, targets: Tensor, resume_from: DragStep | None) -> tuple[Tensor, int]:
    """The points' usual pull, and for how many steps they have been at these targets."""
    if resume_from is None:
        return ws.new_zeros(()), 0
    same = torch.equal(resume_from.targets.to(targets), targets)
    return ws.new_tensor(resume_from.pull_length), resume_from.settled if same else 0


def _confidence(
    generator: Generator,
    inputs: EditInputs,
    ws: Tensor,
    points: Tensor,
    initial: Tensor,
    features: Tensor,
) -> tuple[float, ...]:
    """How sure each point is, by the drag's features and those of the last block."""
    synthesis, before, after = generator.synthesis, [initial], [features.detach()]
    last = synthesis.resolutions[-1]
    with gradients(False):
        if synthesis.block_size(last) != tuple(initial.shape[2:]):
            for views, latents in ((before, inputs.ws), (after, ws.detach())):
                partial = synthesis.partial(latents, last, noise_mode=NOISE_MODE)
                views.append(partial.x.to(latents.dtype))
        sure = confidence(before, after, inputs.handles, points, image_size(generator))
    return tuple(sure.tolist())


def _beginning(
    inputs: EditInputs,
    settings: DragSettings,
    resolved: ResolvedSettings,
    resume_from: DragStep | None,
) -> tuple[int, Tensor, Tensor, Adam]:
    """Step number, latents, points and Adam's state to begin with, in tensors of their own."""
    rows = 1 if settings.latent_space == "w" else resolved.layers
    optimizer = Adam.new(inputs.ws[:, :rows])
    if resume_from is None:
        return 0, inputs.ws, inputs.handles, optimizer
    ws = resume_from.ws.to(inputs.ws, copy=True)
    points = resume_from.points.to(inputs.handles, copy=True)
    known = resume_from.optimizer
    if known is not None and known.mean.shape == optimizer.mean.shape:
        mean, square = known.mean.to(ws, copy=True), known.square.to(ws, copy=True)
        optimizer = Adam(known.count, mean, square)
    return resume_from.step, ws, points, optimizer


def _status(arrived: bool, out_of_steps: bool, out_of_time: bool) -> Status:
    if arrived:
        return "arrived"
    if out_of_steps:
        return "max_steps"
    return "max_seconds" if out_of_time else "moving"
