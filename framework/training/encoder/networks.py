"""The networks of an encoder's run: those it trains, and those it opens."""

from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from framework.errors import UserError, blame
from framework.formats import open_model
from framework.models.encoders.dragline import Encoder
from framework.models.encoders.irse50 import Encoder4Editing, GradualStyleEncoder, seen_size
from framework.models.encoders.latent_discriminator import LatentDiscriminator
from framework.models.encoders.loading import build_encoder
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import Distance, choose_distance
from framework.models.features.similarity import Similarity, choose_similarity
from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.statistics import style_statistics
from framework.models.stylegan2.styles import style_directions
from framework.training.encoder.objectives import Reconstruction
from framework.training.encoder.settings import EncoderSettings

KINDS: dict[str, Any] = {
    "dragline": Encoder, "e4e": Encoder4Editing, "psp": GradualStyleEncoder,
}  # fmt: skip
_DIRECTIONS = 10_000  # number of styles whose vectors are averaged


class Frozen(NamedTuple):
    """The networks that an encoder is trained with, which stay as they are.

    Attributes:
        generator: The generator that the encoder is for.
        discriminator: The generator's opponent, if the model has one.
        distance: Measures how different pictures look, if that counts.
        similarity: Measures how different what they show is, if that counts.
    """

    generator: Generator
    discriminator: Discriminator | None
    distance: Distance | None
    similarity: Similarity | None


def with_judges(
    settings: EncoderSettings, generator: Generator, discriminator: Discriminator | None
) -> tuple[Frozen, str]:
    """Return a model with the judges of its pictures, and a line about a choice left open.

    Args:
        settings: Settings of the run.
        generator: The model's generator.
        discriminator: The model's discriminator, if it has one.

    Raises:
        UserError: If a judge is missing.
    """
    judges, distance, similarity, note = settings.judges, None, None, ""
    if settings.weights.perceptual > 0:
        distance, note = choose_distance(
            judges.perceptual_network,
            discriminator,
            judges.perceptual_weights,
            judges.allow_download,
            "--model.judges.perceptual_network",
            "--model.judges.perceptual_weights",
        )
    if settings.weights.similarity > 0:
        similarity = choose_similarity(
            judges.similarity_network,
            judges.similarity_weights,
            judges.allow_download,
            lambda: GradualStyleEncoder(1, 512),
            "--model.judges.similarity_network",
            "--model.judges.similarity_weights",
        )
    return Frozen(generator, discriminator, distance, similarity), note


def new_networks(
    settings: EncoderSettings, frozen: Frozen, size: tuple[int, int], channels: int
) -> dict[str, nn.Module]:
    """Return encoder and discriminators by name; that of pictures is the model's own.

    Args:
        settings: Settings of the run.
        frozen: The model and its judges.
        size: (H, W) of the pictures.
        channels: Channels of the pictures.

    Raises:
        UserError: If the generator makes other pictures, or there is no discriminator.
    """
    weights, generator = settings.weights, frozen.generator
    _check_pictures(settings, generator, size, channels)
    networks: dict[str, nn.Module] = {"encoder": _new_encoder(settings, generator)}
    if weights.adv_image > 0:
        if frozen.discriminator is None:
            raise UserError(
                f"{weights.adv_image:g}: {settings.generator} has no discriminator; leave it at 0",
                "weights.adv_image",
            )
        networks["discriminator"] = frozen.discriminator
    if weights.adv_latent > 0:
        networks["latent_discriminator"] = LatentDiscriminator(generator.w_dim)
    return networks


def _new_encoder(settings: EncoderSettings, generator: Generator) -> StyleEncoder:
    sizes: dict[str, Any] = asdict(settings.architecture) | {"residual": settings.iterations > 1}
    width = sizes.pop("width")
    if settings.encoder == "dragline":
        return Encoder(
            generator.img_size, generator.img_channels, generator.num_ws, generator.w_dim, **sizes
        )
    return KINDS[settings.encoder](
        generator.num_ws,
        generator.w_dim,
        generator.img_channels,
        img_size=seen_size(generator.img_size),
        width=width,
        norm=sizes["norm"],
        residual=sizes["residual"],
    )


def open_start(model: str, generator: Generator, fresh: StyleEncoder) -> StyleEncoder:
    """Return the encoder that a run starts from.

    Args:
        model: Any model that opens here.
        generator: The generator of the run.
        fresh: The run's encoder, whose kind and sizes it must have.

    Raises:
        UserError: If the model has no encoder, or one of another kind or size.
    """
    with blame("--model.start_from", model):
        start = build_encoder(open_model(model, "--model.start_from").encoder(), generator)
        if type(start) is not type(fresh):
            kind = next(name for name, family in KINDS.items() if type(start) is family)
            raise UserError(f"its encoder is of another kind; give --model.encoder {kind}")
        for name, value in start.config.items():
            if value != fresh.config[name]:
                raise UserError(f"its encoder has {name} {value}, this one {fresh.config[name]}")
    return start


def new_objective(
    settings: EncoderSettings, frozen: Frozen, networks: dict[str, Any]
) -> Reconstruction:
    """Return the objective of the networks; the encoder starts at the generator's mean style.

    Args:
        settings: Settings of the run.
        frozen: The model and its judges, on the device of the run.
        networks: The result of `new_networks`, on that device.
    """
    s, generator = settings, frozen.generator
    statistics = style_statistics(generator)
    networks["encoder"].set_statistics(statistics)
    return Reconstruction(
        networks["encoder"],
        generator,
        statistics,
        s.weights,
        s.schedule,
        s.iterations,
        frozen.distance,
        frozen.similarity,
        _directions(generator) if s.weights.nscd > 0 else None,
        networks.get("discriminator"),
        networks.get("latent_discriminator"),
        s.discriminators,
        s.judges.loss_px,
        s.mirror,
        s.machine.low_precision,
    )


def _directions(generator: Generator) -> list[Tensor]:
    """Return the mean directions of the generator's style vectors."""
    rng, device = torch.Generator().manual_seed(0), generator.mapping.w_avg.device
    z = torch.randn(_DIRECTIONS, generator.z_dim, generator=rng).to(device)
    labels = None
    if generator.c_dim:
        labels = torch.eye(generator.c_dim, device=device)
        labels = labels[torch.arange(_DIRECTIONS, device=device) % generator.c_dim]
    with torch.no_grad():
        return style_directions(generator, generator.mapping(z, labels)[:, 0])


def _check_pictures(
    settings: EncoderSettings, generator: Generator, size: tuple[int, int], channels: int
) -> None:
    """Refuse pictures of another size or other channels than the generator's."""
    (height, width), name = generator.img_size, settings.generator
    if tuple(size) != (height, width):
        own_size = f"{height}" if height == width else f"[{height},{width}]"
        raise UserError(
            f": {name} makes pictures of {width}x{height} px, these are "
            f"{size[1]}x{size[0]}; give `data.size` {own_size}",
            "data.size",
        )
    if channels != generator.img_channels:
        raise UserError(
            f"{channels}: {name} makes pictures of {generator.img_channels} "
            f"channels; give `data.channels` {generator.img_channels}",
            "data.channels",
        )


def check_labels(settings: EncoderSettings, generator: Generator, label_dim: int) -> None:
    """Refuse pictures without the labels that discriminators and generated pictures need."""
    weights, schedule = settings.weights, settings.schedule
    needs = {
        "adv_image": weights.adv_image,
        "adv_latent": weights.adv_latent,
        "synthetic_kimg": schedule.synthetic_kimg,
        "synthetic_share": schedule.synthetic_share,
    }
    in_use = [name for name, value in needs.items() if value > 0]
    if generator.c_dim and in_use and label_dim != generator.c_dim:
        raise UserError(
            f"{settings.flag(in_use[0])} {needs[in_use[0]]:g}: {settings.generator} knows "
            f"{generator.c_dim} classes, the pictures {label_dim}; give --data.labels folders with "
            "the same classes, or leave it at 0"
        )
