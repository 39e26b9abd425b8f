"""What a person asks of the benchmark of drags. Needs no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.pictures import MAX_SEED

MOST_PROCESSES = 256


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """A benchmark.

    Args:
        what: What is measured.
        out: New or empty folder, or that of the same benchmark, which goes on.
        model: Zoo name, model folder or file.
        protocol: What is done: ablations, drawn, landmarks, mask, paired, roundtrip,
            tracking; one or more.
        methods: Presets or methods, with changes of their settings: draggan+tracker=nearest; with
            a model of their own: toycars64-diffusion:diffusion (protocols drawn, ablations).
        n: Tasks of each kind.
        images: Folder or zip of photographs that are inverted and dragged, too, by roundtrip;
            best ones that the encoder was not trained on.
        only: Only kinds of tasks whose names contain one of these: "wheels, real".
        processes: Processes that work at once, each with one thread.
        first_seed: Seed of the first picture.
        psi: Truncation of the pictures.
    """

    what: Annotated[Literal["drag"], Shown("drag", in_place=True)]
    out: Annotated[str, Shown("PATH")]
    model: Annotated[str, Shown("MODEL")] = "toycars64"
    protocol: Annotated[tuple[str, ...], Shown("NAME")] = ("landmarks",)
    methods: Annotated[tuple[str, ...], Shown("SPEC")] = ("dragline", "small", "draggan")
    n: int = 24
    images: Annotated[str | None, Shown("PATH")] = None
    only: Annotated[tuple[str, ...], Shown("WORDS", advanced=True)] = ()
    processes: int = 1
    first_seed: Annotated[int, Shown("SEED", advanced=True)] = 7000
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: Naming the field.
        """
        if not 1 <= self.n <= 10_000:
            raise UserError(f"{self.n}: give a number from 1 to 10000", "n")
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise UserError(f"{self.processes}: give 1 to {MOST_PROCESSES}", "processes")
        if not 0 <= self.first_seed <= MAX_SEED // 2:
            raise UserError(f"{self.first_seed}: give 0 to {MAX_SEED // 2}", "first_seed")
