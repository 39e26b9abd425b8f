"""`edit.py drag`: handle points to targets."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from framework.cli.drag_settings import OnBad, Preset, SettingsChoice
from framework.cli.framing import Framing
from framework.cli.invert_settings import Crop, Paste, PointsIn, Seam
from framework.dashboard import WandbMode
from framework.errors import UserError, blame

if TYPE_CHECKING:
    from framework.cli.drag_job import DragJob, Outputs
    from framework.cli.drag_picture import PhotoDrag
    from framework.drag.step import DragStep


def drag(
    out: str,
    model: str | None = None,
    seed: int | None = None,
    points: str | None = None,
    image: str | None = None,
    pick: str | None = None,
    edit: str | None = None,
    at: int | None = None,
    tasks: str | None = None,
    on_bad: OnBad = "skip",
    mask: str | None = None,
    points_in: PointsIn = "model",
    paste: Paste = "changed",
    photo: str | None = None,
    stages: str | None = None,
    crop: Crop | None = None,
    box: str | None = None,
    rotate: float | None = None,
    align: str | None = None,
    align_to: str | None = None,
    seam: Seam = "feather",
    psi: float = 0.7,
    class_: int | None = None,
    preset: Preset = "auto",
    config: str | None = None,
    steps: int | None = None,
    lr: float | None = None,
    mask_weight: float | None = None,
    space: Literal["w", "w+"] | None = None,
    video: bool = True,
    gif: bool = False,
    json: bool = False,
    wandb: WandbMode = "auto",
    device: str = "auto",
) -> None:
    """Drag handle points of a picture to targets.

    Writes into OUT: before.png, after.png, side_by_side.png, drag.mp4, edit.safetensors (from which
    it continues) and stats.jsonl (losses, distances, drift of every step). Ctrl-C keeps what is
    done. A photograph is inverted first, as by `invert`, into OUT/inversion; then there is also
    pasted.png, the whole photograph with the edit in its place, and NAME.inv.safetensors.

    Examples::

      python edit.py drag --model toycars64 --seed 8 --points "48,20:54,20" --out out/roof
      python edit.py drag --model vehicles64 --image car.jpg --points "38,12:44,15" --out out/car
      python edit.py drag --edit out/roof/edit.safetensors --steps 50 --out out/roof-on
      python edit.py drag --model toycars64 --tasks tasks.jsonl --json --out out/batch

    Args:
        out: New or empty folder.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt; with --edit by default the edit's, with an inverted image the image's.
        seed: Seed of the picture.
        points: Handles and targets "x,y:x,y;x,y:x,y" in image pixels, origin top left, x to the
            right, y down.
        image: Photograph, NAME.inv.safetensors (or the folder that invert wrote), or another
            program's latents: .pt, .npz, .npy, .safetensors.
        pick: Which picture of a file with several latents: its name or its number, counted from 0;
            the last by default.
        edit: edit.safetensors to continue; with --points, from its last picture with other points.
        at: Continue the edit from this step, not from its last: what came after is left out.
        tasks: Many drags from a file, a JSON object a line: {"seed": 8, "points": "48,20:54,20"};
            in the place of seed also image (as --image), edit or ws (latents), with pick and box;
            and name, mask. Each gets its own folder in OUT; OUT/results.jsonl has them all.
        on_bad: Rows of tasks that cannot be done: skip names them all and does the others, error
            names them all and does nothing. The exit code is 2 in both cases.
        mask: Picture of the model's size; what is painted white in it may change, what is black or
            transparent stays. Everything may by default.
        points_in: Whose pixels points and mask are in: the model's picture's, or the photograph's.
        paste: What of the edit goes back into the photograph: changed, only where it differs; box,
            all that the model sees; none, no pasted.png.
        photo: Photograph of an inverted image, where it does not lie beside it.
        stages: Of embed,refine,tune, which a photograph goes through; all by default.
        crop: How a photograph gets the shape of the model's pictures, see invert; center by
            default.
        box: Part of a photograph to use, "left,top,right,bottom" in its pixels, upright.
        rotate: Degrees by which a photograph is turned counter-clockwise, see invert.
        align: Two points of a photograph, "x,y:x,y", laid where --align-to says, see invert.
        align_to: Two points "x,y:x,y" of the model's picture, see invert.
        seam: How the edit meets the photograph: feather fades, gradient shifts colours until they
            agree, hard does neither.
        psi: Truncation of the seed's picture: 1 the full variety, 0 the average picture.
        class_: Class of a model trained with labels, counted from 0.
        preset: Settings as published (draggan) or for small pictures (small); auto takes small up
            to 128 px.
        config: YAML file with settings, such as configs/edit/drag/draggan.yaml; in place of a
            preset.
        steps: Steps at most; overrides the preset's.
        lr: Step size of Adam on the latents; overrides the preset's.
        mask_weight: How hard the mask may pull, as a share of the points' own pull; overrides the
            preset's.
        space: w+ moves the latents of the coarse layers each on its own, w all by one common
            vector; overrides the preset's.
        video: Write drag.mp4.
        gif: Write drag.gif, too.
        json: End with one line of JSON: arrived, lost, doubtful, confidence, status,
            steps, seconds, mean_distance_px, max_distance_px, drift, files; of a photograph
            also inversion, see invert.
        wandb: auto is what WANDB_MODE says, else online where somebody is logged in, else offline.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    _check_choice(seed=seed, image=image, edit=edit, tasks=tasks, points=points, model=model,
                  mask=mask)  # fmt: skip
    framing = Framing(crop, box, rotate, align, align_to)
    _check_treatment(image, edit, tasks, stages=stages, **vars(framing), photo=photo, pick=pick)
    framing.check()
    if at is not None and edit is None:
        raise UserError(f"--at {at}: only with --edit")
    if config is not None and preset != "auto":
        raise UserError(f"--config {config} and --preset {preset}: give one of them")
    from framework.cli.drag_image import ImageChoice
    from framework.cli.drag_job import Outputs
    from framework.cli.drag_picture import PhotoDrag, pictured
    from framework.cli.drag_source import JobSource
    from framework.media.video import check_clip_path

    if video:
        check_clip_path(Path(out) / "drag.mp4")
    choice = SettingsChoice(preset, config, steps, lr, space, mask_weight)
    picture = ImageChoice(image, photo, points_in, stages, framing, pick)
    source = JobSource(model, psi, class_, device, choice, picture)
    outputs = Outputs(video=video, gif=gif, wandb=wandb, paste=paste, seam=seam)
    if tasks is not None:
        from framework.cli.drag_batch import run_batch

        run_batch(source, tasks, out, outputs, on_bad, json)
        return
    if edit is not None:
        with blame("--edit", edit):
            job = source.continued(edit, at, points, mask)
    elif image is not None:
        job = pictured(source, points or "", mask)
    else:
        job = source.new(seed or 0, points or "", mask)
    if isinstance(job, PhotoDrag):
        _run_photo(job, out, outputs, json)
    else:
        _run_one(job, out, outputs, json)


def _check_choice(**given: Any) -> None:
    """Say which flags go together, naming the one that is missing or too many."""
    starts = [name for name in ("seed", "image", "edit", "tasks") if given[name] is not None]
    if len(starts) != 1:
        chosen = " and ".join(f"--{name}" for name in starts) or "none"
        raise UserError(
            f"give one of --seed, --image, --edit and --tasks to start from; {chosen} given"
        )
    if starts in (["seed"], ["tasks"]) and given["model"] is None:
        raise UserError("--model: give a zoo name, a model folder or a file")
    if starts in (["seed"], ["image"]) and given["points"] is None:
        raise UserError('--points: give "x,y:x,y", what to take hold of and where to pull it')
    for name in ("points", "mask") if starts == ["tasks"] else ():
        if given[name] is not None:
            raise UserError(f"--{name} {given[name]}: stands in the rows of the tasks")


def _check_treatment(image: str | None, edit: str | None, tasks: str | None, **given: Any) -> None:
    """Say that a flag about a picture needs one."""
    for name, value in given.items():
        of_rows = tasks is not None and name not in ("photo", "pick")
        if value is None or image is not None or of_rows or (name == "photo" and edit is not None):
            continue
        text = "stands in the rows of the tasks" if tasks is not None else "only with --image"
        raise UserError(f"--{name.replace('_', '-')} {value}: {text}")


def _run_photo(drag: "PhotoDrag", out: str, outputs: "Outputs", json: bool) -> None:
    """Invert a photograph, say how good that is, and drag it."""
    from framework.cli.drag_job import checked_stream

    job, inversion = drag.job(out)
    _carry_out(job, checked_stream(job), Path(out), outputs, json, inversion)


def _run_one(job: "DragJob", out: str, outputs: "Outputs", json: bool) -> None:
    from framework.cli.drag_job import checked_stream
    from framework.files import new_folder

    stream = checked_stream(job)
    _carry_out(job, stream, new_folder(out), outputs, json)


def _carry_out(
    job: "DragJob",
    stream: "Iterator[DragStep]",
    folder: Path,
    outputs: "Outputs",
    json: bool,
    inversion: dict[str, Any] | None = None,
) -> None:
    from framework.cli.common import print_json
    from framework.cli.drag_job import carry_out, tell

    if job.inverted is not None and job.inverted.lacks_photo and outputs.paste != "none":
        print(
            "note: the photo does not lie beside its inverted image, so there will be no"
            " pasted.png; give it with --photo",
            file=sys.stderr,
        )
    print(f"{job.facts['settings_from']}, {'x'.join(map(str, job.generator.img_size))} px picture")
    outcome, stop = carry_out(job, stream, folder, outputs)
    tell(outcome)
    print(f"{folder}: " + ", ".join(Path(name).name for name in outcome["files"]))
    if json:
        print_json({**outcome, **({"inversion": inversion} if inversion else {})})
    if stop is not None:
        raise stop
