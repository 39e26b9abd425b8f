"""`edit.py layers`: what each layer of a model draws."""

from framework.cli.terminal import Terminal, listed
from framework.jobs.requests.control import LayersRequest


def layers(request: LayersRequest, terminal: Terminal, json: bool = False) -> None:
    """Measure what each layer of a model draws.

    Every layer, and every group of them (pose, shape, colour, detail, by resolution), is taken from
    another picture, and what changes is measured: outline, structure, colour, detail, and features
    of the model's discriminator. Writes OUT/layers.json, OUT/layers.md and OUT/layers.png.

    Examples::

      python edit.py layers --model toycars64 --out out/layers

    Args:
        json: End with one line of JSON: map, layers, groups, unrelated, pairs, files.
    """
    from framework.jobs.layers import layers, table

    outcome = layers(request, terminal)
    terminal.say(table(outcome.analysis).rstrip())
    terminal.say(listed(outcome.files))
    if json:
        terminal.json(outcome.to_dict())
