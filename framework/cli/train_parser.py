"""The parser of `train.py`: the classes that settings may name, and the flags of all settings."""

import inspect
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import DefaultHelpFormatter, set_loader, set_parsing_settings

from framework import settings_file
from framework.errors import UserError
from framework.evaluation.generator.measure import MetricSettings
from framework.settings import Settings
from framework.training.alignment.conditions import ConditionEncoderSettings
from framework.training.data import TrainingImages
from framework.training.diffusion.lora import LoraSettings
from framework.training.diffusion.settings import DiffusionSettings
from framework.training.editor.settings import EditorSettings
from framework.training.encoder.settings import EncoderSettings
from framework.training.filling.settings import FillingSettings
from framework.training.run_settings import RunSettings
from framework.training.settings import TrainingSettings
from framework.training.style.settings import StyleDecoderSettings
from framework.training.stylegan2.settings import StyleGAN2Settings
from framework.training.text.settings import TextSettings
from framework.training.translation.settings import (
    CycleGANSettings,
    Pix2PixSettings,
    SpadeSettings,
)

MODEL = "framework.training.stylegan2.module.StyleGAN2Training"
SETTINGS: dict[str, type[TrainingSettings]] = {
    "StyleGAN2Training": StyleGAN2Settings,
    "EncoderTraining": EncoderSettings,
    "EditorTraining": EditorSettings,
    "DiffusionTraining": DiffusionSettings,
    "LoraTraining": LoraSettings,
    "FillingTraining": FillingSettings,
    "StyleTraining": StyleDecoderSettings,
    "Pix2PixTraining": Pix2PixSettings,
    "CycleGANTraining": CycleGANSettings,
    "SpadeTraining": SpadeSettings,
    "TextTraining": TextSettings,
    "ConditionEncoderTraining": ConditionEncoderSettings,
}
TRAINABLE = {
    "StyleGAN2Training": MODEL,
    "EncoderTraining": "framework.training.encoder.module.EncoderTraining",
    "EditorTraining": "framework.training.editor.module.EditorTraining",
    "DiffusionTraining": "framework.training.diffusion.module.DiffusionTraining",
    "LoraTraining": "framework.training.diffusion.lora.LoraTraining",
    "FillingTraining": "framework.training.filling.module.FillingTraining",
    "StyleTraining": "framework.training.style.module.StyleTraining",
    "Pix2PixTraining": "framework.training.translation.pix2pix.Pix2PixTraining",
    "CycleGANTraining": "framework.training.translation.cyclegan.CycleGANTraining",
    "ConditionEncoderTraining": "framework.training.alignment.conditions.ConditionEncoderTraining",
    "SpadeTraining": "framework.training.translation.spade.SpadeTraining",
    "TextTraining": "framework.training.text.module.TextTraining",
}
# Classes that settings may name: importing anything else would run whatever lies on the path.
_LIGHTNING = "lightning.pytorch"
NAMEABLE = (
    *TRAINABLE.values(),
    *(f"{_LIGHTNING}.loggers.{name}" for name in ("CSVLogger", "csv_logs.CSVLogger")),
    *(f"{_LIGHTNING}.loggers.{name}" for name in ("TensorBoardLogger", "tensorboard")),
    *(f"{_LIGHTNING}.strategies.{name}" for name in ("DDPStrategy", "ddp.DDPStrategy")),
    *(f"{_LIGHTNING}.strategies.{name}" for name in ("SingleDeviceStrategy", "single_device")),
    f"{_LIGHTNING}.plugins.environments",
    "lightning.fabric.plugins.environments",
)


class HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of the examples."""


def guard() -> None:
    """Let the parser import no class but `NAMEABLE`, and read few files, all local."""
    set_loader("yaml", _load, (yaml.YAMLError,))
    set_parsing_settings(
        subclasses_disabled=[Settings],
        import_path_denylist=["*"],
        import_path_allowlist=list(NAMEABLE),
        instantiate_subclass_spec_in_any=False,
        config_read_mode_fsspec_enabled=False,
        config_read_mode_urls_enabled=False,
    )


def _load(text: str) -> Any:
    """Return the values of a YAML text; those of older runs are put into today's groups.

    `None` is null, too: help texts call it so, and the parser passes the value of a flag in a
    group on as Python's text for it (jsonargparse 4.53, `adapt_class_type`).
    """
    values = _with_nulls(settings_file.load(text))
    try:
        model = values["model"]
        settings = SETTINGS[model["class_path"].rpartition(".")[2]]
        model["init_args"] = settings.grouped(model["init_args"])
    except (KeyError, TypeError, AttributeError):
        pass  # not a valid file of a run's settings: the parser says so
    return values


def _with_nulls(value: Any) -> Any:
    """Replace every text `None` by None."""
    if isinstance(value, dict):
        return {name: _with_nulls(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_nulls(one) for one in value]
    return None if value == "None" else value


def class_asked_for(words: list[str]) -> str:
    """Return the training module that a command line names, itself or in a file of settings.

    The parser would take values over from the defaults of its default class to any other class
    that has settings of the same names, so its default class has to be the right one.

    Raises:
        UserError: If a file of settings is not valid, or another class is named.
    """
    class_path = MODEL
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        value = value if equals else "".join(words[i + 1 : i + 2])
        if name in ("--config", "-c"):
            settings_file.check_file(value)
            class_path = _class_in(Path(value)) or class_path
        elif name in ("--model", "--model.class_path"):
            class_path = value
    class_path = TRAINABLE.get(class_path, class_path)
    # The parser reads settings by name, and files of them.
    return class_path if class_path in TRAINABLE.values() else MODEL


def _class_in(file: Path) -> str | None:
    """Return the training module that a file of settings names, if it does."""
    try:
        return str(settings_file.load(settings_file.read_text(file))["model"]["class_path"])
    except (UserError, yaml.YAMLError, KeyError, TypeError):
        return None


def flags() -> dict[str, str]:
    """Return the flags of all settings by their names in errors."""
    of_models = [kind.flag(name) for kind in SETTINGS.values() for name in kind.names()]
    parts = {"run": RunSettings, "data": TrainingImages, "metrics": MetricSettings}
    others = [
        f"{part}.{n}" for part, kind in parts.items() for n in inspect.signature(kind).parameters
    ]
    return {
        **{flag.removeprefix("--model."): flag for flag in of_models},
        **{name: f"--{name}" for name in others},
    }
