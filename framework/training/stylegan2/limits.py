"""Which numbers a training can have, and what its `auto` means."""

from collections.abc import Callable, Sequence
from typing import Any

from framework.errors import UserError
from framework.training.stylegan2.ada import parse_changes
from framework.training.stylegan2.augment import parse_policy
from framework.training.stylegan2.objectives import Penalty

Range = tuple[str, Callable[[float], bool], str]
"""Names of settings, what a value of theirs must fulfil, and that in words."""

SIZES: dict[str, Any] = {
    "z_dim": 512,
    "w_dim": 512,
    "mapping_layers": 8,
    "channel_base": 32768,
    "channel_max": 512,
    "architecture": "skip",
    "discriminator_channel_base": None,
    "discriminator_architecture": "resnet",
}
"""Settings that a model to begin with decides, and what they are without one (the paper's)."""

MOST: dict[str, int] = {
    **dict.fromkeys(("z_dim", "w_dim", "channel_max", "map_channels"), 8192),
    **dict.fromkeys(("channel_base", "discriminator_channel_base"), 2**20),
    **dict.fromkeys(("mapping_layers", "blocks", "low_precision_blocks"), 64),
    **dict.fromkeys(("head_features", "micro_batch", "mbstd_group_size"), 65_536),
    **dict.fromkeys(("width", "iterations", "freeze_d_layers"), 1024),
    "loss_px": 4096,
    "seed": 2**63 - 1,  # of torch's generators
}
"""The largest value of a setting, as far as there can be networks and numbers of such; else 1e9."""

_RANGES: tuple[Range, ...] = (
    (
        "z_dim w_dim mapping_layers channel_base channel_max discriminator_channel_base "
        "micro_batch r1_interval pl_interval pl_batch_shrink lr ema_kimg ada_kimg",
        lambda value: value > 0,
        "positive",
    ),
    (
        "mbstd_group_size low_precision_blocks r1_gamma gp_weight lecam_weight pl_weight "
        "ema_rampup freeze_d_layers transition_kimg seed",
        lambda value: value >= 0,
        "0 or more",
    ),
    ("style_mixing_prob pl_decay ada_p", lambda value: 0 <= value <= 1, "from 0 to 1"),
    ("ada_p_max", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    ("ada_target", lambda value: -1 < value < 1, "between -1 and 1"),
    ("betas", lambda value: 0 <= value < 1, "at least 0 and below 1"),
)
_MOST_AVERAGES = 8


def r1_gamma(given: float | None, size: tuple[int, int], batch_size: int) -> float:
    """R1's weight: the given one, or 0.0002 * H * W / batch (StyleGAN2-ADA's `auto`)."""
    return 0.0002 * size[0] * size[1] / batch_size if given is None else given


def r1_interval(given: int | None, penalty: Penalty) -> int | None:
    """Batches between steps of the gradient penalty, or None if it is part of every main step.

    R1 alone is lazy (Karras et al. 2020, section 3.1); R1 and R2 together are not (Huang et al.
    2024) unless a number is given; the penalty of WGAN-GP never is.
    """
    if penalty == "interpolates":
        return None
    return 16 if given is None and penalty == "r1" else given


def half_lives(given: float | list[float] | None, batch_size: int) -> list[float]:
    """Half-lives of the averages in kimg; batch * 10 / 32 if none is given (StyleGAN2-ADA)."""
    if given is None:
        return [batch_size * 10 / 32]
    return list(given) if isinstance(given, list | tuple) else [given]


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that no training can have; None is always a choice.

    Raises:
        UserError: Naming the flag.
    """
    check_ranges(settings, _RANGES)
    kimg = settings["ema_kimg"]
    if isinstance(kimg, list | tuple) and (not kimg or len(set(kimg)) < len(kimg)):
        raise UserError(f"--model.ema_kimg {kimg}: a half-life, or a list of different ones")
    if isinstance(kimg, list | tuple) and len(kimg) > _MOST_AVERAGES:
        raise UserError(f"--model.ema_kimg: {len(kimg)} averages; at most {_MOST_AVERAGES}")
    if (fade := settings["transition_kimg"]) and not fade[0] < fade[1]:
        raise UserError(f"--model.transition_kimg {list(fade)}: must begin before it ends")
    try:
        diffaugment_policy(settings["augment"])
    except UserError as error:
        raise UserError(f"--model.{error}; or ada, or none") from None
    try:
        parse_changes(settings["ada_set"])
    except UserError as error:
        raise UserError(f"--model.ada_set: {error}") from None
    if settings["loss"] == "wgan-gp" and settings["r1_gamma"]:
        raise UserError(
            f"--model.r1_gamma {settings['r1_gamma']}: wgan-gp has a penalty of its own, "
            "--model.gp_weight; leave r1_gamma at null"
        )


def check_labels(settings: dict[str, Any], label_dim: int) -> None:
    """Refuse to fade in labels that are not there.

    Raises:
        UserError: Naming the flag.
    """
    if settings["transition_kimg"] is not None and label_dim == 0:
        raise UserError(
            "--model.transition_kimg: the pictures have no labels; give --data.labels folders, or "
            "leave it at null"
        )


def diffaugment_policy(augment: str) -> tuple[str, ...]:
    """DiffAugment's changes that `augment` names; none for `ada` and `none`.

    Raises:
        UserError: If a name is unknown.
    """
    return () if augment.strip() in ("ada", "none") else parse_policy(augment)


def check_ranges(settings: dict[str, Any], ranges: Sequence[Range]) -> None:
    """Refuse numbers out of their range, one by one also in lists; None is always a choice.

    Raises:
        UserError: Naming the flag.
    """
    for names, fits, must in ranges:
        for name in names.split():
            given = settings[name]
            for value in given if isinstance(given, tuple | list) else (given,):
                if value is not None and not fits(value):
                    raise UserError(f"--model.{name} {value}: must be {must}")
                if value is not None and value > (most := MOST.get(name, 10**9)):
                    raise UserError(f"--model.{name} {value}: must be at most {most:,}")
