"""Model files of other programs, whose dialect is recognised by content, not by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import nvidia, pixel2style2pixel, rosinality, state_dict, tensorflow
from framework.formats.contents import Contents, NetworkParts, sample_of
from framework.formats.file_kinds import (
    LOOKED_AT,
    NUMPY,
    kind_of_zip,
    looks_like_old_pickle,
)
from framework.formats.model_folder import build, check_finite
from framework.formats.other_designs import other_design
from framework.formats.pickle_machine import Source
from framework.formats.safetensors_file import looks_like_safetensors, read_safetensors
from framework.formats.source_file import ZEROS_OF_NUMBERS, read_file, refuse_unfinished
from framework.formats.storages import StoredTensor
from framework.formats.symbols import StoredObject, with_tensors
from framework.formats.torch_files import (
    LEGACY_START,
    read_plain_pickle,
    read_stream,
    read_zip,
)
from framework.formats.zip_entries import ZIP_START, first_names
from framework.models.encoders.weights import EncoderWeights
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.statistics import styles_of_seeds

_MOST_DRAWN = 4096


class Dialect(NamedTuple):
    """Functions that recognise and read the files of one program."""

    recognises: Callable[[Any], bool]
    read: Callable[[Any, str], Contents]


DIALECTS = (
    Dialect(nvidia.recognises, nvidia.read),
    Dialect(tensorflow.recognises, tensorflow.read),
    Dialect(state_dict.recognises, state_dict.read),
    Dialect(pixel2style2pixel.recognises, pixel2style2pixel.read),
    Dialect(rosinality.recognises, rosinality.read),
)


def read_foreign(path: Path) -> tuple[Contents, int]:
    """Read a model file of any dialect; its tensors stay in it until they are used.

    Returns:
        The contents, and the file's length in bytes.

    Raises:
        UnsafeCheckpoint: If the file asks for code to be run.
        BrokenCheckpoint: If the file is damaged or incomplete.
        UserError: If the file is not a model, or one of another design.
    """
    source = read_file(path)
    return read_source(source), len(source.data)


def build_foreign(contents: Contents, kind: str, where: str, file_bytes: int) -> nn.Module:
    """Build one network of the contents, float32, frozen, in evaluation mode, with `provenance`.

    Kinds are `generator` (the averaged one where there are two), `training_generator` and
    `discriminator`.
    """
    parts = contents.networks.get(kind)
    if parts is None and kind == "training_generator":
        parts = contents.networks.get("generator")
    if parts is None:
        kinds = ", ".join(contents.networks) or "none"
        raise UserError(f"{where}: this {contents.dialect} file has no {kind} (it has: {kinds})")
    tensors = parts.read(where, file_bytes)
    family = "discriminator" if kind == "discriminator" else "generator"
    network = build(family, parts.config, tensors, where)
    if contents.needs_w_avg and isinstance(network, Generator):
        if max(network.z_dim, network.c_dim) > _MOST_DRAWN:
            raise UserError(f"{where}: no mean style in it, and z or labels are too long for one")
        compute_w_avg(network)
    facts = {"dialect": contents.dialect, "notes": contents.notes, **contents.provenance}
    network.provenance = facts  # type: ignore[assignment]
    return network


def encoder_weights(contents: Contents, where: str, file_bytes: int) -> EncoderWeights:
    """Copy the encoder out of the contents."""
    parts = contents.encoder
    if parts is None:
        raise UserError(f"{where}: this {contents.dialect} file has no encoder")
    mean = {} if parts.latent_avg is None else {"latent_avg": parts.latent_avg}
    tensors = NetworkParts({}, {**parts.tensors, **mean}).read(where, file_bytes)
    check_finite(tensors, where)
    latent_avg = tensors.pop("latent_avg") if mean else None
    return EncoderWeights(parts.encoder_type, tensors, latent_avg, parts.opts)


@torch.no_grad()
def compute_w_avg(generator: Generator, samples: int = 10_000) -> None:
    """Set `w_avg` to the mean of mapped z from seed 0.

    If the generator takes labels, all of them are equally frequent.
    """
    total = torch.zeros(generator.w_dim)
    for ws in styles_of_seeds(generator, samples, seed=0):
        total += ws[:, 0].sum(dim=0)
    generator.mapping.w_avg.copy_(total / samples)


def read_source(source: Source) -> Contents:
    """Read as `read_foreign`, from bytes in memory."""
    return read_value(unfold(source), source.label)


def read_value(value: Any, where: str) -> Contents:
    """Read the contents from the inert values of a file; errors as in `read_foreign`."""
    for dialect in DIALECTS:
        if dialect.recognises(value):
            return dialect.read(value, where)
    if design := other_design(value):
        raise UserError(f"{where}: {design}")
    raise UserError(f"{where}: no StyleGAN2 of a known kind; it holds {_outline(value)}")


def unfold(source: Source) -> Any:
    """Read a file's inert values, by its first bytes; numpy's arrays become tensors."""
    return with_tensors(_unfold(source))


def _unfold(source: Source) -> Any:
    start = bytes(source.data[:LOOKED_AT])
    of_pickle = start[:1] == b"\x80" or looks_like_old_pickle(start)
    if start.startswith(ZIP_START):
        if what := kind_of_zip(first_names(source)):
            raise BrokenCheckpoint(f"{source.label}: {what}")
        refuse_unfinished(source)
        return read_zip(source)
    if start.startswith(LEGACY_START):
        refuse_unfinished(source, ZEROS_OF_NUMBERS)
        return read_stream(source)
    if of_pickle:
        refuse_unfinished(source)
        return read_plain_pickle(source)
    if looks_like_safetensors(source):
        refuse_unfinished(source, ZEROS_OF_NUMBERS)
        return read_safetensors(source)
    if start.startswith(NUMPY.sign):
        raise BrokenCheckpoint(f"{source.label}: {NUMPY.what}")
    raise BrokenCheckpoint(
        f"{source.label}: no pickle, torch or safetensors file (it begins with {start[:8]!r})"
    )


def _outline(value: Any) -> str:
    """Describe in a few words a value that is not a model."""
    if isinstance(value, StoredObject):
        return f"an object of class {value.class_name[:60]}"
    if isinstance(value, StoredTensor):
        return f"a tensor of shape {value.shape}"
    if isinstance(value, dict):
        inner = [(key, item) for key, item in value.items() if isinstance(item, dict) and item]
        within = "".join(f"; {str(key)[:40]} holds {sample_of(item)}" for key, item in inner[:1])
        count = "1 entry" if len(value) == 1 else f"{len(value)} entries"
        return f"{count}, such as {sample_of(value)}{within}"
    return f"a {type(value).__name__}"
