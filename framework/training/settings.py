"""Settings of every training run; each kind of run adds its own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from framework.settings import MOST, Settings

MOST_IMAGES = 65_536  # that a process works on at once


@dataclass(frozen=True)
class TrainingGroup(Settings):
    """Base of settings that belong together; errors call one `networks.width`."""

    source = "settings of a training run"
    largest = 10**9


@dataclass(frozen=True)
class TrainingSettings(TrainingGroup):
    """Settings of every kind of run.

    Args:
        lr: Learning rate, before the correction for lazy regularisation.
        betas: Adam's decay rates.
        mirror: Show each picture mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    mirror: bool = False
    micro_batch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._number("lr", above_zero=True)
        self._number("betas", below=1)
        self._whole("micro_batch", least=1, most=MOST_IMAGES)
        self._whole("seed", most=MOST)

    def arguments(self) -> dict[str, Any]:
        """Return the settings by name, groups unchanged: the arguments that make them again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all settings, those in groups included; no two are the same."""
        return [*cls.groups(), *({f.name for f in fields(cls)} - set(cls.groups().values()))]

    @classmethod
    def flag(cls, name: str) -> str:
        """Return the flag that sets `name`, whatever its group."""
        group = cls.groups().get(name)
        return f"--model.{group}.{name}" if group else f"--model.{name}"

    @classmethod
    def groups(cls) -> dict[str, str]:
        """Return the group of every setting that is in one, by the setting's name."""
        return {
            inner.name: f.name
            for f in fields(cls)
            if isinstance(f.default, Settings)
            for inner in fields(f.default)  # type: ignore[arg-type]
        }

    @classmethod
    def grouped(cls, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings by name, each in its group; older files have no groups."""
        groups = cls.groups()
        tables: dict[str, Any] = {}
        for name, value in flat.items():
            if name in groups:
                tables.setdefault(groups[name], {})[name] = value
            elif isinstance(tables.get(name), dict) and isinstance(value, Mapping):
                tables[name] |= value
            else:
                tables[name] = value
        return tables


@dataclass(frozen=True)
class AnnealedSettings(TrainingSettings):
    """Settings of a run whose learning rate falls.

    Args:
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of images until `lr_final`.
    """

    lr_final: float | None = None
    lr_kimg: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("lr_final", "lr_kimg", above_zero=True)

    def learning_rate(self, seen_images: int) -> float:
        """Return the learning rate: half a cosine from `lr` to `lr_final`."""
        if self.lr_final is None:
            return self.lr
        done = min(seen_images / (self.lr_kimg * 1000), 1.0)
        return self.lr_final + (self.lr - self.lr_final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class AveragedSettings(AnnealedSettings):
    """Settings of a run whose network is averaged.

    Args:
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of images.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
    """

    ema_kimg: float = 0.5
    ema_rampup: float | None = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("ema_kimg", above_zero=True)
        self._number("ema_rampup")
