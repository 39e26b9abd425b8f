"""Image metrics: conventions by hand, sizes, boxes, and what the protocol says of them."""

import math

import pytest
import torch
from torch import Tensor

from framework.errors import UserError
from framework.evaluation.image_metrics import (
    ms_ssim,
    mse01,
    mse_pm1,
    protocol,
    psnr,
    scales,
    ssim,
)

METRICS = (mse_pm1, mse01, psnr, ssim, ms_ssim)


def noise(side: int, seed: int = 0, count: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=rng) * 2 - 1


def test_errors_by_hand():
    black, white = torch.full((1, 3, 16, 16), -1.0), torch.full((1, 3, 16, 16), 1.0)
    assert mse_pm1(black, white).item() == 4 and mse01(black, white).item() == 1
    assert psnr(black, white).item() == 0  # as wrong as can be: error equal to the peak
    grey = torch.full((1, 3, 16, 16), -0.8)  # a tenth of the range
    assert psnr(black, grey).item() == pytest.approx(20, abs=1e-4)
    assert psnr(black, black).item() == math.inf


def test_psnr_is_not_the_one_that_is_three_decibels_too_low():
    """10 log10(2 / mse) on [-1, 1], which a published benchmark prints, has the wrong peak."""
    a, b = noise(16), noise(16, seed=1)
    wrong = 10 * torch.log10(2 / mse_pm1(a, b))
    torch.testing.assert_close(psnr(a, b) - wrong, torch.full((2,), 10 * math.log10(2)))
    right = 10 * torch.log10(2**2 / mse_pm1(a, b))
    torch.testing.assert_close(psnr(a, b), right)


def test_numbers_are_torchmetrics_of_every_picture():
    from torchmetrics.functional import image as library

    a, b = noise(64), 0.7 * noise(64) + 0.3 * noise(64, seed=1)
    first, second = (x[:1] / 2 + 0.5 for x in (a, b))
    theirs = library.peak_signal_noise_ratio(second, first, data_range=1.0)
    torch.testing.assert_close(psnr(a, b)[0], theirs)
    theirs = library.structural_similarity_index_measure(second, first, data_range=1.0)
    torch.testing.assert_close(ssim(a, b)[0], theirs)
    weights = (0.2096, 0.4659, 0.3245)
    theirs = library.multiscale_structural_similarity_index_measure(
        second, first, data_range=1.0, betas=weights
    )
    torch.testing.assert_close(ms_ssim(a, b)[0], theirs)
    assert scales((64, 64)) == weights


def test_ssim_of_even_pictures_is_the_formula():
    """Wang et al. 2004, equation 13, where there is no structure: only brightness, on [0, 1]."""
    a, b = (torch.full((1, 3, 64, 64), 2 * x - 1) for x in (0.5, 0.1))
    by_hand = (2 * 0.5 * 0.1 + 0.01**2) / (0.5**2 + 0.1**2 + 0.01**2)
    assert ssim(a, b).item() == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_one_number_a_picture_and_know_the_better(metric):
    a, other = noise(48), noise(48, seed=1)
    near, far = metric(a, 0.9 * a + 0.1 * other), metric(a, 0.5 * a + 0.5 * other)
    assert near.shape == (2,) and near.isfinite().all()
    assert ((near < far) if metric in (mse_pm1, mse01) else (near > far)).all()
    alone = metric(a[1:], 0.5 * a[1:] + 0.5 * other[1:])
    torch.testing.assert_close(far[1:], alone)


@pytest.mark.parametrize("metric", METRICS)
def test_a_valid_box_is_the_cropped_picture(metric):
    a, b = noise(64), noise(64, seed=1)
    crop = metric(a[:, :, 8:56, 2:62], b[:, :, 8:56, 2:62])
    assert torch.equal(metric(a, b, (2, 8, 62, 56)), crop)
    assert not torch.allclose(metric(a, b), crop)


@pytest.mark.parametrize("metric", METRICS)
def test_values_beyond_the_range_are_those_of_the_file(metric):
    a, b = noise(48), 1.5 * noise(48, seed=1)
    assert torch.equal(metric(a, b), metric(a, b.clamp(-1, 1)))


@pytest.mark.parametrize(
    ("side", "count"), [(256, 5), (176, 5), (175, 3), (44, 3), (43, 1), (8, 1)]
)
def test_ms_ssim_has_the_scales_that_fit(side, count):
    a = noise(side, count=1)
    b = 0.8 * a + 0.2 * noise(side, seed=1, count=1)
    assert len(scales((side, 300))) == count
    assert 0 < ms_ssim(a, b).item() < 1 and ms_ssim(a, a).item() == pytest.approx(1)
    stated = protocol((side, 300))["ms_ssim"]
    assert stated["scales"] == count and sum(stated["weights"]) == pytest.approx(1, abs=1e-3)
    if count == 1:
        assert torch.equal(ms_ssim(a, b), ssim(a, b))


def test_the_scales_are_those_of_the_box():
    box = (0, 32, 256, 132)
    assert len(scales((256, 256), box)) == 3
    stated = protocol((256, 256), box)
    assert stated["valid_box"] == [0, 32, 256, 132] and stated["ms_ssim"]["scales"] == 3
    assert stated["size"] == "256x256" and "peak 1" in stated["psnr"]


@pytest.mark.parametrize("box", [(0, 0, 65, 64), (-1, 0, 8, 8), (8, 8, 8, 16), (0, 9, 8, 8)])
def test_a_box_outside_the_picture_is_a_mistake(box):
    with pytest.raises(UserError, match=r"valid box .* not inside pictures of 64x64 px"):
        mse_pm1(noise(64), noise(64), box)


def test_pictures_of_other_shapes_and_too_small_ones_are_mistakes():
    with pytest.raises(UserError, match="cannot be compared"):
        psnr(noise(64), noise(32))
    with pytest.raises(UserError, match="8x5 px are too small for SSIM"):
        ssim(noise(64), noise(64), (0, 0, 8, 5))
