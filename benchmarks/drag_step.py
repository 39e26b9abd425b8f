"""The cost of a drag's step on random networks of configuration F: seconds, passes, memory.

    python benchmarks/drag_step.py                                # 256 px, one thread
    python benchmarks/drag_step.py --sizes 512 1024 --steps 1 --b64
    python benchmarks/drag_step.py --sizes 16 --channel-base 512 --latent 32 --rounds 2
    python benchmarks/drag_step.py --device cuda --clock wall --sizes 256 512 1024 --steps 20 --b64

*straightforward* is the paper's step as one writes it first: the whole picture, features resized to
its size, weights that get gradients (modulated weights convolved), loss.backward(), torch's Adam.
*official* is the method of that name, modulated weights and untuned allocator included; *draggan*
and *dragline* are the methods as they are used. *N at once*: the step of `draggan` for N pictures
in one pass, for each of them. *graph* and *float16* (CUDA alone): the same recorded, and with the
four largest blocks in half precision. *b64*: `draggan` on features of half the resolution.

Each row is a process of its own, one after the other, in rounds; medians of all steps. Passes begin
at the constant or end at the latents, GFLOP count convolutions and matrix products, *of peak* is
the row's GFLOP/s in one large convolution's, memory the process's peak (on CUDA the device's).
`dragline` is measured over a whole drag, its beginning and end included. It is given its statistics
(measured once for a model, not for a drag), and what its random discriminator says weighs nothing.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.machine import CLOCKS, facts, timed  # noqa: E402
from benchmarks.step_worker import GIGA, count_flops, peak_flops, peak_memory  # noqa: E402
from framework.drag.algorithm import drag_state  # noqa: E402
from framework.drag.features import patches  # noqa: E402
from framework.drag.methods import official  # noqa: E402
from framework.drag.motion import directions, motion_loss  # noqa: E402
from framework.drag.settings import DragSettings  # noqa: E402
from framework.drag.statistics import Statistics, effects_of, scales_of, spread_of  # noqa: E402
from framework.drag.step import DragStep  # noqa: E402
from framework.drag.stylegan2 import MOST_PROBES, StyleGAN2  # noqa: E402
from framework.drag.trackers.nearest import search  # noqa: E402
from framework.models.frozen import Adam, adam_update  # noqa: E402
from framework.models.stylegan2 import Discriminator, Generator  # noqa: E402
from framework.ops.memory import tune_malloc  # noqa: E402

HALF_BLOCKS = 4
PAPER_BLOCK_PX = 128
WAY = 40 / 512  # of the pull, as a share of the height: too far to arrive while it is measured
ROWS = ("straightforward", "official", "draggan", "dragline", "4 at once")
ON_CUDA = ("float16", "graph", "float16 graph")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[256])
    add("--rows", nargs="+", help="by default all that the device can do; '8 at once' is one, too")
    add("--b64", action="store_true", help="draggan again, on features of half the resolution")
    add("--steps", type=int, default=2, help="measured in a round, after one that is not")
    add("--rounds", type=int, default=1)
    add("--channel-base", type=int, default=32768)
    add("--channel-max", type=int, default=512)
    add("--latent", type=int, default=512, help="length of z and w")
    add("--threads", type=int, default=1)
    add("--device", default="cpu")
    add("--clock", choices=tuple(CLOCKS), default="cpu", help="cpu: of this process's threads")
    add("--json", type=Path, help="file for all numbers")
    add("--serve", help=argparse.SUPPRESS)  # a row and a size, in a process of its own
    return parser.parse_args()


@dataclass(frozen=True)
class Row:
    """What a row measures, as its name says."""

    method: str
    half: bool
    graph: bool
    at_once: int
    b64: bool

    @classmethod
    def named(cls, name: str) -> "Row":
        """The row of a name, such as "draggan", "draggan b64", "4 at once", "float16 graph"."""
        words = name.split()
        at_once = int(words[0]) if words[1:] == ["at", "once"] else 1
        graph = "graph" in words
        method = words[0] if words[0] in ROWS else "step" if graph or at_once > 1 else "draggan"
        return cls(method, "float16" in words, graph, at_once, "b64" in words)

    @property
    def as_published(self) -> bool:
        """Whether the row does without our choices: modulated weights, an untuned allocator."""
        return self.method in ("straightforward", "official")


class Model(StyleGAN2):
    """A generator whose statistics are given, and whose discriminator has little to say."""

    def realism(self, picture: Tensor) -> Tensor | None:
        """The random discriminator's logit, computed and hardly heard."""
        logit = super().realism(picture)
        return None if logit is None else 1e-6 * logit

    def statistics(self) -> Statistics:
        """The true spread of w, the scales of one picture, and a metric without meaning."""
        like = next(self.generator.parameters())
        w = self.generator.mapping(torch.randn(1024, self.generator.z_dim).to(like))[:, 0]
        count = self.layers * self.generator.w_dim
        scales = scales_of(self.maps(self.view(w[:1, None].expand(-1, self.generator.num_ws, -1))))
        effects = effects_of(torch.randn(MOST_PROBES, count)).to(like)
        return Statistics(spread_of(w), effects, scales)


class Passes:
    """Counts passes: those that begin at the constant, and those that go back."""

    def __init__(self, model: StyleGAN2) -> None:
        self.forward = self.backward = 0
        for owner, name, what in (
            (model.synthesis, "_run", "forward"),
            (torch.autograd, "grad", "backward"),
            (Tensor, "backward", "backward"),
        ):
            setattr(owner, name, self._counted(getattr(owner, name), what))

    def _counted(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if what == "backward" or args[1] == 0:  # the index of the first block
                setattr(self, what, getattr(self, what) + 1)
            return function(*args, **kwargs)

        return counted


def straightforward(
    generator: Generator, ws: Tensor, handle: Tensor, target: Tensor, settings: DragSettings
) -> Iterator[Tensor]:
    """The paper's steps, without a thought of their cost; yields the latents."""
    size, synthesis = (int(generator.img_size[0]), int(generator.img_size[1])), generator.synthesis
    sizes, resolution = settings.sizes(size, 1), StyleGAN2(generator, settings).resolution
    rows, columns = torch.meshgrid(
        *(torch.arange(s, device=ws.device) for s in size), indexing="ij"
    )
    pixels = torch.stack([columns, rows], dim=-1).to(ws)
    corner, reach = pixels[-1, -1], sizes.tracking_radius_px
    moving = ws[:, : settings.layers].clone().requires_grad_()
    optimizer = torch.optim.Adam([moving], settings.learning_rate)
    point, wanted = handle, None
    while True:
        whole = torch.cat([moving, ws[:, settings.layers :]], dim=1)
        partial = synthesis.partial(whole, resolution, noise_mode="const")
        synthesis.finish(partial, whole, noise_mode="const")
        features = official.resized(partial.x.to(ws.dtype), size)
        if wanted is None:
            wanted = features.detach()[0, :, int(point[1]), int(point[0])]
        else:
            x, y = (int(i) for i in point.round())
            top, left = max(0, y - reach), max(0, x - reach)
            near = features.detach()[0, :, top : y + reach + 1, left : x + reach + 1]
            best = int((near - wanted[:, None, None]).abs().sum(dim=0).argmin())
            point = point.new_tensor([left + best % near.shape[2], top + best // near.shape[2]])
        yield whole.detach()
        step = (target - point) / (target - point).norm().clamp(min=1)
        disc = pixels[(pixels - point).norm(dim=-1) <= sizes.motion_radius_px]
        grid = torch.stack([disc, disc + step])[:, None] / corner * 2 - 1
        here, ahead = F.grid_sample(features.expand(2, -1, -1, -1), grid, align_corners=True)
        optimizer.zero_grad()
        (ahead - here.detach()).abs().mean().backward()
        optimizer.step()


def several(
    model: StyleGAN2,
    ws: Tensor,
    handle: Tensor,
    target: Tensor,
    settings: DragSettings,
    graph: bool,
) -> Iterator[Tensor]:
    """The step of `draggan` for N pictures in one pass, recorded once if `graph`."""
    sizes = settings.sizes(model.img_size, 1)
    points, targets = (p.expand(len(ws), 1, 2).clone() for p in (handle, target))
    with torch.no_grad():
        first = model.view(ws).features
    wanted = [patches(f[None], p, 0, sizes.img_size) for f, p in zip(first, points, strict=True)]
    ws, adam = ws.clone(), Adam.new(model.trainable(ws))
    gradient = torch.zeros_like(adam.mean)

    def look() -> None:
        """Find the points again and make the gradient, in place: a graph has fixed addresses."""
        with torch.enable_grad():
            view = model.view(ws)
            losses = []
            for i, features in enumerate(view.features):
                seen = features[None].detach()
                found, _ = search(
                    seen, points[i], wanted[i], sizes.tracking_radius_px, sizes.img_size
                )
                points[i] = found
                steps = directions(found, targets[i])
                losses.append(
                    motion_loss(
                        features[None], found, steps, sizes.motion_radius_px, sizes.img_size
                    ).sum()
                )
            gradient.copy_(model.gradient(view, torch.stack(losses).sum()))

    run = _recorded(look) if graph else look
    while True:
        run()
        yield ws
        adam, update = adam_update(adam, gradient, settings.learning_rate)
        ws.copy_(model.moved(ws, update))


def _recorded(function: Callable[[], None]) -> Callable[[], None]:
    """A CUDA graph of a function that works in place; it runs three times before."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def networks(args: argparse.Namespace, row: Row, size: int) -> tuple[Generator, Discriminator]:
    """Random networks, as a row has them."""
    torch.manual_seed(0)
    widths = {"channel_base": args.channel_base, "channel_max": args.channel_max}
    half = {"low_precision_blocks": HALF_BLOCKS, "conv_clamp": 256.0} if row.half else {}
    generator = Generator(size, z_dim=args.latent, w_dim=args.latent, **widths, **half)
    generator.to(args.device).eval().requires_grad_(row.method == "straightforward")
    if row.as_published:
        generator.synthesis.modulation = "grouped"
    discriminator = Discriminator(size, **widths) if row.method == "dragline" else None
    if discriminator is not None:
        discriminator.to(args.device).eval().requires_grad_(False)
    return generator, discriminator  # type: ignore[return-value]


def stream(args: argparse.Namespace, row: Row, size: int) -> tuple[StyleGAN2, Iterator[Any]]:
    """A row's model, and its steps."""
    generator, discriminator = networks(args, row, size)
    preset = row.method if row.method in ("official", "dragline") else "draggan"
    settings = DragSettings.preset(preset)
    if row.b64:
        settings = replace(settings, feature_resolution=min(PAPER_BLOCK_PX, size) // 2)
    model = Model(generator, settings, discriminator)
    with torch.no_grad():
        z = torch.randn(row.at_once, args.latent).to(args.device)
        ws = generator.mapping(z, truncation_psi=0.7)
    middle = size // 2
    handle = torch.tensor([float(middle), float(middle)], device=args.device)
    target = handle + torch.tensor([WAY * size, 0.0], device=args.device)
    if row.method == "straightforward":
        return model, straightforward(generator, ws, handle, target, settings)
    if row.method == "step":
        return model, several(model, ws, handle, target, settings, row.graph)
    return model, drag_state(model, ws, handle[None], target[None], None, settings)


def serve(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one row at one size."""
    name, size = json.loads(args.serve)
    row = Row.named(name)
    torch.set_num_threads(args.threads)
    if not row.as_published:
        tune_malloc()
    clock = CLOCKS[args.clock]
    model, steps = stream(args, row, size)
    passes, last = Passes(model), None
    whole = row.method == "dragline"

    def run(count: int | None) -> None:
        nonlocal last
        last = deque(itertools.islice(steps, count), maxlen=1)[-1]

    if not whole:
        run(2)  # the picture before, and one step
        passes.forward = passes.backward = 0
    seconds = timed(lambda: run(None if whole else args.steps), args.device, clock)
    forward, backward, memory = passes.forward, passes.backward, peak_memory(args.device)
    count, counted, end = args.steps, 1, ""
    if isinstance(last, DragStep) and whole:
        count = counted = max(1, last.step)
        end = (
            f"{last.step} steps, {forward} forward and {backward} backward passes,"
            f" then {last.status}, {last.max_distance_px:.1f} of {WAY * size:.0f} px left"
        )
        model, steps = stream(args, row, size)
    flops = 0 if row.graph else count_flops(lambda: run(None if whole else 1))
    each = 1 / count / row.at_once
    return {
        "sec": seconds * each,
        "forward": forward * each,
        "backward": backward * each,
        "end": end,
        "gflop": flops / GIGA / counted / row.at_once,
        "memory_gb": memory,
        "peak": peak_flops(args.device, "float16" if row.half else "float32", clock) / GIGA,
    }


def measure(args: argparse.Namespace, name: str, size: int) -> dict[str, Any] | None:
    """One row in a process of its own; None if that fails, for which it says why itself."""
    command = [sys.executable, __file__, *sys.argv[1:], "--serve", json.dumps([name, size])]
    env = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env)
    if done.returncode:
        return None
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{size} px, {name}: {result['sec']:.3g} s a step", file=sys.stderr, flush=True)
    return result


def rows_of(args: argparse.Namespace) -> list[str]:
    """The names of the rows."""
    names: list[str] = list(args.rows or (ROWS if args.device == "cpu" else (*ROWS, *ON_CUDA)))
    if args.b64:
        names += ["draggan b64"]
    return names


def compare(args: argparse.Namespace, size: int) -> list[dict[str, Any]]:
    """All rows at one size, in rounds; print a line for each."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in rows_of(args)}
    for _ in range(args.rounds):
        for name, results in measured.items():
            result = measure(args, name, size)
            results += [result] if result else []
    rows: list[dict[str, Any]] = []
    for name, results in measured.items():
        if not results:
            print(f"| {size} | {name} | failed, see above |", flush=True)
            continue
        row = {"size": size, "row": name, "results": results}
        for number in ("sec", "forward", "backward", "gflop", "memory_gb", "peak"):
            row[number] = statistics.median(result[number] for result in results)
        rows.append(row)
    slow = next((row["sec"] for row in rows if row["row"] == "official"), None)
    for row in rows:
        reached = f"{row['gflop'] / row['sec'] / row['peak']:.0%}" if row["gflop"] else "–"
        factor = f"{slow / row['sec']:.1f}×" if slow else "–"
        print(
            f"| {size} | {row['row']} | {row['sec']:.3g} | {factor} | {row['forward']:.2g}"
            f" | {row['backward']:.2g} | {row['gflop']:.3g} | {reached} | {row['memory_gb']:.2f} |",
            flush=True,
        )
    for row in rows:
        for end in {result["end"] for result in row["results"]} - {""}:
            print(f"\n{size} px, a whole drag by {row['row']}: {end}\n")
    return rows


def main() -> None:
    """Measure and print a Markdown table."""
    args = arguments()
    if args.serve:
        print(json.dumps(serve(args)))
        return
    machine = facts(args.device)
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    print(
        f"{args.threads} threads, {args.clock} time, {args.rounds} rounds of {args.steps} steps\n"
    )
    print("| px | row | s a step | of official | forward | backward | GFLOP | of peak | GB |")
    print("|---" * 9 + "|", flush=True)
    rows = [row for size in args.sizes for row in compare(args, size)]
    if args.json:
        setting = {k: v for k, v in vars(args).items() if k not in ("json", "serve")}
        args.json.write_text(json.dumps({"machine": machine, "settings": setting, "rows": rows}))


if __name__ == "__main__":
    main()
