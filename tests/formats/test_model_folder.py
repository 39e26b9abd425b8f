"""Models to files and back, bit by bit; everything that can be wrong with a file is one line."""

import json
import os
import pickle
import stat
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import load_discriminator, load_generator, save_model_folder
from framework.formats.model_folder import networks_in
from framework.formats.run_checkpoint import FORMAT_VERSION, write_checkpoint
from framework.models.digest import state_digest
from framework.models.stylegan2 import Discriminator, Generator

SMALL = {"channel_base": 64, "channel_max": 8, "mapping_layers": 2}


def networks(img_size=(24, 32), **options):
    torch.manual_seed(3)
    generator = Generator(img_size, z_dim=6, w_dim=10, **SMALL, **options)
    generator.mapping.w_avg.copy_(torch.randn(10))
    for name, buffer in generator.named_parameters():
        if name.endswith("noise_strength"):
            buffer.data.fill_(0.123456789)
    return generator, Discriminator(img_size, mbstd_group_size=2, **SMALL, **options)


@pytest.fixture
def folder(tmp_path):
    return save_model_folder(
        tmp_path / "model", *networks(), provenance={"data": "toys"}, card="# A card\n"
    )


def refusal(path, load=load_generator, kind=BrokenCheckpoint):
    """The one line with which `path` is refused."""
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert isinstance(caught.value, kind), repr(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def assert_same(ours, theirs):
    held = theirs.state_dict()
    assert ours.state_dict().keys() == held.keys()
    for name, tensor in ours.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, held[name]), name


@pytest.mark.parametrize("options", [{}, {"c_dim": 3}, {"img_channels": 4}, {"conv_clamp": 256.0}])
def test_round_trip_is_bit_equal(tmp_path, options):
    generator, discriminator = networks(**options)
    folder = save_model_folder(tmp_path / "m", generator, discriminator)
    for original, loaded in (
        (generator, load_generator(folder)),
        (discriminator, load_discriminator(folder)),
    ):
        assert_same(loaded, original)
        assert loaded.config == original.config
        assert loaded.digest == state_digest(original)
        assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    z, labels = torch.randn(2, 6), torch.eye(3)[:2] if options.get("c_dim") else None
    assert torch.equal(load_generator(folder)(z, labels), generator(z, labels))


def test_what_the_folder_holds(folder):
    files = {"README.md", "config.json", "discriminator.safetensors", "generator.safetensors"}
    assert {path.name for path in folder.iterdir()} == files
    assert (folder / "README.md").read_text() == "# A card\n"
    description = json.loads((folder / "config.json").read_text())
    assert description["generator"]["img_size"] == [24, 32]
    assert load_generator(folder).provenance == {"data": "toys"}
    assert load_generator(str(folder)).img_size == (24, 32)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_are_those_of_any_file(folder):
    (folder / "plain").touch()
    assert len({stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}) == 1


def test_half_precision_rounds_once(tmp_path):
    generator, discriminator = networks()
    full = save_model_folder(tmp_path / "full", generator, discriminator)
    half = save_model_folder(tmp_path / "half", generator, discriminator, half=True)
    sizes = [(f / "generator.safetensors").stat().st_size for f in (half, full)]
    assert sizes[0] < 0.75 * sizes[1]
    loaded = load_generator(half)
    for name, tensor in generator.state_dict().items():
        expected = tensor if tensor.ndim == 0 else tensor.half().float()
        assert torch.equal(loaded.state_dict()[name], expected), name
    again = save_model_folder(tmp_path / "again", loaded, half=True)
    assert_same(load_generator(again), loaded)


def test_a_lone_file_is_enough(folder, tmp_path):
    file = tmp_path / "lone.safetensors"
    file.write_bytes((folder / "generator.safetensors").read_bytes())
    assert_same(load_generator(file), load_generator(folder))
    assert "no dragline discriminator" in refusal(file, load_discriminator, UserError)


def test_a_run_checkpoint(tmp_path):
    generator, discriminator = networks()
    state = {f"generator_ema.{k}": v for k, v in generator.state_dict().items()}
    state |= {f"generator.{k}": v + 1 for k, v in generator.state_dict().items()}
    state |= {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}
    facts = {"format": FORMAT_VERSION, "seen_images": 1234}
    facts |= {"generator": generator.config, "discriminator": discriminator.config}
    path = tmp_path / "run.ckpt"
    write_checkpoint({"state_dict": state, "dragline": facts}, path)
    assert_same(load_generator(path), generator)
    assert_same(load_discriminator(path), discriminator)
    assert load_generator(path).provenance["seen_images"] == 1234
    del facts["generator"]
    write_checkpoint({"state_dict": state, "dragline": facts}, path)
    refusal(path)
    os.truncate(path, 1000)
    assert "damaged" in refusal(path)


def test_what_is_not_there(tmp_path, folder):
    assert "no such" in refusal(tmp_path / "nothing", kind=UserError)
    assert "no such" in refusal("no-such-model", kind=UserError)
    (tmp_path / "empty").mkdir()
    assert "not a model folder" in refusal(tmp_path / "empty", kind=UserError)
    (folder / "generator.safetensors").unlink()
    assert "missing" in refusal(folder)
    load_discriminator(folder)


def test_a_network_without_a_digest_is_not_passed_over(folder):
    """As when somebody removes more of `sha256` than the message about an edited file says."""
    description = json.loads((folder / "config.json").read_text())
    del description["sha256"]["config.json"], description["sha256"]["discriminator.safetensors"]
    (folder / "config.json").write_text(json.dumps(description))
    for read in (networks_in, load_generator, load_discriminator):
        assert "no digest of discriminator.safetensors" in refusal(folder, read)


def test_a_folder_without_discriminator(tmp_path):
    folder = save_model_folder(tmp_path / "m", networks()[0])
    assert "no discriminator" in refusal(folder, load_discriminator, UserError)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.pth", "model.pickle", "a.zip"])
def test_foreign_files_are_refused_unread(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"G": 1}))
    refusal(path, kind=UserError)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_flipped_bit_is_noticed(folder, share):
    path = folder / "generator.safetensors"
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 4
    path.write_bytes(data)
    assert "digest" in refusal(folder)


@pytest.mark.parametrize(
    ("left", "words"),
    [(0, "empty"), (4, "or safetensors file"), (100, "not a readable"), (5000, "not a readable")],
)
def test_truncation_is_noticed(folder, left, words):
    path = folder / "generator.safetensors"
    os.truncate(path, left)
    assert "digest" in refusal(folder)
    assert words in refusal(path)


def test_a_header_longer_than_the_file(folder):
    path = folder / "generator.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    assert "no pickle, torch or safetensors file" in refusal(path)


def edited(folder, change, config=None):
    """A lone generator file whose tensors and metadata went through `change`."""
    file = folder / "generator.safetensors"
    tensors = load_file(file)
    described = json.loads((folder / "config.json").read_text())["generator"]
    change(tensors, described)
    facts = {"format": "dragline-model", "version": "1", "network": "generator"}
    facts["config"] = json.dumps(described) if config is None else config
    file.chmod(0o644)
    save_file(tensors, file, metadata=facts)
    return file


def test_values_that_are_not_numbers_are_named(folder):
    def poison(tensors, _):
        tensors["synthesis.b8.conv0.weight"][0, 0, 0, 0] = float("nan")

    message = refusal(edited(folder, poison))
    assert "synthesis.b8.conv0.weight" in message and "finite" in message


def test_shapes_that_do_not_fit_are_named(folder):
    def cut(tensors, _):
        tensors["mapping.fc0.weight"] = tensors["mapping.fc0.weight"][:5].contiguous()

    assert "mapping.fc0.weight (5, 6)" in refusal(edited(folder, cut))


def test_missing_and_foreign_tensors_are_named(folder):
    def rename(tensors, _):
        tensors["extra"] = tensors.pop("synthesis.b4.const")

    message = refusal(edited(folder, rename))
    assert "synthesis.b4.const missing" in message and "extra" in message


@pytest.mark.parametrize(
    "change",
    [
        {"img_size": [2**20, 2**20]},
        {"img_size": [24, 32, 3]},
        {"img_size": [100, 100]},
        {"img_size": ["24", "32"]},
        {"img_size": [True, True]},
        {"img_size": []},
        {"img_size": None},
        {"z_dim": 10**12},
        {"z_dim": 1.5},
        {"z_dim": "6"},
        {"w_dim": -3},
        {"c_dim": -1},
        {"mapping_layers": 10**9},
        {"channel_max": 10**9},
        {"channel_base": 10**15, "channel_max": 60000},
        {"low_precision": "Tensor"},
        {"low_precision_blocks": "all"},
        {"conv_clamp": "tight"},
        {"conv_clamp": 10**400},
        {"conv_clamp": float("nan")},
        {"img_channels": 10**9},
        {"mapping_layers": 0, "z_dim": 0},
        {"img_channels": None},
        {"unknown": 1},
    ],
)
def test_absurd_configurations_are_refused_before_memory_is_taken(folder, change):
    refusal(edited(folder, lambda _, config: config.update(change)), kind=UserError)


@pytest.mark.parametrize("config", ["", "{", "[]", "3", "{}", "null"])
def test_configurations_that_are_none(folder, config):
    refusal(edited(folder, lambda *_: None, config))


def test_a_safetensors_file_of_somebody_else(tmp_path):
    file = tmp_path / "clip.safetensors"
    save_file({"a": torch.zeros(3)}, file)
    assert "no StyleGAN2 of a known kind" in refusal(file, kind=UserError)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"version": "two"},
        {"version": None},
        {"sha256": []},
        {"sha256": {"generator.safetensors": 3}},
    ],
)
def test_descriptions_of_something_else(folder, change):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BrokenCheckpoint) as caught:
        load_generator(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"text"', "\x00\xff"])
def test_descriptions_that_are_none(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(BrokenCheckpoint, match=r"config\.json") as caught:
        load_generator(folder)
    assert "\n" not in str(caught.value)


def test_a_description_without_the_network(folder):
    path = folder / "config.json"
    description = json.loads(path.read_text())
    del description["generator"], description["sha256"]["config.json"]
    path.write_text(json.dumps(description))
    with pytest.raises(BrokenCheckpoint, match="generator"):
        load_generator(folder)


def test_models_of_the_zoo_have_an_order_whatever_the_file_system_gives(monkeypatch, tmp_path):
    from framework.formats import opening

    class Backwards:
        def glob(self, _):
            return [tmp_path / name / "config.json" for name in ("b", "c", "a")]

    monkeypatch.setattr(opening, "ZOO", Backwards())
    assert opening.zoo_models() == ["a", "b", "c"]
