"""`edit.py doctor`: what this machine has, what will be used, and whether it works."""

from typing import Any

from framework.cli.terminal import Terminal
from framework.errors import UserError
from framework.jobs.requests.files import DoctorRequest


def doctor(request: DoctorRequest, terminal: Terminal, json: bool = False) -> None:
    """Say what this machine has, what will be used, and time one picture.

    Exit code 0 if an edit can be done here, 2 with the reason if not.

    Examples::

      python edit.py doctor
      python edit.py doctor --json --device cpu

    Args:
        json: Print one line of JSON instead of the table.
    """
    from framework.jobs.doctor import examine

    examination = examine(request)
    for problem in examination.problems:
        problem.rename(terminal.flags)
    problems = list(map(str, examination.problems))
    if json:
        terminal.json({**examination.facts, "problems": problems, "notes": examination.notes})
    else:
        width = max(map(len, examination.facts))
        for name, value in examination.facts.items():
            print(f"{name:<{width}}  {_words(value)}")
        for note in examination.notes:
            print(f"note: {note}")
    if problems:
        raise UserError("; ".join(problems))


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "missing" if value is None else str(value)
