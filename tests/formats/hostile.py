"""Files that want to run code, to take memory or time, or to pass for what they are not.

Each function gives specimens of one kind with a label, made here, most of a few hundred bytes. The
command that they bear does not exist: nothing happens to whoever runs it.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from tests.formats import specimens as S
from tests.formats.specimens import Call, Name, Opcodes, Outside, pickled

Specimens = Iterator[tuple[str, bytes]]
COMMAND = "dragline-hostile-specimen"
SYSTEM = Name("os", "system")
EVIL = Call(SYSTEM, (COMMAND,))
PERSISTENT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")


def program(*parts: bytes, protocol: int = 4) -> bytes:
    """Opcodes between PROTO and STOP."""
    return bytes([0x80, protocol]) + b"".join(parts) + b"."


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(letters: str) -> bytes:
    return struct.pack("<cI", b"X", len(letters.encode())) + letters.encode()


# Code


def calls() -> Specimens:
    """Names that stand for code, in every way in which a pickle can refer to one."""
    for module, attribute in (
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("__builtin__", "open"),
        ("functools", "partial"),
        ("operator", "methodcaller"),
        ("importlib", "import_module"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__code__"),
        ("numpy.testing._private.utils", "runstring"),
        ("pickle", "loads"),
        ("webbrowser", "open"),
    ):
        yield f"{module}.{attribute}", pickled(Call(Name(module, attribute), (COMMAND,)))
    yield "protocol 2", pickled(EVIL, 2)
    yield "as a class", pickled(Call(SYSTEM, (COMMAND,), new=True))
    yield "never called", pickled({"G_ema": SYSTEM})
    yield "put together", program(text("os"), text("system"), b"\x93", text(COMMAND), b"\x85R")
    yield "a name of no text", program(b"K\x01K\x02\x93")
    yield "a long name", program(name("os", "s" * 100_000))
    yield "INST", program(f"(V{COMMAND}\nios\nsystem\n".encode())
    yield "OBJ", program(b"(", name("os", "system"), text(COMMAND), b"o")
    yield "NEWOBJ_EX", program(name("collections", "OrderedDict"), b")}\x92")
    for code, number in ((b"\x82", b"\x01"), (b"\x83", b"\x01\x00"), (b"\x84", b"\x01\0\0\0")):
        yield f"EXT{len(number)}", program(code, number)
    yield "a type that is called", pickled(Call(Name("torch", "FloatStorage"), (5,)))
    yield "a number that is called", program(b"K\x01)R")
    yield "arguments that are no tuple", program(name("collections", "OrderedDict"), b"]R")


def builds() -> Specimens:
    """BUILD, which sets attributes, on what is allowed."""
    for function in (S.REBUILD, S.LOAD, S.ORDERED, S.EASY, Name("numpy", "dtype"), PERSISTENT):
        for state in ({"__defaults__": ()}, {"__code__": 1}, (None, {"__class__": 1})):
            opcodes = pickled(state, 2)[2:-1]
            yield f"{function.name} {state}", program(name(*function), opcodes, b"b", protocol=2)
    yield "slots", pickled(Call(S.ORDERED, (), state=(None, {"__class__": 1})))
    yield "slots that hold code", pickled(Call(S.EASY, (), state=(None, {"__class__": SYSTEM})))
    yield "a state twice", pickled(S.Nvidia().persistent("G", {}))[:-1] + b"}b."
    yield "a list", program(b"]}b")
    yield "nothing", program(b"b")


def within() -> Specimens:
    """A pickle in a pickle, in PyTorch's containers, and these in each other."""
    stream, archive = S.torch_stream(EVIL), S.torch_zip(EVIL)
    yield "stream", stream
    yield "in place of a stream's number", stream[:14] + pickled(EVIL, 2)[2:] + stream[14:]
    yield "zip", archive
    for kind, blob in (("pickle", pickled(EVIL)), ("stream", stream), ("zip", archive)):
        storage = Call(S.LOAD, (blob,))
        yield f"{kind} in a storage", pickled({"G_ema": S.rebuilt(storage, torch.ones(2))})
        yield f"{kind} in a storage as text", pickled(storage, 2)
        yield (
            f"{kind} in a stream in a pickle",
            pickled(Call(S.LOAD, (S.torch_stream(Call(S.LOAD, (blob,))),))),
        )
        yield (
            f"{kind} in a zip in a pickle",
            pickled(Call(S.LOAD, (S.torch_zip(None, {"data.pkl": pickled(storage)}),))),
        )
    yield "tensor for a storage", pickled(Call(S.LOAD, (S.torch_stream(torch.ones(2)),)))
    yield "text for a storage", pickled(Call(S.LOAD, (COMMAND,)))
    identities = (COMMAND, ("module", COMMAND), ("storage", SYSTEM, "0", "cpu", 4), EVIL, (), None,
                  ("storage", S.ORDERED, "0", "cpu", 4))  # fmt: skip
    for identity in identities:
        yield f"persistent {str(identity)[:30]} in a zip", S.torch_zip(Outside(identity))
        yield f"persistent {str(identity)[:30]} in a stream", S.torch_stream(Outside(identity))
    yield "persistent in a bare pickle", pickled(Outside(COMMAND))


# Memory and time


def sizes() -> Specimens:
    """Lengths that ask for memory."""
    huge = struct.pack("<Q", 1 << 62)
    yield "BINBYTES8", program(b"\x8e", huge)
    yield "BINUNICODE8", program(b"\x8d", huge)
    yield "BYTEARRAY8", program(b"\x96", huge, protocol=5)
    yield "FRAME", program(b"\x95", huge)
    yield "LONG4", program(b"\x8b", struct.pack("<i", 1 << 30))
    yield "LONG1", program(b"\x8a\xff", b"\x7f" * 255)
    yield "INT of many digits", program(b"I" + b"9" * 100_000 + b"\n")
    yield "LONG_BINPUT", program(b"Nr", struct.pack("<I", 1 << 31))
    yield "LONG_BINGET", program(b"j", struct.pack("<I", 1 << 31))
    yield "buffers from outside", program(b"\x97", protocol=5)
    yield "one wide letter in a long text", program(text("x" * 2_000_000 + "\U0001f600"))
    yield "texts with a wide letter", program(b"(", text("x" * 900_000 + "\U0001f600") * 5, b"t")
    yield "very many sets", program(b"]", (b"(" + b"\x8f" * 15_000 + b"e") * 70)
    numbers = b"".join(pickled(k * (2**61 - 1), 2)[2:-1] for k in range(1, 15_000))
    yield "numbers of one hash", program(b"\x8f(", numbers, b"\x90")


def nesting() -> Specimens:
    """Depth that overflows the stack of whoever walks down into it."""
    yield "lists", program(b"]" * 30_000, b"a" * 29_999)
    yield "tables", program(b"}K\x01" * 30_000, b"}", b"s" * 30_000)
    yield "marks", program(b"(" * 50_000)
    yield "tuples without end", program(b")", b"\x85" * 120_000)
    deep = Opcodes(b")" + b"\x85" * 60_000)
    layout = S.Nvidia()
    yield "a key", program(b"}", deep, b"Ns")
    yield "a member", program(b"\x8f(", deep, b"\x90")
    yield "a type", pickled(Call(Name("numpy", "dtype"), (deep, False, True)))
    yield "a class name", pickled(layout.persistent(deep, {}))
    yield "a shape", pickled(Call(S.REBUILD, (None, 0, deep, deep)))
    yield "a persistent id", S.torch_zip(Outside(deep))
    yield "an options' value", S.torch_zip({"state_dict": {"encoder.x": 1}, "opts": {"x": deep}})
    state = {"_modules": {}, "_init_kwargs": {}, "_init_args": deep}
    yield "arguments", pickled({"G_ema": layout.persistent("G", state)})
    whole, keys = S.torch_stream(torch.ones(2)), pickled(["0"], 2)
    yield "a list of storages", whole.replace(keys, pickled([deep], 2))
    yield "a magic number", S.torch_stream(None)[:2] + deep + b"."


def aliases() -> Specimens:
    """Few bytes that stand for very many values, or for very much work."""
    layout, generator = S.Nvidia(), S.networks()[0]

    def with_arguments(value: Any) -> bytes:
        contents = layout.contents(generator)
        contents["G_ema"].arguments[0]["state"]["_init_kwargs"] = value
        return layout.dump(contents)

    yield "arguments", with_arguments({"x": _tower(50, 5, "word")})
    yield "long texts", with_arguments({"z_dim": _tower(50, 2, "word" * 200_000)})
    tree = layout.persistent("M", {"_modules": {}})
    for _ in range(12):
        tree = layout.persistent("M", {"_modules": {f"m{i}": tree for i in range(20)}})
    yield "modules", pickled({"G_ema": tree})
    members = {f"p{i}": S.nested(torch.ones(1)) for i in range(200)}
    modules = {f"m{i}": layout.persistent("M", {"_parameters": members}) for i in range(2000)}
    yield "parameters", pickled({"G_ema": layout.persistent("G", {"_modules": modules})})
    state = {f"k{i}": None for i in range(20_000)}
    yield "options", pickled([Call(Name("argparse", "Namespace"), (), state=state, new=True)
                              for _ in range(5000)])  # fmt: skip
    encoded = ("x" * 900_000, "latin1")
    yield "encoded text", pickled([Call(Name("_codecs", "encode"), encoded) for _ in range(5000)])
    parts = ("x" * 900_000,) * 100
    yield "joined text", pickled([Call(Name("pathlib", "Path"), parts) for _ in range(100)])
    shape = tuple(range(15_000))
    yield "shapes", pickled([Call(Name("torch", "Size"), (shape,)) for _ in range(10_000)])
    storage = (S.torch_stream(S.storage_id(torch.ones(1), "0"), S.Storages({"0": torch.ones(1)})),)
    yield "storages", pickled([Call(S.LOAD, storage) for _ in range(5000)])
    yield "levels", S.torch_zip({"g_ema": {f"to_rgbs.{i}.bias": 1 for i in range(20_000)}
                                 | {"conv1.conv.modulation.weight": 1}})  # fmt: skip
    table: dict[str, Any] = {}
    table |= {f"k{i}": table for i in range(3000)}
    yield "a table of itself", S.torch_zip(table)
    network = Call(Name("dnnlib.tflib.network", "Network"), (), new=True)
    network.state = {"variables": [], "components": {"mapping": network, "synthesis": network}}
    yield "components", pickled((network, network, network))


def _tower(width: int, height: int, bottom: Any) -> Any:
    for _ in range(height):
        bottom = [bottom] * width
    return bottom


# Tensors


def geometry() -> Specimens:
    """Tensors of a storage of 16 numbers that are not within it, or not made of numbers."""
    places: dict[str, tuple[Any, Any, Any]] = {
        "huge": (0, (1 << 47,), (1,)),
        "past 64 bits": (0, (1 << 70,), (1,)),
        "a product past 64 bits": (0, (1 << 40, 1 << 40), (1 << 40, 1)),
        "negative offset": (-4, (4,), (1,)),
        "negative stride": (8, (4,), (-1,)),
        "negative size": (0, (-4, -4), (4, 1)),
        "expanded": (0, (1 << 40,), (0,)),
        "expanded within": (0, (4, 4), (0, 1)),
        "overlapping": (0, (3, 3), (1, 1)),
        "gaps": (0, (2, 2), (8, 1)),
        "out of its storage": (8, (16,), (1,)),
        "behind its storage": (1 << 40, (1,), (1,)),
        "bool": (0, (True, 4), (4, 1)),
        "text": (0, ("4",), (1,)),
        "float": (0, (4.0,), (1,)),
        "NaN": (0, (float("nan"),), (1,)),
        "infinite": (0, (float("inf"),), (1,)),
        "None": (0, (None,), (1,)),
        "a float for a place": (1.0, (4,), (1,)),
        "a bool for a place": (True, (4,), (1,)),
        "a number for a shape": (0, 4, 1),
        "a list for a shape": (0, [4], [1]),
        "a stride too few": (0, (4, 4), (1,)),
        "nine axes": (0, (1,) * 9, (1,) * 9),
        "8,000 axes": (0, (1,) * 8000, (1,) * 8000),
        "a float for a stride": (0, (4,), (1.0,)),
    }
    numbers = torch.arange(16.0)
    for label, place in places.items():
        tensor = Call(S.REBUILD, (S.storage_id(numbers, "0"), *place, False, S.ordered()))
        yield label, S.torch_zip(tensor, {"data/0": S.raw(numbers)})
    for storage in (None, 5, "0", S.ordered(), torch.ones(2)):
        tensor = Call(S.REBUILD, (storage, 0, (2,), (1,), False, S.ordered()))
        yield f"a {type(storage).__name__} for a storage", S.torch_stream(tensor)
    yield "too few arguments", pickled(Call(S.REBUILD, (1,)))
    yield "a parameter of a number", pickled(Call(S.PARAMETER, (1, True, S.ordered())))
    for function in ("_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_from_type_v2",
                     "_rebuild_wrapper_subclass", "_rebuild_meta_tensor_no_storage"):  # fmt: skip
        yield function, pickled(Call(Name("torch._utils", function), ()))


def storages() -> Specimens:
    """Storages whose descriptions contradict each other or the container."""
    numbers = torch.arange(16.0)
    data = {"data/0": S.raw(numbers)}

    def described(kind: str, key: Any, numel: Any) -> Outside:
        return Outside(("storage", Name("torch", kind), key, "cpu", numel))

    for numel in (-1, 15, 17, True, 16.0, "16", None, 1 << 60, 1 << 70):
        yield f"{numel!r} numbers", S.torch_zip(described("FloatStorage", "0", numel), data)
    for kind in ("ComplexFloatStorage", "QInt8Storage", "UntypedStorage", "float32", "Storage"):
        yield kind, S.torch_zip(described(kind, "0", 16), data)
    for key in ("1", "../data.pkl", "", "0" * 100_000, 0, None):
        yield f"key {str(key)[:20]!r}", S.torch_zip(described("FloatStorage", key, 16), data)
    both = [described("FloatStorage", "0", 16), described("DoubleStorage", "0", 8)]
    yield "described in two ways, zip", S.torch_zip(both, data)
    yield "described in two ways, stream", S.torch_stream(both, S.Storages({"0": numbers}))
    whole, keys = S.torch_stream(torch.ones(2)), pickled(["0"], 2)
    for other in (["1"], [], ["0", "0"], [0], [[]], [None], "0", {"0": 1}, 5):
        yield f"list of storages {other}", whole.replace(keys, pickled(other, 2))
    yield "another length in the stream", whole[:-16] + struct.pack("<q", 3) + whole[-8:]
    yield "a negative length", whole[:-16] + struct.pack("<q", -2) + whole[-8:]
    yield "a cut stream", whole[:-1]
    yield "a big-endian machine", S.torch_zip(torch.ones(2), {"byteorder": b"big"})
    yield "a big-endian stream", S.torch_stream(torch.ones(2), little_endian=False)
    for code in ("O", "V8", "f16", "c8", "M8", "S4", "U4", None, 5):
        yield f"numpy {code}", pickled(Call(Name("numpy", "dtype"), (code, False, True)))
    big = (3, ">", None, None, None, -1, -1, 0)
    yield "numpy big-endian", pickled(Call(Name("numpy", "dtype"), ("f4", False, True), state=big))
    float32 = Call(Name("numpy", "dtype"), ("f4", False, True))
    for shape in ((5,), (1 << 40,), (-1,), ("a", 1 << 40), (2.0,), tuple(range(8000)), 4):
        array = Call(Name("numpy.core.multiarray", "_reconstruct"),
                     (Name("numpy", "ndarray"), (0,), b"b"),
                     state=(1, shape, float32, False, bytes(16)))  # fmt: skip
        yield f"numpy shape {str(shape)[:20]}", pickled(array)


# Garbled pickles


def garbled() -> Specimens:
    """What no pickler writes, and what is left of what one wrote."""
    for protocol in (0, 1, 6, 255):
        yield f"protocol {protocol}", program(b"}", protocol=protocol)
    yield "text that is not UTF-8", program(b"X\x02\0\0\0\xff\xfe")
    yield "a name that is not UTF-8", program(b"c\xff\xfe\n\xff\n")
    for key in ((1, 2), 1.5, float("nan"), None, True, b"x", "x" * 1000, [], SYSTEM):
        yield f"key {str(key)[:20]}", pickled([Opcodes(b"}"), key, 1, Opcodes(b"s")])
    yield "nothing but a beginning", b"\x80\x04"
    yield "no value", program()
    yield "a mark for a value", program(b"(")
    yield "too few for a tuple", program(b"K\x01\x87")
    yield "no mark", program(b"K\x01t")
    yield "a key without value", program(b"}(K\x01u")
    yield "an item for a table", program(b"}K\x01a")
    yield "an item for a list", program(b"]K\x01K\x01s")
    yield "a member for a list", program(b"](K\x01\x90")
    yield "POP", program(b"K\x01K\x02", b"0")
    yield "trailing data", pickled({}) + pickled(EVIL)
    yield "a zip behind a pickle", pickled({}) + S.torch_zip(EVIL)
    yield "trailing data in a zip", S.torch_zip({}, {"data.pkl": pickled({}) + pickled(EVIL)})
    yield "trailing data in a stream", S.torch_stream({}) + pickled(EVIL)
    storage = S.nested(torch.ones(1)).arguments[0].arguments[0]
    yield "trailing data in a storage", pickled(Call(S.LOAD, (storage + b"x",)))


# Zips


class Entry(NamedTuple):
    """One entry of a zip, with what its two headers say; `None` says the truth."""

    name: str
    data: bytes
    local_name: str | None = None
    start: int | None = None
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    flags: int = 0
    method: int = 0
    extra: bytes = b""


def archive(entries: Iterable[Entry], count: int | None = None, gap: bytes = b"") -> bytes:
    """A zip, headers and all."""
    body, directory, held = b"", b"", 0
    for e in entries:
        local, start = (e.local_name or e.name).encode(), len(body)
        body += struct.pack("<4s22xHH", b"PK\x03\x04", len(local), 0) + local + e.data
        size = len(e.data) if e.size is None else e.size
        packed = size if e.packed is None else e.packed
        crc = zlib.crc32(e.data) if e.crc is None else e.crc
        start = start if e.start is None else e.start
        directory += struct.pack("<4s4xHH4xI", b"PK\x01\x02", e.flags, e.method, crc)
        directory += struct.pack("<IIHHH8xI", packed, size, len(e.name), len(e.extra), 0, start)
        directory += e.name.encode() + e.extra
        held += 1
    count = held if count is None else count
    end = struct.pack("<4s4xHHIIH", b"PK\x05\x06", count, count, len(directory), len(body), 0)
    return body + directory + gap + end


def zips() -> Specimens:
    """Zips that can be read in two ways, or that torch does not write."""
    pickle = Entry("m/data.pkl", pickled({}, 2))
    numbers = Entry("m/data/0", bytes(64))
    whole = archive([pickle, numbers])
    full = 0xFFFFFFFF

    def wide(*values: int) -> bytes:
        return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)

    yield "two entries of one name", archive([pickle, pickle._replace(data=pickled(EVIL))])
    yield "two folders", archive([pickle, Entry("n/data/0", b"x")])
    yield "a path upwards", archive([pickle, Entry("m/../../etc/passwd", b"x")])
    yield "a path of Windows", archive([pickle, Entry("m/..\\x", b"x")])
    yield "no folder", archive([Entry("data.pkl", pickle.data)])
    yield "no pickle", archive([numbers])
    yield "TorchScript", archive([pickle, Entry("m/code/__torch__.py", b"def forward(self): pass")])
    yield "constants of TorchScript", archive([pickle, Entry("m/constants.pkl", pickled(()))])
    outer = numbers._replace(data=archive([Entry("m/data/1", bytes(64))]))
    inner = archive([pickle, outer]).rindex(b"PK\x03\x04")
    hidden = Entry("m/data/1", b"", start=inner, size=64, crc=zlib.crc32(bytes(64)))
    yield "an entry within another", archive([pickle, outer, hidden])
    yield "an entry of another name", archive([pickle, numbers._replace(local_name="m/data/1")])
    yield "an entry outside", archive([pickle, numbers._replace(start=1 << 30)])
    yield "an entry in the directory", archive([pickle, numbers._replace(size=80)])
    yield "an entry where none is", archive([pickle, numbers._replace(start=1)])
    yield "packed to another size", archive([pickle, numbers._replace(packed=8)])
    yield "encrypted", archive([pickle, numbers._replace(flags=1)])
    yield "another checksum", archive([pickle._replace(crc=1)])
    yield "1000:1", S.zipped({"m/data.pkl": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    yield "compressed by its word alone", archive([pickle._replace(method=8)])
    yield "64 bits, too large", archive([pickle._replace(size=full, extra=wide(1 << 40, 1 << 40))])
    yield "64 bits, missing", archive([pickle._replace(size=full)])
    yield (
        "64 bits, too short",
        archive([pickle._replace(size=full, extra=wide()[:2] + b"\x03\0abc")]),
    )
    yield "64 bits, place", archive([pickle._replace(start=full, extra=wide(1 << 62))])
    for place in (0, 1 << 62, len(whole)):
        locator = struct.pack("<4s4xQ4x", b"PK\x06\x07", place)
        yield f"64 bits, directory at {place}", whole[:-22] + locator + whole[-22:]
    yield "fewer entries than there are", archive([pickle, numbers], count=1)
    yield "more entries than there are", archive([pickle, numbers], count=3)
    yield "65,535 entries that are none", archive([pickle], count=0xFFFF)
    yield "20,001 entries", archive(Entry(f"m/{i}", b"") for i in range(20_001))
    yield "a gap before the end", archive([pickle, numbers], gap=bytes(20))
    yield "data before", whole[:4] + whole
    yield "data behind", whole + b"x"
    yield "a zip behind", whole + archive([pickle._replace(data=pickled(EVIL))])
    yield "a comment", whole[:-2] + struct.pack("<H", 3) + b"PK!"
    yield "cut off", whole[:-30]
    yield "nothing but a beginning", whole[:4]


# Models


def nvidia_models() -> Specimens:
    """Files of NVIDIA's layout whose parts contradict each other."""
    layout = S.Nvidia()

    def changed(path: str, key: str, value: Any) -> bytes:
        """A file in which one item of a module's state is another; `...` takes it away."""
        contents = layout.contents(S.networks()[0])
        at = contents["G_ema"].arguments[0]["state"]
        for part in filter(None, path.split(".")):
            at = (
                at[part]
                if part.startswith("_")
                else at["_modules"].items[part].arguments[0]["state"]
            )
        table = at.items if isinstance(at, Call) else at
        if value is ...:
            del table[key]
        else:
            table[key] = value
        return layout.dump(contents)

    conv = "synthesis.b8.conv0"
    weight = S.networks()[0].synthesis.b8.conv0.weight.detach()
    for claims in ({"img_resolution": 1 << 20}, {"mapping_kwargs": {"num_layers": 10**6}},
                   {"z_dim": 1 << 40}, {"w_dim": float("nan")}, {"c_dim": "6"},
                   {"img_channels": []}, {"img_resolution": [[8]]}, {"z_dim": True}):  # fmt: skip
        yield (
            f"it says {claims}",
            changed("", "_init_kwargs", layout.arguments(S.networks()[0]) | claims),
        )
    yield "arguments without names", changed("", "_init_args", (512, 0, 512))
    yield "arguments without end", changed("", "_init_kwargs", {"x": [0] * 20_000})
    for label, value in (
        ("of whole numbers", weight.int()),
        ("of yes and no", weight.bool()),
        ("transposed", weight.permute(3, 2, 1, 0).contiguous()),
        ("of another size", weight[:2]),
        ("of one axis", weight.flatten()),
        ("of none", torch.empty(0)),
        ("that is a number", 5),
        ("that is a table", {}),
        ("that is missing", ...),
    ):
        yield f"a weight {label}", changed(f"{conv}._parameters", "weight", value)
    yield "noise that is missing", changed(f"{conv}._buffers", "noise_const", ...)
    yield "a tensor too many", changed(f"{conv}._parameters", "more", torch.ones(3))
    yield "parameters that are a list", changed(conv, "_parameters", [weight])
    yield "buffers that are text", changed(conv, "_buffers", "noise_const")
    yield "modules that are a list", changed("synthesis", "_modules", [1])
    yield "a module that is a number", changed("synthesis._modules", "b8", 3)
    yield "a set that is a list", changed(conv, "_non_persistent_buffers_set", ["weight"] * 1000)
    yield "a set that is a number", changed(conv, "_non_persistent_buffers_set", 5)
    yield "a module within itself", _module_within_itself()
    for meta in ({"type": "code"}, {"version": 7}, {"version": True}, {"version": "6"},
                 {"class_name": 5}, {"class_name": "x" * 1000}, {"state": []}):  # fmt: skip
        described = {
            "type": "class",
            "version": 6,
            "module_src": "",
            "class_name": "G",
            "state": {},
        }
        yield f"described by {str(meta)[:40]}", pickled(Call(PERSISTENT, (described | meta,)))
    yield "described by a list", pickled(Call(PERSISTENT, ([],)))


def _module_within_itself() -> bytes:
    state: dict[str, Any] = {"_init_kwargs": {}}
    state["_modules"] = {"child": S.Nvidia().persistent("G", state)}
    return pickled({"G_ema": S.Nvidia().persistent("G", state)})


def other_models() -> Specimens:
    """rosinality's, e4e's, TensorFlow's and bare files whose parts contradict each other."""
    generator, discriminator = S.networks()

    def changed(key: str, value: Any) -> bytes:
        contents = S.rosinality(generator, discriminator)
        table = contents["g_ema"].items
        table[key] = value
        return S.torch_zip(contents)

    yield "affine of one axis", changed("conv1.conv.modulation.weight", torch.ones(24))
    yield "const of two axes", changed("input.input", torch.ones(4, 4))
    yield "weight of whole numbers", changed("conv1.conv.weight", torch.ones(1, 4, 4, 3, 3).int())
    yield "weight that is text", changed("conv1.conv.weight", "weight")
    yield "a name too many", changed("more\x1b[2J\nlines", torch.ones(1))
    yield "twelve levels", S.torch_zip({"g_ema": {f"to_rgbs.{i}.bias": 1 for i in range(12)}
                                        | {"conv1.conv.modulation.weight": 1}})  # fmt: skip
    for shape in ((0, 6), (6, 0), (5,), (2, 3, 6)):
        contents = S.rosinality(generator) | {"latent_avg": torch.empty(shape)}
        yield f"latent_avg of {shape}", S.torch_zip(contents)
    contents = S.e4e(generator)
    contents["state_dict"]["encoder.number"] = 5
    yield "an encoder's number", S.torch_zip(contents)
    yield "neither encoder nor generator", S.torch_zip({"state_dict": {"decoder.x": 1}})
    network = Name("dnnlib.tflib.network", "Network")
    for state in ({}, {"variables": 5}, {"variables": [5]}, {"variables": [("x" * 300, 1)]},
                  {"variables": [], "components": []},
                  {"variables": [], "components": {"mapping": 1}},
                  {"variables": [("4x4/Conv/weight", 1)]}):  # fmt: skip
        yield f"TensorFlow's {str(state)[:50]}", pickled(Call(network, (), state=state, new=True))
    for row in (
        {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": list(range(1, 100_000)), "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": [-4, -4], "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": [16], "data_offsets": [0, 1 << 40]},
        {"dtype": "F32", "shape": [16], "data_offsets": [64, 0]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": [], "shape": [16], "data_offsets": [0, 64]},
        {"shape": "16"},
        5,
    ):
        header = json.dumps({"synthesis.b4.const": row}).encode()
        yield f"safetensors {str(row)[:50]}", struct.pack("<Q", len(header)) + header + bytes(64)
    yield "safetensors, nested", struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995
    yield "safetensors, cut off", struct.pack("<Q", 1000) + b'{"a":'


def tensors_over_one_blob() -> bytes:
    """An encoder of two thousand tensors that are all the same four megabytes."""
    numbers = torch.empty(1 << 20)
    tensor = S.rebuilt(S.storage_id(numbers, "0"), numbers)
    state = {f"encoder.{i}.weight": tensor for i in range(2000)}
    return S.torch_zip({"state_dict": state}, {"data/0": bytes(4 << 20)})


MODELS = (nvidia_models, other_models)
GROUPS = (calls, builds, within, sizes, nesting, aliases, geometry, storages, garbled, zips,
          *MODELS)  # fmt: skip
# Nothing in them is unsafe or broken; they are no models that are known, and cost nothing.
MERELY_UNKNOWN = {
    "numbers of one hash",
    "arguments",
    "arguments without names",
    "a magic number",
    "a table of itself",
    "TensorFlow's {'variables': [], 'components': []}",
}
