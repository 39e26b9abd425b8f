"""Which numbers an encoder's training can have, and what follows from the images seen."""

import math
from typing import Any

from framework.errors import UserError
from framework.training.stylegan2.limits import Range, check_ranges

_RANGES: tuple[Range, ...] = (
    (
        "channel_base channel_max blocks map_channels head_features width iterations micro_batch "
        "r1_interval latent_r1_interval lr lr_final lr_kimg d_lr latent_lr ema_kimg loss_px",
        lambda value: value > 0,
        "positive",
    ),
    (
        "pixel perceptual similarity adv_image adv_image_kimg r1_gamma adv_latent latent_r1_gamma "
        "delta w_norm nscd latent synthetic_kimg progressive_kimg ema_rampup seed",
        lambda value: value >= 0,
        "0 or more",
    ),
    ("synthetic_share", lambda value: 0 <= value <= 1, "from 0 to 1"),
    ("betas", lambda value: 0 <= value < 1, "at least 0 and below 1"),
)


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that no training can have; None is always a choice.

    Raises:
        UserError: Naming the flag.
    """
    check_ranges(settings, _RANGES)
    progressive, ramp = settings["progressive_kimg"], settings["adv_image_kimg"]
    if progressive is not None and in_images(progressive[1]) < 1:
        raise UserError(
            f"--model.progressive_kimg {list(progressive)}: the second is the thousands of images "
            "from each layer to the next, and positive"
        )
    if ramp[1] < ramp[0]:
        raise UserError(f"--model.adv_image_kimg {list(ramp)}: must not end before it begins")
    if settings["pixel"] == 0 and settings["perceptual"] == 0:
        raise UserError("--model.pixel 0, --model.perceptual 0: nothing would tell it what to read")


def in_images(kimg: float) -> int:
    """Whole images: 0.07 kimg times 1000 is a little more than 70."""
    return round(kimg * 1000)


def learning_rate(first: float, final: float | None, images: float, seen: int) -> float:
    """Half a cosine from `first` to `final` over `images`; `first` where there is no `final`."""
    if final is None:
        return first
    done = min(seen / images, 1.0)
    return final + (first - final) * (1 + math.cos(math.pi * done)) / 2
