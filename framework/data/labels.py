"""Class labels of pictures: from `dataset.json`, or from the folders they lie in."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from framework.data.sources import LABEL_FILE, LabelFile, Source, common_folder
from framework.errors import UserError
from framework.media.images import printable

LabelSource = Literal["auto", "file", "folders", "none"]


@dataclass(frozen=True)
class Labels:
    """One label for each picture."""

    raw: list[int] | list[list[float]]  # as `dataset.json` holds them
    classes: tuple[str, ...] = ()  # names of the class numbers, where folders gave them

    def vectors(self) -> np.ndarray:
        """Return labels for a network: float32 (N, label_dim); class numbers become one-hot."""
        if isinstance(self.raw[0], int):
            numbers = np.asarray(self.raw)
            width = max(len(self.classes), int(numbers.max()) + 1)
            return (numbers[:, None] == np.arange(width)).astype(np.float32)
        return np.asarray(self.raw, np.float32)


def read_labels(source: Source, names: list[str], kind: LabelSource) -> Labels | None:
    """Read the labels of the pictures `names` of a source.

    Args:
        source: Source of the pictures.
        names: Names of the pictures that are used.
        kind: "file" reads `dataset.json` ({"labels": [[name, class number or vector], ...]}),
            "folders" numbers the folders by name, those within any that wraps all pictures; "auto"
            takes the file if it holds labels, else the folders; "none" gives None.

    Raises:
        UserError: If a picture has no label, or labels are of mixed kinds.
    """
    if kind == "none":
        return None
    file = source.label_file() if kind in ("auto", "file") else None
    if file is not None and file.content.get("labels") is not None:
        return _from_file(file, names)
    if kind == "file":
        raise UserError(f"{source.path}: no labels in {LABEL_FILE}; add them or train without")
    if kind not in ("auto", "folders"):
        raise UserError(f"{kind}: give auto, file, folders or none", "labels")
    return _from_folders(source, names)


def _from_file(file: LabelFile, names: list[str]) -> Labels:
    where, listed = printable(file.where), file.content["labels"]
    try:
        by_name = {file.folder + str(name).replace("\\", "/"): label for name, label in listed}
    except (TypeError, ValueError):
        raise UserError(f'{where}: "labels" must be a list of [name, label] pairs') from None
    missing = [name for name in names if name not in by_name]
    if missing:
        first = printable(missing[0])
        some = f"{len(missing)} of {len(names)} pictures"
        raise UserError(f"{where}: no label for {some}: {first} ...")
    raw = [by_name[name] for name in names]
    for name, label in zip(names, raw, strict=True):
        if label_kind(label) is None or label_kind(label) != label_kind(raw[0]):
            text = f"{printable(name)}: a label is a class number >= 0 or a vector like the others"
            raise UserError(f"{where}: {text}")
    return Labels(raw, _class_names(file.content.get("classes"), raw))


def _class_names(listed: Any, raw: list[Any]) -> tuple[str, ...]:
    """Return the names of the classes, if the file names all of them."""
    if not isinstance(listed, list) or not isinstance(raw[0], int) or len(listed) <= max(raw):
        return ()
    return tuple(printable(str(name)) for name in listed)


def label_kind(label: Any) -> int | None:
    """Return 0 for a class number, the length of a vector, None for anything else."""
    if isinstance(label, int) and not isinstance(label, bool):
        return 0 if 0 <= label < 100_000 else None
    if isinstance(label, list) and label and all(type(v) in (int, float) for v in label):
        return len(label) if np.isfinite(label).all() else None
    return None


def _from_folders(source: Source, names: list[str]) -> Labels:
    wrapping = common_folder(names)
    inner = [name.removeprefix(wrapping) for name in names]
    if wrapping and not any("/" in name for name in inner):  # one class
        return Labels([0] * len(names), (printable(wrapping.split("/")[-2]),))
    loose = [name for name, rest in zip(names, inner, strict=True) if "/" not in rest]
    if loose:
        text = f"{printable(loose[0])} lies in no class folder"
        raise UserError(f"{source.path}: no labels: {text}; sort the pictures into sub-folders")
    folders = [rest.split("/", 1)[0] for rest in inner]
    classes = sorted(set(folders))
    numbers = {folder: number for number, folder in enumerate(classes)}
    return Labels([numbers[folder] for folder in folders], tuple(map(printable, classes)))
