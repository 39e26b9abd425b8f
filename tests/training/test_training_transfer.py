"""Starting from another model: what fits is taken over bit for bit, a table tells the rest."""

from pathlib import Path

import pytest
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import save_model_folder
from framework.models.stylegan2 import Discriminator, Generator
from framework.training.stylegan2.transfer import start_from
from tests.training.tiny import tiny_module, train

SMALL = {"channel_base": 64, "channel_max": 8, "mapping_layers": 2}


def generator(seed, img_size=16, **options):
    torch.manual_seed(seed)
    return Generator(img_size, z_dim=6, w_dim=10, **SMALL, **options)


def discriminator(seed, img_size=16, **options):
    torch.manual_seed(seed)
    return Discriminator(img_size, **SMALL, **options)


@pytest.fixture
def model(tmp_path):
    return str(save_model_folder(tmp_path / "m", generator(1), discriminator(2)))


def equal(ours, theirs):
    held = theirs.state_dict()
    return {
        name for name, t in ours.state_dict().items() if name in held and torch.equal(t, held[name])
    }


def test_the_same_sizes_are_taken_over_whole(model):
    ours = generator(5), generator(6), discriminator(7)
    report = start_from(model, ours[0], [ours[1]], ours[2])
    assert [row.network for row in report] == ["generator", "average", "discriminator"]
    assert not any(row.fresh or row.unused for row in report)
    for network, source in zip(ours, (generator(1), generator(1), discriminator(2)), strict=True):
        assert equal(network, source) == set(network.state_dict())


def test_a_larger_picture_takes_the_blocks_that_both_have(model):
    before, ours = generator(5, 32), generator(5, 32)
    report = start_from(model, ours, [generator(6, 32)], discriminator(7, 32))
    untouched = equal(ours, before)
    assert all(name in untouched for name in report[0].fresh)
    assert {name.split(".")[1] for name in report[0].fresh} == {"b32"}
    assert "synthesis.b16.conv1.weight" in equal(ours, generator(1))
    assert "b16.conv0.weight" in report[2].fitting
    assert "b32.fromrgb.weight" in report[2].fresh and "b16.fromrgb.weight" in report[2].unused
    lines = "\n".join(report[0].lines())
    assert "synthesis.b32" in lines and "new" in lines and "mapping" in lines


def test_new_labels_begin_fresh(model):
    report = start_from(
        model, generator(5, c_dim=3), [generator(6, c_dim=3)], discriminator(7, c_dim=3)
    )
    fresh = set(report[0].fresh)
    assert {"mapping.embed.weight", "mapping.embed.bias", "mapping.fc0.weight"} == fresh
    assert "mapping.fc1.weight" in report[0].fitting


def test_a_model_without_discriminator(tmp_path):
    folder = save_model_folder(tmp_path / "m", generator(1))
    ours = discriminator(7)
    report = start_from(str(folder), generator(5), [generator(6)], ours)
    assert equal(ours, discriminator(7)) == set(ours.state_dict())
    assert report[2].network == "discriminator" and not report[2].fitting
    assert report[2].lines()[0].split() == ["discriminator", "b16", "12", "new"]


def test_a_damaged_discriminator_is_not_taken_for_a_missing_one(model):
    file = Path(model) / "discriminator.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match="discriminator"):
        start_from(model, generator(5), [generator(6)], discriminator(7))


@pytest.mark.parametrize("name, size", [("z_dim", 5), ("w_dim", 12), ("mapping_layers", 3)])
def test_other_styles_are_refused_with_the_flags_that_fit(model, name, size):
    sizes = {"z_dim": 6, "w_dim": 10, **SMALL, name: size}
    with pytest.raises(
        UserError, match=r"networks.z_dim 6 --model.networks.w_dim 10 .*mapping_layers 2"
    ):
        start_from(model, Generator(16, **sizes), [], discriminator(7))


def test_a_run_begins_with_the_model_and_goes_on_with_itself(tmp_path, capsys):
    first = tiny_module(seed=3)
    train(first, 8)
    folder = save_model_folder(tmp_path / "m", first.generator_ema, first.discriminator)
    begun = tiny_module(seed=4, start_from=str(folder), lr=1e-30)
    train(begun, 4)
    for ours, theirs in (
        (begun.generator, first.generator_ema),
        (begun.generator_ema, first.generator_ema),
        (begun.discriminator, first.discriminator),
    ):
        held = dict(theirs.named_parameters())
        for name, tensor in ours.named_parameters():
            torch.testing.assert_close(tensor, held[name], rtol=0, atol=1e-6)
    assert "taken over" in capsys.readouterr().out
    checkpoint = tmp_path / "run.ckpt"
    begun.trainer.save_checkpoint(checkpoint)
    (folder / "config.json").unlink()  # what a run began with is not needed to go on
    again = tiny_module(seed=4, start_from=str(folder), lr=1e-30)
    train(again, 8, checkpoint=checkpoint)
    assert again.seen_images == 8
