"""Inverting photographs: from a request to inverted images, pictures and numbers."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framework.compositing.geometry import photo_box
from framework.dashboard import WandbMode
from framework.errors import UserError
from framework.files import check_new_folder, copy_file, new_folder
from framework.formats.used_by import mark_used
from framework.inversion.familiarity import FAMILIAR
from framework.inversion.inverted_image import SUFFIX
from framework.inversion.step import InversionStep
from framework.jobs.log import RESULTS, STATS, Results, StepLog
from framework.jobs.models import Networks
from framework.jobs.outcomes import InvertBatchOutcome, InvertOutcome
from framework.jobs.photograph import Photo, find_photos, read_photo
from framework.jobs.requests.invert import InvertRequest
from framework.jobs.settings import base_settings
from framework.jobs.stages import Inverter, inverter_of
from framework.jobs.watcher import SILENT, Watcher
from framework.media.draw import enlarge, enlargement, rgb, titled
from framework.media.images import save_png, to_uint8

_Stages = tuple[dict[str, InversionStep], dict[str, float], KeyboardInterrupt | None]


@dataclass(frozen=True)
class Places:
    """The places of a photograph's results.

    Args:
        image: Folder of the inverted image and the copy of the photograph.
        pictures: Folder of pictures and numbers.
        name: File name of the inverted image, without ending.
    """

    image: Path
    pictures: Path
    name: str


def invert(request: InvertRequest, watcher: Watcher = SILENT) -> InvertOutcome | InvertBatchOutcome:
    """Invert the photographs of a request.

    Raises:
        UserError: Naming the field, if the only photograph cannot be inverted, or none can.
    """
    base_settings(request)
    out = check_new_folder(request.out)
    photos, problems = find_photos(request.photos)
    inverter = inverter_of(Networks(request.model, request.device), request)
    if len(photos) > 1 or problems or Path(request.photos[0]).is_dir():
        return _invert_many(inverter, photos, problems, request, watcher)
    ((name, path),) = photos
    photo = read_photo(path, inverter.networks.generator, request)
    inverter.prepare()
    steps = inverter.stream(photo)
    new_folder(out)
    tell_notes(inverter, watcher)
    return carry_out(inverter, photo, steps, Places(out, out, name), watcher, request.wandb)


def tell_notes(inverter: Inverter, watcher: Watcher) -> None:
    """Pass the inverter's notes to the watcher."""
    for note in inverter.notes():
        watcher.note(note)


def _invert_many(
    inverter: Inverter,
    photos: list[tuple[str, Path]],
    problems: list[str],
    request: InvertRequest,
    watcher: Watcher,
) -> InvertBatchOutcome:
    """Invert each photograph into a folder of its own; those that cannot be are named."""
    inverter.prepare()
    out = Path(request.out)
    many = InvertBatchOutcome(count=len(photos), results=out / RESULTS, failed=list(problems))
    for problem in problems:
        watcher.failed("", problem)
    tell_notes(inverter, watcher)
    results = Results(many.results)
    for name, path in photos:
        try:
            photo = read_photo(path, inverter.networks.generator, request)
            steps = inverter.stream(photo)
            place = new_folder(out / name)  # not before there is something to write
            outcome = carry_out(
                inverter, photo, steps, Places(place, place, name), watcher, request.wandb,
                out.resolve().name,
            )  # fmt: skip
        except UserError as error:  # the others go on
            many.failed.append(str(path))
            reason = str(error) if str(path) in str(error) else f"{path}: {error}"
            results.add({"name": name, "error": reason})
            watcher.failed("", reason)
            continue
        results.add({"name": name, **outcome.to_dict()})
        watcher.done(name, outcome)
        if outcome.stop is not None:
            many.stop = outcome.stop
            break
    return many


def carry_out(
    inverter: Inverter,
    photo: Photo,
    steps: Iterator[InversionStep],
    places: Places,
    watcher: Watcher,
    wandb: WandbMode = "auto",
    group: str | None = None,
) -> InvertOutcome:
    """Invert, and write everything; see `carrying_out`."""
    stream = carrying_out(inverter, photo, steps, places, watcher, wandb, group)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return end.value


def carrying_out(
    inverter: Inverter,
    photo: Photo,
    steps: Iterator[InversionStep],
    places: Places,
    watcher: Watcher,
    wandb: WandbMode = "auto",
    group: str | None = None,
) -> Generator[InversionStep, None, InvertOutcome]:
    """Invert step by step, write everything at the end, and return the outcome.

    To end early with what there is, throw `Cancelled` into it.

    Args:
        inverter: The inverter.
        photo: The photograph.
        steps: `inverter.stream(photo)`, made before the folders so that a bad photograph leaves
            none behind.
        places: Existing folders.
        watcher: Watcher of the job.
        wandb: W&B mode.
        group: W&B group of the photographs of one request.
    """
    networks = inverter.networks
    strangeness = networks.strangeness(photo.without_borders())
    config = {"model": networks.model, "photo": photo.path.name}
    config |= {"settings": inverter.settings.to_dict()}
    with StepLog(places.pictures, "invert", config, wandb, group) as log:
        last_steps, seconds, stop = yield from _run_stages(steps, inverter, log, watcher)
        watcher.progress("writing the reconstruction and its pictures")
        images = {name: inverter.image(photo, step) for name, step in last_steps.items()}
        rendered = {name: image.render(networks.generator) for name, image in images.items()}
        stages = {
            name: inverter.measured(images[name], rendered[name], photo)
            | _facts(step, seconds[name], stop)
            for name, step in last_steps.items()
        }
        image = inverter.described(images[list(images)[-1]], stages)
        file = image.save(places.image / f"{places.name}{SUFFIX}")
        mark_used(networks.model, file)
        original = places.image / photo.original_name
        copy_file(photo.path, original)
        results = {name: to_uint8(picture)[0] for name, picture in rendered.items()}
        pictures = _write_pictures(places.pictures, photo, results, stages)
        names = (STATS, *(f"{name}.png" for name in pictures))
        outcome = InvertOutcome(
            photo=str(photo.path),
            strangeness=strangeness,
            familiar=None if strangeness is None else strangeness <= FAMILIAR,
            perceptual=inverter.distance.name,
            stages=stages,
            usual_deviations=inverter.usual,
            seconds=round(log.elapsed_sec, 3),
            files=[str(path) for path in (file, original, *(places.pictures / n for n in names))],
            file=file,
            photo_size=photo.geometry.photo_size,
            seen_box=photo_box(photo.geometry),
            canvas_size=photo.geometry.canvas_size,
            notes=photo.notes,
            familiar_within=FAMILIAR,
            stop=stop,
        )
        log.pictures(pictures)
        by_stage = {f"{s}/{n}": value for s, facts in stages.items() for n, value in facts.items()}
        log.summary({**by_stage, "seconds": outcome.seconds})
    return outcome


def _run_stages(
    steps: Iterator[InversionStep], inverter: Inverter, log: StepLog, watcher: Watcher
) -> Generator[InversionStep, None, _Stages]:
    """Return the last step of every stage, the seconds it took, and what ended it early."""
    last_steps: dict[str, InversionStep] = {}
    seconds: dict[str, float] = {}
    before_sec = time.monotonic()
    try:
        for step in steps:
            last_steps[step.stage] = step
            now_sec = time.monotonic()
            seconds[step.stage] = seconds.get(step.stage, 0.0) + now_sec - before_sec
            before_sec = now_sec
            log.step(step)
            stage = getattr(inverter.settings, step.stage)
            watcher.inversion_step(step, getattr(stage, "steps", step.step))
            yield step
    except KeyboardInterrupt as interruption:
        if not last_steps:
            raise
        return last_steps, seconds, interruption
    return last_steps, seconds, None


def _facts(step: InversionStep, seconds: float, stop: KeyboardInterrupt | None) -> dict[str, Any]:
    running = step.status == "running" and stop is not None
    return {
        "steps": step.step,
        "best_step": int(step.best_step[0]),
        "status": "interrupted" if running else step.status,
        "seconds": round(seconds, 3),
    }


def _write_pictures(
    folder: Path, photo: Photo, results: dict[str, np.ndarray], stages: dict[str, dict[str, Any]]
) -> dict[str, np.ndarray]:
    """Write the model's view, every stage's reconstruction, all side by side, and the last pasted.

    Returns:
        The pictures by their files' names, as shown.
    """
    factor = enlargement(*photo.canvas.shape[:2])
    titles = ["photo", *(f"{name} {stages[name]['psnr_db']:.1f} dB" for name in results)]
    pictures = {"photo": photo.canvas, **results}
    panels = [enlarge(rgb(picture), factor, "bicubic") for picture in pictures.values()]
    pictures["side_by_side"] = titled(panels, titles)
    for name, picture in pictures.items():
        save_png(folder / f"{name}.png", picture)
    pasted = photo.whole.pasted(list(results.values())[-1], photo.geometry)
    pasted.save(folder / "pasted.png")
    return {**pictures, "pasted": pasted.shown()}
