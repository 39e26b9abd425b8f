"""The files of a report, written from its records: page, table of all rows, numbers."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from framework.evaluation.formatting import interval, markdown_table, number, strict
from framework.evaluation.inversion.baselines import FROM_MEAN
from framework.evaluation.inversion.measures import HIGHER_IS_BETTER
from framework.evaluation.inversion.sheets import GRID_ROWS, write_sheets
from framework.evaluation.inversion.tables import COSTS, LATENTS, Tables
from framework.evaluation.report_folder import PICTURES, RESULTS, ReportFolder
from framework.files import write_text

PAGE, NUMBERS, PER_IMAGE = "report.md", "report.json", "per_image.csv"
_SETS = {"nearest": "counted", "picture": "counted", "embedded": "embedded", "synthetic": None}
Facts = Mapping[str, Any]

# ruff: noqa: E501 - a paragraph of the page is one line
_PROTOCOL = """\
| | |
|---|---|
| model | `{model[name]}`, {model[size]} px, weights `{model[sha256_of_weights]:.12}` |
| encoder | {encoder_text} |
| data | `{data[source]}`, {data[pictures]} pictures, fingerprint `{data[fingerprint]:.12}`, crop {data[crop]} |
| held out | {data[held_out][pictures]}: {data[held_out][rule]} |
| measured | {through} with all methods, {embedded} embedded, {data[order]} |
| values | {measures[values]}; {measures[size]} px |
| PSNR | {measures[psnr]} |
| MS-SSIM | {measures[ms_ssim][scales]} scales |
| perceptual distance | {near} |
| independent distance | {far} |
| stages | {lengths} |
| machine | {session[processor]}, {session[threads]} threads, {session[device]} |
| libraries | torch {session[torch]}, torchmetrics {session[torchmetrics]} |
| date | {session[date]} |

All of it is in `report.json`.

{listed}"""
_ENCODER = "{kind}, {:.2f} M parameters, weights `{sha256_of_weights:.12}`"
_RECONSTRUCTION = """\
## Reconstruction

{count} held-out photographs, every method on each. Mean with its 95 % interval (bootstrap over photographs). {lower}: lower is better; {higher}: higher is better.

{table}"""
_COSTS = """\


Wall time, computing time and steps: median over photographs, all stages together. Peak: the highest of any."""
_COMPARISONS = """\
### Photograph by photograph

On how many photographs a stage is better than the one before and than each baseline, and the mean difference with its 95 % interval: if that does not contain 0, the difference is no accident of the draw.

{table}

{improved}"""
_LATENTS = """\
## Where the latents lie

Distance from `w_avg` in standard deviations of w (root mean square over layers and coordinates); rank: the share of the model's own latents (`sampled`) that are nearer, 0.5 is typical; beyond usual: the share farther than {usual_deviations:.2f}, as one in a thousand of the model's own is; `nscd`: how far style vectors point away from the mean direction.

{table}"""
_EDITABILITY = """\
## Can it still be edited?

**Drag there and back**: {drag_points} points of the photograph ({points}) are dragged {drag_by_px:g} px {direction}. `moved` is the distance between the reconstruction and its picture after the drag (a drag that moves nothing returns easily), `returned to` the distance after the drag back, in the units of the table above; `missed` is how far the points are from their targets, `home` from where they had been, as tracked.

**Random edits**: {edits} directions in W, {edit_length:g} standard deviations long; `logit` is the discriminator's logit of the reconstruction, `logit shift` its change by an edit. Compare with `sampled`, the same for the model's own pictures.

{table}"""
_SYNTHETIC = """\
## Its own pictures, inverted

{count} pictures of known latents (not truncated); `latent_error` is the distance to those in standard deviations of w.

{table}"""
_SHEETS = {
    "grid.png": "The first {rows} photographs in the order they were drawn, none left out.",
    "worst.png": "**The worst**: all methods on the photographs whose final result is worst by `{ruler}`, a measure that no stage optimises. Worst first.",
    "worst_embedded.png": "The worst first guesses of all photographs that were embedded.",
    "edited.png": "Dragged and dragged back; arrows go from handles to targets.",
    "synthetic.png": "The generator's own pictures, inverted.",
}
_KEPT = f"Every picture is in `{PICTURES}/`, every number of every one in `{PER_IMAGE}`."


def write_pages(folder: ReportFolder, tables: Tables, protocol: Facts, channels: int) -> list[str]:
    """Write all pages for the records so far; return the files' names, the page first.

    Args:
        folder: Folder of the records and pictures.
        tables: The numbers of the records.
        protocol: Their protocol; JSON values, with "notes" and "sessions".
        channels: Channels of the pictures.
    """
    numbers = tables.to_dict()
    report = {"protocol": protocol, **numbers}
    write_text(folder.path / NUMBERS, json.dumps(strict(report), indent=2) + "\n")
    write_text(folder.path / PER_IMAGE, per_image(tables))
    sheets = write_sheets(folder, tables, channels)
    write_text(folder.path / PAGE, page(tables, numbers, protocol, sheets))
    return [PAGE, NUMBERS, PER_IMAGE, *sheets, RESULTS]


def per_image(tables: Tables) -> str:
    """CSV text with a row for each photograph and method."""
    names = ["set", "index", "picture", "method", *tables.columns, *LATENTS, *COSTS, "status"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for kind, name in _SETS.items():
        for index, record in tables.by_kind.get(kind, {}).items():
            about = {"set": name or kind, "index": index, "picture": record["picture"]}
            for row in record["rows"]:
                writer.writerow(about | {n: v for n, v in row.items() if v is not None})
    return text.getvalue()


def page(tables: Tables, numbers: Facts, protocol: Facts, sheets: Sequence[str]) -> str:
    """The report's page, in Markdown."""
    counts = numbers["counts"]
    first_guess, own = numbers["reconstruction_embedded"], numbers["synthetic"]
    parts = [
        f"# How well `{protocol['model']['name']}` inverts photographs",
        _protocol(protocol, counts),
        _RECONSTRUCTION.format(
            count=counts.get("picture", 0),
            lower=", ".join(f"`{n}`" for n in tables.columns if n not in HIGHER_IS_BETTER),
            higher=", ".join(f"`{n}`" for n in tables.columns if n in HIGHER_IS_BETTER),
            table=_summary(tables, numbers["reconstruction"]),
        ),
        _comparisons(tables, numbers["comparisons"]),
        first_guess
        and f"## The first guess alone\n\n{counts['embedded']} held-out photographs.\n\n"
        + _summary(tables, first_guess),
        _latents(tables, numbers["latents"], protocol),
        _editability(tables, numbers["editability"], protocol),
        own
        and _SYNTHETIC.format(
            count=counts["synthetic"], table=_summary(tables, own, ("latent_error",))
        ),
        _pictures(tables, sheets, counts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _protocol(protocol: Facts, counts: Mapping[str, int]) -> str:
    facts = _in_cells(protocol)
    encoder, data, measures = facts["encoder"], facts["data"], facts["measures"]
    stages = facts["stages"]
    return _PROTOCOL.format(
        **facts | {"data": {**data, "crop": data["crop"] or "none"}},
        encoder_text=_ENCODER.format(encoder["parameters"] / 1e6, **encoder) if encoder else "none",
        through=counts.get("picture", 0),
        embedded=counts.get("embedded", 0),
        near=_distance(facts["perceptual"], measures),
        far=_distance(facts["ruler"], measures),
        lengths=", ".join(f"{n} {_brief(stages[n])}" for n in stages["stages"]),
        session=facts["sessions"][-1],
        listed="\n".join(f"- {note}" for note in protocol["notes"]),
    )


def _in_cells(value: Any) -> Any:
    """Escape all texts for the cells of a table."""
    if isinstance(value, Mapping):
        return {name: _in_cells(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_cells(item) for item in value]
    return value.replace("|", "\\|") if isinstance(value, str) else value


def _distance(name: str, measures: Facts) -> str:
    facts = measures[name]
    digest = facts.get("sha256_of_weights")
    return f"`{name}`: {facts.get('network') or 'no network'}" + (
        f", weights `{digest[:12]}`" if digest else ""
    )


def _brief(settings: Facts | None) -> str:
    """A stage's length; the other settings are in the file of numbers."""
    settings = settings or {}
    lengths = [f"{settings[n]} {n}" for n in ("iterations", "steps") if n in settings]
    return f"({', '.join(lengths)})"


# ----------------------------------------------------------------------------------------- tables


def _by_method(
    tables: Tables, head: str, table: Facts, columns: Mapping[str, Callable[[Facts], str]]
) -> str:
    """A table with a row for each method: its name, then each column's text for its numbers."""
    rows = [
        [_method(tables, method), *(cell(line) for cell in columns.values())]
        for method, line in table.items()
    ]
    return markdown_table([head, *columns], rows)


def _method(tables: Tables, method: str) -> str:
    if method.startswith(FROM_MEAN):
        return f"search from `w_avg` in the time of {method.removeprefix(FROM_MEAN)}"
    return f"**{method}**" if method in tables.stages else f"`{method}`"


def _summary(tables: Tables, summary: Facts, extra: Sequence[str] = ()) -> str:
    columns = {n: _interval_of(n) for n in (*tables.columns, *extra)} | {
        "seconds": lambda line: number(line["seconds_median"]),
        "computing": lambda line: number(line["work_seconds_median"]),
        "steps": lambda line: number(line["steps_median"]),
        "peak MB": lambda line: number(line["peak_mb_max"], 4),
    }
    return _by_method(tables, "method", summary, columns) + _COSTS


def _comparisons(tables: Tables, lines: Sequence[Facts]) -> str:
    if not lines:
        return ""
    # Both errors and their logarithm are in the same order: one of them is enough here.
    names = [n for n in tables.columns if n not in ("mse_pm1", "psnr")]
    rows, improved = [], []
    for line in lines:
        method, against, count = line["method"], line["against"], line["of"]
        cells = [f"{line[n]['better']} of {count}: {interval(line[n])}" for n in names]
        rows.append([f"**{method}**", _method(tables, against), *cells])
        if against in tables.stages:
            better = ", ".join(f"{line[n]['better']} by `{n}`" for n in names)
            improved.append(f"Of {count} photographs {method} improved {better}.")
    table = markdown_table(["method", "against", *(f"{n} better on" for n in names)], rows)
    return _COMPARISONS.format(table=table, improved="\n".join(improved))


def _latents(tables: Tables, latents: Facts, protocol: Facts) -> str:
    columns: dict[str, Callable[[Facts], str]] = {
        "count": lambda line: str(line["count"]),
        "distance from `w_avg`": _interval_of("deviations"),
        "rank": lambda line: number(line.get("rank"), 2),
        "beyond usual": lambda line: f"{line['beyond_usual']:.1%}",
        "`nscd`": _interval_of("nscd"),
    }
    table = _by_method(tables, "latents", latents, columns)
    return _LATENTS.format(table=table, **protocol) if latents else ""


def _editability(tables: Tables, edited: Facts, protocol: Facts) -> str:
    if not edited:
        return ""
    candidates = ("mse01", protocol["perceptual"], protocol["ruler"])
    names = [n for n in candidates if n in tables.columns]
    columns: dict[str, Callable[[Facts], str]] = {
        "count": lambda line: (
            f"{line['count']}" + (f", {line['failed']} failed" if line["failed"] else "")
        )
    }
    for when, text in (("moved", "moved"), ("returned", "returned to")):
        columns |= {f"{text}, {n}": _interval_of(when, n) for n in names}
    columns |= {
        "missed px": _interval_of("missed_px"),
        "home px": _interval_of("home_px"),
        "logit": _interval_of("logit"),
        "logit shift": _interval_of("logit_shift"),
    }
    table = _by_method(tables, "latents", edited, columns)
    return _EDITABILITY.format(table=table, **protocol["editability"])


def _pictures(tables: Tables, sheets: Sequence[str], counts: Mapping[str, int]) -> str:
    rows = min(GRID_ROWS, counts.get("picture", 0))
    shown = [
        f"{text.format(rows=rows, ruler=tables.ruler)}\n\n![{name}]({name})"
        for name, text in _SHEETS.items()
        if name in sheets
    ]
    return "\n\n".join(["## Pictures", *shown, _KEPT]) if shown else ""


def _interval_of(*path: str) -> Callable[[Facts], str]:
    """A function that formats the mean and interval at a path in a line, empty if missing."""

    def cell(line: Facts) -> str:
        for name in path:
            line = line.get(name, {})
        return interval(line)

    return cell
