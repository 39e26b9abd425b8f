"""Whether two pictures show the same thing, to networks that were trained to tell things apart.

All need weights that nobody ships, so none is a default; what they say of pictures unlike their
training data means little: encoders of other things were better off without (restyle-encoder#50).
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.files import sha256_file
from framework.models.features.blocks import suited
from framework.models.features.weights import RESNET50, find_weights, read_weights

CHOICES = ("arcface", "resnet50", "clip")
CLIP_MODEL = "ViT-B-32"
_CLIP_EXTRA = "pip install 'dragline[clip]'"
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """How pictures come to a network: its side, mean and deviation of the channels on [0, 1].

    Of a picture the part `box` is seen: (left, top, right, bottom), as shares of width and height.
    """

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    box: Box = (0.0, 0.0, 1.0, 1.0)

    def __call__(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [-1, 1] to (N, 3, side_px, side_px)."""
        height, width = images.shape[2:]
        left, top, right, bottom = self.box
        images = images[
            :,
            :,
            round(top * height) : round(bottom * height),
            round(left * width) : round(right * width),
        ]
        images = (suited(images.float(), (self.side_px, self.side_px), 3) + 1) / 2
        mean, std = (images.new_tensor(x)[:, None, None] for x in (self.mean, self.std))
        return (images - mean) / std


# Faces aligned as FFHQ's: rows 35 to 223 and columns 32 to 220 of 256 (pSp, e4e).
FACE = View(112, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (32 / 256, 35 / 256, 220 / 256, 223 / 256))
IMAGENET = View(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = View(
    224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)  # Radford et al. 2021


class Similarity(nn.Module):
    """One minus the cosine of two pictures' embeddings; differentiable, frozen.

    Args:
        name: `arcface`, `resnet50` or `clip`.
        network: Pictures as `view` makes them to embeddings (N, any).
        view: How pictures come to the network.
        weights: The file its weights are from.
        about: What else tells it from others; JSON values.
    """

    def __init__(
        self, name: str, network: nn.Module, view: View, weights: Path, about: str
    ) -> None:
        super().__init__()
        self.name, self.view, self.about = name, view, about
        self.file, self.sha256 = weights.name, sha256_file(weights)
        self.network = network.float().eval().requires_grad_(False)

    def embed(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [-1, 1] to unit vectors (N, any)."""
        return F.normalize(self.network(self.view(images)).flatten(1), dim=1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [-1, 1] to 1 - cosine, shape (N,), from 0 to 2."""
        return 1 - (self.embed(a) * self.embed(b)).sum(dim=1)

    def protocol(self) -> dict[str, Any]:
        """Which network on which weights, and what it is shown."""
        side = self.view.side_px
        return {
            "name": self.name,
            "network": self.about,
            "weights": self.file,
            "sha256_of_weights": self.sha256,
            "resize": f"to {side}x{side}, bilinear with antialiasing",
            "box": list(self.view.box),
        }

    def train(self, mode: bool = True) -> "Similarity":
        """Stays as it is: its batch statistics are not for training."""
        return super().train(False)


def choose_similarity(
    choice: str,
    weights: str | None = None,
    allow_download: bool = False,
    face_network: Callable[[], nn.Module] | None = None,
    flag: str = "--similarity",
    weights_flag: str = "--similarity-weights",
) -> Similarity:
    """Make the similarity that was asked for.

    Args:
        choice: `arcface` for faces (IR-SE50, Deng et al. 2019), `resnet50` for things (torchvision,
            ImageNet), `clip` (open_clip's ViT-B-32).
        weights: The file; for `resnet50` a folder will do, too.
        allow_download: Fetch ResNet-50's weights if they are missing.
        face_network: Makes any IR-SE50 with `input_layer` and `body`; those of this project live
            with the encoders, which stand above this room.
        flag: What sets `choice`, for messages.
        weights_flag: What sets `weights`, for messages.

    Raises:
        UserError: If what is asked for cannot be had.
    """
    if choice not in CHOICES:
        raise UserError(f"{flag} {choice}: choose one of {', '.join(CHOICES)}")
    if choice == "resnet50":
        return _resnet50(find_weights(RESNET50, weights, allow_download, weights_flag), flag)
    if weights is None or not Path(weights).is_file():
        where = "no file" if weights is None else f"{weights} is no file"
        raise UserError(f"{flag} {choice}: {where}; {weights_flag} FILE says where its weights lie")
    if choice == "clip":
        return _clip(Path(weights), flag)
    if face_network is None:
        raise UserError(f"{flag} arcface: not to be had here")
    return _arcface(face_network(), Path(weights))


def _resnet50(path: Path | None, flag: str) -> Similarity:
    if path is None:
        raise UserError(f"{flag} resnet50: {RESNET50.file} is not here; fetch {RESNET50.url}")
    from torchvision.models import resnet50

    with torch.random.fork_rng(devices=[]):
        network = resnet50(weights=None)
    network.fc = nn.Identity()  # type: ignore[assignment]
    _fill(network, read_weights(path), path)
    return Similarity("resnet50", network, IMAGENET, path, f"{RESNET50.name}, pooled features")


def _arcface(backbone: Any, path: Path) -> Similarity:
    """The backbone and the layer that makes its last map, 7x7, a vector of 512."""
    width = 512
    network = nn.Module()
    network.input_layer, network.body = backbone.input_layer, backbone.body
    network.output_layer = nn.Sequential(
        nn.BatchNorm2d(width),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(width * 7 * 7, width),
        nn.BatchNorm1d(width),
    )
    _fill(network, read_weights(path), path)
    layers = nn.Sequential(network.input_layer, network.body, network.output_layer)
    return Similarity("arcface", layers, FACE, path, "IR-SE50, ArcFace")


def _clip(path: Path, flag: str) -> Similarity:
    """open_clip's network with weights that are read here: the library would fetch and unpickle.

    Tested with a stand-in for the library only.
    """
    try:
        library = importlib.import_module("open_clip")
    except ImportError as error:
        raise UserError(f"{flag} clip: open_clip is not installed; {_CLIP_EXTRA}") from error
    with torch.random.fork_rng(devices=[]):
        model = library.create_model(CLIP_MODEL, pretrained=None)
    _fill(model, read_weights(path), path)
    return Similarity("clip", model.visual, CLIP, path, f"CLIP {CLIP_MODEL}, pictures")


def _fill(network: nn.Module, held: dict[str, Tensor], path: Path) -> None:
    """Load what a network needs; more, as a head's, may be there."""
    own = network.state_dict()
    missing = [n for n, tensor in own.items() if n not in held or held[n].shape != tensor.shape]
    if missing:
        raise UserError(f"{path}: no weights of this network (no {missing[0]} of its shape)")
    network.load_state_dict({name: held[name] for name in own})
