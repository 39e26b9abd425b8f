"""`edit.py doctor`: what this machine has, what will be used, whether it works."""

import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "lightning", "wandb", "numpy", "pillow", "safetensors")
ROOM_NEEDED_GB = 1.0


def doctor(model: str | None = None, json: bool = False, device: str = "auto") -> None:
    """Say what this machine has, what will be used, and time one picture.

    Exit code 0 if an edit can be done here, 2 with the reason if not.

    Examples::

      python edit.py doctor
      python edit.py doctor --json --device cpu

    Args:
        model: Model for the timed forward; by default the first of the zoo.
        json: Print one line of JSON instead of the table.
        device: Device to try: auto, cpu, cuda, cuda:1 or mps.
    """
    from framework.cli.common import print_json
    from framework.errors import UserError

    facts, problems, notes = examine(model, device)
    if json:
        print_json({**facts, "problems": problems, "notes": notes})
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name:<{width}}  {_words(value)}")
        for note in notes:
            print(f"note: {note}")
    if problems:
        raise UserError("; ".join(problems))


def examine(model: str | None, device: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """Gather the facts, what stands in the way of an edit, and what is only a pity, in lines."""
    from framework.dashboard import resolve_mode
    from framework.media.video import ffmpeg_executable

    problems: list[str] = []
    notes: list[str] = []
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in PACKAGES},
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "ffmpeg": ffmpeg_executable(),
        "wandb_mode": resolve_mode(),
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }
    if facts["ffmpeg"] is None:
        notes.append("no ffmpeg: pip install imageio-ffmpeg, or use --no-video")
    if facts["disk_free_gb"] < ROOM_NEEDED_GB:
        notes.append(f"{facts['disk_free_gb']} GB free here: edits need up to {ROOM_NEEDED_GB}")
    facts.update(_torch_facts(problems))
    if "threads" in facts:
        from framework.formats import zoo_models

        facts["zoo"] = zoo_models()
        facts.update(_timed_forward(model or next(iter(facts["zoo"]), None), device, problems))
    return facts, problems, notes


def _torch_facts(problems: list[str]) -> dict[str, Any]:
    """Facts that need torch, and whether torchvision was built for it."""
    from framework.command_line import TORCHVISION_MISMATCH

    try:
        import torch

        from framework.ops.compiled import prospects
    except (ImportError, OSError) as error:
        problems.append(f"torch cannot be imported ({str(error).splitlines()[0]})")
        return {}
    try:
        import torchvision  # noqa: F401

        fits = True
    except (ImportError, RuntimeError, OSError):
        fits = False
        problems.append(TORCHVISION_MISMATCH)
    cuda = torch.cuda.is_available()
    return {
        "torchvision_fits": fits,
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "gpu_memory_gb": [
            round(torch.cuda.get_device_properties(i).total_memory / 2**30, 1)
            for i in range(torch.cuda.device_count())
        ],
        "mps": torch.mps.is_available(),
        "bf16": torch.cuda.is_bf16_supported() if cuda else _cpu_bf16(),
        "compiled_ops": ", ".join(
            f"{kind}: {prospects(kind)}" for kind in ("cpu", "cuda")[: 1 + cuda]
        ),
    }


def _cpu_bf16() -> str:
    """Tell whether the CPU multiplies bf16 itself; without it bf16 works but gains nothing."""
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = any(value for key, value in capabilities.items() if "bf16" in key.lower())
    return "native" if native else "emulated"


def _timed_forward(model: str | None, device: str, problems: list[str]) -> dict[str, Any]:
    """Time one picture of a zoo model, or of a small untrained one where there is none."""
    from framework.errors import UserError, named

    try:
        with named({"model": "--model", "device": "--device"}):
            return _measured(model, device)
    except UserError as error:
        problems.append(str(error))
        return {}


def _measured(model: str | None, device: str) -> dict[str, Any]:
    from framework.cli.common import open_generator, pick_device, render, seed_latents
    from framework.models.stylegan2.work import synthesis_gflop
    from framework.threads import use_threads

    chosen = pick_device(device)
    generator = open_generator(model, device) if model else _untrained().to(chosen)
    ws = seed_latents(generator, 0, class_index=0 if generator.c_dim else None)
    threads = use_threads(synthesis_gflop(generator))
    render(generator, ws)  # the first one also pays for loading kernels
    start_sec = time.perf_counter()
    render(generator, ws)
    elapsed_ms = 1000 * (time.perf_counter() - start_sec)
    height, width = generator.img_size
    return {
        "will_use": str(chosen),
        "threads": threads.count,
        "threads_because": threads.why,
        "threads_spin": threads.spin,
        "forward": f"{model or 'untrained model'}, {height}x{width} px",
        "forward_ms": round(elapsed_ms, 1),
    }


def _untrained() -> Any:
    from framework.models.stylegan2 import Generator

    generator = Generator(
        img_size=(64, 64), z_dim=64, w_dim=64, mapping_layers=2, channel_base=2048, channel_max=64
    )
    return generator.eval().requires_grad_(False)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "missing" if value is None else str(value)
