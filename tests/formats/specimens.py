"""Small model files of other programs, made here: their layouts, our numbers, nobody's source.

`pickled` writes opcodes itself, since a pickler would refuse what hostile files need, and since the
layouts refer to programs that are not installed.
"""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from framework.formats.rosinality import discriminator_names, generator_names
from framework.models.stylegan2 import Discriminator, Generator

SMALL = {"channel_base": 32, "channel_max": 4, "mapping_layers": 2}
BATCH = 1000
SOURCE = "def of_no_interest():\n    return 'this text is never run'\n"


class Name(NamedTuple):
    """What GLOBAL or STACK_GLOBAL pushes."""

    module: str
    name: str


@dataclass(eq=False)
class Call:
    """REDUCE, or NEWOBJ, then SETITEMS with `items` and BUILD with `state` where there are some."""

    function: Any
    arguments: Any = ()
    items: dict | None = None
    state: Any = None
    new: bool = False


class Outside(NamedTuple):
    """What BINPERSID pushes."""

    identity: Any


class Opcodes(bytes):
    """Opcodes that are put into the pickle as they are."""


def pickled(value: Any, protocol: int = 4, tensor: Callable[[Tensor], Any] | None = None) -> bytes:
    """One pickle.

    Args:
        value: Plain values and the markers above. What occurs twice is fetched from the memo.
        protocol: 2 to 5; the opcodes are those that Python's pickler uses in it.
        tensor: What stands for a tensor.
    """
    body = _Emitter(protocol, tensor).emit(value) + b"."
    frame = struct.pack("<BQ", 0x95, len(body)) if protocol >= 4 else b""
    return bytes([0x80, protocol]) + frame + body


class _Emitter:
    def __init__(self, protocol: int, tensor: Callable[[Tensor], Any] | None) -> None:
        self.protocol, self.tensor = protocol, tensor
        self.memo: dict[Any, tuple[int, Any]] = {}
        self.count = 0

    def emit(self, value: Any) -> bytes:
        key = value if isinstance(value, str | Name) else id(value)
        if key in self.memo:
            index = self.memo[key][0]
            return (
                struct.pack("<cB", b"h", index) if index < 256 else struct.pack("<cI", b"j", index)
            )
        match value:
            case Opcodes():
                return bytes(value)
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                return self._int(value)
            case float():
                return b"G" + struct.pack(">d", value)
            case Tensor():
                assert self.tensor is not None
                return self.emit(self.tensor(value))
            case Name():
                return self._name(value)
            case str():
                return self._text(value.encode("utf-8", "surrogatepass")) + self._put(value)
            case bytes():
                return self._bytes(value)
            case bytearray():
                return b"\x96" + struct.pack("<Q", len(value)) + bytes(value) + self._put(value)
            case Outside():
                return self.emit(value.identity) + b"Q"
            case Call():
                return self._call(value)
            case list():
                return b"]" + self._put(value) + self._marked(value, b"e")
            case dict():
                return b"}" + self._put(value) + self._items(value)
            case tuple():
                return self._tuple(value)
            case set():
                return self._set(value)
        raise TypeError(type(value))

    def _put(self, value: Any) -> bytes:
        """Memoise what was just made, under the next number."""
        index, self.count = self.count, self.count + 1
        self.memo[value if isinstance(value, str | Name) else id(value)] = (index, value)
        if self.protocol >= 4:
            return b"\x94"
        return struct.pack("<cB", b"q", index) if index < 256 else struct.pack("<cI", b"r", index)

    def _int(self, value: int) -> bytes:
        if 0 <= value < 256:
            return struct.pack("<cB", b"K", value)
        if 0 <= value < 65536:
            return struct.pack("<cH", b"M", value)
        if -(2**31) <= value < 2**31:
            return struct.pack("<ci", b"J", value)
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return struct.pack("<BB", 0x8A, len(raw)) + raw

    def _text(self, raw: bytes) -> bytes:
        if self.protocol >= 4 and len(raw) < 256:
            return struct.pack("<BB", 0x8C, len(raw)) + raw
        return struct.pack("<cI", b"X", len(raw)) + raw

    def _bytes(self, value: bytes) -> bytes:
        if self.protocol < 3:
            return self.emit(Call(Name("_codecs", "encode"), (value.decode("latin-1"), "latin1")))
        if len(value) < 256:
            return struct.pack("<cB", b"C", len(value)) + value + self._put(value)
        return struct.pack("<cI", b"B", len(value)) + value + self._put(value)

    def _name(self, value: Name) -> bytes:
        if self.protocol >= 4:
            return self.emit(value.module) + self.emit(value.name) + b"\x93" + self._put(value)
        return f"c{value.module}\n{value.name}\n".encode() + self._put(value)

    def _call(self, call: Call) -> bytes:
        made = self.emit(call.function) + self.emit(call.arguments)
        made += (b"\x81" if call.new else b"R") + self._put(call)
        if call.items:
            made += self._items(call.items)
        return made if call.state is None else made + self.emit(call.state) + b"b"

    def _marked(self, values: list, opcode: bytes) -> bytes:
        """Items in batches, as picklers put them."""
        batches = (values[i : i + BATCH] for i in range(0, len(values), BATCH))
        return b"".join(b"(" + b"".join(map(self.emit, batch)) + opcode for batch in batches)

    def _items(self, items: dict) -> bytes:
        return self._marked([part for pair in items.items() for part in pair], b"u")

    def _tuple(self, value: tuple) -> bytes:
        if not value:
            return b")"
        if len(value) > 3:
            return b"(" + b"".join(map(self.emit, value)) + b"t" + self._put(value)
        return b"".join(map(self.emit, value)) + bytes([0x84 + len(value)]) + self._put(value)

    def _set(self, value: set) -> bytes:
        if self.protocol >= 4:
            return b"\x8f" + self._put(value) + self._marked(sorted(value), b"\x90")
        module = "__builtin__" if self.protocol == 2 else "builtins"
        return self.emit(Call(Name(module, "set"), (sorted(value),)))


# Tensors and the three containers of PyTorch

ORDERED, EASY = Name("collections", "OrderedDict"), Name("dnnlib.util", "EasyDict")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
PARAMETER = Name("torch._utils", "_rebuild_parameter")
LOAD = Name("torch.storage", "_load_from_bytes")
STORAGES = {
    torch.float64: "DoubleStorage",
    torch.float32: "FloatStorage",
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.int64: "LongStorage",
    torch.int32: "IntStorage",
    torch.uint8: "ByteStorage",
    torch.bool: "BoolStorage",
}
SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


def ordered(items: dict | None = None) -> Call:
    return Call(ORDERED, (), items)


def raw(tensor: Tensor) -> bytes:
    """The numbers in the order in which they lie in memory."""
    flat = tensor.detach().as_strided((tensor.numel(),), (1,))
    return flat.contiguous().view(torch.uint8).numpy().tobytes()


def rebuilt(storage: Any, tensor: Tensor) -> Call:
    """A tensor of a storage that holds it and nothing else."""
    arguments = (storage, 0, tuple(tensor.shape), tensor.stride(), False, ordered())
    made = Call(REBUILD, arguments)
    return Call(PARAMETER, (made, True, ordered())) if tensor.requires_grad else made


def storage_id(tensor: Tensor, key: str, *view: None) -> Outside:
    """The persistent id of a storage; streams have one more part, which is nothing."""
    kind = Name("torch", STORAGES[tensor.dtype])
    return Outside(("storage", kind, key, "cpu", tensor.numel(), *view))


@dataclass
class Storages:
    """Numbers the tensors of a file; gives what stands for each."""

    held: dict[str, Tensor] = field(default_factory=dict)
    view: tuple = (None,)

    def __call__(self, tensor: Tensor) -> Call:
        key = str(len(self.held))
        self.held[key] = tensor
        return rebuilt(storage_id(tensor, key, *self.view), tensor)


def torch_stream(value: Any, storages: Storages | None = None, little_endian: bool = True) -> bytes:
    """A file as `torch.save` wrote it before 1.6."""
    storages = storages or Storages()
    system = SYSTEM | {"little_endian": little_endian}
    parts = [pickled(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts.append(pickled(value, 2, storages))
    parts.append(pickled(sorted(storages.held), 2))
    for key in sorted(storages.held):
        tensor = storages.held[key]
        parts.append(struct.pack("<q", tensor.numel()) + raw(tensor))
    return b"".join(parts)


def torch_zip(value: Any, more: dict[str, bytes] | None = None) -> bytes:
    """A file as `torch.save` writes it today; `more` entries replace or add to the usual ones."""
    storages = Storages(view=())
    entries = {"data.pkl": pickled(value, 2, storages), "byteorder": b"little", "version": b"3\n"}
    entries |= {f"data/{key}": raw(tensor) for key, tensor in storages.held.items()}
    return zipped({f"model/{name}": data for name, data in (entries | (more or {})).items()})


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def nested(tensor: Tensor) -> Call:
    """A tensor as NVIDIA's pickles hold it: its storage is a torch stream inside of bytes."""

    def blob(tensor: Tensor) -> bytes:
        storages = Storages({"94": tensor})
        return torch_stream(storage_id(tensor, "94", None), storages)

    return rebuilt(Call(LOAD, (blob(tensor),)), tensor)


# Networks


def networks(c_dim: int = 0, seed: int = 5) -> tuple[Generator, Discriminator]:
    """A generator and a discriminator for 8x8 pictures in which no two numbers are the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator((8, 8), z_dim=6, w_dim=6, c_dim=c_dim, **SMALL)
        discriminator = Discriminator((8, 8), c_dim=c_dim, **SMALL)
        for network in (generator, discriminator):
            for name, tensor in network.state_dict().items():
                if not name.endswith("resample_filter"):
                    tensor.copy_(torch.randn(tensor.shape))
    return generator, discriminator


# NVIDIA


@dataclass(frozen=True)
class Nvidia:
    """How a file of NVIDIA's is written.

    Attributes:
        protocol: Of the pickle.
        numpy: The package that numpy's scalars say they come from.
        flat: Synthesis arguments as in stylegan3, not nested as in stylegan2-ada-pytorch.
        c_dim: Labels.
        augment: With the augmentation's module.
        channels_last: With 4-D tensors in that order.
        source: What stands where those files hold the text of a Python module.
    """

    protocol: int = 4
    numpy: str = "numpy._core"
    flat: bool = False
    c_dim: int = 0
    augment: bool = False
    channels_last: bool = False
    source: str = SOURCE

    def scalar(self, value: float) -> Call:
        kind = Call(Name("numpy", "dtype"), ("f8", False, True),
                    state=(3, "<", None, None, None, -1, -1, 0))  # fmt: skip
        return Call(Name(f"{self.numpy}.multiarray", "scalar"), (kind, struct.pack("<d", value)))

    def arguments(self, network: Any) -> dict[str, Any]:
        """`_init_kwargs`, from our configuration."""
        config = network.config
        sizes = {"channel_base": config["channel_base"], "channel_max": config["channel_max"]}
        sizes |= {"num_fp16_res": 0, "conv_clamp": None}
        common = {"c_dim": config["c_dim"], "img_resolution": 8, "img_channels": 3}
        if isinstance(network, Discriminator):
            group = Call(EASY, (), {"mbstd_group_size": 4}, new=True)
            return common | sizes | {"block_kwargs": {}, "mapping_kwargs": {},
                                     "epilogue_kwargs": group}  # fmt: skip
        mapping = Call(EASY, (), {"num_layers": config["mapping_layers"]}, new=True)
        common |= {"z_dim": config["z_dim"], "w_dim": config["w_dim"], "mapping_kwargs": mapping}
        if self.flat:
            return common | sizes
        return common | {"synthesis_kwargs": Call(EASY, (), sizes, new=True)}

    def module(self, module: nn.Module, arguments: dict[str, Any] | None = None) -> Call:
        """A module and all below it."""
        tensors = [dict(module.named_parameters(recurse=False))]
        tensors.append(dict(module.named_buffers(recurse=False)))
        if self.channels_last:
            tensors = [{n: _channels_last(t) for n, t in group.items()} for group in tensors]
        state = {
            "training": False,
            "_parameters": ordered(tensors[0]),
            "_buffers": ordered(tensors[1]),
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": ordered(),
            "_modules": ordered({n: self.module(m) for n, m in module.named_children()}),
            "_init_args": (),
            "_init_kwargs": Call(EASY, (), arguments or {}, new=True),
            "weight_gain": self.scalar(0.25),
        }
        return self.persistent(type(module).__name__, state)

    def persistent(self, class_name: str, state: Any) -> Call:
        meta = {"type": "class", "version": 6, "module_src": self.source}
        meta |= {"class_name": class_name, "state": state}
        return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))

    def contents(self, generator: Generator, discriminator: Discriminator | None = None) -> dict:
        """What the file unfolds to; `G` is another network than `G_ema`."""
        value: dict[str, Any] = {"training_set_kwargs": Call(EASY, (), {"path": "/data"}, new=True)}
        if discriminator is not None:
            value["G"] = self.module(networks(self.c_dim, 6)[0], self.arguments(generator))
            value["D"] = self.module(discriminator, self.arguments(discriminator))
        value["G_ema"] = self.module(generator, self.arguments(generator))
        if self.augment:
            pipe = nn.Module()
            pipe.register_buffer("p", torch.tensor(0.5))
            pipe.register_buffer("Hz_fbank", torch.arange(32.0, dtype=torch.float64).view(4, 8))
            value["augment_pipe"] = self.module(pipe)
        return value

    def file(self, generator: Generator, discriminator: Discriminator | None = None) -> bytes:
        return self.dump(self.contents(generator, discriminator))

    def dump(self, value: Any) -> bytes:
        return pickled(value, self.protocol, nested)


def _channels_last(tensor: Tensor) -> Tensor:
    if tensor.ndim != 4:
        return tensor
    return tensor.detach().contiguous(memory_format=torch.channels_last)


# rosinality, e4e


def rosinality(
    generator: Generator, discriminator: Discriminator | None = None, training: bool = False
) -> dict[str, Any]:
    """What its files hold; a training file has options and no `latent_avg`."""
    names = list(generator_names(generator.config["mapping_layers"], 1))
    state = _their_names(generator, names)
    state["convs.0.conv.blur.kernel"] = generator.state_dict()["synthesis.b8.resample_filter"] * 4
    value: dict[str, Any] = {"g_ema": ordered(state)}
    if discriminator is not None:
        value["d"] = ordered(_their_names(discriminator, list(discriminator_names(1))))
    if training:
        options = {"size": 8, "lr": 0.002, "ckpt": None, "augment": False}
        value["args"] = Call(Name("argparse", "Namespace"), (), state=options, new=True)
        value["g_optim"] = {"state": {0: {"step": 7, "exp_avg": torch.ones(3)}}}
    else:
        value["latent_avg"] = generator.mapping.w_avg
    return value


def _their_names(network: nn.Module, names: list) -> dict[str, Tensor]:
    held = network.state_dict()
    return {
        n.theirs: held[n.ours].reshape((1,) * n.leading + held[n.ours].shape + (1,) * n.trailing)
        for n in names
    }


def e4e(generator: Generator) -> dict[str, Any]:
    """A generator and two tensors in the place of an encoder."""
    state = {f"decoder.{n}": t for n, t in rosinality(generator)["g_ema"].items.items()}
    state |= {"encoder.input_layer.0.weight": torch.arange(108.0).view(4, 3, 3, 3)}
    state |= {"encoder.styles.0.linear.bias": torch.arange(6.0)}
    mean = generator.mapping.w_avg.repeat(generator.synthesis.num_ws, 1)
    opts = {"encoder_type": "Encoder4Editing", "stylegan_size": 8, "start_from_latent_avg": True}
    return {"state_dict": state, "latent_avg": mean, "opts": opts}


def benign() -> dict[str, bytes]:
    """One of each kind, by file name; `networks()` are in all of them."""
    pair = networks()
    generator = pair[0]
    files = {f"protocol{p}.pkl": Nvidia(p, augment=True).file(*pair) for p in (2, 3, 4, 5)}
    files["numpy1.pkl"] = Nvidia(numpy="numpy.core").file(*pair)
    files["flat.pkl"] = Nvidia(flat=True).file(*pair)
    files["channels_last.pkl"] = Nvidia(channels_last=True).file(*pair)
    files["one.pkl"] = Nvidia(3).file(generator)
    files["zip.pt"] = torch_zip(rosinality(*pair))
    files["training.pt"] = torch_zip(rosinality(*pair, training=True))
    files["stream.pt"] = torch_stream(rosinality(*pair))
    files["e4e.pt"] = torch_zip(e4e(generator))
    return files
