"""One variant of benchmarks/train_step.py, in a process of its own: answers in lines of JSON."""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

COMPILED_PHASES = ("Gmain", "Dmain")  # torch.compile cannot differentiate twice
GIGA = 1e9


class Step:
    """The phases of a training step, as the LightningModule computes them."""

    def __init__(
        self,
        args: argparse.Namespace,
        plain: bool,
        grouped: bool,
        channels_last: bool,
        low: str,
        compile: bool,
    ) -> None:
        import torch

        from framework.training.data import Batch
        from framework.training.stylegan2.module import StyleGAN2Training
        from framework.training.stylegan2.settings import Machine, Networks, Regularization

        self.module = module = StyleGAN2Training(
            networks=Networks(
                z_dim=args.latent,
                w_dim=args.latent,
                mapping_layers=args.mapping_layers,
                channel_base=args.channel_base,
                discriminator_channel_base=args.discriminator_channel_base,
                channel_max=args.channel_max,
            ),
            regularization=Regularization(r1_gamma=0.05, pl_weight=args.pl_weight),
            machine=Machine(channels_last=channels_last, low_precision=low),  # type: ignore[arg-type]
        )
        size, device = (args.img_size, args.img_size), torch.device(args.device)
        module.assemble(size, 3, 0, device, args.batch)
        module.to(device)
        if grouped:
            module.generator.synthesis.modulation = "grouped"
        if plain:
            use_plain_operations(module.generator, module.discriminator)
        self.phases = {phase.name: phase for phase in module.phases}
        self.optimizers = module.configure_optimizers()
        images = torch.randint(0, 256, (args.batch, 3, *size), dtype=torch.uint8, device=device)
        self.batch = Batch(images, images.new_zeros(args.batch, 0).float(), 0)
        networks = (module.generator.synthesis, module.discriminator)
        torch._dynamo.config.recompile_limit = 64  # every layer has another size
        self.forwards = [(n, n.forward, torch.compile(n.forward)) for n in networks if compile]

    def run(self, name: str) -> None:
        """Forward, backward, gradient check and optimiser step of one phase."""
        from framework.training.gradients import sum_gradients
        from framework.training.randomness import keyed_generator

        for network, eager, compiled in self.forwards:
            network.forward = compiled if name in COMPILED_PHASES else eager
        module, phase = self.module, self.phases[name]
        module.generator.requires_grad_(phase.network is module.generator)
        module.discriminator.requires_grad_(phase.network is module.discriminator)
        optimizer = self.optimizers[phase.network is module.discriminator]
        optimizer.zero_grad(set_to_none=True)
        rng = keyed_generator(module.device, 0, 0, name)
        (module.phase_loss(name, self.batch, rng) / module.batch_size).backward()
        sum_gradients(phase.network.parameters())
        optimizer.step()

    @property
    def low_precision(self) -> str:
        """Dtype of the large blocks."""
        config = self.module.generator.config
        return str(config["low_precision"] if config["low_precision_blocks"] else "float32")


def use_plain_operations(*networks: Any) -> None:
    """Use one operation after another, as in the papers; the networks' outputs stay the same."""
    import torch
    import torch.nn.functional as F

    from framework.models.stylegan2 import generator, layers
    from framework.ops import conv2d_resample, upfirdn2d
    from framework.ops.bias_act import LRELU_GAIN, bias_act
    from framework.ops.modulated_conv2d import modulated_conv2d

    def activate(x, bias, act, gain, clamp):
        gain = gain * (LRELU_GAIN if act == "lrelu" else 1.0)
        return bias_act(x, bias, act, gain, clamp=clamp)

    def synthesis_layer(self, x, w, noise_mode="random", rng=None, modulation="scaled", gain=1.0):
        noise = self._noise(x, noise_mode, rng)
        x = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            self.resample_filter,
            self.up,
            modulation=modulation,
            noise=None if noise is None else noise * self.noise_strength.to(x.dtype),
        )
        return activate(x, self.bias, "lrelu", gain, self.conv_clamp)

    def conv2d_layer(self, x, gain=1.0):
        weight = (self.weight * self.weight_gain).to(x.dtype)
        x = conv2d_resample.conv2d_resample(x, weight, self.resample_filter, down=self.down)
        return activate(x, self.bias, self.act, gain, self.conv_clamp)

    def depthwise(x, kernel, stride, padding):
        weight = kernel.expand(x.shape[1], 1, *kernel.shape)
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])

    ws = torch.randn(
        2, networks[0].num_ws, networks[0].w_dim, device=networks[0].mapping.w_avg.device
    )
    with torch.no_grad():
        before = networks[1](networks[0].synthesis(ws, noise_mode="const"))
        generator.SynthesisLayer.forward = synthesis_layer  # type: ignore[method-assign]
        layers.Conv2dLayer.forward = conv2d_layer  # type: ignore[method-assign]
        upfirdn2d._Filter.apply = depthwise  # type: ignore[method-assign]
        after = networks[1](networks[0].synthesis(ws, noise_mode="const"))
    loose = 0.1 if networks[0].config["low_precision_blocks"] else 1e-3
    torch.testing.assert_close(after, before, rtol=loose, atol=loose)


def serve(args: argparse.Namespace, choice: dict[str, Any]) -> None:
    """Build the networks, warm up, and answer the commands on stdin."""
    import torch

    from benchmarks.machine import CLOCKS, timed
    from framework.errors import UserError
    from framework.ops.compiled import use_ops
    from framework.ops.memory import tune_malloc

    torch.set_num_threads(args.threads)
    if choice.pop("malloc"):
        tune_malloc()
    try:
        use_ops(choice.pop("ops"), args.device)
    except UserError as error:
        return say({"left out": str(error)})
    clock = CLOCKS[args.clock]
    step = Step(args, **choice)
    first = {p: timed(lambda p=p: step.run(p), args.device, time.perf_counter) for p in step.phases}
    say({
        "intervals": {p.name: p.interval for p in step.phases.values()},
        "low": step.low_precision,
        "first_sec": first,
    })  # fmt: skip
    for line in sys.stdin:
        match line.split():
            case ["peak", dtype]:
                say({"peak": peak_flops(args.device, dtype, clock)})
            case ["flops"]:
                say(step_flops(args))
            case ["memory"]:
                say({"memory": peak_memory(args.device)})
            case ["go"]:
                say({
                    phase: statistics.median(
                        timed(lambda p=phase: step.run(p), args.device, clock)
                        for _ in range(args.steps)
                    )
                    for phase in step.phases
                })  # fmt: skip


def missing(low: str, device: str) -> str | None:
    """Why a low precision cannot be measured on a device; None if it can."""
    import torch

    from framework.training.precision import has_native_bfloat16

    on_cpu = device == "cpu"
    if low == "float16" and on_cpu:
        return "float16 is not for CPUs"
    if low == "bfloat16" and on_cpu and not has_native_bfloat16():
        return "this CPU does not multiply bfloat16"
    if low == "bfloat16" and not on_cpu and not torch.cuda.is_bf16_supported():
        return "this GPU does not multiply bfloat16"
    return None


def say(facts: dict[str, Any]) -> None:
    """Send facts to the parent, as a line of JSON."""
    print(json.dumps(facts), flush=True)


def peak_memory(device: str) -> float:
    """Peak memory of this process in gigabytes, on the device or on the machine."""
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated() / GIGA
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGA


def step_flops(args: argparse.Namespace) -> dict[str, int]:
    """Operations that each phase needs, counted on our formulation with torch's operations.

    Torch counts too many for grouped gradients, and none for compiled operations.
    """
    from framework.ops.compiled import use_ops

    use_ops("torch", args.device)
    names = ("plain", "grouped", "channels_last", "compile")
    step = Step(args, low="none", **{name: False for name in names})
    return {phase: count_flops(lambda p=phase: step.run(p)) for phase in step.phases}


def count_flops(function: Callable[[], None]) -> int:
    """Floating-point operations of the convolutions and matrix products in a call."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    total = 0

    # FlopCounterMode itself tracks modules by hooks that refuse autograd.grad on leaves.
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


def peak_flops(device: str, dtype: str, clock: Callable[[], float]) -> float:
    """Operations per second of one large 3x3 convolution."""
    import torch
    import torch.nn.functional as F

    from benchmarks.machine import timed

    images, channels, side = (8, 128, 32) if device == "cpu" else (32, 512, 64)
    kind: Any = {"device": device, "dtype": getattr(torch, dtype)}
    x = torch.randn(images, channels, side, side, **kind).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, **kind).to(memory_format=torch.channels_last)

    def convolve() -> None:
        F.conv2d(x, weight, padding=1)

    with torch.no_grad():
        convolve()
        seconds = statistics.median(timed(convolve, device, clock) for _ in range(5))
        return count_flops(convolve) / seconds


def main() -> None:
    """Serve the variant that the command line describes: settings and choices, as JSON."""
    args = argparse.Namespace(**json.loads(sys.argv[1]))
    choice = json.loads(sys.argv[2])
    if reason := missing(choice["low"], args.device):
        return say({"left out": reason})
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # so that a cold start is measured
        serve(args, choice)


if __name__ == "__main__":
    main()
