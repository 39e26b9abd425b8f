"""Frames for clips: the steps of an edit, or a walk between latents."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from framework.jobs.models import render
from framework.jobs.paste import InPhoto
from framework.media.draw import draw_state, rgb
from framework.models.stylegan2 import Generator

MAX_STEP_FRAMES = 120


def shown_steps(count: int, at_most: int = MAX_STEP_FRAMES) -> list[int]:
    """Return which of `count` steps a clip shows: all, or evenly chosen with first and last."""
    if count <= at_most:
        return list(range(count))
    return [round(index * (count - 1) / (at_most - 1)) for index in range(at_most)]


def edit_frames(
    generator: Generator,
    latents: Sequence[Tensor],
    points: Sequence[Sequence[Sequence[float]]],
    targets: Sequence[Sequence[float]],
    overlay: bool = True,
    at_most: int = MAX_STEP_FRAMES,
    in_photo: InPhoto | None = None,
) -> Iterator[np.ndarray]:
    """Draw the steps of a drag, one frame each.

    Args:
        generator: The model of the edit.
        latents: Latents of each step, (1, num_ws, w_dim).
        points: Tracked points (x, y) of each step.
        targets: The points' targets (x, y).
        overlay: Draw targets, tracks and points on the frames.
        at_most: Largest number of frames.
        in_photo: Show the photograph with the edit in its place, not the model's picture alone.

    Yields:
        uint8 pictures (H, W, 3), enlarged so that the drawings on them can be seen.
    """
    for index in shown_steps(len(latents), at_most):
        picture = render(generator, latents[index])
        if in_photo is None:
            picture = rgb(picture)
            way, ends, size = points[: index + 1], targets, 1.0
        else:
            picture, size = in_photo.picture(picture), in_photo.marks
            way, ends = [in_photo.points(p) for p in points[: index + 1]], in_photo.points(targets)
        if overlay:
            tracks = list(zip(*way, strict=True))
            picture = draw_state(picture, way[-1], ends, tracks, resample="nearest", size=size)
        yield picture


def walk_latents(keys: Tensor, frames_per_leg: int) -> Iterator[Tensor]:
    """Walk through latents and back to the first, without a kink (Catmull and Rom 1974).

    Args:
        keys: The latents to pass through, (K, num_ws, w_dim), K at least 2.
        frames_per_leg: Frames from one to the next.

    Yields:
        Latents (1, num_ws, w_dim), K * frames_per_leg of them.
    """
    count = len(keys)
    for leg in range(count):
        before, start, end, after = (keys[(leg + offset) % count] for offset in (-1, 0, 1, 2))
        for frame in range(frames_per_leg):
            t = frame / frames_per_leg
            yield (
                start
                + 0.5 * t * (end - before)
                + t**2 * (before - 2.5 * start + 2 * end - 0.5 * after)
                + t**3 * (1.5 * (start - end) + 0.5 * (after - before))
            )[None]
