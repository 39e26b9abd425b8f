"""Our networks as a pickle that stylegan2-ada-pytorch, stylegan3 and DragGAN open.

Layout: see `nvidia`, which reads it. The source text that such a file must carry is our own,
`exported_networks`; its classes are filled here, and their contents are written.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from framework.formats import exported_networks
from framework.formats.pickle_writer import Call, Name, PersistentId, Pieces, write_pickle
from framework.formats.storages import row_major
from framework.formats.torch_files import LEGACY_MAGIC, LEGACY_VERSION
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.fade import without_fade

_SOURCE = Path(exported_networks.__file__).read_text(encoding="utf-8")
_OBJECT_VERSION = 6
_SYSTEM = {
    "protocol_version": LEGACY_VERSION,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
# Assumptions of the official DragGAN: viz/renderer.py, its seeds and `feature_idx`.
_DRAGGAN_Z_DIM, _DRAGGAN_FEATURES_PX = 512, 128


def write_nvidia(
    file: BinaryIO,
    generator: Generator,
    discriminator: Discriminator | None = None,
    training_generator: Generator | None = None,
) -> list[str]:
    """Write `G`, `D` and `G_ema`, as in the field's training snapshots.

    Without a discriminator, `D` is a module without tensors that says so. `G` is the generator as
    trained; if None, the averaged one again, stored only once.

    Returns:
        Notes on what is lost and on what the other program needs to be told, a sentence each.
    """
    averaged = _persistent(_filled(generator))
    trained = averaged if training_generator is None else _persistent(_filled(training_generator))
    opponent = _stand_in(generator) if discriminator is None else _filled(discriminator)
    snapshot = {
        "G": trained,
        "D": _persistent(opponent),
        "G_ema": averaged,
        "augment_pipe": None,
        "training_set_kwargs": None,
    }
    write_pickle(file, snapshot)
    if discriminator is None:
        d_note = "There is no discriminator: D in the file is empty; training on starts a new one."
    else:
        d_note = _lost_precision(discriminator.config, "D")
    again = "G is the averaged generator, like G_ema." if training_generator is None else ""
    notes = [d_note, again, _lost_precision(generator.config, "G"), *_notes(generator.config)]
    return [note for note in notes if note]


def _filled(network: Generator | Discriminator) -> nn.Module:
    """Make an object of the exported source from a network; tensors are shared, not copied."""
    network = without_fade(network)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
        if isinstance(network, Generator):
            exported = exported_networks.Generator(**_generator_arguments(network.config))
        else:
            exported = exported_networks.Discriminator(**_discriminator_arguments(network.config))
    exported.load_state_dict(network.state_dict(), assign=True)
    return exported.eval().requires_grad_(False)


def _stand_in(generator: Generator) -> nn.Module:
    """Make a stand-in for a missing discriminator: every reader expects a module."""
    picture = _picture(generator.config)
    return exported_networks.NoDiscriminator(c_dim=generator.c_dim, **picture).eval()


def _generator_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return NVIDIA's arguments for a generator, in nested groups.

    stylegan2-ada-pytorch and StyleGAN-Human can build their own networks only from nested groups,
    the official DragGAN from both forms, stylegan3 only from flat ones; but stylegan3's scripts
    build none, they use the network in the file.
    """
    mapping = {"num_layers": config["mapping_layers"], "w_avg_beta": config["w_avg_beta"]}
    return {
        **{name: config[name] for name in ("z_dim", "c_dim", "w_dim")},
        **_picture(config),
        "mapping_kwargs": mapping,
        "synthesis_kwargs": {**_widths(config), **_architecture(config)},
    }


def _discriminator_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return NVIDIA's arguments for a discriminator."""
    group, layers = config["mbstd_group_size"], config["mapping_layers"]
    return {
        "c_dim": config["c_dim"],
        **_picture(config),
        "architecture": config["architecture"],
        **_widths(config),
        "mapping_kwargs": {"num_layers": layers} if config["c_dim"] else {},
        "epilogue_kwargs": {"mbstd_group_size": group} if group else {"mbstd_num_channels": 0},
    }


def _architecture(config: dict[str, Any]) -> dict[str, str]:
    """Return the design of a generator's blocks, if it is not NVIDIA's default."""
    return {name: config[name] for name in ("architecture",) if name in config}


def _picture(config: dict[str, Any]) -> dict[str, Any]:
    size = config["img_size"]
    picture = {"img_resolution": max(size), "img_channels": config["img_channels"]}
    return picture if _is_usual(*size) else {**picture, "img_size": list(size)}


def _is_usual(height: int, width: int) -> bool:
    """Whether NVIDIA's own networks can have this size: square, a power of two."""
    return height == width and height & (height - 1) == 0


def _widths(config: dict[str, Any]) -> dict[str, Any]:
    half_blocks = config["low_precision_blocks"] if config["low_precision"] == "float16" else 0
    return {
        "channel_base": config["channel_base"],
        "channel_max": config["channel_max"],
        "num_fp16_res": half_blocks,
        "conv_clamp": config["conv_clamp"],
    }


def _persistent(module: nn.Module) -> Call:
    """Describe a module, and each one in it, by source text, class name and `__dict__`."""
    meta = {
        "type": "class",
        "version": _OBJECT_VERSION,
        "module_src": _SOURCE,
        "class_name": type(module).__name__,
        "state": _writable(vars(module)),
    }
    return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def _writable(value: Any) -> Any:
    """Replace modules and tensors in an attribute by the calls that make them."""
    if isinstance(value, nn.Module):
        return _persistent(value)
    if isinstance(value, nn.Parameter):
        arguments = (_tensor(value), value.requires_grad, OrderedDict())
        return Call(Name("torch._utils", "_rebuild_parameter"), arguments)
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, dict):
        return type(value)((name, _writable(member)) for name, member in value.items())
    return value


def _tensor(tensor: Tensor) -> Call:
    data = tensor.detach().to("cpu", torch.float32).contiguous()
    shape = tuple(data.shape)
    storage = Call(Name("torch.storage", "_load_from_bytes"), (_storage(data),))
    geometry = (storage, 0, shape, row_major(shape), False, OrderedDict())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), geometry)


def _storage(data: Tensor) -> Pieces:
    """Encode a storage as a torch file of before 1.6: five pickles, a length, the numbers."""
    numel = data.numel()
    identity = ("storage", Name("torch", "FloatStorage"), "0", "cpu", numel, None)
    head = BytesIO()
    for part in (LEGACY_MAGIC, LEGACY_VERSION, _SYSTEM, PersistentId(identity), ["0"]):
        write_pickle(head, part)
    head.write(struct.pack("<q", numel))
    numbers = memoryview(data.flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]
    return Pieces((head.getvalue(), numbers))


def _lost_precision(config: dict[str, Any], network: str) -> str:
    name = config["low_precision"]
    is_lost = config["low_precision_blocks"] and name != "float16"
    return f"{name} is not known there; all blocks of {network} run in float32." if is_lost else ""


def _notes(config: dict[str, Any]) -> Iterator[str]:
    """Yield notes on what other programs cannot do with such a generator."""
    height, width = config["img_size"]
    if not _is_usual(height, width):
        yield (
            f"Pictures of {width}x{height} come from the file's own network, which the scripts of "
            "stylegan2-ada-pytorch and stylegan3 use; DragGAN's makes only squares of 2^k."
        )
    if (channels := config["img_channels"]) != 3:
        yield f"Most of those programs show pictures of 3 channels; these have {channels}."
    if (z_dim := config["z_dim"]) != _DRAGGAN_Z_DIM:
        yield f"DragGAN's window draws z of {_DRAGGAN_Z_DIM} numbers; this generator takes {z_dim}."
    if max(height, width) < (least := _DRAGGAN_FEATURES_PX):
        yield f"DragGAN drags features of {least} px; these pictures are smaller than that."
