import json
import random
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from framework.drag import edit_format
from framework.drag.algorithm import drag_points
from framework.drag.edit_file import EditFile
from framework.drag.session import DragSession
from framework.drag.settings import DragSettings
from framework.errors import InvalidEdit
from framework.models.digest import state_digest
from tests.drag.fakes import ShiftGenerator

SETTINGS = DragSettings(learning_rate=0.02, max_steps=4)
HANDLES, TARGETS = [(20, 30.5), (50, 10)], [(40, 34), (45, 12)]


@pytest.fixture(scope="module")
def mask():
    mask = torch.ones(64, 64)
    mask[:9] = 0
    return mask


@pytest.fixture(scope="module")
def steps(tiny_generator, tiny_ws, mask):
    return list(drag_points(tiny_generator, tiny_ws, HANDLES, TARGETS, mask, SETTINGS))


@pytest.fixture
def path(tiny_generator, steps, mask, tmp_path):
    edit = EditFile.from_steps(
        steps, tiny_generator, model_name="tiny", settings=SETTINGS, mask=mask
    )
    path = tmp_path / "edit.safetensors"
    edit.save(path)
    return path


def test_a_file_holds_the_whole_drag(path, steps, mask, tiny_generator, tiny_ws):
    edit = EditFile.load(path)
    assert edit.settings == SETTINGS and edit.status == "max_steps" and edit.img_size == (64, 64)
    assert edit.model_name == "tiny" and edit.model_digest == state_digest(tiny_generator)
    assert torch.equal(edit.start_ws, tiny_ws) and edit.handles.tolist() == [[20, 30.5], [50, 10]]
    assert torch.equal(edit.mask, mask) and edit.earlier_ws.shape[0] == 0
    for recorded, step in zip(edit.steps(tiny_generator), steps, strict=True):
        assert recorded.step == step.step and recorded.status == step.status
        assert recorded.confidence == pytest.approx(step.confidence)  # A2f
        assert recorded.lost == step.lost
        assert torch.equal(recorded.ws, step.ws) and torch.equal(recorded.points, step.points)
        assert torch.equal(recorded.image(), step.image())
        for name in ("motion_loss", "mask_loss", "drift", "distance_px"):
            assert getattr(recorded, name) == pytest.approx(getattr(step, name), rel=1e-6)


def test_continued_from_a_file_is_as_if_never_stopped(path, tiny_generator, tiny_ws, mask):
    longer = replace(SETTINGS, max_steps=8)
    *_, wanted = drag_points(tiny_generator, tiny_ws, HANDLES, TARGETS, mask, longer)
    first, *_, last = EditFile.load(path).resume(tiny_generator)
    assert (first.step, last.step) == (4, 8)
    assert torch.equal(last.ws, wanted.ws) and torch.equal(last.points, wanted.points)

    session = DragSession.from_edit_file(tiny_generator, EditFile.load(path))
    *_, last = session.run()
    assert torch.equal(last.ws, wanted.ws)
    session.undo(8)
    assert torch.equal(session.ws, tiny_ws) and session.can_undo == 0


def test_continuing_may_go_elsewhere(path, tiny_generator):
    first, second, *_ = EditFile.load(path).resume(
        tiny_generator, targets=[(5, 5), (6, 6)], settings=DragSettings(max_steps=1)
    )
    assert first.targets.tolist() == [[5, 5], [6, 6]] and second.optimizer.count == 1


def test_a_session_is_saved_with_what_came_before(tiny_generator, tiny_ws, tmp_path):
    session = DragSession(tiny_generator, tiny_ws, SETTINGS)
    with pytest.raises(InvalidEdit, match="not been dragged"):
        session.edit_file("tiny")
    session.set_points(HANDLES, TARGETS)
    list(session.run())
    session.remove_point(0)
    list(session.run(max_steps=2))
    session.edit_file("tiny").save(tmp_path / "e.safetensors")
    edit = EditFile.load(tmp_path / "e.safetensors")
    assert edit.step.tolist() == [0, 1, 2] and edit.points.shape == (3, 1, 2)
    assert len(edit.earlier_ws) == 5 and torch.equal(edit.earlier_ws[:1], tiny_ws)
    *_, wanted = session.run(max_steps=2)
    *_, last = edit.resume(tiny_generator, settings=replace(SETTINGS, max_steps=2))
    assert torch.equal(last.ws, wanted.ws)


def test_a_long_session_that_forgot_its_beginning_can_still_go_on(tiny_generator, tiny_ws):
    session = DragSession(tiny_generator, tiny_ws, SETTINGS, history=2)
    session.set_points(HANDLES, TARGETS)
    list(session.run())
    edit = session.edit_file("tiny")
    assert edit.step.tolist() == [2, 3, 4] and torch.equal(edit.start_ws, tiny_ws)
    *_, wanted = session.run()
    *_, last = edit.resume(tiny_generator)
    assert torch.equal(last.ws, wanted.ws)


def test_another_model_is_refused_unless_allowed(path, tiny_generator):
    edit = EditFile.load(path)
    edit.check_model(tiny_generator)
    with pytest.raises(InvalidEdit, match=r"other weights than these: 'tiny', digest [0-9a-f]{12}"):
        replace(edit, model_digest="0" * 64).check_model(tiny_generator)
    replace(edit, model_digest="0" * 64).check_model(tiny_generator, allow_other=True)
    with pytest.raises(InvalidEdit, match="this model has"):
        edit.check_model(ShiftGenerator(), allow_other=True)


def test_nothing_is_lost_when_saving_fails(path, monkeypatch):
    edit = EditFile.load(path)
    before = path.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        edit.save(path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def spoil(path, change):
    """Write the file again with tensors and metadata changed by `change(tensors, metadata)`."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    for newer in ("sha256", "confidence", "settling"):  # as of a file of before there were digests
        metadata.pop(newer)
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


# A11f
def test_no_bit_of_a_file_may_turn(path, tiny_generator):
    whole = path.read_bytes()
    rng = random.Random("flips")
    end = 8 + int.from_bytes(whole[:8], "little")
    places = [rng.randrange(end) for _ in range(60)]  # of the header
    places += [rng.randrange(end, len(whole)) for _ in range(60)]  # of the data
    for at in places:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(InvalidEdit) as caught:
            EditFile.load(path)
        assert "\n" not in str(caught.value)
        assert at < end or "digest does not match its contents; damaged" in str(caught.value)
    path.write_bytes(whole)
    EditFile.load(path).check_model(tiny_generator)


# A11f
def test_a_file_of_before_there_were_digests_opens(path):
    ws = EditFile.load(path).ws
    spoil(path, lambda tensors, metadata: None)
    assert torch.equal(EditFile.load(path).ws, ws)


@pytest.mark.parametrize("values", [[-1.0, 3], [1.0], [float("inf"), 1], ["1", 1], 3, [1.0, 2.5]])
def test_settling_is_a_length_and_a_number_of_steps(values):
    assert edit_format._settling([2.5, 3]) == (2.5, 3)
    with pytest.raises(ValueError, match="settling is not"):
        edit_format._settling(values)


@pytest.mark.parametrize(("then", "now"), [(20.0, 0.5), (0.0, 0.0)])
def test_a_mask_of_before_has_todays_weight(path, then, now):
    """A1f: the paper's weight of the loss would be twenty pulls; no mask stays none."""
    spoil(path, lambda _, metadata: metadata.update(settings=settings_json(mask_weight=then)))
    assert EditFile.load(path).settings.mask_weight == now


def settings_json(**changes):
    return json.dumps(SETTINGS.to_dict() | changes)


SPOILERS = {
    "another format": lambda t, m: m.pop("format"),
    "version 2": lambda t, m: m.update(version="2"),
    "'model_digest' is missing": lambda t, m: m.pop("model_digest"),
    "'ws' is missing": lambda t, m: t.pop("ws"),
    "ws holds NaN": lambda t, m: t["ws"].fill_(float("nan")),
    "points has shape": lambda t, m: t.update(points=t["points"][:, :1].clone()),
    "ws is torch.float16": lambda t, m: t.update(ws=t["ws"].half()),
    "points lie outside": lambda t, m: t["points"].fill_(64.0),
    "mask has shape": lambda t, m: t.update(mask=torch.ones(64, 32)),
    "mask is not from 0 to 1": lambda t, m: t["mask"].fill_(2.0),
    "step has the wrong": lambda t, m: t.update(step=t["step"][:2].clone()),
    "no setting 'extra'": lambda t, m: m.update(settings=settings_json(extra=1)),
    "layers 0: expected": lambda t, m: m.update(settings=settings_json(layers=0)),
    "unknown status": lambda t, m: m.update(status="done"),
    "unknown tensor 'more'": lambda t, m: t.update(more=torch.zeros(1)),
    "adam.mean' is missing": lambda t, m: t.pop("adam.mean"),
    "adam.square has shape": lambda t, m: t.update({"adam.square": torch.zeros(1, 1, 24)}),
    "adam has impossible": lambda t, m: m.update({"adam.count": "-1"}),
    "recursion": lambda t, m: m.update(settings="[" * 100_000),
    "img_size": lambda t, m: m.update(img_size='["a", 64]'),
}


@pytest.mark.parametrize("message", SPOILERS)
def test_a_file_that_does_not_fit_itself_is_refused_in_one_line(path, message):
    spoil(path, SPOILERS[message])
    with pytest.raises(InvalidEdit, match=rf"edit.safetensors: .*{message}") as error:
        EditFile.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff" * 100, None])
def test_a_file_that_is_no_edit_is_refused(tmp_path, content):
    path = tmp_path / "edit.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidEdit, match="cannot be read as an edit"):
        EditFile.load(path)


def test_a_cut_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidEdit, match="cannot be read as an edit"):
        EditFile.load(path)


def test_no_steps_or_no_beginning_is_no_edit(tiny_generator, steps):
    with pytest.raises(InvalidEdit, match="without steps"):
        EditFile.from_steps([], tiny_generator, model_name="tiny", settings=SETTINGS)
    with pytest.raises(InvalidEdit, match="give start_ws and handles"):
        EditFile.from_steps(steps[2:], tiny_generator, model_name="tiny", settings=SETTINGS)
