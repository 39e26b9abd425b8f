"""Pictures changed until an image encoder reads from them what a text, or another input, says.

Xia et al. 2021 (TediGAN, 3.3 and 3.4) take the layers that a text is about from the text's code and
the others from a picture's, and then optimise the result against both. Here coordinates of codes
take the place of layers, and looks at the picture take the place of gradients: what the input
leaves open is not touched, and what it decides is corrected until it is seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from framework.models.alignment.code_space import Belief, CodeSpace

LEAST_SHARE = 0.05  # of what varies in a layer: below, a text does not touch it


@dataclass(frozen=True, eq=False)
class Described:
    """A picture on its way to what is said.

    Attributes:
        ws: Its latents, (N, num_ws, w_dim).
        missed: How far it is from where it is to go, (N,): the root mean square over the
            coordinates, in the standard deviations of all pictures.
        look: Number of corrections so far.
    """

    ws: Tensor
    missed: Tensor
    look: int


@torch.no_grad()
def described(
    space: CodeSpace,
    belief: Belief,
    ws: Tensor,
    read: Callable[[Tensor], Tensor],
    strength: float = 1.0,
    keep: bool = False,
) -> Iterator[Described]:
    """Change latents, look by look, toward what an input says; endless.

    Args:
        space: The coordinates of codes.
        belief: What the input says, of one or of N.
        ws: Latents (N, num_ws, w_dim) of the pictures to change.
        read: From latents to the image encoder's codes of their pictures, likewise.
        strength: Share of the way; more than 1 exaggerates.
        keep: Keep what the input does not decide for certain (`CodeSpace.approached`), for a
            picture that is somebody's; else `CodeSpace.transported`.

    Yields:
        The pictures as they are, then after each correction.
    """
    goal, look = None, 0
    while True:
        now = space.coordinates(read(ws))
        if goal is None:
            move = space.approached if keep else space.transported
            goal = now + strength * (move(now, belief) - now)
        gap = goal - now
        yield Described(ws, (gap / space.spread).square().mean(dim=1).sqrt(), look)
        # Also where nothing was decided: what an earlier correction took along goes back.
        ws, look = ws + space.step(gap), look + 1


def nearing(steps: Iterator[Described], looks: int) -> Iterator[tuple[Described, Described]]:
    """Correct pictures some times, and keep of each what was nearest to what is said.

    Args:
        steps: Of `described`.
        looks: Corrections, at least one; the first makes the change.

    Yields:
        After each correction the pictures as they were, and as they were nearest so far.
    """
    before, best = next(steps), next(steps)
    yield before, best
    for step in islice(steps, looks - 1):
        nearer = (step.missed < best.missed)[:, None, None]
        ws = torch.where(nearer, step.ws, best.ws)
        best = Described(ws, torch.minimum(step.missed, best.missed), step.look)
        yield before, best


def nearest(steps: Iterator[Described], looks: int) -> tuple[Described, Described]:
    """Return pictures as they were, and each as it was nearest within some looks; see `nearing`."""
    *_, last = nearing(steps, looks)
    return last


def touched(space: CodeSpace, belief: Belief) -> Tensor:
    """Return how much of what varies in each layer an input decides, (N, num_ws), 0 to 1."""
    unmixed = torch.linalg.solve(space.mixing, torch.eye(len(space.spread)).to(space.mixing))
    effect = (space.up @ unmixed).unflatten(0, (space.num_ws, space.w_dim)) * space.spread
    by_layer = effect.square().sum(dim=1)  # (num_ws, K)
    return space.decided(belief) @ (by_layer / by_layer.sum(dim=1, keepdim=True)).T
