"""The whole pipeline of ADA: its stages in the paper's order, and their strength."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.training.stylegan2.ada.changes import (
    BLITS,
    COLORS,
    WARPS,
    Source,
    checked,
    parse_changes,
)
from framework.training.stylegan2.ada.color import Color
from framework.training.stylegan2.ada.controller import AdaSettings, next_p
from framework.training.stylegan2.ada.corruption import Cutout, Filter, Noise
from framework.training.stylegan2.ada.geometry import Geometry


class AdaptiveAugment(nn.Module):
    """Changes pictures at random, each change with probability p.

    No shape and no branch depends on a draw, and nothing but `adapt` waits for the device. Only the
    stages of `changes` exist, and at p = 0 none of them runs.

    Args:
        size: (H, W) of the pictures; quarter turns act on squares alone.
        channels: Channels of the pictures; colour changes need 1, 3 or 4. All else treats every
            channel alike, alpha included.
        changes: Set or names (see `parse_changes`), or multipliers of p by name.
        p: Strength at the beginning.

    Attributes:
        p: The strength, a float32 scalar, saved in the state dict.
        signs: Sum and number of signs since the last change of p, float32 (2,), saved.

    Raises:
        UserError: If a change is unknown or not for these channels, or p is not in [0, 1].
    """

    p: Tensor
    signs: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        channels: int,
        changes: str | Mapping[str, float] = "bgc",
        p: float = 0.0,
    ) -> None:
        super().__init__()
        multipliers = parse_changes(changes) if isinstance(changes, str) else checked(changes)
        self.shape = (channels, *size)
        self.stages = _build_stages(self.shape, multipliers)
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(2))
        self.register_load_state_dict_post_hook(_read_strength)
        self.set_p(p)

    @property
    def strength(self) -> float:
        """The strength p on the host, without waiting for the device."""
        return self._strength

    def at_limit(self, settings: AdaSettings) -> bool:
        """Whether the strength can rise no further."""
        return self.strength >= _as_stored(settings.p_max)

    def set_p(self, p: float) -> None:
        """Set the strength, in [0, 1].

        Raises:
            UserError: If p is outside.
        """
        if not 0 <= p <= 1:
            raise UserError(f"ada p {p}: must be between 0 and 1")
        self.p.fill_(p)
        self._strength = _as_stored(p)

    def forward(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Change each picture by draws of its own.

        Args:
            images: Shape (N, C, H, W), in [-1, 1].
            rng: Source of the draws, on the device of `images`. At p = 0 nothing is drawn.

        Returns:
            Same shape and dtype; values may leave [-1, 1]. At p = 0 `images` itself.
        """
        if self.strength == 0 or not self.stages:
            return images
        return self.apply_draws(images, self.draw(len(images), rng))

    def draw(self, count: int, rng: torch.Generator) -> list[Any]:
        """Draw what each stage does to `count` samples."""
        source = Source(count, self.p, rng)
        return [stage.draw(source) for stage in self.stages]  # type: ignore[operator]

    def apply_draws(self, images: Tensor, draws: Sequence[Any]) -> Tensor:
        """Apply the draws: a function of tensors alone, computed in float32 or better."""
        if images.shape[1:] != self.shape:
            raise ValueError(f"images {tuple(images.shape[1:])}: expected {self.shape}")
        changed = images.to(torch.promote_types(images.dtype, torch.float32))
        with torch.autocast(images.device.type, enabled=False):
            for stage, draw in zip(self.stages, draws, strict=True):
                changed = stage(changed, draw)
        return changed.to(images.dtype)

    def observe(self, signs: Tensor) -> None:
        """Add the signs of a batch of real pictures; does not wait for the device.

        Args:
            signs: `real_signs` of the batch, summed over micro-batches and processes, so that
                every process has the same state.
        """
        self.signs += signs

    def adapt(self, settings: AdaSettings) -> None:
        """Change the strength by the signs since the last time."""
        sign_sum, count = self.signs.tolist()
        self.set_p(next_p(self.strength, sign_sum, count, settings))
        self.signs.zero_()


def _as_stored(p: float) -> float:
    """Return a strength as the buffer rounds it."""
    return torch.tensor(p, dtype=torch.float32).item()


def _read_strength(module: nn.Module, keys: Any) -> None:
    """Copy the strength to the host after loading."""
    assert isinstance(module, AdaptiveAugment)
    module.set_p(module.p.item())


def _build_stages(shape: tuple[int, int, int], multipliers: Mapping[str, float]) -> nn.ModuleList:
    """Return the stages that have something to do, in the paper's order."""
    channels, *sides = shape
    size = (sides[0], sides[1])
    makers = {
        (*BLITS, *WARPS): lambda: Geometry(size, multipliers),
        COLORS: lambda: Color(channels, multipliers),
        ("filter",): lambda: Filter(size, multipliers["filter"]),
        ("noise",): lambda: Noise(shape, multipliers["noise"]),
        ("cutout",): lambda: Cutout(size, multipliers["cutout"]),
    }
    return nn.ModuleList(
        make() for names, make in makers.items() if any(name in multipliers for name in names)
    )
