"""Personal generators: what they change, what they share, and what files hold of it."""

import pytest
import torch

from framework.drag.algorithm import drag_points
from framework.drag.settings import DragSettings
from framework.errors import BrokenCheckpoint, UserError
from framework.inversion.deltas import WeightDeltas, personal
from framework.models.digest import state_digest
from tests.inversion.small import small_generator
from tests.inversion.streams import seeds_ws

CONV = "synthesis.b8.conv0.weight"
NOISE = "synthesis.b8.conv1.noise_const"


def some_deltas(generator, scale: float = 0.1) -> WeightDeltas:
    weight = generator.get_parameter(CONV)
    return WeightDeltas(
        {CONV: scale * torch.randn_like(weight)},
        {"synthesis.b16.conv1.weight": (scale * torch.randn(8, 2), torch.randn(2, 72))},
    )


def images(generator, ws):
    with torch.no_grad():
        return generator.synthesis(ws, noise_mode="const")


def test_a_personal_generator_differs_where_it_was_changed_and_shares_the_rest():
    base = small_generator()
    ws, before, digest = seeds_ws(base, 1), state_digest(base), base.digest
    noise = torch.randn(8, 8)
    own = personal(base, {NOISE: noise}, some_deltas(base))
    changed = {CONV, NOISE, "synthesis.b16.conv1.weight"}
    held, mine = base.state_dict(), own.state_dict()
    assert {n for n in held if not torch.equal(held[n], mine[n])} == changed
    assert {n for n in held if held[n].data_ptr() != mine[n].data_ptr()} == changed
    assert torch.equal(mine[NOISE], noise)
    assert state_digest(base) == before == digest == base.digest != own.digest
    assert own.digest == state_digest(own)
    assert not torch.equal(images(base, ws), images(own, ws))
    assert not any(p.requires_grad for p in own.parameters()) and not own.training


def test_nothing_to_change_is_the_generator_itself():
    base = small_generator()
    assert personal(base) is base
    assert personal(base, {}, WeightDeltas()) is base


def test_personal_generators_can_be_dragged_and_changed_again():
    base = small_generator()
    own = personal(base, None, some_deltas(base))
    ws = seeds_ws(base, 1)
    *_, last = drag_points(own, ws, [(4, 4)], [(9, 9)], settings=DragSettings(max_steps=2))
    assert last.step == 2 and not torch.equal(last.ws, ws)
    twice = personal(own, None, some_deltas(base))
    weights = [g.get_parameter(CONV) for g in (base, own, twice)]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    back = personal(own, None, WeightDeltas({CONV: weights[0] - weights[1]}))
    assert torch.allclose(back.get_parameter(CONV), weights[0], atol=1e-6)


def test_half_precision_through_a_file_makes_the_same_picture_as_before_it():
    base = small_generator()
    ws, deltas = seeds_ws(base, 2), some_deltas(base)
    half = deltas.half()
    read = WeightDeltas.from_tensors({**half.tensors(), "ws": ws})
    assert read is not None and read.names == deltas.names
    assert set(half.tensors()) == {
        f"delta.{CONV}",
        "delta.synthesis.b16.conv1.weight.A",
        "delta.synthesis.b16.conv1.weight.B",
    }
    assert all(tensor.dtype == torch.float16 for tensor in half.tensors().values())
    assert personal(base, None, read).digest == personal(base, None, half).digest
    whole = images(personal(base, None, deltas), ws)
    apart = (images(personal(base, None, read), ws) - whole).abs().max()
    assert 0 < apart < 2 / 255


def test_factors_are_multiplied_in_one_order():
    a, b = torch.randn(8, 5).half(), torch.randn(5, 72).half()
    expected = torch.zeros(8, 72)
    for i in range(5):
        expected = expected + a[:, i : i + 1].float() * b[i : i + 1].float()
    like = torch.zeros(8, 8, 3, 3)
    dense = WeightDeltas({}, {CONV: (a, b)}).dense(CONV, like)
    assert torch.equal(dense, expected.view(8, 8, 3, 3))
    assert torch.allclose(dense, (a.float() @ b.float()).view(8, 8, 3, 3), atol=1e-5)


def test_compression_keeps_what_has_that_rank_and_less_room():
    exact = torch.randn(8, 2) @ torch.randn(2, 72)
    other = torch.randn(8, 8, 3, 3)
    deltas = WeightDeltas({CONV: exact.view(8, 8, 3, 3), "b": other, "bias": torch.randn(8)})
    small = deltas.compressed(2)
    assert set(small.low_rank) == {CONV, "b"} and set(small.full) == {"bias"}
    assert torch.allclose(small.dense(CONV, other), exact.view(8, 8, 3, 3), atol=1e-4)
    # Eckart-Young: the error is what the remaining singular values hold.
    left = torch.linalg.svdvals(other.flatten(1))[2:].square().sum().sqrt()
    assert torch.allclose((small.dense("b", other) - other).norm(), left, rtol=1e-4)
    assert sum(t.numel() for t in small.tensors().values()) < 2 * 576 + 8
    assert set(deltas.compressed(8).full) == set(deltas.full)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"delta.{CONV}.A": torch.ones(8, 2)}, "factors A and B"),
        ({f"delta.{CONV}.B": torch.ones(2, 8)}, "factors A and B"),
        ({f"delta.{CONV}.A": torch.ones(8, 2), f"delta.{CONV}.B": torch.ones(3, 8)}, "factors"),
        ({f"delta.{CONV}.A": torch.ones(8, 0), f"delta.{CONV}.B": torch.ones(0, 8)}, "factors"),
        ({f"delta.{CONV}": torch.tensor([float("nan")])}, "not finite"),
        ({f"delta.{CONV}": torch.ones(3, dtype=torch.long)}, "not finite"),
    ],
)
def test_broken_tensors_are_refused(tensors, message):
    with pytest.raises(BrokenCheckpoint, match=message):
        WeightDeltas.from_tensors(tensors)


def test_no_deltas_are_none():
    assert WeightDeltas.from_tensors({"ws": torch.ones(1)}) is None


@pytest.mark.parametrize(
    ("noise", "deltas", "message"),
    [
        (None, {"synthesis.b99.conv0.weight": torch.ones(1)}, "no such tensor"),
        (None, {CONV: torch.ones(3)}, "belongs to another model"),
        ({"synthesis.b99.noise_const": torch.ones(8, 8)}, None, "no such tensor"),
        ({NOISE: torch.ones(4, 16)}, None, "belongs to another model"),
        ({NOISE: torch.ones(2, 1, 8, 8)}, None, "several pictures"),
    ],
)
def test_what_belongs_to_another_model_is_refused(noise, deltas, message):
    with pytest.raises(UserError, match=message):
        personal(small_generator(), noise, None if deltas is None else WeightDeltas(deltas))


def test_factors_of_another_size_are_refused():
    pair = (torch.ones(8, 2), torch.ones(2, 71))
    with pytest.raises(UserError, match="another model"):
        personal(small_generator(), None, WeightDeltas({}, {CONV: pair}))
