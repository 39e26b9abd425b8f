"""Labels faded in during training (Shahbazi et al. 2022, "Collapse by conditioning").

On few pictures a training run with labels tends to collapse to one picture for each class. A run
that begins without labels and adds them gradually does not: the generator's label embedding is
scaled by a share that goes from 0 to 1, and the discriminator's loss with labels is
added to that without, by the same share.
"""

from typing import Any, TypeVar

import torch

from framework.models.stylegan2.discriminator import Discriminator
from framework.models.stylegan2.generator import Generator

Network = TypeVar("Network", bound=Generator | Discriminator)


def label_share(seen_images: int, transition_kimg: tuple[float, float]) -> float:
    """Return how much labels count: 0 before the transition, 1 after it, linear within."""
    begin, end = transition_kimg
    return min(max((seen_images / 1000 - begin) / (end - begin), 0.0), 1.0)


@torch.no_grad()
def without_fade(network: Network) -> Network:
    """Return the network without fading, as other programs know it, or `network` itself.

    A generator makes the same pictures: the strength of labels goes into the weights that read the
    embedding. A discriminator judges by the label alone, without its unconditional output.
    """
    if not network.config["label_fade"]:
        return network
    state = network.state_dict()
    if isinstance(network, Generator):
        share, z_dim = state.pop("mapping.label_strength"), network.z_dim
        weight = state["mapping.fc0.weight"].clone()
        weight[:, z_dim:] *= share
        state["mapping.fc0.weight"] = weight
    else:
        names = ("label_strength", "b4.out_unconditional.weight", "b4.out_unconditional.bias")
        state = {name: value for name, value in state.items() if name not in names}
    config: dict[str, Any] = network.config | {"label_fade": False}
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
        plain = type(network)(**config)
    plain.load_state_dict(state, assign=True)
    return plain.train(network.training)
