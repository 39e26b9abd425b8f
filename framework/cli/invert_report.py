"""`edit.py invert-report`: how well a model inverts photographs that its encoder never saw."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.invert import InvertReportRequest


def invert_report(request: InvertReportRequest, terminal: Terminal, json: bool = False) -> None:
    """Measure inversion on photographs held out of training, against baselines of equal time.

    Writes into OUT: report.md (the page to read), report.json (all numbers, protocol first),
    per_image.csv, grid.png, worst.png, edited.png and the pictures of every method. What is done is
    kept as it comes: after Ctrl-C the same command goes on, and with a larger --count it adds
    photographs.

    Examples::

      python edit.py invert-report --data my_cars --model vehicles64 --out out/report
      python edit.py invert-report --data toycars:2000 --model toycars64 --count 8 --out out/toys

    Args:
        json: End with one line of JSON: counts, reconstruction, files.
    """
    from framework.jobs.report import report

    outcome = report(request, terminal)
    if outcome.stop is not None:
        terminal.say(
            f"interrupted: {outcome.done} of {outcome.planned} photographs are done and kept; "
            "the same command goes on"
        )
    terminal.say(f"{outcome.folder}: {', '.join(outcome.files)}")
    if json:
        terminal.json(outcome.to_dict())
    if outcome.stop is not None:
        raise outcome.stop
