"""Distances between feature sets against their definitions, written out naively."""

import importlib.util

import numpy as np
import pytest
import scipy.linalg
import torch

from framework.evaluation.generator.metrics import (
    frechet_distance,
    kernel_distance,
    kernel_interval,
    precision_recall,
)


def features(count: int, dimensions: int = 6, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    """Normal features with some correlation."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, dimensions, generator=rng) @ mix / dimensions**0.5 + shift


def naive_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Heusel et al. 2017, equation 6."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(gap @ gap + np.trace(cov_a + cov_b - 2 * root))


def naive_kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Binkowski et al. 2018: the unbiased estimate, pair by pair."""

    def k(x, y):
        return (float(x @ y) / len(x) + 1) ** 3

    m, n = len(a), len(b)
    aa = sum(k(a[i], a[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    bb = sum(k(b[i], b[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    ab = sum(k(x, y) for x in a for y in b) / (m * n)
    return aa + bb - 2 * ab


def naive_precision(real: np.ndarray, fake: np.ndarray, k: int) -> float:
    """Kynkäänniemi et al. 2019, equations 1 and 2."""
    radius = [sorted(np.linalg.norm(real - r, axis=1))[k] for r in real]
    inside = [any(np.linalg.norm(f - r) <= radius[i] for i, r in enumerate(real)) for f in fake]
    return float(np.mean(inside))


def arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [t.double().numpy() for t in tensors]


def test_frechet_distance_is_the_formula():
    real, fake = features(300), features(200, seed=1, shift=0.4)
    expected = naive_frechet(*arrays(real, fake))
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    assert expected > 0.5


def test_frechet_distance_falls_with_more_pictures_of_the_same_kind():
    few = frechet_distance(features(40), features(40, seed=1))
    many = frechet_distance(features(1000), features(1000, seed=1))
    assert 0 < many < few / 5


def test_kernel_distance_is_the_formula():
    real, fake = features(15), features(15, seed=1, shift=0.5)
    # With as many as there are, each of the random subsets is the whole set.
    expected = naive_kernel_distance(*arrays(real, fake))
    assert kernel_distance(real, fake).value == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_subsets_estimates_that_of_all():
    real, fake = features(90), features(60, seed=1, shift=0.5)
    whole = naive_kernel_distance(*arrays(real, fake))
    assert kernel_distance(real, fake).value == pytest.approx(whole, rel=0.1)
    assert kernel_distance(real, fake, seed=1).value != kernel_distance(real, fake).value
    assert kernel_distance(real, fake) == kernel_distance(real, fake)


def test_nobody_elses_random_numbers_are_used():
    before = torch.random.get_rng_state()
    kernel_distance(features(20), features(30))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_interval_is_the_jackknife():
    real, fake = arrays(features(9), features(7, seed=1, shift=0.5))
    without = [
        [naive_kernel_distance(np.delete(real, i, axis=0), fake) for i in range(len(real))],
        [naive_kernel_distance(real, np.delete(fake, i, axis=0)) for i in range(len(fake))],
    ]
    variance = sum((len(each) - 1) * np.var(each) for each in without)
    found = kernel_interval(torch.from_numpy(real), torch.from_numpy(fake))
    assert found == pytest.approx(1.96 * variance**0.5, rel=1e-9)


def test_the_interval_is_as_wide_as_other_pictures_make_it():
    pairs = [
        kernel_distance(features(60, seed=2 * i), features(60, seed=2 * i + 1, shift=0.3))
        for i in range(60)
    ]
    spread = 1.96 * float(np.std([pair.value for pair in pairs]))
    assert float(np.mean([pair.ci95 for pair in pairs])) == pytest.approx(spread, rel=0.3)


def test_precision_and_recall_are_the_formula():
    real, fake = features(40), 0.7 * features(50, seed=1) + 0.7
    precision, recall = precision_recall(real, fake)
    assert precision == pytest.approx(naive_precision(*arrays(real, fake), k=3))
    assert recall == pytest.approx(naive_precision(*arrays(fake, real), k=3))
    assert 0 < recall < precision < 1


def test_precision_and_recall_tell_copies_from_collapse():
    real = features(100)
    assert precision_recall(real, real.clone()) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)
    collapsed = real[:1] + 1e-3 * features(100, seed=1)
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1 and recall < 0.1


@pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed"
)
def test_precision_and_recall_are_torch_fidelitys():
    module = importlib.import_module("torch_fidelity.metric_prc")
    real, fake = features(60), 0.7 * features(60, seed=1)
    theirs = module.prc_features_to_metric(
        real, fake, prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=False, verbose=False
    )
    assert precision_recall(real, fake) == (theirs["precision"], theirs["recall"])
