"""Files of sessions: photographs and edits that were sent, kept while their session lives."""

import io
import os
import re
import shutil
import stat
import zipfile
from pathlib import Path

from framework.errors import UserError
from framework.files import cache_folder
from framework.jobs.outputs import EDIT
from framework.media.images import open_plain

MOST_BYTES = 2 * 1024**3  # of all sessions together
MOST_PIXELS = 40_000_000
_MOST_ENTRIES, _MOST_UNPACKED = 8, 512 * 1024**2
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}")
COMMANDS = "commands.txt"  # what changed a picture without a drag
_ZIP_START = b"PK\x03\x04"


class NoRoom(UserError):
    """All sessions together have sent as much as is kept."""


class Storage:
    """A folder of this process, with a folder for each session; all of it goes when it ends.

    Args:
        root: Folder of all processes; by default in the user's cache.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = cache_folder("studio") if root is None else root
        self._folder = self._root / str(os.getpid())
        self._count = 0

    def clean(self) -> None:
        """Remove what processes left that are gone."""
        for folder in self._root.glob("[0-9]*"):
            if folder.name.isdigit() and not _is_alive(int(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove everything of this process."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_folder(self) -> Path:
        """Make a folder.

        Raises:
            NoRoom: If the others are too large already.
        """
        if _size_of(self._folder) > MOST_BYTES:
            raise NoRoom(
                "too much has been sent here: end other sessions, or start the studio anew"
            )
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def photograph(self, data: bytes) -> Path:
        """Store a photograph under a name of our own.

        Raises:
            UserError: If it is no picture that can be used.
        """
        source = open_plain(data, "the photograph", MOST_PIXELS)
        suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(source.format, source.format.lower())
        file = self.new_folder() / f"photo.{suffix}"
        file.write_bytes(data)
        return file

    def edit(self, data: bytes) -> Path:
        """Store an edit file, or unpack the zip of an edit of a photograph.

        Raises:
            UserError: If it is neither.
        """
        if not data.startswith(_ZIP_START):
            file = self.new_folder() / EDIT
            file.write_bytes(data)
            return file
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = archive.namelist()
                if EDIT in names or COMMANDS not in names:
                    return self._unpacked(archive)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError):
            raise UserError("not a zip as the studio saves it") from None
        raise UserError(f"nothing is dragged in it; edit.py goes on from it as {COMMANDS} says")

    def _unpacked(self, archive: zipfile.ZipFile) -> Path:
        entries = archive.infolist()
        fits = len(entries) <= _MOST_ENTRIES and EDIT in archive.namelist()
        fits &= sum(entry.file_size for entry in entries) <= _MOST_UNPACKED
        fits &= all(_PLAIN_NAME.fullmatch(e.filename) and _is_file(e) for e in entries)
        if not fits:
            raise ValueError("other entries than ours")
        folder = self.new_folder()
        for entry in entries:
            with archive.open(entry) as source:
                (folder / entry.filename).write_bytes(source.read(entry.file_size))
        return folder / EDIT

    def remove(self, folder: Path | None) -> None:
        """Remove the folder of something that is not needed any more."""
        if folder is not None and folder.is_relative_to(self._folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_file(entry: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return kind in (0, stat.S_IFREG) and not entry.is_dir()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
