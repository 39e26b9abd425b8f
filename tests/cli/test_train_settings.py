"""Settings of `train.py` from strangers: no code, no endless work, nothing passed over."""

import inspect
import itertools
import os
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import lightning
import pytest
import yaml

from framework import settings_file
from framework.cli.train import main
from framework.cli.train_parser import MODEL, SETTINGS
from framework.errors import UserError
from framework.evaluation.generator.measure import MetricSettings
from framework.jobs.settings import load_settings
from framework.training.data import TrainingImages
from framework.training.run_settings import RunSettings
from framework.training.trainer import (
    INSTEAD,
    OBEYED,
    TRAINER_DEFAULTS,
    check_trainer_settings,
)

# ------------------------------------------------------------------------------ classes by name

DOORS = {
    "the model": {"model": {"class_path": "evil_module.Thing"}},
    "the model, as a word": {"model": "evil_module.Thing"},
    "the data": {"data": {"class_path": "evil_module.Thing"}},
    "the data, as a word": {"data": "evil_module.Thing"},
    "the trainer": {"trainer": {"class_path": "evil_module.Thing"}},
    "a class within one": {
        "trainer": {
            "strategy": {
                "class_path": "lightning.pytorch.strategies.DDPStrategy",
                "init_args": {"ddp_comm_hook": "evil_module.Thing"},
            }
        }
    },
    **{
        name: {"trainer": {name: {"class_path": "evil_module.Thing"}}}
        for name in ("logger", "strategy", "profiler", "accelerator")
    },
    **{
        f"{name}, a list": {"trainer": {name: ["evil_module.Thing"]}}
        for name in ("callbacks", "plugins")
    },
}


# B3f
@pytest.mark.parametrize("door", DOORS)
def test_no_settings_import_a_module_of_a_stranger(door, refused, tmp_path, monkeypatch):
    module = tmp_path / "evil_module.py"
    module.write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w')\n"
        "import lightning\nclass Thing(lightning.Callback):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "stranger.yaml"
    file.write_text(yaml.safe_dump(DOORS[door]))
    refused("--config", str(file))
    assert not (tmp_path / "imported").exists()


# B3f
@pytest.mark.parametrize("words", [["--model"], ["--model.help"], ["--trainer.logger.help"]])
def test_no_flag_imports_a_module_of_a_stranger(words, refused, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "evil_module.Thing" in refused(*words, "evil_module.Thing")
    assert not (tmp_path / "imported").exists()


def test_both_trainings_may_be_named_in_short_and_in_full(capsys):
    for name in ("EncoderTraining", "framework.training.encoder.module.EncoderTraining"):
        assert main(["fit", "--model", name, "--print_config"]) == 0
        settings = yaml.safe_load(capsys.readouterr().out)["model"]
        assert settings["class_path"] == "framework.training.encoder.module.EncoderTraining"
        assert settings["init_args"]["generator"] == "vehicles64"


# --------------------------------------------------------------------------- texts and their size

LETTERS = "abcdefghijkl"
TEXTS = {
    "aliases of aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in itertools.pairwise(LETTERS)
    ),
    "a list within itself": "a: &a [*a]",
    "a deep text": "".join(" " * i + "a:\n" for i in range(300)),
    "a deep list": "[" * 30 + "]" * 30,
    "many values": "[" + "1," * 20_000 + "]",
    "a long value": "a: " + "9" * 100_000,
    "a number to the base of 60": "a: 1" + ":1" * 50_000,
    "a large text": "# " + "x" * 300_000,
}


# B5f
@pytest.mark.parametrize("name", TEXTS)
def test_settings_that_would_never_end_are_refused_at_once(name, refused, tmp_path):
    file = tmp_path / "bomb.yaml"
    file.write_text(TEXTS[name])
    assert f"--config {file}: " in refused("--config", str(file))


# B5f
@pytest.mark.parametrize("name", TEXTS)
def test_settings_of_edits_are_held_to_the_same(name, tmp_path):
    file = tmp_path / "bomb.yaml"
    file.write_text(TEXTS[name])
    for read in (load_settings, settings_file.read):
        with pytest.raises(UserError, match=rf"^{file}"):
            read(file)
    for path in ("/dev/zero", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="cannot be read as YAML"):
            load_settings(path)


def test_aliases_of_a_sane_number_are_settings():
    text = "a: &x {l: 1, m: [2, 3]}\nb: {<<: *x, n: 2e-3}\n"
    assert settings_file.load(text)["b"] == {"l": 1, "m": [2, 3], "n": 2e-3}


# B5f
@pytest.mark.parametrize("text", ["run:\n  kimg: 1\n  kimg: 2\n", "{run: {kimg: 1}, run: {}}"])
def test_a_name_that_is_given_twice_is_no_choice(text, refused, tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text(text)
    assert "is given twice, in lines" in refused("--config", str(file))


# B5f, B7f
@pytest.mark.parametrize("kind", ["latin", "folder", "pipe", "device", "zeros"])
def test_what_is_no_text_file_is_no_settings(kind, refused, tmp_path):
    path = tmp_path / "settings"
    if kind == "latin":
        path.write_bytes("run:\n  dir: münchen\n".encode("latin-1"))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.write_bytes(bytes(1000))
    for words in (["--config", str(path)], [f"--config={path}"], ["-c", str(path)]):
        assert f"--config {path}: " in refused(*words)


# ------------------------------------------------------------------------- Lightning's own settings


# A9f
def test_every_setting_of_lightnings_trainer_is_obeyed_or_has_another_name_here():
    known = set(inspect.signature(lightning.Trainer.__init__).parameters) - {"self"}
    assert known == OBEYED | INSTEAD.keys() and not OBEYED & INSTEAD.keys()


UNUSUAL = {
    "max_epochs": 0, "min_epochs": 1, "max_steps": 5, "min_steps": 3, "max_time": "00:00:01:00",
    "limit_train_batches": 0.0, "limit_val_batches": 3, "overfit_batches": 1, "fast_dev_run": True,
    "accumulate_grad_batches": 2, "gradient_clip_val": 1.0, "val_check_interval": 10,
    "num_sanity_val_steps": 2, "reload_dataloaders_every_n_epochs": 1,
    "enable_checkpointing": True, "callbacks": [{"class_path": "x.Y"}], "profiler": "simple",
    "inference_mode": False, "use_distributed_sampler": True, "enable_autolog_hparams": False,
    "check_val_every_n_epoch": 2,
}  # fmt: skip


# A9f
@pytest.mark.parametrize("name", INSTEAD)
def test_no_setting_of_lightnings_is_passed_over(name):
    check_trainer_settings({name: TRAINER_DEFAULTS.get(name)})
    with pytest.raises(UserError, match=rf"^--trainer\.{name}[: ].*; leave it out$"):
        check_trainer_settings({name: UNUSUAL.get(name, True)})


# A9f
def test_a_file_with_callbacks_ends_with_their_name(refused, tmp_path):
    file = tmp_path / "more.yaml"
    # A class that Lightning has and no importing is needed for: also those are not passed over.
    file.write_text(
        "trainer:\n  callbacks: [{class_path: Timer, init_args: {duration: '1:0:0:0'}}]\n"
    )
    assert "--trainer.callbacks" in refused("--config", str(file))
    assert "--trainer.max_steps 5: a run lasts --run.kimg" in refused("--trainer.max_steps", "5")


# B5f, B7f
@pytest.mark.parametrize("count", ["1000000", "-1", "0", "-7", "[]"])
def test_devices_that_no_machine_has_are_refused(count, refused):
    line = refused("--trainer.accelerator", "cpu", "--trainer.devices", count)
    assert "--trainer" in line and "devices" in line


# B7f
def test_a_logger_whose_library_is_missing_is_one_line(refused, tmp_path):
    if any(map(_is_there, ("tensorboard", "tensorboardX"))):
        pytest.skip("it is installed")
    words = ["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", str(tmp_path)]
    assert "tensorboard" in refused(*words)


def _is_there(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


# ------------------------------------------------------------------------- one of several types

CONFIGS = {
    "StyleGAN2Training": "stylegan2/debug_cpu.yaml", "EncoderTraining": "encoder/small.yaml",
    "EditorTraining": "editor/toycars64.yaml", "DiffusionTraining": "diffusion/toycars64.yaml",
    "LoraTraining": "diffusion/lora.yaml", "FillingTraining": "filling/toycars64.yaml",
    "StyleTraining": "style/small.yaml",
    "Pix2PixTraining": "translation/pix2pix.yaml",
    "ConditionEncoderTraining": "translation/sketch_encoder.yaml",
    "CycleGANTraining": "translation/cyclegan.yaml", "SpadeTraining": "translation/spade.yaml",
    "TextTraining": "text/toycars64.yaml",
}  # fmt: skip
PARTS = {"run": RunSettings, "data": TrainingImages, "metrics": MetricSettings}


def unions(kind: type, prefix: str) -> dict[str, Any]:
    """Types of the settings that may have one of several, by flag."""
    hints = get_type_hints(kind if is_dataclass(kind) else kind.__init__)
    inner = {n: t for n, t in hints.items() if is_dataclass(t)}
    found = {f"{prefix}.{n}": t for n, t in hints.items() if get_origin(t) in (UnionType, Union)}
    return {
        **found,
        **{f: t for n, k in inner.items() for f, t in unions(k, f"{prefix}.{n}").items()},
    }


def accepted(capsys, name: str, *words: str) -> Any:
    """Settings that `train.py` prints for a command line on the file of a training."""
    config = str(Path("configs/train", CONFIGS[name]))
    assert main(["fit", "--config", config, *words, "--print_config"]) == 0, capsys.readouterr().err
    return yaml.safe_load(capsys.readouterr().out)


def at(settings: Any, flag: str) -> Any:
    for word in flag.removeprefix("--").split("."):
        settings = settings.get("init_args", settings)[word]
    return settings


def several_types(name: str) -> dict[str, Any]:
    shared = [unions(kind, f"--{part}") for part, kind in PARTS.items()]
    return unions(SETTINGS[name], "--model") | shared[0] | shared[1] | shared[2]


# B7f
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_that_may_be_null_is_so_on_the_command_line_and_in_files(
    name, capsys, tmp_path
):
    flags = [flag for flag, kind in several_types(name).items() if type(None) in get_args(kind)]
    assert len(flags) > 5
    for null in ("null", "None"):
        settings = accepted(capsys, name, *(f"{flag}={null}" for flag in flags))
        assert {flag: at(settings, flag) for flag in flags} == dict.fromkeys(flags)
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(settings))
    assert accepted(capsys, name, "--config", str(file)) == settings


# B7f
@pytest.mark.parametrize("name", SETTINGS)
def test_a_value_of_none_of_its_types_is_refused_with_their_names(name, refused, tmp_path):
    config = Path("configs/train", CONFIGS[name]).resolve()
    kinds = {f: get_args(kind) for f, kind in several_types(name).items()}
    kinds = {f: kind for f, kind in kinds.items() if str not in kind}  # of which all is one
    assert len(kinds) >= 3
    for flag, kind in kinds.items():
        line = refused(flag, "{a: 1}", config=config).strip()
        end = " or null" if type(None) in kind else ""
        assert line.startswith(f"error: {flag} {{'a': 1}}: expected ") and line.endswith(end)


# B7f
@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("averaging.ema_kimg", "[5, x]", "a number, a list of numbers or null"),
        ("averaging.ema_rampup", "x", "a number or null"),
        ("networks.architecture", "thin", "skip, resnet, orig or null"),
        ("transition_kimg", "[1]", "a list of 2 numbers or null"),
        ("regularization.r1_interval", "1.5", "a whole number or null"),
        ("averaging.ema_kimg", "[]", "a half-life, or a list of different ones"),
        ("averaging.ema_kimg", "-5", "a number above 0"),
    ],
)
def test_wrong_values_are_answered_alike_by_flag_and_file(flag, value, expected, refused, tmp_path):
    flag_says = refused(f"--model.{flag}", value)
    *groups, setting = flag.split(".")
    text = f"{{{setting}: {value}}}"
    for group in reversed(groups):
        text = f"{{{group}: {text}}}"
    file = tmp_path / "wrong.yaml"
    file.write_text(f"model: {{class_path: {MODEL}, init_args: {text}}}\n")
    file_says = refused("--config", str(file))
    for line in (flag_says, file_says):
        assert line.startswith(f"error: --model.{flag} ") and f": expected {expected}" in line


def test_values_of_each_type_of_a_union_are_accepted(capsys):
    flag = "--model.averaging.ema_kimg"
    for text, value in (("5", 5.0), ("1e-2", 0.01), ("[5, 1e1]", [5.0, 10.0]), ("null", None)):
        assert at(accepted(capsys, "StyleGAN2Training", flag, text), flag) == value
    for text, value in (("64", 64), ("[64, 48]", [64, 48]), ("null", None)):
        assert (
            at(accepted(capsys, "StyleGAN2Training", "--data.size", text), "--data.size") == value
        )
