"""Work that the processes of a run share: rows of a table, each batch computed by one process."""

from collections.abc import Callable

from torch import Tensor

from framework.training.gradients import all_sum, rank, world_size

Watch = Callable[[str], None]
"""Called before every batch, equally often in every process, with a text on the progress.

It shows the progress, and may end the work by raising, which it must do in all processes alike.
"""


class Interrupted(Exception):
    """A request to stop that arrived during a measurement."""


def ignore(text: str) -> None:
    """A `Watch` that shows nothing and never ends the work."""


def in_shares(
    make: Callable[[int, int], Tensor], table: Tensor, batch: int, watch: Watch, what: str
) -> Tensor:
    """Fill a table of zeros (N, ...) in batches: every process computes a share and gets all rows.

    Processes are busy for equally long and then exchange everything at once, so none waits long
    enough to run into a time-out. The result does not depend on the number of processes.

    Args:
        make: Computes rows `first` to `last` (excluded) of the table.
        table: The table, on a device where processes can exchange it; filled in place.
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
