"""What holds of every method, whatever it is: hard inputs end well, and the model is only read."""

import gc
import math

import pytest
import torch

from framework.drag import stylegan2
from framework.drag.algorithm import PREDICTING, drag_points
from framework.drag.registry import names
from framework.drag.session import DragSession
from framework.drag.settings import PRESETS, DragSettings
from framework.models.digest import state_digest
from framework.models.stylegan2 import Generator

OWN_PRESETS = {values.get("method", "draggan"): name for name, values in PRESETS.items()}
METHODS = [name for name in names("methods") if name in OWN_PRESETS and name not in PREDICTING]

every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "statistics"))
    monkeypatch.setattr(stylegan2, "MOST_PROBES", 16)
    monkeypatch.setattr(stylegan2, "REDRAWING_STEPS", 3)


def settings_of(method, **changes):
    values = {**PRESETS[OWN_PRESETS[method]], "max_steps": 4, "feature_resolution": None}
    return DragSettings(**{**values, **changes})


def drag(generator, ws, handles, targets, method, mask=None, **changes):
    return list(drag_points(generator, ws, handles, targets, mask, settings_of(method, **changes)))


@every_method
def test_a_point_at_its_target_keeps_the_picture(method, tiny_generator, tiny_ws):
    """E5: no step, and not a bit is changed."""
    steps = drag(tiny_generator, tiny_ws, [(20, 30)], [(20, 30)], method)
    assert steps[-1].status == "arrived" and torch.equal(steps[-1].ws, tiny_ws)
    assert torch.equal(steps[-1].image(), steps[0].image())


@every_method
def test_one_point_pulled_both_ways_ends(method, tiny_generator, tiny_ws):
    """E8: by a limit, with finite numbers."""
    last = drag(tiny_generator, tiny_ws, [(30, 30), (30, 30)], [(10, 30), (50, 30)], method)[-1]
    assert last.status in ("max_steps", "stuck") and torch.isfinite(last.ws).all()


@every_method
@pytest.mark.parametrize("size", [16, 128, (24, 32)])
def test_every_size_and_every_corner(method, size):
    """E12, E13: no disc is empty, no patch wraps around, all numbers are finite."""
    generator = Generator(
        img_size=size, z_dim=8, w_dim=12, mapping_layers=1, channel_base=128, channel_max=8
    ).requires_grad_(False)
    height, width = generator.img_size
    ws = generator.mapping(torch.randn(1, 8, generator=torch.Generator().manual_seed(1)))
    mask = torch.ones(height, width)
    mask[:2] = 0
    corners = [(0, height - 1), (width - 1, height - 1), (width - 1, 2), (0.4, 2.6)]
    steps = drag(generator, ws, corners, [(5, 5)] * 4, method, mask, max_steps=2)
    for step in steps:
        assert all(map(math.isfinite, (step.motion_loss, step.mask_loss, *step.drift)))
        assert (step.points >= 0).all()
        assert (step.points <= torch.tensor([width - 1, height - 1])).all()


@every_method
def test_the_most_points_are_dragged(method, tiny_generator, tiny_ws):
    """E7: as many as are allowed."""
    handles = [(3 + 7 * (i % 8), 3 + 7 * (i // 8)) for i in range(64)]
    targets = [(x + 1, y) for x, y in handles]
    last = drag(tiny_generator, tiny_ws, handles, targets, method, max_steps=1)[-1]
    assert len(last.points) == 64 and torch.isfinite(last.ws).all()


@every_method
def test_weights_are_only_read_also_when_memory_runs_out(
    method, tiny_generator, tiny_ws, monkeypatch
):
    """E21, E22: the session keeps its last picture and its next, smaller wish is done."""
    digest = state_digest(tiny_generator)
    session = DragSession(tiny_generator, tiny_ws, settings_of(method))
    session.set_points([(20, 30)], [(24, 30)])
    whole, calls = type(tiny_generator.synthesis).partial, []

    def partial(self, *args, **more):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, *args, **more)

    monkeypatch.setattr(type(tiny_generator.synthesis), "partial", partial)
    with pytest.raises(torch.OutOfMemoryError):
        list(session.run())
    assert torch.isfinite(session.ws).all()
    list(session.run())
    assert state_digest(tiny_generator) == digest
    assert all(p.grad is None for p in tiny_generator.parameters())


@every_method
def test_the_same_bits_twice(method, tiny_generator, tiny_ws):
    """E24: every step of them."""
    one, two = (drag(tiny_generator, tiny_ws, [(20, 30)], [(26, 28)], method) for _ in range(2))
    assert len(one) == len(two)
    assert all(torch.equal(a.ws, b.ws) for a, b in zip(one, two, strict=True))


@every_method
def test_the_order_of_points_means_nothing(method, tiny_generator, tiny_ws):
    """E26: the same latents but for rounding."""
    handles, targets = [(20, 30), (50, 8), (9, 55)], [(22, 30), (48, 9), (10, 54)]
    one = drag(tiny_generator, tiny_ws, handles, targets, method, max_steps=2)[-1]
    other = drag(tiny_generator, tiny_ws, handles[::-1], targets[::-1], method, max_steps=2)[-1]
    torch.testing.assert_close(one.ws, other.ws, atol=1e-3, rtol=0)
    torch.testing.assert_close(one.points, other.points.flip(0), atol=1e-2, rtol=0)


@every_method
def test_steps_that_are_kept_hold_no_graph(method, tiny_generator, tiny_ws):
    """E27: after many steps as much memory as after few."""

    def large_tensors():
        gc.collect()
        return sum(type(o) is torch.Tensor and o.numel() > 1000 for o in gc.get_objects())

    steps = drag(tiny_generator, tiny_ws, [(20, 30)], [(40, 34)], method, max_steps=2)
    few = large_tensors()
    more = drag(tiny_generator, tiny_ws, [(20, 30)], [(40, 34)], method, max_steps=6)
    assert large_tensors() <= few and steps and more
