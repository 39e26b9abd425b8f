"""What of a checkpoint a training goes on with."""

from collections.abc import Sequence

from torch import Tensor

EMA = "generator_ema"


def ema_names(half_lives_kimg: Sequence[float]) -> list[str]:
    """Names of the averaged generators: the first is the one that is shown, saved and published."""
    others = [f"{EMA}_{kimg:g}".replace(".", "_") for kimg in half_lives_kimg[1:]]
    return [EMA, *others]


def fitted(
    held: dict[str, Tensor],
    ours: dict[str, Tensor],
    held_kimg: Sequence[float] = (),
    our_kimg: Sequence[float] = (),
) -> dict[str, Tensor]:
    """A checkpoint's state as a training with other averages and regularisation can load it.

    Networks must fit. Averages are found by their half-life, new ones go on from the first. What
    else a training keeps comes and goes with its settings: what the checkpoint lacks stays as it
    begins, what is not used any more is left out.

    Args:
        held: State dict of the checkpoint.
        ours: State dict of the training as it begins.
        held_kimg: Half-lives of the checkpoint's averages, as far as it knows them.
        our_kimg: Half-lives of the training's averages.
    """
    networks = {k: v for k, v in held.items() if k.startswith(("generator.", "discriminator."))}
    sources = dict(zip(held_kimg, ema_names(held_kimg), strict=False))
    averages = {
        f"{name}.{key}": value
        for kimg, name in zip(our_kimg, ema_names(our_kimg), strict=False)
        for key, value in _below(held, sources.get(kimg, EMA)).items()
    }
    beside = {k: held.get(k, v) for k, v in ours.items() if not k.startswith(_NETWORKS)}
    return networks | averages | beside


_NETWORKS = ("generator.", "discriminator.", EMA)


def _below(state: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """The state of one module, its name taken off."""
    prefix = f"{module}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
