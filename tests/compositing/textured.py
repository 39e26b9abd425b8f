"""Photographs of toy cars on textured ground, whose ground under the car is known.

`python -m tests.compositing.textured PICTURE` measures what pasting leaves of an old outline, and
draws some of it.
"""

import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from framework.compositing.geometry import Geometry, fit_geometry, to_canvas
from framework.compositing.paste import paste_back
from framework.data.toycars import CarParameters, Part, ToyCars
from framework.data.toycars_car import draw_car

SIDE_PX, CANVAS_PX = 192, 48
EDITS = ("roof", "moved", "smaller")
_OCTAVES = {2: 14, 4: 16, 8: 12, 32: 8}  # px of a grain: its contrast in levels


class Edited(NamedTuple):
    """A photograph, a model's pictures of it before and after an edit, and the truth.

    `old` and `new` are the car's opacity (H, W) before and after.
    """

    photo: np.ndarray
    truth: np.ndarray
    old: np.ndarray
    new: np.ndarray
    geometry: Geometry
    before: np.ndarray
    after: np.ndarray


def textured_ground(seed: int, side: int = SIDE_PX) -> np.ndarray:
    """A ground like gravel, (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    relief = np.zeros((side, side))
    for grain, contrast in _OCTAVES.items():
        noise = Image.fromarray(rng.normal(size=(side // grain,) * 2).astype(np.float32))
        relief += contrast * np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC))
    slope = np.linspace(-10, 10, side)[None, :, None]
    colour = rng.integers(90, 170, 3) + slope + relief[..., None] * [1, 0.95, 0.85]
    return colour.clip(0, 255).astype(np.uint8)


def on_ground(p: CarParameters, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A car on a ground without a shadow, and its opacity (H, W)."""
    side = len(ground)
    cars, fine = ToyCars(side, 1), ToyCars(4 * side, 1)
    shapes = [shape for shape in draw_car(p)[0] if shape.part is not Part.SHADOW]
    opacity = (fine._mask(shapes) > 0).reshape(side, 4, side, 4).mean(axis=(1, 3))
    mixed = opacity[..., None] * cars._paint(p, shapes) + (1 - opacity[..., None]) * ground
    return np.rint(mixed).astype(np.uint8), opacity


def edit_of(p: CarParameters, kind: str) -> CarParameters:
    """The car with a lower roof, farther to the right, or smaller."""
    roof = p.body.belt_height + 0.55 * (p.body.roof_height - p.body.belt_height)
    changed = {
        "roof": {"body": replace(p.body, roof_height=roof)},
        "moved": {"x": p.x + 0.09},
        "smaller": {"scale": 0.85 * p.scale},
    }
    return replace(p, **changed[kind])


def edited(index: int, kind: str) -> Edited:
    """An edit of a car as a model makes it: small, smooth ground, an outline not quite right."""
    p = ToyCars(64, 100, 3).parameters(index)
    ground = textured_ground(index)
    smooth = Image.fromarray(ground).filter(ImageFilter.GaussianBlur(SIDE_PX / 20))
    seen = (np.asarray(smooth, float) + 4).clip(0, 255).astype(np.uint8)
    (photo, old), (truth, new) = on_ground(p, ground), on_ground(edit_of(p, kind), ground)
    geometry = fit_geometry(photo.shape[:2], (CANVAS_PX, CANVAS_PX))

    def modelled(of: CarParameters) -> np.ndarray:
        off = replace(of, scale=0.975 * of.scale, ground=of.ground - 0.004)
        return to_canvas(on_ground(off, seen)[0], geometry)

    after = modelled(edit_of(p, kind))
    return Edited(photo, truth, old, new, geometry, modelled(p), after)


def grown(mask, reach_px):
    levels = Image.fromarray((255 * (mask > 0.02)).astype(np.uint8))
    return np.asarray(levels.filter(ImageFilter.MaxFilter(2 * reach_px + 1))) > 0


def smooth(picture, sigma_px):
    picture = Image.fromarray(np.asarray(picture, np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma_px)), float)


def uncovered(case):
    """The ground where the old car was and its outline, the new car's own surroundings apart."""
    return grown(case.old, 3) & ~grown(case.new, 8)


def ghost(picture, case):
    """Share of the old car that is still there: 0 for any ground, 1 for the photograph."""
    here = uncovered(case)
    old = case.photo[here].astype(float) - case.truth[here]
    return float((old * (picture[here].astype(float) - case.truth[here])).sum() / (old**2).sum())


def texture(picture, case):
    """Contrast of fine detail on the uncovered ground, as a share of the true ground's."""
    here = uncovered(case)
    fine = [(p.astype(float) - smooth(p, 2))[here].std() for p in (picture, case.truth)]
    return fine[0] / fine[1]


def off_in_colour(picture, case):
    """Mean difference of the uncovered ground from the true one, detail apart, in levels."""
    here = uncovered(case)
    return np.abs(smooth(picture, 6)[here] - smooth(case.truth, 6)[here]).mean()


def main(path):
    """Print the table of docs/compositing.md, and draw the middle car's edits."""
    rows = []
    for carry in (False, True):
        ghosts, textures = [], []
        for index in (0, 2, 3, 5):
            for kind in EDITS:
                case = edited(index, kind)
                pasted = paste_back(
                    case.photo, case.after, case.geometry, original=case.before,
                    changed_only=True, carry=carry,
                )  # fmt: skip
                ghosts.append(ghost(pasted, case))
                textures.append(texture(pasted, case))
        print(
            f"carry={carry}: ghost {np.mean(ghosts):.2f}, worst {max(ghosts):.2f};"
            f" texture {np.mean(textures):.2f}, {min(textures):.2f} to {max(textures):.2f}"
        )
    for index, kind in ((2, "moved"), (3, "roof"), (5, "smaller"), (1, "roof")):
        case = edited(index, kind)
        pasted = [
            paste_back(
                case.photo, case.after, case.geometry, original=case.before,
                changed_only=True, carry=carry,
            )
            for carry in (False, True)
        ]  # fmt: skip
        model = Image.fromarray(case.after).resize((SIDE_PX,) * 2, Image.Resampling.BICUBIC)
        rows.append(np.hstack([case.photo, np.asarray(model), *pasted, case.truth])[24:168])
    Image.fromarray(np.vstack(rows)).save(path, quality=90)


if __name__ == "__main__":
    main(sys.argv[1])
