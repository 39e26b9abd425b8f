"""Our networks, filled with NVIDIA-layout tensors, give NVIDIA's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.models.stylegan2 import Discriminator, Generator

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
pytestmark = pytest.mark.skipif(not FIXTURES.exists(), reason="fixtures are not beside the project")
TOLERANCE = {"rtol": 0, "atol": 1e-4}
W_TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def state():
    return dict(np.load(FIXTURES / "nvidia_stylegan2_32_state.npz"))


@pytest.fixture(scope="module")
def expected():
    arrays = np.load(FIXTURES / "nvidia_stylegan2_32_outputs.npz")
    return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def load(module, state, prefix):
    tensors = {k[len(prefix) :]: torch.from_numpy(np.asarray(v)) for k, v in state.items()
               if k.startswith(prefix)}  # fmt: skip
    module.load_state_dict(tensors, strict=True)
    return module.eval().requires_grad_(False)


@pytest.fixture(params=["scaled", "grouped"])
def generator(request, state):
    kwargs = json.loads((FIXTURES / "nvidia_stylegan2_32_kwargs.json").read_text())
    kwargs = kwargs["G_ema"]["init_kwargs"]
    generator = Generator(
        img_size=kwargs["img_resolution"],
        z_dim=kwargs["z_dim"],
        w_dim=kwargs["w_dim"],
        mapping_layers=kwargs["mapping_kwargs"]["num_layers"],
        channel_base=kwargs["channel_base"],
        channel_max=kwargs["channel_max"],
        conv_clamp=kwargs["conv_clamp"],
    )
    generator.synthesis.modulation = request.param
    return load(generator, state, "G_ema.")


@pytest.fixture
def discriminator(state):
    net = Discriminator(32, channel_base=256, channel_max=32, mbstd_group_size=2, conv_clamp=256)
    return load(net, state, "D.")


def test_mapping_and_truncation(generator, expected):
    z = expected["z"]
    for name, psi, cutoff in (("w", 1, None), ("w_trunc07", 0.7, None), ("w_trunc05_cut4", 0.5, 4)):
        ws = generator.mapping(z, truncation_psi=psi, truncation_cutoff=cutoff)
        torch.testing.assert_close(ws, expected[name].expand_as(ws), **W_TOLERANCE)


def test_pictures(generator, expected):
    ws = generator.mapping(expected["z"])
    for mode in ("const", "none"):
        picture = generator.synthesis(ws, noise_mode=mode)
        torch.testing.assert_close(picture, expected[f"img_{mode}"], **TOLERANCE)
    picture = generator.synthesis(expected["wplus"], noise_mode="const")
    torch.testing.assert_close(picture, expected["img_wplus_const"], **TOLERANCE)


def test_every_layer(generator, expected):
    seen = {}

    def keep(name):
        def hook(_module, _inputs, output):
            for i, tensor in enumerate(output) if isinstance(output, tuple) else [(None, output)]:
                seen[name if i is None else f"{name}#{i}"] = tensor

        return hook

    for name, module in generator.synthesis.named_modules():
        module.register_forward_hook(keep(name))
    generator.synthesis(generator.mapping(expected["z"]), noise_mode="const")
    prefix = "G_ema:"
    names = {key[len(prefix) :] for key in expected if key.startswith(prefix)}
    compared = 0
    for name in names:
        local = name.removeprefix("synthesis.")
        if local in seen and seen[local].shape == expected[prefix + name].shape:
            torch.testing.assert_close(seen[local], expected[prefix + name], **TOLERANCE)
            compared += 1
    assert compared >= 4 * 3, (names, seen.keys())


@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_stopping_and_going_on_is_the_same_picture(generator, expected, resolution):
    ws = expected["wplus"]
    partial = generator.synthesis.partial(ws, resolution)
    assert partial.x.shape[2:] == generator.synthesis.block_size(resolution)
    picture = generator.synthesis.finish(partial, ws)
    torch.testing.assert_close(picture, generator.synthesis(ws, noise_mode="const"), **TOLERANCE)


def test_logits_and_r1(discriminator, expected):
    real = expected["real"].clone().requires_grad_()
    logits = discriminator(real)
    torch.testing.assert_close(logits, expected["logits_real"], **TOLERANCE)
    (grads,) = torch.autograd.grad(logits.sum(), real)
    torch.testing.assert_close(grads, expected["r1_grad"], **TOLERANCE)
    penalty = grads.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(penalty, expected["r1_penalty"], **TOLERANCE)
    fake = discriminator(expected["img_const"])
    torch.testing.assert_close(fake, expected["logits_fake"], **TOLERANCE)


def test_gradient_to_w_plus(generator, expected):
    ws = expected["wplus"].clone().requires_grad_()
    generator.synthesis(ws, noise_mode="const").square().mean().backward()
    torch.testing.assert_close(ws.grad, expected["grad_wplus_of_mean_sq"], **TOLERANCE)


def test_path_lengths(generator, expected):
    ws = expected["wplus"].clone().requires_grad_()
    image = generator.synthesis(ws, noise_mode="const")
    (grads,) = torch.autograd.grad((image * expected["pl_noise"]).sum(), ws)
    lengths = grads.square().sum(dim=2).mean(dim=1).sqrt()
    scale = expected["pl_lengths"] / lengths  # the fixture's noise may be divided by sqrt(H W)
    torch.testing.assert_close(scale, scale[:1].expand_as(scale), rtol=1e-4, atol=0)
