import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from framework.drag.algorithm import drag_points
from framework.drag.session import DragSession
from framework.drag.settings import DragSettings
from framework.errors import InvalidEdit

SETTINGS = DragSettings(learning_rate=0.02, max_steps=6)


@pytest.fixture
def session(tiny_generator, tiny_ws):
    session = DragSession(tiny_generator, tiny_ws, SETTINGS)
    session.set_points([(20, 30)], [(40, 34)])
    return session


def test_a_run_is_the_drag(session, tiny_generator, tiny_ws):
    wanted = list(drag_points(tiny_generator, tiny_ws, [(20, 30)], [(40, 34)], settings=SETTINGS))
    got = list(session.run())
    assert all(torch.equal(a.ws, b.ws) for a, b in zip(got, wanted, strict=True))
    assert torch.equal(session.ws, wanted[-1].ws)
    assert torch.equal(session.image(), wanted[-1].image())
    assert session.points == tuple(map(tuple, wanted[-1].points.tolist()))
    assert session.last_step is got[-1]


def test_two_runs_are_one_long_run(session, tiny_generator, tiny_ws):
    *_, wanted = drag_points(tiny_generator, tiny_ws, [(20, 30)], [(40, 34)], settings=SETTINGS)
    for step in session.run():
        if step.step == 2:
            break
    list(session.run(max_steps=4))
    assert torch.equal(session.ws, wanted.ws)


# E23
def test_undo_and_redo_to_the_bit(session):
    pictures = []
    for _ in session.run():
        pictures.append(session.image())
    for picture in reversed(pictures[:-1]):
        session.undo()
        assert torch.equal(session.image(), picture)
    session.redo(3)
    assert torch.equal(session.image(), pictures[3])
    assert (session.can_undo, session.can_redo) == (4, 3)
    session.redo(99)
    assert torch.equal(session.image(), pictures[-1]) and session.can_redo == 0
    session.undo(99)
    assert session.points == () and torch.equal(session.image(), pictures[0])


def test_going_on_after_undo_is_as_if_never_gone_further(session, tiny_generator, tiny_ws):
    *_, wanted = drag_points(tiny_generator, tiny_ws, [(20, 30)], [(40, 34)], settings=SETTINGS)
    list(session.run())
    session.undo(3)
    list(session.run(max_steps=3))
    assert torch.equal(session.ws, wanted.ws) and session.can_redo == 0


def test_reset_is_the_first_picture_and_can_be_undone(session, tiny_ws):
    list(session.run())
    dragged = session.ws
    session.reset()
    assert torch.equal(session.ws, tiny_ws) and session.points == ()
    session.undo()
    assert torch.equal(session.ws, dragged) and len(session.points) == 1


# E23
def test_history_is_bounded(tiny_generator, tiny_ws):
    session = DragSession(tiny_generator, tiny_ws, SETTINGS, history=4)
    session.set_points([(20, 30)], [(40, 34)])
    list(session.run())
    assert session.can_undo == 4
    assert len(session._states) == 5


def test_points_come_and_go_between_runs(session):
    list(session.run(max_steps=2))
    moved = session.points[0]
    assert session.add_point((50, 10), (55, 10)) == 1
    assert session.points == (moved, (50.0, 10.0))
    first, *_ = session.run(max_steps=2)
    assert first.step == 0 and first.drift == (0.0, 0.0)  # tracked from the picture as it was then
    session.remove_point(0)
    assert len(session.points) == 1 and session.targets == ((55.0, 10.0),)
    with pytest.raises(InvalidEdit, match="point 1: there are 1"):
        session.remove_point(1)


def test_a_moved_target_keeps_the_first_features(session):
    *_, before = session.run(max_steps=3)
    session.move_target(0, (10, 10))
    first, second, *_ = session.run(max_steps=3)
    assert first.step == 3 and first.drift == before.drift
    assert first.targets.tolist() == [[10, 10]]
    assert second.optimizer.count == 1
    session.undo(99)
    session.redo(99)
    assert session.targets == ((10.0, 10.0),)


def test_bad_points_and_masks_change_nothing(session):
    before = (session.points, session.targets, session.mask, session.can_undo)
    for bad in [(64, 3), (float("nan"), 3), None]:
        with pytest.raises(InvalidEdit):
            session.add_point(bad, (3, 3))
        with pytest.raises(InvalidEdit):
            session.move_target(0, bad)
        with pytest.raises(InvalidEdit):
            session.set_points([(3, 3)], [bad])
    with pytest.raises(InvalidEdit):
        session.set_mask(torch.zeros(64, 64))
    assert before == (session.points, session.targets, session.mask, session.can_undo)


# E6
def test_no_points_no_run(tiny_generator, tiny_ws):
    with pytest.raises(InvalidEdit, match="no points"):
        next(DragSession(tiny_generator, tiny_ws).run())


def test_a_mask_holds_in_the_next_run(session):
    mask = torch.ones(64, 64)
    mask[:16] = 0
    session.set_mask(mask)
    *_, last = session.run()
    assert last.mask_loss > 0
    session.undo(99)
    assert session.mask is None


# E18, E19
def test_one_thing_at_a_time_and_cancel_within_a_step(session):
    run = session.run()
    next(run)
    for act in (
        session.undo, session.redo, session.reset, lambda: session.set_mask(None),
        lambda: session.add_point((3, 3), (4, 4)), lambda: session.move_target(0, (4, 4)),
        lambda: next(session.run()),
    ):  # fmt: skip
        with pytest.raises(InvalidEdit, match="is being dragged"):
            act()
    next(run)
    session.cancel()
    assert len(list(run)) <= 1
    assert session.last_step.step in (1, 2)
    assert torch.equal(session.ws, session.last_step.ws)
    assert len(list(session.run())) > 1  # and a new run works


def test_a_run_is_one_change(session):
    assert session.last_change == 1 and session.next_change == 0  # the points
    list(session.run(max_steps=3))
    list(session.run(max_steps=2))
    assert session.last_change == 2
    session.undo(session.last_change)
    assert session.last_change == 3 and session.next_change == 2
    session.undo(2)
    list(session.run(max_steps=1))  # a change of its own after what is left of the first
    assert (session.last_change, session.can_undo, session.next_change) == (1, 3, 0)
    session.undo(1)
    session.undo(session.last_change)
    assert session.last_change == 1 and session.next_change == 1
    session.undo(99)
    assert session.last_change == 0


def test_a_moved_handle_is_taken_hold_of_anew(session):
    list(session.run(max_steps=2))
    session.move_handle(0, (12, 13))
    assert session.points == ((12.0, 13.0),) and session.targets == ((40.0, 34.0),)
    first, *_ = session.run(max_steps=1)
    assert first.step == 0 and first.drift == (0.0,)


def test_a_failing_caller_leaves_the_session_usable(session):
    with pytest.raises(ZeroDivisionError):
        for step in session.run():
            1 / (step.step - 2)
    session.undo()
    assert session.last_step.step == 1


# E20
def test_sessions_in_threads_equal_sessions_alone(tiny_generator, tiny_ws):
    targets = [(40, 34), (10, 20), (25, 50)]

    def result(target, gate=None):
        session = DragSession(tiny_generator, tiny_ws, SETTINGS)
        session.set_points([(20, 30)], [target])
        if gate:
            gate.wait(timeout=200)
        list(session.run())
        return session.ws

    alone = [result(target) for target in targets]
    gate = threading.Barrier(len(targets))
    with ThreadPoolExecutor(len(targets)) as pool:
        together = list(pool.map(lambda target: result(target, gate), targets))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


# E16
def test_a_diverged_run_leaves_the_last_good_latents(session, tiny_ws):
    session.settings = DragSettings(learning_rate=3e38)
    *_, last = session.run()
    assert last.status == "diverged" and torch.equal(session.ws, tiny_ws)


def test_latents_that_do_not_fit_are_refused(tiny_generator):
    with pytest.raises(InvalidEdit, match="this model takes"):
        DragSession(tiny_generator, torch.zeros(1, 3, 5))
