"""`python train.py validate`: what a generator is worth, measured without any download."""

import json
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from framework.evaluation.swd import sliced_wasserstein


class SlicedWasserstein(Callback):
    """Collects real and generated pictures of the validation batches and compares the sets."""

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Begin with nothing."""
        self.reals: list[torch.Tensor] = []
        self.fakes: list[torch.Tensor] = []

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, *_: Any
    ) -> None:
        """Keep the pictures, as the 8-bit values that they would be saved with."""
        self.reals.append(outputs["real"].cpu())
        fake = outputs["fake"].cpu()
        self.fakes.append(((fake + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Compare, print one JSON line with the protocol, log."""
        distances = sliced_wasserstein(torch.cat(self.reals), torch.cat(self.fakes))
        metrics = {f"Metrics/swd{level}": value for level, value in distances.items()}
        metrics["Metrics/swd_mean"] = sum(distances.values()) / len(distances)
        report = {
            "seen_kimg": pl_module.seen_images / 1000,
            "pictures": sum(map(len, self.reals)),
            "protocol": "sliced Wasserstein distance x 1e3, 7x7 patches, Laplacian pyramid, "
            "averaged generator, no truncation, random noise",
            **{name: round(value, 3) for name, value in metrics.items()},
        }
        if trainer.is_global_zero:
            print(json.dumps(report), flush=True)
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "Progress/kimg": pl_module.seen_images / 1000})
