"""A text encoder measured: retrieval, what texts draw, what they change and what they keep.

    python -m framework.evaluation text --model toycars64 --out out/text

All texts are captions of toy cars that no training saw; a judge of traits that knows drawings alone
reads every picture.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.control.clip_optimisation import optimised
from framework.data.toycars import ToyCars
from framework.data.toycars_captions import TRAITS, Caption, captions, full_caption
from framework.data.toycars_parameters import CarParameters, describe
from framework.errors import UserError
from framework.evaluation.formatting import markdown_table, strict
from framework.evaluation.intervals import bootstrap, wilson
from framework.evaluation.session import session_facts
from framework.evaluation.sheet import sheet
from framework.evaluation.text.judge import SIZE_PX, TraitJudge, cached_judge
from framework.evaluation.text.model import TextModel
from framework.files import check_new_folder, new_folder, write_text
from framework.media.draw import enlarge
from framework.media.images import save_png, to_uint8
from framework.models.alignment.code_space import Belief
from framework.models.features.clip import Clip
from framework.models.features.distance import Distance, choose_distance
from framework.training.alignment.retrieval import retrieval

CARS_SEED = 99_001  # of the captions; no training and no judge has these cars
NUMBERS, PAGE = "report.json", "report.md"
_WORST, _SHOWN = 8, 5
_NEIGHBOURS, _VARIANTS, _CLIP_STEPS, _AT_ONCE = 400, 4, 200, 16
TEXTS = (
    "a red car facing left under a clear sky", "a yellow van with big wheels",
    "a navy sedan under a dusky sky", "a tall green car", "a low white car under a golden sky",
    "a pink car facing right with white-wall tyres", "a teal pickup under a stormy sky",
    "an orange car with a cream roof", "a long purple sedan under a rosy sky",
    "a charcoal car with small wheels under a hazy sky",
)  # fmt: skip
EDITS = (
    "a yellow car", "a car under a dusky sky", "a car facing left", "a tall car",
    "a car with white-wall tyres",
)  # fmt: skip
PARAPHRASES = {
    "auto": "car", "vehicle": "car", "automobile": "car", "crimson": "red", "scarlet": "red",
    "golden-yellow": "yellow", "azure": "sky blue", "violet": "purple", "huge": "big",
}  # fmt: skip
_SENTENCES = {"car": "a red {} facing left", "big": "a red car with {} wheels"}


@dataclass(frozen=True, eq=False)
class Measured(TextModel):
    """A model of toy cars, and what judges its pictures.

    Attributes:
        judge: The judge of traits.
        distance: A perceptual distance.
    """

    judge: TraitJudge
    distance: Distance
    clip: Clip | None

    def optimised(self, texts: Sequence[str], ws: Tensor) -> Tensor:
        """Optimise pictures until CLIP finds texts in them, as the verb does; their latents."""
        assert self.clip is not None
        found = []
        parts = zip(self.clip.texts(texts).split(_AT_ONCE), ws.split(_AT_ONCE), strict=True)
        for vectors, start in parts:
            steps = optimised(self.generator, start, partial(self.clip, text=vectors))
            found.append(next(islice(steps, _CLIP_STEPS, None)).ws)
        return torch.cat(found)


def text(
    out: str,
    model: str = "toycars64",
    text_encoder: str | None = None,
    clip: str | None = None,
    n: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a text encoder of a model of toy cars.

    The judge of traits is trained once, in some minutes, and kept in the cache folder.

    Args:
        out: New or empty folder for report.json, report.md, and sheets: texts.png, edits.png and
            worst.png.
        model: Zoo name or model folder with an encoder, of toy cars of 64 px.
        text_encoder: File or folder of the text encoder; the model folder's own if None.
        clip: File of CLIP's weights (open_clip's ViT-B-32), to compare with latents that are
            optimised until CLIP finds the text in the picture.
        n: Captions; retrieval takes whole groups of 100 of them.
        seed: Seed of the pictures that are changed.

    Returns:
        Retrieval, and the share of named traits that were right, in brief.
    """
    if not 20 <= n <= 10_000:
        raise UserError(f"{n}: give 20 to 10000", "n")
    check_new_folder(out)
    measured = _open(model, text_encoder, clip)
    folder = new_folder(out)
    cars = ToyCars(SIZE_PX, n, CARS_SEED)
    parameters = [cars.parameters(i) for i in range(n)]
    pictures = torch.stack([
        torch.from_numpy(cars.drawn(p).image).permute(2, 0, 1).float() / 127.5 - 1
        for p in parameters
    ])  # fmt: skip
    codes = measured.codes(pictures)
    report: dict[str, Any] = {
        "session": session_facts(torch.device("cpu")), "model": model, "captions": n,
        "tower": measured.texts.config["tower"], "distance": measured.distance.name,
        "judge": measured.judge.facts,
        "retrieval": retrieved(measured, parameters, codes),
    }  # fmt: skip
    varied = [captions(p, CARS_SEED, i, 1)[0] for i, p in enumerate(parameters)]
    report["text_to_image"] = drawn_from(measured, varied, codes, pictures, seed)
    report["manipulation"], worst = changed_by(measured, parameters, codes, seed)
    report["diversity"], texts = diversity(measured, seed)
    report["paraphrases"] = paraphrased(measured, seed)
    save_png(folder / "texts.png", texts)
    save_png(folder / "worst.png", worst)
    save_png(folder / "edits.png", edited(measured, pictures, codes))
    write_text(folder / NUMBERS, json.dumps(strict(report), indent=2) + "\n")
    write_text(folder / PAGE, page(report))
    named = report["text_to_image"]["named"]["the text"]
    return {
        "R@1": report["retrieval"]["everything"]["R@1"]["share"],
        "named_traits_right": named["all"]["share"],
        "unrelated_kept": report["manipulation"]["kept"]["all"]["share"],
    }


def _open(name: str, file: str | None, clip: str | None) -> Measured:
    model = TextModel.open(name, file)
    size, channels = tuple(model.generator.img_size), model.generator.img_channels
    if (*size, channels) != (SIZE_PX, SIZE_PX, 3):
        raise UserError(f"{name}: no model of toy cars of {SIZE_PX} px", "model")
    distance, _ = choose_distance("auto", model.discriminator)
    towers = None if clip is None else Clip.open(clip, "clip")
    return Measured(**vars(model), judge=cached_judge(), distance=distance, clip=towers)


# ----------------------------------------------------------------------------------------- measures


def retrieved(
    measured: Measured, parameters: Sequence[CarParameters], codes: Tensor
) -> dict[str, Any]:
    """R@1 and R@5 of 100 by kind of caption, and by what compares."""
    space = measured.texts.space
    kinds = {
        "everything": [full_caption(p).text for p in parameters],
        "the usual sentence": [describe(p) for p in parameters],
        "some traits": [captions(p, CARS_SEED, i, 1)[0].text for i, p in enumerate(parameters)],
    }

    def plain(belief: Belief, layers: Tensor) -> Tensor:
        """Squared distance in W+, each layer in its own variance."""
        meant = (space.mean + space.step(belief.mean.flatten(0, -2))).unflatten(
            0, belief.mean.shape[:-1]
        )
        return ((layers - meant).square().sum(-1) / spread).sum(-1)

    spread = codes.var(dim=0).sum(dim=1)
    found = {}
    for kind, texts in kinds.items():
        belief = measured.texts.read(texts)
        result = retrieval(belief, space.coordinates(codes))
        by_layers = retrieval(belief, codes, plain)
        found[kind] = {
            "R@1": _share(result.first), "R@5": _share(result.fifth),
            "R@1 by distance of layers": _share(by_layers.first),
            "different captions": len(set(texts)),
        }  # fmt: skip
    return found


def drawn_from(
    measured: Measured, named: Sequence[Caption], codes: Tensor, pictures: Tensor, seed: int
) -> dict[str, Any]:
    """Which of the traits that captions name their pictures have, and what else was tried."""
    texts = [caption.text for caption in named]
    start = measured.seeds(len(texts), seed)
    pool = measured.seeds(_NEIGHBOURS, seed + 1)
    pool_pictures = measured.draw(pool)
    belief = measured.texts.read(texts)
    places = measured.texts.space.coordinates(measured.codes(pool_pictures))
    said = Belief(belief.mean[:, None], belief.log_std[:, None])
    nearest = said.surprise(places[None]).argmin(dim=1)
    ways = {
        "the text": measured.draw(measured.changed(texts, start)),
        "chance: the pictures before": measured.draw(start),
        f"nearest code of {_NEIGHBOURS} pictures": pool_pictures[nearest],
        "the code of the real picture": measured.draw(codes),
        "the real picture": pictures,
    }
    if measured.clip is not None:
        ways["optimised for CLIP"] = measured.draw(measured.optimised(texts, start))
    table = {}
    for way, shown in ways.items():
        found = measured.judge(shown)
        hits: dict[str, list[bool]] = {trait: [] for trait in TRAITS}
        for i, caption in enumerate(named):
            for trait, value in caption.named.items():
                hits[trait].append(found[trait][i] == value)
        everything = [hit for each in hits.values() for hit in each]
        table[way] = {"all": wilson(sum(everything), len(everything))} | {
            trait: wilson(sum(each), len(each)) for trait, each in hits.items()
        }
    return {"named": table}


def changed_by(
    measured: Measured, parameters: Sequence[CarParameters], codes: Tensor, seed: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Name one trait with another value, and look which traits changed; worst ones on a sheet."""
    rng = np.random.default_rng(seed)
    count = min(len(codes), 100)
    tried = ("colour", "sky", "facing", "height", "wheels", "length", "body")
    before = measured.draw(codes[:count])
    was = measured.judge(before)
    asked, texts = [], []
    for i in range(count):
        trait = tried[i % len(tried)]
        others = [v for v in TRAITS[trait] if v not in (was[trait][i], "medium")]
        value = others[rng.integers(len(others))]
        asked.append((trait, value))
        texts.append(sentence_of(trait, value))
    after = measured.draw(measured.changed(texts, codes[:count], keep=True))
    unrelated = measured.draw(measured.seeds(count, seed + 2))
    again = measured.draw(measured.codes(before))
    now, other, repeated = (measured.judge(shown) for shown in (after, unrelated, again))
    with torch.no_grad():
        far, apart = measured.distance(before, after), measured.distance(before, unrelated)
    hits = {t: [] for t in tried}
    kept: dict[str, list[bool]] = {t: [] for t in TRAITS}
    chance: list[bool] = []
    same: list[bool] = []
    for i, (trait, value) in enumerate(asked):
        hits[trait].append(now[trait][i] == value)
        for t in TRAITS:
            if t != trait:
                kept[t].append(now[t][i] == was[t][i])
                chance.append(other[t][i] == was[t][i])
                same.append(repeated[t][i] == was[t][i])
    everything = [hit for each in hits.values() for hit in each]
    every_kept = [k for each in kept.values() for k in each]
    facts = {
        "named": {"all": wilson(sum(everything), len(everything))}
        | {t: wilson(sum(each), len(each)) for t, each in hits.items()},
        "kept": {"all": wilson(sum(every_kept), len(every_kept)),
                 "by chance": wilson(sum(chance), len(chance)),
                 "encoded and drawn again": wilson(sum(same), len(same))}
        | {t: wilson(sum(each), len(each)) for t, each in kept.items()},
        "distance": bootstrap(far.tolist()).to_dict(),
        "distance of unrelated pictures": bootstrap(apart.tolist()).to_dict(),
    }  # fmt: skip
    order = sorted(
        range(count),
        key=lambda i: (now[asked[i][0]][i] == asked[i][1],
                       sum(now[t][i] == was[t][i] for t in TRAITS)),
    )[:_WORST]  # fmt: skip
    tiles = [[_tile(before[i]), _tile(after[i])] for i in order]
    captions_of = [texts[i] for i in order]
    return facts, sheet(["before", "after"], list(zip(captions_of, tiles, strict=True)))


def edited(measured: Measured, pictures: Tensor, codes: Tensor) -> np.ndarray:
    """A sheet of drawings, and what texts make of them."""
    rows = []
    for i in range(_SHOWN):
        try:
            ws = measured.changed(EDITS, codes[i : i + 1].expand(len(EDITS), -1, -1), keep=True)
        except UserError:
            continue
        shown = [pictures[i], measured.draw(codes[i : i + 1])[0], *measured.draw(ws)]
        rows.append((f"drawing {i}", [_tile(one) for one in shown]))
    return sheet(["drawing", "as the model has it", *EDITS], rows)


def sentence_of(trait: str, value: str) -> str:
    """A text that names one trait."""
    patterns = {
        "colour": "a {} car", "sky": "a car under a {} sky", "facing": "a car facing {}",
        "height": "a {} car", "wheels": "a car with {} wheels", "length": "a {} car",
        "body": "a {}",
    }  # fmt: skip
    return patterns[trait].format(value)


def diversity(measured: Measured, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """How far the pictures of one text lie apart, and a sheet of them."""
    start = measured.seeds(_VARIANTS, seed + 3)
    rows, apart = [], []
    unrelated = _pairwise(measured.distance, measured.draw(start))
    for words in TEXTS:
        try:
            pictures = measured.draw(measured.changed([words] * _VARIANTS, start))
        except UserError:
            continue
        apart.append(_pairwise(measured.distance, pictures))
        rows.append((words, [_tile(one) for one in pictures]))
    facts = {"of a text": bootstrap(apart).to_dict(), "of the pictures before": unrelated}
    return facts, sheet([f"{i + 1}" for i in range(_VARIANTS)], rows)


def paraphrased(measured: Measured, seed: int) -> dict[str, Any]:
    """Whether a word that no caption had draws what the word does that they have."""
    found = {}
    for word, plain in PARAPHRASES.items():
        pattern = _SENTENCES.get(plain, "a {} car facing left")
        trait = "wheels" if plain == "big" else "colour"
        value = {"car": "red", "big": "big"}.get(plain, plain)
        texts = [pattern.format(word)] * 10
        try:
            pictures = measured.draw(measured.changed(texts, measured.seeds(10, seed + 4)))
        except UserError:
            found[word] = None
            continue
        hits = [one == value for one in measured.judge(pictures)[trait]]
        found[word] = wilson(sum(hits), len(hits)) | {"for": f"{trait} {value}"}
    return found


def _pairwise(distance: Any, pictures: Tensor) -> float:
    pairs = torch.combinations(torch.arange(len(pictures)))
    with torch.no_grad():
        return distance(pictures[pairs[:, 0]], pictures[pairs[:, 1]]).mean().item()


def _share(values: Tensor) -> dict[str, Any]:
    return wilson(int(values.sum()), len(values))


def _tile(picture: Tensor) -> np.ndarray:
    return enlarge(to_uint8(picture[None])[0], 2, "bicubic")


# --------------------------------------------------------------------------------------------- page


def page(report: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    n, tower = report["captions"], report["tower"]
    lines = [f"# Texts of {report['model']}, tower {tower}: {n} captions of cars never seen\n"]
    heads = ["captions name", "R@1", "R@5", "R@1 by distance of layers", "different captions"]
    rows = [
        [kind, *(_percent(row[h]) for h in heads[1:4]), str(row["different captions"])]
        for kind, row in report["retrieval"].items()
    ]
    lines += ["## Retrieval of 100\n", markdown_table(heads, rows) + "\n"]
    named = report["text_to_image"]["named"]
    held_out = report["judge"]["held_out"]
    rows = [
        [trait, *(_percent(table[trait]) for table in named.values()),
         f"{held_out[trait]:.0%}" if trait in held_out else ""]
        for trait in ("all", *TRAITS)
    ]  # fmt: skip
    heads = ["named trait", *named, "the judge on drawings"]
    lines += ["## Text to picture: named traits that are right\n", markdown_table(heads, rows)
              + "\n"]  # fmt: skip
    manipulation = report["manipulation"]
    rows = [
        [trait, _percent(manipulation["named"].get(trait)), _percent(manipulation["kept"][trait])]
        for trait in ("all", *TRAITS, "by chance", "encoded and drawn again")
    ]
    lines += ["## One trait changed\n", markdown_table(["trait", "named and right", "kept"], rows)
              + "\n"]  # fmt: skip
    apart, before = report["diversity"]["of a text"], report["diversity"]["of the pictures before"]
    far, unrelated = manipulation["distance"], manipulation["distance of unrelated pictures"]
    lines.append(
        f"By the distance {report['distance']}, pictures of a text lie {apart['mean'] / before:.0%}"
        f" as far apart as those before; a picture that one trait was changed in lies"
        f" {far['mean']:.3f} from before, unrelated ones {unrelated['mean']:.3f}.\n"
    )
    rows = [
        [word, "refused: never seen" if row is None else row["for"], _percent(row)]
        for word, row in report["paraphrases"].items()
    ]
    lines += ["## Words that no caption had\n", markdown_table(["word", "means", "right"], rows)
              + "\n"]  # fmt: skip
    return "\n".join(lines)


def _percent(row: Mapping[str, Any] | None) -> str:
    if row is None or row["share"] is None:
        return ""
    return f"{row['share']:.0%} ({row['low']:.0%}-{row['high']:.0%})"
