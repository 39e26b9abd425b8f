"""What Lightning's Trainer may be asked for in a training with two optimizers of its own."""

import lightning
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from framework.errors import UserError


def check_trainer(trainer: lightning.Trainer) -> None:
    """Refuse what would train wrongly or break after hours.

    Raises:
        UserError: Naming the flag.
    """
    if trainer.precision != "32-true":
        # Scaled losses would miss R1's inner gradient, autocast would reach the float32 parts.
        raise UserError(
            f"--trainer.precision {trainer.precision}: leave it at 32-true; "
            "--model.low_precision chooses what the large blocks compute in"
        )
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
        raise UserError(
            "--trainer.gradient_clip_val, --trainer.accumulate_grad_batches: not for two networks "
            "with phases of their own; leave them, --model.micro_batch saves memory"
        )
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        raise UserError(
            f"--trainer.strategy {type(trainer.strategy).__name__}: the networks must be whole in "
            "every process; use ddp, ddp_spawn or auto"
        )
