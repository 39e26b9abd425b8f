"""Codes of all pictures of a data set, computed once and kept in the cache folder."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from framework.errors import BrokenCheckpoint
from framework.files import cache_folder
from framework.inversion.embed import codes_of
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.stylegan2 import Generator
from framework.tensor_files import read_tensors, write_tensors

_AT_ONCE = 32
_SAID_EVERY = 2048  # pictures


def cached_codes(
    generator: Generator,
    encoder: StyleEncoder,
    encoder_digest: str,
    pictures: Tensor,
    fingerprint: str,
    report: Callable[[str], None],
) -> Tensor:
    """Return the encoder's codes of pictures, (M, num_ws, w_dim), in half precision.

    Args:
        generator: The encoder's generator.
        encoder: The frozen encoder.
        encoder_digest: Digest of its weights.
        pictures: uint8 (M, C, H, W).
        fingerprint: The data set's; with the digests it names the file in the cache folder.
        report: Gets lines of progress.
    """
    key = f"{fingerprint} {generator.digest} {encoder_digest} {len(pictures)}"
    path = cache_folder("codes") / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    shape = (len(pictures), generator.num_ws, generator.w_dim)
    codes = _read(path, shape)
    if codes is None:
        codes = torch.empty(shape, dtype=torch.float16)
        for first in range(0, len(pictures), _AT_ONCE):
            part = pictures[first : first + _AT_ONCE].float() / 127.5 - 1
            codes[first : first + _AT_ONCE] = codes_of(generator, encoder, part).cpu()
            if first and first % _SAID_EVERY == 0:
                report(f"codes of {first} of {len(pictures)} pictures")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"codes": codes}, {"key": key})
    return codes


def _read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The codes of the cache; None if they are not there, or not whole."""
    if not path.is_file():
        return None
    try:
        codes = read_tensors(path)[0].get("codes")
    except BrokenCheckpoint:
        return None
    fits = codes is not None and codes.shape == shape and codes.dtype == torch.float16
    return codes if fits else None
