"""Networks identified by their weights."""

import hashlib
from functools import cached_property

import torch
from torch import nn


class Digested(nn.Module):
    """A module that is identified by its weights."""

    @cached_property
    def digest(self) -> str:
        """The `state_digest` of a frozen module, computed at the first access."""
        return state_digest(self)


def state_digest(module: nn.Module) -> str:
    """Return the SHA-256 over names, shapes and float32 values of a module's state dict, in hex.

    The same network gives the same digest whatever the device, file format or (wider) dtype.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        values = tensor.detach().to("cpu", torch.float32).contiguous()
        digest.update(values.numpy().reshape(-1).view("u1"))  # a view: no second copy in memory
    return digest.hexdigest()
