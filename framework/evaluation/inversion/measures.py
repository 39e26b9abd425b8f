"""The measures of a reconstruction, with one distance that no stage optimises."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.evaluation.generator.features import SHIPPED, open_discriminator
from framework.evaluation.image_metrics import ms_ssim, mse01, mse_pm1, protocol, psnr, ssim
from framework.media.images import to_float, to_uint8
from framework.models.features.distance import DiscriminatorDistance, Distance, MultiscaleDistance
from framework.ops.memory import release_free

Numbers = dict[str, float]
HIGHER_IS_BETTER = frozenset({"psnr", "ssim", "ms_ssim"})
_IMAGE_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    metric.__name__: metric for metric in (mse_pm1, mse01, psnr, ssim, ms_ssim)
}


class Measures:
    """All numbers of reconstructions, computed on pictures as in files: with 8 bits.

    Args:
        distance: The distance that the stages optimise, in a column of its own name.
        ruler: A second distance that no stage optimises, in the column `ruler_name`.
    """

    def __init__(self, distance: Distance, ruler: Distance, ruler_name: str) -> None:
        self.distance, self.ruler, self.ruler_name = distance, ruler, ruler_name
        self.names = (*_IMAGE_METRICS, distance.name, ruler_name)

    @torch.no_grad()
    def __call__(self, images: Tensor, photos: Tensor) -> list[Numbers]:
        """Numbers by column of each picture (N, C, H, W) in [-1, 1] against its photograph."""
        a, b = rounded(images), rounded(photos)
        columns = {name: metric(a, b) for name, metric in _IMAGE_METRICS.items()}
        columns |= {self.distance.name: self.distance(a, b), self.ruler_name: self.ruler(a, b)}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def protocol(self, size: tuple[int, int]) -> dict[str, Any]:
        """How the numbers are computed for pictures of (H, W) px; JSON values."""
        return {
            **protocol(size),
            "values": "clamped to [-1, 1] and rounded to 8 bits, as the saved pictures are",
            self.distance.name: self.distance.protocol(),
            self.ruler_name: self.ruler.protocol(),
        }


def rounded(images: Tensor) -> Tensor:
    """Round pictures (N, C, H, W) in [-1, 1] to 8 bits, in [-1, 1] again."""
    return to_float(to_uint8(images)).to(images.device)


def choose_ruler(distance: Distance) -> tuple[str, Distance, str]:
    """Choose a second distance, other than the one that the stages optimise.

    The shipped discriminator `features64` compares with every other report that uses it. Where the
    stages optimise that very network, as for the model it was trained against, `multiscale` takes
    its place, which uses no network at all.

    Returns:
        Name of its column, the distance on the CPU, and a sentence if it is not the usual one.
    """
    ruler = DiscriminatorDistance(open_discriminator(SHIPPED).discriminator)
    if not isinstance(distance, DiscriminatorDistance) or distance.digest != ruler.digest:
        return SHIPPED, ruler, ""
    instead = MultiscaleDistance()
    note = (
        f"{SHIPPED} is this model's own discriminator, which the stages optimise; the "
        f"independent distance is {instead.name} instead"
    )
    return instead.name, instead, note


class Stopwatch:
    """Wall time and peak memory since its creation.

    On a GPU, memory is the peak of torch's; on Linux the largest resident size of the whole
    process; elsewhere unknown. Watches must not overlap: each resets the peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._has_peak = device.type == "cuda" or _reset_peak()
        self._start, self._start_cpu = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float | None]:
        """Times and memory until now, by the names of a report's columns."""
        seconds, work_seconds = self.seconds(), self.work_seconds()
        return {"seconds": seconds, "work_seconds": work_seconds, "peak_mb": self.peak_mb()}

    def seconds(self) -> float:
        """Seconds until now; waits for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - self._start

    def work_seconds(self) -> float:
        """Seconds of computing until now: of all processors on a CPU, wall time on a GPU.

        It does not depend on the machine's other work: methods that ran at different times compare.
        """
        on_gpu = self.device.type == "cuda"
        return self.seconds() if on_gpu else time.process_time() - self._start_cpu

    def peak_mb(self) -> float | None:
        """Peak memory until now, in MB (10^6 bytes); None where it is unknown."""
        if not self._has_peak:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        status = Path("/proc/self/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def memory_protocol(device: torch.device) -> str:
    """The meaning of `peak_mb` on this device."""
    if device.type == "cuda":
        return "most memory that torch held on the GPU"
    return "largest resident size of the process, networks and libraries included"


def _reset_peak() -> bool:
    """Reset the kernel's largest resident size; False where that is impossible (not Linux)."""
    release_free()  # or a stage would seem to need as much as the one before it
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False  # the size would be that of the process's whole life, not of a stage
    return True
