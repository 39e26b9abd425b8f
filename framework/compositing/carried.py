"""The photograph's own detail, carried along to where an edit moved what it belongs to.

Where an edit changes much, the model's picture replaces the photograph, and a model's picture is
small and smooth: the ground that it uncovers has no texture, and the old outline stays as the
outline of that patch. But what the model shows there it mostly shows elsewhere before the edit,
too: ground beside ground, the car beside where it was. The photograph's detail of that place is
the detail that is missing here: before is to photograph as after is to result (image analogies,
Hertzmann et al. 2001).

Few shifts explain most of a picture (He & Sun 2012, Statistics of patch offsets), so a handful is
chosen, each the one that explains the most of what the earlier ones left. A shift carries one
connected stretch of texture, so nothing is averaged and nothing blurs.
"""

import numpy as np
from scipy import ndimage

from framework.compositing.detail import Carried

ALIKE_LEVELS = 7.0  # of 255: root mean square difference of patches that show the same
_SIMILAR_LEVELS = 20.0  # the same before a shift is found to the fraction of a pixel
_REACH_PX = 2  # patches of 5 x 5
SAME_THING_LEVELS = 24.0  # neighbours that differ by more say little about a pixel's surface
_MODEL_ERROR_LEVELS = 10.0  # mean difference of model and photograph: another thing is there
_TEXTURE_REACH_PX, _OUTLIER = 5, 1.0  # what differs by so many times the median is no texture
_MOST_SHIFTS, _FEWEST_PX = 24, 3
_DENSE_PX, _SPARSE_STEP_PX = 12, 3  # every shift up to there, then every third
_SEARCHED_PX = 64  # longer side of the picture in which shifts are searched; then they are refined
_FRACTIONS_PX = (0.5, 0.25)
_MOST_SAMPLES = 2000  # places at which a finer shift is tried


def unlike_photo(before: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Return where the model shows another thing than the photograph, (H, W) booleans.

    Means over patches are compared: texture that the model lacks is no other thing.
    """
    error = mean_around(photo.astype(np.float32) - before)
    return np.abs(error).max(axis=2) > _MODEL_ERROR_LEVELS


def left_out(before: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Return where the photograph shows what the model leaves out, (H, W) booleans.

    That is where it differs by much more than the texture around it does: an outline that is not
    quite the model's, however thin.
    """
    error = np.abs(photo.astype(np.float32) - before).max(axis=2)
    usual = ndimage.median_filter(error, 2 * _TEXTURE_REACH_PX + 1)
    return ndimage.maximum_filter(error > _MODEL_ERROR_LEVELS + _OUTLIER * usual, 3)


def mean_around(field: np.ndarray) -> np.ndarray:
    """Return the means of a field (H, W, C) over the patch around each pixel."""
    side = 2 * _REACH_PX + 1
    return ndimage.uniform_filter(field, side, axes=(0, 1))


def carried_detail(
    before: np.ndarray, after: np.ndarray, moved: np.ndarray, trusted: np.ndarray
) -> list[Carried]:
    """Find where to take detail from for what an edit moved.

    Args:
        before: The model's picture before the edit, (H, W, C) float32 in levels.
        after: The same after it.
        moved: Where detail is missing, (H, W) booleans.
        trusted: Where the model's picture shows what the photograph does, (H, W) booleans.

    Returns:
        Disjoint masks within `moved` with their shifts, in quarters of a pixel; what no place
        explains is in none.
    """
    if not moved.any() or not trusted.any():
        return []
    factor = 1
    while max(moved.shape) > factor * _SEARCHED_PX:
        factor *= 2
    level = _Level.reduced(before, after, moved, trusted, factor)
    shifts = _cover(level, _candidates(level.trusted.shape), (ALIKE_LEVELS, _SIMILAR_LEVELS))
    while factor > 1:
        factor //= 2
        level = _Level.reduced(before, after, moved, trusted, factor)
        shifts = [_refined(level, 2 * shift, 1) for shift in shifts]
    for step_px in _FRACTIONS_PX:
        shifts = [_refined(level, shift, step_px) for shift in shifts]
    shifts = _cover(level, np.array(shifts).reshape(-1, 2), (ALIKE_LEVELS,))
    return list(_labelled(level, shifts, moved.shape))


class _Level:
    """The search at one size: patches after the edit, to be compared with shifted ones before it.

    A patch's pixels count as far as they look like its middle, so that ground beside an outline
    is compared with ground (Yoon & Kweon 2006, adaptive support weights).
    """

    def __init__(
        self, before: np.ndarray, after: np.ndarray, targets: np.ndarray, trusted: np.ndarray
    ) -> None:
        self.before, self.targets, self.trusted = before, targets, trusted
        self._patches = _windows(after)[tuple(targets.T)]
        middle = after[tuple(targets.T)][..., None, None]
        differs = np.abs(self._patches - middle).max(axis=1, keepdims=True)
        self._weights = np.exp(-differs / SAME_THING_LEVELS)
        self._weights /= self._weights.sum(axis=(2, 3), keepdims=True) * before.shape[2]
        self._moved_by: dict[tuple[float, ...], np.ndarray] = {}

    @classmethod
    def reduced(
        cls,
        before: np.ndarray,
        after: np.ndarray,
        moved: np.ndarray,
        trusted: np.ndarray,
        factor: int,
    ) -> "_Level":
        """Make the level whose pixels are blocks of `factor` x `factor` pixels."""
        small, edited = (_blocks(field, factor).mean(axis=(1, 3)) for field in (before, after))
        somewhere: np.ndarray = np.any(_blocks(moved[..., None], factor), axis=(1, 3))
        everywhere: np.ndarray = np.all(_blocks(trusted[..., None], factor), axis=(1, 3))
        return cls(small, edited, np.argwhere(somewhere[..., 0]), everywhere[..., 0])

    def costs(self, shift: np.ndarray, of: slice | np.ndarray = np.s_[:]) -> np.ndarray:
        """Return mean squared differences (N,) for a shift (y, x); inf where it is not trusted."""
        whole = np.floor(shift).astype(int)
        windows = self._shifted_by_fraction(shift - whole)
        limit = np.array(self.trusted.shape) - 1
        place = self.targets[of] + np.rint(shift).astype(int)
        valid: np.ndarray = np.all((place >= 0) & (place <= limit), axis=1)
        valid[valid] &= self.trusted[tuple(place[valid].T)]
        costs = np.full(len(valid), np.inf, np.float32)
        if valid.any():
            y, x = (self.targets[of][valid] + whole).clip(0, limit).T
            differences = windows[y, x] - self._patches[of][valid]
            costs[valid] = (self._weights[of][valid] * differences**2).sum(axis=(1, 2, 3))
        return costs

    def _shifted_by_fraction(self, fraction: np.ndarray) -> np.ndarray:
        """Return the patches of `before`, read at this fraction of a pixel further."""
        key = tuple(fraction.tolist())
        if key not in self._moved_by:
            picture = self.before
            if any(key):
                picture = ndimage.shift(picture, (-key[0], -key[1], 0), mode="nearest")
            self._moved_by[key] = _windows(picture)
        return self._moved_by[key]


def _windows(picture: np.ndarray) -> np.ndarray:
    """Return views of the patch around each pixel, (H, W, C, 5, 5)."""
    edge, side = (_REACH_PX, _REACH_PX), 2 * _REACH_PX + 1
    padded = np.pad(picture, (edge, edge, (0, 0)), mode="edge").astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))


def _blocks(field: np.ndarray, factor: int) -> np.ndarray:
    """Cut a field (H, W, C) into blocks, (h, factor, w, factor, C), its border repeated."""
    height, width = (-(-side // factor) for side in field.shape[:2])
    fill = (height * factor - field.shape[0], width * factor - field.shape[1])
    padded = np.pad(field, ((0, fill[0]), (0, fill[1]), (0, 0)), mode="edge")
    return padded.reshape(height, factor, width, factor, -1)


def _candidates(size: tuple[int, ...]) -> np.ndarray:
    """Return shifts (N, 2) of y and x: all small ones, and a grid of those to half the picture."""
    side = np.arange(-max(_DENSE_PX, max(size) // 2), max(_DENSE_PX, max(size) // 2) + 1)
    shifts = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    near = np.abs(shifts).max(axis=1) <= _DENSE_PX
    on_grid = (shifts % _SPARSE_STEP_PX == 0).all(axis=1)
    return shifts[(near | on_grid) & shifts.any(axis=1)]


def _cover(level: _Level, shifts: np.ndarray, limits: tuple[float, ...]) -> list[np.ndarray]:
    """Choose shifts, each the one that explains the most of what the earlier ones leave.

    Args:
        level: The pictures.
        shifts: Shifts to choose from, (N, 2).
        limits: Differences that count as explained, in levels; what the first leaves unexplained
            is tried with the next.
    """
    if not len(shifts):
        return []
    costs = np.stack([level.costs(shift) for shift in shifts])
    left, chosen = np.ones(costs.shape[1], bool), []
    for limit in limits:
        good = costs < limit**2
        left &= ~good[chosen].any(axis=0)
        gain = (good & left).sum(axis=1)
        while gain.max() >= _FEWEST_PX and len(chosen) < _MOST_SHIFTS:
            best = int(gain.argmax())
            chosen.append(best)
            left &= ~good[best]
            gain = (good & left).sum(axis=1)
    return [shifts[k] for k in chosen]


def _refined(level: _Level, shift: np.ndarray, step_px: float) -> np.ndarray:
    """Return the best of a shift and its eight neighbours."""
    skip = max(1, len(level.targets) // _MOST_SAMPLES)
    around = (-step_px, 0.0, step_px)
    tried = [shift + np.array([y, x]) for y in around for x in around]

    def explained(candidate: np.ndarray) -> float:
        costs = level.costs(candidate, np.s_[::skip])
        return float((_SIMILAR_LEVELS**2 - costs).clip(0).sum())

    return max(tried, key=explained)


def _labelled(level: _Level, shifts: list[np.ndarray], size: tuple[int, ...]) -> list[Carried]:
    """Give each target the first shift that explains it: the largest stretches stay whole."""
    left = np.ones(len(level.targets), bool)
    pieces = []
    for shift in shifts:
        taken = left & (level.costs(shift) < ALIKE_LEVELS**2)
        left &= ~taken
        mask = np.zeros(size, bool)
        mask[tuple(level.targets[taken].T)] = True
        pieces.append(Carried(float(shift[1]), float(shift[0]), mask))
    return pieces
