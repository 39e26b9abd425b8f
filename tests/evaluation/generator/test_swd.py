import pytest
import torch
import torch.nn.functional as F

from framework.data import decoded, open_dataset
from framework.evaluation.generator.swd import laplacian_pyramid, sliced_wasserstein
from framework.media.images import to_float


@pytest.fixture(scope="module")
def cars() -> torch.Tensor:
    """Two dozen toy cars, (24, 3, 32, 32)."""
    pixels = decoded(open_dataset("toycars:24", size=32))
    return to_float(pixels.transpose(0, 2, 3, 1))


def mean(distances: dict[int, float]) -> float:
    return sum(distances.values()) / len(distances)


def test_a_set_is_no_distance_from_itself(cars):
    assert sliced_wasserstein(cars, cars) == {32: 0.0, 16: 0.0}


def test_it_is_the_same_each_time_and_follows_the_seed(cars):
    noisy = cars + 0.1 * torch.randn(cars.shape, generator=torch.Generator().manual_seed(0))
    first = sliced_wasserstein(cars, noisy)
    assert sliced_wasserstein(cars, noisy) == first
    assert sliced_wasserstein(cars, noisy, seed=1) != first


def test_the_order_of_the_pictures_hardly_matters(cars):
    halves = mean(sliced_wasserstein(cars[:12], cars[12:]))
    shuffled = mean(sliced_wasserstein(cars, cars.flip(0)))
    noise = torch.rand(cars.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert shuffled < halves < mean(sliced_wasserstein(cars, noise)) / 1.5


def test_it_grows_with_noise(cars):
    noise = torch.randn(cars.shape, generator=torch.Generator().manual_seed(0))
    steps = [mean(sliced_wasserstein(cars, cars + noise * s)) for s in (0.05, 0.15, 0.45)]
    assert 0 < steps[0] < steps[1] < steps[2]


def test_it_grows_with_blur_and_sees_it_in_the_fine_level(cars):
    def blurred(size: int) -> torch.Tensor:
        return F.avg_pool2d(cars, size, 1, size // 2, count_include_pad=False)

    a, b = sliced_wasserstein(cars, blurred(3)), sliced_wasserstein(cars, blurred(7))
    assert 0 < mean(a) < mean(b)
    assert a[32] > a[16]


def test_it_is_nearly_the_same_both_ways(cars):
    noisy = cars + 0.3 * torch.randn(cars.shape, generator=torch.Generator().manual_seed(0))
    there, back = mean(sliced_wasserstein(cars, noisy)), mean(sliced_wasserstein(noisy, cars))
    assert there == pytest.approx(back, rel=0.05)


def test_the_pyramid_adds_up_to_the_picture(cars):
    fine, coarse = laplacian_pyramid(cars)
    assert fine.shape == cars.shape and coarse.shape[2:] == (16, 16)
    up = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(fine + up, cars)


def test_sides_that_cannot_be_halved_are_compared_whole():
    images = torch.rand(4, 1, 28, 35)
    assert list(sliced_wasserstein(images, images)) == [28]


def test_sets_of_different_sizes_are_a_mistake(cars):
    with pytest.raises(AssertionError):
        sliced_wasserstein(cars, cars[:10])
