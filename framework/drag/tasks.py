"""Many drags from one file: a list of tasks as JSON lines or one JSON array. Needs no torch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.drag.points import Point, check_points, parse_points
from framework.errors import InvalidEdit, UserError

KEYS = ("name", "seed", "ws", "handles", "targets", "points", "mask")
MAX_SEED = 2**32 - 1
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class DragTask:
    """One drag to do.

    Args:
        name: Unique within the file; names the results. Made from the line's number if not given.
        seed: Seed of the picture, or None if `ws` is given.
        ws: File with the picture's latents, or None if `seed` is given.
        handles: Points (x, y) in image pixels.
        targets: Where they go, as many.
        mask: Picture file whose white may change, or None.
    """

    name: str
    seed: int | None
    ws: Path | None
    handles: tuple[Point, ...]
    targets: tuple[Point, ...]
    mask: Path | None


def read_tasks(path: str | Path, img_size: tuple[int, int]) -> list[DragTask]:
    """Read tasks from a file.

    Each task is an object such as `{"seed": 7, "handles": [[20, 30]], "targets": [[26, 30]]}`, one
    on a line, or all in one array. Keys: `seed` or `ws` (a file with latents), `handles` and
    `targets` or `points` ("x,y:x,y;…"), and if wanted `mask` (a picture) and `name`. Files are
    relative to the task file's folder. Empty lines are skipped.

    Args:
        path: The task file, UTF-8.
        img_size: The model's (height, width), to check the points.

    Raises:
        UserError: If the file cannot be read, or a task is wrong: names line (or item) and key.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: over {MAX_BYTES // 2**20} MiB; split the tasks")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None
    tasks: dict[str, DragTask] = {}
    for where, value in _items(path, text):
        try:
            task = _task(value, path.parent, img_size, default_name=where.replace(" ", "_"))
        except InvalidEdit as error:
            raise InvalidEdit(f"{path}, {where}: {error}") from None
        if task.name in tasks:
            raise InvalidEdit(f"{path}, {where}: name {task.name!r} was used before")
        tasks[task.name] = task
    if not tasks:
        raise UserError(f"{path}: holds no tasks")
    return list(tasks.values())


def _items(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Each task's place and decoded value."""
    if text.lstrip().startswith("["):
        values = _decode(text, str(path))
        yield from ((f"item {i}", value) for i, value in enumerate(values, 1))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"line {number}", _decode(line, f"{path}, line {number}")


def _decode(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_no_twice)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    except _KeyTwice as error:
        raise UserError(f"{where}: key {error} is given twice") from None


class _KeyTwice(Exception):
    pass


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _KeyTwice(repr(next(name for name in names if names.count(name) > 1)))
    return values


def _task(value: Any, folder: Path, img_size: tuple[int, int], default_name: str) -> DragTask:
    if not isinstance(value, dict):
        raise InvalidEdit('expected an object such as {"seed": 7, "points": "20,30:26,30"}')
    for key in value:
        if key not in KEYS:
            raise InvalidEdit(f"no key {key!r}; there are {', '.join(KEYS)}")
    handles, targets = _task_points(value, img_size)
    seed = value.get("seed")
    if (seed is None) == (value.get("ws") is None):
        raise InvalidEdit("give either seed or ws")
    if seed is not None and not (type(seed) is int and 0 <= seed <= MAX_SEED):
        raise InvalidEdit(f"seed {seed!r}: expected a whole number from 0 to {MAX_SEED}")
    name = value.get("name", default_name)
    if not isinstance(name, str) or not name or set(name) & set("/\\\0") or name in (".", ".."):
        raise InvalidEdit(f"name {name!r}: expected a text that can name a file")
    return DragTask(
        name=name,
        seed=seed,
        ws=_file(value, "ws", folder),
        handles=tuple(handles),
        targets=tuple(targets),
        mask=_file(value, "mask", folder),
    )


def _task_points(value: dict, img_size: tuple[int, int]) -> tuple[list[Point], list[Point]]:
    if "points" in value:
        if "handles" in value or "targets" in value:
            raise InvalidEdit("give either points or handles and targets")
        if not isinstance(value["points"], str):
            raise InvalidEdit(f"points {value['points']!r}: expected text such as 20,30:26,30")
        return parse_points(value["points"], img_size)
    for key in ("handles", "targets"):
        if key not in value:
            raise InvalidEdit(f"key {key!r} is missing")
    return check_points(value["handles"], value["targets"], img_size)


def _file(value: dict, key: str, folder: Path) -> Path | None:
    name = value.get(key)
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        raise InvalidEdit(f"{key} {name!r}: expected a file's name")
    return folder / name
