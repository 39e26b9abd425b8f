"""Files are written whole or not at all, and are known by their digests."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework.errors import UserError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    A reader sees the old file or the new one, never a part. The temporary file lies in the target's
    own folder, so that the rename cannot become a copy, keeps the suffix (writers choose their
    format by it), and is removed if the body raises. Its permissions are those of any new file,
    whatever the writer thinks of them.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        temporary.touch()
        permissions = temporary.stat().st_mode
        temporary.unlink()  # a body that wrote nothing is a mistake, not an empty file
        yield temporary
        temporary.chmod(permissions)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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


def new_folder(path: str | Path, flag: str = "out") -> Path:
    """Create `path` for a new result; refuse one that already holds something.

    Raises:
        UserError: If `path` is a file or a folder that is not empty.
    """
    path = Path(path)
    check_new_folder(path, flag)
    path.mkdir(parents=True, exist_ok=True)
    return path


def check_new_folder(path: Path, flag: str = "out") -> None:
    """Refuse what `new_folder` refuses, before long work, without creating anything."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; give a new folder", flag)
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path}: already holds files; give a new or an empty folder", flag)
