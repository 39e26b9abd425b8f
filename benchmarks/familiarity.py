"""How often a model calls pictures of its own kind strange, and other pictures familiar.

python benchmarks/familiarity.py vehicles64 --kind my_vehicles --held-out 0.1 --other my_hands
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from framework import load_discriminator, load_generator, to_float
from framework.data.holdout import is_held_out
from framework.data.opening import open_dataset
from framework.inversion.familiarity import FAMILIAR, Familiarity, familiarity
from framework.models.features.distance import DiscriminatorDistance


def row(yardstick: Familiarity, data: str, size: int, share: float, count: int, from_: int) -> str:
    """A row of the table: strangeness of the pictures of a folder, zip or `toycars:N`."""
    dataset = open_dataset(data, size)
    numbers = [
        index
        for index in range(from_, len(dataset))
        if share <= 0 or is_held_out(dataset.name(index), share)
    ]
    chosen = np.random.default_rng(0).permutation(numbers)[:count]
    pictures = np.stack([np.moveaxis(dataset.image(int(i)), 0, -1) for i in sorted(chosen)])
    strangeness = torch.cat([yardstick.strangeness(part) for part in to_float(pictures).split(50)])
    beyond = int((strangeness > FAMILIAR).sum())
    middle, most = strangeness.median().item(), strangeness.max().item()
    return f"| {data} | {len(strangeness)} | {middle:.2f} | {most:.2f} | {beyond} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--kind", required=True, help="pictures of what the model was trained on")
    parser.add_argument(
        "--held-out", type=float, default=0, help="share of them, held out, that is used"
    )
    parser.add_argument(
        "--first", type=int, default=0, help="index of the first picture that is used"
    )
    parser.add_argument("--other", action="append", default=[], help="pictures of something else")
    parser.add_argument("--count", type=int, default=200, help="most pictures of each")
    args = parser.parse_args()
    generator = load_generator(args.model)
    yardstick = familiarity(generator, DiscriminatorDistance(load_discriminator(args.model)))
    size = generator.img_size[0]
    print(f"| pictures | number | median | largest | beyond {FAMILIAR:g} |\n|---|---|---|---|---|")
    print(row(yardstick, args.kind, size, args.held_out, args.count, args.first))
    for other in args.other:
        print(row(yardstick, other, size, 0, args.count, 0))


if __name__ == "__main__":
    main()
