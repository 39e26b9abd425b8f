"""The benchmark of drags: what is chosen is checked, done in processes, and written as pages."""

import json
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from framework.data import open_dataset
from framework.errors import UserError, blame
from framework.evaluation.drag.bench import (
    FORM,
    Unit,
    identity,
    note_method,
    note_protocol,
    note_tasks,
    units,
)
from framework.evaluation.drag.document import blocks, write_page
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.numbers import report_numbers
from framework.evaluation.drag.photographs import Photographs
from framework.evaluation.drag.protocol import Result
from framework.evaluation.drag.protocols.drawn import Drawn
from framework.evaluation.drag.put_in import PutIn
from framework.evaluation.drag.registry import protocol, protocol_names
from framework.evaluation.drag.specs import MethodSpec, parse_specs
from framework.evaluation.drag.web_page import web_page
from framework.evaluation.formatting import strict
from framework.evaluation.inversion.baselines import StageRunner
from framework.evaluation.report_folder import RESULTS, ReportFolder
from framework.evaluation.session import session_facts
from framework.files import check_place, write_text
from framework.inversion.settings import InversionSettings
from framework.jobs.models import Networks, seed_latents
from framework.jobs.requests.bench import BenchRequest
from framework.jobs.watcher import SILENT, Watcher
from framework.models.features.distance import choose_distance
from framework.models.stylegan2.statistics import style_statistics

WEB_PAGE, NUMBERS = "report.html", "report.json"


@dataclass(frozen=True)
class BenchOutcome:
    """A benchmark.

    Args:
        folder: Folder of the report.
        files: Names of the files in it.
        planned: Number of tasks of all rows together.
        done: Number of those that are done.
        skipped: Why methods did not run, by their names.
        stop: The interruption that ended it early; the same request goes on.
    """

    folder: Path
    files: list[str]
    planned: int
    done: int
    skipped: dict[str, str]
    stop: KeyboardInterrupt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        files = [str(self.folder / name) for name in self.files]
        return {
            "done": self.done, "planned": self.planned, "skipped": self.skipped, "files": files
        }  # fmt: skip


def bench(request: BenchRequest, watcher: Watcher = SILENT) -> BenchOutcome:
    """Do all tasks of all rows, saving each result as it comes, and write the pages.

    Raises:
        UserError: Naming the field, if anything does not fit.
    """
    specs = parse_specs(request.methods)
    for name in request.protocol:
        if name not in protocol_names():
            known = ", ".join(protocol_names())
            raise UserError(f"{name}: expected one of {known}", "protocol")
    groups = _groups(request)
    if check_place(request.out).is_file():
        raise UserError(f"{request.out}: is a file; give a new folder", "out")
    _check_models(request, specs)
    lab = open_lab(request)
    facts = {name: protocol(name).identity(lab) for name in request.protocol}
    made_by = identity(lab, request.model, request.psi)
    session = {**session_facts(torch.device("cpu")), "processes": request.processes}
    stop = None
    with ReportFolder(request.out, FORM, made_by, session) as folder:
        if folder.done:
            watcher.say(f"{folder.path}: going on, {len(folder.done)} records are there")
        for name in request.protocol:
            note_protocol(folder, name, facts[name])
        specs, skipped = _runnable(lab, specs, watcher)
        for spec in specs:
            note_method(folder, lab, spec)
        todo: list[Unit] = []
        done = 0
        try:
            for name in request.protocol:
                note_tasks(folder, lab, name, groups[name], request.n, watcher.progress)
            todo = list(units(folder, groups, specs, request.n))
            for unit, result in _results(request, lab, todo, watcher):
                folder.keep(unit.record(result))
                done += 1
        except KeyboardInterrupt as interruption:
            stop = interruption
        numbers = report_numbers(folder, lab, made_by, skipped)
        write_text(folder.path / NUMBERS, json.dumps(strict(numbers), indent=2) + "\n")
        page = list(blocks(folder, numbers))
        files = write_page(folder, page)
        title = f"Drags of {made_by['model']['name']}"
        write_text(folder.path / WEB_PAGE, web_page(title, page))
    files = [WEB_PAGE, *files, NUMBERS, RESULTS]
    return BenchOutcome(folder.path, files, len(todo), done, skipped, stop)


def _groups(request: BenchRequest) -> dict[str, list[str]]:
    """The kinds of tasks that are done, by protocol."""
    chosen = {
        name: [group for group in protocol(name).groups
               if not request.only or any(words in group for words in request.only)]
        for name in request.protocol
    }  # fmt: skip
    if not any(chosen.values()):
        known = "; ".join(group for name in chosen for group in protocol(name).groups)
        raise UserError(f"{', '.join(request.only)}: in none of: {known}", "only")
    return chosen


def _check_models(request: BenchRequest, specs: Sequence[MethodSpec]) -> None:
    """Refuse other models where tasks are pictures of the first one."""
    models = {spec.model for spec in specs if spec.model}
    own = [name for name in request.protocol if not isinstance(protocol(name), Drawn)]
    if models and own:
        named = ", ".join(sorted(models))
        raise UserError(
            f"{named}: in {', '.join(own)} pictures of the model are dragged; several models only"
            " with drawn or ablations",
            "methods",
        )
    if len({Path(model).name for model in models}) < len(models):
        raise UserError(f"{', '.join(sorted(models))}: two of one name", "methods")


def open_lab(request: BenchRequest) -> Lab:
    """Open the models, on the CPU with one thread, and their judges."""
    others = {spec.of: spec.model for spec in parse_specs(request.methods) if spec.model}
    labs = {
        name: _lab(replace(request, model=model, images=None)) for name, model in others.items()
    }
    return replace(_lab(request), others=labs)


def _lab(request: BenchRequest) -> Lab:
    """Open one model."""
    networks = Networks(request.model, "cpu")
    generator = networks.generator
    torch.set_num_threads(1)
    latents = partial(seed_latents, generator, psi=request.psi)
    photographs = None if request.images is None else _photographs(request.images, networks)
    return Lab(
        generator,
        networks.discriminator,
        latents,
        request.first_seed,
        photographs,
        networks.editor,
        put_in=PutIn(partial(_runner, networks), generator),
    )


def _photographs(images: str, networks: Networks) -> Photographs:
    """Photographs of the model's size, to be inverted by its encoder and all default stages."""
    generator = networks.generator
    with blame("images", images):
        dataset = open_dataset(images, generator.img_size, generator.img_channels)
    return Photographs(dataset, _runner(networks))


def _runner(networks: Networks) -> StageRunner:
    """All default stages of the inversion into a StyleGAN2."""
    generator, encoder = networks.generator, networks.encoder
    distance, _ = choose_distance("auto", networks.discriminator)
    residual = encoder is not None and encoder.residual
    settings = InversionSettings().suited(encoder is not None, residual)
    statistics = style_statistics(generator)
    return StageRunner(generator, distance, settings, statistics, encoder)


def _runnable(
    lab: Lab, specs: Sequence[MethodSpec], watcher: Watcher
) -> tuple[list[MethodSpec], dict[str, str]]:
    """The methods that can run with this model, and why the others cannot."""
    skipped = {}
    for spec in specs:
        watcher.progress(f"{spec.text}: trying a step")
        if reason := lab.of(spec.of).warm_up(spec):
            skipped[spec.text] = reason
            watcher.note(f"{spec.text} is skipped: {reason}")
    return [spec for spec in specs if spec.text not in skipped], skipped


# --------------------------------------------------------------------------------------- processes

_LAB: list[Lab] = []  # of a worker process


def _open(request: BenchRequest) -> None:
    """Open the lab of a worker; Ctrl-C is its parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _LAB.append(open_lab(request))


def _work(unit: Unit) -> Result:
    return unit.run(_LAB[0])


def _results(
    request: BenchRequest, lab: Lab, todo: Sequence[Unit], watcher: Watcher
) -> Iterator[tuple[Unit, Result]]:
    """Do the units, here or in processes, as they are done; tell how far that is."""
    if request.processes == 1:
        yield from _told(((unit, unit.run(lab)) for unit in todo), todo, watcher)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(request.processes, context, _open, (request,))
    try:
        futures: dict[Future[Result], Unit] = {pool.submit(_work, unit): unit for unit in todo}
        ends = ((futures[future], future.result()) for future in as_completed(futures))
        yield from _told(ends, todo, watcher)
    except BrokenProcessPool:
        raise UserError(
            f"{request.processes}: a process died, perhaps for want of memory; what is done is"
            " kept, and the same command goes on",
            "processes",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _told(
    ends: Iterable[tuple[Unit, Result]], todo: Sequence[Unit], watcher: Watcher
) -> Iterator[tuple[Unit, Result]]:
    left = Counter((unit.protocol, unit.group) for unit in todo)
    start_sec = time.monotonic()
    for number, (unit, result) in enumerate(ends, start=1):
        yield unit, result
        place = unit.protocol, unit.group
        left[place] -= 1
        rest_sec = (time.monotonic() - start_sec) / number * (len(todo) - number)
        watcher.progress(
            f"{number} of {len(todo)} ({', '.join(place)}, task {unit.index + 1}, {unit.row}),"
            f" {rest_sec / 60:.0f} min left"
        )
        if not left[place]:
            watcher.say(f"{', '.join(place)}: done")
