"""Settings of a diffusion model's run."""

from dataclasses import dataclass
from typing import Literal, get_args

from framework.errors import UserError
from framework.models.diffusion.schedule import PREDICTIONS
from framework.training.precision import Autocast
from framework.training.settings import AveragedSettings, TrainingGroup

Noise = Literal["cosine", "linear"]
_MOST_CHANNELS, _GROUPS = 4096, 16


@dataclass(frozen=True)
class UNet(TrainingGroup):
    """Sizes of the U-Net.

    Args:
        cell_px: Side of the cells that pictures are cut into: the network works at this fraction
            of their resolution, each cell a place; 1 for single pixels.
        channels: Channels at each resolution, from the finest, each half of the one before;
            multiples of 16.
        layers: Residual blocks at each resolution; one more on the way up.
        attention_px: Largest side, in places, at which places attend to each other.
        head_width: Channels of a head of attention.
    """

    group = "unet"

    cell_px: int = 2
    channels: tuple[int, ...] = (32, 64, 128)
    layers: int = 1
    attention_px: int = 16
    head_width: int = 64

    def __post_init__(self) -> None:
        self._whole("cell_px", least=1, most=16)
        self._whole("layers", least=1, most=16)
        self._whole("attention_px", most=1024)
        self._whole("head_width", least=1, most=_MOST_CHANNELS)
        object.__setattr__(self, "channels", tuple(self.channels))
        whole = all(type(count) is int and 0 < count <= _MOST_CHANNELS for count in self.channels)
        if not whole or not 1 <= len(self.channels) <= 8:
            raise self._error("channels", "one to eight whole numbers")
        if any(count % _GROUPS for count in self.channels):
            raise self._error("channels", f"multiples of {_GROUPS}")


@dataclass(frozen=True)
class DiffusionSettings(AveragedSettings):
    """Settings of `DiffusionTraining`.

    Args:
        lr: Learning rate, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of images until `lr_final`.
        warmup_kimg: Thousands of images in which the learning rate rises from 0.
        betas: Adam's decay rates.
        mirror: Show each picture mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
        unet: Sizes of the network.
        timesteps: Noise levels.
        noise: Noise schedule; its last level has nothing of the picture.
        prediction: What the network predicts.
        snr_gamma: Largest weight of a picture's error (min-SNR).
        low_precision: What convolutions compute in: `auto` is bfloat16 on CPUs that have it and on
            CUDA.
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of images.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
        sample_steps: Network evaluations of each picture on a sheet.
    """

    warmup_kimg: float = 3.0
    unet: UNet = UNet()
    timesteps: int = 1000
    noise: Noise = "cosine"
    prediction: Literal["v_prediction", "sample"] = "v_prediction"
    snr_gamma: float = 5.0
    low_precision: Autocast = "auto"
    ema_kimg: float = 20.0
    ema_rampup: float | None = 0.1
    sample_steps: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("timesteps", least=2, most=100_000)
        self._whole("sample_steps", least=1)
        self._number("snr_gamma", above_zero=True)
        self._number("warmup_kimg")
        self._choice("noise", get_args(Noise))
        self._choice("prediction", [name for name in PREDICTIONS if name != "epsilon"])
        self._choice("low_precision", get_args(Autocast))
        if self.sample_steps > self.timesteps:
            raise UserError(f"{self.sample_steps}: at most {self.timesteps}", "sample_steps")

    def scheduler(self) -> dict[str, object]:
        """Return the schedule as a `scheduler_config.json` of diffusers' DDIM."""
        return {
            "_class_name": "DDIMScheduler",
            "num_train_timesteps": self.timesteps,
            "beta_schedule": {"cosine": "squaredcos_cap_v2", "linear": "linear"}[self.noise],
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "prediction_type": self.prediction,
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
            "set_alpha_to_one": True,
            "clip_sample": True,
            "steps_offset": 0,
        }
