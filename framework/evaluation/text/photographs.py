"""Texts for a model of photographs, measured: retrieval, and what texts change and keep.

    python -m framework.evaluation text-photographs --data FOLDER --captions FOLDER --out out/words

Nothing here is a person's answer. Colours are read by the probe that also wrote the captions, so
they tell whether the model draws what the probe calls red, not whether it is. Classes are read by a
linear probe on features of a network that has seen neither model nor captions.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.control.attributes import Table, read_attributes
from framework.control.probe import ridge
from framework.data.captions import ATTRIBUTES
from framework.data.colours import seen
from framework.data.fit import Crop
from framework.data.holdout import LARGEST_SHARE, split
from framework.data.images import ImageDataset, decoded, open_dataset
from framework.errors import UserError, blame
from framework.evaluation.formatting import markdown_table, strict
from framework.evaluation.generator.features import Lite0Features
from framework.evaluation.intervals import wilson
from framework.evaluation.session import session_facts
from framework.evaluation.sheet import sheet
from framework.evaluation.text.model import TextModel
from framework.files import check_new_folder, new_folder, write_text
from framework.media.draw import enlarge
from framework.media.images import save_png, to_uint8
from framework.models.features.weights import LITE0, find_weights
from framework.training.alignment.retrieval import GROUP, retrieval
from framework.training.text.captions import captions_of

NUMBERS, PAGE, SHEET = "report.json", "report.md", "edits.png"
_FOLDS, _PENALTY, _AT_ONCE = 5, 0.1, 64
_COMMON = 0.02  # share of the training pictures that a colour has which texts name
_MOST_CAPTIONS, _SHOWN = 100, 5
MOST_STRENGTH = 4.0


class ClassProbe:
    """A linear probe of classes: ridge regression of one-hot answers, the largest wins.

    Args:
        features: Features (M, D).
        classes: The number of each picture's class, (M,).
    """

    def __init__(self, features: Tensor, classes: Tensor) -> None:
        count = int(classes.max()) + 1
        answers = torch.nn.functional.one_hot(classes, count).double()
        solved = [ridge(features.double(), answers[:, i], _PENALTY) for i in range(count)]
        self._weights = torch.stack([vector for vector, _ in solved], dim=1)
        self._bias = torch.stack([bias for _, bias in solved])

    def __call__(self, features: Tensor) -> Tensor:
        """Return the number of the class of each row of features (N, D)."""
        return (features.double() @ self._weights + self._bias).argmax(dim=1)


class Judge:
    """Reads classes and colours off pictures.

    Args:
        features: Features of pictures, uint8 (N, 3, H, W), to (N, D).
        pictures: Photographs to learn classes from, uint8 (M, 3, H, W).
        classes: The class of each.
    """

    def __init__(self, features: Any, pictures: Tensor, classes: Sequence[str]) -> None:
        self.names = sorted(set(classes))
        self._network = features
        inputs = self._features(pictures)
        numbers = torch.tensor([self.names.index(each) for each in classes])
        fold = torch.arange(len(inputs)) % _FOLDS  # names are sorted: each fold has every class
        right = [
            ClassProbe(inputs[fold != k], numbers[fold != k])(inputs[fold == k])
            == numbers[fold == k]
            for k in range(_FOLDS)
        ]
        self.cross_validated = wilson(int(torch.cat(right).sum()), len(inputs))
        self._probe = ClassProbe(inputs, numbers)

    def classes(self, pictures: Tensor) -> list[str]:
        """Return the class of each picture, uint8 (N, 3, H, W)."""
        return [self.names[i] for i in self._probe(self._features(pictures)).tolist()]

    def colours(self, pictures: Tensor) -> list[str]:
        """Return the colour of each picture, uint8 (N, 3, H, W)."""
        return [seen(picture.permute(1, 2, 0).numpy()).colour for picture in pictures]

    def _features(self, pictures: Tensor) -> Tensor:
        return torch.cat([self._network(part) for part in pictures.split(_AT_ONCE)])


def text_photographs(
    data: str,
    captions: str,
    out: str,
    model: str = "vehicles64",
    text_encoder: str | None = None,
    held_out: float = 0.1,
    crop: Crop = "center",
    n: int = 100,
    seed: int = 0,
    strength: float = 1.0,
) -> dict[str, Any]:
    """Measure a text encoder that learned from captions that `framework.data captions` wrote.

    Args:
        data: Folder or zip of the photographs.
        captions: Folder of their captions, with attributes.csv.
        out: New or empty folder for report.json, report.md and the sheet edits.png.
        model: Zoo name or model folder with an encoder.
        text_encoder: File or folder of the text encoder; the model folder's own if None.
        held_out: Share that its training was not shown (`data.held_out` there).
        crop: As in its training.
        n: Held-out photographs, and pictures of seeds, that are changed.
        seed: Seed of the pictures of seeds, and of which colour and class a text names.
        strength: Share of the way that photographs go to the text, as of the verb `text`.

    Returns:
        Retrieval, and the shares of texts that were obeyed, in brief.

    Raises:
        UserError: Naming the flag, if anything does not fit; then nothing is written.
    """
    if not 10 <= n <= 10_000:
        raise UserError(f"{n}: give 10 to 10000", "n")
    if not 0 < held_out <= LARGEST_SHARE:
        raise UserError(f"{held_out}: give above 0, up to {LARGEST_SHARE}", "held_out")
    if not 0 < strength <= MOST_STRENGTH:
        raise UserError(f"{strength:g}: give above 0, up to {MOST_STRENGTH:g}", "strength")
    check_new_folder(out)
    weights = find_weights(LITE0)
    if weights is None:
        raise UserError(f"the weights of lite0, which reads classes, are missing; {LITE0.install}")
    opened = TextModel.open(model, text_encoder)
    with blame("data", data):
        whole = open_dataset(data, opened.generator.img_size, 3, crop=crop)
        training, rest = split(whole, held_out, "held_out")
    with blame("captions", captions):
        known = Attributes(Path(captions) / ATTRIBUTES)
        texts = captions_of(rest, captions, _MOST_CAPTIONS)
        classes, own = known.of(training, "class"), known.of(rest, "class")
        common = known.common(training, "colour")
    judge = Judge(Lite0Features(weights).eval(), torch.from_numpy(decoded(training)), classes)
    pictures = torch.from_numpy(decoded(rest))
    codes = opened.codes(pictures.float() / 127.5 - 1)
    report: dict[str, Any] = {
        "session": session_facts(torch.device("cpu")), "model": model,
        "generator": opened.generator.digest[:16], "captions": len(texts),
        "classes": judge.names, "colours": common,
        "retrieval": retrieved(opened, texts, codes),
        "judge": {
            "photographs, cross-validated": judge.cross_validated,
            "held-out photographs": _agreeing(judge.classes(pictures), own),
        },
        "strength": strength,
        "photographs": changed(
            opened, judge, codes[:: max(1, len(codes) // n)][:n], common, seed, strength
        ),
        "seeds": drawn(opened, judge, n, common, seed),
    }  # fmt: skip
    folder = new_folder(out)
    save_png(folder / SHEET, shown(opened, pictures, codes, common, strength))
    write_text(folder / NUMBERS, json.dumps(strict(report), indent=2) + "\n")
    write_text(folder / PAGE, page(report))
    photographs = report["photographs"]
    return {
        "R@1": report["retrieval"]["everything"]["R@1"]["share"],
        "colour_right": photographs["colour named"]["named and right"]["share"],
        "class_right": photographs["class named"]["named and right"]["share"],
    }


class Attributes:
    """What a table says of pictures.

    Args:
        path: The table that `framework.data captions` wrote.
    """

    def __init__(self, path: Path) -> None:
        key, self._table = read_attributes(path)
        if key != "name":
            raise UserError(f"{path}: rows by {key}, where names of pictures are needed")
        self._path = path

    def of(self, dataset: ImageDataset, attribute: str) -> list[str]:
        """Return the word of an attribute of every picture.

        Raises:
            UserError: If the table has none, or not of a picture.
        """
        words = self._words(attribute)
        found = []
        for index in range(len(dataset)):
            name = PurePosixPath(dataset.name(index)).stem
            yes = [word for word, values in words.items() if values.get(name) == 1]
            if len(yes) != 1:
                raise UserError(f"{self._path}: does not say the {attribute} of {name}")
            found += yes
        return found

    def common(self, dataset: ImageDataset, attribute: str) -> list[str]:
        """Return the words that a share of the pictures have, the most frequent first.

        Raises:
            UserError: If there are fewer than two.
        """
        words = self.of(dataset, attribute)
        counts = {word: words.count(word) for word in set(words)}
        often = [word for word in counts if counts[word] >= _COMMON * len(words)]
        if len(often) < 2:
            raise UserError(f"{self._path}: fewer than two words of {attribute} are common")
        return sorted(often, key=lambda word: (-counts[word], word))

    def _words(self, attribute: str) -> Table:
        start = f"{attribute}:"
        words = {n.removeprefix(start): v for n, v in self._table.items() if n.startswith(start)}
        if len(words) < 2:
            raise UserError(f"{self._path}: says no {attribute}, or the same of all pictures")
        return words


# ----------------------------------------------------------------------------------------- measures


def retrieved(model: TextModel, texts: Sequence[Sequence[str]], codes: Tensor) -> dict[str, Any]:
    """R@1 and R@5 of 100 by kind of caption, and the most that the captions allow.

    Many pictures have the same caption. Who tells all captions apart, and knows no more, finds a
    picture among m of the same one with a chance of 1 / m, and within five looks of 5 / m. Words
    that mean the same count as different here.
    """
    places, found = model.texts.space.coordinates(codes), {}
    for kind, at in {"everything": -1, "some traits": 0}.items():
        said = [each[at] for each in texts]
        result = retrieval(model.texts.read(said), places)
        count = len(result.first)
        size = min(GROUP, count)
        groups = [said[first : first + size] for first in range(0, count, size)]
        alike = [len([1 for other in group if other == one]) for group in groups for one in group]
        found[kind] = {
            "R@1": wilson(int(result.first.sum()), count),
            "R@5": wilson(int(result.fifth.sum()), count),
            "R@1 at best": sum(1 / m for m in alike) / count,
            "R@5 at best": sum(min(1, 5 / m) for m in alike) / count,
            "different captions": len(set(said[:count])),
        }
    return found


def changed(
    model: TextModel, judge: Judge, codes: Tensor, colours: Sequence[str], seed: int,
    strength: float,
) -> dict[str, Any]:  # fmt: skip
    """Name another colour, or another class, of photographs as the model has them."""
    rng = np.random.default_rng(seed)
    before = _levels(model.draw(codes))
    was = {"colour": judge.colours(before), "class": judge.classes(before)}
    again = _levels(model.draw(model.codes(_images(before))))
    words = {"colour": list(colours), "class": judge.names}
    sentences = {"colour": "something {}", "class": "a {}"}
    table: dict[str, Any] = {}
    for trait, kept in (("colour", "class"), ("class", "colour")):
        asked = [rng.choice([w for w in words[trait] if w != old]) for old in was[trait]]
        texts = [sentences[trait].format(word) for word in asked]
        after = _levels(model.draw(model.changed(texts, codes, True, strength)))
        now = {"colour": judge.colours(after), "class": judge.classes(after)}
        table[f"{trait} named"] = {
            "named and right": _agreeing(now[trait], asked),
            "by word": _by_word(now[trait], asked),
            f"{kept} kept": _agreeing(now[kept], was[kept]),
        }
    table["encoded and drawn again"] = {
        "colour kept": _agreeing(judge.colours(again), was["colour"]),
        "class kept": _agreeing(judge.classes(again), was["class"]),
    }
    return table


def drawn(
    model: TextModel, judge: Judge, count: int, colours: Sequence[str], seed: int
) -> dict[str, Any]:
    """Pictures of seeds that a text with a colour and a class changes, and as they were before."""
    rng = np.random.default_rng(seed + 1)
    start = model.seeds(count, seed)
    asked = [(str(rng.choice(colours)), str(rng.choice(judge.names))) for _ in range(count)]
    ws = model.changed([f"a {colour} {kind}" for colour, kind in asked], start)
    table = {}
    for way, pictures in {"the text": model.draw(ws), "chance": model.draw(start)}.items():
        levels = _levels(pictures)
        found = list(zip(judge.colours(levels), judge.classes(levels), strict=True))
        table[way] = {
            "colour": _agreeing([c for c, _ in found], [c for c, _ in asked]),
            "class": _agreeing([k for _, k in found], [k for _, k in asked]),
            "both": _agreeing(found, asked),
        }
    return table


def shown(
    model: TextModel, pictures: Tensor, codes: Tensor, colours: Sequence[str], strength: float
) -> np.ndarray:
    """A sheet of held-out photographs, as the model has them, and what each colour makes."""
    texts = [f"something {colour}" for colour in colours]
    rows = []
    for i in range(0, len(codes), max(1, len(codes) // _SHOWN))[:_SHOWN]:
        ws = model.changed(texts, codes[i : i + 1].expand(len(texts), -1, -1), True, strength)
        tiles = [pictures[i : i + 1], _levels(model.draw(torch.cat([codes[i : i + 1], ws])))]
        rows.append((f"held-out photograph {i}", [_tile(each) for part in tiles for each in part]))
    return sheet(["photograph", "as the model has it", *texts], rows)


def _images(levels: Tensor) -> Tensor:
    return levels.float() / 127.5 - 1


def _levels(images: Tensor) -> Tensor:
    return torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2)


def _agreeing(found: Sequence[Any], wanted: Sequence[Any]) -> dict[str, Any]:
    pairs = zip(found, wanted, strict=True)
    return wilson(sum(a == b for a, b in pairs), len(wanted))


def _by_word(found: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
    parts = {word: [f for f, w in zip(found, wanted, strict=True) if w == word] for word in wanted}
    return {str(word): _agreeing(part, [word] * len(part)) for word, part in parts.items()}


def _tile(levels: Tensor) -> np.ndarray:
    return enlarge(levels.permute(1, 2, 0).numpy(), 2, "bicubic")


# --------------------------------------------------------------------------------------------- page


def page(report: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [
        f"# Texts of {report['model']} ({report['generator']}): {report['captions']} photographs"
        f" held out, strength {report['strength']:g}\n",
        "Colours are read by the probe that wrote the captions; classes by a linear probe on lite0,"
        f" right in {_percent(report['judge']['photographs, cross-validated'])} of photographs"
        " (cross-validated).\n",
    ]
    rows = [
        [kind, _percent(row["R@1"]), f"{row['R@1 at best']:.0%}", _percent(row["R@5"]),
         f"{row['R@5 at best']:.0%}", str(row["different captions"])]
        for kind, row in report["retrieval"].items()
    ]  # fmt: skip
    heads = ["captions name", "R@1 of 100", "at best", "R@5", "at best", "different captions"]
    lines.append(markdown_table(heads, rows) + "\n")
    rows = []
    for name, table in report["photographs"].items():
        rows.append([name, *(_percent(table.get(of)) for of in
                             ("named and right", "colour kept", "class kept"))])  # fmt: skip
        for word, row in table.get("by word", {}).items():
            rows.append([f"… {word}", _percent(row), "", ""])
    heads = ["photographs", "named and right", "colour kept", "class kept"]
    lines.append(markdown_table(heads, rows) + "\n")
    rows = [[way, *map(_percent, table.values())] for way, table in report["seeds"].items()]
    lines.append(markdown_table(["seeds", "colour", "class", "both"], rows) + "\n")
    return "\n".join(lines)


def _percent(row: Mapping[str, Any] | None) -> str:
    if row is None or row["share"] is None:
        return ""
    return f"{row['share']:.0%} ({row['low']:.0%}-{row['high']:.0%})"
