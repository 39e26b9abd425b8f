"""All sessions together: who may come back, and how they take turns."""

import threading

import pytest
import torch

from framework.studio import messages, sessions
from framework.studio.session import Session
from framework.studio.sessions import Full, Sessions
from tests.studio.conftest import PULL, SMALL, state, turns, until


# F20
def test_a_session_belongs_to_one_page_and_waits_for_it(models, storage, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("framework.studio.session.time.monotonic", lambda: now[0])
    many = Sessions(models, storage, most=2, now_sec=lambda: now[0])
    first = many.join(None)
    assert len(first.id) >= 32
    assert many.join(first.id) is not first  # it has a page
    with pytest.raises(Full):
        many.join(None)
    first.leave()
    assert many.join(first.id) is first
    first.leave()
    now[0] += sessions.LEAST_SEC + 1
    third = many.join("nonsense")  # the one without a page makes room
    assert third is not first and many.get(first.id) is None
    third.leave()
    now[0] += sessions.KEEP_SEC + 1
    assert many.join(third.id) is not third


def test_two_sessions_take_turns_and_do_not_meet(studio, models):
    one, other = studio.sessions.join(None), studio.sessions.join(None)
    for session, seed in ((one, 3), (other, 5)):
        session.put(messages.Open(models.first, seed=seed))
        session.put(SMALL)
        session.put(PULL)
        session.put(messages.Run())
    studio.worker.start()
    studio.worker.wake()
    until(lambda: state(one).step > 5 and state(other).step > 5)
    assert abs(state(one).step - state(other).step) <= 1 + state(one).step // 2
    other.leave()  # in the middle
    studio.worker.wake()
    until(lambda: not other._activity)
    assert not other.has_work
    one.put(messages.Stop())
    studio.worker.wake()
    until(lambda: not one.has_work or not one._activity)
    alone = Session(models, studio.storage)
    alone.put(messages.Open(models.first, seed=3))
    alone.put(SMALL)
    alone.put(PULL)
    alone.put(messages.Run())
    turns(alone, state(one).step + 1)
    assert torch.equal(alone.edit.drag.ws, one.edit.drag.ws)


def test_a_worker_ends(studio):
    studio.worker.start()
    studio.worker.close()
    assert "studio worker" not in [thread.name for thread in threading.enumerate()]
