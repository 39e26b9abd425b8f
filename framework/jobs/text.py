"""Pictures that a text describes: of seeds, or one that is changed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.control.clip_optimisation import ClipWeights, optimised
from framework.control.describing import LEAST_SHARE, Described, described, nearing, touched
from framework.errors import UserError, blame
from framework.files import check_new_folder, new_folder
from framework.formats.latents import write_latents
from framework.formats.used_by import mark_used
from framework.inversion.embed import codes_of
from framework.jobs.edit import LATENTS, open_start, write_pictures, write_start
from framework.jobs.models import Networks, portable_name, render, seed_latents
from framework.jobs.outcomes import InvertOutcome
from framework.jobs.pictures import tiles
from framework.jobs.requests.text import TextRequest
from framework.jobs.starts import model_of
from framework.jobs.watcher import SILENT, Watcher
from framework.media.images import grid, save_png
from framework.models.alignment.code_space import Belief
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.clip import Clip
from framework.models.frozen import NOISE_MODE
from framework.models.stylegan2 import Generator
from framework.models.text.encoder import TextEncoder, check_text

LOOKS = TextRequest.looks
_FAR = 0.7  # standard deviations of all pictures: a result that is not what the text says


@dataclass(frozen=True)
class TextOutcome:
    """The outcome of `text`.

    Args:
        text: The text.
        layers: Share of what varies in each layer that the text decides, for layers that it
            touches; of no layer if CLIP reads the text.
        missed: How far each picture is from where the text takes it, as the image encoder sees it:
            root mean square over the coordinates, in the standard deviations of all pictures. To
            CLIP, 1 - the cosine of picture and text.
        missed_before: The same of the pictures before.
        files: Files that were written.
        file: The one that a drag, or the next text, continues from.
        model: The model's name.
        inversion: Outcome of the photograph's inversion before, if any.
    """

    text: str
    layers: dict[int, float]
    missed: list[float]
    missed_before: list[float]
    files: list[str]
    file: Path
    model: str
    inversion: InvertOutcome | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        facts = {**vars(self), "file": str(self.file)}
        return facts | {"inversion": self.inversion and self.inversion.to_dict()}


@dataclass(frozen=True, eq=False)
class Texts:
    """What reads texts for a model: its text encoder, and its encoder of pictures."""

    text_encoder: TextEncoder
    encoder: StyleEncoder

    @classmethod
    def open(cls, networks: Networks, file: str | None = None) -> "Texts":
        """Open a model's text encoder, of a file or folder, or its own.

        Raises:
            UserError: Naming the command that makes what is missing.
        """
        _ = networks.layered  # refuses diffusion models
        text_encoder, encoder = networks.text_encoder(file), networks.encoder
        assert encoder is not None
        return cls(text_encoder, encoder)

    def read(self, text: str) -> "Reader":
        """Read a text.

        Raises:
            UserError: Naming the field `text`, and what is wrong with it.
        """
        with blame("text", repr(text[:60])):
            return Reader(self.text_encoder.read([text]), self.text_encoder, self.encoder)


@dataclass(frozen=True, eq=False)
class Reader:
    """A text as a model's text encoder reads it.

    Args:
        belief: What it says, of one text.
        text_encoder: The text encoder.
        encoder: The encoder of pictures.
    """

    belief: Belief
    text_encoder: TextEncoder
    encoder: StyleEncoder

    @classmethod
    def open(cls, networks: Networks, text: str, file: str | None = None) -> "Reader":
        """Open a model's text encoder, and read a text.

        Raises:
            UserError: Naming what is missing, or wrong with the text.
        """
        return Texts.open(networks, file).read(text)

    def codes(self, generator: Generator) -> Callable[[Tensor], Tensor]:
        """Return the function from latents to the codes that are read from their pictures."""

        def read(ws: Tensor) -> Tensor:
            pictures = generator.synthesis(ws, noise_mode=NOISE_MODE).clamp(-1, 1)
            return codes_of(generator, self.encoder, pictures)

        return read

    def changed(
        self, generator: Generator, ws: Tensor, strength: float, looks: int, keep: bool = False
    ) -> tuple[Described, Described]:
        """Return pictures as they were, and each as it was nearest to the text.

        Args:
            generator: The generator, an inverted image's own or the model's.
            ws: Latents (N, num_ws, w_dim).
            strength: Share of the way.
            looks: Corrections; the first makes the change.
            keep: Keep what the text does not decide for certain.
        """
        *_, last = self.changing(generator, ws, strength, looks, keep)
        return last

    def changing(
        self, generator: Generator, ws: Tensor, strength: float, looks: int, keep: bool = False
    ) -> Iterator[tuple[Described, Described]]:
        """Yield what `changed` returns, as far as it is after each correction."""
        space = self.text_encoder.space
        steps = described(space, self.belief, ws, self.codes(generator), strength, keep)
        return nearing(steps, looks)

    def layers(self) -> dict[int, float]:
        """Return the layers that the text touches, with the share of each that it decides."""
        shares = touched(self.text_encoder.space, self.belief)[0].tolist()
        return {i: round(share, 3) for i, share in enumerate(shares) if share >= LEAST_SHARE}

    def says_nothing(self) -> str:
        """Return a note if the text touches no layer, else ""."""
        if self.layers():
            return ""
        return "the text decides next to nothing: the pictures stay as they are"


@dataclass(frozen=True, eq=False)
class ClipReader:
    """A text as CLIP reads it: what a `Reader` does, by optimisation.

    Args:
        clip: CLIP.
        vector: The text's, (1, 512).
        steps: Steps of the optimisation.
        watcher: Sees how far it is.
    """

    clip: Clip
    vector: Tensor
    steps: int
    watcher: Watcher

    @classmethod
    def open(cls, networks: Networks, request: TextRequest, watcher: Watcher) -> "ClipReader":
        """Open CLIP's weights, and read a text.

        Raises:
            UserError: Naming what is missing, or wrong with the text.
        """
        _ = networks.layered  # refuses diffusion models
        assert request.clip is not None
        with blame("text", repr(request.text[:60])):
            check_text(request.text)
        clip = Clip.open(request.clip, "`clip`").to(networks.where)
        return cls(clip, clip.texts([request.text]), request.clip_steps, watcher)

    def changed(
        self, generator: Generator, ws: Tensor, strength: float, looks: int, keep: bool = False
    ) -> tuple[Described, Described]:
        """Return pictures as they were, and as they are after the optimisation."""
        weights = ClipWeights(clip=strength * ClipWeights.clip)
        ends = []
        for number, one in enumerate(ws.split(1), 1):  # one graph at a time, of any model's size
            steps = optimised(generator, one, lambda x: self.clip(x, self.vector), weights)
            before = after = next(steps)
            for after in islice(steps, self.steps):
                self.watcher.progress(
                    f"clip: picture {number} of {len(ws)}, step {after.look} of {self.steps},"
                    f" cosine {1 - after.missed.item():.3f}"
                )
            ends.append((before, after))
        first, last = (
            Described(torch.cat([x.ws for x in side]), torch.cat([x.missed for x in side]), look)
            for side, look in zip(zip(*ends, strict=True), (0, self.steps), strict=True)
        )
        return first, last

    def layers(self) -> dict[int, float]:
        """Return no layer: CLIP may touch all."""
        return {}

    def says_nothing(self) -> str:
        """Return no note: CLIP reads any text."""
        return ""


def missed_note(missed: Sequence[float]) -> str:
    """Return a note if pictures are far from what a text says, else ""; of `TextOutcome.missed`."""
    far = sum(value > _FAR for value in missed)
    if not far:
        return ""
    which = f"{far} of {len(missed)} pictures are" if missed[1:] else "the picture is"
    return f"{which} not what the text says, as far as the encoder sees: this model may not draw it"


def text(request: TextRequest, watcher: Watcher = SILENT) -> TextOutcome:
    """Write what a text describes into a new folder.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    folder = check_new_folder(request.out)
    networks = Networks(model_of(request), request.device)
    reader = _reader(request, networks, watcher)
    if note := reader.says_nothing():
        watcher.note(note)
    if request.starts_with_seeds:
        return _of_seeds(request, networks, reader, folder, watcher)
    return _of_picture(request, networks, reader, folder, watcher)


def _reader(request: TextRequest, networks: Networks, watcher: Watcher) -> Reader | ClipReader:
    if request.clip is not None:
        return ClipReader.open(networks, request, watcher)
    return Reader.open(networks, request.text, request.text_encoder)


def _of_seeds(
    request: TextRequest,
    networks: Networks,
    reader: Reader | ClipReader,
    folder: Path,
    watcher: Watcher,
) -> TextOutcome:
    """Change the pictures of some seeds."""
    generator = networks.generator
    seeds = range(request.seed, request.seed + request.n)
    ws = torch.cat([seed_latents(generator, s, request.psi, request.class_) for s in seeds])
    before, after = reader.changed(generator, ws, request.strength, request.looks)
    _check_finite(after.ws)
    new_folder(folder)
    pictures = tiles(generator, after.ws)
    names = [f"seed{seed:04d}.png" for seed in seeds]
    for name, one in zip(names, after.ws.split(1), strict=True):
        save_png(folder / name, render(generator, one))
    sheet = np.stack([*tiles(generator, before.ws), *pictures])
    save_png(folder / "grid.png", grid(sheet, request.n))
    file = write_latents(folder / LATENTS, after.ws, "dragline")
    mark_used(networks.model, file)
    return _outcome(request, networks, reader, before, after, folder, [*names, "grid.png"], file,
                    [LATENTS], watcher)  # fmt: skip


def _of_picture(
    request: TextRequest,
    networks: Networks,
    reader: Reader | ClipReader,
    folder: Path,
    watcher: Watcher,
) -> TextOutcome:
    """Change one picture, inverted first if it is a photograph."""
    start = open_start(request, networks, folder, watcher)
    generator, ws = start.generator, start.ws.to(networks.where)
    before, after = reader.changed(generator, ws, request.strength, request.looks, keep=True)
    _check_finite(after.ws)
    if start.inversion is None:
        new_folder(folder)
    file, beside = write_start(start, after.ws, folder)
    mark_used(networks.model, file)
    drawn = render(generator, before.ws), render(generator, after.ws)
    pictures = write_pictures(request, start, *drawn, folder, request.text)
    outcome = _outcome(request, networks, reader, before, after, folder, pictures, file, beside,
                       watcher)  # fmt: skip
    return replace(outcome, inversion=start.inversion)


def _outcome(
    request: TextRequest,
    networks: Networks,
    reader: Reader | ClipReader,
    before: Described,
    after: Described,
    folder: Path,
    pictures: list[str],
    file: Path,
    beside: list[str],
    watcher: Watcher,
) -> TextOutcome:
    rounded = [[round(value, 3) for value in one.missed.tolist()] for one in (before, after)]
    if request.clip is None and request.strength == 1 and (note := missed_note(rounded[1])):
        watcher.note(note)
    return TextOutcome(
        text=request.text,
        layers=reader.layers(),
        missed=rounded[1],
        missed_before=rounded[0],
        files=[str(folder / name) for name in (*pictures, *beside)],
        file=file,
        model=portable_name(networks.model),
    )


def _check_finite(ws: Tensor) -> None:
    if not ws.isfinite().all():
        raise UserError("the latents are no longer finite; give a smaller one", "strength")
