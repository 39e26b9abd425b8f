"""The terminal as a job's watcher: it shows progress, notes and outcomes."""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.errors import spoken
from framework.files import json_line
from framework.jobs.outcomes import DragOutcome, InvertOutcome, end_in_words
from framework.jobs.watcher import Watcher

_NOTABLE = ("interrupted", "max_seconds", "diverged")


class Terminal(Watcher):
    """Prints what a job says: results on stdout, notes and one progress line on stderr.

    Args:
        flags: Flags by the fields of the request.
    """

    def __init__(self, flags: Mapping[str, str]) -> None:
        self.flags = flags
        self._line = ProgressLine()

    def say(self, text: str) -> None:
        """Print a line of results."""
        self._line.close()
        print(spoken(text, self.flags), flush=True)

    def note(self, text: str) -> None:
        """Print something unusual on stderr."""
        self._complain(f"note: {spoken(text, self.flags)}")

    def warn(self, text: str) -> None:
        """Print a warning on stderr."""
        self._complain(f"warning: {spoken(text, self.flags)}")

    def failed(self, name: str, reason: str) -> None:
        """Print on stderr that one of many failed."""
        self._complain(f"{name}: {reason}" if name else reason)

    def progress(self, text: str) -> None:
        """Show what is being done."""
        self._line.show(text, force=True)

    def json(self, facts: Mapping[str, Any]) -> None:
        """Print one line of strict JSON for scripts."""
        self._line.close()
        print(json_line(facts), flush=True)

    def drag_step(self, step: Any, last_step: int) -> None:
        """Show the progress of a drag."""
        self._line.show(
            f"step {step.step}/{last_step}  distance {step.mean_distance_px:.2f} px"
            f" (max {step.max_distance_px:.2f})  motion loss {step.motion_loss:.4f}"
            f"  drift {step.mean_drift:.3f}"
        )

    def inversion_step(self, step: Any, last_step: int) -> None:
        """Show the progress of an inversion."""
        terms = "  ".join(f"{name} {value.mean().item():.4f}" for name, value in step.terms.items())
        self._line.show(
            f"{step.stage} {step.step}/{last_step}  loss {step.loss[0].item():.4f}"
            f" (best {step.best_loss[0].item():.4f})  {terms}"
        )

    def done(self, name: str, outcome: Any) -> None:
        """Print the outcome of a drag or of an inversion."""
        if isinstance(outcome, InvertOutcome):
            self._tell_inversion(outcome)
        elif isinstance(outcome, DragOutcome):
            self._tell_drag(outcome, f"{name}: " if name else "")

    def composite(self, outcome: Any, json: bool) -> None:
        """Print the outcome of a picture that was made of others, and end as it ended."""
        self.say(outcome.describe())
        if json:
            self.json(outcome.to_dict())
        if outcome.stop is not None:
            raise outcome.stop

    def close(self) -> None:
        """Clear the progress line."""
        self._line.close()

    def _complain(self, text: str) -> None:
        self._line.close()
        print(text, file=sys.stderr)

    def _tell_drag(self, outcome: DragOutcome, where: str) -> None:
        self.say(f"{where}{describe(outcome)}")
        if outcome.doubtful:
            verb = "no longer shows" if outcome.lost else "may no longer show"
            self.warn(
                f"{where}a point {verb} what was taken hold of (confidence"
                f" {outcome.confidence:.2f}, sure from {outcome.sure_from:.2f}): look at"
                " side_by_side.png; try a shorter way, a point with more texture, or a mask"
            )
        if not where:
            self.say(listed(outcome.files))

    def _tell_inversion(self, outcome: InvertOutcome) -> None:
        """Print the quality of a reconstruction, by stage, and warn if edits may go wrong."""
        (h, w), (left, top, right, bottom) = outcome.photo_size, outcome.seen_box
        all_of_it = (right - left, bottom - top) == (w, h)
        part = f"{right - left}x{bottom - top} px from ({left}, {top})"
        height, width = outcome.canvas_size
        self.say(
            f"{outcome.photo}: {w}x{h} px; the model sees"
            f" {'all of it' if all_of_it else part}, as {width}x{height}"
        )
        for note in outcome.notes:
            self.note(note)
        if outcome.familiar is False:
            self.warn(
                "this does not look like what the model knows: it lies"
                f" {outcome.strangeness:.1f} times as far out as the model's own pictures do,"
                f" photographs of its kind within {outcome.familiar_within:g} times; it will come"
                " out as something of that kind, or break when it is dragged"
            )
        self.say("\n".join(table(outcome)))
        last = list(outcome.stages.values())[-1]
        usual = outcome.usual_deviations
        if usual is not None and last["deviations"] > usual:
            self.note(
                f"out of the editable region: the latents lie {last['deviations']:.2f} standard"
                " deviations from the mean, 99.9 % of this model's own within"
                f" {usual:.2f}; edits may break, and do less with fewer"
                " --refine-steps"
            )


def listed(files: list[str]) -> str:
    """List files in a line: their folder and names."""
    return f"{Path(files[0]).parent}: {', '.join(Path(name).name for name in files)}"


def describe(outcome: DragOutcome) -> str:
    """Describe the outcome of a drag in a line."""
    how = end_in_words(outcome.status)
    return (
        f"{how} after {outcome.steps} steps, {outcome.seconds:.1f} s: distance"
        f" {outcome.mean_distance_px:.2f} px (max {outcome.max_distance_px:.2f}),"
        f" drift {outcome.drift:.3f}"
    )


def table(outcome: InvertOutcome) -> list[str]:
    """Return the numbers of the stages in aligned lines: titles, and a line each."""
    name = outcome.perceptual
    rows = [["stage", "mse", "PSNR", name, "deviations", "steps", "seconds"]]
    for stage, numbers in outcome.stages.items():
        status = numbers["status"]
        rows.append([
            stage, f"{numbers['mse']:.4f}", f"{numbers['psnr_db']:.2f} dB",
            f"{numbers[name]:.4f}", f"{numbers['deviations']:.2f}", f"{numbers['steps']}",
            f"{numbers['seconds']:.1f}" + (f" ({status})" if status in _NOTABLE else ""),
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


class ProgressLine:
    """One line on a terminal that is written over; nothing if stderr is no terminal."""

    def __init__(self) -> None:
        self._last_sec = 0.0

    def show(self, text: str, force: bool = False) -> None:
        """Write `text` over the line, ten times a second at most."""
        now_sec = time.monotonic()
        if not sys.stderr.isatty() or (now_sec - self._last_sec < 0.1 and not force):
            return
        self._last_sec = now_sec
        width = shutil.get_terminal_size((100, 24)).columns
        print(f"\r\x1b[K{text[: width - 1]}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line."""
        if self._last_sec:
            self._last_sec = 0.0
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
