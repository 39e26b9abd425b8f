"""Fields of nearest patches against an exhaustive search, and seconds of filling holes.

    python benchmarks/patches.py
    python benchmarks/patches.py --images PHOTOGRAPHS --sizes 256 512

The exhaustive search is one matrix product of all patches with all, in float32. Distances are means
over all patches, of the squared distances and of their roots. "photographs" are two mosaics of nine
others each. A hole is an ellipse of a tenth of the picture. CPU seconds of one thread.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.machine import facts  # noqa: E402
from framework.compositing.fill_registry import fill_methods  # noqa: E402
from framework.compositing.filling import Filling, FillSettings  # noqa: E402
from framework.compositing.patch_field import PatchField  # noqa: E402
from framework.compositing.photograph import Photograph  # noqa: E402
from framework.data.toycars import ToyCars  # noqa: E402
from framework.media.images import read_image, to_float  # noqa: E402
from framework.ops.compiled import use_ops  # noqa: E402
from framework.ops.nearest_patches import patches  # noqa: E402

SIDE, ITERATIONS, AFTER_TREE, AREA = 7, 5, 2, 0.1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Fields of patches, and filling by them.")
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--field-px", type=int, default=256, help="side of the fields' pictures")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512], help="sides to be filled")
    parser.add_argument("--methods", nargs="+", default=list(fill_methods()), help="to be timed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(facts())
    for name, (target, source) in pairs(arguments.field_px, arguments.images).items():
        compare(name, target, source)
    for size in arguments.sizes:
        for method in arguments.methods:
            for mode in ("compiled", "torch") if method != "smooth" else ("torch",):
                use_ops(mode)
                seconds = seconds_of(lambda m=method, s=size: fill(m, s))[0]
                print(f"{size} px, {AREA:.0%} hole, {method}, {mode}: {seconds:.2f} s")


def pairs(size: int, folder: Path | None) -> dict[str, tuple[Tensor, Tensor]]:
    """Two pictures (H, W, 3) of each kind."""
    cars = ToyCars(size, 2)
    kinds = {"toy cars": [cars.image(0), cars.image(1)]}
    if folder is not None:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        files = files[:: max(1, len(files) // 18)][:18]
        kinds["photographs"] = [mosaic(files[:9], size), mosaic(files[9:], size)]
    return {
        name: tuple(to_float(x)[0:].movedim(0, 2).contiguous() for x in two)
        for name, two in kinds.items()
    }  # type: ignore[return-value]


def mosaic(files: list[Path], size: int) -> np.ndarray:
    """Nine photographs, as they are, in three rows."""
    tiles = [read_image(file)[: size // 3 + 1, : size // 3 + 1] for file in files]
    rows = [np.concatenate(tiles[i : i + 3], axis=1) for i in (0, 3, 6)]
    return np.concatenate(rows)[:size, :size]


def compare(name: str, target: Tensor, source: Tensor) -> None:
    """Print how near a field comes to the exhaustive search, and how much sooner."""
    exact_sec, exact = seconds_of(lambda: exhaustive(target, source))
    active = torch.ones(patches(target, SIDE).shape[:2], dtype=torch.bool)
    for mode in ("compiled", "torch"):
        use_ops(mode)
        starts: dict[str, tuple[Callable[[], PatchField], int]] = {
            "random start": (lambda: PatchField.random(active, active, SIDE), ITERATIONS),
            "tree": (lambda: PatchField.likely(target, source, active, active, SIDE), AFTER_TREE),
        }
        for start, (begun, iterations) in starts.items():
            seconds, field = seconds_of(
                lambda b=begun, n=iterations: b().improved(target, source, n)
            )
            found = field.distances.flatten()
            squared, root = found.mean() / exact.mean(), found.sqrt().mean() / exact.sqrt().mean()
            print(
                f"{name}, {target.shape[0]} px, {mode}, {start} and {iterations} iterations:"
                f" {seconds:.3f} s, exhaustive {exact_sec:.1f} s ({exact_sec / seconds:.0f} times);"
                f" mean distance {root - 1:+.1%}, squared {squared - 1:+.1%}"
            )


def exhaustive(target: Tensor, source: Tensor) -> Tensor:
    """Squared distance of each patch to the nearest of all."""
    ours, theirs = (patches(x, SIDE).flatten(0, 1).flatten(1) for x in (target, source))
    lengths = theirs.square().sum(dim=1)
    parts = [
        (lengths - 2 * part @ theirs.T).min(dim=1).values + part.square().sum(dim=1)
        for part in ours.split(512)
    ]
    return torch.cat(parts).clamp(min=0)


def fill(method: str, size: int) -> None:
    """Fill an ellipse in a toy car."""
    y, x = np.mgrid[:size, :size]
    radius = size * (AREA / np.pi) ** 0.5
    hole = np.hypot(x - size * 0.55, y - size * 0.55) < radius
    filling = Filling(Photograph(ToyCars(size, 4).image(3)), hole.astype(np.float32))
    *_, last = filling.steps(FillSettings(method=method))
    filling.filled(last)


def seconds_of(function: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returns."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
