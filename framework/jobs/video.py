"""The clip of an edit drawn again, or of a walk between seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framework.drag.edit_file import EditFile
from framework.errors import UserError, blame
from framework.files import check_place, folder_above
from framework.jobs.clips import edit_frames, shown_steps, walk_latents
from framework.jobs.models import open_generator, render, seed_latents
from framework.jobs.outputs import CLIP
from framework.jobs.paste import InPhoto, OpenImage, open_linked
from framework.jobs.requests.pictures import Show, VideoRequest, parse_seeds
from framework.media.draw import rgb
from framework.media.video import FPS, SUFFIXES, check_clip_path, paced, write_video
from framework.models.stylegan2 import Generator

WALK = "walk.mp4"
# Endings of clips that cannot be written; a folder of such a name is not made.
OTHER_CLIPS = (".avi", ".mkv", ".mov", ".webm", ".webp", ".apng", ".png")


@dataclass(frozen=True)
class VideoOutcome:
    """The clip: its file, how many frames it has, and how many a second."""

    file: Path
    frames: int
    fps: float

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {"files": [str(self.file)], "frames": self.frames, "fps": self.fps}


def video(request: VideoRequest) -> VideoOutcome:
    """Write the clip of an edit or of a walk.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    target = check_place(request.out)
    in_folder = target.suffix.lower() not in (*SUFFIXES, *OTHER_CLIPS)
    clip = target / (WALK if request.edit is None else CLIP) if in_folder else target
    check_clip_path(clip)
    if target.exists() and not (in_folder and target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target}: already there; give a new name", "out")
    with folder_above(clip):
        frames = _walk(request) if request.edit is None else _replay(request, request.edit)
        return VideoOutcome(clip, write_video(clip, frames, request.fps), request.fps)


def _walk(request: VideoRequest) -> Iterator[np.ndarray]:
    """Return the frames from seed to seed and back to the first."""
    seeds = parse_seeds(request.seeds or "")
    generator = open_generator(request.model or "", request.device)
    keys = [seed_latents(generator, seed, request.psi, request.class_) for seed in seeds]
    walk = walk_latents(torch.cat(keys), request.frames)
    return (rgb(render(generator, ws)) for ws in walk)


def _replay(request: VideoRequest, edit: str) -> Iterator[np.ndarray]:
    """Return the frames of an edit's file."""
    with blame("edit", edit):
        record = EditFile.load(edit)
    generator = open_generator(request.model or record.model_name, request.device)
    inverted = open_linked(Path(edit), record, generator)
    generator = generator if inverted is None else inverted.generator
    with blame("edit", edit):
        record.check_model(generator)
    return replayed(record, generator, inverted, request.overlay, request.show, request.fps)


def replayed(
    record: EditFile,
    generator: Generator,
    inverted: OpenImage | None,
    overlay: bool = True,
    show: Show = "model",
    fps: float = FPS,
) -> Iterator[np.ndarray]:
    """Return the frames of an edit's steps, slowed down if there are few.

    Args:
        record: The edit.
        generator: Its model; an inverted image has its own.
        inverted: The inverted image that it began with, or None.
        overlay: Draw targets, tracks and points.
        show: The model's picture, or the whole photograph with the edit in its place.
        fps: Frames per second.

    Raises:
        UserError: If there is no photograph to show.
    """
    in_photo = None
    if show == "photo":
        if inverted is None:
            raise UserError("photo: this edit did not begin with a photograph", "show")
        in_photo = InPhoto.of(inverted)
    frames = edit_frames(
        generator,
        list(record.ws[:, None]),
        record.points.tolist(),
        record.targets[-1].tolist(),
        overlay,
        in_photo=in_photo,
    )
    return paced(frames, len(shown_steps(len(record.ws))), fps)
