"""What low precision and compiled operations change in a step of an encoder's training.

    python benchmarks/encoder_step.py                 # the shipped toy cars and their settings

The encoder's phase, forward and backward, on one batch, in turns; the median of the rounds in this
process's CPU time. The last column says how far the gradient turns: its cosine with the first's.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

VARIANTS = (("none", "torch"), ("none", "auto"), ("bfloat16", "torch"), ("bfloat16", "auto"))


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="toycars64", help="of toy cars")
    add("--config", default="configs/train/encoder/toycars64.yaml")
    add("--batch", type=int, default=16)
    add("--rounds", type=int, default=7)
    add("--threads", type=int, default=1)
    return parser.parse_args(words)


def built(args: argparse.Namespace, low_precision: str) -> Any:
    """The training module of the settings, past all of its schedules."""
    import torch
    import yaml

    from framework.training.encoder.module import EncoderTraining
    from framework.training.encoder.settings import EncoderSettings, Machine

    given = yaml.safe_load((ROOT / args.config).read_text())["model"]["init_args"]
    groups = EncoderSettings().arguments()
    settings = {
        name: type(groups[name])(**value) if isinstance(value, dict) else value
        for name, value in given.items()
    }
    machine = Machine(low_precision=low_precision)  # type: ignore[arg-type]
    module = EncoderTraining(**{**settings, "generator": args.model, "machine": machine})
    module.assemble(module.own_size(), 3, 0, torch.device("cpu"), args.batch)
    module.objective.advance(10**6)
    return module


def main(words: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = arguments(words)
    import torch

    from benchmarks import machine
    from framework.data import decoded
    from framework.data.opening import open_pictures
    from framework.evaluation.formatting import markdown_table
    from framework.ops.compiled import use_ops
    from framework.training.phases import Micro

    torch.set_num_threads(args.threads)
    modules = {low: built(args, low) for low, _ in VARIANTS}
    pictures = decoded(open_pictures(f"toycars:{args.batch}", modules["none"].own_size()))
    images = torch.from_numpy(pictures).float() / 127.5 - 1

    gradients = {}

    def step(low: str, ops: Any) -> None:
        use_ops(ops, "cpu")
        module, rng = modules[low], torch.Generator().manual_seed(0)
        module.encoder.zero_grad()
        micro = Micro(lambda: images, torch.zeros(args.batch, 0), rng)
        for outcome in module.objective.e_main(micro):
            outcome.loss.backward()
        grads = [p.grad.flatten() for p in module.encoder.parameters() if p.grad is not None]
        gradients[low, ops] = torch.cat(grads)

    steps = {str(variant): partial(step, *variant) for variant in VARIANTS}
    seconds = machine.side_by_side(steps, args.rounds, "cpu", machine.CLOCKS["cpu"])
    first, rows = VARIANTS[0], []
    for variant in VARIANTS:
        cosine = torch.cosine_similarity(gradients[variant], gradients[first], dim=0).item()
        took, faster = seconds[str(variant)], seconds[str(first)] / seconds[str(variant)]
        rows.append([*variant, f"{took * 1000:.0f}", f"{faster:.2f}", f"{cosine:.4f}"])
    print(machine.facts())
    print(f"{args.model}, batch {args.batch}, {args.threads} thread, {args.rounds} rounds")
    print(markdown_table(["low precision", "ops", "CPU ms", "times as fast", "cosine"], rows))


if __name__ == "__main__":
    main()
