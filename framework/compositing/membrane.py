"""The smoothest field with given values along its border (Laplace's equation), solved exactly."""

import numpy as np

Sides = tuple[bool, bool, bool, bool]  # left, top, right, bottom


def membrane(values: np.ndarray, fixed: Sides) -> np.ndarray:
    """Stretch a membrane over a box.

    The five-point Laplacian of a box is diagonal in products of sines and cosines, so two small
    matrix products on each side solve it, without iterations.

    Args:
        values: Field (H, W, C), of which the outermost pixels along fixed sides count.
        fixed: Sides (left, top, right, bottom) whose pixels keep their values; the field is level
            at the others.

    Returns:
        The field (H, W, C), float64; zero if no side is fixed.
    """
    left, top, right, bottom = fixed
    result = np.zeros(values.shape)
    for is_fixed, border in zip(fixed, _borders(), strict=True):
        if is_fixed:
            result[border] = values[border]
    height, width, _ = values.shape
    rows, columns = slice(int(top), height - bottom), slice(int(left), width - right)
    inner = result[rows, columns]
    if not any(fixed) or not inner.size:
        return result
    pull = np.zeros_like(inner)
    for is_fixed, border in zip(fixed, _borders(), strict=True):
        if is_fixed:
            across = rows if isinstance(border[0], slice) else columns
            pull[border] += result[border][across]
    wave_y, curve_y = _waves(inner.shape[0], not top, not bottom)
    wave_x, curve_x = _waves(inner.shape[1], not left, not right)
    curve = curve_y[:, None] + curve_x
    spectrum = np.einsum("yk,yxc,xl->klc", wave_y, pull, wave_x, optimize=True) / curve[..., None]
    result[rows, columns] = np.einsum("yk,klc,xl->yxc", wave_y, spectrum, wave_x, optimize=True)
    return result


def _borders() -> tuple[tuple, ...]:
    """Return the indices of the outermost pixels: left, top, right, bottom."""
    everything = slice(None)
    return (everything, 0), (0,), (everything, -1), (-1,)


def _waves(count: int, free_start: bool, free_end: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvectors, as columns, and eigenvalues of the negative second difference of a line.

    A fixed end is zero one step outside (DST-I if both are), a free one mirrors the last value
    (DCT-II if both are).
    """
    halves = (free_start + free_end) / 2
    j, k = np.arange(1, count + 1), np.arange(1, count + 1)
    angle = np.pi * (k - halves) / (count + 1 - halves)
    phases = np.outer(j - 0.5 * free_start, angle)
    wave = np.cos(phases) if free_start else np.sin(phases)
    return wave / np.linalg.norm(wave, axis=0), 2 - 2 * np.cos(angle)
