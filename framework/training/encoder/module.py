"""Training an encoder for a generator, as a LightningModule."""

from copy import deepcopy
from typing import Any, Literal

import lightning
import torch
from torch import Tensor, nn

from framework.formats import open_model
from framework.inversion.losses import pixel_loss
from framework.models.encoders.loading import encoder_weights
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.sketch import sketching
from framework.training.callbacks import KimgCallback
from framework.training.data import TrainingImages
from framework.training.encoder.exhibit import Pairs
from framework.training.encoder.limits import check_settings, learning_rate
from framework.training.encoder.networks import (
    Frozen,
    check_labels,
    new_networks,
    new_objective,
    with_judges,
)
from framework.training.encoder.objectives import reconstruct
from framework.training.phased import Average, Headline, PhasedTraining, micro_batch
from framework.training.phases import lazy_share
from framework.training.run_folder import CONFIG
from framework.training.trainer import check_trainer

_BATCH = 16
_WATCHED = 128  # held-out pictures that are looked at with every status line


class EncoderTraining(PhasedTraining):
    """Trains an encoder that reads pictures into the styles of a generator, and averages it.

    Args:
        generator: Any model that opens here: a shipped one's name, a model folder, a checkpoint of
            a training, another program's file. It stays as it is.
        encoder: `dragline`, small, with heads that layers share; `e4e` or `psp`, IR-SE50 with a
            stack of convolutions for every layer (150 million parameters at 64 px).
        channel_base: Of `dragline`: feature maps times resolution, before the maximum.
        channel_max: Of `dragline`: largest number of feature maps.
        blocks: Of `dragline`: residual blocks of each resolution.
        map_channels: Of `dragline`: width of the feature pyramid.
        head_features: Of `dragline`: units of each head's hidden layer.
        width: Of `e4e` and `psp`: feature maps of the stem; 64 as published.
        norm: `group` is the same in training and use; `batch` is what e4e and psp were published
            with.
        iterations: How often the encoder looks; more than once, it sees its own reconstruction
            beside the picture and corrects it (ReStyle), and each look is trained.
        pixel: Weight of the mean square difference of pictures in [-1, 1].
        perceptual: Weight of how different they look.
        perceptual_network: What judges that: `dfeat`, features of the model's own discriminator;
            `lite0`, of EfficientNet-Lite0 (the extra `features`);
            `lpips-vgg`, `lpips-alex` or `lpips-squeeze`, or `lpips` for whichever of them is here;
            `multiscale`, no network; `auto`, the first, or without a discriminator the last.
        perceptual_weights: Published file of LPIPS' backbone, or a folder of such files.
        allow_download: Fetch it where it is missing.
        similarity: Weight of how different what they show is, 1 - cosine.
        similarity_network: What judges that: `resnet50`; `arcface` for faces; `clip`.
        similarity_weights: Its file.
        adv_image: Weight of passing for real before a trained copy of the model's discriminator.
        adv_image_kimg: [start, end]: thousands of images until that begins to count, and until it
            counts fully; at full weight from the beginning it may dominate.
        d_lr: Learning rate of that discriminator; the encoder's final one if None.
        r1_gamma: Weight of its R1.
        r1_interval: Batches between the steps of R1.
        adv_latent: Weight of styles passing for the mapping network's.
        latent_lr: Learning rate of the discriminator of styles.
        latent_r1_gamma: Weight of its R1.
        latent_r1_interval: Batches between the steps of that.
        delta: Weight of the distance of layers' styles from the first layer's, summed over layers.
        w_norm: Weight of the distance of the styles from the mean style.
        nscd: Weight of style vectors pointing away from random pictures' (LSAP); 0.5 times the
            generator's layers there, in the place of `adv_latent`.
        latent: Weight of the styles' mean square error, in variances of w, on pictures that the
            generator made.
        synthetic_kimg: Thousands of pictures, at the beginning, that the generator makes: their
            styles are known.
        synthetic_share: Share of such pictures in every batch after that.
        progressive_kimg: [start, every]: thousands of images until the second layer's style may
            leave the first's, and from each layer to the next (e4e); None for all from the
            beginning.
        loss_px: Pictures are compared at no more than so many pixels of the longer side (by
            `dfeat` at their own size); None for their own.
        lr: Learning rate of the encoder, at the beginning.
        lr_final: And at the end of `lr_kimg`, on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of images until then.
        betas: Adam's decay rates.
        ema_kimg: Half-life of the averaged encoder, which is the one that is published.
        ema_rampup: The half-life is at most this share of the images seen; null for no ramp.
        mirror: Show each picture mirrored half of the time.
        micro_batch: Images a process works on at once; its whole share if None.
        seed: Seed of everything random.
    """

    encoder: StyleEncoder
    encoder_ema: StyleEncoder
    remedy = "a lower --model.lr"

    def __init__(
        self,
        generator: str = "vehicles64",
        encoder: Literal["dragline", "e4e", "psp"] = "dragline",
        channel_base: int = 1536,
        channel_max: int = 192,
        blocks: int = 1,
        map_channels: int = 64,
        head_features: int = 256,
        width: int = 64,
        norm: Literal["group", "batch"] = "group",
        iterations: int = 1,
        pixel: float = 1.0,
        perceptual: float = 1.0,
        perceptual_network: Literal[
            "auto",
            "dfeat",
            "lite0",
            "lpips",
            "lpips-vgg",
            "lpips-alex",
            "lpips-squeeze",
            "multiscale",
        ] = "auto",
        perceptual_weights: str | None = None,
        allow_download: bool = False,
        similarity: float = 0.0,
        similarity_network: Literal["arcface", "resnet50", "clip"] = "resnet50",
        similarity_weights: str | None = None,
        adv_image: float = 0.0,
        adv_image_kimg: tuple[float, float] = (0.0, 0.0),
        d_lr: float | None = None,
        r1_gamma: float = 10.0,
        r1_interval: int = 16,
        adv_latent: float = 0.0,
        latent_lr: float = 2e-5,
        latent_r1_gamma: float = 10.0,
        latent_r1_interval: int = 16,
        delta: float = 0.0,
        w_norm: float = 0.0,
        nscd: float = 0.0,
        latent: float = 1.0,
        synthetic_kimg: float = 0.0,
        synthetic_share: float = 0.0,
        progressive_kimg: tuple[float, float] | None = None,
        loss_px: int | None = None,
        lr: float = 1e-3,
        lr_final: float | None = None,
        lr_kimg: float = 100.0,
        betas: tuple[float, float] = (0.9, 0.99),
        ema_kimg: float = 2.0,
        ema_rampup: float | None = 0.05,
        mirror: bool = False,
        micro_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        settings = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        check_settings(settings)
        super().__init__(settings)
        self._frozen: Frozen | None = None
        self.note = ""

    # Construction

    @property
    def opened(self) -> Frozen:
        """The generator and what comes with it, opened once.

        Raises:
            UserError: If it cannot be opened, or what should judge pictures cannot be had.
        """
        if self._frozen is None:
            with torch.device("cpu"):  # also where a caller only sketches
                self._frozen = self._open()
        return self._frozen

    def _open(self) -> Frozen:
        model = open_model(self.settings["generator"], "--model.generator")
        generator = model.network("generator")
        generator.synthesis.memory_format = torch.channels_last
        has_opponent = "discriminator" in model.held
        discriminator = model.network("discriminator") if has_opponent else None
        frozen, self.note = with_judges(self.settings, generator, discriminator)
        return frozen

    def foresee(
        self, trainer: lightning.Trainer, data: TrainingImages, known: dict[str, Any] | None = None
    ) -> None:
        """Look at all but the pictures; see `PhasedTraining`."""
        check_trainer(trainer)
        micro_batch(self.settings["micro_batch"], data.even_share(trainer.world_size))
        if data.size is None:
            data.size = self.opened.generator.img_size
        with sketching():
            self.sketch(data.img_size, data.channels, 0, trainer.strategy.root_device)

    def fresh(self) -> "EncoderTraining":
        """The same training, with the same opened generator."""
        fresh = EncoderTraining(**self.settings)
        fresh._frozen, fresh.note = self.opened, self.note
        return fresh

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Look whether this can be trained; see `PhasedTraining`."""
        check_trainer(trainer)
        micro_batch(self.settings["micro_batch"], data.share(trainer.world_size))
        dataset, device = data.dataset, trainer.strategy.root_device
        with sketching():
            sketch = self.sketch(dataset.size, dataset.channels, dataset.label_dim, device)
        check_labels(self.settings, self.opened.generator, dataset.label_dim)
        encoder: Any = sketch["encoder"]
        return {
            "generator_digest": self.opened.generator.digest,
            "generator_name": self.settings["generator"],
            "encoder": {"type": self.settings["encoder"], **encoder.config},
            "discriminates": sorted(set(sketch) - {"encoder"}),
            "batch_size": data.batch_size,
            "seed": self.seed,
            **data.identity(),
        }

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Encoder and discriminators; refuses pictures that the generator does not make."""
        return new_networks(self.settings, self.opened, size, channels)

    def build(self, data: TrainingImages, device: torch.device) -> None:
        """Open the generator; build encoder, discriminators, average and phases."""
        dataset = data.dataset
        self.assemble(dataset.size, dataset.channels, dataset.label_dim, device, data.batch_size)

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything for pictures of `size` in batches of `batch`."""
        s, self.batch_size = self.settings, batch
        for part in filter(None, self.opened):
            part.to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            networks: dict[str, Any] = self.sketch(size, channels, c_dim, device)
        for name, network in networks.items():
            # Of the discriminator, a copy is trained: the model's own stays, as its features do.
            own = deepcopy(network) if name == "discriminator" else network
            self.add_module(name, own.to(device))
        self.objective = new_objective(s, self.opened, dict(self.named_children()))
        self.encoder_ema = deepcopy(self.encoder).eval().requires_grad_(False)
        self.ema_kimg = [s["ema_kimg"]]
        self.phases = self.objective.phases()

    def networks(self) -> list[nn.Module]:
        """Encoder, and discriminators where they are wanted."""
        names = ("encoder", "discriminator", "latent_discriminator")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def averages(self) -> list[Average]:
        """The averaged encoder; none before it is built."""
        if not hasattr(self, "encoder_ema"):
            return []
        return [Average(self.encoder_ema, self.encoder, self.ema_kimg[0])]

    def speed(self, network: nn.Module) -> dict[str, Any]:
        """Learning rate and decay rates of a network's Adam, where the training stands."""
        s, ratio = self.settings, lazy_share(network, self.phases)
        if network is self.encoder:
            lr = learning_rate(s["lr"], s["lr_final"], s["lr_kimg"] * 1000, self.seen_images)
        elif network is getattr(self, "discriminator", None):
            lr = s["d_lr"] or s["lr_final"] or s["lr"]
        else:
            lr = s["latent_lr"]
        betas = tuple(float(beta) ** ratio for beta in s["betas"])
        return {"lr": lr * ratio, "betas": betas}

    @property
    def headlines(self) -> tuple[Headline, ...]:  # type: ignore[override]
        """What the status line shows: the terms that every training has, and held-out pictures."""
        distance = self.opened.distance
        name = distance.name if distance else "perceptual"
        shown = [Headline("E", "Loss/E/loss", "<6.3f"), Headline("pixel", "Loss/pixel", "<7.4f")]
        shown += [Headline(name, f"Loss/{name}", "<7.4f")] if distance else []
        return (*shown, Headline("held out", "Validation/pixel", "<7.4f"))

    # Training

    def on_fit_start(self) -> None:
        """Say what pictures are compared by, where that was left open."""
        if self.note and self.trainer.is_global_zero:
            print(f"note: {self.note}", flush=True)

    def begin_batch(self) -> None:
        """Let the schedules follow what was seen."""
        self.objective.advance(self.seen_images)
        for network in self.networks():
            for group in self._optimizer(network).param_groups:
                group.update(self.speed(network))
        stage = self.objective.stage
        self.stats.report("Progress/lr", self.speed(self.encoder)["lr"])
        if stage is not None:
            self.stats.report("Progress/stage", stage)

    # What it shows

    def facts(self) -> dict[str, Any]:
        """What judges pictures."""
        judges = {"perceptual": self.opened.distance, "similarity": self.opened.similarity}
        return {name: judge.protocol() for name, judge in judges.items() if judge is not None}

    def watchers(self, tick_kimg: float, total_kimg: float) -> list[lightning.Callback]:
        """How well held-out pictures come out."""
        return [HeldOut(tick_kimg, total_kimg)]

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> Pairs:
        """Held-out pictures, or else training ones, above their reconstructions."""
        pictures = data.images if data.held_out is None else data.held_out
        return Pairs(pictures, columns, count, lambda x: self.reconstructions(x)[0])

    def published(self) -> dict[str, Any]:
        """The model with its encoder."""
        generator, discriminator, *_ = self.opened
        encoder = encoder_weights(self.encoder_ema)
        return {"generator": generator, "discriminator": discriminator, "encoder": encoder}

    def provenance(self, data: dict[str, Any]) -> dict[str, Any]:
        """The generator's, with the encoder's beside it."""
        held = getattr(self.opened.generator, "provenance", {})
        ours = {"seen_kimg": self.seen_images / 1000, "data": data, "training": self.settings}
        return {**held, "encoder": {**ours, **self.facts()}}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Model card of a snapshot, Markdown."""
        height, width = data["size"]
        sheet = f"../reconstructions{name.removeprefix('network-')}.png"
        return f"""# {name}

The generator `{self.settings["generator"]}`, {width}x{height} px, with an encoder of averaged
weights after {self.seen_images / 1000:g} thousand images.

- Data of the encoder: {data["count"]} pictures of `{data["source"]}`. Their licence is not known to
  the trainer: add it here before passing this folder on.
- Quality: `python train.py validate` measures it on pictures held out, `{sheet}` shows some.
- Made by: `python train.py fit --config ../{CONFIG}`
"""

    def restore(
        self, checkpoint: dict[str, Any], trainer: lightning.Trainer, data: TrainingImages
    ) -> None:
        """Become what a run's checkpoint holds, without training.

        Raises:
            UserError: If it is of another run than the settings describe.
        """
        identity = self.plan(trainer, data)
        self.twin(identity, data).check_checkpoint(checkpoint, trainer, data)
        self.build(data, trainer.strategy.root_device)
        self.load_state_dict(checkpoint["state_dict"])
        self.seen_images = checkpoint["dragline"]["seen_images"]
        self.objective.advance(self.seen_images)

    def reconstructions(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """What the averaged encoder makes of pictures (N, C, H, W) in [-1, 1]: pictures, styles."""
        s, stage = self.settings, self.objective.stage
        pairs = [
            reconstruct(
                self.encoder_ema,
                self.opened.generator,
                part.to(self.device),
                s["iterations"],
                stage,
            )
            for part in pictures.split(_BATCH)
        ]
        images, ws = zip(*pairs, strict=True)
        return torch.cat(images), torch.cat(ws)

    @torch.no_grad()
    def measures(self, pictures: Tensor) -> dict[str, Tensor]:
        """How well pictures, uint8 (N, C, H, W), come out; each (N,), by name."""
        distance, found = self.opened.distance, []
        for part in pictures.split(_BATCH):
            wanted = part.to(self.device).float() / 127.5 - 1
            images = self.reconstructions(wanted)[0].clamp(-1, 1)
            pixel = pixel_loss(images, wanted)
            one = {"pixel": pixel, "psnr": 10 * torch.log10(4 / pixel.clamp(min=1e-8))}
            if distance is not None:
                one[distance.name] = distance(wanted, images)
            found.append(one)
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}


class HeldOut(KimgCallback):
    """Reports how well the averaged encoder does on pictures that training never sees.

    Mean square error in [-1, 1], PSNR with a peak of 2, and the perceptual distance. The first
    process looks; the others have nothing to add.
    """

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Look at the first of them."""
        pictures = trainer.datamodule.held_out  # type: ignore[attr-defined]
        if pictures is None:
            return
        distance = pl_module.opened.distance
        names = ["pixel", "psnr", *([distance.name] if distance else [])]
        looks = trainer.is_global_zero
        found = pl_module.measures(pictures[:_WATCHED]) if looks else {}
        for name in names:
            pl_module.stats.report(f"Validation/{name}", found.get(name, torch.empty(0)))
