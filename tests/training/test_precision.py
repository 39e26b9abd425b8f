"""What autocast computes in, by choice and machine."""

import pytest
import torch

from framework.training import precision
from framework.training.precision import autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("choice", ["auto", "none", "bfloat16"])
def test_auto_is_bfloat16_where_the_processor_has_it(choice, native, monkeypatch):
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda: native)
    with autocast(choice, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    low = choice == "bfloat16" or (choice == "auto" and native)
    assert product.dtype == (torch.bfloat16 if low else torch.float32)
