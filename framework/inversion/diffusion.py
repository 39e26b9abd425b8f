"""A photograph into a diffusion model: an identity LoRA, and DDIM the other way.

Shi et al. 2024, "DragDiffusion", sections 3.2 and 3.3: the U-Net's attention is fine-tuned to the
photograph by low-rank changes (Hu et al. 2022), then the photograph is inverted with them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.inversion.deltas import WeightDeltas, personal, shell
from framework.inversion.losses import pixel_loss
from framework.inversion.settings import TuneSettings
from framework.inversion.step import InversionStep, Status
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.diffusion.unet import library
from framework.models.frozen import Adam, adam_update, gradients

RANK, STEPS, BATCH, WEIGHT_DECAY = 16, 80, 4, 1e-2  # as published
LAYERS = ("to_q", "to_k", "to_v", "to_out.0")


def suited(settings: TuneSettings) -> TuneSettings:
    """The settings of an identity LoRA, where those of a tuning were left as they are."""
    rank = RANK if settings.rank is None else settings.rank
    return replace(
        settings, rank=rank, steps=STEPS if settings == TuneSettings() else settings.steps
    )


def invert_diffusion(
    generator: DiffusionGenerator,
    pictures: Tensor,
    stages: tuple[str, ...] = ("embed", "tune"),
    settings: TuneSettings | None = None,
) -> Iterator[InversionStep]:
    """Find the latents, and the low-rank changes of attention, that make one photograph.

    Inputs are checked at once; each step is computed when it is requested.

    Args:
        generator: A frozen model; only read.
        pictures: The photograph, shape (1, 3, H, W), the model's size, in [-1, 1].
        stages: Of "embed", the inversion by the model as it is, and "tune", the LoRA followed by
            the inversion with it; others do nothing here.
        settings: Steps, step size, rank and seed of the LoRA.

    Raises:
        UserError: If the picture does not fit, or the model makes numbers that are not finite.
    """
    expected = (1, generator.img_channels, *generator.img_size)
    if tuple(pictures.shape) != expected:
        raise UserError(f"pictures {tuple(pictures.shape)}: expected {expected}")
    return _steps(generator, pictures, stages, suited(settings or TuneSettings()))


def _steps(
    generator: DiffusionGenerator, pictures: Tensor, stages: tuple[str, ...], settings: TuneSettings
) -> Iterator[InversionStep]:
    with gradients(False):
        step = inverted(generator, pictures, None, "embed")
    if "embed" in stages or "tune" not in stages:
        yield step
    if "tune" in stages:
        for lora in identity_lora(generator, pictures, settings):
            if lora.done:
                break
            yield replace(
                step, stage="tune", step=lora.step, status="running", deltas=None,
                loss=lora.loss, terms={"denoising": lora.loss},
            )  # fmt: skip
        with gradients(False):
            tuned = personal(generator, deltas=lora.deltas)  # type: ignore[arg-type]
            last = inverted(tuned, pictures, lora.deltas, "tune")  # type: ignore[arg-type]
        yield replace(last, step=lora.step, status=lora.status)


def inverted(
    generator: DiffusionGenerator, pictures: Tensor, deltas: WeightDeltas | None, stage: Any
) -> InversionStep:
    """A photograph's latents and reconstruction, as the end of a stage.

    Raises:
        UserError: If they are not finite.
    """
    ws = generator.inverted(pictures)
    images = generator.synthesis(ws)
    loss = pixel_loss(images.clamp(-1, 1), pictures)
    if not loss.isfinite().all():
        raise UserError("the model gives NaN or infinity for this picture")
    return InversionStep(
        stage=stage,
        step=0,
        status="done",
        ws=ws,
        noise={},
        deltas=deltas,
        loss=loss,
        best_loss=loss,
        best_step=torch.zeros(1, dtype=torch.long, device=ws.device),
        finished=torch.ones(1, dtype=torch.bool, device=ws.device),
        terms={"pixel": loss},
        images=images,
    )


@dataclass(frozen=True, eq=False)
class LoraStep:
    """An identity LoRA after `step` updates.

    Args:
        step: Number of updates.
        status: "running", or why this is the last: "max_steps", "max_seconds" or "diverged".
        deltas: The changes of weights by their names in the generator.
        loss: Mean squared error of what the U-Net predicts, shape (1,).
    """

    step: int
    status: Status
    deltas: WeightDeltas
    loss: Tensor

    @property
    def done(self) -> bool:
        """Whether this is the last step."""
        return self.status != "running"


def identity_lora(
    generator: DiffusionGenerator, pictures: Tensor, settings: TuneSettings
) -> Iterator[LoraStep]:
    """Fine-tune attention to a picture, by AdamW on low-rank changes.

    Args:
        generator: A frozen model; only read.
        pictures: The picture, shape (1, 3, H, W).
        settings: Steps, step size, rank, seed and time limit.

    Raises:
        UserError: If peft is missing, or the memory is not enough; then it says what to lower.
    """
    began = time.monotonic()
    rng = torch.Generator().manual_seed(settings.seed)
    with gradients(False):
        network, layers = adapted(generator, settings.rank or RANK, settings.seed)
        x0 = network.space.encode(pictures)
        factors = [weight for a, b, _ in layers.values() for weight in (a, b)]
        optimizers = [Adam.new(weight) for weight in factors]
    step, last = 0, None
    while True:
        limit = settings.max_seconds
        late = limit is not None and time.monotonic() - began >= limit
        status: Status = "max_steps" if step >= settings.steps else "running"
        status = "max_seconds" if late and status == "running" else status
        with memory_in_words(), gradients(True):
            loss = denoising_loss(network, x0, rng)
            if last is not None and not bool(loss.isfinite()):
                yield replace(last, status="diverged")
                return
            if status == "running":
                grads = torch.autograd.grad(loss, factors)
        with gradients(False):
            last = LoraStep(step, status, changes(layers), loss.detach()[None])
        yield last
        if status != "running":
            return
        with gradients(False):
            for i, (weight, gradient) in enumerate(zip(factors, grads, strict=True)):  # type: ignore
                optimizers[i], update = adam_update(optimizers[i], gradient, settings.lr)
                weight.mul_(1 - settings.lr * WEIGHT_DECAY).add_(update)
        step += 1


def denoising_loss(
    generator: DiffusionGenerator, x0: Tensor, rng: torch.Generator, batch: int = BATCH
) -> Tensor:
    """Squared error of what a U-Net predicts of a picture at random levels, a scalar.

    Args:
        generator: The model.
        x0: What the U-Net works on, shape (1, C, h, w).
        rng: Source of levels and noise, on any device.
        batch: Levels at once.
    """
    return denoising_errors(generator, x0.expand(batch, -1, -1, -1), rng).mean()


def denoising_errors(generator: DiffusionGenerator, x0: Tensor, rng: torch.Generator) -> Tensor:
    """Mean squared errors at a random level of each picture, (N, C, h, w) to (N,)."""
    schedule, count = generator.schedule, len(x0)
    t = torch.randint(len(schedule), (count,), generator=rng, device=rng.device).to(x0.device)
    noise = torch.randn(x0.shape, generator=rng, device=rng.device).to(x0)
    unet: Any = generator.unet
    output = unet(schedule.noised(x0, noise, t), t, **generator.space.condition(count)).sample
    target = {"epsilon": noise, "sample": x0}.get(schedule.prediction)
    if target is None:
        target = schedule.velocity(x0, noise, t)
    return (output - target).square().mean(dim=(1, 2, 3))


Factors = dict[str, tuple[Tensor, Tensor, float]]


def adapted(
    generator: DiffusionGenerator, rank: int, seed: int
) -> tuple[DiffusionGenerator, Factors]:
    """Return a copy whose attention has low-rank changes, and their factors by the weight's name.

    The copy shares all weights; a change is scale · B A, B zero at first.

    Raises:
        UserError: If peft is missing.
    """
    peft = library("peft")
    network: Any = shell(generator)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS))
        peft.inject_adapter_in_model(config, network.unet)
    factors: Factors = {}
    for name, module in network.named_modules():
        if hasattr(module, "lora_A") and len(module.lora_A):
            (adapter,) = module.lora_A
            a, b = module.lora_A[adapter].weight, module.lora_B[adapter].weight
            factors[f"{name}.weight"] = a, b, float(module.scaling[adapter])
    for weight in network.parameters():
        weight.requires_grad_(False)
    for a, b, _ in factors.values():
        a.requires_grad_(True)
        b.requires_grad_(True)
    return network, factors


def changes(factors: Factors) -> WeightDeltas:
    """The changes of weights that the factors make, copied."""
    return WeightDeltas(
        low_rank={
            name: (scale * b.detach().clone(), a.detach().clone())
            for name, (a, b, scale) in factors.items()
        }
    )


@contextmanager
def memory_in_words() -> Iterator[None]:
    """Let a lack of memory say in one line what to lower."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        words = str(error).lower()
        if "out of memory" not in words and "allocate" not in words:
            raise
        raise UserError(
            "not enough memory for the LoRA: leave out the stage tune, lower `tune.rank` in a"
            " file of settings, or take another device"
        ) from error
