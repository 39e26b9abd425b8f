import pytest
import torch

from tests.drag.fakes import ShiftGenerator


@pytest.fixture(autouse=True)
def one_seed():
    torch.manual_seed(0)


@pytest.fixture
def shifter():
    """A fresh generator whose latents shift its 64 px picture."""
    return ShiftGenerator()


@pytest.fixture(scope="session")
def tiny_ws(tiny_generator):
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        return tiny_generator.mapping(torch.randn(1, tiny_generator.z_dim, generator=rng))
