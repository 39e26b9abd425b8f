"""`python train.py fit --config configs/stylegan2/NAME.yaml`: LightningCLI with a run folder."""

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from framework.checkpoint import latest_whole, newest_first
from framework.cli.run import run
from framework.cli.validation import SlicedWasserstein
from framework.errors import UserError
from framework.files import write_text
from framework.formats.model_folder import parameter_count
from framework.ops.memory import tune_malloc
from framework.training.callbacks import (
    RunCheckpoints,
    RunSettings,
    StatusLine,
    StopAtKimg,
    StopSignals,
)
from framework.training.checkpoint_io import WholeCheckpointIO
from framework.training.data import TrainingImages
from framework.training.snapshots import Snapshots
from framework.training.wandb_logger import KimgWandbLogger, open_logger

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": -1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}
_LOADERS = ("model", "train_dataloaders", "val_dataloaders", "datamodule")
_QUIET = (".*does not have many workers.*", ".*in eval mode.*", ".*mid-epoch.*", ".*LeafSpec.*")


class TrainCLI(LightningCLI):
    """The same command in the same folder goes on where it stopped."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Commands, each with the arguments that are not the user's to give."""
        given = {*_LOADERS, "ckpt_path", "weights_only"}
        return {"fit": given, "validate": {*given, "dataloaders", "verbose"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the `--run.*` options."""
        parser.add_class_arguments(RunSettings, "run")

    def _parse_ckpt_path(self) -> None:
        """Checkpoints hold no settings: the command line and the YAML decide."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """A trainer with our clocks, checkpoints and signals."""
        settings = self.run_settings = self._get(self.config_init, "run")
        checkpoints = RunCheckpoints(
            settings.dir, settings.checkpoint_kimg, settings.keep_checkpoints
        )
        self.signals = StopSignals(checkpoints)
        callbacks = [
            StatusLine(settings.dir, settings.tick_kimg, settings.kimg),
            Snapshots(settings.dir, settings.snapshot_kimg, settings.keep_snapshots),
            checkpoints,
            StopAtKimg(settings.kimg),
            self.signals,
            SlicedWasserstein(),
        ]
        return super().instantiate_trainer(
            callbacks=callbacks, plugins=[WholeCheckpointIO()], **kwargs
        )

    def before_fit(self) -> None:
        """Open the data and the run folder, say what will be done, find where to go on."""
        self.datamodule.seed = self.model.seed
        settings = self.run_settings
        resolved = self._parser(self.subcommand).dump(self.config[self.subcommand])
        if settings.dry_run:
            self._describe(resolved)
            sys.exit(0)
        self.checkpoint = open_run(Path(settings.dir), settings.resume)
        write_text(Path(settings.dir) / "config.yaml", resolved)
        facts = self.datamodule.facts()
        logged = {**yaml.safe_load(resolved), "facts": facts}
        logger = open_logger(settings.dir, settings.wandb, logged)
        self.trainer.loggers = [*self.trainer.loggers, *([logger] if logger else [])]
        start = int(self.checkpoint.stem.split("-")[1]) / 1000 if self.checkpoint else 0.0
        print(
            f"training from {start:g} to {settings.kimg:g} kimg on {facts['count']} pictures of "
            f"{facts['source']} in {settings.dir}",
            flush=True,
        )

    def fit(self, **kwargs: Any) -> None:
        """Train, from the run's last whole checkpoint if there is one."""
        try:
            self.trainer.fit(**kwargs, ckpt_path=self.checkpoint)
        finally:
            for logger in self.trainer.loggers:
                if isinstance(logger, KimgWandbLogger):
                    logger.experiment.finish()
        if self.signals.received:
            sys.exit(128 + self.signals.received)

    def validate(self, **kwargs: Any) -> None:
        """Measure the run's newest whole checkpoint; prints one JSON line."""
        self.datamodule.seed = self.model.seed
        folder = Path(self.run_settings.dir)
        checkpoint = latest_whole(folder)
        if checkpoint is None:
            raise UserError(f"--run.dir {folder}: holds no whole checkpoint to validate")
        self.trainer.validate(**kwargs, ckpt_path=checkpoint, verbose=False)

    def _describe(self, resolved: str) -> None:
        """Print what a dry run is asked for: settings, sizes, data."""
        data = self.datamodule.dataset
        networks = self.model.build_networks(
            data.size, data.channels, data.label_dim, torch.device("cpu")
        )
        print(resolved)
        for name, network in zip(("generator", "discriminator"), networks, strict=True):
            print(f"{name}: {parameter_count(network) / 1e6:.2f} M parameters")
        print("data: " + json.dumps(self.datamodule.facts()))


def open_run(folder: Path, resume: str) -> Path | None:
    """Create a run folder, or find the checkpoint to go on from in one that holds a run.

    Returns:
        The newest whole checkpoint; None for a run that begins.

    Raises:
        UserError: If the folder holds something else, or a run that must not be resumed.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        return None
    if resume == "never":
        raise UserError(f"--run.dir {folder}: already holds a run; give a new folder")
    if not (folder / "config.yaml").is_file():
        raise UserError(f"--run.dir {folder}: holds files but no run; give a new folder")
    checkpoint = latest_whole(folder)
    if checkpoint is None and any(newest_first(folder)):
        raise UserError(f"--run.dir {folder}: none of its checkpoints is whole; give a new folder")
    return checkpoint


def main(args: ArgsType = None) -> int:
    """Run the command line; returns the exit code."""
    return run(lambda: _train(args), catch_sigterm=False)


def _train(args: ArgsType) -> None:
    tune_malloc()
    for message in _QUIET:
        warnings.filterwarnings("ignore", message=message)
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.ERROR)
    TrainCLI(
        datamodule_class=TrainingImages,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        seed_everything_default=False,  # everything random is keyed by the model's seed
        trainer_defaults=TRAINER_DEFAULTS,
        args=args,
    )
