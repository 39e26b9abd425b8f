"""Training an encoder of another input onto a frozen image encoder's codes."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import lightning
import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.formats import open_model
from framework.models.alignment.code_space import Belief, CodeSpace
from framework.models.digest import state_digest
from framework.models.encoders.loading import build_encoder
from framework.models.encoders.style_encoder import StyleEncoder
from framework.models.frozen import NOISE_MODE
from framework.models.sketch import sketching
from framework.models.stylegan2 import Generator
from framework.training.alignment.codes import cached_codes
from framework.training.alignment.objectives import Aligning
from framework.training.alignment.retrieval import retrieval
from framework.training.alignment.settings import AlignmentSettings
from framework.training.averaged import AveragedTraining
from framework.training.callbacks import KimgCallback
from framework.training.data import ImageStream, TrainingImages
from framework.training.phased import Headline
from framework.training.phases import Micro
from framework.training.randomness import keyed_generator

A = TypeVar("A", bound=AlignmentSettings)


class Opened(NamedTuple):
    """A model whose codes are learned.

    Attributes:
        generator: The generator.
        encoder: Its encoder of pictures; both stay as they are.
        encoder_digest: Digest of the encoder's weights.
    """

    generator: Generator
    encoder: StyleEncoder
    encoder_digest: str


class Pairs(NamedTuple):
    """Pictures' codes and what else is said of the same pictures.

    Attributes:
        codes: Codes (M, num_ws, w_dim), in half precision.
        inputs: For each picture some inputs, (M, several, ...).
    """

    codes: Tensor
    inputs: Tensor


class AlignmentTraining(AveragedTraining[A]):
    """Trains an encoder of another input, and averages it; subclasses say of which.

    An "image" of the run is a picture with one of its inputs.
    """

    encoder: nn.Module
    encoder_ema: nn.Module
    averaged = "encoder"
    longest_gradient = 5.0
    widths = ("hidden",)
    headlines = (
        Headline("A", "Loss/A/loss", "<6.3f"),
        Headline("R@1", "Retrieval/R@1", "<5.3f"),
        Headline("R@5", "Retrieval/R@5", "<5.3f"),
    )

    def __init__(self, settings: A) -> None:
        super().__init__(settings)
        self._opened: Opened | None = None
        self._pairs: Pairs | None = None
        self.held_out: Pairs | None = None
        self._order: ImageStream | None = None

    # What a subclass says

    def new_encoder(self) -> nn.Module:
        """Return the untrained encoder: a network from inputs to a `Belief`, with a `space`."""
        raise NotImplementedError

    def inputs_of(self, data: TrainingImages, held_out: bool) -> Tensor:
        """Return the inputs of all pictures, (M, several, ...), of either part of the data."""
        raise NotImplementedError

    def pictures_of(self, images: Tensor) -> Tensor:
        """Return the pictures among the channels of the data, (M, C, H, W)."""
        return images

    # Construction

    @property
    def opened(self) -> Opened:
        """The model, opened once.

        Raises:
            UserError: If it cannot be opened, or has no encoder.
        """
        if self._opened is None:
            with torch.device("cpu"):  # also if a caller only sketches
                model = open_model(self.settings.generator, "--model.generator")
                if "encoder" not in model.networks:
                    raise UserError(
                        f"{self.settings.generator}: has no encoder, whose codes would be learned;"
                        " `train.py fit --config configs/train/encoder/small.yaml` makes one",
                        "generator",
                    )
                generator = model.network("generator")
                encoder = build_encoder(model.encoder(), generator)
                self._opened = Opened(generator, encoder, state_digest(encoder))
        return self._opened

    @property
    def space(self) -> CodeSpace:
        """The coordinates of the codes, of the averaged encoder."""
        return self.encoder_ema.space  # type: ignore[return-value]

    def own_size(self) -> tuple[int, int]:
        """Return the generator's size; see `PhasedTraining`."""
        return self.opened.generator.img_size

    def fresh(self) -> "AlignmentTraining[A]":
        """Return the same module, not built, with the same opened model."""
        fresh: AlignmentTraining[A] = type(self)(**self.settings.arguments())  # type: ignore[arg-type]
        fresh._opened = self.opened
        return fresh

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Check that this can be trained; see `PhasedTraining`."""
        common = super().plan(trainer, data)
        if data.shards is not None:
            raise UserError(
                f"{data.source}: this learns from pictures in memory; give a folder or a zip",
                "data.source",
            )
        with sketching():
            encoder: Any = self.new_encoder()
        return {
            "generator_digest": self.opened.generator.digest,
            "generator_name": self.settings.generator,
            "encoder_digest": self.opened.encoder_digest,
            "encoder": dict(encoder.config),
            **common,
        }

    def sketch(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device
    ) -> dict[str, nn.Module]:
        """Return the encoder; refuse pictures unlike the generator's."""
        self._check_pictures(size, channels)
        return {"encoder": self.new_encoder()}

    def _check_pictures(self, size: tuple[int, int], channels: int) -> None:
        generator = self.opened.generator
        if tuple(size) != tuple(generator.img_size):
            ours, its = ("x".join(map(str, pair)) for pair in (size, generator.img_size))
            raise UserError(f"{ours}: {self.settings.generator} draws {its}", "data.size")
        if channels != self.opened.encoder.in_channels:
            its = self.opened.encoder.in_channels
            raise UserError(f"{channels}: its encoder takes {its}", "data.channels")

    def build(self, data: TrainingImages, device: torch.device) -> None:
        """Read codes and inputs of all pictures, then build everything."""

        def report(line: str) -> None:
            if self.trainer.is_global_zero:
                print(line, flush=True)

        opened = self.opened
        tables = {False: data.images, True: data.held_out}
        tables = {part: b if b is None else self.pictures_of(b) for part, b in tables.items()}
        pairs: dict[bool, Pairs] = {}
        for held_out, pictures in tables.items():
            dataset = data.held_out_dataset if held_out else data.dataset
            if pictures is not None and dataset is not None:
                codes = cached_codes(
                    opened.generator, opened.encoder, opened.encoder_digest, pictures,
                    dataset.fingerprint, report,
                )  # fmt: skip
                pairs[held_out] = Pairs(codes, self.inputs_of(data, held_out))
        self._pairs, self.held_out = pairs[False], pairs.get(True)
        self._order = ImageStream(data.images, data.label_table, data.batch_size, data.seed)
        super().build(data, device)

    def assemble(
        self, size: tuple[int, int], channels: int, c_dim: int, device: torch.device, batch: int
    ) -> None:
        """Build everything; without codes, the coordinates stay empty."""
        self.batch_size = batch
        self.encoder = self.new_networks(size, channels, c_dim, device)["encoder"]
        space: Any = self.encoder.space
        if self._pairs is not None:
            space.set_codes(self._pairs.codes)
        self.begin_average()
        self.phases = Aligning(self.encoder, space, self.pairs, self.settings.weights).phases()

    def learning_rate(self, network: nn.Module) -> float:
        """Return the learning rate at this point of the run."""
        begun = self.warmup_share(self.settings.warmup_kimg)
        return begun * self.settings.learning_rate(self.seen_images)

    def gflop(self, sketch: dict[str, nn.Module], share: int) -> float:
        """Return the operations of a forward pass; see `PhasedTraining`."""
        weights = sum(p.numel() for p in sketch["encoder"].parameters())
        return 2 * share * weights / 1e9

    def pairs(self, micro: Micro) -> tuple[Tensor, Tensor]:
        """Return one of the inputs, chosen by chance, and the code of each of the pictures."""
        assert self._pairs is not None and self._order is not None
        places = range(micro.first, micro.first + len(micro.labels))
        index = torch.tensor([self._order.position(place) for place in places])
        several, device = self._pairs.inputs.shape[1], micro.rng.device
        chosen = torch.randint(several, (len(index),), generator=micro.rng, device=device)
        inputs = self._pairs.inputs[index, chosen.cpu()]
        return inputs.to(device), self._pairs.codes[index].to(device).float()

    # What it shows

    def watchers(self, tick_kimg: float, total_kimg: float) -> list[lightning.Callback]:
        """Return the callback that measures retrieval on held-out pictures."""
        return [HeldOutRetrieval(tick_kimg, total_kimg)]

    @torch.no_grad()
    def found(self, inputs: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Return R@1 and R@5 of 100 of the averaged encoder, a value for each input."""
        belief = self.encoder_ema(inputs.to(self.device))
        result = retrieval(belief, self.space.coordinates(codes.to(self.device).float()))
        return {"R@1": result.first, "R@5": result.fifth}

    @torch.no_grad()
    def drawn(self, inputs: Tensor, psi: float) -> Tensor:
        """Draw pictures (N, C, H, W) that inputs (N, ...) describe."""
        belief: Belief = self.encoder_ema(inputs.to(self.device))
        rng = keyed_generator(self.device, self.seed, "drawn")
        random = torch.randn(belief.mean.shape, generator=rng, device=self.device)
        ws = self.space.drawn(belief, random, psi)
        generator = self.opened.generator.to(self.device)
        return torch.cat([generator.synthesis(w, noise_mode=NOISE_MODE) for w in ws.split(16)])

    def shown(self, count: int) -> tuple[Pairs, Sequence[int]]:
        """Return the pairs that the sheets are of, held out ones if there are, and their rows."""
        pairs = self.held_out or self._pairs
        assert pairs is not None
        return pairs, range(min(count, len(pairs.codes)))


class HeldOutRetrieval(KimgCallback):
    """Reports how often what is said of a held-out picture finds it among 100."""

    def at_mark(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Measure with the last input of each picture, the one that says most."""
        pairs = pl_module.held_out
        if pairs is None:
            return
        is_first = trainer.is_global_zero
        values = pl_module.found(pairs.inputs[:, -1], pairs.codes) if is_first else {}
        for name in ("R@1", "R@5"):
            pl_module.stats.report(f"Retrieval/{name}", values.get(name, torch.empty(0)))
