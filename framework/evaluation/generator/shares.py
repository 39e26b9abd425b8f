"""Work that the processes of a training share: rows of a table, each batch made by one of them."""

from collections.abc import Callable

from torch import Tensor

from framework.training.gradients import all_sum, rank, world_size

Watch = Callable[[str], None]
"""Called before every batch, in every process equally often, with what is being done.

It shows progress, and ends the work by raising, which it must do in all processes alike.
"""


class Interrupted(Exception):
    """Somebody asked to stop while something was measured."""


def ignore(text: str) -> None:
    """A `Watch` that shows nothing and never ends the work."""


def in_shares(
    make: Callable[[int, int], Tensor], table: Tensor, batch: int, watch: Watch, what: str
) -> Tensor:
    """Fill a table of zeros (N, ...) by batches: every process makes its share and gets all.

    Processes are busy for equally long and then exchange everything at once, so nobody waits long
    enough to run into a time-out. The result does not depend on how many they are.

    Args:
        make: Makes rows `first` to `last` (not included) of the table.
        table: Where processes can exchange it; filled in place.
        batch: Rows at once.
        watch: See `Watch`.
        what: Name of the work, for `watch`.
    """
    count, together = len(table), batch * world_size()
    for start in range(0, count, together):
        watch(f"{what} {start:,}/{count:,}")
        first = start + rank() * batch
        if first < count:
            last = min(first + batch, count)
            table[first:last] = make(first, last).to(table.dtype)
    return all_sum(table)  # exact: every row is zero in all processes but one
