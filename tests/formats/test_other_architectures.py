"""Generators of other architectures and of labels alone: opened, drawn, kept, given away."""

import pytest
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import load_generator, save_model_folder
from framework.formats.export import export_networks
from framework.models.stylegan2 import Generator
from tests.formats.independent_readers import (
    Tensors,
    load_network_pkl,
    nvidia_packages,
    nvidia_picture,
)
from tests.formats.nvidia_layout import as_module, made, torch_save, write

ARCHITECTURES = ("skip", "resnet", "orig")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


# G7f
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size", [16, (32, 24)])
def test_every_architecture_draws_what_its_definition_draws(architecture, size):
    g = made(Generator, size, architecture=architecture)
    w = torch.randn(2, g.w_dim)
    tensors = Tensors(g.state_dict())
    expected = nvidia_picture(tensors, w)
    ws = w[:, None].repeat(1, g.num_ws, 1)
    drawn = g.synthesis(ws, noise_mode="const")
    torch.testing.assert_close(drawn, expected, **CLOSE)
    unused = {n for n in tensors.unused if not n.endswith("resample_filter")}
    assert all(name.startswith("mapping.") for name in unused)
    partial = g.synthesis.partial(ws, 8)
    assert (partial.img is None) == (architecture != "skip")
    assert torch.equal(g.synthesis.finish(partial, ws), drawn)
    g.synthesis.modulation = "grouped"
    torch.testing.assert_close(g.synthesis(ws, noise_mode="const"), expected, **CLOSE)


# G7f
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_opens_is_kept_and_is_given_away(tmp_path, architecture):
    g = made(Generator, 16, architecture=architecture)
    said = {"synthesis_kwargs": {"architecture": architecture, "channel_base": 128,
                                 "channel_max": 12}}  # fmt: skip
    files = [
        write(tmp_path / "a.pkl", {"G_ema": as_module(g, **said)}),
        torch_save(tmp_path / "b.pt", g.state_dict()),
        save_model_folder(tmp_path / "folder", g),
        tmp_path / "folder" / "generator.safetensors",
        tmp_path / "c.pkl",
    ]
    export_networks(g, None, "nvidia", files[-1])
    for file in files:
        loaded = load_generator(file)
        assert loaded.digest == g.digest
        assert loaded.config.get("architecture", "skip") == architecture
    z = torch.randn(2, g.z_dim)
    with nvidia_packages():
        exported = load_network_pkl(files[-1].read_bytes())["G_ema"]
        drawn = exported(z, None, noise_mode="const")
    torch.testing.assert_close(drawn, g(z), **CLOSE)
    if architecture != "skip":
        with pytest.raises(UserError, match=f"architecture {architecture}.*export to nvidia"):
            export_networks(g, None, "rosinality", tmp_path / "d.pt")


def test_an_architecture_that_the_tensors_contradict(tmp_path):
    g = made(Generator, 16, architecture="resnet")
    said = {"synthesis_kwargs": {"architecture": "orig"}}
    file = write(tmp_path / "a.pkl", {"G_ema": as_module(g, **said)})
    with pytest.raises(BrokenCheckpoint, match="says architecture orig and its tensors resnet"):
        load_generator(file)
    with pytest.raises(UserError, match="architecture 'stack': one of skip, resnet, orig"):
        made(Generator, 16, architecture="stack")


# G8f
def test_a_generator_of_labels_alone(tmp_path):
    g = made(Generator, 16, z_dim=0, c_dim=3)
    folder = save_model_folder(tmp_path / "folder", g)
    for file in (write(tmp_path / "a.pkl", {"G_ema": as_module(g)}), folder):
        loaded = load_generator(file)
        labels = torch.eye(3)
        ws = loaded.mapping(torch.randn(3, 0), labels, truncation_psi=0.7)
        assert loaded.digest == g.digest and len({tuple(w[0].tolist()) for w in ws}) == 3
        assert torch.equal(ws, g.mapping(None, labels, truncation_psi=0.7))
        assert torch.equal(loaded(torch.randn(3, 0), labels), g(torch.randn(3, 0), labels))
    with pytest.raises(UserError, match="z_dim 0: must be at least 1, or 0 where there are labels"):
        made(Generator, 16, z_dim=0)
