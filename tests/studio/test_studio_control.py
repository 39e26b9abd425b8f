"""Directions and texts on the page: steps of the history, and files by which they are repeated."""

import io
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from framework.cli.edit import main
from framework.drag.edit_file import EditFile
from framework.errors import UserError
from framework.formats.latents import read_latents, write_latents
from framework.inversion.inverted_image import InvertedImage
from framework.jobs.models import seed_latents
from framework.jobs.requests.framing import Framing
from framework.studio import messages
from framework.studio.models import Models
from framework.studio.request import StudioRequest
from framework.studio.session import Session
from tests.cli.conftest import save_small_model
from tests.cli.describable import add_text_encoder
from tests.studio.conftest import told, until

FOUND = ["--methods", "pca", "--count", "2", "--samples", "20", "--seeds", "1"]
PULL = (
    messages.Choose("small", {"max_steps": 2, "feature_resolution": 16}),
    messages.AddPoint((5, 8), (7, 8)),
)
TEXT = "a red car"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model with directions, an encoder of pictures and a text encoder."""
    root = tmp_path_factory.mktemp("models")
    folder = add_text_encoder(save_small_model(root / "told", encoder=True))
    assert main(["directions", "--model", str(folder), *FOUND, "--out", str(root / "found")]) == 0
    shutil.copy(root / "found" / "directions.safetensors", folder)
    return folder


@pytest.fixture
def session(model, storage) -> Session:
    """A session with a picture, without a worker: the test makes its turns."""
    session = Session(Models(str(model), None, "cpu"), storage)
    do(session, messages.Open(model.name, seed=3))
    session.outbox.take()
    return session


def do(session: Session, *commands: messages.Command) -> None:
    """Give commands, one after the other has ended."""
    for command in commands:
        session.put(command)
        until(lambda: session.turn() or not session._activity)


def unpacked(session: Session, folder: Path) -> list[str]:
    """Save what the page saves into a folder; return its commands."""
    data, name = session.edit.saved()
    assert name == "edit.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    return (folder / "commands.txt").read_text().splitlines()


def repeated(lines: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Run the commands of a file as a person would, in its folder."""
    monkeypatch.chdir(folder)
    for line in lines:
        if not line.startswith("#"):
            assert main(shlex.split(line)[2:]) == 0, line


def test_a_slider_shows_and_leaves_no_trace_until_it_is_let_go(session):
    before, ws = session.state(), session.edit.drag.ws.clone()
    assert before.directions == {"pca0": 0.0, "pca1": 0.0} and before.texts
    session.connected = True
    session.put(messages.Slide({"pca0": 1.0}))
    session.put(messages.Slide({"pca0": 2.0}))  # of several only the last
    session.turn()
    assert len([m for m in session.outbox.take() if isinstance(m, bytes)]) == 1
    assert session.state() == before and torch.equal(session.edit.drag.ws, ws)
    session.put(messages.Stop())
    session.turn()
    assert session._due is None or (session._due[0]() == session.edit.picture()).all()


def test_sliders_are_steps_and_together_one_move_of_the_command_line(session, model, tmp_path):
    ws = session.edit.drag.ws.clone()
    for values in ({"pca0": 1.0}, {"pca0": 1.5}, {"pca1": -2.0}):
        do(session, messages.Steer(values))
    assert session.state().directions == {"pca0": 1.5, "pca1": -2.0}
    words = ["edit", "--model", str(model), "--seed", "3", "--out", str(tmp_path / "out")]
    assert main([*words, "--direction", "pca0=1.5", "--direction", "pca1=-2"]) == 0
    made = read_latents(tmp_path / "out" / "latents.safetensors")
    assert torch.equal(session.edit.drag.ws, made) and not torch.equal(made, ws)
    do(session, messages.Undo())
    assert session.state().directions == {"pca0": 1.5, "pca1": 0.0}
    do(session, messages.Steer({"pca0": 0.0}))
    assert torch.equal(session.edit.drag.ws, ws) and not session.state().can_save
    do(session, messages.Undo(), messages.Undo(), messages.Redo())
    assert session.state().directions["pca0"] == 1.5
    do(session, messages.Steer({"pca0": 1.5}, stamp=7))  # it is there already
    assert session.state().can_redo and session.state().steered == 7


def test_a_text_is_a_step_and_does_what_the_command_does(session, model, tmp_path):
    ws = session.edit.drag.ws.clone()
    do(session, messages.Describe(TEXT))
    start = write_latents(tmp_path / "start.safetensors", ws, "dragline")
    words = ["text", TEXT, "--model", str(model), "--image", str(start)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    made = read_latents(tmp_path / "out" / "latents.safetensors")
    assert torch.equal(session.edit.drag.ws, made) and not torch.equal(made, ws)
    do(session, messages.Undo())
    assert torch.equal(session.edit.drag.ws, ws) and session.state().can_redo


def test_a_text_is_stopped_after_a_look_and_a_point_starts_nothing(session):
    ws = session.edit.drag.ws
    session.put(messages.Describe(TEXT))
    session.turn()
    assert session.state().busy.startswith("text, look 1 of")
    session.put(messages.AddPoint((5, 8), (7, 8)))
    session.turn()
    assert session.state().busy == "" and not session.state().running
    assert not torch.equal(session.edit.drag.ws, ws) and session.state().points == [(5.0, 8.0)]


def test_an_undo_while_a_text_is_under_way_undoes_the_text_alone(session):
    do(session, *PULL, messages.Run())
    ws, places = session.edit.drag.ws, session.state().places
    session.put(messages.Describe(TEXT))
    session.turn()
    session.put(messages.Undo())
    session.turn()
    assert torch.equal(session.edit.drag.ws, ws)
    assert session.state().place == places and session.state().can_redo


def test_what_a_page_saves_is_made_again_by_its_commands(session, tmp_path, monkeypatch):
    """Directions, a text, a drag from there: the latents of the commands, bit for bit."""
    do(session, messages.Steer({"pca0": 1.5}), messages.Describe(TEXT))
    do(session, messages.Steer({"pca0": 1.0, "pca1": 0.5}))
    lines = unpacked(session, tmp_path / "undragged")
    assert len(lines) == 3 and "pca0=-0.5" in lines[2] and shlex.quote(TEXT) in lines[1]
    with pytest.raises(UserError, match="nothing is dragged in it"):
        session._storage.edit(session.edit.saved()[0])
    repeated(lines, monkeypatch, tmp_path / "undragged")
    made = read_latents(tmp_path / "undragged/out/2/latents.safetensors")
    assert torch.equal(made, session.edit.drag.ws)
    assert torch.equal(made, read_latents(tmp_path / "undragged/result.safetensors"))
    do(session, *PULL, messages.Run())
    assert session.state().has_drag
    lines = unpacked(session, tmp_path / "dragged")
    repeated(lines, monkeypatch, tmp_path / "dragged")
    record = EditFile.load(tmp_path / "dragged/edit.safetensors")
    assert torch.equal(record.start_ws, made) and "drag --edit" in lines[-1]
    do(session, messages.Steer({"pca1": 1.0}))  # the drag between is told, and begun after
    lines = unpacked(session, tmp_path / "after")
    assert [line.startswith("#") for line in lines] == [True, True, True, False]
    repeated(lines, monkeypatch, tmp_path / "after")
    made = read_latents(tmp_path / "after/out/0/latents.safetensors")
    assert torch.equal(made, session.edit.drag.ws) and session.state().directions["pca1"] == 1.0


def test_a_photograph_is_changed_and_its_commands_know_it(
    session, storage, photograph, tmp_path, monkeypatch
):
    photo = photograph(size=(40, 30)).read_bytes()
    session.ask(lambda: session.invert(storage.photograph(photo), Framing(), "embed"))
    until(lambda: session.turn() or not session._activity)
    do(session, messages.Describe(TEXT), messages.Steer({"pca0": 1.0}))
    lines = unpacked(session, tmp_path)
    repeated(lines, monkeypatch, tmp_path)
    made = InvertedImage.load(tmp_path / "out/1/start.inv.safetensors").ws
    assert torch.equal(made, session.edit.drag.ws)
    assert torch.equal(made, InvertedImage.load(tmp_path / "result.inv.safetensors").ws)
    assert (tmp_path / "out/1/pasted.png").is_file()
    do(session, *PULL, messages.Run())
    data, _ = session.edit.saved()
    other = Session(session._models, storage)
    other.go_on(storage.edit(data))
    assert torch.equal(other.edit.drag.ws, session.edit.drag.ws)


# F30f
@pytest.mark.parametrize(
    ("command", "about"),
    [
        (messages.Describe("a rad car"), "did you mean red?"),
        (messages.Describe(" "), "the text is empty"),
        (messages.Describe("red " * 200), "800 characters"),
        (messages.Steer({"pca7": 1.0}), "no such direction"),
        (messages.Steer({"pca0": 1e9}), "at most 100"),
        (messages.Slide({"pca7": 1.0}), "no such direction"),
    ],
)
def test_mistakes_about_texts_and_directions_are_told_and_change_nothing(session, command, about):
    before = session.state()
    do(session, command)
    assert about in told(session) and session.state() == before


# F30f
def test_the_page_says_of_a_text_what_the_command_line_says(session, model, tmp_path, capsys):
    do(session, messages.Describe("a rad car"))
    out = str(tmp_path / "out")
    assert main(["text", "a rad car", "--model", str(model), "--out", out]) == 2
    line = capsys.readouterr().err.strip()
    assert line.partition(" 'a rad car'")[2] in told(session)


# F30f
def test_a_model_without_them_has_no_control(models, storage, model, tmp_path):
    session = Session(models, storage)
    do(session, messages.Open(models.first, seed=3))
    assert session.state().directions == {} and not session.state().texts
    do(session, messages.Describe(TEXT), messages.Steer({"pca0": 1.0}))
    said = told(session)
    assert "has no text encoder" in said and "has no directions" in said
    strange = save_small_model(tmp_path / "strange", encoder=True, seed=9)
    for name in ("text.safetensors", "directions.safetensors"):
        shutil.copy(model / name, strange)  # of other weights
    (strange / "layers.json").write_text("{}")
    session = Session(Models(str(strange), None, "cpu"), storage)
    do(session, messages.Open("strange"))
    said = told(session)
    assert said.count('"Note"') == 2 and "finds its own" in said and "trains its own" in said
    assert session.state().directions == {} and not session.state().texts


def test_files_that_are_given_at_the_start_are_the_first_models(model, storage, tmp_path):
    bare = save_small_model(tmp_path / "bare", encoder=True)  # the same weights
    given = {n: str(model / f"{n}.safetensors") for n in ("directions", "text")}
    models = Models(
        str(bare), None, "cpu", directions=given["directions"], text_encoder=given["text"]
    )
    session = Session(models, storage)
    do(session, messages.Open("bare", seed=3), messages.Describe(TEXT))
    assert session.state().directions == {"pca0": 0.0, "pca1": 0.0} and session.state().texts
    assert f"--text-encoder {given['text']}" in "".join(unpacked(session, tmp_path / "saved"))
    with pytest.raises(UserError, match="directions"):
        Models(str(bare), None, "cpu", directions=given["text"]).control("bare")
    with pytest.raises(UserError, match="of which model"):
        StudioRequest(directions="x")


def test_a_seed_that_is_opened_again_has_its_sliders_at_zero(session, model):
    do(session, messages.Steer({"pca0": 1.0}), messages.Open(model.name, seed=4))
    assert session.state().directions["pca0"] == 0.0
    generator = session.edit.networks.generator
    assert torch.equal(session.edit.drag.ws, seed_latents(generator, 4))


def test_a_drag_that_ended_is_changed_on_although_nobody_has_seen_its_end(session):
    do(session, *PULL, messages.Run())
    assert session._due is not None  # frames are waiting: this page shows nothing
    do(session, messages.Steer({"pca0": 1.0}), messages.AddPoint((3, 3), (4, 3)))
    assert session.state().directions["pca0"] == 1.0 and len(session.state().points) == 2
