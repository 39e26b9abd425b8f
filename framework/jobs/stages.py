"""The inverter of photographs: a model's networks, distance and settings, loaded once for many."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from framework.compositing.geometry import valid_mask
from framework.evaluation.image_metrics import mse01, psnr
from framework.inversion.diffusion import invert_diffusion, suited
from framework.inversion.inverted_image import InvertedImage, thumbnail
from framework.inversion.settings import InversionSettings
from framework.inversion.stages import invert, usual_deviations
from framework.inversion.step import InversionStep
from framework.jobs.models import Networks, portable_name
from framework.jobs.photograph import Photo
from framework.jobs.requests.invert import InversionChoice
from framework.jobs.settings import base_settings, inversion_settings
from framework.media.draw import rgb
from framework.media.images import to_float
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.features.distance import Distance, choose_distance
from framework.models.stylegan2.statistics import StyleStatistics, style_statistics


@dataclass
class Inverter:
    """Inverts photographs into the latents of one model.

    Args:
        networks: The model's networks.
        choice: The request's choice of settings and distance.
    """

    networks: Networks
    choice: InversionChoice

    def prepare(self) -> None:
        """Load everything, so that faults of the model or the request show now."""
        _ = base_settings(self.choice), self.settings, self.distance, self.usual
        _ = self.networks.digest

    @cached_property
    def encoder(self) -> StyleEncoder | None:
        """The model's encoder; None if it has none or the stages do without."""
        return self.networks.encoder if "embed" in base_settings(self.choice).stages else None

    @cached_property
    def settings(self) -> InversionSettings:
        """The resolved settings."""
        encoder = self.encoder
        residual = encoder is not None and encoder.residual
        return inversion_settings(self.choice, encoder is not None, residual)

    @cached_property
    def distance(self) -> Distance:
        """The distance that compares pictures."""
        return self._distance[0].to(self.networks.where)

    @cached_property
    def statistics(self) -> StyleStatistics:
        """The statistics of the generator's latents."""
        return style_statistics(self.networks.generator)

    @cached_property
    def usual(self) -> float | None:
        """The deviations from `w_avg` within which 99.9 % of this model's own latents lie."""
        return usual_deviations(self.networks.generator, self.statistics)

    def notes(self) -> list[str]:
        """Return notes for the user about how the inversion is done."""
        notes = []
        if "embed" in self.settings.stages and self.encoder is None:
            notes.append(
                "this model has no encoder: the search begins at its mean picture"
                + self._in_place_of_encoder()
            )
        return [*notes, self._distance[1]] if self._distance[1] else notes

    def stream(self, photo: Photo) -> Iterator[InversionStep]:
        """Check everything now and return the steps."""
        mask = valid_mask(photo.geometry)
        return invert(
            self.networks.generator,
            self.pictures(photo),
            self.distance,
            self.settings,
            encoder=self.encoder,
            statistics=self.statistics,
            weight=None if mask.all() else torch.from_numpy(mask),
        )

    def pictures(self, photo: Photo) -> torch.Tensor:
        """Return the photograph as the model sees it, (1, C, H, W), on its device."""
        return to_float(photo.canvas[None]).to(self.networks.where)

    def measured(self, image: InvertedImage, picture: torch.Tensor, photo: Photo) -> dict[str, Any]:
        """Measure a reconstruction: errors, distance, `deviations`.

        Args:
            image: The inverted image.
            picture: The image's picture, (1, C, H, W).
            photo: The photograph.
        """
        return {**self._compared(photo, picture), "deviations": self.deviations(image)}

    def deviations(self, image: InvertedImage) -> float:
        """Measure how far an image's latents lie from the mean."""
        where = self.networks.where
        return self.statistics.deviations(image.ws.to(where)).item()

    def _compared(self, photo: Photo, picture: torch.Tensor) -> dict[str, Any]:
        target, box = self.pictures(photo), photo.geometry.valid_box
        picture = picture.clamp(-1, 1)
        weight = torch.from_numpy(valid_mask(photo.geometry))[None, None].to(target)
        with torch.no_grad():
            distance = self.distance(target, picture, weight)
        return {
            "mse": mse01(picture, target, box).item(),
            "psnr_db": psnr(picture, target, box).item(),
            self.distance.name: distance.item(),
        }

    def image(self, photo: Photo, step: InversionStep) -> InvertedImage:
        """Return the result of a stage as an inverted image."""
        return InvertedImage(
            ws=step.ws,
            generator_digest=self.networks.digest,
            model_name=portable_name(self.networks.model),
            geometry=photo.geometry,
            noise=step.noise_of(0),
            deltas=None if step.deltas is None else step.deltas.half(),
            settings=self._made_with(),
            thumbnail=thumbnail(rgb(np.ascontiguousarray(photo.canvas))),
            photo={"name": photo.path.name, "sha256": photo.sha256},
        )

    def described(self, image: InvertedImage, stages: dict[str, dict[str, Any]]) -> InvertedImage:
        """Return the image with the measures of its stages."""
        return replace(image, measures={"stages": stages, "usual_deviations": self.usual})

    def _made_with(self) -> dict[str, Any]:
        return {
            **self.settings.to_dict(),
            "perceptual": self.distance.protocol(),
            "encoder": self.encoder is not None,
        }

    def _in_place_of_encoder(self) -> str:
        if "refine" not in self.settings.stages or self.settings.refine is None:
            return ""
        return f", refine has {self.settings.refine.steps} steps"

    @cached_property
    def _distance(self) -> tuple[Distance, str]:
        with_features = self.choice.perceptual in ("auto", "dfeat")
        discriminator = self.networks.discriminator if with_features else None
        return choose_distance(
            self.choice.perceptual, discriminator, self.choice.perceptual_weights
        )


class DiffusionInverter(Inverter):
    """Inverts photographs into a diffusion model: see `framework.inversion.diffusion`."""

    @cached_property
    def encoder(self) -> None:
        """None: the inversion needs no first guess."""
        return None

    @cached_property
    def settings(self) -> InversionSettings:
        """The resolved settings; there is no refinement."""
        settings = inversion_settings(self.choice, has_encoder=False, residual=False)
        stages = tuple(stage for stage in settings.stages if stage != "refine") or ("embed",)
        return replace(settings, stages=stages, tune=suited(settings.tune))

    @cached_property
    def usual(self) -> float | None:
        """None: how far noise may be from the usual is not known."""
        return None

    def notes(self) -> list[str]:
        """Return nothing: there is nothing to tell."""
        return [self._distance[1]] if self._distance[1] else []

    def deviations(self, image: InvertedImage) -> float:
        """Measure the root mean square of the noisy picture, about 1 for the model's own."""
        return image.ws.square().mean().sqrt().item()

    def stream(self, photo: Photo) -> Iterator[InversionStep]:
        """Check everything now and return the steps."""
        generator: Any = self.networks.generator
        stages, tune = self.settings.stages, self.settings.tune
        return invert_diffusion(generator, self.pictures(photo), stages, tune)


def inverter_of(networks: Networks, choice: InversionChoice) -> Inverter:
    """Return the inverter of a model's kind."""
    return DiffusionInverter(networks, choice) if networks.diffuses else Inverter(networks, choice)
