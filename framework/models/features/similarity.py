"""Whether two pictures show the same thing, to networks that were trained to tell things apart.

All need weights that nobody ships, so none is a default. On pictures unlike their training data
they mean little: encoders of other subjects did better without them (restyle-encoder#50).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.files import sha256_file
from framework.models.features.clip import CLIP, CLIP_MODEL, open_network
from framework.models.features.view import View
from framework.models.features.weights import RESNET50, fill, find_weights

CHOICES = ("arcface", "resnet50", "clip")


# Faces aligned as FFHQ's: rows 35 to 223 and columns 32 to 220 of 256 (pSp, e4e).
FACE = View(112, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (32 / 256, 35 / 256, 220 / 256, 223 / 256))
IMAGENET = View(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Similarity(nn.Module):
    """One minus the cosine of two pictures' embeddings; differentiable, frozen.

    Args:
        name: Name of the similarity, `arcface`, `resnet50` or `clip`.
        network: A network from pictures, as `view` makes them, to embeddings (N, any).
        view: The network's input.
        weights: File of the weights.
        about: Description of network and layer, for the protocol.
    """

    def __init__(
        self, name: str, network: nn.Module, view: View, weights: Path, about: str
    ) -> None:
        super().__init__()
        self.name, self.view, self.about = name, view, about
        self.file, self.sha256 = weights.name, sha256_file(weights)
        self.network = network.float().eval().requires_grad_(False)

    def embed(self, images: Tensor) -> Tensor:
        """Map pictures (N, C, H, W) in [-1, 1] to unit vectors (N, any)."""
        return F.normalize(self.network(self.view(images)).flatten(1), dim=1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Map pictures (N, C, H, W) in [-1, 1] to 1 - cosine, shape (N,), from 0 to 2."""
        return 1 - (self.embed(a) * self.embed(b)).sum(dim=1)

    def protocol(self) -> dict[str, Any]:
        """State the network, its weights and its input, in JSON values."""
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
        """Stay in evaluation mode: batch statistics must not change."""
        return super().train(False)


def choose_similarity(
    choice: str,
    weights: str | None = None,
    allow_download: bool = False,
    face_network: Callable[[], nn.Module] | None = None,
    flag: str = "--similarity",
    weights_flag: str = "--similarity-weights",
) -> Similarity:
    """Make the similarity of that name.

    Args:
        choice: Its name, `arcface` for faces (IR-SE50, Deng et al. 2019), `resnet50` for objects
            (torchvision, ImageNet), `clip` (open_clip's ViT-B-32).
        weights: File of the weights; for `resnet50` it may be a folder.
        allow_download: Whether to download ResNet-50's weights if they are missing.
        face_network: Function that makes an IR-SE50 with `input_layer` and `body`; the encoders
            have one.
        flag: The flag that sets `choice`, for messages.
        weights_flag: The flag that sets `weights`, for messages.

    Raises:
        UserError: If the similarity is unknown or its weights are missing.
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
        raise UserError(f"{flag} arcface: not available here")
    return _arcface(face_network(), Path(weights))


def _resnet50(path: Path | None, flag: str) -> Similarity:
    if path is None:
        raise UserError(f"{flag} resnet50: {RESNET50.file} is missing; fetch {RESNET50.url}")
    from torchvision.models import resnet50

    with torch.random.fork_rng(devices=[]):
        network = resnet50(weights=None)
    network.fc = nn.Identity()  # type: ignore[assignment]
    fill(network, path)
    return Similarity("resnet50", network, IMAGENET, path, f"{RESNET50.name}, pooled features")


def _arcface(backbone: Any, path: Path) -> Similarity:
    """Join the backbone and the layer that turns its last map, 7x7, into a vector of 512."""
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
    fill(network, path)
    layers = nn.Sequential(network.input_layer, network.body, network.output_layer)
    return Similarity("arcface", layers, FACE, path, "IR-SE50, ArcFace")


def _clip(path: Path, flag: str) -> Similarity:
    network = open_network(path, f"{flag} clip").visual
    return Similarity("clip", network, CLIP, path, f"CLIP {CLIP_MODEL}, pictures")
