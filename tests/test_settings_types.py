"""Numbers of NumPy's and torch's are numbers in every setting; True is none."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from framework.drag.session import DragSession
from framework.drag.settings import DragSettings
from framework.errors import UserError
from framework.inversion.settings import InversionSettings
from framework.settings import MOST, Settings, is_number, whole

KINDS: list[type[Settings]] = sorted(Settings.__subclasses__(), key=lambda kind: kind.__name__)


def numeric(kind: type[Settings]) -> list[str]:
    """Fields of a settings class that hold numbers."""
    return [f.name for f in fields(kind) if "int" in str(f.type) or "float" in str(f.type)]


CASES = [(kind, name) for kind in KINDS for name in numeric(kind)]


def test_the_cases_are_all_there():
    assert InversionSettings in KINDS and (DragSettings, "max_seconds") in CASES
    assert len(CASES) > 30


# C3f
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_number_may_be_numpys_or_a_tensor(kind, name):
    for number in (np.int64(9), np.uint8(9), np.array(9), torch.tensor(9)):
        value = getattr(kind(**{name: number}), name)
        assert value == 9 and type(value) is int
    if "float" in str(kind.__dataclass_fields__[name].type):
        value = getattr(kind(**{name: np.float32(0.5)}), name)
        assert value == 0.5 and type(value) is float


# C3f
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_limits_hold_after_the_change_and_true_is_no_number(kind, name):
    for bad in (
        np.int64(-1), torch.tensor(-1.0), True, np.True_, torch.tensor(True), np.float64("nan"),
        10**400, "8", np.array([8]), complex(8),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"^{name} ") as error:
            kind(**{name: bad})
        assert "\n" not in str(error.value)


def test_whole_numbers_of_calls_are_checked_alike():
    assert whole(np.int64(3), "count") == 3
    for bad in (-3, 2.0, None, True, "1"):
        with pytest.raises(UserError, match=r"^count .*: expected a whole number of at least 0"):
            whole(bad, "count")


# B7f
@pytest.mark.parametrize("count", [-3, "1", None, 1.5, True])
@pytest.mark.parametrize("call", ["undo", "redo"])
def test_undo_goes_back_and_redo_forward_only(tiny_generator, count, call):
    ws = torch.zeros(1, tiny_generator.num_ws, tiny_generator.w_dim)
    session = DragSession(tiny_generator, ws)
    session.add_point(np.array([5, 5]), (np.int64(6), torch.tensor(7)))
    with pytest.raises(UserError, match=r"^count "):
        getattr(session, call)(count)
    assert session.points == ((5.0, 5.0),) and session.targets == ((6.0, 7.0),)
    session.undo(np.int64(1))
    assert session.points == () and session.can_redo == 1
    session.set_points(iter([(5, 5)]), iter([(6, 6)]))
    session.set_points([], np.zeros((0, 2)))
    assert session.points == ()
    with pytest.raises(UserError, match="expected a list of points"):
        session.set_points(None, None)


@pytest.mark.parametrize("value", [MOST + 1, -MOST - 1, -(10**400), 10**400, float("-inf")])
def test_numbers_beyond_what_counts_are_kept_in_are_none_on_both_sides(value):
    assert not is_number(value)
    assert is_number(MOST) and is_number(-MOST)
