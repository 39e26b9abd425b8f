"""Gradient-domain blending over a mask of any shape (Pérez et al. 2003, Poisson image editing).

Inside the mask the result has the source's gradients, outside it is the target, and along the
border of the mask both agree. `framework.compositing.membrane` solves the special case of a box
that holds no gradients, faster.
"""

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, identity
from scipy.sparse.linalg import cg, splu

from framework.errors import UserError

_MOST_DIRECT = 1 << 17  # unknowns that are factorised; more are solved from a coarse solution
_RESIDUAL = 1e-5  # of the right-hand side, where iterations solve
_MOST_ITERATIONS = 40  # after a coarse solution only fine errors are left, and go fast


def blend(
    target: np.ndarray, source: np.ndarray, mask: np.ndarray, *, mixed: bool = False
) -> np.ndarray:
    """Blend a picture into another by its gradients.

    Args:
        target: The picture around, (H, W, C), any numbers.
        source: The picture whose gradients are wanted inside the mask, (H, W, C).
        mask: Where to blend, (H, W), nonzero inside. The picture's border is free: there the
            result continues as the source does.
        mixed: Whether to take the stronger of the two pictures' gradients at each place (eq. 12).

    Returns:
        float64 (H, W, C), equal to the target outside the mask.

    Raises:
        UserError: If shapes disagree or the mask covers everything.
    """
    inside = checked_mask(mask, target)
    if source.shape != target.shape:
        raise UserError(f"source {source.shape} and target {target.shape}: give one size")
    result = target.astype(np.float64)
    if inside.any():
        result[inside] = _solved(result, source.astype(np.float64), inside, mixed)
    return result


def interpolate(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Continue a field into a mask as smoothly as possible: Laplace's equation.

    Args:
        values: Field (H, W, C), which counts outside the mask.
        mask: Where to continue it, (H, W), nonzero inside.

    Returns:
        float64 (H, W, C).

    Raises:
        UserError: As `blend`.
    """
    return blend(values, np.zeros_like(values), mask)


def screened(
    colours: np.ndarray,
    slopes: tuple[np.ndarray, np.ndarray],
    picture: np.ndarray,
    mask: np.ndarray,
    pull: float,
) -> np.ndarray:
    """Fill a mask with colours and slopes that need not agree: the screened Poisson equation.

    Minimises the squared differences to the colours, plus `pull` times those to the slopes (Bhat et
    al. 2008, Fourier analysis of the 2D screened Poisson equation).

    Args:
        colours: Wanted colours, (H, W, C); those in the mask count.
        slopes: Wanted differences from each pixel to the one below it, and to the right, (H, W, C).
        picture: What is around, (H, W, C).
        mask: Where to solve, bool (H, W).
        pull: Weight of the slopes.

    Returns:
        float64 (H, W, C), equal to the picture outside the mask.
    """
    index = np.arange(mask.size).reshape(mask.shape)
    pairs = [(index[:-1], index[1:]), (index[:, :-1], index[:, 1:])]
    first, second = (np.concatenate([pair[end].ravel() for pair in pairs]) for end in (0, 1))
    wanted = np.concatenate([
        slope.reshape(mask.size, -1)[pair[0].ravel()]
        for slope, pair in zip(slopes, pairs, strict=True)
    ])  # fmt: skip
    inside = mask.ravel()
    near = inside[first] | inside[second]
    first, second, wanted = first[near], second[near], wanted[near].astype(np.float64)
    number = np.cumsum(inside) - 1
    known = picture.reshape(mask.size, -1).astype(np.float64)
    differences = csr_matrix((first.size, int(inside.sum())))
    for end, sign in ((first, -1.0), (second, 1.0)):
        free = inside[end]
        wanted[~free] -= sign * known[end[~free]]
        place = np.flatnonzero(free), number[end[free]]
        differences += csr_matrix((np.full(free.sum(), sign), place), differences.shape)
    start = colours[mask].astype(np.float64)
    matrix = identity(len(start), format="csr") + pull * (differences.T @ differences)
    result = picture.astype(np.float64)
    result[mask] = _iterated(matrix, start + pull * (differences.T @ wanted), start)
    return result


def checked_mask(mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return a mask as booleans (H, W), checked to fit a picture (H, W, C) and to leave some of it.

    Raises:
        UserError: If sizes disagree, or nothing of the picture would be left.
    """
    if mask.shape != picture.shape[:2] or picture.ndim != 3:
        raise UserError(f"mask {mask.shape} for a picture {picture.shape}: give one size")
    inside = np.asarray(mask) != 0
    if inside.all():
        raise UserError("the mask covers the whole picture: nothing is left to continue from")
    return inside


def _solved(target: np.ndarray, source: np.ndarray, inside: np.ndarray, mixed: bool) -> np.ndarray:
    """Solve for the pixels inside, (N, C): eq. 7, the four neighbours of each pixel."""
    count = int(inside.sum())
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(count)
    at = np.nonzero(inside)
    degree = np.zeros(count)
    pull = np.zeros((count, target.shape[2]))
    rows, columns = [], []
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = at[0] + step[0], at[1] + step[1]
        exists = (y >= 0) & (x >= 0) & (y < inside.shape[0]) & (x < inside.shape[1])
        here = np.flatnonzero(exists)
        own, other = (at[0][here], at[1][here]), (y[here], x[here])
        slope = source[own] - source[other]
        if mixed:
            steeper = target[own] - target[other]
            slope = np.where(np.abs(steeper) > np.abs(slope), steeper, slope)
        unknown = inside[other]
        degree[here] += 1
        pull[here] += slope + np.where(unknown[:, None], 0, target[other])
        rows.append(here[unknown])
        columns.append(number[other][unknown])
    row, column = np.concatenate(rows), np.concatenate(columns)
    diagonal = np.arange(count)
    matrix = csc_matrix(
        (
            np.concatenate([degree, np.full(row.size, -1.0)]),
            (np.concatenate([diagonal, row]), np.concatenate([diagonal, column])),
        )
    )
    if count <= _MOST_DIRECT:
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        return factors.solve(pull)
    return _iterated(matrix, pull, _coarse(target, source, inside, mixed))


def _coarse(target: np.ndarray, source: np.ndarray, inside: np.ndarray, mixed: bool) -> np.ndarray:
    """Return a first guess (N, C): the source, moved by what a picture of half the size asks."""
    height, width = (side // 2 * 2 for side in inside.shape)

    def halved(field: np.ndarray) -> np.ndarray:
        blocks = field[:height, :width].reshape(height // 2, 2, width // 2, 2, -1)
        return blocks.mean(axis=(1, 3))

    known = halved(~inside[..., None])
    shift = halved(np.where(inside[..., None], 0, target - source)) / np.maximum(known, 0.25)
    small = known[..., 0] == 0
    if small.any() and not small.all():
        shift[small] = _solved(shift, np.zeros_like(shift), small, mixed=False)
    y, x = (
        np.minimum(at // 2, side - 1)
        for at, side in zip(np.nonzero(inside), small.shape, strict=True)
    )
    return source[inside] + shift[y, x]


def _iterated(matrix, pull: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Solve by conjugate gradients, channel by channel."""
    channels = [
        cg(matrix, pull[:, c], guess[:, c], rtol=_RESIDUAL, maxiter=_MOST_ITERATIONS)[0]
        for c in range(pull.shape[1])
    ]
    return np.stack(channels, axis=1)
