"""Other programs' files with the numbers that they must give, where they lie beside the project.

They are small networks with random weights, and arrays that the programs themselves computed.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from framework.models.stylegan2 import Discriminator, Generator

FOLDER = Path(__file__).parents[3] / "shared" / "fixtures"
needs_fixtures = pytest.mark.skipif(not FOLDER.exists(), reason="no fixtures beside the project")
NVIDIA = FOLDER / "nvidia_stylegan2_32.pkl"
ROSINALITY = FOLDER / "rosinality_32.pt"
CONVERTED = FOLDER / "rosinality_32_converted.pt"
# What the programs were given; everything else in the arrays is what they computed.
INPUTS = {"z", "wplus", "real", "pl_noise", "truncation_latent"}
W_TOLERANCE, TOLERANCE = 1e-5, 1e-4


def arrays(file: Path) -> dict[str, Tensor]:
    """Inputs and expected outputs of a fixture."""
    stem = "nvidia_stylegan2_32" if file == NVIDIA else "rosinality_32"
    with np.load(FOLDER / f"{stem}_outputs.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def compare(computed: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every computed array is the expected one, those of w more closely."""
    for name, tensor in computed.items():
        wanted = expected[name]
        assert tensor.shape == wanted.shape, name
        atol = W_TOLERANCE if name == "latents" or name.startswith("w") else TOLERANCE
        off = (tensor - wanted).abs().max().item()
        assert off <= atol, f"{name} is off by {off:.2g}"


def nvidia_outputs(
    generator: Generator, discriminator: Discriminator, given: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What NVIDIA's fixture has numbers for, computed by our networks."""
    mapping, synthesis = generator.mapping, generator.synthesis
    ws, wplus, real = mapping(given["z"]), given["wplus"], given["real"]
    in_generator = layers(generator, lambda: synthesis(ws, noise_mode="const"))
    in_discriminator = layers(discriminator, lambda: discriminator(real))
    picture = synthesis(ws, noise_mode="const")
    synthesis.modulation = "grouped"
    grouped = synthesis(ws, noise_mode="const")
    synthesis.modulation = "scaled"
    moved = wplus.clone().requires_grad_()
    moved_picture = synthesis(moved, noise_mode="const")
    noisy_sum = (moved_picture * given["pl_noise"]).sum()
    (path,) = torch.autograd.grad(noisy_sum, moved, retain_graph=True)
    (pull,) = torch.autograd.grad(moved_picture.square().mean(), moved)
    return {
        "w": ws,
        "w_trunc07": mapping(given["z"], truncation_psi=0.7),
        "w_trunc05_cut4": mapping(given["z"], truncation_psi=0.5, truncation_cutoff=4),
        "img_const": picture,
        "img_const_unfused": grouped,
        "img_none": synthesis(ws, noise_mode="none"),
        "img_wplus_const": moved_picture.detach(),
        "grad_wplus_of_mean_sq": pull,
        "pl_lengths": path.square().sum(dim=2).mean(dim=1).sqrt(),
        **{f"G_ema:{name}": tensor for name, tensor in in_generator.items()},
        **{f"D:{name}": tensor for name, tensor in in_discriminator.items()},
        **discriminator_outputs(discriminator, picture, real),
    }


def rosinality_outputs(generator: Generator, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """What rosinality's fixture has numbers for, of its generator."""
    mapping, synthesis = generator.mapping, generator.synthesis
    ws, mean = mapping(given["z"]), given["truncation_latent"]
    inner = layers(generator, lambda: synthesis(ws, noise_mode="const"))
    blocks = [f"synthesis.b{8 << j}" for j in range(len(synthesis.resolutions) - 1)]
    pictures = {
        "img_const": ws,
        "img_trunc07": mean + 0.7 * (ws - mean),
        "img_wplus_const": given["wplus"],
        # The first two z give the first three layers, the last two the others.
        "img_mix": torch.cat([ws[:2, :3], ws[2:, 3:]], dim=1),
    }
    return {
        "w": ws[:, 0],
        "latents": ws,
        **{name: synthesis(latents, noise_mode="const") for name, latents in pictures.items()},
        "G_ema:input": synthesis.b4.const.expand(len(ws), -1, -1, -1),
        "G_ema:conv1": inner["synthesis.b4.conv1"],
        "G_ema:to_rgb1": inner["synthesis.b4#1"],
        **{f"G_ema:convs.{2 * j}": inner[f"{b}.conv0"] for j, b in enumerate(blocks)},
        **{f"G_ema:convs.{2 * j + 1}": inner[f"{b}.conv1"] for j, b in enumerate(blocks)},
        **{f"G_ema:to_rgbs.{j}": inner[f"{b}#1"] for j, b in enumerate(blocks)},
    }


def discriminator_outputs(
    discriminator: Discriminator, fake: Tensor, real: Tensor
) -> dict[str, Tensor]:
    """Logits, and the gradient penalty on real pictures."""
    pictures = real.clone().requires_grad_()
    logits = discriminator(pictures)
    (grad,) = torch.autograd.grad(logits.sum(), pictures)
    return {
        "logits_real": logits.detach(),
        "logits_fake": discriminator(fake),
        "r1_grad": grad,
        "r1_penalty": grad.square().sum(dim=(1, 2, 3)),
    }


def layers(network: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Output of every module while `run` runs it, `name#0`, `name#1` where it gives several."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        def hook(_module, _inputs, output):
            several = isinstance(output, tuple)
            for i, tensor in enumerate(output if several else [output]):
                if tensor is not None:  # a copy: what comes after may add to it in place
                    seen[f"{name}#{i}" if several else name] = tensor.clone()

        return hook

    hooks = [m.register_forward_hook(keep(n)) for n, m in network.named_modules()]
    if isinstance(network, Discriminator):  # a function there, a module in NVIDIA's
        before = lambda _module, inputs: seen.update({"b4.mbstd": inputs[0].clone()})  # noqa: E731
        hooks.append(network.b4.conv.register_forward_pre_hook(before))
    run()
    for hook in hooks:
        hook.remove()
    # One module of NVIDIA's gives the features and no picture; here it gives the features alone.
    return seen | {f"{n}#0": t for n, t in seen.items() if n.count(".") == 0 and n != ""}
