"""How often a model takes pictures of its kind for strange ones, and strange ones for its kind.

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
    """One line of the table: how far out pictures of a folder, zip or `toycars:N` lie."""
    dataset = open_dataset(data, size)
    numbers = [
        index
        for index in range(from_, len(dataset))
        if share <= 0 or is_held_out(dataset.name(index), share)
    ]
    chosen = np.random.default_rng(0).permutation(numbers)[:count]
    pictures = np.stack([np.moveaxis(dataset.image(int(i)), 0, -1) for i in sorted(chosen)])
    found = torch.cat([yardstick.strangeness(part) for part in to_float(pictures).split(50)])
    beyond = int((found > FAMILIAR).sum())
    middle, most = found.median().item(), found.max().item()
    return f"| {data} | {len(found)} | {middle:.2f} | {most:.2f} | {beyond} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--kind", required=True, help="pictures of what the model was trained on")
    parser.add_argument("--held-out", type=float, default=0, help="share of them that counts")
    parser.add_argument("--first", type=int, default=0, help="number of the first that counts")
    parser.add_argument("--other", action="append", default=[], help="pictures of something else")
    parser.add_argument("--count", type=int, default=200, help="pictures of each, at most")
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
