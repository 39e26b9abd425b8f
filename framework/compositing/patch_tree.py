"""A first guess of nearest patches: a tree over few numbers of each, without ways back.

After He and Sun 2012 (Computing nearest-neighbor fields via propagation-assisted kd-trees): where
every patch has its neighbour somewhere else, as in noise, a random start is far from anything, and
the leaf of a tree is near. `framework.ops.nearest_patches` goes on from there.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.ops.nearest_patches import patches

_NUMBERS = 16  # principal components that patches are told apart by
_LEAF = 8  # patches in a leaf, at least; at most twice as many
_SAMPLE = 4096  # patches that the components are from, about


def likely_patches(
    target: Tensor, source: Tensor, active: Tensor, allowed: Tensor, side: int
) -> Tensor:
    """Guess the nearest patches of a source; arguments as in `nearest_patches`.

    Returns:
        A field to start with: (y, x) of an allowed patch, int32 (H - side + 1, W - side + 1, 2),
        zero where nothing is active.
    """
    basis = _components(source, allowed, side)
    ours, theirs = (_numbers(picture, basis, side) for picture in (target, source))
    choices = allowed.nonzero()
    field = torch.zeros(*active.shape, 2, dtype=torch.int32)
    field[active] = choices[_nearest_in_leaf(ours[active], theirs[allowed])].int()
    return field


def _components(source: Tensor, allowed: Tensor, side: int) -> Tensor:
    """The first principal components of allowed patches, (side * side * C, N), largest first."""
    places = allowed.nonzero()
    y, x = places[:: 1 + len(places) // _SAMPLE].unbind(dim=1)
    sample = patches(source.contiguous(), side)[y, x].flatten(1)
    sample = sample - sample.mean(dim=0)
    return torch.linalg.eigh(sample.T @ sample).eigenvectors.flip(1)[:, :_NUMBERS]


def _numbers(picture: Tensor, basis: Tensor, side: int) -> Tensor:
    """Components of all patches, (H - side + 1, W - side + 1, N)."""
    kernels = basis.T.reshape(-1, side, side, picture.shape[2]).permute(0, 3, 1, 2)
    return F.conv2d(picture.movedim(2, 0)[None], kernels)[0].movedim(0, 2)


def _nearest_in_leaf(ours: Tensor, theirs: Tensor) -> Tensor:
    """Find for each of our points (N, D) the nearest of theirs (M, D) in its leaf."""
    members, leaf = _sorted_into_leaves(ours, theirs)
    best, least = members[leaf, 0], torch.full((len(ours),), torch.inf)
    for candidate in members[leaf].unbind(dim=1):
        distance = (ours - theirs[candidate]).square().sum(dim=1)
        nearer = distance < least
        best, least = torch.where(nearer, candidate, best), torch.where(nearer, distance, least)
    return best


def _sorted_into_leaves(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Halve their points again and again, all parts along the dimension that is longest by then.

    Returns:
        The points of each leaf, (leaves, n), some twice; and the leaf of each of ours, (N,).
    """
    lengths, points, columns = theirs.std(dim=0, correction=0), theirs.numpy(), ours.T.contiguous()
    members, leaf = np.arange(len(theirs))[None], torch.zeros(len(ours), dtype=torch.long)
    while members.shape[1] >= 2 * _LEAF:
        along, half = int(lengths.argmax()), members.shape[1] // 2
        lengths[along] /= 2
        values = points[members, along]
        order = np.argpartition(values, half, axis=1)
        middle = np.take_along_axis(values, order[:, half : half + 1], axis=1)[:, 0]
        members = np.take_along_axis(members, order, axis=1)
        # Halves of one size: the middle one of an odd number is in both.
        lower, upper = members[:, : members.shape[1] - half], members[:, half:]
        members = np.stack([lower, upper], axis=1).reshape(-1, lower.shape[1])
        leaf = 2 * leaf + (columns[along] >= torch.from_numpy(middle)[leaf]).long()
    return torch.from_numpy(members), leaf
