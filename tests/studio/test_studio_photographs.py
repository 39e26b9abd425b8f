"""Photographs and edit files in a session: inverted, filled, gone on with."""

from dataclasses import replace

import pytest
import torch

from framework.jobs.requests.framing import Framing
from framework.studio import messages
from framework.studio.masks import pack
from framework.studio.session import Session
from tests.studio.conftest import PULL, SMALL, state, told, turns, until


def inverting(session: Session, storage, photo: bytes, steps: int) -> None:
    """Send a photograph, and stop its inversion after some steps."""
    session.ask(lambda: session.invert(storage.photograph(photo), Framing(), "embed,refine"))
    turns(session, steps)
    assert state(session).busy.startswith("refine") and state(session).kind == "seed"
    session.put(messages.AddPoint((1, 1), (2, 2)))  # of which picture?
    session.put(messages.Stop())
    session.turn()


def test_a_photograph_comes_in_step_by_step_and_goes_out_whole(
    session, storage, photograph, models, tmp_path
):
    inverting(session, storage, photograph(size=(90, 70)).read_bytes(), steps=4)
    session.put(SMALL)
    session.turn()
    shown = state(session)
    assert shown.kind == "photo" and shown.points == [] and shown.busy == ""
    assert shown.photo.size == (70, 90)
    assert [facts.stage for facts in shown.photo.stages] == ["embed", "refine"]
    assert session.edit.pasted().shape == (70, 90, 3)
    session.put(PULL)
    session.put(messages.Run())
    turns(session, 4)
    data, name = session.edit.saved()
    assert name == "edit.zip"
    ws = session.edit.drag.ws
    other = Session(models, storage)
    other.go_on(storage.edit(data))
    assert state(other).kind == "edit" and state(other).has_photo and state(other).step == 3
    assert torch.equal(other.edit.drag.ws, ws)
    folder = other._folder
    other.put(messages.Open(models.first))
    other.turn()
    assert folder and not folder.exists()  # nothing is kept that is not needed


def test_a_photograph_is_no_reason_to_wait_for_somebody_else(session, storage, photograph):
    session.ask(
        lambda: session.invert(
            storage.photograph(photograph().read_bytes()), Framing(crop="pad"), "refine"
        )
    )
    turns(session, 2)
    session.leave()
    session.turn()
    assert not session.has_work


@pytest.fixture
def painted(session, storage, photograph) -> Session:
    """A session with a photograph, larger than the model's picture, and a painted mask."""
    photo = photograph(size=(110, 80)).read_bytes()
    session.ask(lambda: session.invert(storage.photograph(photo), Framing(), "embed"))
    until(lambda: session.turn() or not session._activity)
    mask = torch.zeros(64, 64)
    mask[20:32, 8:20] = 1
    session.put(messages.SetMask(pack(mask)))
    session.turn()
    return session


def filled(session: Session) -> None:
    """Fill what is painted, to the end."""
    edit = session.edit
    session.put(messages.Fill())
    until(lambda: session.turn() or session.edit is not edit)


def test_what_is_painted_is_filled_in_the_photograph_and_undo_leads_back(painted):
    before, folder = painted.edit, painted._folder
    filled(painted)
    after = painted.edit
    old, new = (edit.inverted.photo.levels.astype(int) for edit in (before, after))
    changed = (old != new).any(axis=2)
    hole = changed[25:40, 25:40]  # 80 px are the model's 64, and 15 beside it are not seen
    assert hole.mean() > 0.5 and changed.sum() == hole.sum() > 0
    shown = state(painted)
    assert shown.kind == "photo" and not shown.has_mask and shown.busy == ""
    assert [facts.stage for facts in shown.photo.stages] == ["embed"]
    assert (after.pasted() == new).all()
    painted.outbox.take()
    painted.put(messages.Undo())
    painted.turn()
    assert painted.edit is before and folder.exists() and '"bits": "A' in told(painted)
    assert state(painted).has_mask and state(painted).can_redo
    painted.put(messages.Redo())
    painted.turn()
    assert painted.edit is after and not state(painted).can_redo
    painted.put(messages.Undo())
    painted.turn()
    left = after.inverted.file.parent
    assert left.exists()
    painted.put(PULL)  # another way from here
    painted.turn()
    assert not state(painted).can_redo and not left.exists()
    painted.forget()
    assert not folder.exists()


# F29f
def test_a_filling_is_dropped_by_stop_and_shows_the_edit_again(painted):
    edit, stored = painted.edit, set(painted._storage._folder.iterdir())
    painted.connected = True
    painted.put(messages.Fill())
    turns(painted, 3)
    assert state(painted).busy.startswith("filling, ") and " of " in state(painted).busy
    painted.put(messages.SetMask(None))  # of which picture?
    painted.put(messages.Stop())
    painted.turn()
    assert state(painted).busy == "" and painted.edit is edit and state(painted).has_mask
    assert set(painted._storage._folder.iterdir()) == stored
    assert painted._due is None or (painted._due[0]() == edit.picture()).all()


# F29f
def test_a_hole_that_is_nothing_or_everything_is_refused_in_a_line(session):
    session.put(messages.Fill())
    session.turn()
    assert "nothing is painted" in told(session)
    session.put(messages.SetMask(pack(torch.ones(64, 64))))
    session.put(messages.Fill())
    session.turn()
    assert "it covers everything" in told(session)
    half = torch.zeros(64, 64)
    half[:32] = 1
    session.put(messages.SetMask(pack(half)))
    session.put(messages.Fill("../paint"))
    session.turn()
    assert '"field": "method"' in told(session) and state(session).busy == ""


def test_a_picture_of_a_seed_becomes_a_photograph_when_it_is_filled(session):
    seen, mask = session.edit.picture(), torch.zeros(64, 64)
    mask[4:20, 30:60] = 1
    session.put(messages.SetMask(pack(mask)))
    session.put(messages.Fill())
    until(lambda: session.turn() or state(session).busy.startswith("refine"))
    session.put(messages.Stop())
    session.turn()
    photo = session.edit.inverted.photo.levels
    assert state(session).kind == "photo" and (photo[20:] == seen[20:]).all()
    assert (photo[4:20, 30:60] != seen[4:20, 30:60]).any()


def test_an_edit_file_goes_on_as_if_it_had_not_ended(session, models, storage):
    session.put(messages.Choose("small", {"max_steps": 6}))
    session.put(messages.Run())
    turns(session, 3)
    data, _ = session.edit.saved()
    other = Session(models, storage)
    other.go_on(storage.edit(data))
    assert state(other).settings == state(session).settings
    assert state(other).preset == "auto" and state(other).step == 2
    for one in (session, other):
        one.put(messages.Stop())
        one.put(messages.Run())
        turns(one, 4)
    assert state(other).step == 5 and torch.equal(other.edit.drag.ws, session.edit.drag.ws)


# F13
def test_no_path_in_an_edit_is_followed(session, storage, models, tmp_path):
    session.put(messages.Run())
    turns(session, 3)
    record = session.edit.record()
    named = replace(record.settings, tracker_weights="/etc/passwd")
    replace(record, settings=named).save(tmp_path / "e.safetensors")
    other = Session(models, storage)
    other.go_on(storage.edit((tmp_path / "e.safetensors").read_bytes()))
    assert state(other).settings["tracker_weights"] is None
    assert "tracker_weights" not in other.edit.chosen


def test_an_edit_of_a_model_that_is_not_here_is_refused(session, storage, tmp_path):
    from framework.errors import UserError

    session.put(messages.Run())
    turns(session, 3)
    replace(session.edit.record(), model_name="/etc/passwd").save(tmp_path / "e.safetensors")
    file = storage.edit((tmp_path / "e.safetensors").read_bytes())
    with pytest.raises(UserError, match="not one of those here"):
        session.go_on(file)
