"""The files of a report, made of its records: the page, the table of all rows, the numbers."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from framework.evaluation.inversion.baselines import FROM_MEAN
from framework.evaluation.inversion.log import PICTURES, RESULTS, ReportFolder
from framework.evaluation.inversion.measures import HIGHER_IS_BETTER
from framework.evaluation.inversion.sheets import GRID_ROWS, write_sheets
from framework.evaluation.inversion.tables import COSTS, LATENTS, Tables, strict
from framework.files import write_text

PAGE, NUMBERS, PER_IMAGE = "report.md", "report.json", "per_image.csv"
_SETS = {"nearest": "counted", "picture": "counted", "embedded": "embedded", "synthetic": None}
_SHEETS = {
    "grid.png": "The first {rows} photographs in the order they were drawn, none left out.",
    "worst.png": "**The worst**: all methods on the photographs whose final result is worst by "
    "`{ruler}`, a measure that no stage descends on. Worst first.",
    "worst_embedded.png": "The worst first guesses of all photographs that were embedded.",
    "edited.png": "Dragged and dragged back; arrows show what was asked.",
    "synthetic.png": "Pictures of the generator's own, inverted.",
}


def write_pages(
    folder: ReportFolder, tables: Tables, protocol: Mapping[str, Any], channels: int
) -> list[str]:
    """Write everything that can be said with the records so far.

    Args:
        folder: Has the records and pictures.
        tables: Their numbers.
        protocol: How they were made; JSON values, with "notes" and "sessions".
        channels: Of the pictures.

    Returns:
        Names of the files, the page first.
    """
    numbers = tables.to_dict()
    report = {"protocol": protocol, **numbers}
    write_text(folder.path / NUMBERS, json.dumps(strict(report), indent=2) + "\n")
    write_text(folder.path / PER_IMAGE, per_image(tables))
    sheets = write_sheets(folder, tables, channels)
    write_text(folder.path / PAGE, page(tables, numbers, protocol, sheets))
    return [PAGE, NUMBERS, PER_IMAGE, *sheets, RESULTS]


def per_image(tables: Tables) -> str:
    """One row for each photograph and method."""
    names = ["set", "index", "picture", "method", *tables.columns, *LATENTS, *COSTS, "status"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for kind, name in _SETS.items():
        for index, record in sorted(tables.by_kind.get(kind, {}).items()):
            about = {"set": name or kind, "index": index, "picture": record["picture"]}
            for row in record["rows"]:
                writer.writerow(about | {n: v for n, v in row.items() if v is not None})
    return text.getvalue()


# ----------------------------------------------------------------------------------------- a page


def page(
    tables: Tables, numbers: Mapping[str, Any], protocol: Mapping[str, Any], sheets: Sequence[str]
) -> str:
    """The report to read, in Markdown."""
    counts = numbers["counts"]
    parts = [
        f"# How well `{protocol['model']['name']}` inverts photographs",
        _protocol(protocol, counts),
        "## Reconstruction\n\n"
        f"{counts.get('picture', 0)} held-out photographs, every method on each. Mean with its "
        "95 % interval (bootstrap over photographs). "
        + ", ".join(f"`{n}`" for n in tables.columns if n not in HIGHER_IS_BETTER)
        + ": lower is better; "
        + ", ".join(f"`{n}`" for n in tables.columns if n in HIGHER_IS_BETTER)
        + ": higher is better.\n\n"
        + _summary(tables, numbers["reconstruction"]),
        _comparisons(tables, numbers["comparisons"]),
    ]
    if numbers["reconstruction_embedded"]:
        parts.append(
            f"## The first guess alone\n\n{counts['embedded']} held-out photographs.\n\n"
            + _summary(tables, numbers["reconstruction_embedded"])
        )
    parts += [
        _latents(tables, numbers["latents"], protocol),
        _editability(tables, numbers["editability"], protocol),
        _synthetic(tables, numbers["synthetic"], counts),
        _pictures(tables, sheets, counts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _protocol(protocol: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    model, data, session = protocol["model"], protocol["data"], protocol["sessions"][-1]
    encoder, stages, measures = protocol["encoder"], protocol["stages"], protocol["measures"]
    held_out = data["held_out"]
    facts = {
        "model": f"`{model['name']}`, {model['size']} px, weights {_short(model)}",
        "encoder": f"{encoder['kind']}, {encoder['parameters'] / 1e6:.2f} M parameters, weights "
        f"{_short(encoder)}"
        if encoder
        else "none",
        "data": f"`{data['source']}`, {data['pictures']} pictures, fingerprint "
        f"`{data['fingerprint'][:12]}`, crop {data['crop'] or 'none'}",
        "held out": f"{held_out['pictures']}: {held_out['rule']}",
        "looked at": f"{counts.get('picture', 0)} through everything, "
        f"{counts.get('embedded', 0)} embedded, {data['order']}",
        "values": f"{measures['values']}; {measures['size']} px",
        "PSNR": measures["psnr"],
        "MS-SSIM": f"{measures['ms_ssim']['scales']} scales",
        "perceptual distance": _distance(protocol["perceptual"], measures),
        "independent distance": _distance(protocol["ruler"], measures),
        "stages": ", ".join(f"{n} {_brief(stages[n])}" for n in stages["stages"]),
        "machine": f"{session['processor']}, {session['threads']} threads, {session['device']}",
        "libraries": ", ".join(f"{n} {session[n]}" for n in ("torch", "torchmetrics")),
        "date": session["date"],
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {_cell(f)} |" for name, f in facts.items())]
    notes = [f"- {note}" for note in protocol["notes"]]
    whole = f"All of it is in `{NUMBERS}`."
    return "\n".join([*lines, "", whole, "", *notes])


def _distance(name: str, measures: Mapping[str, Any]) -> str:
    told = measures[name]
    of = told.get("sha256_of_weights")
    network = told.get("network") or "no network"
    return f"`{name}`: {network}" + (f", weights `{of[:12]}`" if of else "")


def _short(facts: Mapping[str, Any]) -> str:
    return f"`{facts['sha256_of_weights'][:12]}`"


def _brief(settings: Mapping[str, Any] | None) -> str:
    """A stage's length; the rest stands in the file of numbers."""
    settings = settings or {}
    told = [f"{settings[n]} {n}" for n in ("iterations", "steps") if n in settings]
    return f"({', '.join(told)})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _summary(tables: Tables, summary: Mapping[str, Any], extra: Sequence[str] = ()) -> str:
    names = [*tables.columns, *extra]
    heads = ["method", *names, "seconds", "computing", "steps", "peak MB"]
    lines = []
    for method, told in summary.items():
        cells = [_interval(told[n]) for n in names]
        cells += [_number(told[f"{n}_median"]) for n in ("seconds", "work_seconds", "steps")]
        cells.append(_number(told["peak_mb_max"], 4))
        lines.append([_method(tables, method), *cells])
    return (
        _table(heads, lines)
        + "\n\nWall time, time of computing and steps: median of a photograph's whole way. Peak: "
        "the most of any."
    )


def _method(tables: Tables, method: str) -> str:
    if method.startswith(FROM_MEAN):
        return f"search from `w_avg` in the time of {method.removeprefix(FROM_MEAN)}"
    return f"**{method}**" if method in tables.stages else f"`{method}`"


def _comparisons(tables: Tables, lines: Sequence[Mapping[str, Any]]) -> str:
    if not lines:
        return ""
    # The two errors and their logarithm are in the same order: one of them is enough here.
    names = [n for n in tables.columns if n not in ("mse_pm1", "psnr")]
    heads = ["method", "against", *(f"{n} better on" for n in names)]
    rows = [
        [
            f"**{line['method']}**",
            _method(tables, line["against"]),
            *(f"{line[n]['better']} of {line['of']}: {_interval(line[n])}" for n in names),
        ]
        for line in lines
    ]
    return (
        "### Photograph by photograph\n\nOn how many a stage is better than the one before and "
        "than each baseline, and the mean difference with its 95 % interval: one that does not "
        "hold 0 is no accident of the draw.\n\n"
        + _table(heads, rows)
        + "\n\n"
        + _improved(tables, lines, names)
    )


def _improved(tables: Tables, lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """A line for each step from one stage to the next."""
    told = []
    for line in lines:
        if line["against"] in tables.stages:
            better = ", ".join(f"{line[n]['better']} by `{n}`" for n in names)
            told.append(f"Of {line['of']} photographs {line['method']} improved {better}.")
    return "\n".join(told)


def _latents(tables: Tables, latents: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    if not latents:
        return ""
    rows = [
        [
            _method(tables, method),
            str(told["count"]),
            _interval(told["deviations"]),
            _number(told.get("rank", math.nan), 2),
            f"{told['beyond_usual']:.1%}",
            _interval(told["nscd"]),
        ]
        for method, told in latents.items()
    ]
    heads = ["latents", "count", "distance from `w_avg`", "rank", "beyond usual", "`nscd`"]
    return (
        "## Where the latents lie\n\nDistance from `w_avg` in standard deviations of w (root mean "
        "square over layers and coordinates); rank: the share of the model's own latents "
        "(`sampled`) that lie nearer, 0.5 is typical; beyond usual: the share farther than "
        f"{protocol['usual_deviations']:.2f}, which one in a thousand of its own is; `nscd`: how "
        "far style vectors point away from the mean direction.\n\n" + _table(heads, rows)
    )


def _editability(tables: Tables, table: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    if not table:
        return ""
    near, ruler = protocol["perceptual"], protocol["ruler"]
    names = [n for n in ("mse01", near, ruler) if n in tables.columns]
    heads = ["latents", "count", *(f"moved, {n}" for n in names)]
    heads += [f"returned to, {n}" for n in names] + ["missed px", "home px", "logit", "logit shift"]
    rows = []
    for method, told in table.items():
        cells = [_interval(told[when][n]) for when in ("moved", "returned") for n in names]
        cells += [_interval(told[n]) for n in ("missed_px", "home_px")]
        cells += [_interval(told[n]) if n in told else "" for n in ("logit", "logit_shift")]
        count = f"{told['count']}" + (f", {told['failed']} failed" if told["failed"] else "")
        rows.append([_method(tables, method), count, *cells])
    how = protocol["editability"]
    return (
        "## Can it still be edited?\n\n"
        f"**Drag there and back**: {how['drag_points']} points of the photograph "
        f"({how['points']}) are dragged "
        f"{how['drag_by_px']:g} px {how['direction']}. `moved` is the distance between the "
        "reconstruction and its picture after the drag (a drag that moves nothing returns easily), "
        "`returned to` the distance after the drag back, in the units of the table above; `missed` "
        "how far the points are from their targets, `home` from where they had been, as "
        "tracked.\n\n"
        f"**Random edits**: {how['edits']} directions in W, {how['edit_length']:g} standard "
        "deviations long; `logit` is the discriminator's of the reconstruction, `logit shift` what "
        "an edit changes. Compare with `sampled`, the same done to the model's own pictures.\n\n"
        + _table(heads, rows)
    )


def _synthetic(tables: Tables, synthetic: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    if not synthetic:
        return ""
    return (
        f"## Its own pictures, inverted\n\n{counts['synthetic']} pictures of latents that are "
        "known (not truncated); `latent_error` is the distance to them in standard deviations of "
        "w.\n\n" + _summary(tables, synthetic, ("latent_error",))
    )


def _pictures(tables: Tables, sheets: Sequence[str], counts: Mapping[str, int]) -> str:
    rows = min(GRID_ROWS, counts.get("picture", 0))
    told = [
        f"{text.format(rows=rows, ruler=tables.ruler)}\n\n![{name}]({name})"
        for name, text in _SHEETS.items()
        if name in sheets
    ]
    kept = f"Every picture is in `{PICTURES}/`, every number of every one in `{PER_IMAGE}`."
    return "## Pictures\n\n" + "\n\n".join([*told, kept]) if told else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _interval(told: Mapping[str, Any]) -> str:
    mean, low, high = (_number(told[n]) for n in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})" if low else mean


def _number(value: float | None, digits: int = 3) -> str:
    """A number to so many digits that count; nothing for none."""
    if value is None or math.isnan(value):
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 6)}f}"
