"""`edit.py video`: the clip of an edit, or a walk between seeds."""

from pathlib import Path

from framework.cli.invert_settings import Show
from framework.errors import UserError, blame

WALK_NAME, EDIT_NAME = "walk.mp4", "drag.mp4"
# What is taken for a file that cannot be written, not for a folder of that name.
OTHER_CLIPS = (".avi", ".mkv", ".mov", ".webm", ".webp", ".apng", ".png")


def video(
    out: str,
    edit: str | None = None,
    model: str | None = None,
    seeds: str | None = None,
    psi: float = 0.7,
    frames: int = 48,
    fps: float = 24.0,
    class_: int | None = None,
    overlay: bool = True,
    show: Show = "model",
    json: bool = False,
    device: str = "auto",
) -> None:
    """Draw the clip of an edit again, or walk between seeds.

    Writes OUT itself if it ends in .mp4 or .gif, else OUT/drag.mp4 or OUT/walk.mp4.

    Examples::

      python edit.py video --edit out/drag/edit.safetensors --no-overlay --out out/drag.gif
      python edit.py video --edit out/car/edit.safetensors --show photo --out out/car.mp4
      python edit.py video --model toycars64 --seeds 1,5,9 --out out/walk.mp4

    Args:
        out: New or empty folder, or a new file ending in .mp4 or .gif.
        edit: edit.safetensors of a drag; its model is found by the name it was opened with.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt; with --edit, in place of the edit's own (for a model that has moved).
        seeds: Two or more to walk between, such as 1,5,9; the walk returns to the first.
        psi: Truncation of the walk: 1 the full variety, 0 the average picture.
        frames: Frames from one seed to the next.
        fps: Frames per second.
        class_: Class of a model trained with labels, counted from 0.
        overlay: Draw targets, tracks and points on an edit's frames.
        show: What an edit of a photograph shows: the model's picture, or the whole photograph with
            the edit in its place (1280 px at most).
        json: End with one line of JSON for scripts.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from framework.cli.common import print_json
    from framework.files import check_place, folder_above
    from framework.media.video import SUFFIXES, check_clip_path

    if (edit is None) == (seeds is None):
        raise UserError("give --edit FILE or --seeds 1,5,9 (with --model), one of them")
    if show == "photo" and edit is None:
        raise UserError("--show photo: only with --edit")
    if not 1 <= fps <= 120:
        raise UserError(f"--fps {fps:g}: give 1 to 120")
    if not 1 <= frames <= 10_000:
        raise UserError(f"--frames {frames}: give 1 to 10000")
    target = check_place(out)
    in_folder = target.suffix.lower() not in (*SUFFIXES, *OTHER_CLIPS)
    clip = target / (WALK_NAME if edit is None else EDIT_NAME) if in_folder else target
    check_clip_path(clip)
    if target.exists() and not (in_folder and target.is_dir() and not any(target.iterdir())):
        raise UserError(f"--out {target}: already there; give a new name")
    with folder_above(clip):
        if edit is None:
            count = _walk(clip, model, seeds or "", psi, frames, fps, class_, device)
        else:
            count = _replay(clip, edit, model, overlay, show, fps, device)
    print(f"{clip}: {count} frames, {count / fps:.1f} s")
    if json:
        print_json({"files": [str(clip)], "frames": count, "fps": fps})


def _walk(
    clip: Path,
    model: str | None,
    seeds: str,
    psi: float,
    frames: int,
    fps: float,
    class_index: int | None,
    device: str,
) -> int:
    import torch

    from framework.cli.clips import walk_latents
    from framework.cli.common import open_generator, parse_seeds, render, seed_latents
    from framework.media.draw import rgb
    from framework.media.video import write_video

    numbers = parse_seeds(seeds)
    if model is None:
        raise UserError("--model: say which model's seeds these are")
    if len(numbers) < 2:
        raise UserError(f"--seeds {seeds}: a walk needs two or more")
    generator = open_generator(model, device)
    keys = torch.cat([seed_latents(generator, seed, psi, class_index) for seed in numbers])
    pictures = (rgb(render(generator, ws)) for ws in walk_latents(keys, frames))
    return write_video(clip, pictures, fps)


def _replay(
    clip: Path, edit: str, model: str | None, overlay: bool, show: Show, fps: float, device: str
) -> int:
    from framework.cli.clips import edit_frames, shown_steps
    from framework.cli.common import open_generator
    from framework.cli.inverted import InPhoto, open_linked
    from framework.drag.edit_file import EditFile
    from framework.media.video import paced, write_video

    with blame("--edit", edit):
        record = EditFile.load(edit)
    generator = open_generator(model or record.model_name, device)
    inverted = open_linked(Path(edit), record, generator)
    generator = generator if inverted is None else inverted.generator
    with blame("--edit", edit):
        record.check_model(generator)
    in_photo = None
    if show == "photo":
        if inverted is None:
            raise UserError(f"--show photo: {edit} began at no photograph")
        in_photo = InPhoto.of(inverted)
    frames = edit_frames(
        generator,
        list(record.ws[:, None]),
        record.points.tolist(),
        record.targets[-1].tolist(),
        overlay,
        in_photo=in_photo,
    )
    return write_video(clip, paced(frames, len(shown_steps(len(record.ws))), fps), fps)
