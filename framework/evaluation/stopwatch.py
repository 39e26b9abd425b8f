"""Wall time, computing time and peak memory of what a report measures."""

import time
from pathlib import Path

import torch

from framework.ops.memory import release_free


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
        self._first_mb = _resident_mb("VmRSS") if self._has_peak and device.type != "cuda" else 0.0
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
        return _resident_mb("VmHWM")

    def grown_mb(self) -> float | None:
        """By how much memory grew at most since the creation; None where it is unknown."""
        peak_mb = self.peak_mb()
        return None if peak_mb is None else max(0.0, peak_mb - self._first_mb)


def memory_protocol(device: torch.device) -> str:
    """The meaning of `peak_mb` on this device."""
    if device.type == "cuda":
        return "most memory that torch held on the GPU"
    return "largest resident size of the process, networks and libraries included"


def _resident_mb(which: str) -> float:
    """The process's resident size: VmRSS is the one now, VmHWM the largest."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition(f"{which}:")[2].split()[0]) * 1024 / 1e6


def _reset_peak() -> bool:
    """Reset the kernel's largest resident size; False where that is impossible (not Linux)."""
    release_free()  # or a stage would seem to need as much as the one before it
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False  # the size would be that of the process's whole life, not of a stage
    return True
