"""How many threads to compute with, and how long an idle thread keeps its core busy waiting.

OpenMP's threads spin while they wait for each other. On a busy machine they wait for a thread that
has no core, and two threads take ten times as long as one. So the programs shorten the spin before
torch is imported (`shorten_spin`), and use no more threads than the work is worth and the process
has cores (`use_threads`), once the size of the work is known. The load of other programs does not
matter: large steps gain by a second thread even then (docs/threads.md), and the same command gives
the same bits. What the user sets wins: OMP_NUM_THREADS (which torchrun sets, too) or
MKL_NUM_THREADS, GOMP_SPINCOUNT or OMP_WAIT_POLICY.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SPINS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
SPIN = "1000"
# Measured: at 0.19 a second thread costs more than it gains, at 56 it pays (docs/threads.md).
GFLOP_A_THREAD = 1.0


@dataclass(frozen=True)
class Threads:
    """A choice of threads: how many, how long they spin, and why."""

    count: int
    spin: str
    why: str


def shorten_spin() -> None:
    """Let waiting threads spin briefly; this works only before torch is imported."""
    if set_by_user(SPINS, os.environ) is None:
        os.environ["GOMP_SPINCOUNT"] = SPIN


def use_threads(gflop: float, processes: int = 1) -> Threads:
    """Let torch compute with as many threads as the work is worth.

    Args:
        gflop: Operations of one step in 10^9, as `framework.synthesis_gflop` counts them.
        processes: Processes that share this machine's cores, this one included.

    Returns:
        The choice; a number that the user has set stays.
    """
    import torch

    if name := set_by_user(COUNTS, os.environ):
        why = f"{name}={os.environ[name]} is set"
        return Threads(torch.get_num_threads(), spin(os.environ), why)
    count, why = worth(gflop, usable_cores() // max(1, processes))
    torch.set_num_threads(count)
    return Threads(count, spin(os.environ), why)


def worth(gflop: float, cores: int) -> tuple[int, str]:
    """Number of threads that a step is worth, and the reason.

    Args:
        gflop: Operations of the step in 10^9.
        cores: Cores that this process may use.
    """
    cores = max(1, cores)
    threads = max(1, int(min(gflop / GFLOP_A_THREAD, cores)))
    if threads == cores:
        return cores, f"there {'is' if cores == 1 else 'are'} {cores} to use"
    return threads, f"a step of {gflop:.2g} GFLOP is worth no more"


def set_by_user(names: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    """Name of the first of these variables that has a value."""
    return next((name for name in names if environment.get(name)), None)


def spin(environment: Mapping[str, str]) -> str:
    """The variable that decides how long threads spin, with its value."""
    name = set_by_user(SPINS, environment)
    return f"{name}={environment[name]}" if name else "OpenMP's default"


def usable_cores() -> int:
    """Number of cores that this process may use, by affinity and its control group's quota."""
    return max(1, int(min(len(affinity()), quota())))


def affinity() -> set[int]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def quota(root: Path = Path("/")) -> float:
    """Number of cores that the process's control groups allow; infinite without a limit."""
    shares = [float("inf")]
    for folder in _control_groups(root):
        with suppress(OSError, ValueError, ZeroDivisionError):  # version 2, and then 1
            most, period = (folder / "cpu.max").read_text().split()
            shares.append(int(most) / int(period) if most != "max" else float("inf"))
        with suppress(OSError, ValueError, ZeroDivisionError):
            most, period = (
                int((folder / f"cpu.cfs_{part}_us").read_text()) for part in ("quota", "period")
            )
            shares.append(most / period if most > 0 else float("inf"))
    return min(shares)


def _control_groups(root: Path) -> list[Path]:
    """Folders of the process's CPU control groups, with their parents."""
    base = root / "sys/fs/cgroup"
    folders = []
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, kinds, path = line.split(":", 2)
            if number == "0" or "cpu" in kinds.split(","):
                top = base / kinds if kinds else base
                own = top / path.lstrip("/")
                folders += [own, *(p for p in own.parents if p.is_relative_to(top))]
    return folders
