"""Safetensors files of our own: checked before they are opened, identified by their contents."""

import hashlib
import json
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from framework.errors import BrokenCheckpoint, UserError
from framework.files import whole_file

if TYPE_CHECKING:
    from torch import Tensor

LENGTH_BYTES = 8  # size of the number before the header, the header's length
LONGEST_HEADER = 1_000_000  # bytes; parsed JSON takes up to 25 times as much memory
DIGEST = "sha256"  # entry of the metadata that holds `contents_digest`


@contextmanager
def opened_tensors(
    path: str | Path,
    complaint: str = "not a readable safetensors file",
    kind: type[UserError] = BrokenCheckpoint,
    most_bytes: int = 1 << 40,
) -> Iterator[Any]:
    """Open a safetensors file with the library; no code in it is run.

    Args:
        path: The file.
        complaint: What the error says before the reason.
        kind: Class of the error.
        most_bytes: Largest size of a file that is opened.

    Raises:
        UserError: An error of class `kind`, also if reading fails within the `with` block.
    """
    path = Path(path)
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # the library would block on a FIFO
            raise ValueError("not a regular file")
        if facts.st_size > most_bytes:
            raise ValueError(f"{facts.st_size:,} bytes; at most {most_bytes:,} are read")
        with open(path, "rb") as start:
            if int.from_bytes(start.read(LENGTH_BYTES), "little") > LONGEST_HEADER:
                raise ValueError("a header of more than a megabyte")
        with safe_open(path, framework="pt") as opened:
            yield opened
    except UserError:
        raise
    except OSError as error:
        raise kind(f"{path}: {complaint} ({error.strerror or error})") from None
    except (SafetensorError, ValueError, struct.error) as error:
        raise kind(f"{path}: {complaint} ({error})") from None


def read_tensors(path: str | Path, **how: Any) -> tuple["dict[str, Tensor]", dict[str, str]]:
    """Read all tensors of a file by name, and its metadata; arguments as in `opened_tensors`.

    The tensors are copies: overwriting the file later does not change them.
    """
    with opened_tensors(path, **how) as opened:
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}
        return tensors, opened.metadata() or {}


def write_tensors(
    path: str | Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]
) -> None:
    """Write a file with its digest, whole or not at all; an existing file is replaced.

    The same tensors and metadata always give the same bytes.

    Raises:
        UserError: If the library cannot write it.
    """
    from safetensors.torch import save_file

    facts = {**metadata, DIGEST: contents_digest(metadata, tensors)}
    with whole_file(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=facts)
        except SafetensorError as error:  # the library's error for a full disk
            raise UserError(f"{path}: cannot be written ({error})") from error
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata in a file's header: the library's order is another one in every process."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
        header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(LENGTH_BYTES)
        file.write(text.ljust(length))


def contents_digest(metadata: Mapping[str, str], tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 of a file's metadata and tensors, without the digest itself."""
    import torch

    facts = {name: fact for name, fact in metadata.items() if name != DIGEST}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
