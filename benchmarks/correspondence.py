"""The error of the outside correspondence on known motion, at the size of a model's pictures.

    python benchmarks/correspondence.py --images PHOTOGRAPHS
    python benchmarks/correspondence.py --images PHOTOGRAPHS --count 40 --enlarged 64 256 512

Photographs are moved before they are made small; points are taken where their middle changes most.
"other picture" searches another photograph, where no point has a counterpart: its confidences show
what a wrong match looks like. "mixes" are generated toy cars and their mixes with others, against
the judge of key points (whose own error is half a pixel): what is drawn anew cannot be followed by
how it looks. One process; `cpu s` is the CPU time of one call (six points).
"""

import argparse
import random
import sys
import time
from functools import partial
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.machine import facts  # noqa: E402
from framework.evaluation.drag.correspondence import (  # noqa: E402
    SURE,
    WORKING_PX,
    Correspondence,
)
from framework.evaluation.drag.known_motion import random_motion, relit, still  # noqa: E402
from framework.evaluation.drag.lab import Lab  # noqa: E402
from framework.evaluation.drag.measures import SURE as SURE_JUDGE  # noqa: E402
from framework.evaluation.drag.targets import mixed, pairs  # noqa: E402
from framework.evaluation.intervals import bootstrap  # noqa: E402
from framework.evaluation.inversion.editability import strong_points  # noqa: E402
from framework.jobs.models import Networks, seed_latents  # noqa: E402
from framework.media.images import read_image, to_float  # noqa: E402

POINTS, MARGIN_PX = 6, 3
MOVED_PX = ((0, 2), (2, 10), (10, 64))
KINDS = {  # largest turn in degrees, largest stretch and shear, other light
    "translation": (0.0, 0.0, False),
    "turn, stretch": (12.0, 0.12, False),
    "turn, stretch, light": (12.0, 0.12, True),
}


def main() -> None:
    """Measure and print one table per size."""
    parser = argparse.ArgumentParser(description="The error of the outside correspondence.")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--sides", type=int, nargs="+", default=[64], help="of the pictures, in px")
    parser.add_argument("--count", type=int, default=100, help="photographs")
    parser.add_argument(
        "--shift", type=float, default=8.0, help="largest shift, in 64ths of a side"
    )
    parser.add_argument("--enlarged", type=int, nargs="+", default=[WORKING_PX], help="to these px")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(path for path in options.images.rglob("*") if path.suffix in (".jpg", ".png"))
    files = random.Random(0).sample(files, min(options.count, len(files)))
    originals = [to_float(read_image(path)[None]) for path in files]
    print(" ".join(f"{name}={value}" for name, value in facts().items()))
    for working_px in options.enlarged:
        find = Correspondence.load(working_px=working_px)
        print(f"\nenlarged to {working_px} px")
        for side in options.sides:
            table(find, originals, side, options.shift * side / 64)
    mixes(find, options.count)


def table(find: Correspondence, originals: list[Tensor], side: int, shift_px: float) -> None:
    """Print the errors of every kind of motion for pictures of one size."""
    size, rng = (side, side), torch.Generator().manual_seed(1)
    print(f"\n{side} px, {len(originals)} photographs, shifts up to {shift_px:g} px an axis")
    print("| motion | points | mean px [95 %] | median | 95th | < 1 px | < 2 px | sure | cpu s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (turn, stretch, light) in KINDS.items():
        errors, sure, seconds = [], [], 0.0
        for original in originals:
            motion = random_motion(size, rng, shift_px, turn, stretch)
            before, after = still(size).picture(original), motion.picture(original)
            points = torch.tensor(strong_points(before, POINTS))
            true = motion.points(points)
            inside = ((true >= MARGIN_PX) & (true <= side - 1 - MARGIN_PX)).all(dim=1)
            start = time.process_time()
            found = find(before, relit(after, rng) if light else after, points, 2 * shift_px)
            seconds += time.process_time() - start
            errors += (found.points - true).norm(dim=1)[inside].tolist()
            sure += (found.confidence >= SURE)[inside].tolist()
        mean, error = bootstrap(errors), torch.tensor(errors)
        shares = " | ".join(f"{(error < px).float().mean():.0%}" for px in (1, 2))
        print(
            f"| {name} | {len(errors)} | {mean.mean:.2f} [{mean.low:.2f}, {mean.high:.2f}]"
            f" | {error.median():.2f} | {error.quantile(0.95):.2f} | {shares}"
            f" | {sum(sure) / len(sure):.0%} | {seconds / len(originals):.3f} |"
        )
    sure = []
    for original, other in zip(originals, originals[1:] + originals[:1], strict=True):
        before, after = still(size).picture(original), still(size).picture(other)
        points = torch.tensor(strong_points(before, POINTS))
        sure += (find(before, after, points, 2 * shift_px).confidence >= SURE).tolist()
    print(f"| other picture | {len(sure)} | – | – | – | – | – | {sum(sure) / len(sure):.0%} | – |")


@torch.no_grad()
def mixes(find: Correspondence, count: int) -> None:
    """Print how far the correspondence is from the judge on toy cars that have changed."""
    generator = Networks("toycars64", "cpu").generator
    lab = Lab(generator, None, partial(seed_latents, generator, psi=0.7), 7000)
    sure = (pair for pair in pairs(lab) if min(pair.sure, pair.mixed_sure) >= SURE_JUDGE)
    moved, errors = [], []
    for pair in islice(sure, count):
        ws = torch.cat([lab.latents(pair.seed), mixed(lab, pair.seed, pair.layers)])
        before, after = lab.picture(ws)
        found = find(before, after, torch.from_numpy(pair.points).float(), 14).points.numpy()
        moved += np.linalg.norm(pair.points - pair.mixed_points, axis=1).tolist()
        errors += np.linalg.norm(found - pair.mixed_points, axis=1).tolist()
    print(f"\ntoy cars and their mixes, {count} pairs, against the judge of key points")
    print("| part moved | points | mean px [95 %] | median | < 1 px | < 2 px |")
    print("|---|---|---|---|---|---|")
    for low, high in MOVED_PX:
        of = [e for m, e in zip(moved, errors, strict=True) if low <= m < high]
        mean, error = bootstrap(of), torch.tensor(of)
        shares = " | ".join(f"{(error < px).float().mean():.0%}" for px in (1, 2))
        print(
            f"| {low} to {high} px | {len(of)} | {mean.mean:.2f} [{mean.low:.2f}, {mean.high:.2f}]"
            f" | {error.median():.2f} | {shares} |"
        )


if __name__ == "__main__":
    main()
