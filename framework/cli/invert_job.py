"""One photograph inverted: from its steps to pictures, the inverted image and the numbers."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framework.cli.invert_log import InvertLog
from framework.dashboard import WandbMode
from framework.files import copy_file
from framework.inversion.familiarity import FAMILIAR
from framework.inversion.inverted_image import SUFFIX, InvertedImage
from framework.media.draw import enlarge, enlargement, rgb, titled
from framework.media.images import save_png, to_uint8

if TYPE_CHECKING:
    from framework.cli.inverter import Inverter
    from framework.cli.photos import Photo
    from framework.inversion.step import InversionStep


@dataclass(frozen=True, eq=False)
class Inversion:
    """What came of a photograph.

    Args:
        image: The inverted image.
        file: Where it is.
        outcome: photo, strangeness, familiar (both None without a discriminator), perceptual,
            stages (each with mse, psnr_db, the distance under its name, deviations, steps, status,
            seconds), usual_deviations, seconds, files.
        stop: The interruption that ended it early, to be raised when the outcome is told.
    """

    image: InvertedImage
    file: Path
    outcome: dict[str, Any]
    stop: KeyboardInterrupt | None


@dataclass(frozen=True)
class Places:
    """Where the results of a photograph go.

    Args:
        image: Folder of the inverted image and the copy of the photograph.
        pictures: Folder of pictures and numbers.
        name: The inverted image's, without ending.
    """

    image: Path
    pictures: Path
    name: str


def carry_out(
    inverter: "Inverter",
    photo: "Photo",
    stream: "Iterator[InversionStep]",
    places: Places,
    wandb: WandbMode = "auto",
    group: str | None = None,
) -> Inversion:
    """Invert, and write everything.

    Args:
        inverter: What inverts.
        photo: The photograph.
        stream: `inverter.stream(photo)`, made before the folders so that a bad photograph leaves
            none behind.
        places: Existing folders.
        wandb: W&B mode.
        group: W&B group.
    """
    from framework.formats.used_by import mark_used

    strangeness = inverter.networks.strangeness(photo.without_borders())
    facts = {"model": inverter.networks.model, "photo": photo.path.name}
    config = {**facts, "settings": inverter.settings.to_dict()}
    with InvertLog(places.pictures, config, inverter.settings, wandb, group) as log:
        start_sec = time.monotonic()
        last_steps, seconds, stop = _run_stages(stream, log)
        log.say("writing the reconstruction and its pictures")
        images = {name: inverter.image(photo, step) for name, step in last_steps.items()}
        made = {name: image.render(inverter.networks.generator) for name, image in images.items()}
        stages = {
            name: inverter.measured(images[name], made[name], photo)
            | _facts(step, seconds[name], stop)
            for name, step in last_steps.items()
        }
        image = inverter.described(images[list(images)[-1]], stages)
        file = image.save(places.image / f"{places.name}{SUFFIX}")
        mark_used(inverter.networks.model, file)
        copy_file(photo.path, places.image / photo.original_name)
        drawn = {name: to_uint8(picture)[0] for name, picture in made.items()}
        pictures = _pictures(photo, drawn, stages)
        for name, picture in pictures.items():
            save_png(places.pictures / f"{name}.png", picture)
        pasted = photo.whole.pasted(list(drawn.values())[-1], photo.geometry)
        pasted.save(places.pictures / "pasted.png")
        pictures["pasted"] = pasted.shown()
        outcome = {
            "photo": str(photo.path),
            "strangeness": strangeness,
            "familiar": None if strangeness is None else strangeness <= FAMILIAR,
            "perceptual": inverter.distance.name,
            "stages": stages,
            "usual_deviations": inverter.usual,
            "seconds": round(time.monotonic() - start_sec, 3),
            "files": [
                str(file), str(places.image / photo.original_name),
                *(str(places.pictures / name)
                  for name in ("stats.jsonl", *(f"{name}.png" for name in pictures))),
            ],
        }  # fmt: skip
        told = {f"{s}/{n}": value for s, numbers in stages.items() for n, value in numbers.items()}
        log.done(pictures, {**told, "seconds": outcome["seconds"]})
    return Inversion(image, file, outcome, stop)


def _run_stages(
    stream: "Iterator[InversionStep]", log: InvertLog
) -> "tuple[dict[str, InversionStep], dict[str, float], KeyboardInterrupt | None]":
    """Return the last step of every stage, the seconds it took, and what ended it early."""
    last_steps: dict[str, InversionStep] = {}
    seconds: dict[str, float] = {}
    before_sec = time.monotonic()
    try:
        for step in stream:
            last_steps[step.stage] = step
            now_sec = time.monotonic()
            seconds[step.stage] = seconds.get(step.stage, 0.0) + now_sec - before_sec
            before_sec = now_sec
            log.step(step)
    except KeyboardInterrupt as interruption:
        if not last_steps:
            raise
        return last_steps, seconds, interruption
    return last_steps, seconds, None


def _facts(step: "InversionStep", seconds: float, stop: KeyboardInterrupt | None) -> dict[str, Any]:
    running = step.status == "running" and stop is not None
    return {
        "steps": step.step,
        "best_step": int(step.best_step[0]),
        "status": "interrupted" if running else step.status,
        "seconds": round(seconds, 3),
    }


def _pictures(
    photo: "Photo", drawn: dict[str, np.ndarray], stages: dict[str, dict[str, Any]]
) -> dict[str, np.ndarray]:
    """What the model sees and every stage's reconstruction, all side by side on white."""
    pictures = {"photo": photo.canvas, **drawn}
    factor = enlargement(*photo.canvas.shape[:2])
    titles = ["photo", *(f"{name} {stages[name]['psnr_db']:.1f} dB" for name in drawn)]
    panels = [enlarge(rgb(picture), factor, "bicubic") for picture in pictures.values()]
    return {**pictures, "side_by_side": titled(panels, titles)}
