import math

import numpy as np
import pytest
import torch

from framework.drag.points import check_points, parse_points
from framework.errors import InvalidEdit

SIZE = (48, 64)

BAD_POINTS = [
    (-1, 5), (64, 5), (5, 48), (1e9, 5), (63.01, 5), (math.nan, 5), (math.inf, 5), (None, 5),
    ("5", "5"), "5,5", (True, 5), (5 + 0j, 5), (5, 5, 5), (5,), [[5, 5]], 5, None, {"x": 5},
]  # fmt: skip


# E3
@pytest.mark.parametrize("bad", BAD_POINTS, ids=repr)
def test_a_bad_point_is_refused_by_name(bad):
    with pytest.raises(InvalidEdit, match=r"^handle 1 ") as error:
        check_points([(5, 5), bad], [(6, 6), (7, 7)], SIZE)
    assert "\n" not in str(error.value)
    with pytest.raises(InvalidEdit, match=r"^target 0 "):
        check_points([(5, 5)], [bad], SIZE)


# E6
@pytest.mark.parametrize("bad", [None, 7, "5,5", {}])
def test_points_must_be_a_list(bad):
    with pytest.raises(InvalidEdit, match="expected a list of points"):
        check_points(bad, [(5, 5)], SIZE)


# E7
def test_numbers_of_points_must_fit():
    with pytest.raises(InvalidEdit, match="2 handles but 1 targets"):
        check_points([(1, 1), (2, 2)], [(3, 3)], SIZE)
    with pytest.raises(InvalidEdit, match="no points"):
        check_points([], [], SIZE)
    many = [(i % 60, i % 40) for i in range(1000)]
    with pytest.raises(InvalidEdit, match="1000 points: give at most 64"):
        check_points(many, many, SIZE)


# E4
def test_fractions_arrays_and_tensors_are_kept_as_they_are():
    for kind in (list, np.array, torch.tensor):
        handles, targets = check_points(kind([[0.5, 46.75]]), kind([[63, 47]]), SIZE)
        assert handles == [(0.5, 46.75)] and targets == [(63.0, 47.0)]


# C3f
@pytest.mark.parametrize(
    "point",
    [
        (np.int64(5), np.int64(7)), [np.float32(5), np.uint8(7)], (torch.tensor(5), 7.0),
        np.argwhere(np.arange(64).reshape(8, 8) == 47)[0], np.array([5, 7], object),
        torch.tensor([5.0, 7.0], requires_grad=True), (np.array(5), torch.tensor(7.0)),
        (np.float16(5), torch.tensor(7, dtype=torch.bfloat16)),
    ],
    ids=repr,
)  # fmt: skip
def test_numbers_of_numpy_and_torch_are_numbers(point):
    handles, targets = check_points([point], (point,), SIZE)
    assert handles == targets == [(5.0, 7.0)]
    assert {type(number) for number in handles[0]} == {float}


# E3
# C3f
@pytest.mark.parametrize(
    "bad",
    [
        (np.True_, 5), (np.int64(-1), 5), (np.nan, np.int64(1)), (torch.tensor(True), 5),
        (np.complex64(1), 5), (np.str_("5"), 5), (torch.tensor([5]), 5), (10**400, 5),
        torch.zeros(2, device="meta"), (torch.zeros((), device="meta"), 5),
        np.array(["5", "5"]), np.array([True, False]), np.datetime64("2020-01-01"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_only_looks_like_a_number_is_refused_in_a_line(bad):
    with pytest.raises(InvalidEdit, match=r"^handle 0 ") as error:
        check_points([bad], [(5, 5)], SIZE)
    assert "\n" not in str(error.value)


def test_points_are_read_from_text():
    assert parse_points(" 1,2 : 3.5,4 ; 5,6:7,8; ", SIZE) == (
        [(1.0, 2.0), (5.0, 6.0)],
        [(3.5, 4.0), (7.0, 8.0)],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no points"), ("1,2", "expected handle:target"), ("1,2:3,4:5,6", "handle:target"),
        ("1,2:3", "two numbers x,y"), ("1,2,3:4,5", "two numbers"), ("a,b:1,2", "two numbers"),
        ("nan,1:2,2", "handle 0 .* finite"), ("1,2:99,2", "target 0 .*outside the picture"),
    ],
)  # fmt: skip
def test_text_that_is_no_points_says_so(text, message):
    with pytest.raises(InvalidEdit, match=message):
        parse_points(text, SIZE)
