"""The speed of a network's Adam is corrected for its own lazy regularisation, and no other's."""

from typing import Any

import pytest
from torch import nn

from framework.training.phases import Phase, lazy_share


def nothing(_: Any) -> Any:
    raise AssertionError("no phase is run here")


def test_each_network_has_its_own_share():
    """Karras et al. 2020, appendix B: 4/5 for path lengths every 4 batches, 16/17 for R1."""
    generator, discriminator, encoder = (nn.Linear(1, 1) for _ in range(3))
    phases = [
        Phase("g", "Gmain", generator, 1, nothing),
        Phase("pl", "Greg", generator, 4, nothing),
        Phase("d", "Dmain", discriminator, 1, nothing),
        Phase("r1", "Dreg", discriminator, 16, nothing),
        Phase("e", "Emain", encoder, 1, nothing),
    ]
    for order in (phases, phases[::-1]):
        assert lazy_share(generator, order) == pytest.approx(4 / 5)
        assert lazy_share(discriminator, order) == pytest.approx(16 / 17)
        assert lazy_share(encoder, order) == 1.0
