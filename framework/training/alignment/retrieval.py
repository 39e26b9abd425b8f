"""Whether an input finds its own picture among others: retrieval by codes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from framework.models.alignment.code_space import Belief

GROUP = 100  # pictures of which one is looked for


class Retrieval(NamedTuple):
    """How often an input's own picture is among the nearest of its group.

    Attributes:
        first: 1 where it is the nearest, shape (N,), else 0.
        fifth: 1 where it is among the nearest five.
    """

    first: Tensor
    fifth: Tensor


def retrieval(
    belief: Belief,
    coordinates: Tensor,
    surprise: Callable[[Belief, Tensor], Tensor] = Belief.surprise,
    group: int = GROUP,
) -> Retrieval:
    """Look for each input's picture among those of its group: N inputs, groups in their order.

    A picture that is exactly as near as the own one counts as nearer, so ties count against. Two
    pictures that the same input describes are no tie: one of the two is found wrongly. What is
    left over beyond whole groups does not count.

    Args:
        belief: What the inputs say, (N, K).
        coordinates: The pictures', (N, K), or anything that `surprise` takes.
        surprise: How far a picture is from what an input says; its arguments broadcast.
        group: Pictures of a group; all if there are fewer.
    """
    group = min(group, len(coordinates))
    ranks = []
    for first in range(0, len(coordinates) - group + 1, group):
        rows = slice(first, first + group)
        said = Belief(belief.mean[rows, None], belief.log_std[rows, None])
        far = surprise(said, coordinates[None, rows])
        ranks.append((far <= far.diagonal()[:, None]).sum(dim=1))
    rank = torch.cat(ranks)
    return Retrieval((rank <= 1).float(), (rank <= 5).float())
