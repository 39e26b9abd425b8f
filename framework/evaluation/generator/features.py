"""Features of pictures from a frozen network: Inception-v3, EfficientNet-Lite0 or a discriminator.

FID, KID and precision/recall are numbers about such features. Inception's are the field's, and
need a download. EfficientNet-Lite0 comes as a package and knows as little of any generator; its
numbers are called `..._lite`. A discriminator needs nothing; its numbers are called `..._d`, and
compare only with numbers of the same discriminator, whose digest is in the protocol.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.formats import open_model
from framework.models.digest import state_digest
from framework.models.features.blocks import block_features, block_protocol, in_float32, suited
from framework.models.features.distance import (
    DiscriminatorDistance,
    Distance,
    Lite0Distance,
    Lpips,
)
from framework.models.features.lite0 import NUM_FEATURES, load_lite0
from framework.models.features.weights import INCEPTION, LITE0, VGG16, find_weights
from framework.models.stylegan2 import Discriminator

SHIPPED = (
    "features64"  # a discriminator that is never trained again, so that numbers stay comparable
)
_SHIPPED_FILE = Path(__file__).parents[2] / "zoo" / SHIPPED / "discriminator.safetensors"
_LIBRARY = "torch_fidelity"
_UNPUBLISHED = ("name", "range")  # facts that the protocols of `ppl` and `ppl_d` do not contain
# By distance between pictures, how the names of numbers end that its network's features give.
SUFFIXES = {"lpips-vgg": "", "lite0": "_lite", "dfeat": "_d"}
_SMALL_PX, _LARGE_PX = 128, 224  # Lite0 was trained on 224 px; small pictures do not gain by it
_EXTRA = "pip install 'dragline[metrics]'"
_ADVICE = (
    "--metrics.weights FOLDER says where weights are, --metrics.allow_download true fetches them, "
    "--metrics.features lite0 or features64 needs none"
)


class FeatureNetwork(nn.Module):
    """A network from pictures to vectors; the names of its numbers end in `suffix`."""

    suffix: str
    num_features: int

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute features, float32 (N, num_features), of pictures, uint8 (N, C, H, W)."""
        raise NotImplementedError

    def protocol(self) -> dict[str, Any]:
        """Facts that distinguish this network from every other; JSON values."""
        raise NotImplementedError


# --------------------------------------------------------------------------------- discriminator


class DiscriminatorFeatures(FeatureNetwork):
    """The mean over positions of every block's normalised output, one vector per picture.

    The discriminator gets frozen; `model` is what the user calls it.
    """

    suffix = "_d"

    def __init__(self, discriminator: Discriminator, model: str) -> None:
        super().__init__()
        self.model, self.digest = model, state_digest(discriminator)
        self.discriminator = in_float32(discriminator).eval().requires_grad_(False)
        blank = torch.zeros(1, 1, *discriminator.img_size, dtype=torch.uint8)
        self.num_features = self(blank).shape[1]

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Compute features, float32 (N, num_features), of pictures, uint8 (N, C, H, W)."""
        blocks = block_features(self.discriminator, self.suited(pictures.float() / 127.5 - 1))
        return torch.cat([block.mean(dim=(2, 3)) for block in blocks], dim=1)

    def suited(self, images: Tensor) -> Tensor:
        """Convert pictures (N, C, H, W) of any size to the discriminator's size and channels."""
        return suited(images, self.discriminator.img_size, self.discriminator.img_channels)

    def protocol(self) -> dict[str, Any]:
        """Facts on the discriminator, its layers and the resizing; JSON values."""
        return {
            **block_protocol(self.discriminator, self.digest),
            "model": self.model,
            "layers": "output of each block, unit mean square over channels, mean over positions",
            "dimensions": self.num_features,
        }


# ------------------------------------------------------------------------------ EfficientNet-Lite0


class Lite0Features(FeatureNetwork):
    """The features of EfficientNet-Lite0's classifier, for pictures resized to one of two sizes."""

    suffix, num_features = "_lite", NUM_FEATURES

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = load_lite0(weights)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Compute features, float32 (N, 1280), of pictures, uint8 (N, C, H, W)."""
        side = _SMALL_PX if max(pictures.shape[2:]) <= _SMALL_PX else _LARGE_PX
        return self.network.pooled(suited(pictures.float() / 127.5 - 1, (side, side), 3))

    def protocol(self) -> dict[str, Any]:
        """Facts on weights, layer and resizing; JSON values."""
        return {
            **LITE0.facts(),
            "layers": "head, mean over positions",
            "dimensions": NUM_FEATURES,
            "resize": f"to {_SMALL_PX}x{_SMALL_PX} (pictures larger than that to {_LARGE_PX}x"
            f"{_LARGE_PX}), bilinear with antialiasing",
        }


# ------------------------------------------------------------------------------------- Inception


class InceptionFeatures(FeatureNetwork):
    """The 2048 pooled features of the Inception-v3 that published FIDs use.

    Network and resizing are torch-fidelity's, which agree with TensorFlow's up to rounding;
    `weights` is the published file.
    """

    suffix, num_features = "", 2048

    def __init__(self, weights: Path) -> None:
        super().__init__()
        module = importlib.import_module(f"{_LIBRARY}.feature_extractor_inceptionv3")
        self.extractor = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
        )
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Compute features, float32 (N, 2048), of pictures, uint8 (N, C, H, W)."""
        pictures = pictures[:, :3] if pictures.shape[1] == 4 else pictures
        return self.extractor(pictures.expand(-1, 3, -1, -1).contiguous())[0]

    def protocol(self) -> dict[str, Any]:
        """Facts on weights, layer and resizing; JSON values."""
        return {
            **INCEPTION.facts(),
            "layers": "pool3",
            "dimensions": 2048,
            "resize": "to 299x299 as TensorFlow 1 does (bilinear without antialiasing)",
            "library": _LIBRARY,
        }


def has_torch_fidelity() -> bool:
    """Whether the library that contains Inception is installed."""
    return importlib.util.find_spec(_LIBRARY) is not None


# ------------------------------------------------------------------------------ perceptual distance


class PerceptualDistance(nn.Module):
    """How different two pictures look, for the path length, whose name ends in `suffix`.

    Published path lengths use LPIPS on VGG16; features of a discriminator or EfficientNet-Lite0
    replace it. `about` holds further facts for the protocol.
    """

    def __init__(self, distance: Distance, about: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.distance, self.about = distance, about or {}
        self.suffix = SUFFIXES[distance.name]

    @torch.no_grad()
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (N,) of pictures (N, C, H, W) in [-1, 1], not rounded."""
        return self.distance(a, b)

    def protocol(self) -> dict[str, Any]:
        """Facts that distinguish this distance from every other; JSON values."""
        facts = {**self.about, **self.distance.protocol()}
        return {name: value for name, value in facts.items() if name not in _UNPUBLISHED}


def block_distance(features: DiscriminatorFeatures) -> PerceptualDistance:
    """The perceptual distance in the features of the same discriminator."""
    distance = DiscriminatorDistance(features.discriminator)
    return PerceptualDistance(distance, features.protocol())


# ------------------------------------------------------------------------------------- the choice


@dataclass(frozen=True)
class Networks:
    """The networks of a measurement.

    Attributes:
        features: Feature network for FID, KID and precision/recall.
        distance: Perceptual distance for the path length; None if that is not measured.
        note: What is missing, and how to get it; empty if nothing is.
    """

    features: FeatureNetwork
    distance: PerceptualDistance | None
    note: str = ""


def open_networks(
    features: str = "auto",
    weights: str | None = None,
    allow_download: bool = False,
    path_length: bool = True,
) -> Networks:
    """Choose the feature network and the perceptual distance.

    Args:
        features: `auto` for the first that is available of Inception, EfficientNet-Lite0 and the
            shipped discriminator; `inception`, `lite0`, `features64` for one of them, or any model
            that has a discriminator.
        weights: Published file of weights, or a folder of such files; see `find_weights`.
        allow_download: Whether to download what is missing.
        path_length: Whether a perceptual distance is needed.

    Raises:
        UserError: If the network that is asked for is not available.
    """
    if features not in ("auto", "inception"):
        return _without_download(features, weights, path_length)
    missing = []
    inception = find_weights(INCEPTION, weights, allow_download)
    if inception is None:
        missing.append(f"{INCEPTION.file} (FID, KID)")
    if not has_torch_fidelity():
        missing.append(f"torch-fidelity (FID, KID; {_EXTRA})")
    if missing and features == "inception":
        raise UserError(f"--metrics.features inception: no {' and no '.join(missing)}; {_ADVICE}")
    fallback_name = "lite0" if find_weights(LITE0, weights) else SHIPPED
    fallback = _without_download(fallback_name, weights, path_length)
    network = fallback.features if missing or inception is None else InceptionFeatures(inception)
    stand_ins = [f"kid{network.suffix}"] if network.suffix else []
    distance = fallback.distance
    if distance is not None:
        vgg = find_weights(VGG16, weights, allow_download)
        if vgg is None:
            missing.append(f"{VGG16.file} (PPL)")
            stand_ins.append(f"ppl{distance.suffix}")
        else:
            distance = PerceptualDistance(Lpips("vgg", vgg))
    if not missing:
        return Networks(network, distance)
    note = f"measuring {' and '.join(stand_ins)} for lack of {', '.join(missing)}; {_ADVICE}"
    return Networks(network, distance, note)


def _without_download(features: str, weights: str | None, path_length: bool) -> Networks:
    """Open EfficientNet-Lite0 or a model's discriminator, for features and path length alike."""
    if features != "lite0":
        network = open_discriminator(features)
        return Networks(network, block_distance(network) if path_length else None)
    path = find_weights(LITE0, weights)
    if path is None:
        raise UserError(f"--metrics.features lite0: its weights are missing; {LITE0.install}")
    distance = PerceptualDistance(Lite0Distance(path)) if path_length else None
    return Networks(Lite0Features(path), distance)


def open_discriminator(model: str) -> DiscriminatorFeatures:
    """Open the discriminator of any model for features; `features64` is the shipped one.

    Raises:
        UserError: If there is no such model, or it has no discriminator.
    """
    path = _SHIPPED_FILE if model == SHIPPED and not Path(model).exists() else model
    opened = open_model(path, "--metrics.features")
    if "discriminator" not in opened.networks:
        raise UserError(f"--metrics.features {model}: this model has no discriminator")
    return DiscriminatorFeatures(opened.network("discriminator"), model)
