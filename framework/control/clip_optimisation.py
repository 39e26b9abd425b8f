"""Latents optimised until CLIP finds a text in their pictures.

Xia et al. 2021 ("Towards Open-World Text-Guided Face Image Generation and Manipulation", known as
TediGAN-B) add 1 - CLIP's cosine to the instance-level optimisation of latents, with Adam, 200
steps. It knows any word and trains nothing; it needs CLIP's weights, and minutes of a CPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.control.describing import Described
from framework.errors import UserError
from framework.models.frozen import NOISE_MODE, Adam, adam_update, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import style_statistics

_SAMPLES = 2000  # of w, for the spread of the latents


@dataclass(frozen=True)
class ClipWeights:
    """Weights of the loss, and the step of its optimiser.

    Those of CLIP and of the pixels are TediGAN-B's; its terms of features and of an encoder are
    left out, and the latents are held instead.

    Args:
        clip: Weight of 1 - CLIP's cosine.
        pixel: Weight of the mean squared distance of the pictures, in [-1, 1], from before.
        latent: Weight of the mean squared distance of the latents from before, in deviations of w.
        lr: Adam's step, in deviations of w.
    """

    clip: float = 2.0
    pixel: float = 1.0
    latent: float = 0.01
    lr: float = 0.02


def optimised(
    generator: Generator,
    ws: Tensor,
    missing: Callable[[Tensor], Tensor],
    weights: ClipWeights | None = None,
) -> Iterator[Described]:
    """Optimise latents until a text is in their pictures, step by step; endless.

    Args:
        generator: A frozen generator; only read.
        ws: Latents (N, num_ws, w_dim) of the pictures to change, each for itself.
        missing: From pictures (N, C, H, W) in [-1, 1] to 1 - the cosine of picture and text, (N,).
        weights: Weights of the loss.

    Yields:
        The pictures as they are, then after each step those of the smallest loss so far; `missed`
        is 1 - the cosine.

    Raises:
        UserError: At the first step, if a picture or its cosine is not finite.
    """
    w = weights or ClipWeights()
    with gradients(False):
        spread = style_statistics(generator, _SAMPLES).w_std
        before = generator.synthesis(ws, noise_mode=NOISE_MODE)
        adam, moved = Adam.new(ws), torch.zeros_like(ws)
        least = torch.full((len(ws),), torch.inf, device=ws.device)
        best, best_missed, look = ws, least, 0
    while True:
        with gradients(True):
            moved = moved.detach().requires_grad_()
            pictures = generator.synthesis(ws + moved * spread, noise_mode=NOISE_MODE)
            missed = missing(pictures.clamp(-1, 1))
            changed = (pictures - before).square().mean(dim=(1, 2, 3))
            loss = w.clip * missed + w.pixel * changed
            loss = loss + w.latent * moved.square().mean(dim=(1, 2))
            if look == 0 and not bool(loss.isfinite().all()):
                raise UserError("the model, or CLIP, gives NaN or infinity for these latents")
            (gradient,) = torch.autograd.grad(loss.sum(), moved)
        with gradients(False):
            better = loss < least
            least = torch.where(better, loss, least)
            best_missed = torch.where(better, missed, best_missed)
            best = torch.where(better[:, None, None], ws + moved * spread, best)
        yield Described(best, best_missed, look)
        with gradients(False):
            adam, update = adam_update(adam, gradient, w.lr)
            moved, look = moved.detach() + update, look + 1
