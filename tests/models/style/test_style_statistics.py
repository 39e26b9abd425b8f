"""Statistics of features against loops, and what they do not depend on."""

import numpy as np
import pytest
import torch

from framework.models.style.statistics import adapted, gram, gram_distance, moments

FEATURES = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
OTHER = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(1)) * 3


def test_a_gram_matrix_is_what_loops_say():
    wanted = np.zeros((2, 3, 3))
    for n, i, j in np.ndindex(2, 3, 3):
        products = [FEATURES[n, i, y, x] * FEATURES[n, j, y, x] for y, x in np.ndindex(4, 5)]
        wanted[n, i, j] = sum(products) / 20
    assert np.allclose(gram(FEATURES).numpy(), wanted, atol=1e-6)


def test_a_manner_depends_neither_on_places_nor_on_size():
    turned = FEATURES.flip(2, 3)
    tiled = FEATURES.repeat(1, 1, 3, 2)
    for same in (turned, tiled):
        assert gram_distance([same], [gram(FEATURES)]) == pytest.approx(0, abs=1e-9)
    assert gram_distance([FEATURES, FEATURES * 0], [gram(FEATURES)] * 2) == pytest.approx(0.5)


def test_adapted_features_have_the_moments_of_the_style_and_the_places_of_the_content():
    made = adapted(FEATURES, OTHER)
    assert made.shape == FEATURES.shape
    for own, wanted in zip(moments(made), moments(OTHER), strict=True):
        assert torch.allclose(own, wanted, atol=1e-3)
    for before, after in zip(FEATURES.flatten(0, 1), made.flatten(0, 1), strict=True):
        together = torch.stack([before.flatten(), after.flatten()])
        assert torch.corrcoef(together)[0, 1] == pytest.approx(1, abs=1e-4)


def test_features_without_spread_get_the_mean_alone():
    made = adapted(torch.ones(1, 3, 4, 4), OTHER[:1])
    assert torch.allclose(made, moments(OTHER[:1])[0].expand_as(made), atol=1e-5)
