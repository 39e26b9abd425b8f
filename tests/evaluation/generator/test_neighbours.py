"""The picture that shows whether a generator learned its pictures by heart."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data.shard_writer import shard
from framework.data.shards import ShardDataset, open_shards
from framework.errors import UserError
from framework.evaluation.__main__ import main
from framework.evaluation.generator.neighbours import nearest, neighbours
from framework.media.images import read_image, save_png, to_uint8


@pytest.fixture
def pictures(tiny_generator, tmp_path) -> Path:
    """Seven noisy pictures, and the one that the generator draws for seed 1."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(7):
        save_png(folder / f"{i}.png", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    z = torch.from_numpy(np.random.RandomState(1).randn(1, tiny_generator.z_dim)).float()
    save_png(folder / "heart.png", to_uint8(tiny_generator(z))[0])
    return folder


@pytest.mark.parametrize("space", ["pixels", "features"])
def test_what_was_learned_by_heart_is_found(space, tiny_model, pictures, tmp_path):
    out = tmp_path / "near.png"
    report = neighbours(str(tiny_model), str(pictures), str(out), 3, count=2, space=space)
    pair = report["nearest_pair"]
    assert (pair["seed"], pair["picture"]) == (1, "heart.png")
    assert pair["distance"] < 1e-3 < report["median_to_training"]
    sheet = read_image(out)
    assert sheet.shape == (3 * (64 + 2), 3 * 64 + 8 + 2 + 2, 3)
    generated, closest = sheet[66:130, :64], sheet[66:130, 72:136]
    heart = read_image(pictures / "heart.png")
    assert np.array_equal(closest, heart)
    # Drawn with others, a picture may round to the neighbouring level.
    assert np.abs(generated.astype(int) - heart).max() <= 1
    assert (sheet[:, 64:72] == 255).all()
    assert not np.array_equal(sheet[66:130, 138:202], heart)


def test_shards_are_pictures_too(tiny_model, pictures, tmp_path, monkeypatch):
    shard(pictures, tmp_path / "shards", shard_mb=0.03)
    out = str(tmp_path / "near.png")
    found, same = (
        neighbours(str(tiny_model), data, out, 3, count=2)
        for data in (f"shards:{tmp_path / 'shards'}", str(pictures))
    )
    name = found["nearest_pair"].pop("picture")
    assert same["nearest_pair"].pop("picture") == "heart.png" and found == same
    dataset = open_shards(f"shards:{tmp_path / 'shards'}")
    (place,) = [i for i in range(len(dataset)) if dataset.name(i) == name]
    heart = read_image(pictures / "heart.png").transpose(2, 0, 1)
    assert len(dataset.counts) > 1 and np.array_equal(dataset.image(place), heart)
    monkeypatch.setattr(ShardDataset, "location", lambda *_: "https://host/000000.tar")
    with pytest.raises(UserError, match="from local shards only"):
        neighbours(str(tiny_model), f"shards:{tmp_path / 'shards'}", out)


def test_a_near_copy_is_not_lost_in_rounding():
    reals = torch.rand(300, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    index, distance = nearest(reals[5:6] + 1e-4, reals, 1)
    assert index.item() == 5 and distance.item() == pytest.approx(1e-4, rel=0.01)


def test_mistakes_are_told(tiny_model, pictures, tmp_path):
    out = str(tmp_path / "near.png")
    with pytest.raises(UserError, match=r"--count 8.*below the 8 training pictures"):
        neighbours(str(tiny_model), str(pictures), out, count=8)
    with pytest.raises(UserError, match="no such file, folder or shipped model"):
        neighbours("nothing", str(pictures), out)


def test_the_command_prints_one_line(tiny_model, pictures, tmp_path, monkeypatch, capsys):
    args = ["--model", str(tiny_model), "--data", str(pictures), "--out", str(tmp_path / "o.png")]
    monkeypatch.setattr("sys.argv", ["evaluation", "neighbours", *args, "--pictures", "2"])
    assert main() == 0
    assert json.loads(capsys.readouterr().out)["space"] == "pixels"
    monkeypatch.setattr("sys.argv", ["evaluation", "neighbours", *args, "--pictures", "0"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: ")
