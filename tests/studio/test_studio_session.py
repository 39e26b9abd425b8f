"""Sessions and the worker: turns, stops, what a slow page gets, who may come back."""

import json
import threading
from dataclasses import replace

import pytest
import torch

from framework.drag.edit_file import EditFile
from framework.jobs.drag import drag as drag_job
from framework.jobs.models import seed_latents
from framework.jobs.requests.drag import DragRequest
from framework.jobs.requests.framing import Framing
from framework.models.editors.latent_transformer import LatentTransformer
from framework.studio import messages, sessions
from framework.studio.frames import HEADER, Frame
from framework.studio.inbox import MAX_WAITING
from framework.studio.masks import pack
from framework.studio.messages import BadMessage, State
from framework.studio.models import Models
from framework.studio.outbox import MAX_NOTES, MAX_ROWS, Outbox
from framework.studio.session import Session
from framework.studio.sessions import Full, Sessions
from tests.models.diffusion.tiny import tiny_folder
from tests.studio.conftest import until

PULL = messages.AddPoint((20, 30), (40, 34))
SMALL = messages.Choose("small")  # many small steps, also on an untrained model


@pytest.fixture
def session(models, storage) -> Session:
    """A session with a picture and a point, without a worker: the test makes its turns."""
    session = Session(models, storage)
    session.put(messages.Open(models.first, seed=3))
    session.put(SMALL)
    session.put(PULL)
    session.turn()
    return session


def state(session: Session) -> State:
    return session.state()


def turns(session: Session, count: int) -> None:
    for _ in range(count):
        session.turn()


def test_a_turn_is_a_step_and_a_stop_comes_before_the_next(session):
    session.put(messages.Run())
    turns(session, 3)
    assert state(session).step == 2 and state(session).running
    session.put(messages.Stop())
    session.turn()
    assert state(session).step == 2 and not state(session).running and not session.has_work


def test_a_drag_is_logged_where_the_studio_was_started(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    session.put(messages.Log(True))
    session.put(messages.Run())
    turns(session, 3)
    session.put(messages.Stop())
    session.turn()
    assert state(session).logs
    (folder,) = (tmp_path / "out").iterdir()
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(state(session).step + 1))
    assert list((folder / "wandb").glob("offline-run-*"))
    session.put(messages.Log(False))
    session.put(messages.Run())
    turns(session, 2)
    assert [folder] == list((tmp_path / "out").iterdir()) and not state(session).logs


def test_undo_takes_a_whole_drag_and_gives_the_identical_picture(session):
    before = session.edit.picture()
    session.put(messages.Run())
    turns(session, 6)
    dragged = session.edit.picture()
    assert (dragged != before).any()
    session.put(messages.Undo())
    session.turn()
    assert (session.edit.picture() == before).all() and state(session).points == [(20.0, 30.0)]
    session.put(messages.Redo())
    session.turn()
    assert (session.edit.picture() == dragged).all()
    for _ in range(2):
        session.put(messages.Undo())
    session.turn()
    assert state(session).points == [] and not state(session).can_undo


def test_of_many_places_only_the_last_is_gone_to(session):
    session.put(messages.Run())
    turns(session, 5)
    session.put(messages.Stop())
    for place in (1, 4, 2):
        session.put(messages.Go(place))
    session.turn()
    assert state(session).place == 2
    session.put(messages.Run())
    turns(session, 2)
    assert state(session).places == 3  # what came after is left behind


def test_points_and_masks_may_change_while_it_runs(session):
    session.put(messages.Run())
    turns(session, 3)
    session.put(messages.MovePoint(0, "target", (50, 20)))
    session.turn()
    assert state(session).running and state(session).targets == [(50.0, 20.0)]
    session.put(messages.AddPoint((10, 10), (12, 10)))
    session.put(messages.MovePoint(1, "handle", (11, 10)))
    session.turn()
    assert state(session).running and len(state(session).points) == 2
    session.put(messages.RemovePoint(None))
    session.turn()
    assert not state(session).running and state(session).points == []


def test_a_mask_comes_back_with_undo(session):
    session.put(messages.SetMask(pack(torch.ones(64, 64))))
    session.turn()
    assert state(session).has_mask
    session.outbox.take()
    session.put(messages.Undo())
    session.turn()
    told = [m for m in session.outbox.take() if isinstance(m, str)]
    assert '"State"' in told[-2] and '"Mask", "bits": null' in told[-1]  # its size comes first


# F14
def test_mistakes_are_told_and_change_nothing(session):
    before = state(session)
    for bad in (
        messages.AddPoint((200, 3), (1, 1)), messages.MovePoint(5, "handle", (1, 1)),
        messages.RemovePoint(9), messages.SetMask("AAAA"), messages.Open("../../etc/passwd"),
        messages.Open("nothing"), messages.Choose("none"), messages.Choose("small", {"steps": 1}),
        messages.Choose("small", {"layers": -1}),
        messages.Choose("small", {"tracker_weights": "/etc/passwd"}),
        messages.Open(before.model or "", seed=-1),
    ):  # fmt: skip
        session.outbox.take()
        session.put(bad)
        session.turn()
        assert any('"type": "Note"' in m for m in session.outbox.take() if isinstance(m, str)), bad
    assert state(session) == before


def test_layers_take_the_styles_of_another_seed(session, models):
    wanted = session.edit.drag.ws.clone()
    network = models.open(models.first).generator
    other = seed_latents(network, 5)
    wanted[:, 2:5] = other[:, 2:5]
    session.put(messages.Open(models.first, seed=3, mix_seed=5, mix_layers=(2, 4)))
    session.turn()
    assert torch.equal(session.edit.drag.ws, wanted) and state(session).mix_layers == (2, 4)
    for layers in ((4, 2), (-1, 3), (0, 99)):
        session.put(messages.Open(models.first, seed=3, mix_seed=5, mix_layers=layers))
        session.turn()
        assert any("this model has layers 0 to" in str(m) for m in session.outbox.take())


def test_a_slow_machine_shows_unfinished_pictures_until_the_drag_ends(session, monkeypatch):
    monkeypatch.setattr("framework.studio.dragging.SLOW_MS", 0.0)
    session.put(messages.Choose("small", {"max_steps": 4}))
    session.put(messages.Run())
    session.connected = True
    sizes = []
    while session.has_work or not sizes:
        session.turn()
        for message in session.outbox.take():
            if isinstance(message, bytes):
                sizes.append(HEADER.unpack(message[: HEADER.size])[3:])
                session.put(messages.Ack(int.from_bytes(message[4:8], "little")))
    assert (32, 32) in sizes and sizes[-1] == (64, 64) and state(session).step == 4


# F19
def test_commands_before_a_model_are_refused(models, storage):
    session = Session(models, storage)
    for command in (PULL, messages.Run(), messages.Undo(), messages.Go(3), messages.SetMask(None)):
        session.put(command)
    session.turn()
    assert sum('"Note"' in str(m) for m in session.outbox.take()) == 5


# F21
def test_a_fault_of_ours_is_a_number_and_the_session_lives_on(session, caplog):
    def broken():
        yield from ()
        raise RuntimeError("/secret/path is broken")

    session.put(messages.Run())
    session.turn()
    session._stop()
    session._start()
    session._activity._stream = broken()
    session.turn()
    told = "".join(m for m in session.outbox.take() if isinstance(m, str))
    assert "went wrong" in told and "secret" not in told and "Traceback" not in told
    assert "secret" in caplog.text
    session.put(messages.Run())
    turns(session, 2)
    assert state(session).running


def test_the_page_makes_the_file_that_the_command_makes(session, models, tiny_model, tmp_path):
    """Bit for bit: models, points, mask, settings, every step, Adam's state."""
    mask = torch.zeros(64, 64)
    mask[10:50, 5:60] = 1
    from PIL import Image

    Image.fromarray((255 * mask).byte().numpy()).save(tmp_path / "mask.png")
    session.put(messages.SetMask(pack(mask)))
    session.put(messages.Choose("small", {"max_steps": 4}))
    session.put(messages.Run())
    turns(session, 8)
    assert not state(session).running
    session.edit.record().save(tmp_path / "page.safetensors")
    drag_job(
        DragRequest(
            model=str(tiny_model), seed=3, points="20,30:40,34", mask=str(tmp_path / "mask.png"),
            preset="small", steps=4, video=False, wandb="disabled", device="cpu",
            out=str(tmp_path / "out"),
        )
    )  # fmt: skip
    made = (tmp_path / "out/edit.safetensors").read_bytes()
    assert (tmp_path / "page.safetensors").read_bytes() == made


def test_a_target_moved_on_the_way_leaves_a_file_that_opens(session, tmp_path, tiny_generator):
    session.put(messages.Run())
    turns(session, 4)
    session.put(messages.MovePoint(0, "target", (30, 30)))
    turns(session, 3)
    session.edit.record().save(tmp_path / "edit.safetensors")
    edit = EditFile.load(tmp_path / "edit.safetensors")
    numbers = edit.step.tolist()
    assert numbers == sorted(set(numbers)) and len(edit.earlier_ws) == 0


# ------------------------------------------------------------------------ photographs, previews


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


def told(session: Session) -> str:
    return "".join(m for m in session.outbox.take() if isinstance(m, str))


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


def test_a_preview_is_seen_and_leaves_no_trace(session):
    before, picture = state(session), session.edit.picture()
    session.connected = True
    session.outbox.take()
    for x in (24, 28, 36):
        session.put(messages.Hold((20, 30), (x, 30), 0))
        turns(session, 2)
    assert session.has_work and state(session).held != (20.0, 30.0)
    frames = [m for m in session.outbox.take() if isinstance(m, bytes)]
    assert frames
    assert state(session).points == before.points and not session.edit.drag.last_step
    session.put(messages.Release())
    session.turn()
    assert state(session) == before and (session.edit.picture() == picture).all()
    session.put(messages.Hold((20, 30), (24, 30), 5))  # no such point
    session.turn()
    assert any("no such point" in str(m) for m in session.outbox.take())


def test_a_models_latent_transformer_draws_the_preview_and_drags(session):
    without = messages.Choose("latent-transformer", {"max_steps": 3})
    session.put(without)
    session.put(messages.Run())
    turns(session, 2)
    shown = session.outbox.take()
    assert any("no latent transformer" in str(message) for message in shown)
    session.put(messages.Ack(sum(isinstance(message, bytes) for message in shown)))
    torch.manual_seed(0)  # whatever ran before: some networks are stuck after two steps
    editor = LatentTransformer(6, 24, 16, 32, width=16, heads=2, depth=1, hidden=16).eval()
    networks = session.edit.networks
    networks.__dict__["editor"] = editor.requires_grad_(False)
    try:
        frames = set()
        for x in (24, 30, 24):
            session.put(messages.Hold((20, 30), (x, 30), 0))
            session.turn()  # one pass, and it rests
            assert session._preview.at_rest and state(session).step == 0
            (frame,) = [m for m in session.outbox.take() if isinstance(m, bytes)]
            frames.add(frame[HEADER.size :])
            session.put(messages.Ack(int.from_bytes(frame[4:8], "little")))
        assert len(frames) == 2  # the place of the pointer says it all
        session.put(messages.Release())
        session.put(messages.Run())
        turns(session, 4)
        assert state(session).step == 3
    finally:
        del networks.__dict__["editor"]


def test_a_preview_rests_at_last(session):
    session.put(messages.Hold((20, 30), (21, 30), 0))
    turns(session, 100)
    assert not session.has_work


def test_what_was_held_is_dragged_as_if_it_had_not_been(session, models, storage):
    session.put(messages.Hold((20, 30), (30, 30), 0))
    turns(session, 3)
    session.put(messages.MovePoint(0, "target", (30, 30)))
    session.put(messages.Run())
    turns(session, 3)
    plain = Session(models, storage)
    for command in (
        messages.Open(models.first, seed=3), SMALL, messages.AddPoint((20, 30), (30, 30)),
        messages.Run(),
    ):  # fmt: skip
        plain.put(command)
    turns(plain, 3)
    assert torch.equal(plain.edit.drag.ws, session.edit.drag.ws)


# -------------------------------------------------------------------------------------- outbox


def picture_frame(step: int = 0) -> Frame:
    import numpy as np

    return Frame(np.full((4, 4, 3), step, np.uint8), step)


def test_the_newest_frame_wins_and_few_are_under_way():
    box = Outbox()
    for step in range(50):
        box.show_frame(picture_frame(step))
    assert len([m for m in box.take() if isinstance(m, bytes)]) == 1
    box.show_frame(picture_frame(60))
    assert box.take() and not box.wants_frame
    box.show_frame(picture_frame(61))
    box.show_frame(picture_frame(62))
    assert box.take() == []  # two are not shown yet
    box.acknowledge(10**9)  # no more than were sent
    (data,) = box.take()
    assert isinstance(data, bytes) and data[8:12] == (62).to_bytes(4, "little")


# F18
def test_what_waits_is_bounded():
    box = Outbox()
    for number in range(5000):
        box.add_row([float(number)])
        box.tell(messages.Note(str(number)))
        box.show(State(step=number))
    texts = [m for m in box.take() if isinstance(m, str)]
    assert len(texts) == MAX_NOTES + 2
    assert str(texts).count("], [") == MAX_ROWS - 1 and '"step": 4999' in texts[-1]


# F18
def test_a_page_that_shows_nothing_does_not_hold_the_drag(session):
    session.connected = True
    session.put(messages.Run())
    sent = 0
    for _ in range(12):
        session.turn()
        sent += sum(isinstance(message, bytes) for message in session.outbox.take())
    assert sent <= 2 and state(session).step >= 10
    session.put(messages.Stop())
    session.turn()
    session.put(messages.Ack(2))
    session.turn()
    frame = [m for m in session.outbox.take() if isinstance(m, bytes)]
    assert frame and frame[-1][8:12] == state(session).step.to_bytes(4, "little")  # the newest


# ------------------------------------------------------------------------------------- sessions


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


# F19
def test_too_many_commands_are_refused(models, storage):
    session = Session(models, storage)
    for _ in range(MAX_WAITING):
        session.put(messages.Run())
    with pytest.raises(BadMessage):
        session.put(messages.Run())


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


def test_a_diffusion_model_is_previewed_dragged_and_recorded(tmp_path, storage):
    models = Models(str(tiny_folder(tmp_path / "m")), None, "cpu")
    session = Session(models, storage)
    session.connected = True
    session.put(messages.Open(models.first, seed=3))
    session.put(messages.AddPoint((10, 12), (20, 12)))
    session.turn()
    assert state(session).settings["method"] == "dragdiffusion" and state(session).size == (32, 32)
    before = session.edit.picture()
    session.outbox.take()
    session.put(messages.Hold((10, 12), (16, 12), 0))
    turns(session, 2)
    assert any(isinstance(m, bytes) for m in session.outbox.take())
    session.put(messages.Release())
    session.put(messages.Run())
    turns(session, 3)
    assert state(session).step >= 1 and (session.edit.picture() != before).any()
    assert session.edit.record().ws.shape[1:] == (24, 256)
    session.put(messages.Undo())
    session.turn()
    assert (session.edit.picture() == before).all()
