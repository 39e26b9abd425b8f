"""Which settings an inversion has: a file, and the flags on top. Needs no torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from framework.errors import UserError, blame, named

if TYPE_CHECKING:
    from framework.inversion.settings import InversionSettings

# The words of flags: a command's help cannot load the modules that they are for.
Crop = Literal["center", "pad", "stretch"]
PointsIn = Literal["model", "photo"]
Paste = Literal["changed", "box", "none"]
Show = Literal["model", "photo"]
Seam = Literal["feather", "gradient", "hard"]
Perceptual = Literal[
    "auto", "dfeat", "lite0", "lpips", "lpips-vgg", "lpips-alex", "lpips-squeeze", "multiscale"
]


@dataclass(frozen=True)
class InversionChoice:
    """What the command line says about settings; None is nothing.

    Args:
        config: YAML file with `InversionSettings`.
        stages: Names, separated by commas.
        refine_steps: In place of refine's `steps`.
        tune_steps: In place of tune's.
        max_seconds: Of all stages together.
        seed: Of every stage that draws.
    """

    config: str | None = None
    stages: str | None = None
    refine_steps: int | None = None
    tune_steps: int | None = None
    max_seconds: float | None = None
    seed: int | None = None

    def resolve(self, has_encoder: bool, residual: bool) -> "InversionSettings":
        """Return the settings that hold for a model.

        Args:
            has_encoder: Whether the model has one.
            residual: Whether it corrects itself.

        Raises:
            UserError: Naming the flag, if a value does not fit.
        """
        settings = self.base().suited(has_encoder, residual)
        for stage, name, flag, value in (
            ("refine", "steps", "--refine-steps", self.refine_steps),
            ("tune", "steps", "--tune-steps", self.tune_steps),
            ("refine", "seed", "--seed", self.seed),
            ("tune", "seed", "--seed", self.seed),
        ):
            if value is not None:
                with named({name: flag}):
                    changed = replace(getattr(settings, stage), **{name: value})
                settings = replace(settings, **{stage: changed})
        return settings

    def base(self) -> "InversionSettings":
        """What holds for every model: the file, which stages there are, how long they may take."""
        from framework.inversion.settings import InversionSettings

        settings = InversionSettings()
        if self.config is not None:
            with blame("--config", self.config):
                settings = InversionSettings.from_dict(read_yaml(self.config), self.config)
        for name, flag, value in (
            ("stages", "--stages", self.stages),
            ("max_seconds", "--max-seconds", self.max_seconds),
        ):
            if value is not None:
                with named({name: flag}):
                    settings = replace(settings, **{name: value})
        return settings


def read_yaml(path: str | Path) -> Any:
    """Read a settings file.

    Raises:
        UserError: If it cannot be read or is no YAML.
    """
    from framework.cli import settings_file

    return settings_file.read(path) or {}


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """Read "left,top,right,bottom" in photo pixels.

    Raises:
        UserError: If it is not four numbers.
    """
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError:
        raise UserError(
            f"--box {text!r}: give left,top,right,bottom in photo pixels, such as 120,40,620,540"
        ) from None
    return left, top, right, bottom
