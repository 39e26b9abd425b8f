"""What a mask changes on pictures of any model, judged by the drag's own tracker.

    python benchmarks/drag_masks.py --model toycars64 --tasks 24
    python benchmarks/drag_masks.py --model vehicles64 --tasks 24

It pulls the strongest edge of pictures by 6 px, outward and inward in turn, without a mask and with
masks of three sizes, and compares how far each arrives and what changes outside the mask. On toy
cars, where a judge can say more, `edit.py bench drag --protocol mask` does.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PULL_PX = 6.0
SIZES = ("small", "medium", "large")
REACH_PX = {"small": 8, "medium": 16}
ENDS = ("arrived", "lost", "held", "max_steps")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="toycars64", help="zoo name or model folder")
    add("--tasks", type=int, default=24)
    add("--first-seed", type=int, default=30_000)
    add("--psi", type=float, default=0.7, help="truncation of the pictures")
    add("--config", help="YAML file of drag settings; by default those of edit.py drag")
    add("--mask-weight", type=float, help="weight in place of the settings'")
    add("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measure and print Markdown tables."""
    args = arguments()
    import torch

    from framework.drag.settings import DEFAULT_PRESET, DragSettings
    from framework.jobs.models import open_generator
    from framework.jobs.settings import load_settings
    from framework.machine import processor

    torch.set_num_threads(args.threads)
    generator = open_generator(args.model, "cpu")
    settings = load_settings(args.config) if args.config else DragSettings.preset(DEFAULT_PRESET)
    origin = args.config or f"preset {DEFAULT_PRESET}"
    print(f"{processor()}, {os.cpu_count()} cores, {args.threads} threads, {platform.platform()}")
    print(f"{args.model}, {origin}, psi {args.psi:g}, seeds from {args.first_seed}\n", flush=True)
    masks(args, generator, settings)


@dataclass(frozen=True, eq=False)
class Pull:
    """A pull on one picture: latents, picture (1, C, H, W), handle and target (x, y)."""

    ws: Any
    image: Any
    handle: tuple[float, float]
    target: tuple[float, float]


def masks(args: argparse.Namespace, generator: Any, settings: Any) -> None:
    """Print drags without and with masks of three sizes, side by side."""
    from dataclasses import replace

    if args.mask_weight is not None:
        settings = replace(settings, mask_weight=args.mask_weight)
    pulls = list(make_pulls(args, generator))
    free = [run(generator, pull, None, settings) for pull in pulls]
    print(f"{len(pulls)} pulls of {PULL_PX:g} px, mask weight {settings.mask_weight:g}\n")
    print(
        "| mask | may change | " + " | ".join(ENDS) + " | free drag arrives, masked one does not"
        " | change outside, share of free: mean | median | steps |"
    )
    print("|---" * (len(ENDS) + 6) + "|")
    ends = [sum(last.status == end for last, _ in free) for end in ENDS]
    steps = fmean(last.step for last, _ in free)
    print(f"| none | 100 % | {' | '.join(map(str, ends))} | | 1 | 1 | {steps:.0f} |", flush=True)
    for size in SIZES:
        areas = [mask_of(pull, size, generator.img_size) for pull in pulls]
        done = [run(generator, *some, settings) for some in zip(pulls, areas, strict=True)]
        print(row(size, areas, free, done), flush=True)


def make_pulls(args: argparse.Namespace, generator: Any) -> Iterator[Pull]:
    """Pull the strongest point of each picture away from and towards the middle in turn."""
    import torch

    from framework.evaluation.inversion.editability import outward, strong_points
    from framework.jobs.models import seed_latents

    for index in range(args.tasks):
        ws = seed_latents(generator, args.first_seed + index, args.psi)
        with torch.no_grad():
            image = generator.synthesis(ws, noise_mode="const")
        (handle,) = strong_points(image, 1)
        (target,) = outward([handle], generator.img_size, PULL_PX if index % 2 else -PULL_PX)
        yield Pull(ws, image, handle, target)


def mask_of(pull: Pull, size: str, img_size: tuple[int, int]) -> Any:
    """A box about handle and target, or all but a border for "large": (H, W), 1 = may change."""
    import torch

    height, width = img_size
    mask = torch.zeros(height, width)
    if size == "large":
        mask[2 : height - 2, 4 : width - 4] = 1
        return mask
    reach, xy = REACH_PX[size], list(zip(pull.handle, pull.target, strict=True))
    left, top = (max(0, round(min(pair) - reach)) for pair in xy)
    right, bottom = (round(max(pair) + reach) + 1 for pair in xy)
    mask[top:bottom, left:right] = 1
    return mask


def run(generator: Any, pull: Pull, mask: Any, settings: Any) -> tuple[Any, Any]:
    """Run a drag; return its last step, and how much each pixel changed, (H, W)."""
    import torch

    from framework.drag.algorithm import drag_points

    *_, last = drag_points(generator, pull.ws, [pull.handle], [pull.target], mask, settings)
    with torch.no_grad():
        change = (generator.synthesis(last.ws, noise_mode="const") - pull.image).abs()
    return last, change.mean(dim=(0, 1))


def row(size: str, areas: list[Any], free: list[Any], done: list[Any]) -> str:
    """A row of the table: drags with masks of one size beside those without a mask."""
    ends = [sum(last.status == end for last, _ in done) for end in ENDS]
    pairs = list(zip(areas, free, done, strict=True))
    reached = ("arrived", "lost")
    worse = sum(f.status in reached and d.status not in reached for _, (f, _), (d, _) in pairs)
    shares = [
        float((changed * (1 - area)).sum() / (free_change * (1 - area)).sum())
        for area, (f, free_change), (d, changed) in pairs
        if f.status in reached and d.status in reached
    ]
    cells = [size, f"{fmean(float(area.mean()) for area in areas):.0%}", *map(str, ends)]
    cells += [str(worse), f"{fmean(shares):.2f}", f"{median(shares):.2f}"]
    return f"| {' | '.join(cells)} | {fmean(last.step for last, _ in done):.0f} |"


if __name__ == "__main__":
    main()
