"""`edit.py bench drag`: how well points are dragged, scored from all sides at once."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.bench import BenchRequest


def bench(request: BenchRequest, terminal: Terminal, json: bool = False) -> None:
    """Measure methods on the same tasks, judged by what shares nothing with the generator.

    Writes into OUT: report.html (the page to read), report.md, report.json, plots/, strips/. What
    is done is kept as it comes: after Ctrl-C the same command goes on, and with a larger --n or
    further methods it adds to what is there. docs/benchmark.md says how to read it.

    Examples::

      python edit.py bench drag --n 8 --methods dragline small --out out/bench
      python edit.py bench drag --protocol drawn --methods dragline MODEL:diffusion --out out/both
      python edit.py bench drag --protocol landmarks mask --processes 4 --out out/bench

    Args:
        json: End with one line of JSON: counts, skipped methods, files.
    """
    from framework.jobs.bench import bench as carry_out

    outcome = carry_out(request, terminal)
    if outcome.stop is not None:
        terminal.say(
            f"interrupted: {outcome.done} of {outcome.planned} are done and kept; the same command"
            " goes on"
        )
    terminal.say(f"{outcome.folder}: {', '.join(outcome.files)}")
    if json:
        terminal.json(outcome.to_dict())
    if outcome.stop is not None:
        raise outcome.stop
