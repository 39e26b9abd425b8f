"""Files that other programs wrote give the numbers that those programs computed from them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from framework.formats import load_discriminator, load_generator, load_training_generator
from framework.formats.foreign import read_foreign
from tests.formats import fixtures
from tests.formats.fixtures import CONVERTED, INPUTS, NVIDIA, ROSINALITY

pytestmark = fixtures.needs_fixtures
# Outputs of rosinality's whole discriminator body; ours is taken apart by resolution.
BODY = "D:convs"


def outputs_of(file: Path) -> dict[str, torch.Tensor]:
    """Whatever the fixture has numbers for, by our networks."""
    given, generator = fixtures.arrays(file), load_generator(file)
    if file == NVIDIA:
        return fixtures.nvidia_outputs(generator, load_discriminator(file), given)
    outputs = fixtures.rosinality_outputs(generator, given)
    if file == ROSINALITY:
        discriminator = load_discriminator(file)
        inner = fixtures.layers(discriminator, lambda: discriminator(given["real"]))
        outputs[BODY] = inner["b8"]
        outputs |= fixtures.discriminator_outputs(
            discriminator, outputs["img_const"], given["real"]
        )
    return outputs


@pytest.mark.parametrize("file", [NVIDIA, ROSINALITY, CONVERTED], ids=lambda path: path.name)
def test_every_number_is_reproduced(file):
    expected, outputs = fixtures.arrays(file), outputs_of(file)
    wanted = expected.keys() - INPUTS
    if file == CONVERTED:  # it holds a generator alone
        wanted = {n for n in wanted if not n.startswith(("D:", "logits", "r1"))}
    assert wanted <= outputs.keys()
    fixtures.compare({name: outputs[name] for name in wanted}, expected)


def test_the_tensors_of_nvidias_file_are_taken_over_bit_for_bit():
    networks = {
        "G_ema": load_generator(NVIDIA),
        "G": load_training_generator(NVIDIA),
        "D": load_discriminator(NVIDIA),
    }
    ours = {f"{n}.{k}": t for n, net in networks.items() for k, t in net.state_dict().items()}
    with np.load(fixtures.FOLDER / "nvidia_stylegan2_32_state.npz") as stored:
        assert ours.keys() == set(stored.files)
        for name, tensor in ours.items():
            assert torch.equal(tensor, torch.from_numpy(stored[name])), name


def test_the_mean_style_that_a_file_lacks_is_that_of_its_mapping():
    generator = load_generator(ROSINALITY)
    z = torch.randn(10_000, generator.z_dim, generator=torch.Generator().manual_seed(9))
    ws = generator.mapping(z)[:, 0]
    off = (ws.mean(dim=0) - generator.mapping.w_avg) / (ws.std(dim=0) / 100)
    assert off.abs().max() < 6  # two independent means of 10,000: standard deviation 2 ** 0.5
    assert any("10,000 mapped z" in note for note in read_foreign(ROSINALITY)[0].notes)


def test_the_mean_style_that_a_file_has_is_taken_over():
    stored = torch.load(CONVERTED, weights_only=True)["latent_avg"]
    assert torch.equal(load_generator(CONVERTED).mapping.w_avg, stored.flatten())
    assert not read_foreign(CONVERTED)[0].notes


@pytest.mark.parametrize("file", [NVIDIA, ROSINALITY, CONVERTED], ids=lambda path: path.name)
def test_what_is_opened_is_frozen_and_says_where_it_comes_from(file):
    generator = load_generator(file)
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert generator.provenance["dialect"] == read_foreign(file)[0].dialect
    assert generator.digest == load_generator(file).digest
