"""What a reconstruction is measured by, and that two measures do not share a network."""

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
    """All numbers of reconstructions, made of pictures as files hold them: in 8 bits.

    Args:
        distance: What the stages descend on; a column of its own name.
        ruler: A second distance that nothing descends on, in the column `ruler_name`.
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
        """How the numbers are made for pictures of (H, W) px; JSON values."""
        return {
            **protocol(size),
            "values": "clamped to [-1, 1] and rounded to 8 bits, as the saved pictures are",
            self.distance.name: self.distance.protocol(),
            self.ruler_name: self.ruler.protocol(),
        }


def rounded(images: Tensor) -> Tensor:
    """Pictures (N, C, H, W) in [-1, 1] as 8 bits hold them, in [-1, 1] again."""
    return to_float(to_uint8(images)).to(images.device)


def choose_ruler(distance: Distance) -> tuple[str, Distance, str]:
    """A second distance, not the one that the stages descend on.

    The shipped discriminator `features64` compares with every other report made with it. Where that
    very network is the one that is descended on, as with the model it was trained against,
    `multiscale` takes its place, which knows no network at all.

    Returns:
        Name of its column, the distance on the CPU, and a sentence where it is not the usual one.
    """
    ruler = DiscriminatorDistance(open_discriminator(SHIPPED).discriminator)
    if not isinstance(distance, DiscriminatorDistance) or distance.digest != ruler.digest:
        return SHIPPED, ruler, ""
    instead = MultiscaleDistance()
    note = (
        f"{SHIPPED} is this model's own discriminator, which the stages descend on; the "
        f"independent distance is {instead.name} instead"
    )
    return instead.name, instead, note


class Stopwatch:
    """Wall time and peak memory since it was made.

    On a GPU, memory is what torch took at most; on Linux the largest resident size of the process,
    all it holds included; elsewhere unknown. Watches must not overlap: the peak is set back.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._has_peak = device.type == "cuda" or _reset_peak()
        self._start, self._start_cpu = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float | None]:
        """Everything until now by the names of a report's columns."""
        seconds, work_seconds = self.seconds(), self.work_seconds()
        return {"seconds": seconds, "work_seconds": work_seconds, "peak_mb": self.peak_mb()}

    def seconds(self) -> float:
        """Seconds until now; waits for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - self._start

    def work_seconds(self) -> float:
        """Seconds of computing until now: of all processors on a CPU, wall time on a GPU.

        What else a machine does is no part of it: methods that ran at different times compare.
        """
        on_gpu = self.device.type == "cuda"
        return self.seconds() if on_gpu else time.process_time() - self._start_cpu

    def peak_mb(self) -> float | None:
        """Most memory until now, in MB (10^6 bytes); None where it cannot be known."""
        if not self._has_peak:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        status = Path("/proc/self/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def memory_protocol(device: torch.device) -> str:
    """What `peak_mb` means here."""
    if device.type == "cuda":
        return "most memory that torch held on the GPU"
    return "largest resident size of the process, networks and libraries included"


def _reset_peak() -> bool:
    """Let the kernel forget the largest resident size so far; False where it cannot (not Linux)."""
    release_free()  # or a stage would seem to need what the one before it needed
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False  # what is known then is of the process's whole life: no number of a stage
    return True
