"""First stage: an encoder's latents of photographs, or the mean latent without an encoder."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.inversion.deltas import shell
from framework.inversion.settings import EmbedSettings
from framework.inversion.step import InversionStep
from framework.inversion.target import Target, check_target, no_best, weighted_sum, with_rows
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.blocks import in_float32
from framework.models.features.distance import Distance
from framework.models.frozen import NOISE_MODE, gradients
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import style_statistics

_WEIGHTS = {"pixel": 1.0, "perceptual": 1.0}


def embed(
    generator: Generator,
    pictures: Any,
    encoder: StyleEncoder | None = None,
    settings: EmbedSettings | None = None,
    distance: Distance | None = None,
    weight: Any = None,
) -> Iterator[InversionStep]:
    """Find latents of photographs with an encoder.

    Inputs are checked at once; each look happens when its step is requested. Nothing is optimised
    in this stage. A residual encoder (ReStyle, Alaluf et al. 2021) begins with the picture of
    `w_avg`, and each photograph keeps the best of its looks; other encoders look once.

    Args:
        generator: A frozen generator; only read.
        pictures: Photographs, shape (N, C, H, W), the model's size, in [-1, 1].
        encoder: Encoder of this generator, evaluating; None gives `w_avg` in one step, number 0.
        settings: Settings of the stage.
        distance: Perceptual distance, added to the pixels' mean squared error to compare looks.
        weight: Weight of pixels, (N or 1, 1, H, W) or (H, W), 1 counts; None for everywhere.

    Returns:
        A step for each look, from number 1; the status of the last is "done".

    Raises:
        UserError: If pictures, weight, encoder or iterations do not fit.
    """
    settings = settings or EmbedSettings()
    if encoder is not None and (encoder.num_ws, encoder.w_dim) != (
        generator.num_ws,
        generator.w_dim,
    ):
        raise UserError(
            f"encoder of latents ({encoder.num_ws}, {encoder.w_dim}): this model's are"
            f" ({generator.num_ws}, {generator.w_dim})"
        )
    if settings.iterations > 1 and not (encoder is not None and encoder.residual):
        raise UserError(
            f"iterations {settings.iterations}: only an encoder that was trained to correct itself"
            " looks more than once; say 1"
        )
    with gradients(False):
        target = check_target(generator, pictures, weight, distance)
    return _embed(generator, target, encoder, settings)


@torch.no_grad()
def codes_of(generator: Generator, encoder: StyleEncoder, pictures: Tensor) -> Tensor:
    """Return an encoder's latents (N, num_ws, w_dim) of pictures in [-1, 1] at its first look.

    The pictures may lie on another device than the networks.
    """
    pictures = pictures.to(next(encoder.parameters()).device)
    if not encoder.residual:
        return encoder(pictures)
    ws = mean_ws(generator, len(pictures))
    synthesis = in_float32(shell(generator)).synthesis
    return encoder(pictures, current=(synthesis(ws, noise_mode=NOISE_MODE), ws))


def _embed(
    generator: Generator, target: Target, encoder: StyleEncoder | None, settings: EmbedSettings
) -> Iterator[InversionStep]:
    synthesis = in_float32(shell(generator)).synthesis
    pictures, count = target.pictures, len(target.pictures)
    with gradients(False):
        ws = mean_ws(generator, count)
        current = None
        if encoder is not None and encoder.residual:
            current = (synthesis(ws, noise_mode=NOISE_MODE), ws)
        best = no_best(pictures) | {"ws": ws}
    first, last = (0, 0) if encoder is None else (1, settings.iterations)

    for step in range(first, last + 1):
        with gradients(False):
            if encoder is not None:
                ws = encoder(pictures, current=current)
            images = synthesis(ws, noise_mode=NOISE_MODE)
            terms = target.terms(target.visible(images))
            loss = weighted_sum(terms, _WEIGHTS)
            if not bool(loss.isfinite().all()):
                raise UserError("the encoder or the model gives NaN or infinity for these pictures")
            current = None if current is None else (images, ws)
            rows = torch.nonzero(loss < best["loss"])[:, 0]
            candidate = {"loss": loss, "step": torch.full_like(best["step"], step), "ws": ws}
            candidate["images"] = images
            best = with_rows(best, rows, {name: value[rows] for name, value in candidate.items()})
            over = torch.full((count,), step == last, device=ws.device)
        yield InversionStep(
            stage="embed",
            step=step,
            status="done" if step == last else "running",
            ws=best["ws"],
            noise={},
            deltas=None,
            loss=loss,
            best_loss=best["loss"],
            best_step=best["step"],
            finished=over,
            terms=terms,
            images=best["images"],
        )


def mean_ws(generator: Generator, count: int = 1) -> Tensor:
    """Return the generator's mean latent, where a search without a guess begins.

    Returns:
        Latents (count, num_ws, w_dim), the mean over all classes if the generator has some.
    """
    w_avg = getattr(generator.mapping, "w_avg", None)
    if w_avg is None:
        w_avg = style_statistics(generator).w_avg
    return w_avg.detach().float().expand(count, generator.num_ws, generator.w_dim).clone()
