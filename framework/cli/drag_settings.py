"""Which settings a drag has: a preset, a file or the edit's own, and the flags on top."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from framework.drag.settings import DragSettings, preset_for
from framework.errors import blame, named

OnBad = Literal["skip", "error"]
Preset = Literal["auto", "draggan", "small"]


@dataclass(frozen=True)
class SettingsChoice:
    """What the command line says about settings; None is nothing.

    Args:
        preset: "auto" takes small for pictures up to 128 px, draggan beyond.
        config: YAML file, in place of a preset.
        steps: In place of `max_steps`.
        lr: In place of `learning_rate`.
        space: In place of `latent_space`.
        mask_weight: In place of `mask_weight`.
    """

    preset: Preset = "auto"
    config: str | None = None
    steps: int | None = None
    lr: float | None = None
    space: str | None = None
    mask_weight: float | None = None

    def resolve(
        self, img_size: tuple[int, int], default: DragSettings | None = None
    ) -> tuple[DragSettings, str]:
        """Return the settings that hold for a picture, and where they come from.

        Args:
            img_size: Its (height, width).
            default: Settings that hold if neither preset nor file is asked for.

        Raises:
            UserError: Naming the flag, if a value does not fit.
        """
        settings, origin = self._base(img_size, default)
        for name, flag, value in (
            ("max_steps", "--steps", self.steps),
            ("learning_rate", "--lr", self.lr),
            ("latent_space", "--space", self.space),
            ("mask_weight", "--mask-weight", self.mask_weight),
        ):
            if value is not None:
                with named({name: flag}):
                    settings = replace(settings, **{name: value})
        return settings, origin

    def _base(
        self, img_size: tuple[int, int], default: DragSettings | None
    ) -> tuple[DragSettings, str]:
        if self.config is not None:
            with blame("--config", self.config):
                return load_settings(self.config), self.config
        if default is not None and self.preset == "auto":
            return default, "the edit's settings"
        name = preset_for(img_size) if self.preset == "auto" else self.preset
        return DragSettings.preset(name), f"preset {name}"


def load_settings(path: str | Path) -> DragSettings:
    """Read settings from a YAML file.

    Raises:
        UserError: If it cannot be read, is no YAML, or holds what is no setting.
    """
    from framework.cli import settings_file

    return DragSettings.from_dict(settings_file.read(path) or {}, where=str(path))
