"""Images per second of StyleGAN2 training steps, by phase: the reference formulation and ours.

    python benchmarks/train_step.py                       # the shipped 64 px configuration
    python benchmarks/train_step.py --threads 1 2 --rounds 5 --variants ours unfused grouped
    python benchmarks/train_step.py --img-size 128 --channel-base 4096 --channel-max 256
    python benchmarks/train_step.py --clock cpu --threads 1   # on a machine that is not idle

The reference formulation makes the modulated weights of each sample and convolves them as groups,
and takes noise, bias, leaky ReLU and gain one pass after another, in float32 and contiguous
tensors. Ours scales activations around one shared convolution, folds what it can into weights,
keeps channels last and freed memory, and takes the device's low precision where it has one.

Every variant lives in a process of its own (the allocator's settings are per process); all of them
are started and warmed up first, then measured in turns, so that a machine that slows down slows
down all of them. Medians over the rounds.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# The rows below `ours` take one change back each.
OURS = {"plain": False, "grouped": False, "channels_last": True, "malloc": True, "low": "auto"}
VARIANTS: dict[str, dict[str, Any]] = {
    "reference": {
        "plain": True, "grouped": True, "channels_last": False, "malloc": False, "low": "none",
    },
    "ours": OURS,
    "unfused": OURS | {"plain": True},
    "grouped": OURS | {"grouped": True},
    "contiguous": OURS | {"channels_last": False},
    "plain-malloc": OURS | {"malloc": False},
    "float32": OURS | {"low": "none"},
}  # fmt: skip
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PHASES = ("Gmain", "Dmain", "Dr1")
COLUMNS = (*PHASES, "step")
R1_INTERVAL = 16
GFLOPS = 1e9


def arguments() -> argparse.Namespace:
    """The command line; defaults are those of configs/stylegan2/toycars64.yaml."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--img-size", type=int, default=64, help="side of the pictures in pixels")
    add("--latent", type=int, default=128, help="length of z and w")
    add("--mapping-layers", type=int, default=2)
    add("--channel-base", type=int, default=1536, help="of the generator")
    add("--discriminator-channel-base", type=int, default=1024)
    add("--channel-max", type=int, default=96)
    add("--batch", type=int, default=16)
    add("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    add("--rounds", type=int, default=3)
    add("--steps", type=int, default=2, help="steps of each phase in a round")
    add("--variants", nargs="+", choices=VARIANTS, default=["reference", "ours"])
    add("--device", default="cpu")
    add("--clock", choices=CLOCKS, default="wall", help="cpu: seconds of this process's threads")
    add("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


class Step:
    """The phases of a training step, as the LightningModule computes them."""

    def __init__(
        self, args: argparse.Namespace, plain: bool, grouped: bool, channels_last: bool, low: str
    ) -> None:
        import torch

        from framework.models.stylegan2.module import StyleGAN2Training
        from framework.training.data import Batch

        module = StyleGAN2Training(
            z_dim=args.latent,
            w_dim=args.latent,
            mapping_layers=args.mapping_layers,
            channel_base=args.channel_base,
            discriminator_channel_base=args.discriminator_channel_base,
            channel_max=args.channel_max,
            channels_last=channels_last,
            low_precision=low,  # type: ignore[arg-type]
        )
        size, device = (args.img_size, args.img_size), torch.device(args.device)
        module.assemble(size, 3, 0, device, args.batch)
        if grouped:
            module.generator.synthesis.modulation = "grouped"
        if plain:
            use_plain_operations(module.generator, module.discriminator)
        self.module = module.to(device)
        self.g_optimizer, self.d_optimizer = module.configure_optimizers()
        images = torch.randint(0, 256, (args.batch, 3, *size), dtype=torch.uint8, device=device)
        self.batch = Batch(images, images.new_zeros(args.batch, 0).float(), 0)

    def run(self, phase: str) -> None:
        """Forward, backward, gradient check and optimiser step of one phase."""
        from framework.training.gradients import sum_gradients
        from framework.training.randomness import keyed_generator

        module = self.module
        network, optimizer = {
            "G": (module.generator, self.g_optimizer),
            "D": (module.discriminator, self.d_optimizer),
        }[phase[0]]
        module.generator.requires_grad_(network is module.generator)
        module.discriminator.requires_grad_(network is module.discriminator)
        optimizer.zero_grad(set_to_none=True)
        rng = keyed_generator(module.device, 0, 0, phase)
        (module.phase_loss(phase, self.batch, rng) / module.batch_size).backward()
        sum_gradients(network.parameters())
        optimizer.step()
        if module.device.type == "cuda":
            import torch

            torch.cuda.synchronize()


def use_plain_operations(*networks: Any) -> None:
    """One operation after another, as the papers write them; the networks' values stay the same."""
    import torch
    import torch.nn.functional as F

    from framework.models.stylegan2 import generator, layers
    from framework.ops import conv2d_resample, upfirdn2d
    from framework.ops.bias_act import bias_act
    from framework.ops.modulated_conv2d import modulated_conv2d

    def synthesis_layer(self, x, w, noise_mode="random", rng=None, modulation="scaled", gain=1.0):
        noise = self._noise(x, noise_mode, rng)
        x = modulated_conv2d(
            x, self.weight, self.affine(w), self.resample_filter, self.up, modulation=modulation
        )
        if noise is not None:
            x = x + noise * self.noise_strength
        return bias_act(x, self.bias) * gain

    def conv2d_layer(self, x, gain=1.0):
        weight = self.weight * self.weight_gain
        x = conv2d_resample.conv2d_resample(x, weight, self.resample_filter, down=self.down)
        return bias_act(x, self.bias, act=self.act) * gain

    def depthwise(x, kernel, stride, padding):
        weight = kernel.expand(x.shape[1], 1, *kernel.shape)
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])

    ws = torch.randn(2, networks[0].num_ws, networks[0].w_dim)
    with torch.no_grad():
        before = networks[1](networks[0].synthesis(ws, noise_mode="const"))
        generator.SynthesisLayer.forward = synthesis_layer  # type: ignore[method-assign]
        layers.Conv2dLayer.forward = conv2d_layer  # type: ignore[method-assign]
        upfirdn2d._Filter.apply = depthwise  # type: ignore[method-assign]
        after = networks[1](networks[0].synthesis(ws, noise_mode="const"))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def worker(args: argparse.Namespace) -> None:
    """Serve one variant: a line of JSON with its times for every line read from stdin."""
    import torch

    from framework.ops.memory import tune_malloc

    torch.set_num_threads(args.threads[0])
    clock = CLOCKS[args.clock]
    choice = dict(VARIANTS[args.worker])
    if choice.pop("malloc"):
        tune_malloc()
    # What the step needs: counted on our formulation, for torch counts grouped gradients too high.
    ours = Step(args, plain=False, grouped=False, channels_last=True, low="none")
    flops = {phase: count_flops(lambda p=phase: ours.run(p)) for phase in PHASES}
    step = Step(args, **choice)
    for phase in PHASES:
        step.run(phase)
    say({"flops": flops, "torch": torch.__version__})
    for line in sys.stdin:
        if line.strip() == "peak":
            say({"peak": peak_flops(args.device, clock)})
        else:
            times = [
                median_seconds(lambda p=phase: step.run(p), args.steps, clock) for phase in PHASES
            ]
            say(dict(zip(PHASES, times, strict=True)))


def say(facts: dict[str, Any]) -> None:
    """Answer the parent."""
    print(json.dumps(facts), flush=True)


def count_flops(function: Callable[[], None]) -> int:
    """Floating-point operations of the convolutions and matrix products in a call."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    total = 0

    # FlopCounterMode itself follows modules with hooks that refuse autograd.grad on leaves.
    class Counter(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal total
            result = function(*args, **(kwargs or {}))
            if function._overloadpacket in flop_registry:
                count = flop_registry[function._overloadpacket]
                total += count(*args, **(kwargs or {}), out_val=result)
            return result

    with Counter():
        function()
    return total


def median_seconds(function: Callable[[], None], repeats: int, clock: Callable[[], float]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = clock()
        function()
        times.append(clock() - start)
    return statistics.median(times)


def peak_flops(device: str, clock: Callable[[], float]) -> float:
    """What one large 3x3 convolution reaches, in operations per second."""
    import torch
    import torch.nn.functional as F

    x = torch.randn(8, 128, 32, 32, device=device)
    x = x.to(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3, device=device)

    def convolve() -> None:
        F.conv2d(x, weight, padding=1)
        if device != "cpu":
            torch.cuda.synchronize()

    with torch.no_grad():
        convolve()
        return count_flops(convolve) / median_seconds(convolve, 5, clock)


class Worker:
    """A variant's process."""

    def __init__(self, variant: str, threads: int) -> None:
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", variant]
        command += ["--threads", str(threads)]
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def read(self) -> dict[str, Any]:
        """The next answer."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            sys.exit("a worker ended early; its message is above")
        return json.loads(line)

    def ask(self, what: str) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        self.process.stdin.write(what + "\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return self.read()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def per_image(times: dict[str, float], batch: int) -> dict[str, float]:
    """Images per second of each phase and of the whole step, R1 counted once in its interval."""
    whole = times["Gmain"] + times["Dmain"] + times["Dr1"] / R1_INTERVAL
    return {phase: batch / times[phase] for phase in PHASES} | {"step": batch / whole}


def compare(args: argparse.Namespace, threads: int) -> None:
    """Measure all variants with one number of threads and print a table."""
    workers = {name: Worker(name, threads) for name in args.variants}
    facts = {name: process.read() for name, process in workers.items()}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    peaks = []
    for _ in range(args.rounds):
        for name, process in workers.items():
            rounds[name].append(per_image(process.ask("go"), args.batch))
        peaks.append(next(iter(workers.values())).ask("peak")["peak"])
    for process in workers.values():
        process.close()
    speeds = {
        name: {c: statistics.median(r[c] for r in held) for c in COLUMNS}
        for name, held in rounds.items()
    }
    facts = next(iter(facts.values()))
    print(f"\n{threads} threads, {args.clock} time, torch {facts['torch']}")
    report(args.batch, speeds, facts["flops"], statistics.median(peaks))


def report(
    batch: int, speeds: dict[str, dict[str, float]], flops: dict[str, int], peak: float
) -> None:
    """Print a table: images per second, share of the peak, factor over the first variant."""
    print(f"one large convolution: {peak / GFLOPS:.1f} GFLOP/s")
    per_image = (flops["Gmain"] + flops["Dmain"] + flops["Dr1"] / R1_INTERVAL) / batch
    print(f"a step: {per_image / GFLOPS:.2f} GFLOP an image, R1 every {R1_INTERVAL} batches")
    print(f"{'images/s':16}" + "".join(f"{c:>9}" for c in COLUMNS) + f"{'of peak':>9}{'factor':>8}")
    first = next(iter(speeds.values()))["step"]
    for name, speed in speeds.items():
        row = f"{name:16}" + "".join(f"{speed[c]:9.1f}" for c in COLUMNS)
        print(row + f"{per_image * speed['step'] / peak:9.0%}{speed['step'] / first:7.2f}x")


def main() -> None:
    """Measure and print."""
    args = arguments()
    if args.worker:
        return worker(args)
    print(f"{processor()}, {os.cpu_count()} cores, {platform.platform()}", flush=True)
    for threads in args.threads:
        compare(args, threads)


def processor() -> str:
    """Name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
