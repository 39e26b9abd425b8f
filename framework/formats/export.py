"""Export of any model that we open to a file of another program."""

from pathlib import Path
from typing import Literal, get_args

from framework.errors import UserError
from framework.files import check_new_file, folder_above, whole_file
from framework.formats.nvidia_writer import write_nvidia
from framework.formats.onnx_writer import check_onnx, write_onnx
from framework.formats.opening import open_model
from framework.formats.rosinality_writer import write_rosinality
from framework.models.stylegan2 import Discriminator, Generator

Target = Literal["nvidia", "rosinality", "onnx"]
_DRAGGAN_WORD = "stylegan2"  # DragGAN looks for it in the file's name to choose the architecture


def export_model(model: str | Path, to: Target, out: str | Path) -> list[str]:
    """Write a model, as `load_generator` takes it, with all its networks; see `export_networks`."""
    source = open_model(model)
    kinds = ("generator", "discriminator", "training_generator")
    networks = [source.network(kind) if kind in source.networks else None for kind in kinds]
    generator = networks[0] or source.network("generator")  # its error lists those there are
    return export_networks(generator, networks[1], to, out, networks[2])


def export_networks(
    generator: Generator,
    discriminator: Discriminator | None,
    to: Target,
    out: str | Path,
    training_generator: Generator | None = None,
) -> list[str]:
    """Write networks as a new file of another program, whole or not at all.

    Args:
        generator: The averaged generator.
        discriminator: Its discriminator, if there is one.
        to: `nvidia`, a pickle for stylegan2-ada-pytorch, stylegan3 and DragGAN; `rosinality`, for
            stylegan2-pytorch and what was built on it; or `onnx`, the averaged generator alone.
        out: The file.
        training_generator: The generator as trained; only NVIDIA's files have a place for it.

    Returns:
        Notes on what is lost and on what the other program needs to be told, a sentence each.

    Raises:
        UserError: If the file exists, or the other program has no such network.
    """
    out = Path(out)
    if to not in get_args(Target):
        raise UserError(f"{to}: give one of {', '.join(get_args(Target))}", "to")
    if to == "onnx":
        check_onnx()
    check_new_file(out)
    with folder_above(out), whole_file(out) as temporary, open(temporary, "wb") as file:
        if to == "nvidia":
            notes = write_nvidia(file, generator, discriminator, training_generator)
        elif to == "onnx":
            notes = write_onnx(file, generator)
        else:
            notes = write_rosinality(file, generator, discriminator)
    if to == "nvidia" and _DRAGGAN_WORD not in out.name:
        notes.append(f"DragGAN opens only files with {_DRAGGAN_WORD} in their name.")
    return notes
