"""Which file goes with which: the layouts of data sets of pairs.

- `A/` and `B/` with equal names; `trainA/` and `trainB/` as CycleGAN's data have them;
- pictures side by side, twice as wide as high, in `train/` or anywhere, as pix2pix's data are;
- Multi-Modal CelebA-HQ: `images/` beside `sketch/`, or beside CelebAMask-HQ's part masks.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from framework.errors import UserError
from framework.media.images import printable

Kind = Literal["sketch", "labels", "picture"]
PARTS = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""CelebAMask-HQ's labels, from 0; a mask of a later part covers those of earlier ones."""
_SIDES = (("a", "b"), ("traina", "trainb"))
_BESIDE = {"sketch": ("sketch", "sketches"), "labels": ("labels", "masks", "mask"), "picture": ()}
_PICTURES = ("images", "image")
_ANNOTATIONS = "celebamask-hq-mask-anno"
_MOST_NAMED = 3
HINT = (
    "give folders A and B with the same names, trainA and trainB, or pictures side by side, twice"
    " as wide as high"
)


@dataclass(frozen=True)
class Files:
    """The files of both sides.

    Args:
        conditions: Names of the conditions; for part masks, several a condition.
        pictures: Names of the pictures.
        halves: Whether each file holds both, the condition on its left.
        parts: Whether each condition is made of one mask a part.
    """

    conditions: Sequence[tuple[str, ...]]
    pictures: Sequence[str]
    halves: bool = False
    parts: bool = False


def find_pairs(names: Sequence[str], kind: Kind, paired: bool, where: str) -> Files:
    """Find the layout of a folder or zip, and its pairs.

    Args:
        names: Names of all pictures, "/" between folders.
        kind: What the conditions are.
        paired: Whether the sides must correspond.
        where: The source, for messages.

    Raises:
        UserError: If there are no two sides, or names on one that the other lacks.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        for folder in {part.lower() for part in name.split("/")[:-1]}:
            folders.setdefault(folder, []).append(name)
    for a, b in _SIDES:
        if a in folders and b in folders:
            return _matched(folders[a], folders[b], paired, where)
    pictures = next((folders[folder] for folder in _PICTURES if folder in folders), [])
    beside = next((folders[folder] for folder in _BESIDE[kind] if folder in folders), [])
    if pictures and beside:
        return _matched(beside, pictures, paired, where)
    if pictures and kind == "labels" and _ANNOTATIONS in folders:
        return _of_parts(folders[_ANNOTATIONS], pictures, where)
    both = folders.get("train", list(names))
    return Files([(name,) for name in both], both, halves=True)


def _matched(conditions: list[str], pictures: list[str], paired: bool, where: str) -> Files:
    """Match by the names without folders and endings; sides that need not match stay in order."""
    if not paired:
        return Files([(name,) for name in conditions], pictures)
    ours, theirs = (_by_stem(side, where) for side in (conditions, pictures))
    odd = ours.keys() ^ theirs.keys()
    lonely = sorted(name for stem, name in [*ours.items(), *theirs.items()] if stem in odd)
    if lonely:
        some = ", ".join(printable(name) for name in lonely[:_MOST_NAMED])
        raise UserError(
            f"{where}: {len(lonely)} files have no partner of the same name on the other side, such"
            f" as {some}; add or remove them, or learn without pairs"
        )
    stems = sorted(ours, key=os.fsencode)
    return Files([(ours[stem],) for stem in stems], [theirs[stem] for stem in stems])


def _by_stem(names: list[str], where: str) -> dict[str, str]:
    stems: dict[str, str] = {}
    for name in names:
        stem = _stem(name)
        if stem in stems:
            raise UserError(
                f"{where}: {printable(stems[stem])} and {printable(name)} have one name; a pair"
                " needs one of its own"
            )
        stems[stem] = name
    return stems


def _stem(name: str) -> str:
    return os.path.splitext(name.rsplit("/", 1)[-1])[0]


def _of_parts(masks: list[str], pictures: list[str], where: str) -> Files:
    """Gather each picture's masks, `00012_hair.png` of picture 12, in the order of the parts."""
    by_number: dict[int, list[tuple[int, str]]] = {}
    for name in masks:
        number, _, part = _stem(name).partition("_")
        if not number.isdecimal() or part not in PARTS:
            raise UserError(
                f"{where}: {printable(name)}: not a part mask of CelebAMask-HQ, which is called"
                " NUMBER_PART.png"
            )
        by_number.setdefault(int(number), []).append((PARTS.index(part), name))
    used = [n for n in pictures if _stem(n).isdecimal() and int(_stem(n)) in by_number]
    if not used:
        raise UserError(f"{where}: none of the {len(pictures)} images has part masks")
    return Files(
        [tuple(mask for _, mask in sorted(by_number[int(_stem(name))])) for name in used],
        used,
        parts=True,
    )
