"""The card of a published model: what it is, and its quality by which protocol."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.evaluation.generator.features import SUFFIXES
from framework.evaluation.generator.measure import Report

# ruff: noqa: E501 - a table's row is one line
CARD = """# {name}

{title}

![Uncurated samples](samples.png)

Seeds 0 to {last_seed} in order, none left out; upper half without truncation, lower half the same
seeds with `truncation_psi` 0.7.

| | |
|---|---|
| pictures | {size} px, {channels} channels |
| networks | generator {g_params:.2f} M, discriminator {d_params:.2f} M parameters, in half precision |
| data | {data} |
| licence of the data | {licence} |
| images seen | {kimg:.0f} thousand |
| time | {hours:.1f} h of training{machine} |
| `swd_mean` as it went | {curve} |

## What it is worth

{measures}

{protocol}
Two halves of the real pictures, {half} each, have `swd_mean` {swd_real:.2f}. Numbers that end in
`_lite` or `_d` are not FID or KID and compare only if the features are of the same network. `metrics.json`
has every number with its protocol in full.

## How it was made

    {command}
    python -m framework.evaluation publish --run {run} --out {out}

`config.json` holds the settings.

## Near the training pictures

![Generated pictures and their nearest training pictures](nearest.png)

A generated picture (seeds 0 to {last_neighbour}, `truncation_psi` 1), then its {neighbours} nearest
training pictures (root mean square difference at 32 px), four such groups in a row. Median distance to
the nearest: generated {near_fake:.3f}, training pictures to each other {near_real:.3f}.
{notes}"""

ENCODER_TITLE = "## Encoder"
ENCODER = """{title}

`encoder.safetensors` encodes photographs as this generator's styles: {millions:.2f} M parameters,
in half precision, {kimg:g} thousand images of training.

    {command}

{notes}{reconstruction}

How this was measured, how editable the results are, and the worst cases:
[inversion/report.md](inversion/report.md).

![Photographs, the three stages and the baselines](inversion/grid.jpg)
"""

EDITOR_TITLE = "## Latent transformer"
EDITOR = """{title}

`editor.safetensors` predicts the change of this generator's latents that moves points
(`edit.py drag --preset latent-transformer`): {millions:.2f} M parameters, in half precision,
{kimg:g} thousand paths of training.

    {command}
{notes}"""

# The numbers on a card, in this order: name, format, and which direction is better; each
# with the suffixes by which numbers of other feature networks are told apart.
_MEASURES = (
    ("fid", ".2f", "lower"),
    ("kid", ".4f", "lower"),
    ("precision", ".2f", "higher"),
    ("recall", ".2f", "higher"),
    ("ppl", ".3g", "lower"),
    ("swd_mean", ".2f", "lower"),
)  # fmt: skip


@dataclass(frozen=True)
class CardTexts:
    """Texts of a card that only the person who trained the model can write.

    Args:
        title: First sentence; if empty, one that names the data.
        data: What the training pictures are.
        licence: Their licence and source.
        machine: What the model was trained on.
        command: The exact training command.
        notes: Further paragraphs.
    """

    title: str = ""
    data: str = ""
    licence: str = ""
    machine: str = ""
    command: str = ""
    notes: str = ""


def measures_table(reports: dict[str, Report]) -> str:
    """A Markdown table with a row for each number and a column for each model.

    Args:
        reports: Reports by the models' names, measured with the same networks and settings.
    """
    flat = {
        name: {n: v for kind in report.numbers.values() for n, v in kind.items()}
        for name, report in reports.items()
    }
    lines = [
        f"| | {' | '.join(map(_cell, reports))} | better |",
        f"|---|{'---|' * (len(reports) + 1)}",
    ]
    for name, form, better, suffix in ((*m, s) for m in _MEASURES for s in SUFFIXES.values()):
        number = f"{name}{suffix}"
        if all(number in numbers for numbers in flat.values()):
            values = [_written(numbers, number, form) for numbers in flat.values()]
            lines.append(f"| `{number}` | {' | '.join(values)} | {better} |")
    return "\n".join(lines)


def _cell(name: str) -> str:
    return name.replace("|", "\\|")


def _written(numbers: dict[str, float], number: str, form: str) -> str:
    """A formatted number, with its interval if it has one."""
    interval = numbers.get(f"{number}_ci95")
    return f"{numbers[number]:{form}}" + (f" ± {interval:{form}}" if interval is not None else "")


def protocol_text(reports: dict[str, Report]) -> str:
    """Sentences on how the numbers of `measures_table` were measured."""
    protocol = next(iter(reports.values())).protocol
    common = next(about for kind, about in protocol.items() if kind.startswith("pr"))
    drawn, swd = common["generator"], protocol["swd"]
    text = (
        f"{common['fakes']:,} generated pictures (`truncation_psi` {drawn['truncation_psi']:g}, "
        f"noise {drawn['noise']}) against {common['reals']:,} real ones, seed {common['seed']}; "
        f"`swd_mean` of {swd['fakes']:,} each, mean over levels of a pyramid, x 10^3. "
        f"Features: {_network(common['features'])}.\n"
    )
    for kind in ("ppl", "ppl_d"):
        if kind in protocol:
            about = protocol[kind]
            text += f"`{kind}`: {about['paths']:,} paths, {_network(about['distance'])}.\n"
    for name, report in reports.items():
        notes = {
            about["note"]
            for kind, about in report.protocol.items()
            if kind.endswith("_d") and "note" in about
        }
        text += "".join(f"**{name}**: {note}.\n" for note in sorted(notes))
    return text


def _network(facts: dict[str, Any]) -> str:
    """Text that names a network by kind, model and digest."""
    model = f" of {Path(facts['model']).name}" if "model" in facts else ""
    return f"{facts['network']}{model} (weights {facts['sha256_of_weights'][:16]})"
