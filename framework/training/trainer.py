"""Which settings of Lightning's Trainer go with runs that have two optimizers of their own."""

import inspect
import os
from collections.abc import Mapping
from typing import Any

import lightning
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from framework.errors import UserError
from framework.training.data import TrainingImages
from framework.training.settings import TrainingSettings

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": -1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}
OBEYED = frozenset({
    "accelerator", "strategy", "devices", "num_nodes", "precision", "logger", "plugins",
    "deterministic", "benchmark", "detect_anomaly",
})  # fmt: skip
_LENGTH = "a run lasts --run.kimg thousand images"
_PHASES = "not for networks with phases of their own; --model.micro_batch saves memory"
_VALIDATION = "held-out pictures are --data.held_out, measures --run.metrics_kimg"
_STATUS = "progress is a line every --run.tick_kimg"
# What to use instead of every other setting.
INSTEAD: dict[str, str] = {
    **dict.fromkeys(
        ("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "limit_train_batches"),
        _LENGTH,
    ),
    "fast_dev_run": "to try out, --run.dry_run true, or a short --run.kimg",
    "overfit_batches": "few pictures are `toycars:64`, or a folder of few",
    **dict.fromkeys(("accumulate_grad_batches", "gradient_clip_val"), _PHASES),
    "gradient_clip_algorithm": _PHASES,
    **dict.fromkeys(
        ("limit_val_batches", "limit_test_batches", "limit_predict_batches"), _VALIDATION
    ),
    **dict.fromkeys(("val_check_interval", "check_val_every_n_epoch"), _VALIDATION),
    **dict.fromkeys(("num_sanity_val_steps", "inference_mode"), _VALIDATION),
    **dict.fromkeys(("log_every_n_steps", "enable_progress_bar"), _STATUS),
    "enable_model_summary": "--run.dry_run true tells the sizes of the networks",
    "enable_checkpointing": "checkpoints are --run.checkpoint_kimg and --run.keep_checkpoints",
    "callbacks": "a run brings its own and would not obey others",
    "profiler": "the time of each phase is Timing/* in stats.jsonl; benchmarks/train_step.py",
    "use_distributed_sampler": "every process reads its own share already",
    "sync_batchnorm": "only an encoder has batch norm, with --model.architecture.norm batch",
    "reload_dataloaders_every_n_epochs": "the pictures are one endless stream",
    "default_root_dir": "a run lives in --run.dir",
    "barebones": "logging is --run.wandb",
    "enable_autolog_hparams": "settings are in the run's config.yaml",
    "model_registry": "models are folders; start with --model.start_from",
}
_MOST_DEVICES, _MOST_NODES = 1024, 4096


def check_trainer_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of the Trainer that a run would ignore, or that would end it in silence.

    Args:
        settings: Arguments of `lightning.Trainer` from a command line or file.

    Raises:
        UserError: Naming the flag, and what to use instead.
    """
    defaults = inspect.signature(lightning.Trainer.__init__).parameters
    for name, value in settings.items():
        usual = TRAINER_DEFAULTS.get(name, defaults[name].default)
        if name not in OBEYED and value != usual and value is not None:
            raise UserError(f"--trainer.{name}{_shown(value)}: {INSTEAD[name]}; leave it out")
    if settings.get("logger") is True:
        raise UserError(
            "--trainer.logger true: name one and its folder, such as --trainer.logger CSVLogger "
            "--trainer.logger.save_dir FOLDER; stats.jsonl has the same numbers"
        )
    _check_counts(settings)


def _shown(value: Any) -> str:
    return f" {value}" if isinstance(value, bool | int | float | str) else ""


def _check_counts(settings: Mapping[str, Any]) -> None:
    """Check the numbers of machines and devices: too many processes would only wait."""
    nodes, devices = settings.get("num_nodes", 1), settings.get("devices", "auto")
    if not 1 <= nodes <= _MOST_NODES:
        raise UserError(f"--trainer.num_nodes {nodes}: must be from 1 to {_MOST_NODES}")
    try:
        count = len(devices) if isinstance(devices, list) else int(devices)
    except ValueError:
        return  # `auto`, or a list in words: Lightning knows the devices there are
    on_cpu = settings.get("accelerator") == "cpu"
    most = max(64, os.cpu_count() or 1) if on_cpu else _MOST_DEVICES
    if count > most:
        raise UserError(f"--trainer.devices {count}: at most {most} here")
    if count == 0 or count < -1 or (on_cpu and count < 1):
        raise UserError(f"--trainer.devices {count}: give how many, or auto")


def check_trainer(trainer: lightning.Trainer) -> None:
    """Refuse settings that would train wrongly or break after hours.

    Raises:
        UserError: Naming the flag.
    """
    if trainer.precision != "32-true":
        # Scaled losses would miss R1's inner gradient; autocast would reach the float32 parts.
        raise UserError(
            f"--trainer.precision {trainer.precision}: leave it at 32-true; "
            "--model.machine.low_precision chooses what the large blocks compute in"
        )
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
        raise UserError(
            f"--trainer.gradient_clip_val, --trainer.accumulate_grad_batches: {_PHASES}"
        )
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        raise UserError(
            f"--trainer.strategy {type(trainer.strategy).__name__}: the networks must be whole in "
            "every process; use ddp, ddp_spawn or auto"
        )


def micro_batch(size: int | None, share: int) -> int:
    """Return how many images of its `share` of a batch a process works on at once; all if None.

    Raises:
        UserError: If the number does not divide the share.
    """
    size = min(size or share, share)
    if share % size:
        raise UserError(
            f"{size}: must divide the {share} images that each process has of a batch",
            "micro_batch",
        )
    return size


def check_share(
    settings: TrainingSettings, trainer: lightning.Trainer, data: TrainingImages
) -> None:
    """Check, without opening a picture, that a batch can be shared out among the processes.

    Raises:
        UserError: If it cannot, or the trainer is not set up for it.
    """
    check_trainer(trainer)
    micro_batch(settings.micro_batch, data.even_share(trainer.world_size))
