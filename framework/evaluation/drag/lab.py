"""What one process of the benchmark works with: the model, and those who judge its pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.drag.algorithm import drag_points
from framework.errors import UserError
from framework.evaluation.drag.correspondence import Correspondence
from framework.evaluation.drag.keypoints import Findings, KeypointJudge
from framework.evaluation.drag.photographs import Photographs
from framework.evaluation.drag.put_in import PutIn
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.generator.features import (
    SHIPPED,
    DiscriminatorFeatures,
    open_discriminator,
)
from framework.media.images import to_float, to_uint8
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.features.distance import DiscriminatorDistance, Distance
from framework.models.stylegan2 import Discriminator, Generator


@dataclass(frozen=True, eq=False)
class Lab:
    """A model and its judges, on one device.

    Args:
        generator: The frozen generator.
        discriminator: Its frozen discriminator, which the method "dragline" watches; None if there
            is none.
        latents: From a seed to latents, (1, num_ws, w_dim).
        first_seed: Seed of the first picture.
        photographs: Photographs that are dragged, too; None without a folder of them.
        editor: Its frozen latent transformer, for the method of that name; None if there is none.
        pairs: Pictures looked at so far, see `framework.evaluation.drag.targets.pairs`.
        put_in: Puts a picture into the model; None where that is not wanted.
        others: Labs of other models by their names, for tasks that are no model's own.
    """

    generator: Generator
    discriminator: Discriminator | None
    latents: Callable[[int], Tensor]
    first_seed: int
    photographs: Photographs | None = None
    editor: LatentTransformer | None = None
    pairs: list[Any] = field(default_factory=list)
    put_in: PutIn | None = None
    others: "Mapping[str, Lab]" = field(default_factory=dict)
    _warm: set[str] = field(default_factory=set)

    def of(self, model: str) -> "Lab":
        """The lab of a model by its name; empty for this one."""
        return self.others[model] if model else self

    @cached_property
    def judge(self) -> KeypointJudge:
        """The judge of toy cars, which has seen drawings alone."""
        return KeypointJudge.load()

    def judges(self) -> dict[str, Any]:
        """Facts on those who judge toy cars, for a report.

        Raises:
            UserError: If they cannot look at this model's pictures.
        """
        self.look(self.picture(self.latents(self.first_seed)))
        return self.drawing_judges()

    def drawing_judges(self) -> dict[str, Any]:
        """Facts on those who judge toy cars, whatever the model draws by itself."""
        facts = self.judge.facts
        return {
            "judge": {
                "kind": "key points of toy cars from procedural drawings",
                "sha256": facts["sha256"],
                "held_out_error_px": facts["held_out_error_px"],
            },
            "stranger": self.stranger.protocol(),
            "identity": self.distance.protocol(),
        }

    @cached_property
    def stranger(self) -> DiscriminatorFeatures:
        """A discriminator of another training, of features, distances and realism."""
        return open_discriminator(SHIPPED)

    @cached_property
    def distance(self) -> DiscriminatorDistance:
        """A perceptual distance in the stranger's features."""
        return DiscriminatorDistance(self.stranger.discriminator)

    @cached_property
    def correspondence(self) -> Correspondence:
        """Where points of a picture are in another one; `UserError` if it is not installed."""
        return Correspondence.load()

    @cached_property
    def own_distance(self) -> DiscriminatorDistance | None:
        """A distance in the features of the model's own discriminator, if it has one."""
        return None if self.discriminator is None else DiscriminatorDistance(self.discriminator)

    def picture(self, ws: Tensor) -> np.ndarray:
        """The pictures of latents (N, num_ws, w_dim), uint8 (N, H, W, C)."""
        with torch.no_grad():
            return to_uint8(self.generator.synthesis(ws, noise_mode="const"))

    def look(self, pictures: np.ndarray) -> Findings:
        """Where the judge sees key points."""
        return self.judge(pictures)

    def realism(self, before: np.ndarray, after: np.ndarray) -> float | None:
        """By how much the model's own discriminator finds `after` more real, in logits."""
        if self.discriminator is None or self.generator.c_dim:
            return None
        return _gain(self.discriminator, to_float(np.stack([before, after])))

    def realism_to_a_stranger(self, before: np.ndarray, after: np.ndarray) -> float:
        """The same by the stranger."""
        pictures = self.stranger.suited(to_float(np.stack([before, after])))
        return _gain(self.stranger.discriminator, pictures)

    def perceptual(self, before: np.ndarray, after: np.ndarray) -> float:
        """The perceptual distance of two pictures, uint8 (H, W, C)."""
        return _apart(self.distance, before, after)

    def own_perceptual(self, before: np.ndarray, after: np.ndarray) -> float | None:
        """The same in the features of the model's own discriminator; None without one."""
        return None if self.own_distance is None else _apart(self.own_distance, before, after)

    def warm_up(self, spec: MethodSpec) -> str:
        """Take a step of a method, so that no task pays for what is done once for a model.

        Returns:
            Why the method cannot run here; empty if it can.
        """
        if spec.text in self._warm:
            return ""
        height, width = self.generator.img_size
        middle = [((width - 1) / 2, (height - 1) / 2)]
        target = [(middle[0][0] + 1, middle[0][1])]
        try:
            steps = drag_points(
                self.generator, self.latents(self.first_seed), middle, target,
                settings=spec.settings, discriminator=self.discriminator, editor=self.editor,
            )  # fmt: skip
            next(steps)
            next(steps, None)
        except UserError as error:
            return str(error)
        self._warm.add(spec.text)
        return ""


def _apart(distance: Distance, before: np.ndarray, after: np.ndarray) -> float:
    with torch.no_grad():
        return float(distance(to_float(before[None]), to_float(after[None])))


def _gain(discriminator: Discriminator, pictures: Tensor) -> float:
    where = next(discriminator.parameters()).device
    with torch.no_grad():
        before, after = (float(discriminator(each.to(where))) for each in pictures.split(1))
    return after - before
