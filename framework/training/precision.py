"""The low precision, if any, in which a device computes convolutions faster."""

from typing import Literal

import torch

Choice = Literal["auto", "none", "float16", "bfloat16"]
Autocast = Literal["auto", "none", "bfloat16"]  # float16 would need scaled losses


def has_native_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware; without, it is ten times slower."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def pick_low_precision(choice: Choice, device: torch.device) -> str | None:
    """Return the dtype's name for the large blocks, or None for float32 throughout.

    `auto` is float16 on CUDA, as usual in the field, and bfloat16 on CPUs with instructions for it.
    """
    if choice == "none":
        return None
    if choice != "auto":
        return choice
    if device.type == "cuda":
        return "float16"
    return "bfloat16" if device.type == "cpu" and has_native_bfloat16() else None


def autocast(choice: Autocast, device: torch.device) -> torch.autocast:
    """Return a context in which convolutions and matrices compute as chosen.

    `auto` is bfloat16 on CUDA and on CPUs with instructions for it, else float32.
    """
    quick = device.type == "cuda" or (device.type == "cpu" and has_native_bfloat16())
    low = choice == "bfloat16" or (choice == "auto" and quick)
    return torch.autocast(device.type, torch.bfloat16, enabled=low)


def slow_remark(choice: Choice, device: torch.device) -> str | None:
    """Return a line if the device has no instructions for the chosen precision, else None."""
    native = choice == "bfloat16" and has_native_bfloat16()
    if choice in ("auto", "none") or device.type != "cpu" or native:
        return None
    return (
        f"--model.machine.low_precision {choice}: this processor has no instructions for it and "
        "takes ten times as long; none or auto are as good"
    )
