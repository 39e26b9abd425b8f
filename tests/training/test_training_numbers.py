"""The small functions that every training stands on, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from framework.errors import UserError
from framework.training.ema import ema_beta, update_ema
from framework.training.gradients import FiniteGuard, sum_gradients
from framework.training.randomness import keyed_generator
from framework.training.stats import StatsCollector


def test_the_averages_half_life_is_counted_in_images():
    assert ema_beta(32, 10, None, 0) == 0.5 ** (32 / 10_000)
    # After so many batches that 10 kimg have passed, a weight counts half.
    assert ema_beta(50, 10, None, 0) ** 200 == pytest.approx(0.5)


# H8
def test_the_half_life_is_at_most_a_share_of_the_images_seen():
    assert ema_beta(32, 10, 0.05, 2000) == 0.5 ** (32 / 100)
    assert ema_beta(32, 10, 0.05, 1_000_000) == 0.5 ** (32 / 10_000)
    assert ema_beta(32, 10, 0.05, 0) == 0.0


# H8
def test_the_average_moves_parameters_and_copies_buffers():
    ours, theirs = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(ours.weight, 1.0)
    nn.init.constant_(theirs.weight, 3.0)
    theirs.running_mean = torch.tensor([5.0, 6.0])
    update_ema(ours, theirs, 0.75)
    assert ours.weight.tolist() == [1.5, 1.5]
    assert ours.running_mean is not None and ours.running_mean.tolist() == [5.0, 6.0]


def parameter(*values: float) -> nn.Parameter:
    made = nn.Parameter(torch.zeros(len(values)))
    made.grad = torch.tensor(values)
    return made


# H18
def test_gradients_that_are_not_finite_are_counted_and_replaced():
    a, b = parameter(1.0, math.nan), parameter(math.inf, -math.inf, -2.0)
    without = nn.Parameter(torch.zeros(3))
    assert sum_gradients([a, without, b]).item() == 3
    assert a.grad is not None and a.grad.tolist() == [1.0, 0.0]
    assert b.grad is not None and b.grad.tolist() == [1e5, -1e5, -2.0]
    assert without.grad is None


def test_other_sums_travel_along_and_are_left_as_they_are():
    a, b = parameter(1.0, math.nan), parameter(2.0)
    extras = [torch.tensor(math.inf), torch.tensor([[1.0, 2.0]])]
    assert sum_gradients([a, b], extras).item() == 1
    assert a.grad is not None and a.grad.tolist() == [1.0, 0.0]
    assert extras[0].item() == math.inf and extras[1].tolist() == [[1.0, 2.0]]


def test_good_gradients_are_left_alone():
    a = parameter(0.1, -3e38)
    assert sum_gradients([a]).item() == 0
    assert a.grad is not None and torch.equal(a.grad, torch.tensor([0.1, -3e38]))


def test_the_guard_wants_several_broken_steps_of_one_phase_in_a_row():
    guard = FiniteGuard(patience=3)
    broken, good = torch.tensor(9), torch.tensor(1)
    for bad in (broken, broken, good, broken, broken):
        guard.note("Dmain", bad, total=10)
        guard.note("Gmain", good, total=10)
        guard.check(0)
    guard.note("Dmain", broken, total=10)
    with pytest.raises(UserError, match=r"^Dmain: .* 3 steps in a row, by kimg 0\.02;"):
        guard.check(20)


def test_draws_depend_on_the_whole_key_and_on_nothing_else():
    def draw(*key: int | str) -> list[float]:
        return torch.rand(4, generator=keyed_generator("cpu", *key)).tolist()

    torch.manual_seed(1)
    first = draw(0, 32, "Gmain")
    torch.manual_seed(2)
    assert draw(0, 32, "Gmain") == first
    others = [
        draw(1, 32, "Gmain"),
        draw(0, 36, "Gmain"),
        draw(0, 32, "Dmain"),
        draw(0, "32", "Gmain"),
    ]
    assert all(other != first for other in others)


def test_the_keys_are_the_ones_that_runs_on_disk_were_begun_with():
    assert keyed_generator("cpu", 0, 32, "Gmain").initial_seed() == 49124272904489815
    assert keyed_generator("cpu", 7, "order", 3).initial_seed() == 1569714343349645784


def test_statistics_are_number_mean_and_deviation_since_the_last_look():
    stats = StatsCollector()
    stats.report("a", torch.tensor([1.0, 2.0]))
    stats.report("b", 7.0)
    stats.report("a", torch.tensor([[6.0]], dtype=torch.float16, requires_grad=True))
    got = stats.collect()
    assert list(got) == ["a", "b"]
    assert got["a"] == {"num": 3, "mean": 3.0, "std": pytest.approx(math.sqrt(14 / 3))}
    assert got["b"] == {"num": 1, "mean": 7.0, "std": 0.0}
    assert stats.collect() == {}


def test_the_time_of_a_body_is_reported_in_seconds():
    stats = StatsCollector()
    with stats.timed("Timing/x", torch.device("cpu")):
        sum(range(200_000))
    assert 1e-4 < stats.collect()["Timing/x"]["mean"] < 10
