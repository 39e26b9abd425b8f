"""The loop: first against a generator whose truth is known, then on a real (untrained) one."""

import gc
import itertools
import math
from dataclasses import replace

import pytest
import torch

from framework.drag.algorithm import drag_points
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep
from framework.errors import InvalidEdit
from framework.models.digest import state_digest
from framework.models.frozen import Adam, adam_update
from tests.drag.fakes import ShiftGenerator

FAST = DragSettings(learning_rate=0.02, layers=8)
SIZES = [(16, 16), (32, 32), (64, 64), (128, 128), (256, 256), (48, 64), (64, 48)]


def finish(*args, **kwargs) -> list[DragStep]:
    return list(drag_points(*args, **kwargs))


def same(a: DragStep, b: DragStep) -> bool:
    return torch.equal(a.ws, b.ws) and torch.equal(a.points, b.points) and a.drift == b.drift


# --- a latent shift is an image shift ---------------------------------------------------------


# E14
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_a_point_dragged_from_edge_to_edge_takes_the_picture_along(size):
    height, width = size
    start = torch.tensor([1.0, height - 2.0])
    generator = ShiftGenerator(size, channels=8, gain=0.8 * height)
    *_, last = finish(generator, generator.ws(), [(1, height - 2)], [(width - 2, 1)], settings=FAST)
    assert last.status == "arrived" and last.max_distance_px <= 1
    true_point = start + generator.shift(last.ws)
    assert (last.points[0] - true_point).norm() < 1
    assert (true_point - last.targets[0]).norm() < 2


# E14
def test_the_tracked_point_is_the_true_point_at_every_step(shifter):
    handle = torch.tensor([20.25, 40.5])
    for step in drag_points(shifter, shifter.ws(), [handle], [(50, 12)], settings=FAST):
        assert (step.points[0] - handle - shifter.shift(step.ws)).norm() < 1.2
        assert step.distance_px[0] == pytest.approx(
            (step.points[0] - step.targets[0]).norm().item()
        )


# E4
def test_fractions_of_a_pixel_are_kept(shifter):
    *_, last = finish(shifter, shifter.ws(), [(20.3, 30.7)], [(26.5, 30.7)], settings=FAST)
    torch.testing.assert_close(last.points % 1, torch.tensor([[0.3, 0.7]]))


def test_without_tracking_the_points_are_believed_to_have_moved(shifter):
    settings = DragSettings(learning_rate=1e-6, tracker="off")
    *_, last = finish(shifter, shifter.ws(), [(20, 30)], [(25, 30)], settings=settings)
    assert (last.status, last.step, last.max_distance_px) == ("lost", 4, 1)
    assert shifter.shift(last.ws).norm() < 0.1  # nothing has, and the drag sees it


def test_w_moves_all_latents_by_one_vector(shifter):
    ws = torch.randn(1, 8, 4) * 0.01
    settings = DragSettings(learning_rate=0.02, latent_space="w", max_steps=10)
    *_, last = finish(shifter, ws, [(20, 30)], [(35, 25)], settings=settings)
    moved = last.ws - ws
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved))


def test_w_plus_moves_the_first_layers_only(shifter):
    settings = DragSettings(max_steps=5)
    *_, last = finish(shifter, shifter.ws(), [(20, 30)], [(35, 25)], settings=settings)
    assert (last.ws[:, :6] != 0).any() and (last.ws[:, 6:] == 0).all()


# --- masks ------------------------------------------------------------------------------------


# E15
def test_what_lies_outside_the_mask_stays():
    generator = ShiftGenerator(sway=1.0)
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    arguments = (generator, generator.ws(), [(48, 20)], [(54, 26)])
    settings = DragSettings(learning_rate=0.005, layers=8, mask_weight=1)
    before, *_, free = finish(*arguments, settings=settings)
    *_, held = finish(*arguments, mask, settings)
    assert free.arrived and held.arrived

    def change_on_the_left(step):
        return (step.image() - before.image())[..., :30].abs().mean()

    assert change_on_the_left(held) < 0.25 * change_on_the_left(free)
    assert held.mask_loss > 0 and free.mask_loss == 0


@pytest.mark.parametrize("rows", [1, 16, 60])
def test_a_masked_drag_arrives_where_the_free_one_does(rows):
    """A1f: whatever share of the picture is fixed, by the default weight."""
    generator = ShiftGenerator(sway=1.0)
    mask = torch.ones(64, 64)
    mask[:rows] = 0
    arguments = (generator, generator.ws(), [(48, 62)], [(54, 62)])
    *_, free = finish(*arguments, settings=FAST)
    *_, masked = finish(*arguments, mask, replace(FAST, max_steps=3 * free.step + 20))
    assert free.arrived and masked.arrived and masked.mask_loss > 0


@pytest.mark.parametrize("used_up", [False, True])
def test_what_lies_outside_the_mask_goes_back_when_the_points_have_arrived(used_up):
    """A1f: the drag goes on for `settle_steps`; a limit of steps ends that as arrived."""
    generator = ShiftGenerator(sway=1.0)
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    arguments = (generator, generator.ws(), [(48, 20)], [(54, 26)], mask)
    *_, there = finish(*arguments, replace(FAST, settle_steps=0, layers=8))
    most = there.step + 10 if used_up else 1000
    *_, back = finish(*arguments, replace(FAST, settle_steps=60, layers=8, max_steps=most))
    assert there.arrived and back.arrived and back.step > there.step
    limit = replace(FAST, settle_steps=60, layers=8, max_seconds=0)
    assert next(
        drag_points(*arguments, limit, resume_from=there)
    ).arrived  # no time is left to settle
    if not used_up:
        assert back.settled == 60 and back.mask_loss < 0.8 * there.mask_loss


def test_a_drag_that_the_mask_holds_says_so(shifter):
    """A1f: the mask asks for the opposite of the pull and outweighs it."""
    mask = torch.zeros(64, 64)
    mask[:, 40:] = 1
    arguments = (shifter, shifter.ws(), [(50, 20)], [(58, 20)])
    slow = replace(FAST, max_steps=30, learning_rate=1e-6)
    *_, held = finish(*arguments, mask, slow)
    assert held.status == "held" and not held.arrived
    *_, free = finish(*arguments, settings=slow)
    assert free.status == "max_steps"
    *_, early = finish(*arguments, mask, replace(slow, max_steps=5))
    assert early.status == "max_steps"  # too few steps to tell


def test_a_mask_without_weight_is_none(shifter):
    """A1f: `mask_weight` 0 is the drag without a mask."""
    mask = torch.ones(64, 64)
    mask[:30] = 0
    arguments = (shifter, shifter.ws(), [(20, 50)], [(24, 50)])
    steps = zip(
        drag_points(*arguments, settings=FAST),
        drag_points(*arguments, mask, replace(FAST, mask_weight=0)),
        strict=True,
    )
    assert all(same(a, b) for a, b in steps)


def test_what_is_no_longer_there_is_lost_and_stays_lost(shifter):
    """A2f: a tracker that believes itself; going on from the edit does not hide the loss."""
    settings = DragSettings(learning_rate=1e-6, tracker="off", max_steps=3)
    arguments = (shifter, shifter.ws(), [(20, 30)])
    *_, part = finish(*arguments, [(26, 30)], settings=settings)
    assert part.status == "max_steps" and part.lost
    *_, whole = finish(*arguments, [(26, 30)], settings=settings, resume_from=part)
    assert whole.status == "lost" and whole.lost and whole.doubtful and not whole.arrived
    *_, good = finish(*arguments, [(26, 30)], settings=FAST)
    assert good.arrived and not good.doubtful and good.min_confidence > 0.5


# E9
def test_a_mask_of_ones_constrains_nothing(shifter):
    arguments = (shifter, shifter.ws(), [(20, 30)], [(24, 30)])
    for without, ones in zip(
        drag_points(*arguments), drag_points(*arguments, mask=torch.ones(64, 64)), strict=True
    ):
        assert same(without, ones)


BAD_MASKS = {
    "all zero": torch.zeros(64, 64),
    r"\(64, 63\): expected": torch.ones(64, 63),
    r"\(1, 64, 64\): expected": torch.ones(1, 64, 64),
    r"\(64, 64, 4\): expected": torch.ones(64, 64, 4),
    "from 0 .* to 1": torch.full((64, 64), 255, dtype=torch.uint8),
    "to 1 ": torch.full((64, 64), float("nan")),
    "complex": torch.ones(64, 64, dtype=torch.complex64),
    "mask str": "mask.png",
}


# E9, E10
@pytest.mark.parametrize("message", BAD_MASKS)
def test_a_bad_mask_is_refused(shifter, message):
    with pytest.raises(InvalidEdit, match=f"^mask.*{message}|{message}"):
        drag_points(shifter, shifter.ws(), [(5, 5)], [(9, 9)], BAD_MASKS[message])


# E10
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float64])
def test_masks_of_any_number_type_are_the_same(shifter, dtype):
    mask = torch.zeros(64, 64)
    mask[:, 16:] = 1
    arguments = (shifter, shifter.ws(), [(20, 30)], [(30, 30)])
    steps = [
        list(itertools.islice(drag_points(*arguments, m), 4))
        for m in (mask, mask.to(dtype).numpy())
    ]
    assert all(same(a, b) for a, b in zip(*steps, strict=True))


# E11
def test_a_handle_outside_the_mask_is_said_and_survived(shifter):
    mask = torch.zeros(64, 64)
    mask[60, 60] = 1
    with pytest.warns(UserWarning, match=r"handle 0 \(20, 30\) lies where the mask is 0"):
        steps = drag_points(shifter, shifter.ws(), [(20, 30)], [(30, 30)], mask)
    *_, last = itertools.islice(steps, 10)
    assert torch.isfinite(last.ws).all() and math.isfinite(last.mask_loss)


# --- inputs -----------------------------------------------------------------------------------


# E1, E2
def test_bad_points_are_refused_at_the_call_before_anything_is_computed(shifter):
    ws = shifter.ws()
    for handles, targets in [([(64, 5)], [(5, 5)]), ([(5, 5)], [(5, -0.1)]), ([], [])]:
        with pytest.raises(InvalidEdit):
            drag_points(shifter, ws, handles, targets)
    assert shifter.synthesis.calls == [] and (ws == 0).all()


# E25
@pytest.mark.parametrize(
    ("ws", "message"),
    [
        (torch.zeros(1, 7, 4), r"\(1, 7, 4\): .*\(1, 8, 4\)"),
        (torch.zeros(1, 8, 512), r"\(1, 8, 512\)"),
        (torch.zeros(2, 8, 4), r"\(2, 8, 4\)"),
        (torch.zeros(1, 4), r"\(1, 4\)"),
        (torch.full((1, 8, 4), float("nan")), "NaN"),
        (torch.zeros(1, 8, 4, dtype=torch.long), "float tensor"),
        ([[0.0]], "float tensor"),
    ],
)
def test_latents_that_do_not_fit_the_model_are_refused_with_shapes(shifter, ws, message):
    with pytest.raises(InvalidEdit, match=message):
        drag_points(shifter, ws, [(5, 5)], [(9, 9)])


def test_latents_are_copied_and_may_lack_the_batch_side(shifter):
    ws = torch.zeros(8, 4)
    steps = finish(shifter, ws, [(20, 30)], [(24, 30)])
    assert steps[0].ws.shape == (1, 8, 4) and (ws == 0).all()


# --- ends -------------------------------------------------------------------------------------


# E5
def test_a_point_at_its_target_needs_no_step(shifter):
    for target in [(20, 30), (20.6, 30.7)]:
        (only,) = finish(shifter, shifter.ws(), [(20, 30)], [target])
        assert only.status == "arrived" and only.step == 0 and only.drift == (0.0,)
        assert torch.equal(only.ws, shifter.ws())


# E8
def test_opposite_targets_for_one_point_end_by_the_limit(shifter):
    steps = finish(
        shifter,
        shifter.ws(),
        [(30, 30), (30, 30)],
        [(10, 30), (50, 30)],
        settings=DragSettings(max_steps=20, learning_rate=0.02),
    )
    assert len(steps) == 21 and steps[-1].status == "max_steps"
    assert torch.isfinite(steps[-1].ws).all()
    assert [s.status for s in steps[:-1]] == ["moving"] * 20


# E17
def test_time_is_a_limit_too(shifter):
    settings = DragSettings(max_seconds=0.0)
    (only,) = finish(shifter, shifter.ws(), [(5, 5)], [(50, 50)], settings=settings)
    assert only.status == "max_seconds"


# E16
def test_numbers_that_are_not_finite_are_rolled_back(tiny_generator, tiny_ws):
    settings = DragSettings(learning_rate=3e38)
    steps = finish(tiny_generator, tiny_ws, [(20, 30)], [(40, 30)], settings=settings)
    assert [(s.step, s.status) for s in steps] == [(0, "moving"), (1, "diverged")]
    assert torch.equal(steps[1].ws, tiny_ws)
    assert torch.equal(steps[1].image(), steps[0].image())


def test_arrived_points_stay_in_the_loss(shifter):
    """Within the stop distance, but not at the target: released, it would be free to wander."""
    ws = shifter.ws()
    moving = next(drag_points(shifter, ws, [(20, 30)], [(40, 30)]))
    both = next(drag_points(shifter, ws, [(20, 30), (50, 30)], [(40, 30), (50, 30.8)]))
    assert both.distance_px[1] < 1 and both.motion_loss > 1.1 * moving.motion_loss


def test_arrived_points_are_pulled_back_while_others_move():
    """The second point starts at its target; the first drags everything away from it."""
    generator = ShiftGenerator(sway=1.0)
    handles, targets = [(12, 30), (50, 30)], [(22, 30), (50, 30)]
    settings = DragSettings(learning_rate=0.004, layers=8)
    *_, last = finish(generator, generator.ws(), handles, targets, settings=settings)
    assert last.arrived
    assert generator.shift(last.ws).norm() < 2  # the right half, where the second point is


# --- the stream -------------------------------------------------------------------------------


def test_every_part_of_a_step_belongs_to_the_same_latents(tiny_generator, tiny_ws):
    """No picture one step behind, neither while the drag waits nor afterwards."""
    settings = DragSettings(learning_rate=0.05, feature_resolution=32, max_steps=4)
    kept = []
    for step in drag_points(tiny_generator, tiny_ws, [(20, 30)], [(40, 30)], settings=settings):
        truth = tiny_generator.synthesis(step.ws, noise_mode="const")
        assert torch.equal(step.image(), truth)
        kept.append((step, truth))
    assert all(torch.equal(step.image(), truth) for step, truth in kept)
    assert not torch.equal(kept[0][1], kept[-1][1])


def test_features_stop_at_their_block_and_the_picture_waits_for_a_look(shifter):
    settings = DragSettings(feature_resolution=16, max_steps=3)
    for step in drag_points(shifter, shifter.ws(), [(5, 5)], [(50, 50)], settings=settings):
        if step.step == 2:
            step.image()
    calls = shifter.synthesis.calls
    partial = ("partial", 16, "const")
    steps = [partial] * 4 + [("finish", 16, "const"), partial]
    looks = [("partial", 64, "const")] * 2  # at the end: is what was taken hold of still there?
    assert calls == steps + looks


# E27
def test_steps_that_are_kept_hold_no_features(shifter):
    def large_tensors():
        gc.collect()
        return sum(type(o) is torch.Tensor and o.numel() > 1000 for o in gc.get_objects())

    start = large_tensors()
    steps = finish(shifter, shifter.ws(), [(5, 5)], [(60, 60)], settings=DragSettings(max_steps=30))
    assert len(steps) == 31 and large_tensors() <= start


def test_a_drag_that_is_left_early_holds_no_features(shifter):
    for step in drag_points(shifter, shifter.ws(), [(5, 5)], [(60, 60)]):
        if step.step == 3:
            break
    gc.collect()
    assert step.picture._view is None
    assert torch.equal(step.image(), shifter.synthesis(step.ws))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_neither_matters_nor_changes(shifter, mode):
    wanted = finish(shifter, shifter.ws(), [(20, 30)], [(24, 30)])
    with mode():
        before = torch.is_grad_enabled()
        steps = []
        for step in drag_points(shifter, shifter.ws(), [(20, 30)], [(24, 30)]):
            assert torch.is_grad_enabled() == before
            assert not step.image().requires_grad and not step.ws.requires_grad
            steps.append(step)
    assert all(same(a, b) for a, b in zip(steps, wanted, strict=True))


# E21
def test_the_generator_is_only_read(shifter):
    shifter.train()
    assert all(p.requires_grad for p in shifter.parameters())
    digest = state_digest(shifter)
    finish(shifter, shifter.ws(), [(20, 30)], [(24, 30)])
    steps = drag_points(shifter, shifter.ws(), [(20, 30)], [(60, 30)])
    next(steps)
    with pytest.raises(RuntimeError):
        steps.throw(RuntimeError("the caller fails"))
    assert state_digest(shifter) == digest
    assert all(p.grad is None and p.requires_grad for p in shifter.parameters())
    assert shifter.training


# E20
def test_two_drags_at_once_do_not_see_each_other(tiny_generator, tiny_ws):
    settings = DragSettings(max_steps=5, learning_rate=0.02)
    tasks = [([(20, 30)], [(40, 30)]), ([(10, 50), (30, 5)], [(12, 40), (33, 9)])]
    alone = [finish(tiny_generator, tiny_ws, *t, settings=settings) for t in tasks]
    streams = [drag_points(tiny_generator, tiny_ws, *t, settings=settings) for t in tasks]
    for i, steps in enumerate(zip(*streams, strict=True)):
        assert all(same(step, alone[k][i]) for k, step in enumerate(steps))


@pytest.mark.parametrize("latent_space", ["w+", "w"])
def test_stopped_and_continued_is_as_if_never_stopped(tiny_generator, tiny_ws, latent_space):
    settings = DragSettings(max_steps=9, learning_rate=0.02, latent_space=latent_space)
    arguments = (tiny_generator, tiny_ws, [(20, 30)], [(40, 30)])
    whole = finish(*arguments, settings=settings)
    part = list(itertools.islice(drag_points(*arguments, settings=settings), 5))
    rest = list(
        itertools.islice(drag_points(*arguments, settings=settings, resume_from=part[-1]), 6)
    )
    assert [s.step for s in rest] == [4, 5, 6, 7, 8, 9]
    assert all(same(a, b) for a, b in zip(whole, part[:-1] + rest, strict=True))


def test_a_step_of_other_points_cannot_be_continued(shifter):
    first = next(drag_points(shifter, shifter.ws(), [(5, 5)], [(9, 9)]))
    with pytest.raises(InvalidEdit, match="2 points but the step to resume from has 1"):
        drag_points(shifter, shifter.ws(), [(5, 5), (7, 7)], [(9, 9), (9, 5)], resume_from=first)


# E26
def test_the_order_of_points_does_not_matter(tiny_generator, tiny_ws):
    settings = DragSettings(max_steps=5)
    handles, targets = [(20, 30), (50, 8), (9, 55)], [(30, 30), (44, 9), (12, 50)]
    *_, one = finish(tiny_generator, tiny_ws, handles, targets, settings=settings)
    *_, other = finish(tiny_generator, tiny_ws, handles[::-1], targets[::-1], settings=settings)
    torch.testing.assert_close(one.ws, other.ws, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.points, other.points.flip(0))


# E12
@pytest.mark.parametrize("size", [16, 32, (24, 32)])
def test_default_settings_work_on_every_size(size):
    from framework.models.stylegan2 import Generator

    generator = Generator(
        img_size=size, z_dim=8, w_dim=12, mapping_layers=1, channel_base=128, channel_max=8
    )
    height, width = generator.img_size
    ws = generator.mapping(torch.randn(1, 8)).detach()
    mask = torch.ones(height, width)
    mask[:2] = 0
    corners = [(0, height - 1), (width - 1, height - 1), (width - 1, 2)]
    steps = finish(generator, ws, corners, [(5, 5)] * 3, mask, settings=DragSettings(max_steps=3))
    for step in steps:
        assert all(map(math.isfinite, (step.motion_loss, step.mask_loss, step.mean_drift)))
        assert (step.points >= 0).all()
        assert (step.points <= torch.tensor([width - 1, height - 1])).all()
    assert steps[-1].status == "max_steps" and steps[-1].motion_loss > 0


def test_a_common_scale_moves_most_what_matters_most():
    gradient = torch.tensor([[1.0, 0.1, 0.0]])
    _, each = adam_update(Adam.new(gradient), gradient, 0.01)
    state, common = adam_update(Adam.new(gradient), gradient, 0.01, in_common=True)
    torch.testing.assert_close(each, torch.tensor([[-0.01, -0.01, 0.0]]))
    torch.testing.assert_close(common, -0.01 * gradient / gradient.square().mean().sqrt())
    assert state.square.shape == gradient.shape


def test_adam_is_torchs():
    start, reference = torch.randn(3, 4), torch.nn.Parameter(torch.zeros(3, 4))
    reference.data.copy_(start)
    optimizer = torch.optim.Adam([reference], lr=0.01)
    state, ours = Adam.new(start), start
    for _ in range(20):
        gradient = torch.randn(3, 4)
        reference.grad = gradient
        optimizer.step()
        state, update = adam_update(state, gradient, 0.01)
        ours = ours + update
    torch.testing.assert_close(ours, reference.data)
