"""Captions of photographs from what is known without a person: their class, and their colours.

They lie as those of Multi-Modal CelebA-HQ do (Xia et al. 2021): NAME.txt for each picture, a
caption a line, each naming other traits, so that a text encoder learns what a text leaves open.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from framework.data.colours import PLAIN, Seen, seen
from framework.data.fit import Crop
from framework.data.images import ImageDataset, open_dataset, pictures
from framework.data.labels import LabelSource
from framework.data.scan import OnBad, Progress
from framework.data.toycars_lots import Lots
from framework.errors import UserError
from framework.files import check_new_folder, new_folder, write_text
from framework.media.images import printable
from framework.settings import whole

ATTRIBUTES = "attributes.csv"
FEWEST = 20  # pictures, of which a probe of an attribute can be fitted
_MOST_CAPTIONS = 100
_SIZE_PX = 64  # side to which pictures are reduced before their colours are read
_NAMED = {"kind": 0.75, "colour": 0.8, "shade": 0.6, "background": 0.35}  # chances
_TRIES = 8  # to say something new
_OTHER_WORDS = {"grey": ("grey", "gray"), "dark": ("dark", "deep"), "pale": ("pale", "light")}
_FRONT = ("", "", "a photo of ", "a picture of ")
_WITH_KIND = ("{colour} {kind}", "{colour} {kind}", "{kind} in {colour}", "{kind} painted {colour}")
_BEHIND = (
    "on {a} background", "before {a} background", "with {a} background", "on {colour} ground",
)  # fmt: skip


class Traits(NamedTuple):
    """What may be named of a picture, in words; "" where there is nothing to name.

    Attributes:
        kind: Its class.
        colour: Colour of what it shows.
        shade: "dark", "pale" or "", of that colour.
        background: Colour of the background with its shade, "pale grey".
    """

    kind: str
    colour: str
    shade: str
    background: str


def captions(
    source: str | Path,
    out: str | Path,
    labels: LabelSource = "auto",
    noun: str | None = None,
    count: int = 5,
    seed: int = 0,
    crop: Crop = "center",
    on_bad: OnBad = "error",
    follow_links: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write captions of a folder or zip of photographs, and a table of what they show.

    `OUT/NAME.txt` has the captions of the picture NAME.jpg, a line each, the last of which names
    everything. `OUT/attributes.csv` has a row for each picture: name, a yes and no for each class,
    colour, shade, background, background_shade, lightness; it leaves out what is the same in all
    pictures.

    Args:
        source: Folder or zip of pictures.
        out: A new folder.
        labels: Where the classes are read: from top-level folders, from dataset.json (file), from
            either (auto), or nowhere (none).
        noun: What every picture shows, in place of classes, such as car.
        count: Captions of a picture.
        seed: Seed of what captions name and how; others for the same picture with another seed.
        crop: As in training; the part of a picture that is cut off is not described.
        on_bad: Stop at files that cannot be used, or leave them out.
        follow_links: Also use links that lead out of the folder.
        progress: Called as `progress(done, total)`, first for the scan, then for the pictures.

    Returns:
        The data set's facts, as `ImageDataset.facts`, `remarks`, and how often each word occurs,
        by trait.

    Raises:
        UserError: If `out` holds something, if there are no classes and no `noun`, fewer than 20
            pictures or two of one name, or if `open_dataset` refuses.
    """
    whole(count, "count", 1, _MOST_CAPTIONS)
    whole(seed, "seed")
    check_new_folder(out)
    if noun is not None:
        labels = "none"
    dataset = _opened(source, labels, noun, crop, on_bad, follow_links, progress)
    kinds = [noun or _kind_of(dataset, index) for index in range(len(dataset))]
    names = _names(dataset)
    views = [seen(picture.transpose(1, 2, 0)) for _, picture in pictures(dataset, progress)]
    traits = [_traits(kind, view) for kind, view in zip(kinds, views, strict=True)]
    remarks = []
    if len({each.background for each in traits}) == 1:
        remarks.append(f"all backgrounds are {traits[0].background}: captions do not name them")
        traits = [each._replace(background="") for each in traits]
    texts = {
        name: sentences(each, name, count, seed) for name, each in zip(names, traits, strict=True)
    }
    try:
        folder = new_folder(out)
        for name, lines in texts.items():
            (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        write_text(folder / ATTRIBUTES, _table(names, kinds, views))
    except OSError as error:
        where = error.filename or out
        raise UserError(f"{where}: cannot be written ({error.strerror or error})", "out") from None
    words = {field: _counts([getattr(each, field) for each in traits]) for field in Traits._fields}
    return {**dataset.facts(), "remarks": remarks, "words": words}


def sentences(traits: Traits, name: str, count: int, seed: int) -> list[str]:
    """Return the captions of a picture, the same on every machine; the last names everything.

    Args:
        traits: What may be named.
        name: The picture's name; with the seed it decides what is drawn, whatever else is there.
        count: How many, 1 or more. Where there is little to say, some are equal.
        seed: The seed.
    """
    lots, texts = Lots(seed, 0, f"captions/{name}"), []
    for _ in range(count - 1):
        text = ""
        for _ in range(_TRIES):
            text = _sentence(_some(traits, lots), lots.one_of)
            if text not in texts:
                break
        texts.append(text)
    return [*texts, _sentence(traits, lambda options: options[0])]


def _opened(
    source: str | Path, labels: LabelSource, noun: str | None, crop: Crop, on_bad: OnBad,
    follow_links: bool, progress: Progress | None,
) -> ImageDataset:  # fmt: skip
    """Open the pictures, and refuse what cannot be described."""
    if noun is not None and not any(letter.isalnum() for letter in noun):
        raise UserError(f"{noun!r}: give a word such as car", "noun")
    if labels == "none" and noun is None:
        raise UserError("none: then say what every picture shows, noun=car", "labels")
    dataset = open_dataset(
        source, _SIZE_PX, 3, labels != "none", on_bad, crop, "box", labels, False, follow_links,
        progress,
    )  # fmt: skip
    where = printable(str(source))
    if noun is None and not dataset.classes:
        raise UserError(
            f"{where}: no classes with names; sort the pictures into sub-folders, or say what every"
            " one shows, noun=car"
        )
    if len(dataset) < FEWEST:
        raise UserError(f"{where}: {len(dataset)} pictures are too few; give {FEWEST} or more")
    return dataset


def _kind_of(dataset: ImageDataset, index: int) -> str:
    """The class of a picture in words: "sports_car" is "sports car"."""
    number = dataset.raw_label(index)
    assert isinstance(number, int)
    return " ".join(dataset.classes[number].replace("_", " ").split())


def _names(dataset: ImageDataset) -> list[str]:
    """Names of the pictures' files of captions, without .txt.

    Raises:
        UserError: If two pictures would share one.
    """
    found: dict[str, str] = {}
    for index in range(len(dataset)):
        name = dataset.name(index)
        other = found.setdefault(PurePosixPath(name).stem, name)
        if other != name:
            raise UserError(
                f"{other} and {name} would share their captions; `python -m framework.data prepare"
                " --labels folders` gives every picture a name of its own"
            )
    return [*found]


def _traits(kind: str, view: Seen) -> Traits:
    def plain(shade: str) -> str:
        return "" if shade == PLAIN else shade

    background = f"{plain(view.background_shade)} {view.background}".strip()
    return Traits(kind, view.colour, plain(view.shade), background)


def _some(traits: Traits, lots: Lots) -> Traits:
    """Leave out some traits; one at least is left."""
    drawn = {field: lots.chance(chance) for field, chance in _NAMED.items()}
    drawn["colour"] |= not (drawn["kind"] or drawn["background"])
    drawn["shade"] &= drawn["colour"]
    kept = {field: value for field, value in traits._asdict().items() if drawn[field]}
    other = {
        field: " ".join(lots.one_of(_OTHER_WORDS.get(word, (word,))) for word in value.split(" "))
        for field, value in kept.items()
        if field != "kind"
    }
    return Traits(**{**dict.fromkeys(Traits._fields, ""), **kept, **other})


def _sentence(named: Traits, one_of: Callable[[Sequence[str]], str]) -> str:
    """Put what is named into words."""
    colour = f"{named.shade} {named.colour}".strip()
    if named.kind:
        pattern = one_of(_WITH_KIND) if colour else "{kind}"
        thing = _with_article(pattern.format(colour=colour, kind=named.kind))
    else:
        thing = f"something {colour}" if colour else "something"
    if not named.background:
        return f"{one_of(_FRONT)}{thing}"
    behind = one_of(_BEHIND).format(a=_with_article(named.background), colour=named.background)
    return f"{one_of(_FRONT)}{thing} {behind}"


def _with_article(words: str) -> str:
    return f"{'an' if words[:1].lower() in set('aeiou') else 'a'} {words}"


def _counts(words: Sequence[str]) -> dict[str, int]:
    return dict(Counter(word for word in words if word).most_common())


def _table(names: Sequence[str], kinds: Sequence[str], views: Sequence[Seen]) -> str:
    """The table of attributes as CSV, without columns that never change."""
    columns: dict[str, list[Any]] = {
        f"class:{each}": [int(kind == each) for kind in kinds] for each in sorted(set(kinds))
    }
    for field in Seen._fields:
        columns[field] = [getattr(view, field) for view in views]
    columns["lightness"] = [f"{light:.4f}" for light in columns["lightness"]]
    columns = {field: values for field, values in columns.items() if len(set(values)) > 1}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *columns])
    writer.writerows(zip(names, *columns.values(), strict=True))
    return text.getvalue()
