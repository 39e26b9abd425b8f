"""Devices by name, refused with a message if the machine lacks them."""

import torch

from framework.errors import UserError


def usable_device(device: str | torch.device) -> torch.device:
    """Return the device of that name.

    Raises:
        UserError: If the name is no device, or one that this machine does not have.
    """
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError):
        raise UserError(f"{device}: give auto, cpu, cuda, cuda:1 or mps", "device") from None
    looks = {"cpu": lambda: True, "cuda": torch.cuda.is_available, "mps": torch.mps.is_available}
    if not looks.get(result.type, lambda: False)():  # the CPU needs no driver
        raise UserError(
            f"{device}: there is none on this machine; see python edit.py doctor", "device"
        )
    if result.type == "cuda" and (result.index or 0) >= torch.cuda.device_count():
        raise UserError(f"{device}: this machine has {torch.cuda.device_count()}", "device")
    return result
