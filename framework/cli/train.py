"""`python train.py fit --config NAME.yaml`: LightningCLI with a run folder."""

import json
import logging
import sys
import warnings
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException as Misconfiguration
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from framework.cli.terminal import ProgressLine
from framework.cli.train_complaints import mistake
from framework.cli.train_metrics import Metrics
from framework.cli.train_parser import MODEL, HelpFormatter, class_asked_for, flags, guard
from framework.command_line import run
from framework.dashboard import resolve_mode
from framework.errors import BrokenCheckpoint, UserError, named
from framework.evaluation.generator.measure import MetricSettings
from framework.files import json_line, write_text
from framework.formats.model_folder import parameter_count
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.formats.used_by import mark_used
from framework.jobs.validate import Validation, validate_encoder, validate_generator
from framework.models.sketch import sketching
from framework.ops.memory import tune_malloc
from framework.threads import use_threads
from framework.training.callbacks import FolderWatch, RunCheckpoints, StopAtKimg, StopSignals
from framework.training.checkpoint_io import WholeCheckpointIO
from framework.training.data import TrainingImages
from framework.training.diffusion.lora import LoraTraining
from framework.training.diffusion.module import DiffusionTraining
from framework.training.encoder.module import EncoderTraining
from framework.training.failures import failures_in_words
from framework.training.filling.module import FillingTraining
from framework.training.network import choose_interface
from framework.training.outlook import check_place, check_room
from framework.training.run_folder import (
    CONFIG,
    check_folder,
    clean_up,
    last_checkpoint,
    lock_folder,
    reached,
)
from framework.training.run_record import update_record
from framework.training.run_settings import RunSettings
from framework.training.same_run import check_same_run
from framework.training.snapshot_folders import latest_model
from framework.training.snapshots import Snapshots
from framework.training.status import StatusLine
from framework.training.style.module import StyleTraining
from framework.training.trainer import TRAINER_DEFAULTS, check_trainer_settings
from framework.training.translation.module import TranslationTraining
from framework.training.wandb_logger import open_logger

DESCRIPTION = """Train StyleGAN2 on a folder of pictures, a zip, or procedural toy cars; an encoder
that reads such pictures into its styles; an editor that moves points in its pictures; a diffusion
model; or a translation from sketches or labels to pictures."""
HELP = {
    "fit": """Train, or go on: the same command in the same --run.dir continues where it stopped.

  python train.py fit --config configs/train/stylegan2/toycars64.yaml
  python train.py fit --config configs/train/stylegan2/vehicles64.yaml --data.source my_pictures \\
      --run.dir runs/mine --model.regularization.r1_gamma 0.2
  python train.py fit --config configs/train/encoder/small.yaml --data.source my_pictures \\
      --model.generator runs/mine/network-000880

Settings come from the YAML; the command line wins. First the run (--run.*), how it is measured
(--metrics.*), then the pictures (--data.*), the networks and their training (--model.*; all of
them: --model.help StyleGAN2Training, or EncoderTraining after a --config of an encoder's), and last
what Lightning's Trainer knows (--trainer.*).
To look without training: --run.dry_run true, or --print_config.""",
    "validate": """Measure the newest checkpoint of a run, or any model; prints one line of JSON.

  python train.py validate --config runs/toycars64/config.yaml
  python train.py validate --config configs/train/stylegan2/vehicles64.yaml \\
      --data.source my_pictures --metrics.model vehicles64 --metrics.features toycars64
  python train.py validate --config runs/encoder-small/config.yaml

Of an encoder, the reconstructions of held-out pictures are measured (--data.held_out).
Numbers and how each was made: docs/metrics.md. Settings: --metrics.*""",
}
_BUILT_ON = ("generator", "start_from")  # settings that name a model
_LOADERS = ("model", "train_dataloaders", "val_dataloaders", "datamodule")
_QUIET = (
    ".*does not have many workers.*",
    ".*in eval mode.*",
    ".*mid-epoch.*",
    ".*LeafSpec.*",
    ".*args parameter is intended.*",
)


class TrainCLI(LightningCLI):
    """LightningCLI with a run folder: the same command goes on where it stopped."""

    trained_class = MODEL
    only_command: str | None = None

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:  # type: ignore[override]
        """Return commands, each with the arguments that are not for the user.

        Only the command of the command line, if it has one: parsers take time to build.
        """
        hidden = {*_LOADERS, "ckpt_path", "weights_only"}
        commands = {"fit": hidden, "validate": {*hidden, "dataloaders", "verbose"}}
        return (
            {cls.only_command: commands[cls.only_command]}
            if cls.only_command in commands
            else commands
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `--run.*` and `--metrics.*`, in place of a global seed: all draws are keyed."""
        parser.add_class_arguments(RunSettings, "run")
        parser.add_class_arguments(MetricSettings, "metrics")

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add data, model and trainer, the most used ones first."""
        super().add_core_arguments_to_parser(parser)
        parser.set_defaults({"model": {"class_path": self.trained_class}})

    def _set_seed(self) -> None:
        """Do nothing: nothing draws from the global generator."""

    def _parse_ckpt_path(self) -> None:
        """Do nothing: checkpoints have no settings; the command line and the YAML decide."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read the command line and its files; put the parser's complaints into one line."""
        try:
            super().parse_arguments(parser, args)
        except Exception as error:
            raise mistake(error) or error from error

    def before_instantiate_classes(self) -> None:
        """Refuse impossible settings before anything is built from them."""
        RunSettings(**self._get(self.config, "run").as_dict()).check()
        check_trainer_settings(self._get(self.config, "trainer").as_dict())

    def instantiate_classes(self) -> None:
        """Build the training module, its data and the trainer from the settings."""
        try:
            super().instantiate_classes()
        except ImportError as error:
            raise UserError(f"--trainer: {' '.join(str(error).split())[:280]}") from error
        except Exception as error:
            raise mistake(error) or error from error

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build a trainer with our clocks, checkpoints and signals."""
        settings = self.run_settings = self._get(self.config_init, "run")
        total = settings.kimg
        checkpoints = RunCheckpoints(
            settings.dir, settings.checkpoint_kimg, total, settings.keep_checkpoints
        )
        self.signals = StopSignals(checkpoints)
        self.metric_settings = self._get(self.config_init, "metrics")
        self.metrics = Metrics(
            settings.dir, settings.metrics_kimg, total, self.metric_settings, self.signals
        )
        self.watch = FolderWatch()
        self.status = StatusLine(settings.dir, settings.tick_kimg, total)
        callbacks = [
            self.watch,
            *self.model.watchers(settings.tick_kimg, total),
            self.status,
            Snapshots(settings.dir, settings.snapshot_kimg, total, settings.keep_snapshots),
            checkpoints,
            *([self.metrics] if settings.metrics_kimg > 0 else []),
            StopAtKimg(total),
            self.signals,
        ]
        plugins = self._get(self.config_init, "trainer").get("plugins") or []
        plugins = [*(plugins if isinstance(plugins, list) else [plugins]), WholeCheckpointIO()]
        try:
            return super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        except (ValueError, TypeError, RuntimeError, ImportError, Misconfiguration) as error:
            raise UserError(f"--trainer: {error}") from error

    def before_fit(self) -> None:
        """Check everything that can be checked before something is written."""
        folder, run = Path(self.run_settings.dir), self.run_settings
        self.datamodule.seed = self.model.seed
        # Lightning validates whenever a run is stopped, for which a signal leaves no time.
        self.trainer.limit_val_batches = 0
        resolve_mode(run.wandb)
        if rank_zero_only.rank == 0:
            check_place(folder)
            check_folder(folder, run.resume)
        if run.metrics_kimg > 0 and not self.model.generates:
            raise UserError(
                f"--run.metrics_kimg {run.metrics_kimg:g}: measures generators; an encoder reports "
                "pictures of --data.held_out with every status line, leave it at 0"
            )
        self.checkpoint = last_checkpoint(folder)
        about_run = read_checkpoint(self.checkpoint)["dragline"] if self.checkpoint else None
        self._foresee(about_run)
        self.plan = self.model.plan(self.trainer, self.datamodule)
        self.start_images = 0
        if self.checkpoint is not None:
            self.start_images = self._check_checkpoint(self.checkpoint)
        self.sketch = self._sketch()
        if run.metrics_kimg > 0:
            self.metrics.prepare(self.datamodule.dataset)
        command = str(self.subcommand)
        settings = self.config[command]
        settings.data.size = self.datamodule.size
        for group, values in self.model.settled().items():
            settings.model.init_args[group].update(Namespace(**values))
        self.resolved = self._parser(command).dump(settings)
        if run.dry_run:
            self._describe()
            sys.exit(0)
        self._use_threads()

    def _foresee(self, about_run: dict[str, Any] | None) -> None:
        """Check all but the pictures; a checkpoint may describe its networks in any way."""
        try:
            self.model.foresee(self.trainer, self.datamodule, about_run)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if about_run is None or isinstance(error, UserError):
                raise
            raise BrokenCheckpoint(
                f"{self.checkpoint}: does not say what networks it is of; delete this checkpoint "
                "to go on from the one before, or give a new --run.dir"
            ) from error

    def _sketch(self) -> dict[str, Any]:
        """Return the networks without their memory; refuse those too large for this machine."""
        data, device = self.datamodule.dataset, self.trainer.strategy.root_device
        with sketching():
            networks = self.model.sketch(data.size, data.channels, data.label_dim, device)
        widths = ", ".join(map(self.model.settings.flag, self.model.widths))
        check_room(Path(self.run_settings.dir), networks.values(), device, widths)
        return networks

    def fit(self, **kwargs: Any) -> None:
        """Train, from the run's last whole checkpoint if there is one."""
        folder = Path(self.run_settings.dir)
        with ExitStack() as stack:
            stack.enter_context(self.signals.handling(self.trainer.strategy.launcher))
            if rank_zero_only.rank == 0:
                check_folder(folder, self.run_settings.resume)
                self.watch.folder = stack.enter_context(lock_folder(folder))
            checkpoint = last_checkpoint(folder)
            choose_interface(self.trainer)
            with failures_in_words(self.trainer, self.model, self.datamodule):
                if rank_zero_only.rank == 0:
                    self._open(folder, checkpoint, stack)
                self.trainer.fit(**kwargs, ckpt_path=checkpoint)
        if rank_zero_only.rank == 0:
            self._say_where(folder)
        if self.signals.received:
            # A helper process that ends with anything but 0 makes Lightning kill the first one.
            sys.exit(128 + self.signals.received if rank_zero_only.rank == 0 else 0)

    def _say_where(self, folder: Path) -> None:
        """Print the newest model, once a session has ended well."""
        model = latest_model(folder)
        if model is not None:
            so_far = " so far" if self.signals.received else ""
            print(f"the model{so_far} is {model}", flush=True)

    def _open(self, folder: Path, checkpoint: Path | None, stack: ExitStack) -> None:
        """Prepare the run folder and the logger; print what will be done."""
        start_kimg = 0.0
        if checkpoint is not None:
            if checkpoint != self.checkpoint:  # another session ended in between
                self.start_images = self._check_checkpoint(checkpoint)
            start_kimg = self.start_images / 1000
        before = reached(folder)
        clean_up(folder, start_kimg)
        write_text(folder / CONFIG, self.resolved)
        update_record(folder, reached=before)
        self.status.before_sec = before.total_sec
        for setting in _BUILT_ON:
            mark_used(getattr(self.model.settings, setting, None) or "", folder)
        facts = self.datamodule.facts()
        facts_by_name = {"facts": facts, **self.model.facts(), **self.metrics.facts()}
        config = {**yaml.safe_load(self.resolved), **facts_by_name}
        logger = open_logger(folder, self.run_settings.wandb, config, before.images)
        if logger is not None:
            stack.callback(logger.close)
            self.trainer.loggers = [*self.trainer.loggers, logger]
        print(
            f"training from {start_kimg:g} to {self.run_settings.kimg:g} kimg on {facts['count']} "
            f"pictures of {facts['source']} in {folder}",
            flush=True,
        )
        self._note()

    def _note(self) -> None:
        device = self.trainer.strategy.root_device
        for remark in [*self.datamodule.remarks(), *self.model.remarks(device)]:
            print(f"note: {remark}", flush=True)

    def _check_checkpoint(self, path: Path) -> int:
        """Check that the run can go on from a checkpoint, and return its images seen."""
        checkpoint, data = read_checkpoint(path), self.datamodule
        check_same_run(checkpoint["dragline"], self.plan)
        twin = self.model.twin(self.plan, data)
        twin.check_checkpoint(checkpoint, self.trainer, data, str(path))
        images = checkpoint["dragline"]["seen_images"]
        if path != checkpoint_path(self.run_settings.dir, images):
            raise BrokenCheckpoint(f"{path}: holds a run after {images} images: restore its name")
        return images

    def validate(self, **_: Any) -> None:
        """Measure the run's newest whole checkpoint, in the first process alone."""
        if rank_zero_only.rank == 0:
            with self.signals.handling(), closing(ProgressLine()) as line:
                validation = self._measure(line)
            for note in validation.notes:
                print(f"note: {note}", file=sys.stderr)
            print(json_line(validation.facts), flush=True)

    def _measure(self, line: ProgressLine) -> Validation:
        if not self.model.needs_pictures:
            raise UserError("an editor is measured by dragging: edit.py drag --config FILE with "
                            "method: latent-transformer")  # fmt: skip
        if isinstance(self.model, DiffusionTraining | LoraTraining):
            raise UserError(
                "a diffusion model is measured by dragging: edit.py bench drag; its errors are in "
                f"{self.run_settings.dir}/stats.jsonl"
            )
        if isinstance(self.model, FillingTraining):
            raise UserError(
                "a network that fills holes is measured by filling some: python -m"
                f" framework.evaluation fill; its errors are in {self.run_settings.dir}/stats.jsonl"
            )
        if isinstance(self.model, TranslationTraining):
            raise UserError(
                "a translation is measured by translating: python -m framework.evaluation"
                f" translation; its errors are in {self.run_settings.dir}/stats.jsonl"
            )
        if isinstance(self.model, StyleTraining):
            raise UserError(
                "a decoder of styles is judged by what it makes: edit.py style --method adain;"
                f" its errors are in {self.run_settings.dir}/stats.jsonl"
            )
        if isinstance(self.model, EncoderTraining):
            return validate_encoder(self.run_settings, self.model, self.trainer, self.datamodule)
        metrics, device = self.metric_settings, self.trainer.strategy.root_device
        return validate_generator(self.run_settings, metrics, self.datamodule, device, line.show)

    def _use_threads(self) -> None:
        """On a CPU, choose the number of threads by the work of a batch, not by the load."""
        device = self.trainer.strategy.root_device
        if device.type == "cpu":
            share = self.datamodule.share(self.trainer.world_size)
            use_threads(self.model.gflop(self.sketch, share), self.trainer.num_devices)

    def _describe(self) -> None:
        """Print the result of a dry run: settings, sizes, data."""
        print(self.resolved)
        for name, network in self.sketch.items():
            print(f"{name}: {parameter_count(network) / 1e6:.3f} M parameters")
        print("data: " + json.dumps(self.datamodule.facts()))
        self._note()


def main(args: ArgsType = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _train(args), catch_sigterm=False)


def _train(args: ArgsType) -> None:
    tune_malloc()
    for message in _QUIET:
        warnings.filterwarnings("ignore", message=message)
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.ERROR)
    guard()
    words = list(map(str, args if isinstance(args, list) else sys.argv[1:]))
    TrainCLI.trained_class = class_asked_for(words)
    TrainCLI.only_command = words[0] if words else None
    try:
        with named(flags()):
            TrainCLI(
                datamodule_class=TrainingImages,
                subclass_mode_model=True,
                auto_configure_optimizers=False,
                save_config_callback=None,
                trainer_defaults=TRAINER_DEFAULTS,
                parser_kwargs=_parser_settings(),
                args=args,
            )
    except Misconfiguration as error:
        raise UserError(str(error)) from error


def _parser_settings() -> dict[str, Any]:
    """Return arguments of the parsers: the main one's, and each command's under its name."""
    common = {"exit_on_error": False, "formatter_class": HelpFormatter}
    commands = {name: {**common, "description": HELP[name]} for name in TrainCLI.subcommands()}
    return {**common, "description": DESCRIPTION, **commands}
