"""The parser of `train.py`: the classes that settings may name, and mistakes in one line."""

import inspect
import re
from argparse import ArgumentError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import DefaultHelpFormatter, set_loader, set_parsing_settings

from framework import settings_file
from framework.errors import UserError
from framework.evaluation.generator.measure import MetricSettings
from framework.settings import Settings
from framework.training.data import TrainingImages
from framework.training.editor.settings import EditorSettings
from framework.training.encoder.settings import EncoderSettings
from framework.training.run_settings import RunSettings
from framework.training.settings import TrainingSettings
from framework.training.stylegan2.settings import StyleGAN2Settings

MODEL = "framework.training.stylegan2.module.StyleGAN2Training"
SETTINGS: dict[str, type[TrainingSettings]] = {
    "StyleGAN2Training": StyleGAN2Settings,
    "EncoderTraining": EncoderSettings,
    "EditorTraining": EditorSettings,
}
TRAINABLE = {
    "StyleGAN2Training": MODEL,
    "EncoderTraining": "framework.training.encoder.module.EncoderTraining",
    "EditorTraining": "framework.training.editor.module.EditorTraining",
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
_DENIED = re.compile(r"Importing '([^']*)' is not allowed")
_CLASS = re.compile(r".*Problem with given class_path '([^']*)': (.*)")
_SETTING = re.compile(
    r"Parser key \"([\w.]+)\": (.*)|Option '([\w.]+)' is not|unrecognized arguments: --([\w.]+)"
)
_HELP = "`python train.py fit --help` lists what there is"
_UNION = re.compile(r"Does not validate against any .*? Errors: - (.*?) - Expected a .*")


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
    """Return the values of a YAML text; those of older runs are put into today's groups."""
    values = settings_file.load(text)
    try:
        model = values["model"]
        settings = SETTINGS[model["class_path"].rpartition(".")[2]]
        model["init_args"] = settings.grouped(model["init_args"])
    except (KeyError, TypeError, AttributeError):
        pass  # not a valid file of a run's settings: the parser says so
    return values


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


def mistake(error: BaseException) -> UserError | None:
    """Return the user's mistake behind an error of the parser, in one line; None if it is none."""
    text = " ".join(str(error).split())
    key = re.match(r'Parser key "([\w.]+)": ', text)
    flag = f"--{key[1]}: " if key else ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            cause.rename(flags())
            return cause if "--" in str(cause) else UserError(f"{flag}{cause}")
        cause = cause.__cause__
    if not isinstance(error, ArgumentError | ImportError | TypeError | ValueError):
        return None
    if denied := _DENIED.search(text):
        return _not_nameable(flag or "settings: ", denied[1])
    if key is not None:
        text = text.removeprefix(key[0])
    # Of the reasons why no type of a union fits, the first is of the intended type; but missing
    # settings of a class come only after all that a class may be.
    text = _UNION.sub(r"\1", text)
    if flag == "--model: " and (module := _CLASS.match(text)):
        return UserError(f"{_of_model(module[1], module[2])[:280]}; {_HELP}")
    text = _CLASS.sub(r"\1: \2", text)
    return UserError(f"{flag}{text[:280]}; {_HELP}")


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


def _of_model(class_path: str, complaint: str) -> str:
    """Describe what is wrong with a training module's settings, by the flag of the setting."""
    name = class_path.rpartition(".")[2]
    match, settings = _SETTING.match(complaint), SETTINGS.get(name)
    if match is None or settings is None:
        return f"--model: {class_path}: {complaint}"
    if match[1]:
        return f"--model.{match[1]}: {match[2]}"
    setting = match[3] or match[4]
    if setting in settings.groups():
        return f"--model.{setting}: is {settings.flag(setting)} now"
    return f"--model.{setting}: {name} has no such setting"


def _not_nameable(flag: str, name: str) -> UserError:
    what = "settings name no classes but those that SECURITY.md lists"
    if flag.startswith("--model"):
        what = f"only {', '.join(TRAINABLE)} can be trained"
    return UserError(f"{flag}{name[:200]} is not imported; {what}")
