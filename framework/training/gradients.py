"""Gradients of several processes, summed once a phase and made finite."""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from framework.errors import UserError

_LARGEST = 1e5


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the index of this process among them."""
    return dist.get_rank() if world_size() > 1 else 0


def all_sum(tensor: Tensor) -> Tensor:
    """Sum `tensor` over all processes in place, and return it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], extras: Sequence[Tensor] = ()) -> Tensor:
    """Add up the gradients of all processes in one message, and replace values that are not finite.

    Every process has its own share of the batch mean, so the sum is the gradient of the batch.
    NaN becomes 0 and infinities +-1e5, as in StyleGAN2-ADA.

    Args:
        parameters: Parameters of one network; those without gradient, the same in every process,
            are skipped.
        extras: Other float32 tensors to sum in place in the same message, not made finite.

    Returns:
        Number of gradient values that were not finite, shape ().
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    tensors = [*grads, *extras]
    if not tensors:
        return torch.zeros(())
    flat = all_sum(torch.cat([tensor.reshape(-1) for tensor in tensors]))
    parts = flat.split([tensor.numel() for tensor in tensors])
    for extra, part in zip(extras, parts[len(grads) :], strict=True):
        extra.copy_(part.view_as(extra))
    of_grads = flat[: sum(grad.numel() for grad in grads)]
    bad = of_grads.numel() - of_grads.isfinite().sum()
    of_grads.nan_to_num_(nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    shaped = [part.view_as(grad) for part, grad in zip(parts, grads, strict=False)]
    torch._foreach_copy_(grads, shaped)  # pyright: ignore[reportPrivateImportUsage]
    return bad


class FiniteGuard:
    """Ends a run whose gradients stay broken; a single overflow does not count.

    `sum_gradients` keeps NaN out of the weights, so without this a broken run would go on for days,
    changing nothing.

    Args:
        patience: Steps of one phase, in a row, with most gradient values not finite.
        remedy: Advice for resuming, for the message.
    """

    def __init__(self, patience: int = 4, remedy: str = "a lower --model.lr") -> None:
        self.patience, self.remedy = patience, remedy
        self._streaks: dict[str, Tensor] = {}

    def note(self, phase: str, bad: Tensor, total: int) -> None:
        """Count a step of `phase` with `bad` of `total` values not finite; no synchronisation."""
        streak = self._streaks.get(phase, torch.zeros_like(bad))
        self._streaks[phase] = (streak + 1) * (bad > total / 2)

    def check(self, seen_images: int) -> None:
        """Check the counts, which are the same in every process, because `bad` is.

        Args:
            seen_images: Images seen so far, for the message.

        Raises:
            UserError: Naming the phase.
        """
        for phase, streak in self._streaks.items():
            if streak.item() >= self.patience:
                raise UserError(
                    f"{phase}: loss and gradients have not been finite for {self.patience} steps "
                    f"in a row, by kimg {seen_images / 1000:g}; the last checkpoint is good: "
                    f"resume from it with {self.remedy}"
                )
