"""The edit of one picture: its model, its drag session, and where the picture came from.

The worker's thread alone uses these.
"""

import io
import tempfile
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from framework.control.layers import mix
from framework.drag.edit_file import EditFile
from framework.drag.session import DragSession
from framework.drag.settings import DragSettings, usual_preset
from framework.drag.step import DragStep
from framework.errors import UserError, spoken
from framework.files import write_text
from framework.formats.latents import write_latents
from framework.jobs.edit import LATENTS
from framework.jobs.models import Networks, portable_name, render, seed_latents
from framework.jobs.outcomes import InvertOutcome, end_in_words
from framework.jobs.outputs import EDIT
from framework.jobs.paste import OpenImage, open_image, open_linked
from framework.jobs.video import replayed
from framework.media.images import png_bytes
from framework.media.video import FPS, write_video
from framework.studio.control import DIRECTIONS, Change, commands, moved_along, since_drags
from framework.studio.forms import PATHS
from framework.studio.messages import Choose, Open, PhotoFacts, StageFacts, State
from framework.studio.models import Models
from framework.studio.storage import COMMANDS

_SPOKEN = {"mask_weight": "mask weight", "steps": "max steps", "lr": "learning rate"}
GIF_FPS = 12.0
START, RESULT = "start", "result"


@dataclass(eq=False)
class Edit:
    """One picture and what is done to it.

    Args:
        networks: The model's networks, shared.
        drag: The drag session.
        source: The seed of the picture, or the model and seed that were chosen before it came.
        kind: "seed", "photo" or "edit": where the picture came from.
        inverted: The inverted image that the picture is, or began as.
        photo: What a page shows of the photograph.
    """

    networks: Networks
    drag: DragSession
    source: Open
    kind: str = "seed"
    inverted: OpenImage | None = None
    photo: PhotoFacts | None = None
    preset: str = "auto"
    chosen: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_seed(cls, networks: Networks, source: Open) -> "Edit":
        """Begin with the picture of a seed.

        Raises:
            UserError: If seed, truncation or class do not fit.
        """
        generator = networks.generator
        label = (source.class_index or 0) if generator.c_dim else None
        ws = seed_latents(generator, source.seed, source.psi, label)
        if source.mix_seed is not None:
            other = seed_latents(generator, source.mix_seed, source.psi, label)
            first, last = source.mix_layers
            ws = mix(ws, other, range(first, last + 1))
        drag = DragSession(generator, ws)
        return cls(networks, drag, replace(source, class_index=label)).choose(Choose("auto"))

    @classmethod
    def of_photograph(cls, networks: Networks, source: Open, outcome: InvertOutcome) -> "Edit":
        """Begin with an inverted photograph."""
        inverted = open_image(outcome.file, networks.generator)
        drag = DragSession(inverted.generator, inverted.image.ws)
        drag.inversion = inverted.link
        edit = cls(networks, drag, source, "photo", inverted, _facts(outcome))
        return edit.choose(Choose("auto"))

    @classmethod
    def of_file(cls, file: Path, models: Models) -> "Edit":
        """Go on with an edit file; its model has to be one of those here.

        Raises:
            UserError: If it is none, or its model is not here.
        """
        record = EditFile.load(file)
        name = models.named(record.model_name)
        networks = models.open(name)
        inverted = open_linked(file, record, networks.generator)
        generator = networks.generator if inverted is None else inverted.generator
        record.check_model(generator)
        drag = DragSession.from_edit_file(generator, record)
        edit = cls(networks, drag, Open(name), "edit", inverted)
        preset = edit._preset_settings().to_dict()
        values = record.settings.to_dict()
        edit.chosen = {n: v for n, v in values.items() if v != preset[n] and n not in PATHS}
        drag.settings = replace(record.settings, **dict.fromkeys(PATHS))  # a stranger's paths
        return edit

    def choose(self, choice: Choose) -> "Edit":
        """Choose how to drag: another preset, or settings besides those chosen already.

        Raises:
            UserError: Naming the setting, if one does not fit; then nothing changes.
        """
        preset = self.preset if choice.preset is None else choice.preset
        chosen = {**(self.chosen if choice.preset is None else {}), **choice.settings}
        before = self.preset
        self.preset = preset
        try:
            settings = self._preset_settings()
            known = settings.to_dict().keys() - PATHS
            unknown = [name for name in chosen if name not in known]
            if unknown:
                raise UserError("no such setting", unknown[0])
            self.drag.settings = replace(settings, **chosen)
        except UserError:
            self.preset = before
            raise
        self.chosen = chosen
        return self

    def picture(self) -> np.ndarray:
        """Return the picture now, uint8 (H, W, C)."""
        return render(self.drag.generator, self.drag.ws)

    def before(self) -> np.ndarray:
        """Return the picture before the edit, uint8 (H, W, C)."""
        return render(self.drag.generator, self.drag.initial_ws)

    def pasted(self) -> np.ndarray:
        """Return the photograph as shown, with the edit in its place.

        Raises:
            UserError: If there is no photograph.
        """
        pasted = self.inverted and self.inverted.pasted(self.picture(), "changed", "feather")
        if pasted is None:
            raise UserError("this picture is of no photograph")
        return pasted.shown()

    def record(self) -> EditFile:
        """Return the drag as its file records it.

        Raises:
            UserError: If nothing has been dragged.
        """
        digest = self.networks.digest_of(self.drag.generator)
        return self.drag.edit_file(portable_name(self.networks.model), digest)

    def saved(self) -> tuple[bytes, str]:
        """Return the edit as a file, and its name; with what belongs to it, as a zip.

        That is the photograph, and the files and commands by which directions and texts changed
        the picture before it was dragged.

        Raises:
            UserError: If nothing has been done.
        """
        with tempfile.TemporaryDirectory(prefix="dragline-") as name:
            folder = Path(name)
            if self.drag.last_step is not None or not self.drag.notes:
                self.record().save(folder / EDIT)
            if self.inverted is None and not self.drag.notes:
                return (folder / EDIT).read_bytes(), EDIT
            if self.inverted is not None:
                self.inverted.copy_to(folder)
            if self.drag.notes:
                self._write_changes(folder)
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for file in sorted(folder.iterdir()):
                    archive.write(file, file.name)
            return buffer.getvalue(), "edit.zip"

    def _write_changes(self, folder: Path) -> None:
        """Write what changed the picture without a point: where it began, how, and the result."""
        notes: tuple[Change, ...] = self.drag.notes
        chain, dragged = since_drags(notes), self.drag.last_step is not None
        start = self._write_latents(folder, START, chain[0].before)
        if not dragged:
            self._write_latents(folder, RESULT, self.drag.ws)
        if directions := moved_along(notes):
            directions.save(folder / DIRECTIONS)
        model = portable_name(self.networks.model) if self.inverted is None else ""
        result = LATENTS if self.inverted is None else start
        lines = commands(notes, start, result, model, EDIT if dragged else "")
        write_text(folder / COMMANDS, "\n".join(lines) + "\n")

    def _write_latents(self, folder: Path, name: str, ws: Tensor) -> str:
        """Write a picture as a command line takes it, with its photograph's facts if it has one."""
        if self.inverted is None:
            return write_latents(folder / f"{name}.safetensors", ws.cpu(), "dragline").name
        image = self.inverted.image.edited(ws.cpu(), self.inverted.sha256)
        return image.save(folder / f"{name}.inv.safetensors").name

    def clip(self, suffix: str) -> bytes:
        """Return the clip of the drag, .mp4 or .gif, as `edit.py video` draws it.

        Raises:
            UserError: If nothing has been dragged, or there is no ffmpeg for it.
        """
        fps = GIF_FPS if suffix == ".gif" else FPS
        frames = replayed(self.record(), self.drag.generator, self.inverted, fps=fps)
        with tempfile.TemporaryDirectory(prefix="dragline-") as folder:
            file = Path(folder) / f"drag{suffix}"
            write_video(file, frames, fps)
            return file.read_bytes()

    def png(self, which: str) -> bytes:
        """Return `picture`, `before` or `pasted` as a PNG's bytes."""
        pictures = {"picture": self.picture, "before": self.before, "pasted": self.pasted}
        return png_bytes(pictures[which]())

    def state(self, running: bool) -> State:
        """Return what a page shows of it."""
        drag, step = self.drag, self.drag.last_step
        height, width = drag.generator.img_size
        return State(
            model=self.source.model,
            size=(height, width),
            classes=drag.generator.c_dim,
            kind=self.kind,
            seed=self.source.seed,
            psi=self.source.psi,
            class_index=self.source.class_index,
            mix_seed=self.source.mix_seed,
            mix_layers=self.source.mix_layers,
            layers=drag.generator.num_ws,
            photo=self.photo,
            has_photo=self.inverted is not None and self.inverted.photo is not None,
            points=[*drag.points],
            targets=[*drag.targets],
            has_mask=drag.mask is not None,
            running=running,
            status=step.status if step else "",
            text=_in_words(step, running),
            doubtful=step is not None and step.doubtful,
            step=step.step if step else 0,
            place=drag.can_undo,
            places=drag.can_undo + drag.can_redo,
            can_undo=drag.last_change > 0,
            can_redo=drag.next_change > 0,
            can_save=step is not None or bool(drag.notes),
            has_drag=step is not None,
            preset=self.preset,
            settings=drag.settings.to_dict(),
        )

    def _preset_settings(self) -> DragSettings:
        usual = usual_preset(self.networks.diffuses)
        return DragSettings.preset(usual if self.preset == "auto" else self.preset)


def _in_words(step: DragStep | None, running: bool) -> str:
    """Return how the drag stands, in words."""
    if step is None or (step.status == "moving" and not running):
        return ""
    if running:
        return f"{step.max_distance_px:.1f} px to go"
    return spoken(end_in_words(step.status), _SPOKEN)


def _facts(outcome: InvertOutcome) -> PhotoFacts:
    """Return an inversion's outcome as a page shows it."""
    stages = [
        StageFacts(name, facts["psnr_db"], facts["deviations"], facts["steps"], facts["seconds"])
        for name, facts in outcome.stages.items()
    ]
    notes = [*outcome.notes]
    if outcome.familiar is False:
        notes.append("this does not look like what the model knows; it may break when dragged")
    usual = outcome.usual_deviations
    if usual is not None and stages[-1].deviations > usual:
        notes.append("far from what the model draws by itself: edits may break")
    height, width = outcome.photo_size
    return PhotoFacts((height, width), stages, notes)
