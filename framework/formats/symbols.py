"""The meanings of names in a model's pickle: values of ours, made by functions of ours.

A file of NVIDIA's, TensorFlow's or PyTorch's programs refers to about a dozen names for its
numbers, and to nothing else. Each stands here for something inert.
"""

import struct
from collections.abc import Callable
from typing import Any

import torch

from framework.formats.pickle_machine import (
    LONGEST_NAME,
    Buildable,
    Constructor,
    Refused,
    Symbol,
    key_of,
)
from framework.formats.storages import (
    STORAGE_DTYPES,
    Storage,
    StoredTensor,
    counts,
    row_major,
    stored_tensor,
)

_NUMPY_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}
_MOST_LOOKED_THROUGH = 100_000
_STRUCT_CODES = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
                 "u1": "B", "b1": "?"}  # fmt: skip


class AttributeTable(dict, Buildable):
    """A dictionary that also takes attributes: OrderedDict, EasyDict, Namespace.

    Attributes from BUILD become items if the class stores its values so (`Namespace`), and are
    dropped otherwise (a state dict's `_metadata`).
    """

    def __init__(self, keep_attributes: bool = False) -> None:
        super().__init__()
        self._keep = keep_attributes

    def build(self, state: Any) -> None:
        """Set the attributes."""
        if not isinstance(state, dict):
            raise Refused("a table whose attributes are not a table")
        if self._keep:
            self.update(state)


class StoredObject(Buildable):
    """An object of another program's class: the class's name and the saved state.

    Attributes:
        class_name: Name of the class, without its module.
        state: Its attributes, None until BUILD sets them.
    """

    def __init__(self, class_name: str, state: dict[str, Any] | None = None) -> None:
        self.class_name, self.state = class_name, state

    def build(self, state: Any) -> None:
        """Set the attributes, once."""
        if self.state is not None or not isinstance(state, dict):
            raise Refused(f"an object of {self.class_name} whose state is not a table")
        self.state = state


class NumpyDtype(Buildable):
    """A numpy dtype of plain little-endian numbers."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if type(code) is not str or code not in _NUMPY_DTYPES:
            raise Refused("numpy numbers of an uncommon type")
        self.code = code

    def build(self, state: Any) -> None:
        """Check the byte order; other parts of the state do not matter to plain types."""
        if not isinstance(state, tuple) or len(state) < 3 or state[1] not in ("<", "|", "="):
            raise Refused("a numpy type that is not little-endian")


class NumpyArray(Buildable):
    """A numpy array; `tensor` exists once BUILD has set type, shape and bytes."""

    def __init__(self, kind: object, shape: object, code: object) -> None:
        if not isinstance(kind, Symbol) or kind.name != "numpy.ndarray":
            raise Refused("a numpy array of another class")
        self.tensor: StoredTensor | None = None

    def build(self, state: Any) -> None:
        """Set the state (version, shape, dtype, column-major, bytes)."""
        if self.tensor is not None or not isinstance(state, tuple) or len(state) != 5:
            raise Refused("a numpy array without its five parts")
        _, shape, dtype, column_major, data = state
        if not isinstance(dtype, NumpyDtype) or type(column_major) is not bool:
            raise Refused("a numpy array without type or order")
        kind, data = _NUMPY_DTYPES[dtype.code], _bytes(data)
        if len(data) % kind.itemsize:
            raise Refused("a numpy array whose bytes do not fit its type")
        shape = counts(shape)
        stride = row_major(shape[::-1])[::-1] if column_major else row_major(shape)
        storage = Storage(kind, len(data) // kind.itemsize, lambda: data)
        tensor = stored_tensor(storage, 0, shape, stride)
        if tensor.nbytes != len(data):
            raise Refused("a numpy array whose bytes do not fit its shape")
        self.tensor = tensor


def with_tensors(value: Any) -> Any:
    """Replace every numpy array within nested tables by its tensor."""
    waiting, visited = [value], 0
    while waiting and visited < _MOST_LOOKED_THROUGH:
        table = waiting.pop()
        for name, item in table.items() if isinstance(table, dict) else ():
            visited += 1
            if isinstance(item, NumpyArray) and item.tensor is not None:
                table[name] = item.tensor
            elif isinstance(item, dict):
                waiting.append(item)
    return value.tensor if isinstance(value, NumpyArray) and value.tensor is not None else value


class Latin1(bytes):
    """Bytes that protocol 2 writes as text."""


def _bytes(value: object) -> memoryview | bytes:
    if isinstance(value, memoryview | bytes):
        return value
    try:  # a string of Python 2
        return str.encode(value, "latin-1")  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        raise Refused("bytes that are none") from None


def _numpy_scalar(dtype: object, data: object = b"") -> int | float | bool:
    if not isinstance(dtype, NumpyDtype):
        raise Refused("a number without type")
    try:
        return struct.unpack("<" + _STRUCT_CODES[dtype.code], _bytes(data))[0]
    except struct.error:
        raise Refused("a number whose bytes do not fit its type") from None


def _codecs_encode(text: object, encoding: object) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise Refused("text in an encoding other than latin1")
    return Latin1(text.encode("latin-1"))


def _set(members: object = ()) -> set:
    if not isinstance(members, list | tuple):
        raise Refused("a set of something else than names")
    return {key_of(member) for member in members}


def _table(*pairs: object) -> AttributeTable:
    """Make an OrderedDict(), or one with a list of pairs as Python 2 wrote it."""
    table = AttributeTable()
    items = pairs[0] if pairs else []
    if len(pairs) > 1 or not isinstance(items, list):
        raise Refused("a table made of something else than pairs")
    for pair in items:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Refused("a table made of something else than pairs")
        table[key_of(pair[0])] = pair[1]
    return table


def _namespace() -> AttributeTable:
    return AttributeTable(keep_attributes=True)


def _persistent_object(meta: object) -> StoredObject:
    """Make NVIDIA's `persistence` object: source text, ignored, a class name and a state."""
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise Refused("an object that is not described as NVIDIA does")
    version, name, state = meta.get("version"), meta.get("class_name"), meta.get("state")
    if type(version) is not int or not 1 <= version <= 6:
        raise Refused("an object in a version of NVIDIA's description other than 1 to 6")
    if type(name) is not str or len(name) > LONGEST_NAME or not isinstance(state, dict):
        raise Refused("an object without class name or state")
    return StoredObject(name, state)


def _tensor(storage, offset, shape, stride, requires_grad=False, hooks=None, meta=None):
    return stored_tensor(storage, offset, shape, stride)


def _parameter(tensor, requires_grad=True, hooks=None, state=None):
    if not isinstance(tensor, StoredTensor):
        raise Refused("a parameter that is not a tensor")
    return tensor


def _reconstructed(kind: object, base: object, state: object) -> object:
    """Make an object or table of protocols 0 and 1 from class, builtin base and state."""
    if not isinstance(kind, Symbol) or not isinstance(base, Symbol):
        raise Refused("an object of no class")
    if kind.name == _EASY_DICT and base.name.endswith(".dict") and isinstance(state, dict):
        table = AttributeTable()
        table.update(state)
        return table
    if kind.name not in _OBJECTS or not base.name.endswith(".object") or state is not None:
        raise Refused(f"an object of {kind.name} made of {base.name}")
    return _OBJECTS[kind.name]()


def _size(shape: object = ()) -> tuple:
    if not isinstance(shape, tuple | list):
        raise Refused("a size that is none")
    return tuple(shape)


def _path(*parts: object) -> str:
    if not all(type(part) is str for part in parts):
        raise Refused("a path that is not text")
    return "/".join(str(part) for part in parts)


def _device(*words: object) -> str:
    return ":".join(str(word)[:32] for word in words if type(word) in (str, int))


def _no_instances(*_: object) -> object:
    raise Refused("a name that stands for a type and is not called")


# Storage types and dtypes are only ever named.
_TYPES: dict[str, Constructor] = {
    **{f"torch.{name}": _no_instances for name in STORAGE_DTYPES},
    **{f"torch.{str(dtype).removeprefix('torch.')}": _no_instances
       for dtype in STORAGE_DTYPES.values()},
}  # fmt: skip

_EASY_DICT = "dnnlib.util.EasyDict"
_OBJECTS: dict[str, Constructor] = {
    "argparse.Namespace": _namespace,
    "dnnlib.tflib.network.Network": lambda: StoredObject("Network"),
    # Names of ProGAN and StyleGAN-XL, so that they can be refused by name.
    "tfutil.Network": lambda: StoredObject("tfutil.Network"),
    "torch.nn.modules.sparse.Embedding": lambda: StoredObject("Embedding"),
}

TORCH_SYMBOLS: dict[str, Constructor] = {
    **_TYPES,
    **_OBJECTS,
    "collections.OrderedDict": _table,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "pathlib.Path": _path,
    "pathlib.PosixPath": _path,
    "pathlib.WindowsPath": _path,
    "_codecs.encode": _codecs_encode,
    _EASY_DICT: lambda *_: AttributeTable(),
    "numpy.dtype": NumpyDtype,
    "numpy.ndarray": _no_instances,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
    **{f"{module}._reconstructor": _reconstructed for module in ("copy_reg", "copyreg")},
    **{f"{module}.{name}": _no_instances
       for module in ("__builtin__", "builtins") for name in ("object", "dict")},
    **{f"{package}.multiarray.scalar": _numpy_scalar
       for package in ("numpy.core", "numpy._core")},
    **{f"{package}.multiarray._reconstruct": NumpyArray
       for package in ("numpy.core", "numpy._core")},
}  # fmt: skip


def with_nested_storages(read_storage: Callable[[memoryview], Storage]) -> dict[str, Constructor]:
    """Return the table above and NVIDIA's form of a storage: torch's own file within bytes."""
    return TORCH_SYMBOLS | {
        "torch.storage._load_from_bytes": lambda data: read_storage(memoryview(_bytes(data)))
    }
