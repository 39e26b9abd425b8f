"""The networks of an encoder's training: which there are, and what is opened for them."""

from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.encoders.dragline import Encoder, set_statistics
from framework.models.encoders.irse50 import Encoder4Editing, GradualStyleEncoder, seen_size
from framework.models.encoders.latent_discriminator import LatentDiscriminator
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import Distance, choose_distance
from framework.models.features.similarity import Similarity, choose_similarity
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.statistics import style_statistics
from framework.models.stylegan2.styles import style_directions
from framework.training.encoder.limits import in_images
from framework.training.encoder.objectives import Reconstruction, Schedule, Weights

_DIRECTIONS = 10_000  # styles whose vectors are averaged


class Frozen(NamedTuple):
    """What an encoder is trained for and with, which stays as it is.

    Attributes:
        generator: Draws what the encoder reads.
        discriminator: The generator's opponent, where the model has one.
        distance: How different pictures look, where that counts.
        similarity: How different what they show is, where that counts.
    """

    generator: Generator
    discriminator: Discriminator | None
    distance: Distance | None
    similarity: Similarity | None


def with_judges(
    settings: dict[str, Any], generator: Generator, discriminator: Discriminator | None
) -> tuple[Frozen, str]:
    """A model with what judges its pictures, and a line about that where it was left open.

    Args:
        settings: Arguments of `EncoderTraining`.
        generator: The model's.
        discriminator: The model's, if it has one.

    Raises:
        UserError: If what should judge cannot be had.
    """
    s, distance, similarity, note = settings, None, None, ""
    if s["perceptual"] > 0:
        distance, note = choose_distance(
            s["perceptual_network"],
            discriminator,
            s["perceptual_weights"],
            s["allow_download"],
            "--model.perceptual_network",
            "--model.perceptual_weights",
        )
    if s["similarity"] > 0:
        similarity = choose_similarity(
            s["similarity_network"],
            s["similarity_weights"],
            s["allow_download"],
            lambda: GradualStyleEncoder(1, 512),
            "--model.similarity_network",
            "--model.similarity_weights",
        )
    return Frozen(generator, discriminator, distance, similarity), note


def new_networks(
    settings: dict[str, Any], frozen: Frozen, size: tuple[int, int], channels: int
) -> dict[str, nn.Module]:
    """Encoder and discriminators by name; the discriminator of pictures is the model's own.

    Args:
        settings: Arguments of `EncoderTraining`.
        frozen: What it is trained for.
        size: (H, W) of the pictures.
        channels: Of the pictures.

    Raises:
        UserError: If the generator makes other pictures, or there is no discriminator.
    """
    s, generator = settings, frozen.generator
    _check_pictures(s, generator, size, channels)
    networks: dict[str, nn.Module] = {"encoder": _new_encoder(s, generator)}
    if s["adv_image"] > 0:
        if frozen.discriminator is None:
            raise UserError(
                f"--model.adv_image {s['adv_image']:g}: {s['generator']} has no discriminator; "
                "leave it at 0"
            )
        networks["discriminator"] = frozen.discriminator
    if s["adv_latent"] > 0:
        networks["latent_discriminator"] = LatentDiscriminator(generator.w_dim)
    return networks


def _new_encoder(settings: dict[str, Any], generator: Generator) -> StyleEncoder:
    s = settings
    sizes = {"norm": s["norm"], "residual": s["iterations"] > 1}
    if s["encoder"] == "dragline":
        names = ("channel_base", "channel_max", "blocks", "map_channels", "head_features")
        return Encoder(
            generator.img_size,
            generator.img_channels,
            generator.num_ws,
            generator.w_dim,
            **{name: s[name] for name in names},
            **sizes,
        )
    kind = {"e4e": Encoder4Editing, "psp": GradualStyleEncoder}[s["encoder"]]
    return kind(
        generator.num_ws,
        generator.w_dim,
        generator.img_channels,
        img_size=seen_size(generator.img_size),
        width=s["width"],
        **sizes,
    )


def new_objective(
    settings: dict[str, Any], frozen: Frozen, networks: dict[str, Any]
) -> Reconstruction:
    """What the networks are trained for; the encoder starts at the generator's mean style.

    Args:
        settings: Arguments of `EncoderTraining`.
        frozen: What it is trained for, where it will be trained.
        networks: As `new_networks` names them, likewise.
    """
    s, generator = settings, frozen.generator
    statistics = style_statistics(generator)
    set_statistics(networks["encoder"], statistics)
    return Reconstruction(
        networks["encoder"],
        generator,
        statistics,
        Weights(**{field.name: s[field.name] for field in fields(Weights)}),
        _schedule(s),
        s["iterations"],
        frozen.distance,
        frozen.similarity,
        _directions(generator) if s["nscd"] > 0 else None,
        networks.get("discriminator"),
        networks.get("latent_discriminator"),
        r1_gamma=s["r1_gamma"],
        r1_interval=s["r1_interval"],
        latent_r1_gamma=s["latent_r1_gamma"],
        latent_r1_interval=s["latent_r1_interval"],
        loss_px=s["loss_px"],
        mirror=s["mirror"],
    )


def _directions(generator: Generator) -> list[Tensor]:
    """Where the generator's style vectors point on average."""
    rng, device = torch.Generator().manual_seed(0), generator.mapping.w_avg.device
    z = torch.randn(_DIRECTIONS, generator.z_dim, generator=rng).to(device)
    labels = None
    if generator.c_dim:
        labels = torch.eye(generator.c_dim, device=device)
        labels = labels[torch.arange(_DIRECTIONS, device=device) % generator.c_dim]
    with torch.no_grad():
        return style_directions(generator, generator.mapping(z, labels)[:, 0])


def _schedule(settings: dict[str, Any]) -> Schedule:
    progressive = settings["progressive_kimg"]
    start, end = map(in_images, settings["adv_image_kimg"])
    return Schedule(
        None if progressive is None else (in_images(progressive[0]), in_images(progressive[1])),
        (start, end),
        in_images(settings["synthetic_kimg"]),
        settings["synthetic_share"],
    )


def _check_pictures(
    settings: dict[str, Any], generator: Generator, size: tuple[int, int], channels: int
) -> None:
    """Refuse pictures of another size or other colours than the generator's."""
    (height, width), name = generator.img_size, settings["generator"]
    if tuple(size) != (height, width):
        wanted = f"{height}" if height == width else f"[{height},{width}]"
        raise UserError(
            f"--data.size: {name} makes pictures of {width}x{height} px, these are "
            f"{size[1]}x{size[0]}; give --data.size {wanted}"
        )
    if channels != generator.img_channels:
        raise UserError(
            f"--data.channels {channels}: {name} makes pictures of {generator.img_channels} "
            f"channels; give --data.channels {generator.img_channels}"
        )


def check_labels(settings: dict[str, Any], generator: Generator, label_dim: int) -> None:
    """Refuse pictures without the labels that discriminators and made pictures need."""
    needs = ("adv_image", "adv_latent", "synthetic_kimg", "synthetic_share")
    asked = [name for name in needs if settings[name] > 0]
    if generator.c_dim and asked and label_dim != generator.c_dim:
        raise UserError(
            f"--model.{asked[0]} {settings[asked[0]]:g}: {settings['generator']} knows "
            f"{generator.c_dim} classes, the pictures {label_dim}; give --data.labels folders with "
            "the same classes, or leave it at 0"
        )
