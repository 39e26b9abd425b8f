"""Averages of what training reports, between one status line and the next."""

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

    def report(self, name: str, values: Tensor | float) -> None:
        """Add all elements of `values` to the statistics of `name`."""
        flat = torch.as_tensor(values).detach().double().reshape(-1)
        moments = torch.stack([flat.new_tensor(flat.numel()), flat.sum(), flat.square().sum()])
        held = self._moments.get(name)
        self._moments[name] = moments if held is None else held + moments

    def collect(self) -> dict[str, dict[str, float]]:
        """Statistics since the last call, {name: {num, mean, std}}; starts anew."""
        if not self._moments:
            return {}
        table = all_sum(torch.stack(list(self._moments.values()))).cpu()
        names = list(self._moments)
        self._moments = {}
        stats = {}
        for name, (num, total, squares) in zip(names, table.tolist(), strict=True):
            mean = total / num
            stats[name] = {
                "num": int(num),
                "mean": mean,
                "std": max(squares / num - mean**2, 0.0) ** 0.5,
            }
        return stats
