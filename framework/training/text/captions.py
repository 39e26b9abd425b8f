"""Captions of a data set's pictures: toy cars' own, or files beside the pictures."""

from pathlib import Path, PurePosixPath

from framework.data.images import ImageDataset
from framework.errors import UserError
from framework.media.images import printable
from framework.models.text.encoder import LONGEST_TEXT
from framework.models.text.words import MOST_WORDS, words_of

_LARGEST_FILE = 1 << 20


def captions_of(dataset: ImageDataset, folder: str | None, count: int) -> list[list[str]]:
    """Return the captions of every picture, one at least.

    Args:
        dataset: The pictures.
        folder: Folder with NAME.txt for each picture NAME.jpg; None if the data know their own.
        count: Captions of a picture, at most (data that know their own may give two more).

    Raises:
        UserError: Naming the file, or the setting `captions` if there is nothing to read.
    """
    if folder is None:
        captions = [dataset.captions(index, count) for index in range(len(dataset))]
        if not all(captions):
            raise UserError(
                ": these pictures have no captions of their own; give the folder of their NAME.txt",
                "captions",
            )
        return captions
    if not Path(folder).is_dir():
        raise UserError(f"{printable(folder)}: no such folder", "captions")
    files: dict[str, str] = {}
    for index in range(len(dataset)):
        name = dataset.name(index)
        file = f"{PurePosixPath(name).stem}.txt"
        if file in files:
            raise UserError(f"{file} would be of {files[file]} and of {name}", "captions")
        files[file] = name
    return [_read(Path(folder) / file, count) for file in files]


def _read(file: Path, count: int) -> list[str]:
    """The captions in a file, a line each."""
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"over {_LARGEST_FILE >> 20} MiB")
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{printable(str(file))}: cannot be read ({reason})", "captions") from None
    captions = [line for line in lines if words_of(line)][:count]
    if not captions:
        raise UserError(f"{printable(str(file))}: holds no caption", "captions")
    too_long = next(
        (c for c in captions if len(words_of(c)) > MOST_WORDS or len(c) > LONGEST_TEXT), None
    )
    if too_long is not None:
        raise UserError(
            f"{printable(str(file))}: {too_long[:40]!r}… is longer than {MOST_WORDS} words or"
            f" {LONGEST_TEXT} characters",
            "captions",
        )
    return captions
