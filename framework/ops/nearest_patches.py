"""Nearest-neighbour fields of patches: PatchMatch (Barnes et al. 2009).

A patch is named by the (y, x) of its top left corner; a picture (H, W, C) has
(H - side + 1, W - side + 1) of them. Whatever is to count when patches are compared is a channel:
weights are factors of channels.
"""

import torch
from torch import Tensor

from framework.ops.compiled import runs_compiled

_AT_ONCE = 1 << 16  # patches whose numbers are copied at once
_STEPS = (8, 4, 2, 1)  # places between neighbours that propagate, largest first
_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def patches(picture: Tensor, side: int) -> Tensor:
    """View all patches of a dense picture (H, W, C) as (H - side + 1, W - side + 1, side, side*C).

    Nothing is copied: patches that overlap share their memory, so nothing may be written to them.
    """
    height, width, channels = picture.shape
    line = width * channels
    return picture.as_strided(
        (height - side + 1, width - side + 1, side, side * channels), (line, channels, line, 1)
    )


def patch_distances(target: Tensor, source: Tensor, of: Tensor, to: Tensor, side: int) -> Tensor:
    """Return the summed square differences between patches, in pairs.

    Args:
        target: Picture (H, W, C), float32.
        source: Picture (h, w, C).
        of: Patches of the target, (N, 2).
        to: Patches of the source, (N, 2).
        side: Side of a patch in pixels.

    Returns:
        Distances, shape (N,).
    """
    ours, theirs = patches(target.contiguous(), side), patches(source.contiguous(), side)
    parts = zip(of.long().split(_AT_ONCE), to.long().split(_AT_ONCE), strict=True)
    return torch.cat([
        (ours[a[:, 0], a[:, 1]] - theirs[b[:, 0], b[:, 1]]).square().sum(dim=(1, 2))
        for a, b in parts
    ])  # fmt: skip


def nearest_patches(
    target: Tensor,
    source: Tensor,
    active: Tensor,
    allowed: Tensor,
    start: Tensor,
    side: int,
    iterations: int = 5,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Improve a field of nearest neighbours by propagation and random search.

    Args:
        target: Picture (H, W, C), float32.
        source: Picture (h, w, C) whose patches are searched.
        active: Patches of the target that need a neighbour, bool (H - side + 1, W - side + 1).
        allowed: Patches of the source that may be one, bool (h - side + 1, w - side + 1).
        start: The field to begin with, (H - side + 1, W - side + 1, 2), int32: (y, x) of an
            allowed patch wherever the target's is active.
        side: Side of a patch in pixels.
        iterations: Passes over the field.
        seed: Seed of the random search; the result is a pure function of it and the rest.

    Returns:
        The field, like `start`, and the patches' distances (see `patch_distances`), float32, zero
        where nothing is active. No distance is larger than at the start.
    """
    if target.device.type == "cpu" and runs_compiled("nearest_patches", target):
        return torch.ops.dragline.nearest_patches(
            target, source, active, allowed, start, side, iterations, seed
        )
    return _search(target, source, active, allowed, start, side, iterations, seed)


def _search(
    target: Tensor,
    source: Tensor,
    active: Tensor,
    allowed: Tensor,
    start: Tensor,
    side: int,
    iterations: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The definition: all places at once, so that neighbours far apart propagate, too."""
    rng = torch.Generator(target.device).manual_seed(seed)
    places = active.nonzero()
    limits = torch.tensor(allowed.shape, device=target.device)
    bounds = torch.tensor(active.shape, device=target.device)
    field = start.clone()
    best = field[active].long()
    cost = patch_distances(target, source, places, best, side)

    def attempt(to: Tensor, sensible: Tensor) -> None:
        """Take neighbours that are allowed and nearer."""
        inside = sensible & ((to >= 0) & (to < limits)).all(dim=1)
        rows = inside.nonzero()[:, 0]
        rows = rows[allowed[to[rows, 0], to[rows, 1]]]
        distance = patch_distances(target, source, places[rows], to[rows], side)
        nearer = distance < cost[rows]
        rows, distance = rows[nearer], distance[nearer]
        best[rows], cost[rows] = to[rows], distance

    for _ in range(iterations):
        for step in _STEPS:
            for dy, dx in _NEIGHBOURS:
                field[active] = best.to(field.dtype)
                move = torch.tensor((dy * step, dx * step), device=target.device)
                beside = places - move
                inside = ((beside >= 0) & (beside < bounds)).all(dim=1)
                y, x = beside.clamp(min=0).minimum(bounds - 1).unbind(dim=1)
                attempt(field[y, x].long() + move, inside & active[y, x])
        reach = int(limits.max())
        while reach >= 1:
            low = (best - reach).clamp(min=0)
            high = (best + reach).minimum(limits - 1)
            share = torch.rand(best.shape, generator=rng, device=target.device)
            to = low + (share * (high - low + 1)).long()
            attempt(to.minimum(high), torch.ones_like(cost, dtype=torch.bool))
            reach //= 2
    field[active] = best.to(field.dtype)
    costs = torch.zeros(active.shape, dtype=target.dtype, device=target.device)
    costs[active] = cost
    return field, costs
