"""Many drags from one file: rows of JSON, each the request of a drag. Needs no torch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.drag.points import check_points, parse_points
from framework.errors import InvalidEdit, UserError, blame
from framework.jobs.requests.pictures import MAX_SEED

STARTS = ("seed", "ws", "image", "edit")
KEYS = ("name", *STARTS, "pick", "box", "handles", "targets", "points", "mask")
MAX_BYTES = 64 * 2**20
_ANY_SIZE = (2**31, 2**31)  # of a photograph that is not open yet


@dataclass(frozen=True)
class Task:
    """One row of a task file.

    Args:
        where: Place in the file, "line 3" or "item 3".
        name: Name of the results, unique within the file; by default made from the place.
        fields: Fields of a `DragRequest`, with absolute paths and points as text.
    """

    where: str
    name: str
    fields: dict[str, Any]


def read_tasks(
    path: str | Path, img_size: tuple[int, int] | None
) -> tuple[list[Task], dict[str, str]]:
    """Read tasks from a file: the good ones, and what is wrong with the others.

    Each task is an object such as `{"seed": 7, "handles": [[20, 30]], "targets": [[26, 30]]}`, one
    on a line, or all in one array. Keys: one of `seed`, `ws` (a file with latents), `image` (a
    photograph, an inverted image, a file with latents) and `edit`; `handles` and `targets` or
    `points` ("x,y:x,y;…"); and if wanted `mask` (a picture), `name`, `pick` (which of several
    latents) and `box` (of a photograph). Files are relative to the task file's folder. Empty lines
    are skipped.

    Args:
        path: The task file, UTF-8.
        img_size: (height, width) that the points lie in, or None where that is not known yet.

    Returns:
        Tasks in their order, and for each wrong one the reason in words, by its place.

    Raises:
        UserError: If the file cannot be read, is no JSON at all, or holds no tasks.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: over {MAX_BYTES // 2**20} MiB; split the tasks")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read as text ({reason})") from None
    tasks: dict[str, Task] = {}
    wrong: dict[str, str] = {}
    for where, value in _items(path, text):
        try:
            task = _task(value, path.parent, img_size or _ANY_SIZE, where)
            if task.name in tasks:
                raise InvalidEdit(f"{task.name!r}: was used before", "name")
            tasks[task.name] = task
        except UserError as error:
            wrong[where] = str(error)
    if not tasks and not wrong:
        raise UserError(f"{path}: holds no tasks")
    return list(tasks.values()), wrong


def _items(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Yield each task's place, and its value or its line."""
    if text.lstrip().startswith("["):
        with blame(str(path)):
            values = _decode(text)
        yield from ((f"item {i}", value) for i, value in enumerate(values, 1))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"line {number}", line


def _decode(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_no_twice)
    except (ValueError, RecursionError) as error:  # also numbers of more digits than int takes
        raise UserError(error if isinstance(error, UserError) else f"not JSON ({error})") from None


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"key {twice!r} is given twice")
    return values


def _task(value: Any, folder: Path, img_size: tuple[int, int], where: str) -> Task:
    if isinstance(value, str):
        value = _decode(value)
    if not isinstance(value, dict):
        raise InvalidEdit('expected an object such as {"seed": 7, "points": "20,30:26,30"}')
    for key in value:
        if key not in KEYS:
            raise InvalidEdit(f"no key {key!r}; there are {', '.join(KEYS)}")
    value = {key: item for key, item in value.items() if item is not None}
    points = _points(value, img_size)
    if sum(key in value for key in STARTS) != 1:
        raise InvalidEdit(f"give one of {', '.join(STARTS)}")
    seed, pick = value.get("seed"), value.get("pick")
    if seed is not None and not (type(seed) is int and 0 <= seed <= MAX_SEED):
        raise InvalidEdit(f"{seed!r}: expected a whole number from 0 to {MAX_SEED}", "seed")
    name = value.get("name", where.replace(" ", "_"))
    if not isinstance(name, str) or not name or set(name) & set("/\\\0") or name in (".", ".."):
        raise InvalidEdit(f"{name!r}: expected a text that can name a file", "name")
    if pick is not None and not (isinstance(pick, str) or type(pick) is int):
        raise InvalidEdit(f"{pick!r}: expected a number or a name", "pick")
    fields = {
        "seed": seed,
        "points": points,
        **{key: _file(value, key, folder) for key in ("ws", "image", "edit", "mask")},
        "pick": None if pick is None else str(pick),
        "box": _text(value, "box"),
    }
    return Task(where, name, {key: item for key, item in fields.items() if item is not None})


def _text(value: dict, key: str) -> str | None:
    text = value.get(key)
    if text is not None and (not isinstance(text, str) or not text.strip() or "\0" in text):
        raise InvalidEdit(f"{text!r}: expected a text", key)
    return text


def _points(value: dict, img_size: tuple[int, int]) -> str:
    """Return points that lie in a picture of this size, as text, exact to the bit."""
    if "points" in value:
        if "handles" in value or "targets" in value:
            raise InvalidEdit("give either points or handles and targets")
        if not isinstance(value["points"], str):
            raise InvalidEdit(f"{value['points']!r}: expected text such as 20,30:26,30", "points")
        parse_points(value["points"], img_size)
        return value["points"]
    for key in ("handles", "targets"):
        if key not in value:
            raise InvalidEdit(f"key {key!r} is missing")
    pairs = zip(*check_points(value["handles"], value["targets"], img_size), strict=True)
    return ";".join(f"{x!r},{y!r}:{to_x!r},{to_y!r}" for (x, y), (to_x, to_y) in pairs)


def _file(value: dict, key: str, folder: Path) -> str | None:
    name = _text(value, key)
    return None if name is None else str(folder / name)
