"""The matting Laplacian against its matrix, written out."""

import numpy as np
import pytest
import torch

from framework.style.matting import MattingLaplacian

RNG = np.random.default_rng(0)
CONTENT = RNG.random((5, 6, 3))
EPSILON = 0.02


def matrix() -> np.ndarray:
    """Levin et al. 2008, equation 12, window by window."""
    number = np.arange(30).reshape(5, 6)
    laplacian = np.zeros((30, 30))
    for y, x in np.ndindex(3, 4):
        inside = number[y : y + 3, x : x + 3].ravel()
        off = CONTENT.reshape(-1, 3)[inside]
        off = off - off.mean(axis=0)
        inverse = np.linalg.inv(off.T @ off / 9 + EPSILON / 9 * np.eye(3))
        laplacian[np.ix_(inside, inside)] += np.eye(9) - (1 + off @ inverse @ off.T) / 9
    return laplacian


def as_tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).movedim(2, 0)[None]


def test_the_energy_is_the_quadratic_form_of_the_matrix():
    values = RNG.random((5, 6, 2))
    flat = values.reshape(30, 2)
    wanted = np.einsum("ic,ij,jc->", flat, matrix(), flat)
    laplacian = MattingLaplacian(as_tensor(CONTENT), EPSILON)
    picture = as_tensor(values).requires_grad_(True)
    energy = laplacian.energy(picture)
    assert energy.item() == pytest.approx(wanted)
    (slope,) = torch.autograd.grad(energy, picture)
    assert np.allclose(slope[0].movedim(0, 2).numpy().reshape(30, 2), 2 * matrix() @ flat)
    assert laplacian.mean(picture).item() == pytest.approx(wanted / (12 * 9 * 2))


def test_colours_through_one_map_cost_nothing_and_a_new_edge_does():
    laplacian = MattingLaplacian(as_tensor(CONTENT), 1e-9)
    turned = CONTENT @ RNG.random((3, 3)) + 0.3
    assert laplacian.energy(as_tensor(turned)).item() == pytest.approx(0, abs=1e-6)
    edge = np.zeros((5, 6, 1))
    edge[:, 3:] = 1
    flat = MattingLaplacian(as_tensor(np.full((5, 6, 3), 0.5)))
    assert flat.mean(as_tensor(edge)).item() > 0.05
