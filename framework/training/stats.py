"""Averages of what training reports, from one status line to the next."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from framework.training.gradients import all_sum


class StatsCollector:
    """Collects values by name and gives their number, mean and standard deviation.

    `report` costs no host synchronisation; `collect` sums over all processes, so every process
    must call it, having reported the same names in the same order.
    """

    def __init__(self) -> None:
        self._moments: dict[str, Tensor] = {}
        self._spans: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def report(self, name: str, values: Tensor | float) -> None:
        """Add all elements of `values` to the statistics of `name`."""
        flat = torch.as_tensor(values).detach().double().reshape(-1)
        count = flat.new_full((), flat.numel())
        moments = torch.stack([count, flat.sum(), flat.square().sum()])
        earlier = self._moments.get(name)
        self._moments[name] = moments if earlier is None else earlier + moments

    @contextmanager
    def timed(self, name: str, device: torch.device) -> Iterator[None]:
        """Report the seconds that the body takes; on a GPU, that its kernels take."""
        if device.type != "cuda":
            start = time.perf_counter()
            yield
            self.report(name, time.perf_counter() - start)
            return
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        yield
        last.record()
        self._spans.append((name, first, last))

    def collect(self) -> dict[str, dict[str, float]]:
        """Return statistics since the last call, {name: {num, mean, std}}, and start anew.

        A name for which no process has values is left out.
        """
        for name, first, last in self._spans:
            last.synchronize()
            self.report(name, first.elapsed_time(last) / 1000)
        self._spans = []
        if not self._moments:
            return {}
        # Processes on GPUs can only exchange tensors on GPUs; plain numbers are on the CPU.
        device = max((m.device for m in self._moments.values()), key=lambda d: d.type != "cpu")
        table = torch.stack([moments.to(device) for moments in self._moments.values()])
        table = all_sum(table).cpu()
        names = list(self._moments)
        self._moments = {}
        stats = {}
        for name, (num, total, squares) in zip(names, table.tolist(), strict=True):
            if not num:
                continue
            mean = total / num
            stats[name] = {
                "num": int(num),
                "mean": mean,
                "std": max(squares / num - mean**2, 0.0) ** 0.5,
            }
        return stats
