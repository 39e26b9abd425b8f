"""`edit.py drag`: handle points to targets."""

import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from framework.cli.drag_settings import Preset, SettingsChoice
from framework.dashboard import WandbMode
from framework.errors import UserError

if TYPE_CHECKING:
    from framework.cli.drag_job import DragJob, Outputs
    from framework.cli.drag_source import JobSource
    from framework.drag import DragStep


def drag(
    out: str,
    model: str | None = None,
    seed: int | None = None,
    points: str | None = None,
    edit: str | None = None,
    at: int | None = None,
    tasks: str | None = None,
    mask: str | None = None,
    psi: float = 0.7,
    class_: int | None = None,
    preset: Preset = "auto",
    config: str | None = None,
    steps: int | None = None,
    lr: float | None = None,
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
    done.

    Examples::

      python edit.py drag --model toycars64 --seed 8 --points "48,20:54,20" --out out/roof
      python edit.py drag --edit out/roof/edit.safetensors --steps 50 --out out/roof-on
      python edit.py drag --model toycars64 --tasks tasks.jsonl --json --out out/batch

    Args:
        out: New or empty folder.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt; with --edit by default the edit's.
        seed: Seed of the picture.
        points: Handles and targets "x,y:x,y;x,y:x,y" in image pixels, origin top left, x to the
            right, y down.
        edit: edit.safetensors to continue; with --points, from its last picture with other points.
        at: Continue the edit from this step, not from its last: what came after is left out.
        tasks: Many drags from a file, a JSON object a line: {"seed": 8, "points": "48,20:54,20"};
            also name, mask, ws. Each gets its own folder in OUT; OUT/results.jsonl has them all.
        mask: Picture of the model's size; what is white in it may change. Everything by default.
        psi: Truncation of the seed's picture: 1 the full variety, 0 the average picture.
        class_: Class of a model trained with labels, counted from 0.
        preset: Settings as published (draggan) or for small pictures (small); auto takes small up
            to 128 px.
        config: YAML file with settings, such as configs/drag/draggan.yaml; in place of a preset.
        steps: Steps at most; overrides the preset's.
        lr: Step size of Adam on the latents; overrides the preset's.
        space: w+ moves the latents of the coarse layers each on its own, w all by one common
            vector; overrides the preset's.
        video: Write drag.mp4.
        gif: Write drag.gif, too.
        json: End with one line of JSON: arrived, steps, seconds, mean_distance_px,
            max_distance_px, drift, files.
        wandb: auto is what WANDB_MODE says, else online where somebody is logged in, else offline.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    _check_choice(seed=seed, edit=edit, tasks=tasks, points=points, model=model)
    if at is not None and edit is None:
        raise UserError(f"--at {at}: only with --edit")
    if config is not None and preset != "auto":
        raise UserError(f"--config {config} and --preset {preset}: give one of them")
    from framework.cli.drag_job import Outputs
    from framework.cli.drag_source import JobSource
    from framework.media.video import check_clip_path

    if video:
        check_clip_path(Path(out) / "drag.mp4")
    choice = SettingsChoice(preset, config, steps, lr, space)
    source = JobSource(model, psi, class_, device, choice)
    outputs = Outputs(video=video, gif=gif, wandb=wandb)
    if tasks is not None:
        _run_batch(source, tasks, out, outputs, json)
        return
    if edit is not None:
        job = source.continued(edit, at, points, mask)
    else:
        job = source.new(seed or 0, points or "", mask)
    _run_one(job, out, outputs, json)


def _check_choice(**given: Any) -> None:
    """Say which flags go together, naming the one that is missing or too many."""
    starts = [name for name in ("seed", "edit", "tasks") if given[name] is not None]
    if len(starts) != 1:
        chosen = " and ".join(f"--{name}" for name in starts) or "none"
        raise UserError(f"give one of --seed, --edit and --tasks to start from; {chosen} given")
    if starts != ["edit"] and given["model"] is None:
        raise UserError("--model: give a zoo name, a model folder or a file")
    if starts == ["seed"] and given["points"] is None:
        raise UserError('--points: give "x,y:x,y", what to take hold of and where to pull it')
    if starts == ["tasks"] and given["points"] is not None:
        raise UserError("--points: with --tasks the points stand in the file")


def _run_one(job: "DragJob", out: str, outputs: "Outputs", json: bool) -> None:
    from framework.cli.common import print_json
    from framework.cli.drag_job import carry_out
    from framework.files import new_folder

    stream = _checked_stream(job)
    folder = new_folder(out)
    print(f"{job.facts['settings_from']}, {'x'.join(map(str, job.generator.img_size))} px picture")
    outcome, stop = carry_out(job, stream, folder, outputs)
    print(describe(outcome))
    print(f"{folder}: " + ", ".join(Path(name).name for name in outcome["files"]))
    if json:
        print_json(outcome)
    if stop is not None:
        raise stop


def _run_batch(source: "JobSource", tasks: str, out: str, outputs: "Outputs", json: bool) -> None:
    from framework.cli.common import json_line, print_json
    from framework.cli.drag_job import carry_out
    from framework.files import new_folder

    jobs = source.batch(tasks)
    streams = {name: _checked_stream(job, f"{name}: ") for name, job in jobs.items()}
    folder = new_folder(out)
    outputs = replace(outputs, wandb_group=folder.resolve().name)
    print(f"{len(jobs)} tasks, {next(iter(jobs.values())).facts['settings_from']}")
    outcomes, failed, stop = [], [], None
    with open(folder / "results.jsonl", "w", encoding="utf-8") as results:
        for name, job in jobs.items():
            place = new_folder(folder / name)
            try:
                outcome, stop = carry_out(job, streams.pop(name), place, outputs)
            except UserError as error:  # found only while dragging; the other tasks go on
                failed.append(name)
                print(json_line({"name": name, "error": str(error)}), file=results, flush=True)
                print(f"{name}: {error}", file=sys.stderr)
                continue
            outcomes.append(outcome)
            print(json_line({"name": name, **outcome}), file=results, flush=True)
            print(f"{name}: {describe(outcome)}", flush=True)
            if stop is not None:
                break
    if json:
        print_json({"tasks": len(jobs), "failed": failed, **_summary(outcomes, folder)})
    if stop is not None:
        raise stop
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} tasks failed: {', '.join(failed)}")


def describe(outcome: dict[str, Any]) -> str:
    """Tell the outcome of a drag in a line."""
    how = {
        "arrived": "arrived",
        "max_steps": "not arrived (give more --steps)",
        "diverged": "the numbers ran away (give a smaller --lr); the last good step is kept",
    }.get(outcome["status"], outcome["status"])
    return (
        f"{how} after {outcome['steps']} steps, {outcome['seconds']:.1f} s: distance"
        f" {outcome['mean_distance_px']:.2f} px (max {outcome['max_distance_px']:.2f}),"
        f" drift {outcome['drift']:.3f}"
    )


def _checked_stream(job: "DragJob", where: str = "") -> "Iterator[DragStep]":
    """Check a job and return its steps; what is only odd about it becomes a note."""
    with warnings.catch_warnings(record=True) as oddities:
        warnings.simplefilter("always")
        stream = job.stream()
    for oddity in oddities:
        print(f"note: {where}{oddity.message}", file=sys.stderr)
    return stream


def _summary(outcomes: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return the outcome of a batch: counts, sums and means, the farthest point of all."""
    count = len(outcomes) or math.nan  # a mean of nothing is nothing
    return {
        "arrived": sum(outcome["arrived"] for outcome in outcomes),
        "steps": sum(outcome["steps"] for outcome in outcomes),
        "seconds": round(sum(outcome["seconds"] for outcome in outcomes), 3),
        "mean_distance_px": sum(outcome["mean_distance_px"] for outcome in outcomes) / count,
        "max_distance_px": max((o["max_distance_px"] for o in outcomes), default=math.nan),
        "drift": sum(outcome["drift"] for outcome in outcomes) / count,
        "files": [str(folder / "results.jsonl")],
    }
