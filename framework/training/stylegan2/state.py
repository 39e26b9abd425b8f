"""The state of a checkpoint, fitted to a run with other averages and regularisation."""

from collections.abc import Sequence

from torch import Tensor

EMA = "generator_ema"


def ema_names(half_lives_kimg: Sequence[float]) -> list[str]:
    """Return the averaged generators' names: the first is the one that is shown and published."""
    others = [f"{EMA}_{kimg:g}".replace(".", "_") for kimg in half_lives_kimg[1:]]
    return [EMA, *others]


def fitted(
    theirs: dict[str, Tensor],
    ours: dict[str, Tensor],
    their_kimg: Sequence[float] = (),
    our_kimg: Sequence[float] = (),
) -> dict[str, Tensor]:
    """Return a checkpoint's state as a run with other averages and regularisation can load it.

    Networks must fit. Averages are matched by half-life, new ones go on from the first. All else
    comes and goes with the settings: what the checkpoint lacks begins fresh, what is no longer used
    is left out.

    Args:
        theirs: State dict of the checkpoint.
        ours: State dict of the run as it begins.
        their_kimg: Half-lives of the checkpoint's averages, as far as it names them.
        our_kimg: Half-lives of the run's averages.
    """
    networks = {k: v for k, v in theirs.items() if k.startswith(("generator.", "discriminator."))}
    sources = dict(zip(their_kimg, ema_names(their_kimg), strict=False))
    averages = {
        f"{name}.{key}": value
        for kimg, name in zip(our_kimg, ema_names(our_kimg), strict=False)
        for key, value in _below(theirs, sources.get(kimg, EMA)).items()
    }
    beside = {k: theirs.get(k, v) for k, v in ours.items() if not k.startswith(_NETWORKS)}
    return networks | averages | beside


_NETWORKS = ("generator.", "discriminator.", EMA)


def _below(state: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """Return the state of one module, without its name."""
    prefix = f"{module}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
