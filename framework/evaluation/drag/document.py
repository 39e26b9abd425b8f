"""The pages of the benchmark's report: what they say, and how that looks as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from framework.evaluation.drag.bench import kind_of, lines_of, methods_of
from framework.evaluation.drag.measures import NEAR_PX, NEARER_PX
from framework.evaluation.drag.numbers import KID
from framework.evaluation.drag.plots import dot_plot
from framework.evaluation.drag.protocol import Column, DragProtocol, Facts
from framework.evaluation.drag.registry import protocol
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.drag.strips import strips
from framework.evaluation.formatting import markdown_table, number
from framework.evaluation.intervals import paired
from framework.evaluation.report_folder import ReportFolder
from framework.files import whole_file, write_text

DIFFERING = {"px": "px", "identity": "identity", "outside": "outside"}
PAGE, PLOTS, STRIPS = "report.md", "plots", "strips"
_STRIP = (
    "best, median and worst task. Arrows go from handles to targets; rings are targets, dots where"
    " the drag says the points are, yellow crosses where the judge sees them."
)


@dataclass(frozen=True)
class Heading:
    """A heading; 1 is the page's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of Markdown with `code` and *emphasis* at most."""

    text: str


@dataclass(frozen=True)
class Listing:
    """A list of such texts."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of such texts."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """A plot: the name of its file, and SVG."""

    file: str
    svg: str


@dataclass(frozen=True)
class Strip:
    """A sheet of pictures: the name of its file, a caption, and JPEG."""

    file: str
    caption: str
    data: bytes


Block = Heading | Paragraph | Listing | Table | Plot | Strip


def blocks(folder: ReportFolder, numbers: Facts) -> Iterator[Block]:
    """The report, top to bottom."""
    model = numbers["identity"]["model"]
    yield Heading(f"Drags of `{model['name']}`", 1)
    yield _protocol(numbers)
    if numbers["skipped"]:
        yield Listing([f"`{n}` is skipped: {why}" for n, why in numbers["skipped"].items()])
    for name, facts in numbers["protocols"].items():
        yield from _of_protocol(folder, protocol(name), facts, numbers["skipped"])


def write_page(folder: ReportFolder, page: Sequence[Block]) -> list[str]:
    """Write the page as Markdown, with its plots and strips beside it; return the files' names."""
    for block in page:
        if isinstance(block, Plot | Strip):
            path = folder.path / block.file
            path.parent.mkdir(exist_ok=True)
            with whole_file(path) as temporary:
                content = block.svg.encode() if isinstance(block, Plot) else block.data
                temporary.write_bytes(content)
    write_text(folder.path / PAGE, markdown(page))
    return [PAGE, f"{PLOTS}/", f"{STRIPS}/"]


def markdown(page: Sequence[Block]) -> str:
    """The page as Markdown."""
    return "\n\n".join(_markdown(block) for block in page) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Listing(texts):
            return "\n".join(f"- {text}" for text in texts)
        case Table(heads, rows):
            return markdown_table(heads, [[c.replace("|", "\\|") for c in row] for row in rows])
        case Plot(file, _):
            return f"![]({file})"
        case Strip(file, caption, _):
            return f"{caption}\n\n![]({file})"


def _protocol(numbers: Facts) -> Table:
    facts, session = numbers["identity"], numbers["sessions"][-1]
    model = facts["model"]
    rows = {
        "model": f"`{model['name']}`, {model['size']} px, weights"
        f" `{model['sha256_of_weights'][:12]}`"
        + ("" if model["discriminator"] else ", without a discriminator"),
        **{f"beside it, {i + 1}": f"`{name}`, weights `{digest[:12]}`"
           for i, (name, digest) in enumerate(numbers["models"].items())},
        "pictures": f"truncation {facts['psi']:g}, seeds from {facts['first_seed']}",
        "sources": f"`{facts['sha256_of_sources'][:12]}`, of drags and measures",
        "machine": f"{session['processor']}, {session['cores']} cores,"
        f" {session['processes']} at once, of one thread each",
        "libraries": f"torch {session['torch']}, Python {session['python']}",
        "dates": ", ".join(dict.fromkeys(s["date"][:10] for s in numbers["sessions"])),
        "runs": "each task once",
    }  # fmt: skip
    return Table(["", ""], [list(row) for row in rows.items()])


def _of_protocol(
    folder: ReportFolder, of: DragProtocol, facts: Facts, skipped: Mapping[str, str]
) -> Iterator[Block]:
    specs = methods_of(folder)
    yield Heading(f"`{of.name}`")
    yield Paragraph(of.about)
    if judge := facts["facts"].get("judge"):
        errors = judge["held_out_error_px"]
        listed = ", ".join(f"{part.replace('_', ' ')} {px:.2f}" for part, px in errors.items())
        yield Paragraph(f"The judge's own error on drawings it never saw, in pixels: {listed}.")
    parts = list(dict.fromkeys(column.part for column in of.columns))
    yield Listing([f"*{column.title}*: {column.about}" for column in of.columns if column.about])
    for group, table in facts["groups"].items():
        if not table["rows"]:  # such as photographs, where none were given
            continue
        yield Heading(f"{group[0].upper()}{group[1:]}", 3)
        yield Paragraph(f"{table['tasks']} tasks, each once; means with their 95 % intervals.")
        for part in parts:
            columns = [column for column in of.columns if column.part == part]
            yield _table(columns, table["rows"], skipped, kid=of.pair and part == parts[0])
        if bases := getattr(of, "bases", None):  # of protocols whose rows leave parts out
            yield from _differences(bases(specs), lines_of(folder, of.name, group, specs))
        yield from _plots(folder, of, group, specs)
        for row, data in strips(folder, of, group, specs).items():
            file = f"{STRIPS}/{_file_name(of.name, group, row)}.jpg"
            yield Strip(file, f"`{row}`: {_STRIP}", data)


def _differences(
    bases: Mapping[str, str], lines: Mapping[str, Mapping[int, Facts]]
) -> Iterator[Block]:
    """What leaving a part out changes, task by task: intervals of differences are far narrower."""
    rows = []
    for row, base in bases.items():
        both = sorted(set(lines.get(row, ())) & set(lines.get(base, ())))
        if both:
            cells = [_difference(lines[row], lines[base], both, fact) for fact in DIFFERING]
            rows.append([f"`{row}`", *cells])
    if rows:
        yield Paragraph(
            "The same tasks as usual and so: mean differences, the row less the method as it is,"
            " with 95 % intervals. Above 0 it is farther from its target, or has changed more."
        )
        yield Table(["", *DIFFERING.values()], rows)


def _difference(
    row: Mapping[int, Facts], base: Mapping[int, Facts], both: Sequence[int], fact: str
) -> str:
    found = paired([row[i][fact] for i in both], [base[i][fact] for i in both])
    return f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


def _plots(
    folder: ReportFolder, of: DragProtocol, group: str, specs: Sequence[MethodSpec]
) -> Iterator[Plot]:
    lines = lines_of(folder, of.name, group, specs)
    for fact, title in of.plots.items():
        values = {
            line: [facts[fact] for facts in by_index.values() if facts.get(fact) is not None]
            for line, by_index in lines.items()
        }
        marks = (NEARER_PX, NEAR_PX) if fact == "px" else ()
        shown = {line: row for line, row in values.items() if row}
        if shown:
            yield Plot(f"{PLOTS}/{_file_name(of.name, group, fact)}.svg",
                       dot_plot(title, shown, marks))  # fmt: skip


def _file_name(*names: str) -> str:
    return kind_of(*names).strip("/").replace("/", "_")


def _table(
    columns: Sequence[Column], rows: Facts, skipped: Mapping[str, str], kid: object
) -> Table:
    heads = ["", *(column.title for column in columns), *(["KID"] if kid else [])]
    lines = []
    for name, numbers in rows.items():
        cells = [column.text(numbers[column.name]) for column in columns]
        lines.append([f"`{name}`", *cells, *([_kid(numbers[KID])] if kid else [])])
    for name, why in skipped.items():
        lines.append([f"`{name}`", f"skipped: {why}", *[""] * (len(heads) - 2)])
    return Table(heads, lines)


def _kid(numbers: Facts | None) -> str:
    return f"{number(numbers['value'])} ± {number(numbers['ci95'])}" if numbers else ""
