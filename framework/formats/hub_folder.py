"""Folders of model hubs: another program's `config.json` beside the weights.

The names of the weights are those of the transformers and diffusers libraries; larger models are
split, with an index that says which file holds which tensor.
"""

from itertools import islice
from pathlib import Path
from typing import Any

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.contents import Contents
from framework.formats.foreign import read_value, unfold
from framework.formats.source_file import LARGEST_BYTES, read_file, read_table

_DESCRIPTIONS = ("config.json", "model_index.json")
_WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin",
            "diffusion_pytorch_model.bin", "pytorch_model.pt", "pytorch_model.pth")  # fmt: skip
_INDICES = ("model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json",
            "pytorch_model.bin.index.json", "diffusion_pytorch_model.bin.index.json")  # fmt: skip
_MODEL_ENDINGS = (".pkl", ".pt", ".pth", ".ckpt", ".safetensors", ".bin")
_OURS = '"dragline-model"'
_LARGEST_TEXT, _MOST_VALUES, _MOST_SHARDS = 8 << 20, 100_000, 1000


def recognises(folder: Path) -> bool:
    """Whether a folder is not a model folder of ours; `read` then says what it is."""
    path = folder / _DESCRIPTIONS[0]
    if not path.is_file():
        return True
    try:
        text = path.read_text("utf-8") if path.stat().st_size <= _LARGEST_TEXT else ""
    except (OSError, ValueError):
        return False  # damaged: our own reader gives the best message
    return _OURS not in text and bool(_present(folder, _WEIGHTS + _INDICES) or _class(folder))


def read(folder: Path) -> tuple[Contents, int, tuple[Path, ...]]:
    """Read the weights in a folder of another program.

    Returns:
        The contents, their length in bytes, and the files.

    Raises:
        UserError: If the weights are not a StyleGAN2's, or the folder has none.
        BrokenCheckpoint: If one of several files is missing or damaged.
    """
    if not (names := _weights(folder)):
        raise UserError(f"{folder}: {_what_it_is(folder)}")
    if sum((folder / name).stat().st_size for name in names) > LARGEST_BYTES:
        raise UserError(f"{folder}: its weights are larger than {LARGEST_BYTES >> 30} GiB")
    sources = [read_file(folder / name) for name in names]
    values = [unfold(source) for source in sources]
    where = str(folder / names[0]) if len(names) == 1 else f"{folder}: {len(names)} files"
    try:
        contents = read_value(values[0] if len(values) == 1 else _joined(values, folder), where)
    except BrokenCheckpoint:
        raise
    except UserError as error:
        description = f" (its {_DESCRIPTIONS[0]} says {kind})" if (kind := _class(folder)) else ""
        raise UserError(f"{error}{description}") from None
    contents.notes.append("Only the weights in the folder are read; its config.json is not.")
    file_bytes = sum(len(source.data) for source in sources)
    return contents, file_bytes, tuple(folder / name for name in names)


def _weights(folder: Path) -> list[str]:
    """Return the names of the files that hold a folder's weights, if any."""
    if present := _present(folder, _WEIGHTS):
        return present[:1]
    if not (indices := _present(folder, _INDICES)):
        return []
    index = _table(folder / indices[0]).get("weight_map")
    if not isinstance(index, dict) or not all(type(name) is str for name in index.values()):
        raise BrokenCheckpoint(f"{folder / indices[0]}: names no files of weights; fetch it again")
    names = sorted(set(index.values()))
    if len(names) > _MOST_SHARDS:
        raise BrokenCheckpoint(f"{folder / indices[0]}: names {len(names)} files; no model has so "
                               "many")  # fmt: skip
    for name in names:
        if set(name) & set("/\\\0") or name in ("", ".", ".."):
            raise BrokenCheckpoint(f"{folder / indices[0]}: {name[:60]!r} is not a file name")
        if not (folder / name).is_file():
            raise BrokenCheckpoint(f"{folder / name}: missing, {indices[0]} names it; fetch it")
    return names


def _joined(values: list[Any], folder: Path) -> dict[str, Any]:
    """Join the tables of several files."""
    joined: dict[str, Any] = {}
    for value in values:
        if not isinstance(value, dict) or joined.keys() & value.keys():
            raise BrokenCheckpoint(f"{folder}: its files of weights are not parts of one model")
        joined |= value
    return joined


def _present(folder: Path, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (folder / name).is_file()]


def _class(folder: Path) -> str:
    """Return the model's class in a folder's description; empty if it has none."""
    for name in _present(folder, _DESCRIPTIONS):
        table = _table(folder / name, strict=False)
        classes = table.get("architectures")
        architecture = classes[0] if isinstance(classes, list) and classes else None
        for candidate in (architecture, table.get("_class_name"), table.get("model_type")):
            if isinstance(candidate, str):
                return candidate[:60]
    return ""


def _table(path: Path, strict: bool = True) -> dict[str, Any]:
    """Read the JSON table in another program's file; if not `strict`, empty for a bad one."""
    try:
        return read_table(path)
    except (OSError, ValueError, RecursionError):
        if strict:
            raise BrokenCheckpoint(f"{path}: no whole JSON table; fetch it again") from None
        return {}


def _what_it_is(folder: Path) -> str:
    """Say what a folder without weights is, and what to give instead."""
    here = {path.name for path in islice(folder.iterdir(), _MOST_VALUES)}
    if "saved_model.pb" in here or ("checkpoint" in here and any("ckpt" in name for name in here)):
        return "a folder of TensorFlow's; only NVIDIA's pickles of TensorFlow are read"
    if "data.pkl" in here and "data" in here:
        return "an unpacked torch file; pack it again (zip -0 -r model.pt FOLDER), or fetch it"
    if models := sorted(name for name in here if name.startswith("network-")
                        and (folder / name / _DESCRIPTIONS[0]).is_file()):  # fmt: skip
        return f"the folder of a run; give a model folder in it, such as {folder / models[-1]}"
    if parts := _present(folder, _DESCRIPTIONS[1:]):
        return f"a pipeline of diffusers' ({parts[0]}, {_class(folder)}), no StyleGAN2"
    if kind := _class(folder):
        return f"a {kind} without weights ({', '.join(_WEIGHTS[:3])}); fetch them, if it is one"
    if files := sorted(name for name in here if name.endswith(_MODEL_ENDINGS)):
        return f"not a model folder (no config.json in it); give the file, such as {files[0][:80]}"
    return "not a model folder (no config.json in it)"
