"""What `train.py` knows before it begins: the model to start from, room, limits, its folder."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from framework.cli.train import main
from framework.errors import UserError
from framework.formats import save_model_folder
from framework.formats.run_checkpoint import write_checkpoint
from framework.models.stylegan2 import Discriminator, Generator
from framework.training import outlook, precision
from framework.training.run_settings import RunSettings
from framework.training.stylegan2.transfer import misfits, start_from

CHOICES: tuple[precision.Choice, ...] = ("auto", "none", "float16", "bfloat16")
FINETUNE = Path("configs/train/stylegan2/finetune.yaml").resolve()
SMALL = {"channel_base": 64, "channel_max": 8, "mapping_layers": 2}
STYLES = {"z_dim": 6, "w_dim": 10}


def networks(**options) -> tuple[Generator, Discriminator]:
    sizes = {"img_size": 16, **SMALL, **options}
    generator = Generator(**STYLES, **sizes, architecture="resnet")
    return generator, Discriminator(**{**sizes, "architecture": "orig"})


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model of 16 px with a discriminator of the other design."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return save_model_folder(tmp_path_factory.mktemp("start") / "m", *networks())


def words(folder: Path, model: object, *more: str) -> list[str]:
    return [
        "fit", "--config", str(FINETUNE), "--data.source", "toycars:24", "--run.dir", str(folder),
        "--model.transfer.freeze_d_layers", "0", "--model.start_from", str(model),
        "--data.batch_size", "4",
        "--run.dry_run", "true", *more,
    ]  # fmt: skip


# C6f
def test_sizes_that_are_left_open_are_those_of_the_model(model, tmp_path, capsys):
    assert main(words(tmp_path / "run", model)) == 0
    settings = yaml.safe_load(capsys.readouterr().out.split("\n\n")[0])
    given = settings["model"]["init_args"]["networks"]
    wanted = {**SMALL, **STYLES, "discriminator_channel_base": 64}
    assert given.items() >= {**wanted, "discriminator_architecture": "orig"}.items()
    assert given["architecture"] == "resnet"
    assert settings["data"]["size"] == [16, 16]
    assert not (tmp_path / "run").exists()


# C6f
def test_a_run_goes_on_with_its_own_sizes_also_when_the_model_is_gone(model, tmp_path, capsys):
    run, start = tmp_path / "run", tmp_path / "start"
    shutil.copytree(model, start)
    args = words(run, start, "--run.dry_run", "false", "--run.kimg", "0.004", "--model.augment", "")
    args += [
        "--run.wandb",
        "disabled",
        "--trainer.accelerator",
        "cpu",
        "--model.regularization.pl_weight",
        "0",
    ]
    assert main(args) == 0
    assert "taken over" in capsys.readouterr().out
    shutil.rmtree(start)
    assert main([*args, "--run.kimg", "0.008"]) == 0
    assert "training from 0.004 to 0.008 kimg" in capsys.readouterr().out
    assert (
        yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["networks"]["w_dim"]
        == 10
    )


# A7f
@pytest.mark.parametrize("name, value", [("channel_max", 4), ("channel_base", 32)])
def test_a_model_of_other_widths_is_refused_with_the_settings_that_fit(
    name, value, model, tmp_path, capsys
):
    assert main(words(tmp_path / "run", model, f"--model.networks.{name}", str(value))) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "tensors of other shapes" in line
    assert "--model.networks.channel_base 64 --model.networks.channel_max 8" in line
    assert "--model.networks.discriminator_architecture orig" in line and "start_partial" in line
    assert (
        main(
            words(tmp_path / "run", model, "--model.networks.discriminator_architecture", "resnet")
        )
        == 2
    )


# A7f
def test_a_patchwork_is_made_where_it_is_asked_for(model):
    ours = networks(channel_max=4)
    with pytest.raises(UserError, match=r"--model\.transfer\.start_partial true"):
        start_from(str(model), ours[0], [], ours[1])
    report = start_from(str(model), ours[0], [], ours[1], partial=True)
    assert report[0].fitting and "synthesis.b16.conv0.weight" in report[0].fresh


# A7f
@pytest.mark.parametrize(
    "options",
    [
        {"img_size": 32},
        {"img_size": (12, 16)},
        {"c_dim": 3},
        {"img_channels": 1},
        {"img_size": (24, 32), "c_dim": 2, "img_channels": 4},
        {"c_dim": 3, "label_fade": True},
    ],
)
def test_what_other_sizes_labels_and_channels_bring_may_be_new(options):
    for ours, theirs in zip(networks(**options), networks(), strict=True):
        assert misfits(ours, theirs) == misfits(theirs, ours) == []
        assert misfits(ours, ours) == []
    wide = networks(**options, channel_max=4)
    assert all(misfits(ours, theirs) for ours, theirs in zip(wide, networks(), strict=True))


# ------------------------------------------------------------------- before a picture is looked at

EARLY = {
    "a model that is not there": (
        ["--model.start_from", "nonesuch"],
        "--model.start_from nonesuch: no such",
    ),
    "an encoder's generator": (
        ["--model", "EncoderTraining", "--model.generator", "nonesuch"],
        "--model.generator nonesuch: no such",
    ),
    "layers to freeze": (
        ["--model.transfer.freeze_d_layers", "900"],
        "--model.transfer.freeze_d_layers 900",
    ),
    "micro-batches": (["--model.micro_batch", "3"], "--model.micro_batch 3"),
    "precision": (["--trainer.precision", "16-mixed"], "--trainer"),
    "a batch for devices": (
        ["--trainer.accelerator", "cpu", "--trainer.devices", "3"],
        "--data.batch_size 4: must be a multiple of the 3",
    ),
    "measures of an encoder": (
        ["--model", "EncoderTraining", "--run.metrics_kimg", "1"],
        "--run.metrics_kimg 1",
    ),
    "a folder below a file": (["--run.dir", f"{FINETUNE}/run"], "is a file"),
    "a folder of too long a name": (["--run.dir", "x" * 300], "--run.dir x"),
    "no folder": (["--run.dir", " "], "--run.dir: give the folder"),
}


# C1f
@pytest.mark.parametrize("name", EARLY)
def test_what_needs_no_pictures_is_told_before_they_are_looked_at(name, refused):
    args, expected = EARLY[name]
    for more in ([], ["--run.dry_run", "true"]):
        line = refused("--data.source", "/nowhere", *args, *more)
        # And the flag that is wrong is the one that is named.
        assert expected in line and (line.startswith(f"error: {expected}") or expected[0] != "-")


# C1f
def test_a_dry_run_sees_a_run_of_other_settings(tmp_path, capsys):
    run = tmp_path / "other"
    run.mkdir()
    held = {"format": 1, "seen_images": 4, "batch_size": 8, "seed": 7}
    write_checkpoint({"dragline": held}, run / "checkpoints" / "run-00000000004.ckpt")
    (run / "config.yaml").touch()
    args = ["fit", "--config", str(FINETUNE.with_name("debug_cpu.yaml")), "--run.dir", str(run)]
    assert main([*args, "--run.dry_run", "true"]) == 2
    assert "begun with other settings" in capsys.readouterr().err
    assert not (run / ".lock").exists() and not (run / "config.yaml").read_text()


# C1f
def test_a_dashboard_that_is_misspelt_is_told_first(refused, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    assert "WANDB_MODE" in refused("--data.source", "/nowhere")


# C1f
def test_a_disk_without_room_and_a_folder_without_rights_are_told_first(refused, monkeypatch):
    monkeypatch.setattr(outlook.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    assert "a checkpoint takes about" in refused("--run.dry_run", "true")
    allowed = os.access
    monkeypatch.setattr(
        outlook.os, "access", lambda path, mode: not mode & os.W_OK and allowed(path, mode)
    )
    assert "cannot be written to" in refused("--run.dry_run", "true")


# C1f
def test_a_precision_that_this_processor_lacks_is_remarked_on(monkeypatch):
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda: False)
    said = [precision.slow_remark(choice, torch.device("cpu")) for choice in CHOICES]
    assert [text is not None for text in said] == [False, False, True, True]
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda: True)
    assert precision.slow_remark("bfloat16", torch.device("cpu")) is None
    assert precision.slow_remark("float16", torch.device("cuda")) is None


# ------------------------------------------------------------------------------------------ limits

TOO_MUCH = {
    "--model.seed": "1" + "0" * 20, "--model.networks.z_dim": "9000000",
    "--model.networks.w_dim": "1000000",
    "--model.networks.mapping_layers": "100000", "--model.networks.channel_base": "1000000000",
    "--model.networks.channel_max": "100000000", "--model.micro_batch": "100000000000",
    "--model.averaging.ema_kimg": "1e300", "--model.lr": "1e300",
    "--model.regularization.r1_interval": "1000000000000",
    "--data.size": "1048576", "--data.batch_size": "100000000000", "--data.workers": "100000",
    "--data.shuffle_buffer": "1000000000000", "--data.source": "toycars:1000000000000",
    "--run.kimg": "1e300", "--run.keep_snapshots": "1" + "0" * 30,
}  # fmt: skip


# B5f, B7f
@pytest.mark.parametrize("flag", TOO_MUCH)
def test_numbers_that_no_machine_can_hold_are_refused_at_once(flag, refused):
    line = refused(flag, TOO_MUCH[flag])
    assert flag in line or TOO_MUCH[flag] in line


# B5f
def test_networks_beyond_the_memory_are_refused_by_their_sketch(refused):
    line = refused(
        "--model.networks.channel_base", "1000000", "--model.networks.channel_max", "8000"
    )
    assert "--model.networks.channel_base" in line and "GB in training" in line


# A9f
def test_an_empty_source_is_no_folder(refused):
    assert "--data.source: is empty" in refused("--data.source", "")


def test_what_is_large_and_possible_passes():
    RunSettings(kimg=1e6, keep_checkpoints=1000).check()
    assert os.access(outlook._nearest(Path("/nowhere/at/all")), os.F_OK)
