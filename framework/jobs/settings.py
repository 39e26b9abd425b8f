"""Which settings hold: a preset, a file or an edit's own, and what a request says on top.

Needs no torch.
"""

from dataclasses import replace
from pathlib import Path

from framework import settings_file
from framework.drag.settings import DragSettings, preset_for
from framework.errors import blame, named
from framework.inversion.settings import InversionSettings
from framework.jobs.requests.drag import DragRequest
from framework.jobs.requests.invert import InversionChoice, InvertRequest


def drag_settings(
    request: DragRequest, img_size: tuple[int, int], default: DragSettings | None = None
) -> tuple[DragSettings, str]:
    """Return the settings of a drag that hold for a picture, and where they come from.

    Args:
        request: The drag.
        img_size: The picture's (height, width).
        default: Settings that hold if neither preset nor file is asked for.

    Raises:
        UserError: Naming the request's field, if a value does not fit.
    """
    settings, origin = _base(request, img_size, default)
    for name, field in (
        ("max_steps", "steps"),
        ("learning_rate", "lr"),
        ("latent_space", "space"),
        ("mask_weight", "mask_weight"),
    ):
        value = getattr(request, field)
        if value is not None:
            with named({name: field}):
                settings = replace(settings, **{name: value})
    return settings, origin


def load_settings(path: str | Path) -> DragSettings:
    """Read a drag's settings from a YAML file.

    Raises:
        UserError: If it cannot be read, is no YAML, or holds what is no setting.
    """
    return DragSettings.from_dict(settings_file.read(path) or {}, where=str(path))


def inversion_settings(
    choice: InversionChoice, has_encoder: bool, residual: bool
) -> InversionSettings:
    """Return the settings of an inversion that hold for a model.

    Args:
        choice: What a request says.
        has_encoder: Whether the model has one.
        residual: Whether it corrects itself.

    Raises:
        UserError: Naming the request's field, if a value does not fit.
    """
    settings = base_settings(choice).suited(has_encoder, residual)
    for stage, name, field in (
        ("refine", "steps", "refine_steps"),
        ("tune", "steps", "tune_steps"),
        ("refine", "seed", "seed"),
        ("tune", "seed", "seed"),
    ):
        value = getattr(choice, field)
        if value is not None:
            with named({name: field}):
                changed = replace(getattr(settings, stage), **{name: value})
            settings = replace(settings, **{stage: changed})
    return settings


def base_settings(choice: InversionChoice) -> InversionSettings:
    """What holds for every model: the file, which stages there are, how long they may take."""
    settings = InversionSettings()
    if choice.config is not None:
        with blame("config", choice.config):
            values = settings_file.read(choice.config) or {}
            settings = InversionSettings.from_dict(values, choice.config)
    if choice.stages is not None:
        settings = replace(settings, stages=choice.stages)
    if isinstance(choice, InvertRequest) and choice.max_seconds is not None:
        settings = replace(settings, max_seconds=choice.max_seconds)
    return settings


def _base(
    request: DragRequest, img_size: tuple[int, int], default: DragSettings | None
) -> tuple[DragSettings, str]:
    if request.config is not None:
        with blame("config", request.config):
            return load_settings(request.config), request.config
    if default is not None and request.preset == "auto":
        return default, "the edit's settings"
    name = preset_for(img_size) if request.preset == "auto" else request.preset
    return DragSettings.preset(name), f"preset {name}"
