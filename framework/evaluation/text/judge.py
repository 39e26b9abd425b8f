"""A judge of toy cars' traits: which colour, which body, which sky does a picture show?

It learned from procedural drawings alone, and has never seen a generator nor a text.

    python -m framework.evaluation traits --out out/traits.safetensors
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.data.toycars import LOOK, ToyCars
from framework.data.toycars_captions import TRAITS, traits
from framework.errors import BrokenCheckpoint, UserError
from framework.files import cache_folder, check_new_file, folder_above
from framework.ops.memory import tune_malloc
from framework.settings import MOST_STEPS, whole
from framework.tensor_files import read_tensors, write_tensors
from framework.training.randomness import keyed_generator

FORMAT, VERSION, SIZE_PX = "dragline-traits", 1, 64
SEED, HELD_OUT_SEED = 4242, 4243  # nothing else is trained or measured on these cars
CARS, STEPS = 6000, 1400
_HELD_OUT, _BATCH, _LR, _AT_ONCE = 500, 32, 3e-3, 64
_WIDTHS, _HIDDEN = (32, 48, 64), 160
_MOST_BLUR_PX, _MOST_GRAIN, _CONTRAST = 0.9, 0.06, 0.05


class TraitNetwork(nn.Module):
    """Reads all traits off pictures of 64 px: convolutions to 8 x 8, then all places together."""

    def __init__(self) -> None:
        super().__init__()
        first, middle, last = _WIDTHS
        self.maps = nn.Sequential(
            nn.PixelUnshuffle(2), _layer(12, first), _layer(first, middle, stride=2),
            _layer(middle, middle), _layer(middle, last, stride=2), _layer(last, last),
        )  # fmt: skip
        self.hidden = nn.Linear(last * (SIZE_PX // 8) ** 2, _HIDDEN)
        self.answers = nn.Linear(_HIDDEN, sum(map(len, TRAITS.values())))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the logits of every trait's values, by trait; pictures (N, 3, 64, 64)."""
        x = F.dropout(self.maps(pictures).flatten(1), 0.2, self.training)
        answers = self.answers(F.relu(self.hidden(x)))
        counts = [len(values) for values in TRAITS.values()]
        return dict(zip(TRAITS, answers.split(counts, dim=1), strict=True))


class TraitJudge:
    """A trained judge.

    Args:
        network: The network, on the CPU.
        facts: How it was trained, and `held_out`: its accuracy on drawings of other cars, by trait.
    """

    def __init__(self, network: TraitNetwork, facts: dict[str, Any]) -> None:
        self._network, self.facts = network.eval().requires_grad_(False), facts

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> dict[str, list[str]]:
        """Return the value of each trait in pictures (N, 3, 64, 64) in [-1, 1], by trait.

        Raises:
            UserError: If the pictures are of another size.
        """
        if tuple(pictures.shape[1:]) != (3, SIZE_PX, SIZE_PX):
            shape = "x".join(str(side) for side in pictures.shape[1:])
            raise UserError(f"pictures {shape}: this judge takes colour pictures of 64x64 px")
        pictures = pictures.cpu().float().clamp(-1, 1)
        parts = [self._network(part) for part in pictures.split(_AT_ONCE)]
        return {
            name: [values[i] for part in parts for i in part[name].argmax(dim=1).tolist()]
            for name, values in TRAITS.items()
        }

    def save(self, path: str | Path) -> None:
        """Write the judge, large kernels in half precision, whole or not at all."""
        tensors = {
            name: (t.half() if t.ndim > 1 else t).contiguous()
            for name, t in self._network.state_dict().items()
        }
        facts = {"format": FORMAT, "version": str(VERSION), "facts": json.dumps(self.facts)}
        write_tensors(path, tensors, facts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a judge.

        Raises:
            BrokenCheckpoint: If the file holds none of this version, or is damaged.
        """
        tensors, metadata = read_tensors(path, complaint="cannot be read as a judge of traits")
        try:
            if metadata["format"] != FORMAT or metadata["version"] != str(VERSION):
                raise ValueError("another format or version")
            network = TraitNetwork()
            network.load_state_dict(
                {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
            )
            return cls(network, json.loads(metadata["facts"]))
        except (KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BrokenCheckpoint(f"{path}: no judge of these traits ({reason})") from None


def cached_judge(
    report: Callable[[str], None] = lambda line: print(line, flush=True),
) -> TraitJudge:
    """Return the judge of the cache folder; trained first, in some minutes, if there is none."""
    path = cache_folder("judges") / f"traits{VERSION}-look{LOOK}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        report(f"training the judge of traits once, for {path}")
        train_traits(CARS, STEPS, report).save(path)
    return TraitJudge.load(path)


def train(out: str, cars: int = CARS, steps: int = STEPS) -> dict[str, Any]:
    """Train a judge of traits on procedural toy cars.

    Args:
        out: New file, NAME.safetensors.
        cars: Number of cars that are drawn; each is shown many times, disturbed anew.
        steps: Updates of the network, of 32 drawings each.

    Returns:
        Its accuracy on drawings of other cars, by trait.
    """
    path = check_new_file(out)
    for name, number in (("cars", cars), ("steps", steps)):
        whole(number, name, 1, MOST_STEPS)
    judge = train_traits(cars, steps, lambda line: print(line, flush=True))
    with folder_above(path):
        judge.save(path)
    return judge.facts["held_out"]


def train_traits(cars: int, steps: int, report: Callable[[str], None]) -> TraitJudge:
    """Train a judge; `report` gets lines of progress (AdamW, one cycle of learning rates)."""
    tune_malloc()
    pictures, answers = draw(cars, SEED, report)
    random = keyed_generator("cpu", "traits", SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = TraitNetwork().train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=_LR, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, steps, pct_start=0.15)
        for step in range(1, steps + 1):
            chosen = torch.randint(len(pictures), (_BATCH,), generator=random)
            logits = network(disturbed(pictures[chosen].float() / 127.5 - 1, random))
            loss = torch.stack(
                [F.cross_entropy(logits[name], answers[name][chosen]) for name in TRAITS]
            ).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                report(f"judge: step {step} of {steps}, loss {loss.item():.2f}")
    facts: dict[str, Any] = {"cars": cars, "steps": steps, "seed": SEED, "look": LOOK}
    judge = TraitJudge(network, facts)
    facts["held_out"] = accuracy(judge, *draw(_HELD_OUT, HELD_OUT_SEED, report))
    return judge


def draw(
    count: int, seed: int, report: Callable[[str], None] = lambda line: None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw cars: pictures, uint8 (N, 3, 64, 64), and the number of each trait's value, (N,)."""
    cars, pictures = ToyCars(SIZE_PX, count, seed), torch.empty(count, 3, SIZE_PX, SIZE_PX).byte()
    values = []
    for index in range(count):
        p = cars.parameters(index)
        pictures[index] = torch.from_numpy(cars.drawn(p).image).permute(2, 0, 1)
        values.append(traits(p))
        if (index + 1) % 2000 == 0:
            report(f"judge: {index + 1} of {count} cars drawn")
    answers = {
        name: torch.tensor([options.index(row[name]) for row in values])
        for name, options in TRAITS.items()
    }
    return pictures, answers


def accuracy(judge: TraitJudge, pictures: Tensor, answers: dict[str, Tensor]) -> dict[str, float]:
    """Return the share of right answers by trait on drawings, uint8 (N, 3, 64, 64)."""
    found = judge(pictures.float() / 127.5 - 1)
    return {
        name: sum(TRAITS[name][i] == value for i, value in zip(right.tolist(), found[name],
                                                               strict=True)) / len(right)
        for name, right in answers.items()
    }  # fmt: skip


def disturbed(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Soften pictures (N, 3, H, W) as a generator does, and change contrast and grain a little."""

    def chance() -> Tensor:
        return torch.rand(len(pictures), 1, 1, 1, generator=random)

    places = torch.arange(-2, 3)
    sigma = (_MOST_BLUR_PX * chance()).clamp(min=0.2)
    kernel = torch.exp(-places.square() / (2 * sigma[:, 0, 0].square()))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
    folded = F.pad(pictures, (2, 2, 2, 2), mode="replicate").flatten(0, 1)[None]
    folded = F.conv2d(folded, kernel[:, None, :, None], groups=len(kernel))
    folded = F.conv2d(folded, kernel[:, None, None, :], groups=len(kernel)).view_as(pictures)
    grain = _MOST_GRAIN * chance() * torch.randn(pictures.shape, generator=random)
    return (1 + _CONTRAST * (2 * chance() - 1)) * folded + grain


def _layer(fan_in: int, fan_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()
    )
