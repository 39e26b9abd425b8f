"""What a person asks of the files of other programs, and of this machine. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from framework.fields import Shown

Target = Literal["nvidia", "rosinality", "onnx"]
LatentKind = Literal["draggan", "nvidia", "psp", "npy", "dragline"]


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """A model folder of another program's file.

    Args:
        file: The file, or a hub's folder with its weights.
        out: New or empty folder.
        half: Store weights in half precision: half the size, pictures all but equal.
    """

    file: Annotated[str, Shown("FILE", in_place=True)]
    out: Annotated[str, Shown("PATH")]
    half: bool = False


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """A model as a file that another program opens.

    Args:
        model: Zoo name, model folder or file, all that other commands take as a model.
        to: The program whose file it becomes.
        out: New file. DragGAN opens only names with "stylegan2" in them.
    """

    model: Annotated[str, Shown("MODEL", in_place=True)]
    to: Target
    out: Annotated[str, Shown("PATH")]


@dataclass(frozen=True, kw_only=True)
class LatentsRequest:
    """Latents as a file that another program opens.

    Args:
        file: Where the latents are, a file or a folder.
        to: draggan is a .pt that DragGAN's window loads, nvidia the .npz of the projector, psp a
            .pt, npy an array, dragline a safetensors file.
        out: New file, ending in .pt (draggan, psp), .npz (nvidia), .npy or .safetensors (dragline).
        model_out: New or empty folder for the tuned model of an inverted image, which all commands
            open; export writes it for other programs.
        model: The inverted image's model, where it has moved; or that of latents with one row for
            all layers.
    """

    file: Annotated[str, Shown("FILE", in_place=True)]
    to: LatentKind
    out: Annotated[str, Shown("PATH")]
    model_out: Annotated[str | None, Shown("FOLDER")] = None
    model: Annotated[str | None, Shown("MODEL")] = None


@dataclass(frozen=True, kw_only=True)
class DoctorRequest:
    """What this machine has, and whether a picture can be drawn on it.

    Args:
        model: Model for the timed forward; by default the first of the zoo.
        device: Device to try: auto, cpu, cuda, cuda:1 or mps.
    """

    model: Annotated[str | None, Shown("MODEL")] = None
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"


@dataclass(frozen=True, kw_only=True)
class DemoRequest:
    """A drag of every shipped model, to look at.

    Args:
        out: Folder for a sub-folder per shipped model.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    out: Annotated[str, Shown("PATH")] = "out/demo"
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"
