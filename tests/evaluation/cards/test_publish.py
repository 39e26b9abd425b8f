"""A run becomes a model folder with a card whose numbers are measured."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from framework.data import open_dataset
from framework.data.shard_writer import shard
from framework.errors import UserError
from framework.evaluation.cards import publish as publishing
from framework.evaluation.cards.card import measures_table
from framework.evaluation.cards.publish import CardTexts, publish
from framework.evaluation.generator.features import open_networks
from framework.evaluation.generator.measure import MetricSettings, Report, measure
from framework.evaluation.generator.neighbours import nearest, nearest_other
from framework.formats import load_discriminator, load_generator, save_model_folder
from framework.formats.run_checkpoint import FORMAT_VERSION, checkpoint_path, write_checkpoint
from framework.media.images import read_image, save_png
from framework.models.stylegan2 import Discriminator, Generator


def test_nearest_finds_the_copy_in_spite_of_a_small_change():
    reals = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    fakes = reals[[7, 3]] + 0.01
    index, distance = nearest(fakes, reals, 2)
    assert index[:, 0].tolist() == [7, 3]
    assert distance[:, 0].max() < 0.02 < distance[:, 1].min()


def test_a_training_picture_is_not_its_own_neighbour():
    reals = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    distances = nearest_other(reals, torch.arange(5))
    assert distances.min() > 0.1
    assert nearest_other(torch.cat([reals, reals[:1]]), torch.tensor([0])).item() == 0


SIZES: dict[str, Any] = {"img_size": [32, 32], "channel_base": 128, "channel_max": 8}


def write_run(run_dir: Path, source: str = "toycars:100", labels: str = "none", **sizes: Any):
    """A run folder of tiny untrained networks, as training leaves it."""
    torch.manual_seed(0)
    generator = Generator(**SIZES, z_dim=8, w_dim=8, mapping_layers=1, **sizes)
    discriminator = Discriminator(**SIZES, **sizes)
    state = {f"generator_ema.{k}": v for k, v in generator.state_dict().items()}
    state |= {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}
    facts = {"format": FORMAT_VERSION, "seen_images": 2500}
    facts |= {"generator": generator.config, "discriminator": discriminator.config}
    write_checkpoint({"state_dict": state, "dragline": facts}, checkpoint_path(run_dir, 2500))
    data = {"source": source, "size": 32, "channels": 3, "crop": "center", "batch_size": 4}
    settings = {
        "data": data | {"labels": labels},
        "model": {"init_args": {"lr": 0.002, "start_from": "/data/somebody/old"}},
    }
    (run_dir / "config.yaml").write_text(yaml.safe_dump(settings))
    ticks = [{"Timing/sec_per_tick": {"mean": 1800.0}}] * 3
    lines = [json.dumps(tick) for tick in ticks] + ['{"cut']
    (run_dir / "stats.jsonl").write_text("\n".join(lines))
    return run_dir


@pytest.fixture
def run(tmp_path, monkeypatch, bare) -> Path:
    monkeypatch.setattr(publishing, "COMPARED", 48)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "run").mkdir()
    return write_run(tmp_path / "run")


FEW = MetricSettings("features64", fakes=24, reals=30, ppl=6)
NUMBERS = ("kid_d", "precision_d", "recall_d", "ppl_d", "swd_mean")


def rows(card: str) -> dict[str, list[str]]:
    """The card's table of measures, without what is better."""
    lines = card.split("## What it is worth")[1].splitlines()
    lines = [line.split(" | ")[:-1] for line in lines if line.startswith("| `")]
    return {cells[0].strip("|` "): cells[1:] for cells in lines}


def test_publish(run, tmp_path, capsys):
    out = tmp_path / "published"
    texts = CardTexts(title="Tiny.", licence="CC0", command="train it")
    publish(str(run), str(out), texts, metrics=FEW)
    card = (out / "README.md").read_text()
    for text in ("# published", "Tiny.", "CC0", "train it", "1.5 h", "2 thousand", "32x32"):
        assert text in card, text
    assert "{" not in card
    generator, discriminator = load_generator(out), load_discriminator(out)
    assert generator.provenance["seen_kimg"] == 2.5
    assert generator.provenance["training"] == {"lr": 0.002, "start_from": "old"}
    assert discriminator.img_size == (32, 32)
    assert read_image(out / "samples.png").shape == (4 * 32, 16 * 32, 3)
    assert read_image(out / "nearest.png").shape == (4 * 32, 16 * 32, 3)
    said = json.loads(capsys.readouterr().out.split("kimg, ")[1])
    floor = float(card.split("have `swd_mean` ")[1].split()[0].rstrip("."))
    assert said["Metrics/swd_mean"] > 2 * floor > 0


def test_the_card_compares_by_the_measures_of_validate(run, tmp_path):
    """Of the weights as they are stored, each number with its protocol."""
    out, before = tmp_path / "published", tmp_path / "older"
    older = Generator(**SIZES, z_dim=8, w_dim=8, mapping_layers=1)
    save_model_folder(before, older, provenance={"seen_kimg": 1.0})
    publish(str(run), str(out), before=str(before), metrics=FEW)
    held = json.loads((out / "metrics.json").read_text())
    assert list(held) == ["published", "older"]
    dataset, networks = open_dataset("toycars:100", 32), open_networks(FEW.features)
    for model, numbers in held.items():
        generator = load_generator(tmp_path / model)
        again = measure(generator, dataset, networks, FEW, torch.device("cpu"))
        assert numbers == {**again.flat(), "protocol": again.protocol}
        digest = numbers["protocol"]["kid_d"]["generator"]["sha256_of_weights"]
        assert digest == generator.digest
    card = (out / "README.md").read_text()
    table = rows(card)
    assert tuple(table) == NUMBERS and "| | published | older | better |" in card
    for name in NUMBERS:
        shown = [float(cell.split()[0]) for cell in table[name]]
        expected = [numbers[f"Metrics/{name}"] for numbers in held.values()]
        assert shown == pytest.approx(expected, rel=0.02, abs=0.005), name
    assert " ± " in table["kid_d"][0]
    for text in ("24 generated pictures", "30 real ones", "6 paths", "features64", "noise random"):
        assert text in card, text


@pytest.mark.parametrize("suffix", ["", "_lite", "_d"])
def test_a_card_shows_the_numbers_of_any_feature_network(suffix):
    numbers = {f"{kind}{suffix}": 0.5 for kind in ("fid", "kid", "precision", "recall", "ppl")}
    report = Report({"all": {**numbers, f"kid{suffix}_ci95": 0.25, "swd_mean": 1.0}})
    table = rows(f"## What it is worth\n{measures_table({'a': report, 'b': report})}")
    assert list(table) == [*numbers, "swd_mean"]
    assert table[f"kid{suffix}"] == ["0.5000 ± 0.2500"] * 2


def test_a_card_says_whose_opponent_judges(run, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    publish(str(run), str(first), metrics=FEW)
    assert "own opponent" not in (first / "README.md").read_text()
    publish(str(run), str(second), before=str(first), metrics=replace(FEW, features=str(first)))
    card = (second / "README.md").read_text()
    assert "**first**: the features are of this generator's own opponent: biased." in card


def test_earlier_snapshots_make_a_curve(run, tmp_path):
    older = Generator(**SIZES, z_dim=8, w_dim=8, mapping_layers=1)
    save_model_folder(tmp_path / "a", older, provenance={"seen_kimg": 1.0})
    publish(str(run), str(tmp_path / "b"), earlier=[str(tmp_path / "a")], metrics=FEW)
    card = (tmp_path / "b" / "README.md").read_text()
    (first, last) = re.search(r"as it went \| 1 kimg ([\d.]+), 2 kimg ([\d.]+) \|", card).groups()
    assert last == rows(card)["swd_mean"][0] != first


def test_labels_and_shards_are_published_too(run, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(24):
        path = tmp_path / "photos" / f"k{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(path, rng.integers(0, 256, (32, 32, 3), np.uint8))
    shard(tmp_path / "photos", tmp_path / "shards", labels="folders", shard_mb=0.03)
    source = f"shards:{tmp_path / 'shards'}"  # the card has its name alone
    (tmp_path / "labelled").mkdir()
    write_run(tmp_path / "labelled", source, "folders", c_dim=2)
    publish(str(tmp_path / "labelled"), str(tmp_path / "out"), metrics=FEW)
    assert load_generator(tmp_path / "out").c_dim == 2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "24 real ones" in card and str(tmp_path) not in card


def test_nothing_is_overwritten(run, tmp_path):
    out = tmp_path / "published"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="already holds files"):
        publish(str(run), str(out))
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_what_fails_leaves_nothing(run, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"--before toycars64 draws 64x64 px.*: give a model of"):
        publish(str(run), str(tmp_path / "out"), before="toycars64", metrics=FEW)
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "cache"] == before


def test_a_run_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="no whole checkpoint"):
        publish(str(tmp_path), str(tmp_path / "out"))


def test_the_command(run, tmp_path):
    """In a process of its own: what a parser may read is a setting of the whole process."""
    args = ["--run", str(run), "--out", str(tmp_path / "out"), "--card.title", "By command."]
    few = ["--metrics.fakes", "24", "--metrics.reals", "30", "--metrics.ppl", "0"]
    command = [sys.executable, "-m", "framework.evaluation", "publish", *args]
    subprocess.run([*command, *few], check=True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "By command." in card and "`ppl_" not in card
    again = subprocess.run([*command, "--metrics.fakes", "1"], capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith("error: --out ")
