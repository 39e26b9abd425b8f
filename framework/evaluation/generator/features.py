"""What pictures look like to a frozen network: Inception-v3, EfficientNet-Lite0 or a discriminator.

FID, KID and precision/recall are numbers about such features. Inception's are the field's, and
need a download. EfficientNet-Lite0 comes as a package and knows as little of any generator; its
numbers are called `..._lite`. A discriminator's need nothing; they are called `..._d`, and compare
only with numbers made with the same discriminator, whose digest is in the protocol.
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
_UNPUBLISHED = ("name", "range")  # what the protocols of `ppl` and `ppl_d` never said
_SUFFIXES = {"lpips-vgg": "", "lite0": "_lite", "dfeat": "_d"}  # of path lengths, by distance
_SMALL_PX, _LARGE_PX = 128, 224  # Lite0 was trained on 224; small pictures gain nothing by it
_EXTRA = "pip install 'dragline[metrics]'"
_ADVICE = (
    "--metrics.weights FOLDER says where weights lie, --metrics.allow_download true fetches them, "
    "--metrics.features lite0 or features64 does without"
)


class FeatureNetwork(nn.Module):
    """Pictures to vectors of length `num_features`; numbers made with it end in `suffix`."""

    suffix: str
    num_features: int

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures, uint8 (N, C, H, W), to features, float32 (N, num_features)."""
        raise NotImplementedError

    def protocol(self) -> dict[str, Any]:
        """What tells this network from every other; JSON values."""
        raise NotImplementedError


# --------------------------------------------------------------------------------- discriminator


class DiscriminatorFeatures(FeatureNetwork):
    """Mean over positions of every block's normalised output, one vector a picture.

    The discriminator is frozen from here on; `model` is what the user called it.
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
        """Pictures, uint8 (N, C, H, W), to features, float32 (N, num_features)."""
        blocks = block_features(self.discriminator, self.suited(pictures.float() / 127.5 - 1))
        return torch.cat([block.mean(dim=(2, 3)) for block in blocks], dim=1)

    def suited(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) of any size as the discriminator takes them."""
        return suited(images, self.discriminator.img_size, self.discriminator.img_channels)

    def protocol(self) -> dict[str, Any]:
        """Which discriminator, what of it, and how pictures come to its size."""
        return {
            **block_protocol(self.discriminator, self.digest),
            "model": self.model,
            "layers": "output of each block, unit mean square over channels, mean over positions",
            "dimensions": self.num_features,
        }


# ------------------------------------------------------------------------------ EfficientNet-Lite0


class Lite0Features(FeatureNetwork):
    """What EfficientNet-Lite0's classifier reads, of pictures brought to one of two sizes."""

    suffix, num_features = "_lite", NUM_FEATURES

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = load_lite0(weights)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures, uint8 (N, C, H, W), to features, float32 (N, 1280)."""
        side = _SMALL_PX if max(pictures.shape[2:]) <= _SMALL_PX else _LARGE_PX
        return self.network.pooled(suited(pictures.float() / 127.5 - 1, (side, side), 3))

    def protocol(self) -> dict[str, Any]:
        """Which weights, which layer, which resizing."""
        return {
            **LITE0.facts(),
            "layers": "head, mean over positions",
            "dimensions": NUM_FEATURES,
            "resize": f"to {_SMALL_PX}x{_SMALL_PX} (pictures larger than that to {_LARGE_PX}x"
            f"{_LARGE_PX}), bilinear with antialiasing",
        }


# ------------------------------------------------------------------------------------- Inception


class InceptionFeatures(FeatureNetwork):
    """The 2048 pooled features of the Inception-v3 that published FIDs are made with.

    Network and resizing are torch-fidelity's, which agree with TensorFlow's to rounding; `weights`
    is the published file.
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
        """Pictures, uint8 (N, C, H, W), to features, float32 (N, 2048)."""
        pictures = pictures[:, :3] if pictures.shape[1] == 4 else pictures
        return self.extractor(pictures.expand(-1, 3, -1, -1).contiguous())[0]

    def protocol(self) -> dict[str, Any]:
        """Which weights, which layer, which resizing."""
        return {
            **INCEPTION.facts(),
            "layers": "pool3",
            "dimensions": 2048,
            "resize": "to 299x299 as TensorFlow 1 does (bilinear without antialiasing)",
            "library": _LIBRARY,
        }


def has_torch_fidelity() -> bool:
    """Whether the library that brings Inception is installed."""
    return importlib.util.find_spec(_LIBRARY) is not None


# ------------------------------------------------------------------------------ perceptual distance


class PerceptualDistance(nn.Module):
    """How different two pictures look, for the path length; numbers made with it end in `suffix`.

    Published path lengths are made with LPIPS on VGG16; a discriminator's or EfficientNet-Lite0's
    stand in for it. `about` is what the protocol says of the network besides.
    """

    def __init__(self, distance: Distance, about: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.distance, self.about = distance, about or {}
        self.suffix = _SUFFIXES[distance.name]

    @torch.no_grad()
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [-1, 1], not rounded, to distances (N,)."""
        return self.distance(a, b)

    def protocol(self) -> dict[str, Any]:
        """What tells this distance from every other; JSON values."""
        facts = {**self.about, **self.distance.protocol()}
        return {name: value for name, value in facts.items() if name not in _UNPUBLISHED}


def block_distance(features: DiscriminatorFeatures) -> PerceptualDistance:
    """The distance of the discriminator that the features are of."""
    distance = DiscriminatorDistance(features.discriminator)
    return PerceptualDistance(distance, features.protocol())


# ------------------------------------------------------------------------------------- the choice


@dataclass(frozen=True)
class Networks:
    """What a measurement sees pictures with.

    Attributes:
        features: For FID, KID and precision/recall.
        distance: For the path length; None where that is not wanted.
        note: What could not be had, and how to have it; empty if nothing is missing.
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
        features: `auto` for the first that can be had of Inception, EfficientNet-Lite0 and the
            shipped discriminator; `inception`, `lite0`, `features64` for one of them, or any model
            that has a discriminator.
        weights: A published file of weights, or a folder of such files; see `find_weights`.
        allow_download: Fetch what is missing.
        path_length: Whether a perceptual distance is needed.

    Raises:
        UserError: If what is asked for cannot be had.
    """
    if features not in ("auto", "inception"):
        return _without_download(features, weights, path_length)
    lacking = []
    inception = find_weights(INCEPTION, weights, allow_download)
    if inception is None:
        lacking.append(f"{INCEPTION.file} (FID, KID)")
    if not has_torch_fidelity():
        lacking.append(f"torch-fidelity (FID, KID; {_EXTRA})")
    if lacking and features == "inception":
        raise UserError(f"--metrics.features inception: no {' and no '.join(lacking)}; {_ADVICE}")
    instead = "lite0" if find_weights(LITE0, weights) else SHIPPED
    fallback = _without_download(instead, weights, path_length)
    network = fallback.features if lacking or inception is None else InceptionFeatures(inception)
    measured = [f"kid{network.suffix}"] if network.suffix else []
    distance = fallback.distance
    if distance is not None:
        vgg = find_weights(VGG16, weights, allow_download)
        if vgg is None:
            lacking.append(f"{VGG16.file} (PPL)")
            measured.append(f"ppl{distance.suffix}")
        else:
            distance = PerceptualDistance(Lpips("vgg", vgg))
    if not lacking:
        return Networks(network, distance)
    note = f"measuring {' and '.join(measured)} for lack of {', '.join(lacking)}; {_ADVICE}"
    return Networks(network, distance, note)


def _without_download(features: str, weights: str | None, path_length: bool) -> Networks:
    """EfficientNet-Lite0, or the discriminator of a model, for features and path length alike."""
    if features != "lite0":
        network = open_discriminator(features)
        return Networks(network, block_distance(network) if path_length else None)
    path = find_weights(LITE0, weights)
    if path is None:
        raise UserError(f"--metrics.features lite0: its weights are not here; {LITE0.install}")
    distance = PerceptualDistance(Lite0Distance(path)) if path_length else None
    return Networks(Lite0Features(path), distance)


def open_discriminator(model: str) -> DiscriminatorFeatures:
    """Features of the discriminator of any model; `features64` is the shipped one.

    Raises:
        UserError: If there is no such model, or it has no discriminator.
    """
    path = _SHIPPED_FILE if model == SHIPPED and not Path(model).exists() else model
    opened = open_model(path, "--metrics.features")
    if "discriminator" not in opened.networks:
        raise UserError(f"--metrics.features {model}: this model has no discriminator")
    return DiscriminatorFeatures(opened.network("discriminator"), model)
