"""A report on a folder of pictures, before it is used."""

from collections import Counter
from pathlib import Path
from typing import Any

from framework.data.advice import class_remarks, next_commands, size_remarks
from framework.data.duplicates import MAX_COMPARED, NEAR_BITS, equal_groups, near_pairs
from framework.data.fit import size_pair
from framework.data.images import describe
from framework.data.labels import read_labels
from framework.data.scan import Progress, scan
from framework.data.sources import Source, open_source
from framework.errors import UserError
from framework.media.images import printable

MAX_LISTED = 20


def inspect(
    source: str | Path,
    follow_links: bool = False,
    size: int | tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Decode everything in a folder or zip and report; JSON types only.

    Args:
        source: Folder or zip of pictures.
        follow_links: Also use links that lead out of the folder.
        size: Side or [height,width] that is planned, for remarks on the pictures' sizes.
        progress: Called as `progress(done, total)`.

    Returns:
        Besides `describe`'s facts: `count` of usable pictures, `duplicate_groups` (equal pixels,
        names in order), `classes` (pictures of each), `remarks`, `next` (what to run next; comments
        and commands) and `near_pairs` ([name, name, differing bits of 128], see
        `difference_hash`; None above `MAX_COMPARED` pictures).
    """
    pair = None if size is None else size_pair(size)
    files = open_source(source, follow_links)
    result = scan(files, progress=progress, near=True)
    names = [printable(record.name) for record in result.records]
    # One picture of each content: equal ones are reported as such, not again as near duplicates.
    unique = result.distinct()
    near = None
    if len(unique) <= MAX_COMPARED:
        near = near_pairs([printable(r.name) for r in unique], [r.near_hash for r in unique])
    sizes = [record.size for record in result.records]
    classes, remarks = _classes(files, [record.name for record in result.records])
    if pair is not None:
        remarks += size_remarks(sizes, pair)
    return {
        "source": printable(str(source)),
        "count": len(result.records),
        **describe(result, files),
        "classes": classes,
        "remarks": remarks,
        "next": next_commands(str(source), sizes, len(classes), len(result.problems)),
        "duplicate_groups": equal_groups(names, [record.pixel_digest for record in result.records]),
        "near_pairs": None if near is None else [list(pair) for pair in near],
    }


def _classes(source: Source, names: list[str]) -> tuple[dict[str, int], list[str]]:
    """Return the number of pictures in each class, and remarks on the labels."""
    try:
        labels = read_labels(source, names, "auto") if names else None
    except UserError as error:
        # Pictures without folders have no labels, which needs no remark; a bad file of labels does.
        return {}, [str(error)] if source.label_file() is not None else []
    numbers = [label for label in labels.raw if isinstance(label, int)] if labels else []
    if labels is None or not numbers:  # or labels are vectors
        return {}, []
    counts = Counter(numbers)
    called = {n: labels.classes[n] if labels.classes else f"class {n}" for n in sorted(counts)}
    return {name: counts[n] for n, name in called.items()}, class_remarks(
        list(called.values()), len(called)
    )


def as_text(report: dict[str, Any]) -> str:
    """Format a report as text; long lists are cut, every unusable file is named."""
    unusable = report["unusable"]
    total = report["count"] + len(unusable)
    lines = [f"{report['source']}: {report['count']} of {total} pictures can be used"]
    for title in ("resolutions", "modes", "formats", "notes", "classes"):
        values = [f"{value} ({count})" for value, count in report[title].items()]
        lines.append(f"  {title:12}{', '.join(_cut(values)) or 'none'}")
    lines.append(f"  {'other files':12}{report['other_files']}, left aside")
    groups = [" = ".join(_cut(group)) for group in report["duplicate_groups"]]
    lines += _section(f"{report['duplicates']} duplicates (equal pixels)", groups)
    if report["near_pairs"] is None:
        lines.append(f"near duplicates: not searched above {MAX_COMPARED} pictures")
    else:
        pairs = [f"{a} ~ {b} ({bits} bits)" for a, b, bits in report["near_pairs"]]
        how = f"at most {NEAR_BITS} of 128 bits of a difference hash apart"
        lines += _section(f"{len(pairs)} pairs of near duplicates ({how})", pairs)
    lines.append(f"{len(unusable)} unusable{':' if unusable else ''}")
    lines += [f"  {item['name']}: {item['reason']}" for item in unusable]
    lines += [f"note: {remark}" for remark in report["remarks"]]
    if report["next"]:
        lines += ["next:", *(f"  {line}" for line in report["next"])]
    return "\n".join(lines)


def _section(title: str, items: list[str]) -> list[str]:
    return [f"{title}{':' if items else ''}", *(f"  {item}" for item in _cut(items))]


def _cut(items: list[str]) -> list[str]:
    rest = len(items) - MAX_LISTED
    return [*items[:MAX_LISTED], f"and {rest} more (--json lists all)"] if rest > 0 else items
