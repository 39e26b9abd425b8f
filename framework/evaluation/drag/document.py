"""The pages of the benchmark's report: what they say, and how that looks as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from framework.evaluation.drag.numbers import KID
from framework.evaluation.drag.protocol import Column, DragProtocol, Facts
from framework.evaluation.drag.registry import protocol
from framework.evaluation.formatting import markdown_table, number


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


Block = Heading | Paragraph | Listing | Table


def blocks(numbers: Facts) -> Iterator[Block]:
    """The report, top to bottom."""
    model = numbers["identity"]["model"]
    yield Heading(f"Drags of `{model['name']}`", 1)
    yield _protocol(numbers)
    if numbers["skipped"]:
        yield Listing([f"`{n}` is skipped: {why}" for n, why in numbers["skipped"].items()])
    for name, facts in numbers["protocols"].items():
        yield from _of_protocol(protocol(name), facts, numbers["skipped"])


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


def _protocol(numbers: Facts) -> Table:
    facts, session = numbers["identity"], numbers["sessions"][-1]
    model = facts["model"]
    rows = {
        "model": f"`{model['name']}`, {model['size']} px, weights"
        f" `{model['sha256_of_weights'][:12]}`"
        + ("" if model["discriminator"] else ", without a discriminator"),
        "pictures": f"truncation {facts['psi']:g}, seeds from {facts['first_seed']}",
        "drag sources": f"`{facts['sha256_of_drag_sources'][:12]}`",
        "machine": f"{session['processor']}, {session['cores']} cores,"
        f" {session['processes']} processes of {session['threads']} thread",
        "libraries": f"torch {session['torch']}, Python {session['python']}",
        "dates": ", ".join(dict.fromkeys(s["date"][:10] for s in numbers["sessions"])),
        "runs": f"one of each task; {len(numbers['sessions'])} sessions",
    }
    return Table(["", ""], [list(row) for row in rows.items()])


def _of_protocol(of: DragProtocol, facts: Facts, skipped: Mapping[str, str]) -> Iterator[Block]:
    yield Heading(f"`{of.name}`")
    yield Paragraph(of.about)
    if judge := facts["facts"].get("judge"):
        errors = judge["held_out_error_px"]
        listed = ", ".join(f"{part.replace('_', ' ')} {px:.2f}" for part, px in errors.items())
        yield Paragraph(f"The judge's own error on drawings it never saw, in pixels: {listed}.")
    parts = list(dict.fromkeys(column.part for column in of.columns))
    yield Listing([f"*{column.title}*: {column.about}" for column in of.columns if column.about])
    for group, table in facts["groups"].items():
        yield Heading(f"{group[0].upper()}{group[1:]}", 3)
        yield Paragraph(f"{table['tasks']} tasks, each once; means with their 95 % intervals.")
        for part in parts:
            columns = [column for column in of.columns if column.part == part]
            yield _table(columns, table["rows"], skipped, kid=of.pair and part == parts[0])


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
