"""Compare the compiled operations with torch's: milliseconds of each, and their ratio.

    python benchmarks/ops.py                                  # both sets of sizes, 1 and 2 threads
    python benchmarks/ops.py --threads 1 --clock cpu          # on a machine that is not idle
    python benchmarks/ops.py --device cuda --dtype float16 float32 --json ops.json

`forward`; `both`: forward and backward; `double`: those and the backward of the backward, as R1 and
path length regularisation need it. Torch's and the compiled operation are called in turns; medians.
A factor above 1 means that the compiled one is faster. Sums count every row of a set once, about as
a network does.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# name -> batch on a CPU, batch on a GPU, {side: channels}
SETS = {
    "vehicles64": (16, 64, {64: 16, 32: 32, 16: 64, 8: 96}),
    "256 px": (2, 32, {256: 64, 128: 128, 64: 256}),
}
KINDS = ("forward", "both", "double")


@dataclass(frozen=True)
class Case:
    """One operation on one size, as the networks call it."""

    op: str
    use: str
    shape: tuple[int, int, int, int]
    layout: str
    dtype: str

    def function(self) -> Callable[..., Any]:
        """The operation as a function of x and a bias."""
        from framework.ops.bias_act import bias_act
        from framework.ops.modulate_act import modulate_act
        from framework.ops.upfirdn2d import setup_filter, upfirdn2d

        kernel = setup_filter([1, 3, 3, 1])
        uses: dict[str, Callable[..., Any]] = {
            "after doubling": lambda x, _, k: upfirdn2d(x, k, padding=(1, 1), gain=4.0),
            "before halving": lambda x, _, k: upfirdn2d(x, k, padding=(2, 2)),
            "skip, halving": lambda x, _, k: upfirdn2d(x, k, down=2, padding=(1, 1)),
            "picture, doubling": lambda x, _, k: upfirdn2d(x, k, up=2, padding=(2, 1), gain=4.0),
            "bias, lrelu": lambda x, b, _: bias_act(x, b, gain=1.0),
            "bias, lrelu, clamp": lambda x, b, _: bias_act(x, b, gain=1.0, clamp=256.0),
            "modulation": lambda x, b, _: modulate_act(x, b.expand(len(x), -1)),
            "a layer's end": lambda x, b, _: modulate_act(
                x, b.expand(len(x), -1), x.detach()[:, :1].contiguous(), b, "lrelu"
            ),
        }
        return lambda x, b: uses[self.use](x, b, kernel.to(x.device))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sets", nargs="+", choices=SETS, default=[*SETS])
    add("--threads", type=int, nargs="+", default=sorted({1, min(2, os.cpu_count() or 1)}))
    add("--layouts", nargs="+", default=["channels_last", "contiguous"])
    add("--dtype", nargs="+", default=["float32"])
    add("--rounds", type=int, default=9)
    add("--device", default="cpu")
    add("--clock", choices=("wall", "cpu"), default="wall", help="cpu: only with one thread")
    add("--json", type=Path, help="file for all numbers")
    return parser.parse_args()


def cases(name: str, args: argparse.Namespace) -> Iterator[Case]:
    """The operations of a generator and a discriminator, from the largest side down."""
    on_cpu, on_gpu, sides = SETS[name]
    batch = on_cpu if args.device == "cpu" else on_gpu
    for layout in args.layouts:
        for dtype in args.dtype:
            for side, channels in sides.items():
                shape = (batch, channels, side, side)
                yield Case("bias_act", "bias, lrelu", shape, layout, dtype)
                if args.device == "cpu":
                    yield Case("modulate_act", "modulation", shape, layout, dtype)
                    yield Case("modulate_act", "a layer's end", shape, layout, dtype)
                if dtype == "float16":
                    yield Case("bias_act", "bias, lrelu, clamp", shape, layout, dtype)
                wide = (batch, channels, side + 1, side + 1)
                yield Case("upfirdn2d", "after doubling", wide, layout, dtype)
                yield Case("upfirdn2d", "before halving", shape, layout, dtype)
                yield Case("upfirdn2d", "skip, halving", shape, layout, dtype)
    for side in sides:
        shape = (batch, 3, side // 2, side // 2)
        yield Case("upfirdn2d", "picture, doubling", shape, "contiguous", "float32")


def measure(case: Case, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median milliseconds of torch's and the compiled operation, by kind."""
    import torch

    from benchmarks.machine import CLOCKS, side_by_side
    from framework.ops.compiled import use_ops

    function = case.function()
    device, dtype = args.device, getattr(torch, case.dtype)
    layout = torch.channels_last if case.layout == "channels_last" else torch.contiguous_format
    x = torch.randn(case.shape, device=device, dtype=dtype).contiguous(memory_format=layout)
    bias = torch.randn(case.shape[1], device=device, dtype=dtype, requires_grad=True)
    x.requires_grad_()
    flow = torch.randn_like(function(x, bias)).requires_grad_()

    def run(mode: str, kind: str) -> None:
        use_ops(mode, device)  # type: ignore[arg-type]
        y = function(x, bias)
        if kind == "forward":
            return
        inputs = [x] if case.op == "upfirdn2d" else [x, bias]
        grads = torch.autograd.grad(y, inputs, flow, create_graph=kind == "double")
        if kind == "double":
            torch.autograd.grad(grads[0], flow, x.detach().broadcast_to(grads[0].shape))

    return {
        kind: {
            name: 1000 * seconds
            for name, seconds in side_by_side(
                {m: (lambda m=m, k=kind: run(m, k)) for m in ("torch", "compiled")},
                args.rounds,
                device,
                CLOCKS[args.clock],
            ).items()
        }
        for kind in KINDS
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: a row for each case, and a sum for each operation and layout."""
    lines = [
        "| operation | use | shape | layout | "
        + " | ".join(f"{k}, ms (factor)" for k in KINDS)
        + " |",
        "|---" * (4 + len(KINDS)) + "|",
    ]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["op"], row["layout"], row["dtype"]), []).append(row)
        lines.append(line(row, row["use"], "×".join(map(str, row["shape"]))))
    for group in groups.values():
        total = {
            k: {m: sum(row["ms"][k][m] for row in group) for m in ("torch", "compiled")}
            for k in KINDS
        }
        lines.append(line(group[0] | {"ms": total}, "**all**", f"{len(group)} rows"))
    return "\n".join(lines)


def line(row: dict[str, Any], use: str, shape: str) -> str:
    """One row: torch's and the compiled one's milliseconds, and how many times faster it is."""
    cells = [
        f"{ms['torch']:.2f} → {ms['compiled']:.2f} ({ms['torch'] / ms['compiled']:.2f}×)"
        for ms in (row["ms"][kind] for kind in KINDS)
    ]
    layout = row["layout"] if row["dtype"] == "float32" else f"{row['layout']}, {row['dtype']}"
    return f"| {row['op']} | {use} | {shape} | {layout} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure and print."""
    args = arguments()
    import torch

    from benchmarks.machine import facts
    from framework.ops.compiled import use_ops
    from framework.ops.memory import tune_malloc

    tune_malloc()
    use_ops("compiled", args.device)
    machine = facts(args.device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    results = []
    for threads in args.threads if args.device == "cpu" else args.threads[:1]:
        torch.set_num_threads(threads)
        for name in args.sets:
            rows = [asdict(case) | {"ms": measure(case, args)} for case in cases(name, args)]
            results += [row | {"set": name, "threads": threads} for row in rows]
            print(f"\n{name}, {threads} threads, {args.clock} time, {args.rounds} rounds\n")
            print(table(rows), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "clock": args.clock, "rows": results}))


if __name__ == "__main__":
    main()
