"""Facts of this machine from torch, and the time of a picture on it."""

import time
from typing import Any

import torch

from framework.formats.opening import zoo_models
from framework.jobs.models import open_generator, pick_device, render, seed_latents
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.work import synthesis_gflop
from framework.ops.compiled import prospects
from framework.threads import use_threads


def facts() -> dict[str, Any]:
    """Return the devices, their abilities, and the models shipped with this copy."""
    cuda = torch.cuda.is_available()
    devices = range(torch.cuda.device_count())
    return {
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in devices],
        "gpu_memory_gb": [
            round(torch.cuda.get_device_properties(i).total_memory / 2**30, 1) for i in devices
        ],
        "mps": torch.mps.is_available(),
        "bf16": torch.cuda.is_bf16_supported() if cuda else _cpu_bf16(),
        "compiled_ops": ", ".join(
            f"{kind}: {prospects(kind)}" for kind in ("cpu", "cuda")[: 1 + cuda]
        ),
        "zoo": zoo_models(),
    }


def timed_picture(model: str | None, device: str) -> dict[str, Any]:
    """Time one picture of a model, or of a small untrained one if there is none.

    Raises:
        UserError: If model or device are missing.
    """
    where = pick_device(device)
    generator = open_generator(model, device) if model else _untrained().to(where)
    ws = seed_latents(generator, 0, class_index=0 if generator.c_dim else None)
    threads = use_threads(synthesis_gflop(generator))
    render(generator, ws)  # the first one also pays for loading kernels
    start_sec = time.perf_counter()
    render(generator, ws)
    elapsed_ms = 1000 * (time.perf_counter() - start_sec)
    height, width = generator.img_size
    return {
        "will_use": str(where),
        "threads": threads.count,
        "threads_because": threads.why,
        "threads_spin": threads.spin,
        "forward": f"{model or 'untrained model'}, {height}x{width} px",
        "forward_ms": round(elapsed_ms, 1),
    }


def _cpu_bf16() -> str:
    """Return whether the CPU multiplies bf16 itself; otherwise bf16 works but gains nothing."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = any(value for key, value in capabilities.items() if "bf16" in key.lower())
    return "native" if native else "emulated"


def _untrained() -> Generator:
    generator = Generator(
        img_size=(64, 64), z_dim=64, w_dim=64, mapping_layers=2, channel_base=2048, channel_max=64
    )
    return generator.eval().requires_grad_(False)
