"""All measurements of a generator, each number with its protocol."""

import math
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from framework.data import ImageDataset
from framework.errors import UserError
from framework.evaluation.generator.features import Networks
from framework.evaluation.generator.metrics import (
    NEIGHBOURS,
    SUBSET_SIZE,
    SUBSETS,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from framework.evaluation.generator.ppl import EPSILON, LARGEST_SIDE_PX, path_lengths, trimmed_mean
from framework.evaluation.generator.real_statistics import chosen_reals, pictures, real_features
from framework.evaluation.generator.shares import Watch, ignore, in_shares
from framework.evaluation.generator.swd import sliced_wasserstein
from framework.media.images import to_float, to_uint8
from framework.models.digest import state_digest
from framework.models.features.blocks import in_float32
from framework.models.stylegan2 import Generator
from framework.training.gradients import all_sum
from framework.training.randomness import keyed_generator

SWD_PICTURES = 2048
_SWD_VALUES = 2**29  # values of one set of pictures in memory: 2 GiB
_FEWEST = NEIGHBOURS + 2


@dataclass
class MetricSettings:
    """Settings of the metrics.

    Args:
        features: `auto` for the first that is available of Inception-v3 (`fid`, `kid`),
            EfficientNet-Lite0 (`kid_lite`) and the shipped discriminator `features64` (`kid_d`);
            `inception`, `lite0`, or any model with a discriminator.
        weights: Folder of published weights (Inception-v3, VGG16), or one such file.
        allow_download: Download published weights that are missing (96 MB and 553 MB).
        fakes: Number of generated pictures.
        reals: Most real pictures; all if there are fewer.
        ppl: Number of paths for the perceptual path length; 0 leaves it out.
        truncation_psi: Truncation of the generated pictures; 1 for none, as in published numbers.
        noise: Noise of the generated pictures; `random` as in published numbers.
        batch: Pictures at once.
        seed: Seed of the choice of real pictures, the latents and the noise.
        cache: Folder for features of real pictures; by default in the user's cache folder.
        model: Model that `validate` measures instead of the run's newest checkpoint: a shipped
            model, a model folder, a file.
    """

    features: str = "auto"
    weights: str | None = None
    allow_download: bool = False
    fakes: int = 10_000
    reals: int = 10_000
    ppl: int = 2_000
    truncation_psi: float = 1.0
    noise: Literal["random", "const", "none"] = "random"
    batch: int = 16
    seed: int = 0
    cache: str | None = None
    model: str | None = None

    def check(self) -> None:
        """Refuse impossible numbers, in a `UserError` that names the flag."""
        for name, least in (("fakes", _FEWEST), ("reals", _FEWEST), ("ppl", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--metrics.{name} {getattr(self, name)}: at least {least}")
        if not math.isfinite(self.truncation_psi):
            raise UserError(f"--metrics.truncation_psi {self.truncation_psi}: give a number")


@dataclass
class Report:
    """Numbers by kind (`fid`, `kid_d`, `swd`, …) and name, and their protocols by kind."""

    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    protocol: dict[str, dict[str, Any]] = field(default_factory=dict)

    def flat(self) -> dict[str, float]:
        """All numbers under their names on dashboards, `Metrics/...`."""
        return {f"Metrics/{n}": v for kind in self.numbers.values() for n, v in kind.items()}

    def add(self, kind: str, numbers: dict[str, float], protocol: dict[str, Any]) -> None:
        """Add the numbers of one kind."""
        self.numbers[kind], self.protocol[kind] = numbers, protocol


def check_fit(
    generator: Generator,
    dataset: ImageDataset,
    name: str,
    remedy: str = "set --data.size, --data.channels, --data.labels",
) -> None:
    """Check that the data fit a generator, which errors call `name`.

    Raises:
        UserError: If they differ (with `remedy`), or if `check_data` complains.
    """
    check_data(dataset)
    drawn = (*generator.img_size, generator.img_channels, generator.c_dim)
    there = (*dataset.size, dataset.channels, dataset.label_dim)
    if drawn != there:
        words = "{0}x{1} px, {2} channels, labels of length {3}"
        raise UserError(
            f"{name} draws {words.format(*drawn)}; the pictures are {words.format(*there)}: "
            f"{remedy}"
        )


def check_data(dataset: ImageDataset) -> None:
    """Refuse data that cannot be measured with.

    Raises:
        UserError: If there are too few pictures, or single pictures cannot be read.
    """
    if len(dataset) < _FEWEST:
        raise UserError(
            f"--data.source: {len(dataset)} pictures are too few to measure with, {_FEWEST} needed"
        )
    dataset.image(0)


@torch.no_grad()
def measure(
    generator: Generator,
    dataset: ImageDataset,
    networks: Networks,
    settings: MetricSettings,
    device: torch.device,
    watch: Watch = ignore,
) -> Report:
    """Measure a generator against real pictures; all processes of a run do it together.

    All random numbers are keyed, and the generator is not changed.

    Args:
        generator: The averaged generator, on any device, in any precision.
        dataset: Real pictures of its size.
        networks: Networks to measure with; moved to `device`.
        settings: Counts, seeds, truncation.
        device: Where to compute.
        watch: See `shares.Watch`.
    """
    digest = state_digest(generator)
    generator = in_float32(deepcopy(generator)).to(device)
    features = networks.features.to(device)
    place = (settings.seed, settings.batch, device, watch)
    real = real_features(
        features, dataset, settings.reals, *place, Path(settings.cache) if settings.cache else None
    )
    swd_count = _swd_count(dataset, min(settings.fakes, len(real)))
    fake, shown = draw(generator, dataset, features, settings, swd_count, device, watch)

    report = Report()
    common = _protocol(digest, dataset, settings, len(real))
    watch("kernel distance, precision and recall")
    _compare(report, real, fake, features, common)
    watch("sliced Wasserstein distance")
    reals = pictures(dataset, chosen_reals(dataset, swd_count, settings.seed))
    _add_swd(report, reals, shown, common)
    if networks.distance is not None and settings.ppl:
        labels = drawn_labels(dataset, settings.ppl, settings.seed, "paths")
        distance = networks.distance.to(device)
        lengths = path_lengths(generator, distance, labels, *place[:2], watch)
        _add_ppl(report, lengths, distance, common)
    return report


def draw(
    generator: Generator,
    dataset: ImageDataset,
    features: Any,
    settings: MetricSettings,
    shown: int,
    device: torch.device,
    watch: Watch,
) -> tuple[Tensor, Tensor]:
    """Draw pictures; return the features of all and the first `shown` pictures themselves.

    Returns:
        Features, float32 (fakes, num_features), and pictures, uint8 (shown, C, H, W).
    """
    seed, count = settings.seed, settings.fakes
    z = torch.randn(count, generator.z_dim, generator=keyed_generator("cpu", seed, "fakes"))
    labels = drawn_labels(dataset, count, seed, "fakes")
    first_pictures = torch.zeros(
        shown, dataset.channels, *dataset.size, dtype=torch.uint8, device=device
    )

    def compute(first: int, last: int) -> Tensor:
        images = generator(
            z[first:last].to(device),
            labels[first:last].to(device),
            truncation_psi=settings.truncation_psi,
            noise_mode=settings.noise,
            rng=keyed_generator(device, seed, "noise", first),
        )
        as_saved = torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2).to(device)
        first_pictures[first:last] = as_saved[: max(0, shown - first)]
        return features(as_saved)

    table = torch.zeros(count, features.num_features, device=device)
    in_shares(compute, table, settings.batch, watch, "generated pictures")
    return table, all_sum(first_pictures).cpu()


def drawn_labels(dataset: ImageDataset, count: int, seed: int, purpose: str) -> Tensor:
    """Draw labels with the frequencies of the data, shape (count, label_dim)."""
    rng = keyed_generator("cpu", seed, "labels", purpose)
    chosen = torch.randint(len(dataset), (count,), generator=rng).tolist()
    if dataset.label_dim == 0:
        return torch.zeros(count, 0)
    return torch.stack([torch.from_numpy(dataset.label(i)) for i in chosen])


def _swd_count(dataset: ImageDataset, most: int) -> int:
    """Number of pictures for the sliced Wasserstein distance: all are in memory at once."""
    values = dataset.channels * dataset.size[0] * dataset.size[1]
    return min(SWD_PICTURES, most, max(1, _SWD_VALUES // values))


# ---------------------------------------------------------------------------- numbers, protocols


def _protocol(
    digest: str, dataset: ImageDataset, settings: MetricSettings, reals: int
) -> dict[str, Any]:
    """The protocol that all numbers share."""
    height, width = dataset.size
    return {
        "generator": {
            "sha256_of_weights": digest,
            "truncation_psi": settings.truncation_psi,
            "noise": settings.noise,
            "precision": "float32",
            "batch": settings.batch,
        },
        "data": {
            "fingerprint": dataset.fingerprint,
            "pictures": len(dataset),
            "size": f"{width}x{height}",
            "mirrored": False,
        },
        "reals": reals,
        "fakes": settings.fakes,
        "seed": settings.seed,
    }


def _compare(
    report: Report, real: Tensor, fake: Tensor, features: Any, common: dict[str, Any]
) -> None:
    """Add kernel distance, precision and recall; with Inception's features also FID."""
    if real.device.type == "mps":  # which has no float64
        real, fake = real.cpu(), fake.cpu()
    end = features.suffix
    common = {**common, "features": features.protocol()}
    library = f"torchmetrics {version('torchmetrics')}"
    if not end:
        about = {"library": library, "note": "biased: compare equal counts only"}
        report.add("fid", {"fid": frechet_distance(real, fake)}, {**common, **about})
    distance = kernel_distance(real, fake, common["seed"])
    about = {
        "library": library,
        "kernel": "(x.y / dimensions + 1)^3",
        "subsets": SUBSETS,
        "subset_size": min(SUBSET_SIZE, len(real), len(fake)),
        "interval": "95 %, 1.96 jackknife standard errors over all pictures",
    }
    numbers = {f"kid{end}": distance.value, f"kid{end}_ci95": distance.ci95}
    report.add(f"kid{end}", numbers, {**common, **about})
    precision, recall = precision_recall(real, fake)
    numbers = {f"precision{end}": precision, f"recall{end}": recall}
    report.add(f"pr{end}", numbers, {**common, "neighbour": NEIGHBOURS})


def _add_swd(report: Report, reals: Tensor, fakes: Tensor, common: dict[str, Any]) -> None:
    real, fake = (to_float(x.permute(0, 2, 3, 1).numpy()) for x in (reals, fakes))
    distances = sliced_wasserstein(real, fake)
    numbers = {f"swd{level}": value for level, value in distances.items()}
    numbers["swd_mean"] = sum(distances.values()) / len(distances)
    about = {
        "reals": len(reals),
        "fakes": len(fakes),
        "distance": "sliced Wasserstein x 1e3, 7x7 patches of a Laplacian pyramid, mean of levels",
    }
    report.add("swd", numbers, {**common, **about})


def _add_ppl(report: Report, lengths: Tensor, distance: Any, common: dict[str, Any]) -> None:
    end = f"ppl{distance.suffix}"
    about = {
        "generator": {**common["generator"], "truncation_psi": 1.0, "noise": "const"},
        "paths": len(lengths),
        "sampling": f"w, end points, epsilon {EPSILON:g}, no crop, at most {LARGEST_SIDE_PX} px, "
        "mean between the 1st and the 99th percentile",
        "distance": distance.protocol(),
    }
    shared = {name: common[name] for name in ("data", "seed")}
    report.add(end, {end: trimmed_mean(lengths)}, {**shared, **about})
