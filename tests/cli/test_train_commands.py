"""`train.py`: help that teaches, mistakes in one line, and nothing written before all is well."""

import io
import itertools
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml

from tests.training.processes import CONFIG, finish, fit, start, wait_for

REPOSITORY = CONFIG.parents[3]


def said(args: list[str], log: Path, code: int, env: dict[str, str] | None = None) -> str:
    """What a command prints, having ended with `code`."""
    assert finish(start(args, log, env)) == code, log.read_text()
    return log.read_text()


MISTAKES = {
    "an unknown setting of the model": (
        ["--model.colour", "red"],
        "--model.colour: StyleGAN2Training has no",
    ),
    "an unknown setting of the trainer": (["--trainer.speed", "9"], "--trainer.speed"),
    "a setting of before there were groups": (
        ["--model.pl_weight", "2"],
        "--model.pl_weight: is --model.regularization.pl_weight now",
    ),
    "a negative learning rate": (
        ["--model.lr", "-1"],
        "--model.lr -1.0: expected a number above 0",
    ),
    "a word for a number": (
        ["--data.batch_size", "four"],
        "--data.batch_size four: expected a whole",
    ),
    "a batch of nothing": (["--data.batch_size", "0"], "--data.batch_size 0"),
    "an impossible size": (["--data.size", "100"], "--data.size 100: "),
    "six channels": (["--data.channels", "6"], "^error: --data.channels 6: give 1 "),
    "micro-batches that do not fit": (["--model.micro_batch", "3"], "--model.micro_batch 3"),
    "no such data": (["--data.source", "/nowhere"], "/nowhere: no such folder"),
    "no such augmentation": (["--model.augment", "blur"], "augment 'blur'"),
    "no such choice": (["--run.resume", "maybe"], "--run.resume maybe: expected auto or never"),
    "a length of nothing": (["--run.kimg", "0"], "--run.kimg 0.0: must be positive"),
    "no end": (["--run.kimg", "inf"], "--run.kimg inf: expected a number"),
    "a negative number to keep": (["--run.keep_snapshots", "-1"], "--run.keep_snapshots -1"),
    "Lightning's mixed precision": (["--trainer.precision", "bf16-mixed"], "--trainer.precision"),
    "no such accelerator": (["--trainer.accelerator", "warp"], "--trainer: .*warp"),
    "no such class": (["--model", "nonsense.Class"], "--model: .*nonsense.Class"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
# A19
def test_a_mistake_is_one_line_naming_it_and_writes_nothing(mistake, tmp_path):
    args, expected = MISTAKES[mistake]
    text = said(fit(tmp_path / "run", *args), tmp_path / "log", 2)
    last = text.splitlines()[-1]
    assert last.startswith("error: ") and re.search(expected, last), text
    assert "Traceback" not in text and "usage:" not in text and text.count("error: ") == 1
    assert len(last) < 400
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [("run:\n  kimg: [1,\n", "config"), ("run:\n  kimgs: 3\n", "kimgs"), (None, "does not exist")],
    ids=["malformed", "unknown key", "missing"],
)
def test_a_bad_settings_file_is_one_line(content, expected, tmp_path):
    file = tmp_path / "bad.yaml"
    if content is not None:
        file.write_text(content)
    text = said(["fit", "--config", str(file)], tmp_path / "log", 2)
    assert text.startswith("error: ") and text.count("\n") == 1 and expected in text


def test_without_a_command_the_commands_are_named(tmp_path):
    text = said(["fut"], tmp_path / "log", 2)
    assert text.startswith("error: ") and "fit" in text and "validate" in text


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run of two batches."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    assert finish(start(fit(run_dir, "--run.kimg", "0.008"), run_dir.with_suffix(".log"))) == 0
    return run_dir


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--model.seed", "1"], "seed 0, now 1"),
        (["--model.networks.w_dim", "16"], "generator.w_dim 8, now 16"),
        (["--data.batch_size", "8"], "batch_size 4, now 8"),
        (["--data.source", "toycars:65"], "64, now 65 and of toycars:64, now toycars:65"),
        (["--run.resume", "never"], "already holds a run"),
    ],
)
# A16
def test_a_run_is_never_mixed_with_another(args, expected, trained, tmp_path):
    before = contents(trained)
    text = said(fit(trained, "--run.kimg", "0.1", *args), tmp_path / "log", 2)
    assert text.startswith("error: ") and text.count("\n") == 1
    assert re.search(expected, text), text
    assert contents(trained) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x")
    assert "holds files but no run" in said(fit(folder), tmp_path / "log", 2)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


# A14
def test_two_trainings_in_one_folder_are_one_too_many(tmp_path):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    first = start(fit(run_dir, "--run.kimg", "1000"), log)
    wait_for(lambda: log.exists() and "training from" in log.read_text(), first)
    text = said(fit(run_dir, "--run.kimg", "1000"), tmp_path / "log2", 2)
    assert f"another training run (process {first.pid}) is at work in it" in text
    first.kill()
    finish(first)
    said(fit(run_dir, "--run.kimg", "0.004"), tmp_path / "log3", 0)


# H11
def test_the_settings_of_a_resumed_run_may_change_where_it_stays_the_run(trained, tmp_path):
    args = fit(trained, "--run.kimg", "0.012", "--model.lr", "0.001")
    text = said(args, tmp_path / "log", 0)
    assert "training from 0.008 to 0.012 kimg" in text
    held = yaml.safe_load((trained / "config.yaml").read_text())
    assert held["model"]["init_args"]["lr"] == 0.001 and held["run"]["kimg"] == 0.012


def test_the_console_of_a_training_is_ours_alone(trained):
    text = trained.with_suffix(".log").read_text()
    assert re.fullmatch(
        r"training from 0 to 0.008 kimg on 64 pictures of toycars in \S+\n"
        r"tick 1 .* kimg .* sec/kimg .* left 0m 00s\n"
        r"the model is \S+/network-000000-008\n",
        text,
    ), text


def test_a_snapshot_is_a_model_folder_with_a_card(trained):
    from framework.formats import load_discriminator, load_generator

    folder = trained / "network-000000-008"
    generator = load_generator(str(folder))
    assert generator.img_size == (16, 16) and load_discriminator(str(folder)).img_size == (16, 16)
    assert generator.provenance["data"]["source"] == "toycars"
    assert generator.provenance["training"]["regularization"]["r1_interval"] == 4
    assert "16x16 px" in (folder / "README.md").read_text()
    assert load_generator(str(trained / "checkpoints" / "run-00000000008.ckpt")).w_dim == 8


def test_a_dry_run_says_everything_and_writes_nothing(tmp_path):
    text = said(fit(tmp_path / "run", "--run.dry_run", "true"), tmp_path / "log", 0)
    settings, numbers = text.split("\n\ngenerator: ")
    assert yaml.safe_load(settings)["model"]["init_args"]["networks"]["z_dim"] == 8
    assert re.match(r"0\.00\d M parameters\ndiscriminator: 0\.00\d M parameters\n", numbers)
    facts = json.loads(text.split("\ndata: ")[1])
    assert facts["count"] == 64 and facts["size"] == [16, 16]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_printed_settings_are_a_file_that_gives_them_again(tmp_path):
    text = said(fit(tmp_path / "run", "--model.lr", "0.5", "--print_config"), tmp_path / "log", 0)
    assert yaml.safe_load(text)["model"]["init_args"]["lr"] == 0.5
    file = tmp_path / "again.yaml"
    file.write_text(text)
    assert said(["fit", "--config", str(file), "--print_config"], tmp_path / "log2", 0) == text


# A18, H17
def test_whole_numbers_in_a_file_become_the_floats_that_adam_wants(tmp_path):
    file = tmp_path / "betas.yaml"
    file.write_text("model:\n  init_args:\n    betas: [0, 0.99]\n")
    args = fit(tmp_path / "run", "--config", str(file), "--run.kimg", "0.004")
    said(args, tmp_path / "log", 0)
    held = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    betas = held["model"]["init_args"]["betas"]
    assert betas == [0.0, 0.99] and all(isinstance(beta, float) for beta in betas)


def test_help_begins_with_commands_to_copy(tmp_path):
    text = said(["fit", "--help"], tmp_path / "log", 0)
    assert "python train.py fit --config configs/train/stylegan2/toycars64.yaml\n" in text
    for flag in ("--run.dir", "--run.dry_run", "--data.source", "--data.size", "--model.help"):
        assert flag in text
    assert text.index("\n  --run.dir ") < text.index("\n  --trainer.devices ")
    text = said(["fit", "--model.help", "StyleGAN2Training"], tmp_path / "log2", 0)
    assert "--model.regularization.r1_gamma" in text and "Weight of R1" in text


TRAININGS = [
    file
    for kind in ("stylegan2", "encoder", "editor")
    for file in sorted((REPOSITORY / "configs" / "train" / kind).glob("*.yaml"))
]


def holds(whole: dict, part: dict) -> bool:
    """Whether nested tables have all the values of smaller ones."""
    return all(
        holds(whole[name], value) if isinstance(value, dict) else whole[name] == value
        for name, value in part.items()
    )


@pytest.mark.parametrize("file", TRAININGS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_shipped_settings_file_is_understood_and_says_how_to_use_it(file, tmp_path):
    text = said(["fit", "--config", str(file), "--print_config"], tmp_path / "log", 0)
    resolved = yaml.safe_load(text)
    shipped = yaml.safe_load(file.read_text())
    for part in ("run", "data", "model"):
        assert holds(resolved[part], shipped[part]), part
    lines = file.read_text().splitlines()
    head = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert head.startswith(f"# {file.stem}: ")
    assert f"train.py fit --config configs/train/{file.parent.name}/{file.name}" in head


def test_the_shim_is_the_command():
    import train
    from framework.cli.start import train as main

    out = io.StringIO()
    assert train.main is main
    with redirect_stdout(out):
        assert main(["--help"]) == 0
    assert "fit" in out.getvalue()
