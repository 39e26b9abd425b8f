"""Attributes of pictures: measured on the picture, or read from a file by seed or latents."""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG has it
_LARGEST_FILE = 32 << 20
_MOST_WORDS = 12  # different words of one attribute, each of which becomes a yes and no
_YES_NO = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
KEYS = ("seed", "name")
Table = dict[str, dict[str, float]]


def luma(images: Tensor) -> Tensor:
    """Return the brightness of pictures (N, C, H, W), (N, 1, H, W); the first channel if grey."""
    if images.shape[1] < 3:
        return images[:, :1]
    weights = torch.tensor(_LUMA, device=images.device)[None, :, None, None]
    return (images[:, :3] * weights).sum(dim=1, keepdim=True)


def chroma(images: Tensor) -> Tensor:
    """Return what of the colours is not brightness: blue and red less luma, (N, 2, H, W)."""
    if images.shape[1] < 3:
        return images.new_zeros(len(images), 2, *images.shape[2:])
    return torch.cat([images[:, 2:3], images[:, :1]], dim=1) - luma(images)


def measured(images: Tensor) -> dict[str, Tensor]:
    """Measure what can be read off a picture honestly; each (N,), of pictures in [-1, 1].

    `brightness` and `contrast` are mean and standard deviation of luma, `red` and `blue` the mean
    of those channels less luma, `saturation` the mean length of both together.
    """
    images = images.clamp(-1, 1)
    light, colours = luma(images), chroma(images)
    found = {"brightness": light.mean(dim=(1, 2, 3)), "contrast": light.std(dim=(1, 2, 3))}
    if images.shape[1] >= 3:
        blue, red = colours.mean(dim=(2, 3)).unbind(dim=1)
        found |= {"red": red, "blue": blue, "saturation": colours.norm(dim=1).mean(dim=(1, 2))}
    return found


def read_attributes(path: str | Path) -> tuple[str, Table]:
    """Read attributes of pictures from a CSV with a header, or JSON.

    One column, or key of each object in JSON's array, is `seed` or `name` (of one of several
    latents); the others are attributes: numbers, true and false (yes and no), or words, each of
    which becomes a yes and no called ATTRIBUTE:WORD. JSON may also be a table by seed.

    Returns:
        "seed" or "name", and for each attribute its values by that key, as text.

    Raises:
        UserError: Naming the file and the row.
    """
    path = Path(path)
    if not os.path.isfile(path):  # a pipe would block; Path.is_file raises for impossible names
        raise UserError(f"{path}: no such file, or no ordinary one")
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{path}: over {_LARGEST_FILE >> 20} MiB; give fewer pictures")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read as text ({reason})") from None
    rows = list(
        _json_rows(path, text) if text.lstrip().startswith(("[", "{")) else _csv_rows(path, text)
    )
    if not rows:
        raise UserError(f"{path}: holds no pictures")
    key = next((key for key in KEYS if key in rows[0]), None)
    if key is None or len(rows[0]) < 2:
        raise UserError(f"{path}: needs a column seed (or name) and at least one attribute")
    names = [name for name in rows[0] if name != key]
    columns: dict[str, dict[str, Any]] = {name: {} for name in names}
    for number, row in enumerate(rows, 1):
        if row.keys() != rows[0].keys():
            raise UserError(f"{path}: row {number} has other columns than the first")
        of = str(row[key]).strip()
        if of in columns[names[0]]:
            raise UserError(f"{path}: row {number}: {key} {of} is there twice")
        for name in names:
            columns[name][of] = row[name]
    table: Table = {}
    for name, values in columns.items():
        table |= _numbers(path, name, values)
    return key, table


def _numbers(path: Path, name: str, values: Mapping[str, Any]) -> Table:
    """Return an attribute as numbers: itself, or of words a yes and no for each."""
    converted = {of: _number(value) for of, value in values.items()}
    known = {of: value for of, value in converted.items() if value is not None}
    if len(known) == len(values):
        return {name: known}
    if known:
        wrong = next(of for of, value in converted.items() if value is None)
        raise UserError(
            f"{path}: {name} of {wrong} is {str(values[wrong])[:40]!r}, where others are numbers"
        )
    words = sorted({str(value).strip() for value in values.values()})
    if len(words) > _MOST_WORDS or not all(words):
        raise UserError(f"{path}: {name} has {len(words)} different words; at most {_MOST_WORDS}")
    return {
        f"{name}:{word}": {of: float(str(v).strip() == word) for of, v in values.items()}
        for word in words
    }


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        number = float(value)
    else:
        word = str(value).strip().lower()
        if word in _YES_NO:
            return _YES_NO[word]
        try:
            number = float(word)
        except ValueError:
            return None
    return number if math.isfinite(number) else None


def _csv_rows(path: Path, text: str) -> Iterable[dict[str, Any]]:
    try:
        for number, row in enumerate(csv.DictReader(io.StringIO(text), strict=True), 2):
            if None in row or None in row.values():
                raise UserError(f"{path}, line {number}: has another number of columns")
            yield {str(name).strip(): value for name, value in row.items()}
    except csv.Error as error:
        raise UserError(f"{path}: no CSV ({error})") from None


def _json_rows(path: Path, text: str) -> Iterable[dict[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({str(error)[:80]})") from None
    if isinstance(value, dict):
        value = [{"seed": k, **v} if isinstance(v, dict) else v for k, v in value.items()]
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UserError(f"{path}: give an array of objects with seed and attributes")
    return value


def seeds_of(path: str | Path, keys: Sequence[str], largest: int) -> list[int]:
    """Read keys as seeds.

    Raises:
        UserError: Naming the first that is none.
    """
    for key in keys:
        if not (key.isascii() and key.isdecimal() and len(key) < 12 and int(key) <= largest):
            raise UserError(f"{path}: {key[:40]!r} is no seed; give whole numbers from 0")
    return [int(key) for key in keys]
