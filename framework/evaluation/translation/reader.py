"""A judge of faithfulness: it reads part masks and sketches back from pictures of toy cars.

python -m framework.evaluation parts --out out/reader
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data.toycars import INK, PAPER, Part, ToyCars
from framework.errors import UserError
from framework.files import new_folder
from framework.formats.translator_folder import load_translator, save_translator
from framework.media.images import to_float
from framework.models.translation.condition import Condition
from framework.models.translation.unet import UNet
from framework.settings import MOST_STEPS, whole

METHOD = "reader"
READER = Path(__file__).parents[2] / "zoo" / "toycars_parts"
SIZE_PX, HELD_OUT_SEED, HELD_OUT_COUNT = 64, 777, 300
_LOGIT = 8.0  # of the network's 1: its outputs lie between -1 and 1
_WIDTH, _DEPTH, _AT_ONCE = 16, 4, 64


@dataclass(frozen=True, eq=False)
class Readings:
    """What is read from pictures.

    Args:
        parts: Part of each pixel, (N, H, W).
        ink: Whether a pixel is ink in the sketch, (N, H, W).
    """

    parts: Tensor
    ink: Tensor


class Reader:
    """Reads parts and ink from pictures; `open` opens the one that comes with the project."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    @classmethod
    def open(cls, folder: str | Path = READER) -> "Reader":
        """Open a reader; a `UserError` if the folder holds none."""
        translator = load_translator(folder)
        if translator.method != METHOD:
            raise UserError(f"{folder}: a {translator.method}, not a reader of parts")
        return cls(translator.networks["picture"])

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Readings:
        """Read pictures (N, 3, H, W) in [-1, 1]."""
        logits = torch.cat([self.network(part) for part in pictures.split(_AT_ONCE)])
        return Readings(logits[:, :-1].argmax(dim=1), logits[:, -1] > 0)


def truth(cars: ToyCars, count: int) -> tuple[Tensor, Readings]:
    """Return the first cars' pictures (N, 3, H, W) in [-1, 1], and what is to be read."""
    drawn = [cars[index] for index in range(count)]
    pictures = to_float(np.stack([car.image for car in drawn]))
    parts = torch.from_numpy(np.stack([car.part_mask for car in drawn])).long()
    return pictures, Readings(parts, inked(np.stack([car.sketch for car in drawn])))


def inked(sketches: np.ndarray) -> Tensor:
    """Whether pixels of sketches, uint8 (N, H, W), are nearer to ink than to paper."""
    return torch.from_numpy(sketches < (INK + PAPER) / 2)


def part_agreement(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of two maps (N, H, W), mean over the parts of `b`, (N,)."""
    ours, theirs = (F.one_hot(x, len(Part)).bool() for x in (a, b))
    both = (ours & theirs).sum(dim=(1, 2)).float()
    either = (ours | theirs).sum(dim=(1, 2)).float()
    there = theirs.any(dim=1).any(dim=1).float()
    return (both / either.clamp(min=1) * there).sum(dim=1) / there.sum(dim=1)


def ink_agreement(a: Tensor, b: Tensor) -> Tensor:
    """F1 of the ink (N, H, W) of two sketches; a pixel agrees with ink at most 1 px off, (N,)."""
    near_a, near_b = (F.max_pool2d(x[:, None].float(), 3, 1, 1)[:, 0] for x in (a, b))
    precision = (a * near_b).sum(dim=(1, 2)) / a.sum(dim=(1, 2)).clamp(min=1)
    recall = (b * near_a).sum(dim=(1, 2)) / b.sum(dim=(1, 2)).clamp(min=1)
    return 2 * precision * recall / (precision + recall).clamp(min=1e-6)


def train_reader(
    out: str,
    drawings: int = 4000,
    steps: int = 1500,
    batch_size: int = 16,
    learning_rate: float = 0.003,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, float]:
    """Train a reader of parts and ink on toy cars, disturbed, and write it to a folder.

    Args:
        out: New folder for the reader.
        drawings: Number of cars to draw.
        steps: Updates of the network.
        batch_size: Drawings per update.
        learning_rate: Highest learning rate of the cycle.
        seed: Seed of the cars, the weights and the order; 777 is reserved for the test.
        threads: Number of CPU threads.

    Returns:
        Agreement with the truth on held-out cars: `parts` and `ink`.
    """
    if seed == HELD_OUT_SEED:
        raise UserError(f"{seed}: these cars are reserved for the test; give another seed", "seed")
    for name, number in (("drawings", drawings), ("steps", steps), ("batch_size", batch_size)):
        whole(number, name, 1, MOST_STEPS)
    folder = new_folder(out)
    torch.set_num_threads(threads)
    start_sec = time.process_time()
    pictures, read = truth(ToyCars(SIZE_PX, drawings, seed), drawings)
    network = _trained(pictures, read, steps, batch_size, learning_rate, seed)
    held_out, wanted = truth(ToyCars(SIZE_PX, HELD_OUT_COUNT, HELD_OUT_SEED), HELD_OUT_COUNT)
    found = Reader(network)(held_out)
    agreement = {
        "parts": round(part_agreement(found.parts, wanted.parts).mean().item(), 4),
        "ink": round(ink_agreement(found.ink, wanted.ink).mean().item(), 4),
    }
    facts = {
        "data": f"toycars:{drawings}:{seed}", "steps": steps, "batch_size": batch_size,
        "learning_rate": learning_rate, "work_seconds": round(time.process_time() - start_sec),
        "held_out": agreement,
    }  # fmt: skip
    size = (SIZE_PX, SIZE_PX)
    save_translator(folder, METHOD, {"picture": network}, Condition("picture", 3), size, facts)
    return agreement


def _trained(
    pictures: Tensor, read: Readings, steps: int, batch_size: int, learning_rate: float, seed: int
) -> UNet:
    """Train by cross entropy of parts and of ink (AdamW, one cycle of learning rates)."""
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(3, len(Part) + 1, _WIDTH, _DEPTH, dropout=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.15)
    for step in range(steps):
        chosen = torch.randint(len(pictures), (batch_size,), generator=rng)
        logits = network(_disturbed(pictures[chosen], rng)) * _LOGIT
        loss = F.cross_entropy(logits[:, :-1], read.parts[chosen])
        loss = loss + F.binary_cross_entropy_with_logits(logits[:, -1], read.ink[chosen].float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 10) == 0:
            print(f"step {step + 1} of {steps}  loss {loss.item():.3f}", flush=True)
    return network.eval().requires_grad_(False)


def _disturbed(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Change colours, blur half, and add noise, as a generator might draw."""
    shape = (len(pictures), 1, 1, 1)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=rng)

    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = between(0, 1) * (torch.rand(shape, generator=rng) < 0.5)
    pictures = pictures + share * (blurred - pictures)
    pictures = pictures * between(0.8, 1.2) + between(-0.15, 0.15)
    return pictures + between(0, 0.08) * torch.randn(pictures.shape, generator=rng)
