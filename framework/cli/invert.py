"""`edit.py invert`: photographs to latents."""

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from framework.cli.invert_settings import Crop, Perceptual
from framework.dashboard import WandbMode
from framework.errors import UserError

if TYPE_CHECKING:
    from framework.cli.framing import Framing
    from framework.cli.invert_job import Inversion
    from framework.cli.inverter import Inverter
    from framework.cli.photos import Photo


def invert(
    photos: list[str],
    /,
    model: str,
    out: str,
    stages: str | None = None,
    crop: Crop | None = None,
    box: str | None = None,
    rotate: float | None = None,
    align: str | None = None,
    align_to: str | None = None,
    perceptual: Perceptual = "auto",
    perceptual_weights: str | None = None,
    refine_steps: int | None = None,
    tune_steps: int | None = None,
    max_seconds: float | None = None,
    seed: int | None = None,
    config: str | None = None,
    json: bool = False,
    wandb: WandbMode = "auto",
    device: str = "auto",
) -> None:
    """Put photographs into a model: find what makes it draw them.

    Three stages, each of which goes on from the one before: embed looks once with the model's
    encoder, refine moves the latents, tune changes the weights a little. The model itself stays as
    it is. Writes into OUT: NAME.inv.safetensors (which drag takes as --image), photo.png (what the
    model sees of the photograph), embed.png, refine.png and tune.png, side_by_side.png, pasted.png
    (the reconstruction in its place in the photograph), original.* (a copy of the photograph) and
    stats.jsonl. Ctrl-C keeps the best so far.

    Examples::

      python edit.py invert car.jpg --model vehicles64 --out out/car
      python edit.py invert car.jpg --model vehicles64 --box "120,40,620,540" --out out/part
      python edit.py invert car.jpg --model vehicles64 --align "120,300:420,260" --out out/level
      python edit.py invert photos/ car.png --model vehicles64 --stages embed,refine --out out/many

    Args:
        photos: Photographs, or folders of them; several get a folder each in OUT.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        out: New or empty folder.
        stages: Of embed,refine,tune, in this order; all by default. Without embed the search begins
            at the model's mean picture.
        crop: How a photograph gets the shape of the model's pictures: center (the default) cuts
            the largest part in the middle, pad keeps everything and leaves borders that do not
            count, stretch ignores proportions.
        box: Part of the photograph to use, "left,top,right,bottom" in its pixels, upright.
        rotate: Degrees by which the photograph is turned counter-clockwise, so that what leans
            clockwise stands upright; negative turns the other way.
        align: Two points of the photograph, "x,y:x,y", such as eyes or wheels: it is turned, scaled
            and moved until they lie where --align-to says. In place of crop, box and rotate.
        align_to: Two points "x,y:x,y" of the model's picture; by default level in the middle, at a
            quarter and three quarters of the width.
        perceptual: How pictures are compared beside their pixels: dfeat is features of the model's
            own discriminator, lite0 of EfficientNet-Lite0 (the extra features), multiscale is L1
            and SSIM, lpips needs weights; auto takes dfeat where the model has a discriminator.
        perceptual_weights: File of lpips' weights, or the folder they are in.
        refine_steps: Updates of the latents; by default 200, or 400 without an encoder.
        tune_steps: Updates of the weights; by default 100.
        max_seconds: Seconds a photograph at most, all stages together.
        seed: Of all that is drawn.
        config: YAML file with the settings of the stages, such as configs/edit/invert/default.yaml.
        json: End with one line of JSON: photo, strangeness, familiar, perceptual, stages,
            usual_deviations, seconds, files.
        wandb: auto is what WANDB_MODE says, else online where somebody is logged in, else offline.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from framework.cli.framing import Framing
    from framework.cli.invert_settings import InversionChoice
    from framework.files import check_new_folder

    choice = InversionChoice(config, stages, refine_steps, tune_steps, max_seconds, seed)
    choice.base()
    framing = Framing(crop, box, rotate, align, align_to)
    framing.check()
    check_new_folder(out)
    from framework.cli.inverter import Inverter
    from framework.cli.networks import Networks
    from framework.cli.photos import find_photos, read_photo

    found, problems = find_photos(photos)
    inverter = Inverter(Networks(model, device), choice, perceptual, perceptual_weights)
    if len(found) == 1 and not problems and not Path(photos[0]).is_dir():
        (name, path), generator = found[0], inverter.networks.generator
        photo = read_photo(path, generator, framing)
        _run_one(inverter, name, photo, Path(out), wandb, json)
    else:
        _run_batch(inverter, found, problems, Path(out), framing, wandb, json)


def _run_one(
    inverter: "Inverter", name: str, photo: "Photo", out: Path, wandb: WandbMode, json: bool
) -> None:
    from framework.cli.common import print_json
    from framework.cli.invert_job import Places, carry_out
    from framework.files import new_folder

    inverter.prepare()
    stream = inverter.stream(photo)
    folder = new_folder(out)
    tell_start(inverter)
    done = carry_out(inverter, photo, stream, Places(folder, folder, name), wandb)
    tell(done, photo)
    names = [Path(file).name for file in done.outcome["files"]]
    print(f"{folder}: {', '.join(names)}")
    image = quote(str(done.file))
    print(f'try: python edit.py drag --image {image} --points "X,Y:X,Y" --out out/dragged')
    if json:
        print_json(done.outcome)
    if done.stop is not None:
        raise done.stop


def _run_batch(
    inverter: "Inverter",
    found: list[tuple[str, Path]],
    problems: list[str],
    out: Path,
    framing: "Framing",
    wandb: WandbMode,
    json: bool,
) -> None:
    from framework.cli.common import json_line, print_json
    from framework.cli.invert_job import Places, carry_out
    from framework.cli.photos import read_photo
    from framework.files import append_line, new_folder

    inverter.prepare()
    generator = inverter.networks.generator
    lines, failed, stop = [], list(problems), None
    for problem in problems:
        print(problem, file=sys.stderr)
    tell_start(inverter)
    for name, path in found:
        try:
            photo = read_photo(path, generator, framing)
            stream = inverter.stream(photo)
            # Not before something can be written into it.
            place = new_folder(out / name)
            done = carry_out(
                inverter, photo, stream, Places(place, place, name), wandb, out.resolve().name
            )
        except UserError as error:  # the others go on
            failed.append(str(path))
            text = str(error) if str(path) in str(error) else f"{path}: {error}"
            lines.append(json_line({"name": name, "error": text}))
            print(text, file=sys.stderr)
            continue
        lines.append(json_line({"name": name, **done.outcome}))
        append_line(out / "results.jsonl", "\n".join(lines))
        lines = []
        tell(done, photo)
        stop = done.stop
        if stop is not None:
            break
    if lines and out.exists():
        append_line(out / "results.jsonl", "\n".join(lines))
    if json:
        print_json({"photos": len(found), "failed": failed, "files": [str(out / "results.jsonl")]})
    if stop is not None:
        raise stop
    if failed:
        raise UserError(f"{len(failed)} of {len(found)} photographs failed: {', '.join(failed)}")


def tell_start(inverter: "Inverter") -> None:
    """Say how it is done where that is not what one expects."""
    for note in inverter.notes():
        print(f"note: {note}", file=sys.stderr)


def tell(done: "Inversion", photo: "Photo") -> None:
    """Print how good a reconstruction is, stage by stage, and warn where edits may go wrong."""
    from framework.compositing.geometry import photo_box
    from framework.inversion.familiarity import FAMILIAR

    outcome, geometry = done.outcome, photo.geometry
    (h, w), (left, top, right, bottom) = geometry.photo_size, photo_box(geometry)
    part = "all of it" if (right - left, bottom - top) == (w, h) else (
        f"{right - left}x{bottom - top} px from ({left}, {top})"
    )  # fmt: skip
    height, width = geometry.canvas_size
    print(f"{outcome['photo']}: {w}x{h} px; the model sees {part}, as {width}x{height}")
    for note in photo.notes:
        print(f"note: {note}", file=sys.stderr)
    if outcome["familiar"] is False:
        print(
            "warning: this does not look like what the model knows: it lies"
            f" {outcome['strangeness']:.1f} times as far out as the model's own pictures do,"
            f" photographs of its kind within {FAMILIAR:g} times; it will come out as something of"
            " that kind, or break when it is dragged",
            file=sys.stderr,
        )
    print("\n".join(table(outcome)), flush=True)
    last = list(outcome["stages"].values())[-1]
    if last["deviations"] > outcome["usual_deviations"]:
        print(
            f"note: out of the editable region: the latents lie {last['deviations']:.2f} standard"
            " deviations from the mean, 99.9 % of this model's own within"
            f" {outcome['usual_deviations']:.2f}; edits may break, and do less with fewer"
            " --refine-steps",
            file=sys.stderr,
        )


def table(outcome: dict[str, Any]) -> list[str]:
    """The numbers of the stages in aligned lines: a title, and a line each."""
    name = outcome["perceptual"]
    rows = [["stage", "mse", "PSNR", name, "deviations", "steps", "seconds"]]
    for stage, numbers in outcome["stages"].items():
        status = numbers["status"]
        rows.append([
            stage, f"{numbers['mse']:.4f}", f"{numbers['psnr_db']:.2f} dB",
            f"{numbers[name]:.4f}", f"{numbers['deviations']:.2f}", f"{numbers['steps']}",
            f"{numbers['seconds']:.1f}" + (f" ({status})" if status in _NOTABLE else ""),
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


_NOTABLE = ("interrupted", "max_seconds", "diverged")
