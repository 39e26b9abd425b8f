"""`train.py` with an encoder's settings: the whole way, and what only generators have."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from framework.data.holdout import is_held_out
from framework.formats import open_model
from framework.media.images import read_image
from framework.models.encoders.loading import build_encoder
from tests.training.processes import finish, start
from tests.training.tiny_encoder import NETWORKS, SIZE, tiny_model

CLASS = "framework.training.encoder.module.EncoderTraining"
OUT = sum(is_held_out(f"toycar{i:08d}", 0.3) for i in range(40))
SIZES = [
    word
    for name, value in NETWORKS.items()
    for word in (f"--model.architecture.{name}", str(value))
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of 16x32 px with its opponent."""
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


def command(run_dir: Path, model: Path, *extra: str, verb: str = "fit") -> list[str]:
    """Command line of the smallest training of an encoder."""
    return [
        verb, "--model", CLASS, "--model.generator", str(model), *SIZES,
        "--data.source", "toycars:40", "--data.size", "[16,32]", "--data.batch_size", "4",
        "--data.held_out", "0.3", "--run.dir", str(run_dir), "--run.wandb", "disabled",
        "--run.kimg", "0.012", "--run.tick_kimg", "0.008", "--trainer.accelerator", "cpu", *extra,
    ]  # fmt: skip


def said(args: list[str], log: Path, code: int = 0) -> str:
    """What a command prints, having ended with `code`."""
    assert finish(start(args, log)) == code, log.read_text()
    return log.read_text()


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory) -> Path:
    """The folder of a run of three batches."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    args = command(
        run_dir, model, "--model.weights.adv_latent", "0.1", "--model.weights.delta", "0.0002"
    )
    said(args, run_dir.with_suffix(".log"))
    return run_dir


def test_the_console_and_the_statistics_name_every_term(trained):
    text = trained.with_suffix(".log").read_text()
    assert re.fullmatch(
        rf"training from 0 to 0.012 kimg on {40 - OUT} pictures of toycars in \S+\n"
        r"note: pictures are compared by features of the model's own discriminator \(dfeat\)\n"
        r"(tick \d .* E \d\.\d+ +pixel \d\.\d+ +dfeat \d\.\d+ +held out \d\.\d+ +left .*\n){2}"
        r"the model is \S+/network-000000-012\n",
        text,
    ), text
    tick = json.loads((trained / "stats.jsonl").read_text().splitlines()[-1])
    for name in ("Loss/pixel", "Loss/dfeat", "Loss/adv_latent", "Loss/delta", "Loss/L/loss"):
        assert tick[name]["num"] >= 4, name
    for name in ("Validation/pixel", "Validation/psnr", "Validation/dfeat"):
        assert tick[name]["num"] == OUT, name


def test_a_snapshot_is_the_model_with_its_encoder_and_a_sheet_of_pairs(trained, model):
    opened = open_model(trained / "network-000000-012")
    assert opened.networks == ("generator", "discriminator", "encoder")
    generator = opened.network("generator")
    assert generator.digest == open_model(model).network("generator").digest
    encoder = build_encoder(opened.encoder(), generator)
    ws = encoder(torch.zeros(1, 3, *SIZE))
    assert ws.shape == (1, generator.num_ws, 6)
    facts = generator.provenance["encoder"]
    assert facts["seen_kimg"] == 0.012 and facts["perceptual"]["name"] == "dfeat"
    assert facts["data"]["count"] == 40 - OUT and facts["training"]["weights"]["delta"] == 2e-4
    card = (trained / "network-000000-012" / "README.md").read_text()
    assert "32x16 px, with an encoder" in card and "../reconstructions000000-012.png" in card
    sheets = {path.name for path in trained.glob("*.png")}
    assert sheets == {"reconstructions_init.png", "reconstructions000000-012.png"}
    sheet = read_image(trained / "reconstructions000000-012.png")
    rows = -(-OUT // 16)
    assert sheet.shape == (rows * 2 * SIZE[0], 16 * SIZE[1], 3)
    pictures, made = sheet[-2 * SIZE[0] : -SIZE[0]], sheet[-SIZE[0] :]
    last = OUT - 16 * (rows - 1)
    for row in (pictures, made):
        assert (row[:, last * SIZE[1] :] == 255).all() and (row[:, : SIZE[1]] < 255).any()
    assert (pictures != made).any()


def test_validate_measures_all_that_is_held_out(trained, model, tmp_path):
    args = command(trained, model, "--model.weights.adv_latent", "0.1", verb="validate")
    report = json.loads(said(args, tmp_path / "log").splitlines()[-1])
    tick = json.loads((trained / "stats.jsonl").read_text().splitlines()[-1])
    for name in ("pixel", "psnr", "dfeat"):
        assert report[name] == pytest.approx(tick[f"Validation/{name}"]["mean"], rel=1e-4)
    assert report["seen_kimg"] == 0.012 and report["protocol"]["perceptual"]["name"] == "dfeat"


def test_a_run_goes_on_where_it_stopped(trained, model, tmp_path):
    extra = ("--model.weights.adv_latent", "0.1", "--run.kimg", "0.016")
    run_dir = shutil.copytree(trained, tmp_path / "run")
    assert "from 0.012 to 0.016 kimg" in said(command(run_dir, model, *extra), tmp_path / "log")


MISTAKES = {
    "metrics of generators": (["--run.metrics_kimg", "1"], "--run.metrics_kimg 1: measures gen"),
    "another size": (["--data.size", "64"], r"--data.size: .* 32x16 px, these are 64x64; give"),
    "no such generator": (["--model.generator", "nonesuch"], "--model.generator nonesuch: no such"),
    "no such weights": (
        ["--model.judges.perceptual_network", "lpips-vgg"],
        "perceptual_network lpips-v",
    ),
    "a setting of generators": (["--model.networks.mapping_layers", "2"], "mapping_layers"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(mistake, model, tmp_path):
    args, expected = MISTAKES[mistake]
    text = said(command(tmp_path / "run", model, *args), tmp_path / "log", 2)
    last = text.splitlines()[-1]
    assert last.startswith("error: ") and re.search(expected, last), text
    assert "Traceback" not in text and text.count("error: ") == 1
    assert not (tmp_path / "run").exists()


def test_validate_without_pictures_to_measure_with_says_so(trained, model, tmp_path):
    args = command(trained, model, "--data.held_out", "0", verb="validate")
    assert "--data.held_out 0: no pictures are kept out" in said(args, tmp_path / "log", 2)


def test_settings_that_generators_share_begin_with_the_encoders_own_values(model, tmp_path):
    """The parser would take over those of its default class, whose names are the same."""
    text = said([*command(tmp_path / "run", model), "--print_config"], tmp_path / "log")
    assert "ema_kimg: 2.0" in text and "mirror: false" in text and "- 0.9\n" in text
    other = tmp_path / "settings.yaml"
    other.write_text(f"model:\n  class_path: {CLASS}\n")
    text = said(["fit", "--config", str(other), "--print_config"], tmp_path / "log2")
    assert "channel_base: 1536" in text and "mirror: false" in text


def test_a_dry_run_counts_the_networks(model, tmp_path):
    args = command(
        tmp_path / "run", model, "--run.dry_run", "true", "--model.weights.adv_image", "0.1"
    )
    text = said(args, tmp_path / "log")
    assert re.search(r"\nencoder: 0\.\d+ M parameters\ndiscriminator: 0\.\d+ M parameters\n", text)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
