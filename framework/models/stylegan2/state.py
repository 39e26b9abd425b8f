"""What of a checkpoint a training goes on with."""

from torch import Tensor

_NETWORKS = ("generator.", "discriminator.", "generator_ema.")


def fitted(held: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's state as a training with other regularisation can load it.

    Networks must fit. What a training keeps beside them comes and goes with its settings: what the
    checkpoint lacks stays as it begins, what is not used any more is left out.

    Args:
        held: State dict of the checkpoint.
        ours: State dict of the training as it begins.
    """
    networks = {name: value for name, value in held.items() if name.startswith(_NETWORKS)}
    beside = {name: value for name, value in ours.items() if not name.startswith(_NETWORKS)}
    return networks | {name: held.get(name, value) for name, value in beside.items()}
