"""The objective of a latent transformer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.models.editors.latent_transformer import LatentTransformer, places
from framework.models.stylegan2 import Generator
from framework.training.editor.paths import PARTS, Asked, draw, maps_of
from framework.training.editor.settings import EditorSettings
from framework.training.phases import Micro, Outcome, Phase

SAMPLES, PSI = 64, 0.7  # pictures that make channels comparable
DAMPING = 0.02  # of the mean squared gradient: edges have no place along themselves


@dataclass
class Following:
    """Points follow the motions that are asked of them, and little else changes.

    Beside the distance to the true latents (Endo 2022), of which a few points say little, the
    network is trained through the generator: its change is judged by what the points then show.

    Attributes:
        editor: The latent transformer.
        generator: The frozen generator.
        settings: Settings of the run.
    """

    editor: LatentTransformer
    generator: Generator
    settings: EditorSettings

    def __post_init__(self) -> None:
        generator, weights = self.generator, next(self.generator.parameters())
        rng = torch.Generator().manual_seed(0)
        self._inverse = torch.linalg.pinv(self.editor.spread, rtol=1e-4)
        z = torch.randn(SAMPLES, generator.z_dim, generator=rng).to(weights)
        labels = None
        if generator.c_dim:
            rows = torch.arange(SAMPLES, device=z.device) % generator.c_dim
            labels = F.one_hot(rows, generator.c_dim).float()
        with torch.no_grad():
            maps = self._maps(generator.mapping(z, labels, truncation_psi=PSI))
        spreads = [each.transpose(0, 1).flatten(1).std(dim=1) for each in maps]
        self._scales = [
            1 / (spread.clamp(min=1e-6 * float(spread.max()) + 1e-12) * len(spread) ** 0.5)
            for spread in spreads
        ]
        self._colour = float(maps[-1].std())
        self._unit = max(generator.img_size) / PARTS
        self._disc = disc(self.settings.match_px).to(weights) * self._unit

    def phases(self) -> list[Phase]:
        """Return the one phase."""
        return [Phase("Tmain", "Tmain", self.editor, 1, self.main)]

    def main(self, micro: Micro) -> Outcome:
        """Return the loss of a micro-batch of paths, each the mean of its pairs."""
        s, count = self.settings, len(micro.labels)
        asked = draw(
            self.generator, s.transformer.features, count, s.transformer.moving, s.paths, micro.rng
        )
        terms = self.terms(asked)
        weighted = [getattr(s.weights, name) * value for name, value in terms.items()]
        loss = torch.stack(weighted).sum(dim=0)
        stats = {f"Loss/{name}": value for name, value in terms.items()}
        still = soft(asked.moves / self._unit)  # what `move` would be if nothing moved
        stats["Loss/still"] = mean(still, asked.absent)
        return Outcome(loss.sum() / s.paths.pairs, {**stats, "Loss/T/loss": loss})

    def terms(self, asked: Asked) -> dict[str, Tensor]:
        """Return the terms that count, by the names of their weights, one value a pair."""
        weights, size = self.settings.weights, self.generator.img_size
        change = self.editor(
            asked.ws, asked.features, places(asked.points, size), asked.motions, asked.absent
        )
        terms = {"size": change.square().mean(dim=(1, 2))}
        if weights.latent > 0:
            wanted = asked.change @ self._inverse
            terms["latent"] = (change - wanted).square().mean(dim=(1, 2))
        if weights.move > 0 or weights.match > 0 or weights.change > 0:
            content = self._look(asked.maps, asked.points)
            moved = asked.ws[:, : change.shape[1]] + change @ self.editor.spread
            after = self._maps(torch.cat([moved, asked.ws[:, change.shape[1] :]], dim=1))
            here = self._look(after, asked.points + asked.moves)
            terms["match"] = mean(drift(here, content), asked.absent)
            missed = asked.moves - self._shift(after, asked, content)
            terms["move"] = mean(soft(missed / self._unit), asked.absent)
            difference = (after[-1] - asked.maps[-1]) / self._colour
            # Squared: a price on the smallest change would keep the network from ever beginning.
            terms["change"] = difference.square().mean(dim=(1, 2, 3))
        return terms

    def _maps(self, ws: Tensor) -> Sequence[Tensor]:
        """What is compared: features at the editor's block, and the picture so far."""
        partial = self.generator.synthesis.partial(ws, self.editor.resolution, noise_mode="const")
        return maps_of(partial)

    def _shift(self, after: Sequence[Tensor], asked: Asked, content: Tensor) -> Tensor:
        """How far the points went, (M, K, 2): Lucas & Kanade (1981) half way to where they should.

        Inverse compositional (Baker & Matthews 2004): the gradient is the content's own.
        """
        unit = self._unit
        across, down = (
            (
                self._look(asked.maps, asked.points + step)
                - self._look(asked.maps, asked.points - step)
            )
            / (2 * unit)
            for step in (asked.points.new_tensor([unit, 0]), asked.points.new_tensor([0, unit]))
        )
        gradient = torch.stack([across, down], dim=1)
        normal = torch.einsum("nickp,njckp->nkij", gradient, gradient)
        damping = DAMPING * normal.diagonal(dim1=2, dim2=3).mean(dim=2).clamp(min=1e-12)
        identity = torch.eye(2, dtype=normal.dtype, device=normal.device)
        half = asked.points + asked.moves / 2
        missing = content - self._look(after, half)
        pull = torch.einsum("nickp,nckp->nki", gradient, missing)
        shift = torch.linalg.solve(normal + damping[..., None, None] * identity, pull)
        return asked.moves / 2 + shift

    def _look(self, maps: Sequence[Tensor], points: Tensor) -> Tensor:
        """The maps on discs about points (M, K, 2): shape (M, all C, K, places)."""
        around = (points[:, :, None] + self._disc).flatten(1, 2)
        grid = places(around, self.generator.img_size).view(*points.shape[:2], -1, 2)
        parts = [
            F.grid_sample(
                each * scale[:, None, None], grid, padding_mode="border", align_corners=False
            )
            for each, scale in zip(maps, self._scales, strict=True)
        ]
        return torch.cat(parts, dim=1)


def disc(radius: int) -> Tensor:
    """Whole moves (x, y) within a radius, shape (places, 2)."""
    reach = torch.arange(-radius, radius + 1)
    y, x = torch.meshgrid(reach, reach, indexing="ij")
    within = x.square() + y.square() <= radius**2
    return torch.stack([x[within], y[within]], dim=1)


def drift(here: Tensor, content: Tensor) -> Tensor:
    """How far discs (M, C, K, places) are from their content, as a share of it: (M, K)."""
    size = content.abs().sum(dim=1).mean(dim=2).clamp(min=1e-12)
    return (here - content).abs().sum(dim=1).mean(dim=2) / size


def soft(missed: Tensor) -> Tensor:
    """Lengths (M, K) of misses (M, K, 2): their squares up to 1, then twice the length less 1."""
    square = missed.square().sum(dim=2)
    return torch.where(square < 1, square, 2 * square.clamp(min=1e-12).sqrt() - 1)


def mean(values: Tensor, absent: Tensor) -> Tensor:
    """Mean over the points that are there, (M, K) to (M,)."""
    there = (~absent).to(values.dtype)
    return (values * there).sum(dim=1) / there.sum(dim=1)
