"""One drag: from a request to pictures, a clip, an edit file and numbers."""

import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from framework.drag.likeness import SURE_CONFIDENCE
from framework.drag.step import DragStep
from framework.files import new_folder
from framework.jobs.invert import Places, tell_notes
from framework.jobs.invert import carry_out as carry_out_inversion
from framework.jobs.log import STATS, StepLog
from framework.jobs.models import Networks
from framework.jobs.outcomes import DragOutcome, InvertOutcome
from framework.jobs.outputs import CLIP, write_outputs
from framework.jobs.requests.drag import DragRequest
from framework.jobs.starts import OpenDrag, PhotoDrag, model_of, open_drag
from framework.jobs.watcher import SILENT, Watcher
from framework.media.video import check_clip_path


def drag(request: DragRequest, watcher: Watcher = SILENT) -> DragOutcome:
    """Do one drag, and write what the request asks for into a new folder.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    if request.video:
        check_clip_path(Path(request.out) / CLIP)
    opened = open_drag(
        request, Networks(model_of(request), request.device, request.prompt), watcher
    )
    return carry_out(opened, watcher)


def carry_out(
    opened: OpenDrag | PhotoDrag, watcher: Watcher, group: str | None = None
) -> DragOutcome:
    """Drag, after the inversion if it is of a photograph, and write everything.

    Args:
        opened: The drag.
        watcher: Watcher of the job.
        group: W&B group of the drags of one request.
    """
    folder, inversion = Path(opened.request.out), None
    if isinstance(opened, PhotoDrag):
        inversion = _inverted(opened, folder, watcher)
        if inversion.stop is not None:
            raise inversion.stop
        opened = opened.on(inversion.file)
        steps = _quiet(opened)
    else:
        steps = _quiet(opened)  # before the folder, so that a bad drag leaves none behind
        new_folder(folder)
    if group is None:
        size = "x".join(map(str, opened.generator.img_size))
        watcher.say(f"{opened.facts['settings_from']}, {size} px picture")
    return _drag(opened, steps, folder, watcher, group, inversion)


def _inverted(opened: PhotoDrag, folder: Path, watcher: Watcher) -> InvertOutcome:
    """Invert the photograph into the drag's folder."""
    inverter, photo = opened.inverter, opened.photo
    steps = inverter.stream(photo)
    new_folder(folder)
    tell_notes(inverter, watcher)
    places = Places(folder, new_folder(folder / "inversion"), photo.path.stem)
    outcome = carry_out_inversion(inverter, photo, steps, places, watcher, "disabled")
    watcher.done("", outcome)
    return outcome


def _quiet(opened: OpenDrag) -> Iterator[DragStep]:
    """Return the steps of a drag whose warnings were shown when it was opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return opened.steps()


def _drag(
    opened: OpenDrag,
    stream: Iterator[DragStep],
    folder: Path,
    watcher: Watcher,
    group: str | None,
    inversion: InvertOutcome | None,
) -> DragOutcome:
    config = {"model": opened.model_name, **opened.facts, "settings": opened.settings.to_dict()}
    steps, stop = list(opened.past), None
    if opened.measures_first:
        watcher.say("first drag of this kind of this model: measuring how its pictures vary")
    last_step = (steps[-1].step if steps else 0) + opened.settings.max_steps
    with StepLog(folder, "drag", config, opened.request.wandb, group) as log:
        start_sec = time.monotonic()
        try:
            for step in stream:
                if not steps or step.step > steps[-1].step:
                    steps.append(step)
                else:  # the step continued from, with the status it has for this run
                    steps[-1] = step
                log.step(step)
                watcher.drag_step(step, last_step)
        except KeyboardInterrupt as interruption:
            if not steps:
                raise
            stop = interruption
        seconds = time.monotonic() - start_sec
        files = write_outputs(opened, steps, folder, log, watcher, clips=stop is None)
        last = steps[-1]
        outcome = DragOutcome(
            arrived=last.arrived,
            lost=last.lost,
            doubtful=last.doubtful,
            confidence=last.min_confidence,
            status="interrupted" if stop else last.status,
            steps=last.step,
            seconds=round(seconds, 3),
            mean_distance_px=last.mean_distance_px,
            max_distance_px=last.max_distance_px,
            drift=last.mean_drift,
            files=[str(folder / name) for name in (STATS, *files)],
            inversion=inversion,
            sure_from=SURE_CONFIDENCE,
            stop=stop,
        )
        beside = ("files", "inversion")
        log.summary({name: v for name, v in outcome.to_dict().items() if name not in beside})
    return outcome
