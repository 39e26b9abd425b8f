"""Resolved settings: a preset, a file or an edit's own, and a request's changes to them.

Needs no torch.
"""

from dataclasses import replace
from pathlib import Path

from framework import settings_file
from framework.drag.settings import DEFAULT_PRESET, DragSettings
from framework.errors import blame, named
from framework.inversion.settings import InversionSettings
from framework.jobs.requests.drag import DragRequest
from framework.jobs.requests.invert import InversionChoice, InvertRequest


def drag_settings(
    request: DragRequest, default: DragSettings | None = None, auto: str = DEFAULT_PRESET
) -> tuple[DragSettings, str]:
    """Return the resolved settings of a drag, and where they come from.

    Args:
        request: The drag.
        default: Settings used if the request names neither preset nor file.
        auto: The preset that `auto` is for the model.

    Raises:
        UserError: Naming the request's field, if a value does not fit.
    """
    settings, origin = _base(request, default, auto)
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
        UserError: If the file cannot be read, is no YAML, or has an unknown setting.
    """
    return DragSettings.from_dict(settings_file.read(path) or {}, where=str(path))


def inversion_settings(
    choice: InversionChoice, has_encoder: bool, residual: bool
) -> InversionSettings:
    """Return the resolved settings of an inversion for a model.

    Args:
        choice: The request's choice of settings.
        has_encoder: Whether the model has an encoder.
        residual: Whether the encoder corrects itself.

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
    """Return the settings for any model: those of the file, the stages and the time limit."""
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
    request: DragRequest, default: DragSettings | None, auto: str
) -> tuple[DragSettings, str]:
    if request.config is not None:
        with blame("config", request.config):
            return load_settings(request.config), request.config
    if default is not None and request.preset == "auto":
        return default, "the edit's settings"
    name = auto if request.preset == "auto" else request.preset
    return DragSettings.preset(name), f"preset {name}"
