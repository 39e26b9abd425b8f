"""A network known by its numbers."""

import hashlib

import torch
from torch import nn


def state_digest(module: nn.Module) -> str:
    """Hexadecimal SHA-256 over the names, shapes and float32 values of a module's state dict.

    The same network gives the same digest whatever the device, file format or (wider) dtype.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        values = tensor.detach().to("cpu", torch.float32).contiguous()
        digest.update(values.numpy().reshape(-1).view("u1"))  # a view: no second copy in memory
    return digest.hexdigest()
