"""Directions found in a model: a file of them, their numbers, and a table of pictures."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.control.analysis import changes
from framework.control.attributes import measured, read_attributes, seeds_of
from framework.control.directions import Direction, by_name, unit
from framework.control.directions_file import NAME, Directions
from framework.control.discover import SAMPLES, pca_directions, sampled_w, sefa_directions
from framework.control.layers import GROUPS
from framework.control.probe import fit_probe
from framework.errors import UserError, blame
from framework.evaluation.sheet import Row, sheet
from framework.files import check_new_folder, new_folder, write_text
from framework.formats.latents import read_named_latents
from framework.jobs.models import Networks, check_psi, portable_name, seed_latents
from framework.jobs.pictures import tiles
from framework.jobs.requests.control import DirectionsRequest
from framework.jobs.requests.pictures import MAX_SEED, parse_seeds
from framework.jobs.steering import factor_directions
from framework.jobs.watcher import SILENT, Watcher
from framework.media.images import printable, save_png
from framework.models.frozen import NOISE_MODE
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import styles_of_seeds

PICTURES, NUMBERS = "directions.png", "directions.json"
VALUES = (-3, -2, -1, 0, 1, 2, 3)
_AT_ONCE, _PAIRS = 16, 8
_FAR = 2.0  # standard deviations at which what a direction changes is measured
_WEAK_R2, _WEAK_ACCURACY = 0.3, 0.65


@dataclass(frozen=True)
class DirectionsOutcome:
    """The outcome of `directions`.

    Args:
        directions: What was found.
        file: Their file.
        files: All files that were written.
        stop: The interruption that ended it early; what was found by then is written.
    """

    directions: Directions
    file: Path
    files: list[str]
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {"directions": rows(self.directions), "files": self.files}


def directions(request: DirectionsRequest, watcher: Watcher = SILENT) -> DirectionsOutcome:
    """Find directions of a model, and write them into a new folder.

    An interruption keeps what was found, without the pictures.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    check_psi(request.psi)
    folder = check_new_folder(request.out)
    networks = Networks(request.model, request.device)
    finder = Finder(request, networks, watcher)
    start = torch.cat([
        seed_latents(networks.generator, seed, request.psi, request.class_)
        for seed in parse_seeds(request.seeds)
    ])  # fmt: skip
    found, stop = [], None
    try:
        for direction in finder.all():
            found.append(direction)
        found = finder.described(found)
        picture = _table(networks.generator, start, found, parse_seeds(request.seeds))
    except KeyboardInterrupt as interruption:
        if not found:
            raise
        stop, picture = interruption, None
    table = Directions(
        by_name(found), networks.digest, portable_name(request.model),
        networks.generator.num_ws, networks.generator.w_dim, finder.made_with(),
    )  # fmt: skip
    file = table.save(new_folder(folder) / NAME)
    if picture is not None:
        save_png(folder / PICTURES, picture)
    facts = {"model": request.model, "generator_digest": networks.digest, **table.made_with}
    text = json.dumps(facts | {"directions": rows(table)}, indent=2)
    write_text(folder / NUMBERS, f"{text}\n")
    names = (NAME, NUMBERS, *([] if picture is None else [PICTURES]))
    return DirectionsOutcome(table, file, [str(folder / name) for name in names], stop)


def rows(directions: Directions) -> list[dict[str, Any]]:
    """Return names, layers, scales and facts of directions, as JSON values."""
    return [
        {"name": d.name, "layers": list(d.layers), "scale": round(d.scale, 6), "found": d.found,
         **d.facts}
        for d in directions.table.values()
    ]  # fmt: skip


@dataclass
class Finder:
    """What a request finds in a model.

    Args:
        request: The request.
        networks: The model's networks.
        watcher: Watcher that gets progress and notes.
    """

    request: DirectionsRequest
    networks: Networks
    watcher: Watcher

    def __post_init__(self) -> None:
        """Draw w, whose spread is the unit of every direction."""
        self.generator = self.networks.layered
        self.layer_map = self.networks.layers
        self.w = sampled_w(self.generator, SAMPLES, self.request.seed).cpu().double()
        if self.request.texts:
            self.text_encoder = self.networks.text_encoder()

    def all(self) -> Iterator[Direction]:
        """Yield the directions of everything that is asked for; files first, as they may not fit.

        Raises:
            UserError: Naming the field.
        """
        request = self.request
        if request.factor is not None:
            with blame("factor", request.factor):
                path = Path(request.factor)
                if not path.exists():
                    raise UserError(f"{printable(str(path))}: no such file")
                factors = factor_directions(path, self.networks).table.values()
                yield from list(factors)[: request.count]
        if request.attributes is not None:
            with blame("attributes", request.attributes):
                yield from self._of_file(Path(request.attributes))
        for words in request.texts:
            with blame("texts", repr(words[:60])):
                yield self._of_texts(words)
        if "pca" in request.methods:
            yield from pca_directions(self.layer_map, self.w, request.count)
        if "sefa" in request.methods:
            groups = ["all", *(name for name in GROUPS if name in self.layer_map.groups)]
            yield from sefa_directions(
                self.generator, self.layer_map, self.w, groups, request.count
            )
        if "measured" in request.methods:
            yield from self._measured()

    def made_with(self) -> dict[str, Any]:
        """Return how the directions were found."""
        request = self.request
        files = {n: getattr(request, n) for n in ("attributes", "latents", "factor")}
        names = {n: Path(file).name for n, file in files.items() if file is not None}
        return {
            "methods": list(request.methods), "samples": request.samples, "psi": request.psi,
            "seed": request.seed, **names,
        }  # fmt: skip

    @torch.no_grad()
    def described(self, found: Sequence[Direction]) -> list[Direction]:
        """Return directions with the mean change of pictures at 2 deviations on either side."""
        styles = next(styles_of_seeds(self.generator, _PAIRS, self.request.seed))
        ws = self.generator.mapping.truncate(styles, self.request.psi)
        before, described = self._draw(ws), []
        for number, direction in enumerate(found, 1):
            self.watcher.progress(f"what directions change: {number}/{len(found)}")
            step = _FAR * direction.step(self.generator.num_ws).to(ws)
            sides = [changes(before, self._draw(ws + sign * step)) for sign in (-1, 1)]
            means = {
                name: round(sum(side[name].mean().item() for side in sides) / 2, 4)
                for name in sides[0]
            }
            described.append(replace(direction, facts={**direction.facts, "changes": means}))
        return described

    def _of_file(self, path: Path) -> Iterator[Direction]:
        """Fit a probe of every attribute in a file."""
        key, table = read_attributes(path)
        keys = list(next(iter(table.values())))
        if self.request.latents is None:
            if key != "seed":
                raise UserError(f"{path}: rows by name; give their `latents`, or a column seed")
            w = self._w_of_seeds(path, keys)
        else:
            w = self._w_of_latents(path, keys, Path(self.request.latents))
        for name, values in table.items():
            yield self._probe(name, w, torch.tensor([values[key] for key in keys]))

    def _w_of_seeds(self, path: Path, keys: Sequence[str]) -> Tensor:
        psi, class_ = self.request.psi, self.request.class_
        seeds = seeds_of(path, keys, MAX_SEED)
        return torch.cat([seed_latents(self.generator, s, psi, class_)[:, 0] for s in seeds])

    def _w_of_latents(self, path: Path, keys: Sequence[str], latents: Path) -> Tensor:
        """Return the mean over layers of the latents that a file of attributes names."""
        with blame("latents", str(latents)):
            if not latents.exists():
                raise UserError(f"{printable(str(latents))}: no such file")
            ws, names = read_named_latents(latents, self.generator.num_ws)
            if ws.shape[2] != self.generator.w_dim:
                raise UserError(
                    f"{latents}: latents of width {ws.shape[2]}, and w of this model has"
                    f" {self.generator.w_dim}"
                )
        numbers = {name: number for number, name in enumerate(names)}
        unknown = [key for key in keys if key not in numbers]
        if unknown:
            some = ", ".join(printable(name) for name in names[:4])
            raise UserError(
                f"{path}: names {unknown[0][:40]!r}, which {latents} does not hold ({some} …)"
            )
        return ws[[numbers[key] for key in keys]].mean(dim=1)

    @torch.no_grad()
    def _of_texts(self, words: str) -> Direction:
        """Read NAME=TEXT|TEXT: the difference of the codes that the two texts mean."""
        name, equals, pair = words.partition("=")
        first, bar, second = pair.partition("|")
        if not (equals and bar and name.strip()):
            raise UserError("give NAME=TEXT|TEXT such as tall=a low car|a tall car")
        encoder = self.text_encoder
        means = encoder.read([first, second]).mean
        change = encoder.space.step(means[1:] - means[:1])[0].cpu()
        layers = self.layer_map.group("all")
        found = unit(name.strip(), change, layers, self.w, "text")
        # So many deviations lead from the one text to the other.
        whole = change.square().sum(dim=1).mean().sqrt().item() / found.scale
        return replace(found, facts={"texts": [first, second], "difference": round(whole, 4)})

    @torch.no_grad()
    def _measured(self) -> Iterator[Direction]:
        """Measure pictures of the model, and fit a probe of every attribute that varies."""
        count, psi = self.request.samples, self.request.psi
        w, columns = [], []
        styles = styles_of_seeds(self.generator, count, self.request.seed + 1, at_once=_AT_ONCE)
        for number, ws in enumerate(styles):
            self.watcher.progress(f"measuring pictures: {number * _AT_ONCE}/{count}")
            ws = self.generator.mapping.truncate(ws, psi)
            w.append(ws[:, 0].cpu())
            columns.append({name: v.cpu() for name, v in measured(self._draw(ws)).items()})
        for name in columns[0]:
            values = torch.cat([batch[name] for batch in columns])
            try:
                yield self._probe(name, torch.cat(w), values)
            except UserError as error:
                self.watcher.note(f"left out: {error}")

    def _probe(self, name: str, w: Tensor, values: Tensor) -> Direction:
        name = re.sub(r"[^\w.:+-]+", "-", name).strip("-") or "attribute"
        probe = fit_probe(w, values, name)
        what = "accuracy" if probe.binary else "r2"
        if probe.score < (_WEAK_ACCURACY if probe.binary else _WEAK_R2):
            self.watcher.note(
                f"{name}: a linear probe hardly knows it ({what} {probe.score:.2f} on pictures that"
                " it was not fitted on); expect little of this direction"
            )
        facts = {what: round(probe.score, 4), "penalty": probe.penalty, "pictures": probe.count}
        layers = self.layer_map.group("all")
        return unit(name, probe.vector[None], layers, self.w, "probe", facts)

    def _draw(self, ws: Tensor) -> Tensor:
        return self.generator.synthesis(ws, noise_mode=NOISE_MODE)


def _table(
    generator: Generator, ws: Tensor, found: Sequence[Direction], seeds: Sequence[int]
) -> np.ndarray:
    """Rows are directions; columns -3 to 3 standard deviations, of one seed after the other."""
    values = torch.tensor(VALUES, dtype=torch.float32)[:, None, None].to(ws)
    titles = [f"{value:+d} sd" if value else f"seed {seed}" for seed in seeds for value in VALUES]
    lines: list[Row] = []
    for direction in found:
        step = direction.step(generator.num_ws).to(ws)
        moved = torch.cat([picture[None] + values * step for picture in ws])
        lines.append((_caption(direction), tiles(generator, moved)))
    return sheet(titles, lines)


def _caption(direction: Direction) -> str:
    facts = direction.facts
    shown = ("share", "r2", "accuracy")
    words = [
        f"{name} {facts[name]:.2f}" for name in shown if math.isfinite(facts.get(name, math.nan))
    ]
    return " · ".join([direction.name, *words])
