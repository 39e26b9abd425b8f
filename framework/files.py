"""Files: written whole or not at all, and identified by their digests."""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from framework.errors import UserError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST_NAME = 255  # bytes, on every file system that matters
_PROBE_BYTES = 1 << 20  # more than any writer buffers


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    A reader sees the old file or the new one, never a part. The temporary file lies in the target's
    own folder, so that the rename cannot become a copy, keeps the suffix (writers choose their
    format by it), and is removed if the body raises. Its permissions are those of any new file,
    whatever the writer sets. Anything under the temporary name, such as a link, is removed first,
    never written through.

    Raises:
        OSError: Naming `path`, if the disk refuses, even if the writer hid it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:40]}.{os.getpid()}.part{path.suffix}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.touch(exist_ok=False)
        permissions = temporary.stat().st_mode
        temporary.unlink()  # a body that wrote nothing is a mistake, not an empty file
        yield temporary
        temporary.chmod(permissions)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        refusal = _refusal(error, temporary, path)
        with suppress(OSError):
            temporary.unlink()
        if refusal is None:
            raise
        raise refusal from error
    sync_folder(path.parent)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name the file in the error if the disk refuses a write."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and error.errno not in NO_ROOM):
            raise
        raise OSError(error.errno, _reason(error, Path(path)), str(path)) from error


def _refusal(error: BaseException, temporary: Path, path: Path) -> OSError | None:
    """The disk's refusal behind what a writer raised; None if there is another cause."""
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return None
    if not isinstance(error, OSError) or error.errno is None:
        refusal = _probe(temporary)  # many writers hide the system's error
        return refusal and OSError(refusal.errno, _reason(refusal, temporary), str(path))
    if error.errno in NO_ROOM or error.filename in (None, str(temporary)):
        return OSError(error.errno, _reason(error, temporary), str(path))
    return None


def _probe(temporary: Path) -> OSError | None:
    """The system's error, if any, when more bytes are added to an unfinished file."""
    try:
        with open(temporary, "ab") as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        return error
    return None


def _reason(error: OSError, path: Path) -> str:
    """Why a file could not be written; with bytes, if there is not enough room."""
    if error.errno not in NO_ROOM:
        return error.strerror or str(error)
    with suppress(OSError, ImportError):
        import resource

        # Some writers remove what they could not finish, and its size with it.
        written = path.stat().st_size if path.exists() else 0
        needed = f"more than {written:,} bytes needed, " if written else ""
        free = shutil.disk_usage(path.parent).free
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        most = f"files may have {limit:,} here" if error.errno == errno.EFBIG else f"{free:,} free"
        return f"{os.strerror(error.errno or 0)}; {needed}{most}"
    return os.strerror(error.errno or 0)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_line(facts: Mapping[str, Any]) -> str:
    """One line of strict JSON; NaN and infinity become null."""
    return json.dumps(_finite(facts), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def append_line(path: str | Path, line: str) -> None:
    """Add a line of UTF-8 to a log, in one piece; see `open_in_place`.

    Raises:
        OSError: Naming the file: if the disk refuses, or if only a part of the line fits, which is
            removed again.
    """
    handle = open_in_place(path, os.O_WRONLY | os.O_APPEND)
    try:
        before, content = os.fstat(handle).st_size, f"{line}\n".encode()
        with naming(path):
            if os.write(handle, content) < len(content):
                os.ftruncate(handle, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(handle)


def open_in_place(path: str | Path, flags: int) -> int:
    """Open, or create, a file that is written in place, never another file through a link.

    A hard link (such as `cp -l` makes) is first replaced by a copy of its own.

    Args:
        path: The file.
        flags: Flags of `os.open` without `O_CREAT`, as `opener=open_in_place` of `open` gets them.

    Returns:
        A file descriptor, which the caller closes.

    Raises:
        UserError: If it is a symbolic link, or not an ordinary file.
    """
    path = Path(path)
    check_no_link(path)
    truncate, flags = flags & os.O_TRUNC, flags & ~os.O_TRUNC
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe in its place must not block
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            check_no_link(path)
        raise
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise UserError(f"{path}: is not an ordinary file; remove it")
    if facts.st_nlink > 1:
        os.close(handle)
        copy_file(path, path)
        handle = os.open(path, flags, 0o666)
    if truncate:
        os.ftruncate(handle, 0)
    return handle


def check_no_link(path: Path) -> None:
    """Refuse to write in place to a link, or to what is not a file.

    Raises:
        UserError: Naming the path.
    """
    if path.is_symlink():
        raise UserError(f"{path}: is a symbolic link, which is never written through; remove it")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is not an ordinary file; remove it")


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (a no-op where folders cannot be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder(name: str) -> Path:
    """Folder for `name` in the user's cache; it may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dragline" / name


def check_place(path: str | Path, field: str = "out") -> Path:
    """Check before long work that something can be created at a path, without creating anything.

    Raises:
        UserError: Naming `field`, if a folder above is a file or cannot be written to, or the name
            is impossible.
    """
    path = Path(path)
    try:
        os.stat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}", field) from None
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        raise UserError(f"{path}: {os.strerror(errno.ENAMETOOLONG)}", field)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{path}: {above} cannot be written to", field)
    return path


def check_new_file(path: str | Path, field: str = "out") -> Path:
    """Refuse a file that exists, or cannot be created; see `check_place`."""
    path = check_place(path, field)
    if os.path.lexists(path):
        raise UserError(f"{path}: already there; give a new name", field)
    return path


def new_folder(path: str | Path, field: str = "out") -> Path:
    """Create a folder for a new result; refuse one that is not empty.

    Raises:
        UserError: If `path` is a file or a folder that is not empty, or cannot be created.
    """
    path = check_new_folder(path, field)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}", field) from None
    return path


def check_new_folder(path: str | Path, field: str = "out") -> Path:
    """Check before long work that `new_folder` would succeed, without creating anything."""
    path = check_place(path, field)
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; give a new folder", field)
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path}: already holds files; give a new or an empty folder", field)
    if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written to", field)
    return path


@contextmanager
def folder_above(path: str | Path) -> Iterator[None]:
    """Create the folders above a new file; remove them if the body fails and leaves them empty."""
    missing = [folder for folder in Path(path).absolute().parents if not folder.exists()]
    try:
        Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file's bytes, whole or not at all."""
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)
