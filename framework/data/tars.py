"""Tar files of pictures, perhaps from strangers, read from front to back; nothing is unpacked.

The layout is WebDataset's: neighbours whose names are equal up to the first dot are one sample.
Only pictures and their labels are read, as bytes, for our own decoder. WebDataset's decoders
unpickle files by their names; they are never called, and other members are never read.
"""

import hashlib
import os
import stat
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Generic, TypeVar

from framework.data.sources import READ, Problem, is_hidden, leads_out
from framework.errors import UserError
from framework.media.images import MAX_FILE_BYTES, Refusal, printable

PICTURES = {suffix.removeprefix(".") for suffix in READ}
LABELS = ("cls", "json")
SCHEMES = ("http", "https", "gs", "hf")
MAX_LABEL_BYTES = 2**20
_MAX_EXTENSION_BYTES = 2**14  # size of long names and the like; Python reads them whole
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_BLOCK_BYTES = 2**17
Content = TypeVar("Content")


class BrokenShard(UserError):
    """A shard that cannot be used: its place `where`, and the `reason` in words."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{printable(where)}: {printable(reason)}")
        self.args = (where, reason)  # both, so that the error survives pickling
        self.where, self.reason = where, reason


@dataclass(frozen=True, slots=True)
class Sample(Generic[Content]):
    """A picture and its label: their bytes, or the places of those in the tar file."""

    name: str
    picture: Content
    label: Content | None


@dataclass
class Leftovers:
    """The content of a tar file besides samples."""

    problems: list[Problem] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)  # suffixes of members never read

    def refuse(self, name: str, kind: Refusal, reason: str) -> None:
        """Record a member that cannot be used."""
        self.problems.append(Problem(name, kind, reason))


def engine() -> Any:
    """Import the WebDataset library.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import webdataset
    except ImportError:
        raise UserError("shards need webdataset: pip install 'dragline[stream]'") from None
    return webdataset


# --------------------------------------------------------------------------------------- opening


def is_url(location: str) -> bool:
    """Whether a location is a URL and not a path.

    Raises:
        UserError: For unsupported URLs, such as `pipe:`, which would run a program.
    """
    scheme, colon, _ = location.partition(":")
    if not colon or len(scheme) < 2 or not scheme.replace("+", "").isalnum():
        return False
    if scheme not in SCHEMES:
        prefixes = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(f"{printable(location)}: give a path or a URL that begins with {prefixes}")
    return True


class HashedFile:
    """A file that is read once while its digest is computed."""

    def __init__(self, file: Any) -> None:
        self._file, self._digest, self.bytes, self._over = file, hashlib.sha256(), 0, False

    def read(self, size: int = -1) -> bytes:
        """Read the next `size` bytes; fewer at the end, and `EOFError` the second time there.

        Without it `tarfile` would read millions of times to skip a member that claims a terabyte.
        """
        if self._over:
            raise EOFError("it ends too early")
        data = self._file.read(size)
        self._digest.update(data)
        self.bytes += len(data)
        self._over = not data
        return data

    def sha256(self) -> str:
        """Read the rest and return the hexadecimal digest of the whole file."""
        while not self._over:
            self.read(_BLOCK_BYTES)
        return self._digest.hexdigest()


class _Download:
    """A stream from a server; a transfer that breaks off is an error, not an end."""

    def __init__(self, url: str) -> None:
        self._pipe = engine().gopen_schemes[url.partition(":")[0]](url, "rb")

    def read(self, size: int = -1) -> bytes:
        data = self._pipe.stream.read(size)
        if not data and (code := self._pipe.proc.wait()) != 0:
            raise OSError(f"{self._pipe.proc.args[0]} ended with code {code}")
        return data

    def close(self) -> None:
        self._pipe.proc.kill()  # it may be waiting for a server that will never answer
        self._pipe.proc.wait()
        self._pipe.stream.close()


@contextmanager
def opened(location: str) -> Iterator[HashedFile]:
    """Open a regular file, or the stream of a URL, for reading from front to back.

    Raises:
        BrokenShard: If it cannot be opened or read.
    """
    try:
        file = _Download(location) if is_url(location) else open_regular(location)
        with closing(file):
            yield HashedFile(file)
    except OSError as error:
        raise BrokenShard(location, f"cannot be read ({error.strerror or error})") from None


def open_regular(path: str) -> IO[bytes]:
    """Open a file, but not a pipe or device, which could block for ever."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = open(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise OSError("not a regular file")
    return file


# --------------------------------------------------------------------------------------- reading


def samples(file: HashedFile, where: str, leftovers: Leftovers) -> Iterator[Sample[bytes]]:
    """Yield pictures with labels, undecoded, from a tar file at its start, called `where`.

    Other members go to `leftovers`. Raises `BrokenShard` if the tar file is broken or incomplete.
    """

    def read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        content = tar.extractfile(member)
        assert content is not None  # it is a regular file
        return content.read()

    return _samples(file, "r|", read, where, leftovers)


def places(path: str, where: str) -> Iterator[Sample[tuple[int, int]]]:
    """Yield the samples of a local file as offsets and sizes, from its headers alone."""
    with open_regular(path) as file:
        yield from _samples(file, "r:", lambda _, m: (m.offset_data, m.size), where, Leftovers())


def _samples(
    file: Any,
    mode: Any,
    take: Callable[[tarfile.TarFile, tarfile.TarInfo], Content],
    where: str,
    leftovers: Leftovers,
) -> Iterator[Sample[Content]]:
    group_by_keys = engine().tariterators.group_by_keys

    def twice(error: Exception) -> bool:
        name = str(error.args[0]).split(": duplicate")[0]
        leftovers.refuse(name, Refusal.UNREADABLE, "occurs twice")
        return True

    try:
        with tarfile.open(fileobj=file, mode=mode, tarinfo=_Header, bufsize=_BLOCK_BYTES) as tar:
            for group in group_by_keys(_members(tar, take, leftovers), handler=twice):
                if sample := _sample(group, leftovers):
                    yield sample
    except (UserError, MemoryError, OSError):
        raise
    except Exception as error:  # readers of hostile bytes raise any error
        text = " ".join(str(error).split()) or type(error).__name__
        raise BrokenShard(where, f"broken tar file ({text})") from None


class _Header(tarfile.TarInfo):
    """A header that raises where `tarfile` would take damage for the end of the file."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Header":
        if len(buf) < tarfile.BLOCKSIZE:
            raise ValueError("it ends too early")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError:
            if any(buf):
                raise ValueError("no tar header where one should be") from None
            raise  # the mark of the end
        largest = _MAX_EXTENSION_BYTES if header.type in _EXTENSIONS else header.size
        if not 0 <= header.size <= largest:
            raise ValueError(f"a header says {header.size:,} bytes")
        return header


def _members(
    tar: tarfile.TarFile, take: Callable[..., Any], leftovers: Leftovers
) -> Iterator[dict[str, Any]]:
    """Yield pictures and labels in the form that `group_by_keys` takes."""
    while (member := tar.next()) is not None:
        tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  or it would keep them all
        name, suffix = member.name, _suffix(member.name)
        if member.size < 0:
            raise ValueError(f"a header says {member.size:,} bytes")
        if member.isdir() or is_hidden(name):
            continue
        if suffix not in PICTURES and suffix not in LABELS:
            leftovers.others[suffix] += 1
        elif problem := _unusable(member, suffix):
            leftovers.refuse(name, *problem)
        else:
            yield {"fname": name, "data": take(tar, member), "__url__": ""}


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower().removeprefix(".")


def _unusable(member: tarfile.TarInfo, suffix: str) -> tuple[Refusal, str] | None:
    if leads_out(member.name):
        return Refusal.UNREADABLE, "has a name that leads out of the tar file"
    if not member.isreg() or member.sparse is not None:
        return Refusal.UNREADABLE, "not a regular file"
    largest = MAX_FILE_BYTES if suffix in PICTURES else MAX_LABEL_BYTES
    if member.size > largest:
        return Refusal.TOO_LARGE, f"{member.size:,} bytes; at most {largest:,} are read"
    return None


def _sample(group: dict[str, Any], leftovers: Leftovers) -> Sample | None:
    """Return a group's one picture and its label; `a.png` takes precedence over `a.mask.png`."""
    pictures = [suffix for suffix in group if suffix.rpartition(".")[2] in PICTURES]
    candidates = [suffix for suffix in pictures if "." not in suffix] or pictures
    if not candidates:
        return None
    name = f"{group['__key__']}.{candidates[0]}"
    if len(candidates) > 1:
        reason = "one of several pictures with this name up to the first dot"
        leftovers.refuse(name, Refusal.UNREADABLE, reason)
        return None
    label = next((group[kind] for kind in LABELS if kind in group), None)
    return Sample(name, group[candidates[0]], label)
