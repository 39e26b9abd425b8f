"""What was made of a small photograph, at full size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from framework.style import carry
from framework.style.carry import Carrier, affine_maps, mapped, strips


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth colours with an edge, in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 5, generator=rng) * 1.6 - 0.8
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")
    smooth[..., width // 2 :] *= -0.7
    return smooth


def carried(carrier: Carrier, full: torch.Tensor) -> torch.Tensor:
    size = (full.shape[2], full.shape[3])
    parts = [carrier.carried(full[:, :, rows], rows, size) for rows in strips(size[0])]
    return torch.cat(parts, dim=2)


def test_maps_are_the_ridge_regression_of_each_window():
    content, made = picture(9, 11).double(), picture(9, 11, 1).double()
    turn, shift = affine_maps(content, made)
    single = {}
    for y, x in np.ndindex(9, 11):
        window = np.s_[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5]
        own, goal = (p[0].permute(1, 2, 0).numpy()[window].reshape(-1, 3) for p in (content, made))
        off, wanted = own - own.mean(axis=0), goal - goal.mean(axis=0)
        ridge = off.T @ off / len(own) + carry._EPSILON * np.eye(3)
        matrix = np.linalg.solve(ridge, off.T @ wanted / len(own)).T
        single[y, x] = matrix, goal.mean(axis=0) - matrix @ own.mean(axis=0)
    near = [single[y, x] for y in range(0, 8) for x in range(1, 10)]  # the mean around (3, 5)
    assert np.allclose(turn[0, :, :, 3, 5], np.mean([m for m, _ in near], axis=0), atol=1e-9)
    assert np.allclose(shift[0, :, 3, 5], np.mean([s for _, s in near], axis=0), atol=1e-9)


@pytest.mark.parametrize("strokes", [True, False])
def test_a_change_of_colours_is_carried_with_the_edges_of_the_full_picture(strokes):
    matrix = torch.tensor([[0.8, 0.2, 0.0], [0.0, -0.6, 0.1], [0.3, 0.0, 0.5]])
    full = picture(96, 120)

    def change(colours):
        return torch.einsum("ij,njhw->nihw", matrix, colours) + 0.1

    small = F.adaptive_avg_pool2d(full, (32, 40))
    result = carried(Carrier(small, change(small), strokes), full)
    assert (result - change(full)).abs().mean() < 0.01
    assert (result - change(full)).abs().max() < 0.2  # an enlarged picture is off by the edge: 0.6
    blurred = F.interpolate(change(small), (96, 120), mode="bilinear")
    assert (blurred - change(full)).abs().max() > 0.3


def test_at_the_same_size_strokes_come_back_to_the_bit_or_not_at_all():
    content = picture(24, 30)
    noise = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(2)) - 0.5
    made = content + noise
    assert torch.allclose(carried(Carrier(content, made, True), content), made, atol=1e-5)
    without = carried(Carrier(content, made, False), content)
    assert (without - content).abs().mean() < 0.35 * noise.abs().mean()


def test_strips_change_nothing(monkeypatch):
    content, full = picture(13, 17), picture(40, 51)
    carrier = Carrier(content, picture(13, 17, 1), True)
    whole = carried(carrier, full)
    monkeypatch.setattr(carry, "_STRIP_PX", 7)
    assert torch.allclose(carried(carrier, full), whole, atol=1e-6)
    maps = torch.cat([carrier._maps, carrier._rest], dim=1)
    large = F.interpolate(maps, (40, 51), mode="bilinear")
    assert torch.allclose(mapped(large[:, :12], full) + large[:, 12:], whole, atol=1e-5)
