"""A run becomes a model folder with a card whose numbers are measured."""

import json

import pytest
import torch
import yaml

from framework.checkpoint import FORMAT_VERSION, checkpoint_path, write_checkpoint
from framework.errors import UserError
from framework.evaluation import publish as publishing
from framework.evaluation.neighbours import nearest, nearest_other
from framework.evaluation.publish import CardTexts, publish
from framework.formats import load_discriminator, load_generator
from framework.media.images import read_image
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


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder of a tiny untrained network, as training leaves it."""
    monkeypatch.setattr(publishing, "COMPARED", 48)
    torch.manual_seed(0)
    sizes = {"img_size": [32, 32], "channel_base": 128, "channel_max": 8}
    generator = Generator(**sizes, z_dim=8, w_dim=8, mapping_layers=1)
    discriminator = Discriminator(**sizes)
    state = {f"generator_ema.{k}": v for k, v in generator.state_dict().items()}
    state |= {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}
    facts = {"format": FORMAT_VERSION, "seen_images": 2500}
    facts |= {"generator": generator.config, "discriminator": discriminator.config}
    write_checkpoint({"state_dict": state, "dragline": facts}, checkpoint_path(tmp_path, 2500))
    data = {"source": "toycars:100", "size": 32, "channels": 3, "crop": "center", "batch_size": 4}
    settings = {"data": data, "model": {"init_args": {"lr": 0.002}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    ticks = [{"Timing/sec_per_tick": {"mean": 1800.0}}] * 3
    lines = [json.dumps(tick) for tick in ticks] + ['{"cut']
    (tmp_path / "stats.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_publish(run, capsys):
    out = run / "published"
    publish(str(run), str(out), CardTexts(title="Tiny.", licence="CC0", command="train it"))
    card = (out / "README.md").read_text()
    for text in ("# published", "Tiny.", "CC0", "train it", "1.5 h", "2 thousand", "32x32"):
        assert text in card, text
    assert "{" not in card
    generator, discriminator = load_generator(out), load_discriminator(out)
    assert generator.provenance["seen_kimg"] == 2.5
    assert discriminator.img_size == (32, 32)
    assert read_image(out / "samples.png").shape == (4 * 32, 16 * 32, 3)
    assert read_image(out / "nearest.png").shape == (4 * 32, 16 * 32, 3)
    distance = float(capsys.readouterr().out.split()[-1])
    assert distance > 3 * float(card.split("real pictures are ")[1].split()[0])


def test_earlier_snapshots_make_a_curve(run):
    publish(str(run), str(run / "a"))
    publish(str(run), str(run / "b"), earlier=[str(run / "a")])
    assert (run / "b" / "README.md").read_text().count("2 kimg") == 2


def test_nothing_is_overwritten(run):
    out = run / "published"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="already holds files"):
        publish(str(run), str(out))
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_run_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="no whole checkpoint"):
        publish(str(tmp_path), str(tmp_path / "out"))
