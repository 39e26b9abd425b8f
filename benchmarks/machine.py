"""Facts on the machine, and timing, for all benchmarks."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

from framework.machine import processor

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def facts(device: str = "cpu") -> dict[str, Any]:
    """Facts on machine and versions."""
    import torch

    values = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device != "cpu":
        values |= {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return values


def synchronize(device: str) -> None:
    """Wait until the device has finished its work."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def timed(function: Callable[[], Any], device: str, clock: Callable[[], float]) -> float:
    """Time one call, in seconds."""
    synchronize(device)
    start = clock()
    function()
    synchronize(device)
    return clock() - start


def side_by_side(
    functions: dict[str, Callable[[], Any]], rounds: int, device: str, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each function, called in turns after a first call that does not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            times[name].append(timed(function, device, clock))
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
