"""The index of a data set in tar shards: the list of shards and the content of each.

`shards.json` lies beside the shards and says how many pictures each holds, which of them cannot be
used, and the shard's SHA-256, so that a run finds its place again without reading what it is past,
and notices when a shard has changed. `framework.data.shard_writer` writes it.
"""

import glob
import hashlib
import itertools
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Any

from framework.data.fit import size_pair
from framework.data.labels import label_kind
from framework.data.tars import BrokenShard, is_url, opened
from framework.errors import UserError
from framework.media.images import printable

PREFIX, INDEX, FORMAT = "shards:", "shards.json", 1
_MAX_INDEX_BYTES = 2**28
_MAX_SHARDS = 1_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file of an index, by its name beside the index or its URL.

    It has `count` usable pictures; `unusable` are the numbers of its samples that are left out.
    """

    name: str
    count: int
    bytes: int
    sha256: str
    unusable: tuple[int, ...] = ()


@dataclass(frozen=True)
class Index:
    """The content of `shards.json`, with shards in the order that numbers the pictures.

    Attributes:
        size: Common (H, W) of the pictures; None if they differ.
        label_dim: Length of a label; 0 unless every picture has one of the same kind.
        classes: Names of the classes, where known.
    """

    shards: tuple[Shard, ...]
    size: tuple[int, int] | None
    label_dim: int = 0
    classes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of usable pictures in all shards."""
        return sum(shard.count for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """The hexadecimal digest of all that the shards hold; their names do not count."""
        contents = [(shard.sha256, shard.unusable) for shard in self.shards]
        return hashlib.sha256(repr((contents, self.label_dim)).encode()).hexdigest()

    def text(self) -> str:
        """Return the file's text."""
        facts = {"format": FORMAT, "count": self.count, "fingerprint": self.fingerprint}
        return json.dumps({**facts, **asdict(self)}, indent=1) + "\n"


def read_index(location: str) -> Index:
    """Read and check an index.

    Raises:
        UserError: If it is missing or not an index.
    """
    where = printable(location)
    advice = "`python -m framework.data index SHARDS` makes one"
    try:
        with opened(location) as file:
            data = file.read(_MAX_INDEX_BYTES)
    except BrokenShard as error:
        raise UserError(f"{error}; {advice}") from None
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        size, shards = content["size"], tuple(_shard(row) for row in content["shards"])
        index = Index(
            shards,
            None if size is None else size_pair([_whole(side, 1) for side in size]),
            _whole(content["label_dim"], 0),
            tuple(str(name) for name in content["classes"]),
        )
        if not shards or content["fingerprint"] != index.fingerprint:
            raise ValueError("its fingerprint does not fit")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{where}: not an index of shards ({error}); {advice}") from None
    return index


def _shard(row: Any) -> Shard:
    name, digest = str(row["name"]), str(row["sha256"])
    if not is_url(name) and (os.path.basename(name) != name or name in ("", ".", "..")):
        raise ValueError(f"shard {printable(name)}")
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"sha256 of {printable(name)}")
    unusable = tuple(_whole(number, 0) for number in row["unusable"])
    return Shard(name, _whole(row["count"], 1), _whole(row["bytes"], 1), digest, unusable)


def _whole(value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r} where a number should be")
    return value


# -------------------------------------------------------------------------------------- locations


def expanded(spec: str) -> list[str]:
    """List the tar files of a folder, a pattern (`*`, `{000..099}`) or a URL, in order.

    Raises:
        UserError: If there are none, or for an unsupported URL.
    """
    from braceexpand import braceexpand

    if os.path.isdir(spec):
        spec = os.path.join(glob.escape(spec), "*.tar")
    try:
        names = list(itertools.islice(braceexpand(spec), _MAX_SHARDS))
    except ValueError:
        raise UserError(f"{printable(spec)}: its braces do not match") from None
    files: list[str] = []
    for name in names:
        if not is_url(name) and glob.has_magic(name):
            files += sorted(glob.glob(name), key=os.fsencode)
        elif is_url(name) or os.path.exists(name):
            files.append(name)
        else:
            raise UserError(f"{printable(name)}: no such folder or tar file")
    if not files:
        raise UserError(f"{printable(spec)}: no tar files there")
    return files


def find_index(spec: str) -> tuple[str, Index]:
    """Find and read the index for a folder, a pattern, URLs or an index file.

    Raises:
        UserError: If there is none, or it does not hold the shards.
    """
    location, names = _located(spec)
    index = read_index(location)
    return location, index if names is None else _chosen(index, names, location)


def _located(spec: str) -> tuple[str, list[str] | None]:
    """Return the place of the index and the names of the shards; None for all."""
    if spec.endswith(".json"):
        return spec, None
    if os.path.isdir(spec):
        return os.path.join(spec, INDEX), None
    names = expanded(spec)
    folders = {os.path.dirname(name) for name in names}
    if len(folders) > 1:
        text = "its shards lie in several folders; give the index (.json) that names them"
        raise UserError(f"{PREFIX}{printable(spec)}: {text}")
    return os.path.join(folders.pop(), INDEX), [os.path.basename(name) for name in names]


def _chosen(index: Index, names: list[str], location: str) -> Index:
    """Return the part of an index, read at `location`, for these shards."""
    rows = {os.path.basename(shard.name): shard for shard in index.shards}
    missing = [name for name in names if name not in rows]
    if missing:
        text = f"{len(missing)} of {len(names)} shards are not in it: {printable(missing[0])} ..."
        raise UserError(f"{printable(location)}: {text}; make the index again")
    return Index(tuple(rows[n] for n in names), index.size, index.label_dim, index.classes)


def read_label(raw: bytes | None) -> int | list[float] | None:
    """Read a `.cls` or `.json`: a class number, a vector, or an object with one as `label`.

    Return None if there is no label or something else.
    """
    try:
        content = json.loads(raw or b"null")
        label = content.get("label") if isinstance(content, dict) else content
        return None if label_kind(label) is None else label
    except (ValueError, TypeError, RecursionError):  # bytes of strangers
        return None
