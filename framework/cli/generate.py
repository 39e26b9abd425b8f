"""`edit.py generate`: pictures from seeds."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.pictures import GenerateRequest


def generate(request: GenerateRequest, terminal: Terminal, json: bool = False) -> None:
    """Draw pictures from seeds.

    Writes OUT/seed0007.png for every seed, and OUT/grid.png of all of them if asked.

    Examples::

      python edit.py generate --model toycars64 --seeds 1-16 --grid --out out/cars
      python edit.py generate --model runs/00003-cars/model --seeds 1,2,5-10 --psi 1 --out out/ten

    Args:
        json: End with one line of JSON for scripts.
    """
    from framework.jobs.generate import generate

    outcome = generate(request)
    sheet = ", all on grid.png" if request.grid else ""
    terminal.say(f"{len(outcome.seeds)} pictures in {request.out}{sheet}")
    if json:
        terminal.json(outcome.to_dict())
