"""How different two pictures look: differentiable distances between features of frozen networks.

Every distance compares features of each picture position by position; so the features of a
photograph are computed once for a whole optimisation, and a mask says where it counts.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.digest import state_digest
from framework.models.features.blocks import block_features, block_protocol, in_float32, suited
from framework.models.features.lite0 import load_lite0
from framework.models.features.weights import (
    ALEXNET,
    LITE0,
    SQUEEZENET,
    VGG16,
    find_weights,
    read_weights,
)
from framework.models.stylegan2 import Discriminator


class Distance(nn.Module):
    """How different pictures look; differentiable in the pictures, frozen, in float32.

    Attributes:
        name: `dfeat`, `lite0`, `lpips-vgg`, `lpips-alex`, `lpips-squeeze` or `multiscale`.
    """

    name: str

    def features(self, images: Tensor) -> list[Tensor]:
        """Map pictures (N, C, H, W) in [-1, 1] to features (N, C_l, h_l, w_l), finest first."""
        raise NotImplementedError

    def gap(self, level: int, a: Tensor, b: Tensor) -> Tensor:
        """Return how two pictures' features of one level differ, (N, any, h_l, w_l)."""
        raise NotImplementedError

    def total(self, levels: Sequence[Tensor]) -> Tensor:
        """Combine the distances of all levels, each (N,), to one, (N,)."""
        return torch.stack(list(levels)).mean(dim=0)

    def compare(self, a: list[Tensor], b: list[Tensor], weight: Tensor | None = None) -> Tensor:
        """Map two pictures' features to distances, (N,).

        A network sees a neighbourhood, so what lies outside the weight still affects the
        features beside it: give features of `masked` pictures, as `forward` does. The weight (N or
        1, 1, H, W) says where it counts; it is not negative, and averaged down to each level.
        """
        pairs = enumerate(zip(a, b, strict=True))
        return self.total([weighted_mean(self.gap(level, p, q), weight) for level, (p, q) in pairs])

    def forward(self, a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
        """Map pictures (N, C, H, W) in [-1, 1] to distances, (N,).

        The weight (N or 1, 1, H, W) says where it counts. Where it is 0, both pictures are the
        first's, without gradient: whatever the network's reach, nothing there has an effect.
        """
        if weight is not None:
            fill = a.detach()
            a, b = masked(a, fill, weight), masked(b, fill, weight)
        return self.compare(self.features(a), self.features(b), weight)

    def protocol(self) -> dict[str, Any]:
        """State what tells this distance from every other, in JSON values."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Distance":
        """Stay in evaluation mode: LPIPS' dropout must not be active in a measurement."""
        return super().train(False)


def masked(images: Tensor, fill: Tensor, weight: Tensor) -> Tensor:
    """Keep the pictures where the weight (N or 1, 1, H, W) is not 0, put `fill` elsewhere."""
    return torch.where(weight > 0, images, fill)


def weighted_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the weighted mean of values (N, C, h, w) over positions and channels, (N,).

    The weight (N or 1, 1, H, W) is averaged down to (h, w) where that is smaller; the mean is 0
    where no position counts.
    """
    if weight is None:
        return values.mean(dim=(1, 2, 3))
    if weight.shape[2:] != values.shape[2:]:
        weight = F.adaptive_avg_pool2d(weight, (values.shape[2], values.shape[3]))
    weight = weight.to(values.dtype).expand(len(values), -1, -1, -1)
    counted = weight.sum(dim=(1, 2, 3)) * values.shape[1]
    return (values * weight).sum(dim=(1, 2, 3)) / counted.clamp(min=torch.finfo(values.dtype).tiny)


# --------------------------------------------------------------------------------- discriminator


class DiscriminatorDistance(Distance):
    """Distance of features of the GAN's own discriminator, which needs no download.

    It is used so by DGP (Pan et al. 2020) and GAN2Shape (Pan et al. 2021). Compare its
    numbers only with those of the same discriminator, and never call them LPIPS. The discriminator
    is copied, since training may change the original.
    """

    name = "dfeat"

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        copy = in_float32(deepcopy(discriminator).float())
        self.discriminator = copy.eval().requires_grad_(False)
        self.digest = state_digest(copy)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return each block's output, of unit mean square over the channels at each position."""
        size, channels = self.discriminator.img_size, self.discriminator.img_channels
        return block_features(self.discriminator, suited(images, size, channels))

    def gap(self, level: int, a: Tensor, b: Tensor) -> Tensor:
        """Return the square difference."""
        return (a - b).square()

    def protocol(self) -> dict[str, Any]:
        """State the discriminator and the formula on its features."""
        return {
            "name": self.name,
            **block_protocol(self.discriminator, self.digest),
            "layers": "output of each block, unit mean square over channels",
            "distance": "mean square difference, mean over blocks",
            "range": "[-1, 1]",
        }


# ----------------------------------------------------------------------------------------- LPIPS

# The backbones, from the best loss to the smallest file, with the shortest side that each accepts.
BACKBONES = {"vgg": (VGG16, 16), "alex": (ALEXNET, 31), "squeeze": (SQUEEZENET, 17)}


class Lpips(Distance):
    """LPIPS 0.1 (Zhang et al. 2018): torchmetrics' heads on torchvision's published weights.

    The backbone is `vgg`, `alex` or `squeeze`.
    """

    def __init__(self, backbone: str, weights: Path) -> None:
        super().__init__()
        # The public class downloads weights by itself; here it must not.
        from torchmetrics.functional.image.lpips import _LPIPS

        self.name, self.published = f"lpips-{backbone}", BACKBONES[backbone][0]
        self.smallest_px = BACKBONES[backbone][1]
        with torch.random.fork_rng(devices=[]):
            self.lpips = _LPIPS(net=backbone, pnet_rand=True)  # type: ignore[arg-type]
        tensors = read_weights(weights)
        names = self.lpips.net.state_dict()
        self.lpips.net.load_state_dict({n: tensors[_published_name(n)] for n in names})
        self.requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the stages' outputs, of unit length over the channels at each position."""
        size = (images.shape[2], images.shape[3])
        if min(size) < self.smallest_px:
            raise UserError(
                f"{self.name} needs pictures of at least {self.smallest_px} px a side, these are "
                f"{size[1]}x{size[0]}: choose dfeat or multiscale"
            )
        stages = self.lpips.net(self.lpips.scaling_layer(suited(images, size, 3)))
        return [x / (1e-8 + x.square().sum(dim=1, keepdim=True)).sqrt() for x in stages]

    def gap(self, level: int, a: Tensor, b: Tensor) -> Tensor:
        """Return the channels' square differences, weighted by the level's head."""
        return self.lpips.lins[level]((a - b).square())

    def total(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the sum of the levels (Zhang et al. 2018, equation 1)."""
        return sum(levels, torch.zeros_like(levels[0]))

    def protocol(self) -> dict[str, Any]:
        """State the heads and the weights."""
        return {
            "name": self.name,
            **self.published.facts(),
            "network": f"LPIPS 0.1, {self.published.name}",
            "library": "torchmetrics",
            "range": "[-1, 1], not resized",
        }


def _published_name(name: str) -> str:
    """`slice2.5.weight` and `slices.1.5.weight` are torchvision's `features.5.weight`."""
    return "features." + name.split(".", 2 if name.startswith("slices.") else 1)[-1]


# ----------------------------------------------------------------------------- EfficientNet-Lite0


class Lite0Distance(Distance):
    """Distance of EfficientNet-Lite0's stages, of unit length over channels at each position.

    The formula is LPIPS' (Zhang et al. 2018, equation 1) with all heads 1 and the levels' mean:
    never call it LPIPS, whose heads were fitted to people's answers.
    """

    name = "lite0"

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = load_lite0(weights)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the network's stages, 1/2 to 1/32 of the picture."""
        stages = self.network.stages(suited(images, (images.shape[2], images.shape[3]), 3))
        return [x * x.square().sum(dim=1, keepdim=True).add(1e-8).rsqrt() for x in stages]

    def gap(self, level: int, a: Tensor, b: Tensor) -> Tensor:
        """Return the square difference, summed over channels."""
        return (a - b).square().sum(dim=1, keepdim=True)

    def protocol(self) -> dict[str, Any]:
        """State the weights and the formula on the features."""
        return {
            "name": self.name,
            **LITE0.facts(),
            "layers": "last of each size, unit length over channels",
            "distance": "square difference, sum over channels, mean over positions and levels",
            "range": "[-1, 1], not resized",
        }


# ------------------------------------------------------------------------------------ no network

_SSIM_SHARE = 0.84  # Zhao et al. 2017, section III.D
_SMALLEST_LEVEL_PX = 8


class MultiscaleDistance(Distance):
    """L1 and structural similarity at every scale, for models without a discriminator.

    The mixture is that of Zhao et al. 2017 (0.84 (1 - SSIM) + 0.16 L1 on [0, 1]), averaged over a
    pyramid of halved pictures. It knows textures and edges but no objects.
    """

    name = "multiscale"

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the pictures on [0, 1], halved as long as their shorter side keeps 8 px."""
        levels = [(images.float() + 1) / 2]  # SSIM needs brightness from zero
        while min(levels[-1].shape[2:]) >= 2 * _SMALLEST_LEVEL_PX:
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels

    def gap(self, level: int, a: Tensor, b: Tensor) -> Tensor:
        """Return the mixture at each position."""
        # Imported here, because the library takes seconds to load and most models do not need it.
        from torchmetrics.functional.image import structural_similarity_index_measure

        similarity = structural_similarity_index_measure(
            a, b, data_range=1.0, reduction="none", return_full_image=True
        )[1]
        return _SSIM_SHARE * (1 - similarity) + (1 - _SSIM_SHARE) * (a - b).abs()

    def protocol(self) -> dict[str, Any]:
        """State the mixture and its scales."""
        return {
            "name": self.name,
            "network": None,
            "distance": f"{_SSIM_SHARE} (1 - SSIM) + {1 - _SSIM_SHARE:.2f} L1, mean of scales",
            "ssim": "Gaussian 11x11, sigma 1.5; both on [0, 1]",
            "layers": f"pictures halved down to {_SMALLEST_LEVEL_PX} px",
            "range": "[-1, 1]",
        }


# ------------------------------------------------------------------------------------- the choice

LPIPS_CHOICES = tuple(f"lpips-{backbone}" for backbone in BACKBONES)
CHOICES = ("auto", "dfeat", "lite0", "lpips", *LPIPS_CHOICES, "multiscale")


def choose_distance(
    choice: str,
    discriminator: Discriminator | None,
    weights: str | None = None,
    allow_download: bool = False,
    flag: str = "--perceptual",
    weights_flag: str = "--perceptual-weights",
) -> tuple[Distance, str]:
    """Make the distance of that name.

    Args:
        choice: Name: `dfeat`, `lite0`, `lpips-vgg`, `lpips-alex`, `lpips-squeeze`, `multiscale`;
            `lpips` for the first of the three whose weights are here; `auto` for `dfeat` where the
            model has a discriminator and `multiscale` where it has none.
        discriminator: The model's discriminator, if it has one.
        weights: A published file of weights, or a folder of such files; see `find_weights`.
        allow_download: Whether to download weights that are missing.
        flag: The flag that sets `choice`, for messages.
        weights_flag: The flag that sets `weights`, for messages.

    Returns:
        The distance, on the CPU, and a line that says which it is where the choice was left open
        (empty where it was named).

    Raises:
        UserError: If the distance is unknown or its weights are missing.
    """
    if choice not in CHOICES:
        raise UserError(f"{flag} {choice}: choose one of {', '.join(CHOICES)}")
    if choice.startswith("lpips"):
        return _choose_lpips(choice, weights, allow_download, flag, weights_flag)
    if choice == "multiscale":
        return MultiscaleDistance(), ""
    if choice == "lite0":
        path = find_weights(LITE0, weights, flag=weights_flag)
        if path is None:
            raise UserError(f"{flag} lite0: its weights are missing; {LITE0.install}")
        return Lite0Distance(path), ""
    if discriminator is not None:
        note = "pictures are compared by features of the model's own discriminator (dfeat)"
        return DiscriminatorDistance(discriminator), note if choice == "auto" else ""
    if choice == "dfeat":
        raise UserError(f"{flag} dfeat: this model has no discriminator; choose multiscale, lpips")
    note = "this model has no discriminator, so pictures are compared by L1 and SSIM (multiscale)"
    return MultiscaleDistance(), note


def _choose_lpips(
    choice: str, weights: str | None, allow_download: bool, flag: str, weights_flag: str
) -> tuple[Distance, str]:
    backbones = list(BACKBONES) if choice == "lpips" else [choice.removeprefix("lpips-")]
    # Weights that are here come before a download, even of better ones.
    for fetch in (False, True) if allow_download else (False,):
        for backbone in backbones:
            path = find_weights(BACKBONES[backbone][0], weights, fetch, weights_flag)
            if path is not None:
                note = f"pictures are compared by lpips-{backbone}" if choice == "lpips" else ""
                return Lpips(backbone, path), note
    files = " or ".join(BACKBONES[backbone][0].url for backbone in backbones)
    raise UserError(
        f"{flag} {choice}: its weights are missing; fetch {files} and give the folder with "
        f"{weights_flag}, or choose dfeat"
    )
