"""The settings of a drag, and what they mean for a given picture. Does not need torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from framework.drag.registry import names
from framework.errors import UserError
from framework.settings import MOST_STEPS, Settings

PAPER_SIZE_PX = 512  # the height at which the paper states its radii
REDUCED_PX = 128  # height to which some methods reduce larger pictures, about

SUBPIXEL_STOP = 0.3  # of a pixel of the reduced picture

LatentSpace = Literal["w+", "w"]
StepScale = Literal["each", "common"]


@dataclass(frozen=True)
class DragSettings(Settings):
    """Settings of a drag; the defaults are those of the paper (Pan et al. 2023, sections 3 and 4).

    Args:
        method: How to drag: a file of `framework/drag/methods`.
        tracker: How to find handles again, a file of `framework/drag/trackers`: "nearest" by their
            features; "off" assumes that they moved as they should (an ablation: such drags mostly
            miss); "patch" to a fraction of a pixel; "raft" and "pips" are networks.
        tracker_weights: File of the weights of a tracker that is a network; None for one of their
            published names in the folder that the variable DRAGLINE_WEIGHTS names.
        motion_radius: Radius r1 of the disc around a handle whose features are pulled, in pixels of
            a picture 512 pixels high; scaled by the picture's height and never below 1 pixel.
        tracking_radius: Half side r2 of the square searched for a handle after each step, in pixels
            of a picture 512 pixels high; scaled like `motion_radius`.
        motion_radius_px: Radius r1 in pixels of the picture itself; overrides `motion_radius`.
        tracking_radius_px: Half side r2 in pixels of the picture; overrides `tracking_radius`.
        template_radius_px: Half side t of the (2t+1)² patch, in pixels of the picture, that is
            compared when a handle is searched for. 0 is the paper's single feature vector; 1 is
            steadier on small generators. Method "dragline" follows a disc of this radius, in pixels
            of the picture reduced to a height of 128 to 255.
        mask_weight: How hard the area outside the mask is kept as it was, in lengths of the points'
            own pull, ≥ 0: the same for every mask, resolution and model. What opposes the pull is
            removed first, so that 0.5 steers and does not hold; more slows the drag.
        settle_steps: With a mask, further steps after the handles have arrived, in which they stay
            and the area outside the mask goes back to what it was; 0 for none.
        learning_rate: Step size of Adam on the latents.
        step_scale: "each" number of the latents makes a step of about `learning_rate`, as Adam has
            it; "common" scales all by one number, so that those which hardly move the points hardly
            change. Methods "draggan" and "dragdiffusion" alone.
        layers: Number of the first layers of W+ that move (all of them where a model has fewer).
            Not used in W.
        latent_space: "w+" moves each of the first `layers` latents on its own; "w" moves all
            latents of the picture by one common vector.
        feature_resolution: Block whose features are compared, by its nominal side (4, 8, 16, …);
            None for the paper's sixth (128), or the last that a smaller model has; method
            "dragline" takes one before the last, and sees the last as well.
        stop_distance_px: The drag has arrived when every handle is within this distance of its
            target, in pixels of the picture; None for the paper's rule, 1 for up to five points and
            2 for more, and for 0.3 of the reduced picture with method "dragline", to which the
            paper's distance is enough where no step comes nearer.
        max_steps: Steps after which a drag stops.
        max_seconds: Seconds after which a drag stops, including the caller's own time;
            None for no limit.

    Raises:
        UserError: If a value has the wrong type or is out of range.
    """

    source = "drag settings"

    method: str = "draggan"
    tracker: str = "nearest"
    tracker_weights: str | None = None
    motion_radius: float = 3.0
    tracking_radius: float = 12.0
    motion_radius_px: int | None = None
    tracking_radius_px: int | None = None
    template_radius_px: int = 0
    mask_weight: float = 0.5
    settle_steps: int = 20
    learning_rate: float = 2e-3
    step_scale: StepScale = "each"
    layers: int = 6
    latent_space: LatentSpace = "w+"
    feature_resolution: int | None = None
    stop_distance_px: float | None = None
    max_steps: int = 300
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        self._number("motion_radius", "tracking_radius", "learning_rate", above_zero=True)
        self._number("mask_weight", "stop_distance_px", "max_seconds")
        self._whole("motion_radius_px", "tracking_radius_px", "layers", least=1)
        self._whole("max_steps", least=1, most=MOST_STEPS)
        self._whole("template_radius_px")
        self._whole("settle_steps", most=MOST_STEPS)
        self._whole("feature_resolution", least=4)
        self._choice("latent_space", get_args(LatentSpace))
        self._choice("step_scale", get_args(StepScale))
        self._choice("method", names("methods"))
        self._choice("tracker", names("trackers"))
        if not isinstance(self.tracker_weights, str | None) or self.tracker_weights == "":
            raise self._error("tracker_weights", "a file, or nothing")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | None = None) -> Self:
        """Read settings from a file's content; `tracker` may have its old name, `tracking`."""
        if isinstance(values, Mapping) and "tracking" in values:
            values = {"tracker" if name == "tracking" else name: v for name, v in values.items()}
        return super().from_dict(values, where)

    @classmethod
    def preset(cls, name: str) -> Self:
        """The settings of that name in `PRESETS`.

        Raises:
            UserError: If there is no such preset.
        """
        if name not in PRESETS:
            raise UserError(f"{name!r}: expected one of {', '.join(PRESETS)}", "preset")
        return cls(**PRESETS[name])

    def sizes(self, img_size: tuple[int, int], num_points: int) -> "Sizes":
        """Return what the settings mean for one picture.

        Args:
            img_size: Picture's (height, width).
            num_points: Number of handles.
        """
        height_px, stop_px = img_size[0], self.stop_distance_px
        if stop_px is None and self.method == "dragline":
            stop_px = SUBPIXEL_STOP * max(1, height_px // REDUCED_PX)
        elif stop_px is None:
            stop_px = papers_stop_px(num_points)
        return Sizes(
            img_size=img_size,
            motion_radius_px=self.motion_radius_px or _scaled(self.motion_radius, height_px),
            tracking_radius_px=self.tracking_radius_px or _scaled(self.tracking_radius, height_px),
            template_radius_px=self.template_radius_px,
            stop_distance_px=stop_px,
            tracker_weights=self.tracker_weights,
        )


DEFAULT_PRESET, DIFFUSION_PRESET = "dragline", "diffusion"
# Differences from the defaults; configs/edit/drag/NAME.yaml explains all settings.
PRESETS: dict[str, dict[str, Any]] = {
    "draggan": {},
    "small": {
        "motion_radius_px": 3,
        "tracking_radius_px": 2,
        "template_radius_px": 1,
        "learning_rate": 0.01,
        "feature_resolution": 32,
        "stop_distance_px": 0.5,
    },
    "dragline": {
        "method": "dragline",
        "template_radius_px": 4,
        "max_steps": 30,
        "layers": 10,
    },
    "freedrag": {"method": "freedrag"},
    "official": {"method": "official", "learning_rate": 1e-3},
    "latent-transformer": {
        "method": "latent-transformer",
        "tracker": "patch",
        "tracking_radius": 24.0,
        "template_radius_px": 4,
        "feature_resolution": 32,
        "stop_distance_px": 0.5,
        "max_steps": 12,
        "layers": 6,
    },
    "warp": {
        "method": "warp",
        "motion_radius": 56.0,
        "tracking_radius": 16.0,
        "template_radius_px": 2,
        "layers": 64,
        "max_steps": 1,
    },
    "dragdiffusion": {
        "method": "dragdiffusion",
        "motion_radius": 2.0,
        "tracking_radius": 6.0,
        "learning_rate": 0.01,
        "max_steps": 80,
    },
    "diffusion": {
        "method": "dragdiffusion",
        "motion_radius_px": 5,
        "tracking_radius_px": 2,
        "template_radius_px": 2,
        "learning_rate": 0.003,
        "step_scale": "common",
        "stop_distance_px": 0.5,
        "max_steps": 80,
    },
}


def usual_preset(diffuses: bool) -> str:
    """Return the name of the preset that a model is dragged with by default."""
    return DIFFUSION_PRESET if diffuses else DEFAULT_PRESET


@dataclass(frozen=True)
class Sizes:
    """What trackers and losses need of the settings, resolved for one picture (see there)."""

    img_size: tuple[int, int]
    motion_radius_px: int
    tracking_radius_px: int
    template_radius_px: int
    stop_distance_px: float
    tracker_weights: str | None = None

    @property
    def reduction(self) -> int:
        """How many times smaller a picture is looked at where its full size says nothing more."""
        return max(1, self.img_size[0] // REDUCED_PX)


def papers_stop_px(num_points: int) -> float:
    """The paper's stop distance in pixels (section 4)."""
    return 1.0 if num_points <= 5 else 2.0


def _scaled(radius: float, height_px: int) -> int:
    """Radius in pixels, at least 1, scaled from one stated for a height of 512 px."""
    return max(1, math.floor(radius / PAPER_SIZE_PX * height_px + 0.5))
