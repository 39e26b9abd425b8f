"""`edit.py drag`: handle points to targets."""

from framework.cli.terminal import Terminal
from framework.errors import UserError
from framework.jobs.requests.drag import DragRequest


def drag(request: DragRequest, terminal: Terminal, json: bool = False) -> None:
    """Drag handle points of a picture to targets.

    Writes into OUT: before.png, after.png, side_by_side.png, drag.mp4, edit.safetensors (from which
    it continues) and stats.jsonl (losses, distances, drift of every step). Ctrl-C keeps what is
    done. A photograph is inverted first, as by `invert`, into OUT/inversion; then there is also
    pasted.png, the whole photograph with the edit in its place, and NAME.inv.safetensors.

    Examples::

      python edit.py drag --model toycars64 --seed 8 --points "48,20:54,20" --out out/roof
      python edit.py drag --model vehicles64 --image car.jpg --points "38,12:44,15" --out out/car
      python edit.py drag --edit out/roof/edit.safetensors --steps 50 --out out/roof-on
      python edit.py drag --model toycars64 --tasks tasks.jsonl --json --out out/batch

    Args:
        json: End with one line of JSON: arrived, lost, doubtful, confidence, status,
            steps, seconds, mean_distance_px, max_distance_px, drift, files; of a photograph
            also inversion, see invert.
    """
    if request.tasks is not None:
        _drag_all(request, terminal, json)
        return
    from framework.jobs.drag import drag

    outcome = drag(request, terminal)
    terminal.done("", outcome)
    if json:
        terminal.json(outcome.to_dict())
    if outcome.stop is not None:
        raise outcome.stop


def _drag_all(request: DragRequest, terminal: Terminal, json: bool) -> None:
    from framework.jobs.batch import drag_all

    outcome = drag_all(request, terminal)
    if json:
        terminal.json(outcome.to_dict())
    if outcome.stop is not None:
        raise outcome.stop
    if outcome.failed:
        failed = ", ".join(outcome.failed)
        raise UserError(f"{len(outcome.failed)} of {outcome.count} tasks failed: {failed}")
