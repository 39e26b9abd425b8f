"""Settings of an editor's run."""

from dataclasses import dataclass

from framework.errors import UserError
from framework.training.settings import AveragedSettings, TrainingGroup

_MOST_UNITS, _MOST_LAYERS = 8192, 64


@dataclass(frozen=True)
class Transformer(TrainingGroup):
    """Sizes of the latent transformer.

    Args:
        moving: Number of the first latents that move; the later ones paint.
        features: Nominal side of the generator's block whose features are read.
        width: Width of the tokens.
        heads: Heads of attention; divides `width`.
        depth: Layers of the encoder, and of the decoder.
        hidden: Units of the feed-forward layers.
    """

    group = "transformer"

    moving: int = 6
    features: int = 32
    width: int = 128
    heads: int = 4
    depth: int = 3
    hidden: int = 256

    def __post_init__(self) -> None:
        self._whole("moving", "depth", least=1, most=_MOST_LAYERS)
        self._whole("features", least=4, most=_MOST_UNITS)
        self._whole("width", "heads", "hidden", least=1, most=_MOST_UNITS)
        if self.width % self.heads:
            raise UserError(f"{self.heads}: must divide the width, {self.width}", "heads")


@dataclass(frozen=True)
class Paths(TrainingGroup):
    """Paths between pictures of the generator, from which the motions come.

    Args:
        frames: Pictures of a path after its first.
        longest: Longest path, as a share of the way from one sample's latents to another's.
        shortest: Shortest path, likewise.
        pairs: Ordered pairs of a path's pictures that are learned from.
        farthest: Longest motion that is learned from, in sixty-fourths of the longer side.
        points: Most points of a pair; one alone in `alone` of them.
        alone: Share of the pairs with a single point.
        zooms: Share of the pairs whose zoom is told; it is left open in the others.
        psi: Least truncation of the pictures that a path begins with; the most is 1.
    """

    group = "paths"

    frames: int = 2
    longest: float = 0.6
    shortest: float = 0.2
    pairs: int = 6
    farthest: float = 4.0
    points: int = 8
    alone: float = 0.4
    zooms: float = 0.3
    psi: float = 0.4

    def __post_init__(self) -> None:
        self._whole("frames", least=1, most=64)
        self._whole("points", least=1, most=1024)
        self._number("longest", "shortest", above_zero=True, most=1)
        self._number("farthest", above_zero=True)
        self._number("alone", "zooms", "psi", most=1)
        if self.shortest > self.longest:
            raise self._error("shortest", f"at most `paths.longest`, {self.longest:g}")
        self._whole("pairs", least=1, most=self.frames * (self.frames + 1))


@dataclass(frozen=True)
class EditorWeights(TrainingGroup):
    """Weights of the terms of the loss.

    Args:
        latent: Mean square distance from the true latents in standard deviations of w, as published
            (Endo 2022).
        move: How far the points are from where they should be, squared up to one sixty-fourth of
            the longer side and linear beyond, in such parts; by the generator's features and
            colours, as a drag tracks them.
        match: Difference between what the points show where they should be and what they showed,
            as a share of that.
        change: Mean square of the picture's change, in standard deviations of pictures.
        size: Mean square of the latents' change, in standard deviations of w.
    """

    group = "weights"

    latent: float = 0.0
    move: float = 1.0
    match: float = 0.5
    change: float = 5.0
    size: float = 0.1

    def __post_init__(self) -> None:
        self._number("latent", "move", "match", "change", "size")
        if self.latent == 0 and self.move == 0:
            raise UserError("0, weights.move=0: nothing would teach it to move", "weights.latent")


@dataclass(frozen=True)
class EditorSettings(AveragedSettings):
    """Settings of `EditorTraining`.

    Args:
        generator: Any model that opens here: a shipped one's name, a model folder, a checkpoint of
            a run, another program's file. It stays as it is.
        lr: Learning rate, at the beginning.
        lr_final: Learning rate after `lr_kimg`, reached on half a cosine; None keeps `lr`.
        lr_kimg: Thousands of paths until `lr_final`.
        warmup_kimg: Thousands of paths in which the learning rate rises from 0.
        betas: Adam's decay rates.
        mirror: Of no use here: the generator draws what it draws.
        micro_batch: Paths a process works on at once; its whole share if None.
        seed: Seed of everything random.
        match_px: Radius of the discs that are compared, in sixty-fourths of the pictures' longer
            side.
        transformer: Sizes of the network.
        paths: Where the motions come from.
        weights: Weights of the terms of the loss.
        ema_kimg: Half-life of the average of the network, which is the one that is published, in
            thousands of paths.
        ema_rampup: The half-life is at most this share of the paths seen; null for no ramp.
    """

    generator: str = "toycars64"
    warmup_kimg: float = 0.16
    match_px: int = 3
    transformer: Transformer = Transformer()
    paths: Paths = Paths()
    weights: EditorWeights = EditorWeights()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("match_px", least=1, most=16)
        self._number("warmup_kimg")
