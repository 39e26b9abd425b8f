"""Random numbers keyed by what they are for, so that a resumed run is the same run."""

import hashlib

import torch


def keyed_generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """Return a random generator that depends on `key` alone.

    Training keys its draws by (seed, position of the micro-batch among all images seen, phase):
    the position says which process draws, so processes differ, and a run split over more processes
    draws the same numbers as one process that works through the same micro-batches.

    Args:
        device: Device of the numbers.
        *key: Whatever tells this draw from every other one.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little") >> 1
    return torch.Generator(device).manual_seed(seed)
