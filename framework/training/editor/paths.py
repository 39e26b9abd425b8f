"""Pairs of pictures that differ by a little of one way through the latents, and their motions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.models.editors.latent_transformer import at, motion_tokens
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.generator import PartialSynthesis
from framework.training.editor import flow
from framework.training.editor.settings import Paths

SURE_PX = 0.7  # how far from its start a known motion ends, there and back again
MOVING = 0.85  # share of the pairs whose points are drawn by how far they move, not evenly
STILL_PX = 0.02  # what a point that stays counts beside those that move
FULL_PSI = 1.0
PARTS = 64  # of the pictures' longer side, in which settings count


class Asked(NamedTuple):
    """Motions asked of M pictures, K points each, and the change that made them.

    Attributes:
        ws: Latents of the pictures, shape (M, num_ws, w_dim).
        features: The generator's features at the points, shape (M, K, C).
        points: The points (x, y) in pixels, shape (M, K, 2).
        moves: Where they go from there, in pixels, shape (M, K, 2).
        motions: The same as tokens, with zoom (`motion_tokens`), shape (M, K, 4).
        absent: True for points that only fill the tensor, shape (M, K).
        change: The change of the first latents that made the motions, shape (M, moving, w_dim).
        maps: The block's features (M, C, h, w), and the running picture there, if it has one.
    """

    ws: Tensor
    features: Tensor
    points: Tensor
    moves: Tensor
    motions: Tensor
    absent: Tensor
    change: Tensor
    maps: tuple[Tensor, ...]

    @classmethod
    def together(cls, parts: Sequence["Asked"]) -> "Asked":
        """Concatenate."""
        columns = dict(zip(cls._fields, zip(*parts, strict=True), strict=True))
        maps = tuple(map(torch.cat, zip(*columns.pop("maps"), strict=True)))
        return cls(**{name: torch.cat(tensors) for name, tensors in columns.items()}, maps=maps)

    def first(self, count: int) -> "Asked":
        """The first `count` pictures."""
        tensors = self._asdict()
        maps = tuple(each[:count] for each in tensors.pop("maps"))
        return Asked(**{name: tensor[:count] for name, tensor in tensors.items()}, maps=maps)


def ways(
    generator: Generator, count: int, moving: int, settings: Paths, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw where paths begin and where they lead.

    The first latents go some of the way to one other sample's (as if two pictures were mixed) or,
    in half of the paths, each to another sample's (Endo 2022); as many as chance decides.

    Returns:
        Latents (count, num_ws, w_dim), and their whole change, (count, moving, w_dim).
    """
    device = next(generator.parameters()).device

    def chance(*shape: int) -> Tensor:
        return torch.rand(count, *shape, device=device, generator=rng)

    def samples(each: int) -> Tensor:
        z = torch.randn(count * each, generator.z_dim, device=device, generator=rng)
        labels = None
        if generator.c_dim:
            rows = torch.randint(generator.c_dim, (count,), device=device, generator=rng)
            labels = F.one_hot(rows, generator.c_dim).float().repeat_interleave(each, dim=0)
        w = generator.mapping(z, labels)[:, 0].view(count, each, -1)
        psi = settings.psi + (FULL_PSI - settings.psi) * chance(1, 1)
        return generator.mapping.w_avg + psi * (w - generator.mapping.w_avg)

    start, one, many = samples(1), samples(1).expand(-1, moving, -1), samples(moving)
    mates = torch.where(chance(1, 1) < 0.5, one, many)
    free = 1 + (chance(1) * moving).long()
    free = torch.where(chance(1) < 0.5, moving, free)
    moves = torch.arange(moving, device=device) < free
    length = settings.shortest + (settings.longest - settings.shortest) * chance(1, 1)
    return start.expand(-1, generator.num_ws, -1), length * moves[..., None] * (mates - start)


@torch.no_grad()
def draw(
    generator: Generator,
    resolution: int,
    count: int,
    moving: int,
    settings: Paths,
    rng: torch.Generator,
) -> Asked:
    """Draw motions from paths: `settings.pairs` for each path.

    Args:
        generator: The frozen generator.
        resolution: Nominal side of the block whose features are read.
        count: Number of paths.
        moving: Number of latents that move.
        settings: See `Paths`.
        rng: Source of everything random, on the generator's device.
    """
    start, way = ways(generator, count, moving, settings, rng)
    latents, maps, greys = [], [], []
    for number in range(settings.frames + 1):
        ws = start.clone()
        ws[:, :moving] += way * (number / settings.frames)
        partial = generator.synthesis.partial(ws, resolution, noise_mode="const")
        latents.append(ws)
        maps.append(maps_of(partial))
        greys.append(flow.grey_of(generator.synthesis.finish(partial, ws, noise_mode="const")))
    forth = [flow.flow(*pair).to(way.device) for pair in pairwise(greys)]
    back = [flow.flow(*pair[::-1]).to(way.device) for pair in pairwise(greys)]

    def between(first: int, last: int) -> Tensor:
        ahead = last > first
        return flow.chained(forth[first:last] if ahead else back[last:first][::-1])

    every = [(i, j) for i in range(len(latents)) for j in range(len(latents)) if i != j]
    chosen = torch.randperm(len(every), device=way.device, generator=rng)[: settings.pairs]
    asked = []
    for first, last in (every[i] for i in chosen.tolist()):
        change = (latents[last] - latents[first])[:, :moving]
        flows = between(first, last), between(last, first)
        asked.append(_asked(generator, latents[first], maps[first], flows, change, settings, rng))
    return Asked.together(asked)


def maps_of(partial: PartialSynthesis) -> tuple[Tensor, ...]:
    """Features, and the picture so far, if the block makes one."""
    x = partial.x.float()
    return (x,) if partial.img is None else (x, partial.img.float())


def _asked(
    generator: Generator,
    ws: Tensor,
    maps: tuple[Tensor, ...],
    flows: tuple[Tensor, Tensor],
    change: Tensor,
    settings: Paths,
    rng: torch.Generator,
) -> Asked:
    """Draw points of pictures, and read their motions from the flow there (and back)."""
    there, back = flows
    count, most, device = len(ws), settings.points, ws.device
    size = generator.img_size
    factor = size[0] // there.shape[2]  # the flow's pixels may be larger

    def chance(*shape: int) -> Tensor:
        return torch.rand(count, *shape, device=device, generator=rng)

    far = lengths(there)
    weights = torch.where(chance(1, 1) < MOVING, far, torch.ones_like(far)) + STILL_PX
    known = lengths(flow.chained([there, back])) < SURE_PX
    known &= far * factor < settings.farthest * max(size) / PARTS
    picked = torch.multinomial((weights * known + 1e-9).flatten(1), most, generator=rng)
    moves = there.flatten(2).gather(2, picked[:, None].expand(-1, 2, -1)).transpose(1, 2) * factor
    zooms = flow.zoom(there).flatten(1).gather(1, picked)
    grid = torch.stack([picked % there.shape[3], picked // there.shape[3]], dim=2)
    points = (grid + 0.5) * factor - 0.5
    motions = motion_tokens(torch.cat([moves, zooms[..., None]], dim=2), size)
    told = chance(1, 1) < settings.zooms
    motions = torch.cat([motions[..., :2], motions[..., 2:] * told], dim=2)
    number = torch.where(chance(1) < settings.alone, 1, 1 + (chance(1) * most).long())
    absent = torch.arange(most, device=device) >= number
    read = at(maps[0], points, size)
    return Asked(ws, read, points, moves, motions, absent, change, maps)


def lengths(moves: Tensor) -> Tensor:
    """Lengths of moves, (N, 2, H, W) to (N, H, W); many times as fast as a norm over two."""
    return torch.hypot(moves[:, 0], moves[:, 1])
