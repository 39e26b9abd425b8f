"""Which perceptual distance inverts photographs best in the same computing time.

    python benchmarks/perceptual.py vehicles64 PHOTOGRAPHS --count 24 --out out/perceptual

Every choice, `NAME=WEIGHT`, is the perceptual distance of refine and tune; the first one takes the
steps of the defaults (or --steps), every other one as many as fit into its time, measured before
the first photograph. What is reported is by rulers: MS-SSIM and features of networks that no
choice optimises, and each distance, which is independent for the others only. Photographs are held
out of the encoder's training. Numbers are kept as they come; the same command goes on. Writes
numbers.jsonl, table.md and a picture a photograph: itself and each choice's reconstruction.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from framework import build_encoder, load_discriminator, load_encoder_parts, load_generator
from framework.data.holdout import split
from framework.data.opening import open_dataset
from framework.evaluation.generator.features import open_discriminator
from framework.evaluation.image_metrics import ms_ssim, psnr
from framework.evaluation.intervals import paired
from framework.evaluation.inversion.baselines import Result, StageRunner
from framework.evaluation.inversion.measures import rounded
from framework.inversion.settings import InversionSettings
from framework.media.images import grid, save_png, to_float, to_uint8
from framework.models.features.distance import DiscriminatorDistance, Distance, choose_distance
from framework.models.stylegan2.statistics import style_statistics

_TIMED = (12, 6)  # steps of refine and tune that are timed
_ORDER_SEED = 0


@dataclass(frozen=True)
class Choice:
    """A distance and its weight in the loss of refine and tune."""

    name: str
    weight: float
    distance: Distance

    @property
    def label(self) -> str:
        """The words of the command line."""
        return f"{self.name}={self.weight:g}"

    def settings(self, steps: tuple[int, int]) -> InversionSettings:
        """Settings with its weight and these steps of refine and tune."""
        suited = InversionSettings().suited(True)
        assert suited.refine is not None
        return replace(
            suited,
            refine=replace(suited.refine, steps=steps[0], perceptual=self.weight),
            tune=replace(suited.tune, steps=steps[1], perceptual=self.weight),
        )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model")
    add("photographs", help="folder or zip")
    add("--choices", nargs="+", default=["dfeat=1", "lite0=1"], metavar="NAME=WEIGHT")
    add("--judges", nargs="*", default=["features64", "toycars64"], help="models' discriminators")
    add("--held-out", type=float, default=0.1, help="share held out of the encoder's training")
    add("--first", type=int, default=0, help="photographs to pass over, in a fixed random order")
    add("--count", type=int, default=24)
    add("--steps", type=int, nargs=2, default=[200, 100], metavar=("REFINE", "TUNE"))
    add("--out", type=Path, required=True)
    return parser.parse_args()


def work_seconds(runner: StageRunner, photo: torch.Tensor) -> dict[str, float]:
    """Computing time of the stages by name, for the steps in the runner's settings."""
    seconds, before = {}, 0.0
    for result in runner.results(photo):
        assert result.work_seconds is not None
        seconds[result.method.rpartition("+")[2]] = result.work_seconds - before
        before = result.work_seconds
    return seconds


def step_seconds(runner: StageRunner, photo: torch.Tensor, choice: Choice) -> tuple[float, float]:
    """Computing time of a step of refine and of tune: the medians of three measurements."""
    timed = replace(runner, settings=choice.settings(_TIMED), distance=choice.distance)
    rounds = [work_seconds(timed, photo) for _ in range(4)][1:]
    refine, tune = (median(row[stage] for row in rounds) for stage in ("refine", "tune"))
    return refine / _TIMED[0], tune / _TIMED[1]


def measured(result: Result, photo: torch.Tensor, rulers: dict) -> dict[str, float]:
    """All rulers of a result, of 8-bit pictures."""
    a, b = rounded(result.image), rounded(photo)
    with torch.no_grad():
        return {name: ruler(a, b).item() for name, ruler in rulers.items()}


def table(rows: list[dict], choices: list[Choice], rulers: dict) -> str:
    """Means of each choice, and how it differs from the first, photograph by photograph."""
    lines = [
        f"{len(rows)} photographs; differences are to {choices[0].label}, with 95 % intervals\n",
        "| after | measure | " + " | ".join(choice.label for choice in choices) + " |",
        "|---|---|" + "---:|" * len(choices),
    ]
    for method in rows[0]["results"][choices[0].label]:
        for name in ("work_seconds", "steps", *rulers):
            cells = []
            for choice in choices:
                values = [row["results"][choice.label][method][name] for row in rows]
                first = [row["results"][choices[0].label][method][name] for row in rows]
                gap = paired(values, first)
                change = "" if choice is choices[0] else (
                    f" ({gap.mean:+.4f}, {gap.low:+.4f} to {gap.high:+.4f})"
                )  # fmt: skip
                cells.append(f"{np.mean(values):.4f}{change}")
            lines.append(f"| {method} | `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, keep, print the table."""
    args = arguments()
    torch.set_num_threads(1)
    generator, discriminator = load_generator(args.model), load_discriminator(args.model)
    encoder = build_encoder(load_encoder_parts(args.model), generator)
    named = [word.partition("=")[::2] for word in args.choices]
    choices = [Choice(n, float(w or 1), choose_distance(n, discriminator)[0]) for n, w in named]
    rulers = {"ms_ssim": ms_ssim, "psnr": psnr}
    rulers |= {choice.name: choice.distance for choice in choices}
    for judge in args.judges:
        rulers[judge] = DiscriminatorDistance(open_discriminator(judge).discriminator)
    held_out = split(open_dataset(args.photographs, generator.img_size), args.held_out)[1]
    order = np.random.default_rng(_ORDER_SEED).permutation(len(held_out))[args.first :][
        : args.count
    ]
    runner = StageRunner(
        generator, choices[0].distance, choices[0].settings(tuple(args.steps)),
        style_statistics(generator), encoder,
    )  # fmt: skip

    def photograph(index: int) -> torch.Tensor:
        return to_float(np.moveaxis(held_out.image(int(index)), 0, -1)[None])

    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "numbers.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    costs = {c.label: step_seconds(runner, photograph(order[0]), c) for c in choices}
    steps = {
        label: tuple(
            round(n * first / sec)
            for n, first, sec in zip(args.steps, costs[choices[0].label], cost, strict=True)
        )
        for label, cost in costs.items()
    }
    if rows:
        steps = {label: tuple(pair) for label, pair in rows[0]["steps"].items()}
    print(f"{len(held_out)} photographs are held out; {len(order)} of them", flush=True)
    print("milliseconds a step of refine, tune, and steps:", flush=True)
    for label, cost in costs.items():
        print(f"  {label}: {cost[0] * 1000:.1f}, {cost[1] * 1000:.1f}; {steps[label]}", flush=True)
    done = {row["photo"] for row in rows}
    for index in order:
        name, photo = held_out.name(int(index)), photograph(index)
        if name in done:
            continue
        results, pictures = {}, [to_uint8(photo)[0]]
        for choice in choices:
            suited = choice.settings(steps[choice.label])
            ready = replace(runner, settings=suited, distance=choice.distance)
            stages = list(ready.results(photo))
            results[choice.label] = {
                stage.method: measured(stage, photo, rulers)
                | {"work_seconds": stage.work_seconds, "steps": stage.steps}
                for stage in stages
            }
            pictures.append(to_uint8(stages[-1].image)[0])
        save_png(args.out / f"{Path(name).stem}.png", grid(np.stack(pictures), len(pictures)))
        rows.append({"photo": name, "steps": steps, "results": results})
        with file.open("a") as lines:
            lines.write(json.dumps(rows[-1]) + "\n")
        print(f"{len(rows)} of {len(order)}", flush=True)
    text = table(rows, choices, rulers)
    (args.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
