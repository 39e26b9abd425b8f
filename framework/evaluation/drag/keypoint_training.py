"""Training of the key-point judge: procedural drawings, disturbed as a generator might draw them.

Drawings are warped, so that the judge must look at each part instead of guessing its place from the
others: an edit moves one part of a car to where no drawing has it.

    python -m framework.evaluation keypoints --out out/judge
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data.toycars import LOOK, ToyCars
from framework.errors import UserError
from framework.evaluation.drag.keypoint_network import KeypointNetwork, cell_centers, read_points
from framework.evaluation.drag.keypoints import FORMAT, KeypointJudge
from framework.files import new_folder
from framework.media.images import to_float
from framework.ops.memory import tune_malloc
from framework.settings import MOST_STEPS, whole

SIZE_PX = 64
HELD_OUT_SEED, HELD_OUT_COUNT = 777, 500
HEAT_RADIUS_PX = 1.5
"""Standard deviation of the target heat about a point."""


@dataclass(frozen=True)
class Drawings:
    """Pictures (N, 3, H, W) in [-1, 1] with their key points (x, y) in px, (N, K, 2), by name."""

    names: tuple[str, ...]
    images: Tensor
    points: Tensor


def draw(count: int, seed: int) -> Drawings:
    """Draw the first `count` toy cars of the set `seed`, 64 pixels wide and high."""
    pictures = np.empty((count, SIZE_PX, SIZE_PX, 3), np.uint8)
    points, names = [], ()
    for index, car in enumerate(ToyCars(SIZE_PX, count, seed)):
        pictures[index] = car.image
        names = tuple(sorted(car.keypoints))
        points.append([car.keypoints[name] for name in names])
    return Drawings(names, to_float(pictures), torch.tensor(points, dtype=torch.float32))


def train(
    drawings: Drawings,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    report: Callable[[int, float], None],
) -> KeypointNetwork:
    """Train a network on disturbed drawings (AdamW, one cycle of learning rates).

    Args:
        drawings: Drawings to learn from.
        steps: Number of updates.
        batch_size: Drawings per update.
        learning_rate: Highest learning rate of the cycle.
        seed: Seed of weights, order and disturbances.
        report: Called after each update with its number and the mean error in pixels.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = KeypointNetwork(len(drawings.names))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.15)
    mirrored = mirror_order(drawings.names)
    network.train()
    for step in range(steps):
        chosen = torch.randint(len(drawings.images), (batch_size,), generator=random)
        images, points = drawings.images[chosen], drawings.points[chosen]
        images, points = disturb(images, points, mirrored, random)
        logits = network(images.contiguous(memory_format=torch.channels_last))
        loss, error_px = heat_loss(logits, points, images.shape[2:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step + 1, error_px)
    return network.eval().requires_grad_(False)


def heat_loss(logits: Tensor, points: Tensor, img_size: torch.Size) -> tuple[Tensor, float]:
    """Cross entropy of the heat with a small Gaussian, plus the error of the point read from it.

    Args:
        logits: Heat maps, shape (N, K, h, w).
        points: True points (x, y) in pixels, shape (N, K, 2); those outside do not count.
        img_size: Picture's (height, width).

    Returns:
        The loss, a scalar, and the mean distance in pixels.
    """
    height, width = img_size
    limit = points.new_tensor([width - 1, height - 1])
    counts = ((points >= 0) & (points <= limit)).all(dim=2).float()
    bell_x = _bell(cell_centers(logits.shape[3], logits), points[..., :1])
    bell_y = _bell(cell_centers(logits.shape[2], logits), points[..., 1:])
    target = bell_y[..., :, None] * bell_x[..., None, :]
    entropy = -(target.flatten(2) * logits.flatten(2).log_softmax(dim=2)).sum(dim=2)
    predicted_points, _ = read_points(logits)
    distance = ((predicted_points - points).square().sum(dim=2) + 1e-6).sqrt()
    total = counts.sum().clamp(min=1)
    # Where the peak is far off only the entropy can help, and must not be outweighed.
    loss = (counts * (entropy + 0.3 * distance.clamp(max=4))).sum() / total
    return loss, ((counts * distance.detach()).sum() / total).item()


def _bell(centers: Tensor, middle: Tensor) -> Tensor:
    """A Gaussian over the cells of one axis that sums to 1, shape (N, K, cells)."""
    return (-(centers - middle).square() / (2 * HEAT_RADIUS_PX**2)).softmax(dim=-1)


def held_out_error_px(
    judge: KeypointJudge, count: int, seed: int = HELD_OUT_SEED
) -> dict[str, float]:
    """Mean error of each key point on drawings of another seed, in pixels."""
    drawings = draw(count, seed)
    predicted_points = judge(drawings.images).points
    distance = ((predicted_points - drawings.points.numpy()) ** 2).sum(axis=2) ** 0.5
    return dict(zip(drawings.names, distance.mean(axis=0).tolist(), strict=True))


def usual_places(points: Tensor) -> list[list[list[float]]]:
    """The 1st and the 99th percentile of key points (N, K, 2), each (K, 2)."""
    ends = points.quantile(torch.tensor([0.01, 0.99]), dim=0).tolist()
    return [[[round(x, 1), round(y, 1)] for x, y in end] for end in ends]


def train_judge(
    out: str,
    drawings: int = 5000,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 0.004,
    seed: int = 0,
    threads: int = 1,
) -> KeypointJudge:
    """Train a judge on procedural toy cars and write it to a folder.

    Args:
        out: New folder for the judge.
        drawings: Number of cars to draw; each is shown many times, disturbed anew.
        steps: Updates of the network.
        batch_size: Drawings per update.
        learning_rate: Highest learning rate of the cycle.
        seed: Seed of the cars, the weights and the order; 777 is reserved for the test.
        threads: Number of CPU threads.

    Raises:
        UserError: If `out` is not empty, or the seed is the test's.
    """
    if seed == HELD_OUT_SEED:
        raise UserError(f"{seed}: these cars are reserved for the test; give another seed", "seed")
    for name, number, least in (
        ("drawings", drawings, 1), ("steps", steps, 1), ("batch_size", batch_size, 1),
        ("seed", seed, 0), ("threads", threads, 1),
    ):  # fmt: skip
        whole(number, name, least, MOST_STEPS)
    folder = new_folder(out)
    tune_malloc()
    torch.set_num_threads(threads)
    start, start_cpu = time.monotonic(), time.process_time()
    cars = draw(drawings, seed)
    print(f"{drawings} cars drawn in {time.monotonic() - start:.0f} s", flush=True)

    def report(step: int, error_px: float) -> None:
        if step % max(1, math.ceil(steps / 20)) == 0:
            elapsed = time.monotonic() - start
            print(f"step {step} of {steps}  error {error_px:.2f} px  {elapsed:.0f} s", flush=True)

    low, high = usual_places(cars.points)
    network = train(cars, steps, batch_size, learning_rate, seed, report)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "names": list(cars.names),
        "img_size": list(cars.images.shape[2:]),
        "low": low,
        "high": high,
        "trained": {
            "data": f"toycars:{drawings}, seed {seed}, look {LOOK}",
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seconds": round(time.monotonic() - start),
            "cpu_seconds": round(time.process_time() - start_cpu),
        },
    }
    judge = KeypointJudge(network, facts)
    judge.save(folder)
    judge = KeypointJudge.load(folder)  # measured as stored, in half precision
    errors = held_out_error_px(judge, HELD_OUT_COUNT)
    judge.facts["held_out_error_px"] = {name: round(error, 3) for name, error in errors.items()}
    judge.save(folder)
    mean = sum(errors.values()) / len(errors)
    print(f"{folder}: {mean:.2f} px on held-out drawings, {time.monotonic() - start:.0f} s")
    return judge


# ------------------------------------------------------------------------------- disturbances


def mirror_order(names: tuple[str, ...]) -> list[int]:
    """Index of the point that has each name in the mirrored picture: left and right swap."""
    swap = {"left": "right", "right": "left"}
    parts = [name.partition("_") for name in names]
    return [names.index(swap.get(side, side) + joint + rest) for side, joint, rest in parts]


def disturb(
    images: Tensor, points: Tensor, mirrored: list[int], random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror half the drawings, warp all, then change colours and sharpness and add noise.

    Images (N, 3, H, W) in [-1, 1] and points (N, K, 2) in pixels keep their shapes; points may
    leave the picture. `mirrored` comes from `mirror_order`.
    """
    turned = torch.rand(len(images), generator=random) < 0.5
    width = images.shape[3]
    flipped = torch.stack([width - 1 - points[..., 0], points[..., 1]], dim=2)[:, mirrored]
    images = torch.where(turned[:, None, None, None], images.flip(3), images)
    points = torch.where(turned[:, None, None], flipped, points)
    images, points = warp(images, points, random)
    return _discolor(_blur(images, random), random), points


def warp(images: Tensor, points: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shift, scale and bend pictures and carry their points along (shapes as in `disturb`)."""
    n, _, height, width = images.shape
    size = torch.tensor([width, height], dtype=images.dtype)
    pixels = torch.stack(
        torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), dim=2
    ).to(images)
    scale = 1 + 0.1 * _spread((n, 1, 1, 2), random)
    shift = 5 * _spread((n, 1, 1, 2), random)
    knots = torch.randn((n, 2, 6, 6), generator=random) * torch.rand((n, 1, 1, 1), generator=random)
    bend = 2.2 * F.interpolate(knots, (height, width), mode="bicubic").permute(0, 2, 3, 1)
    # The picture at q shows what was at source(q); a point p went to the q with source(q) = p.
    middle = (size - 1) / 2
    source = (pixels - middle) * scale + middle + shift + bend
    moved = _sample(images, source / size)
    offset = (source - pixels).permute(0, 3, 1, 2)
    went = points
    for _ in range(12):
        went = points - _sample(offset, (went / size)[:, :, None])[..., 0].transpose(1, 2)
    return moved, went


def _sample(maps: Tensor, places: Tensor) -> Tensor:
    """Bilinear values of maps (N, C, H, W) at pixel / size, (N, h, w, 2); borders are repeated."""
    size = torch.tensor([maps.shape[3], maps.shape[2]], dtype=maps.dtype)
    grid = 2 * places + 1 / size - 1
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def _blur(images: Tensor, random: torch.Generator) -> Tensor:
    """Soften each picture by its own Gaussian of 0 to 0.9 pixels."""
    n, channels = images.shape[:2]
    sigma = 0.9 * torch.rand(n, generator=random).clamp(min=0.2)
    kernel = torch.exp(-torch.arange(-2, 3).square() / (2 * sigma[:, None].square()))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    folded = F.pad(images, (2, 2, 2, 2), mode="replicate").flatten(0, 1)[None]
    folded = F.conv2d(folded, kernel[:, None, :, None], groups=n * channels)
    folded = F.conv2d(folded, kernel[:, None, None, :], groups=n * channels)
    return folded.view_as(images)


def _discolor(images: Tensor, random: torch.Generator) -> Tensor:
    """Mix and shift the channels, change the contrast, add smooth blotches and grain."""
    n, _, height, width = images.shape
    mixing = torch.eye(3) + 0.12 * torch.randn((n, 3, 3), generator=random)
    contrast = 1 + 0.25 * _spread((n, 1, 1, 1), random)
    images = contrast * torch.einsum("nij,njhw->nihw", mixing, images)
    images = images + 0.1 * torch.randn((n, 3, 1, 1), generator=random)
    for side, strength in ((8, 0.08), (16, 0.08)):
        blotches = torch.randn((n, 3, side, side), generator=random)
        blotches = F.interpolate(blotches, (height, width), mode="bilinear")
        images = images + strength * torch.rand((n, 1, 1, 1), generator=random) * blotches
    grain = torch.randn(images.shape, generator=random)
    images = images + 0.08 * torch.rand((n, 1, 1, 1), generator=random) * grain
    return images.clamp(-1, 1)


def _spread(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Random numbers, evenly distributed over [-1, 1)."""
    return 2 * torch.rand(shape, generator=random) - 1
