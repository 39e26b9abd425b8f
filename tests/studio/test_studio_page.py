"""The page in a real browser: Chromium, where there is one (CHROMIUM_PATH, or on the PATH)."""

import io
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framework.cli.edit import main
from framework.jobs.drag import drag as drag_job
from framework.jobs.requests.drag import DragRequest
from framework.studio.forms import PATHS
from framework.studio.messages import State
from framework.studio.request import StudioRequest
from framework.studio.session import Session
from tests.cli.conftest import save_small_model
from tests.cli.describable import add_text_encoder
from tests.studio.conftest import served, until

BROWSER = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which(
    "chromium-headless-shell"
)  # fmt: skip
pytestmark = pytest.mark.skipif(
    not BROWSER or not os.path.exists(BROWSER), reason="no Chromium here (CHROMIUM_PATH)"
)
EVIL = "<img src=x onerror=document.title=1>.pt"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("offered")
    (folder / EVIL).write_text("")
    request = StudioRequest(
        model=str(tiny_model), models=str(folder), port=0, device="cpu", sessions=64
    )
    with served(request) as server:
        yield server


class Window:
    """A page, and what the server knows of it."""

    def __init__(self, browser: Any, server: Any, **how: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._before = {session.id for session in server.studio.sessions.all()}
        self.server = server
        self.context = browser.new_context(viewport={"width": 1000, "height": 700}, **how)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(server.address)
        self.page.wait_for_selector("#picture[data-frames]")
        self.page.click("#live")  # points stay where they are put until the drag is started
        self.session: Session = server.studio.sessions.get(
            self.page.evaluate("sessionStorage.getItem('session')")
        )
        self.page.select_option("#preset", "small")  # many small steps, also on an untrained model
        until(lambda: self.state.preset == "small")
        self.page.focus("#picture")

    @property
    def state(self) -> State:
        return self.session.state()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a picture pixel's centre lies on the screen."""
        box = self.page.locator("#picture").bounding_box()
        width, height = self.state.size[::-1]
        scale = min((box["width"] - 48) / width, (box["height"] - 48) / height)
        left = box["x"] + (box["width"] - scale * width) / 2
        top = box["y"] + (box["height"] - scale * height) / 2
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    def pull(self, handle: tuple[float, float], target: tuple[float, float]) -> None:
        count = len(self.state.points)
        self.page.mouse.move(*handle)
        self.page.mouse.down()
        self.page.mouse.move(*target, steps=4)
        self.page.mouse.up()
        until(lambda: len(self.state.points) == count + 1)

    def shown(self) -> str:
        """The pixels of the stage, as a picture in a text."""
        return self.page.evaluate("document.querySelector('#picture').toDataURL()")

    def saved(self, button: str) -> bytes:
        self.page.click("#files summary")
        with self.page.expect_download() as download:
            self.page.click(button)
        return Path(download.value.path()).read_bytes()

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def window(browser, server) -> Iterator[Window]:
    window = Window(browser, server)
    yield window
    window.close()


def close_to(points: list, wanted: list) -> bool:
    """Whether points are those, to the hundredth of a pixel to which they are sent."""
    return len(points) == len(wanted) and all(
        abs(a - b) < 0.02
        for p, q in zip(points, wanted, strict=True)
        for a, b in zip(p, q, strict=True)
    )


# F24 F25
def test_the_page_opens_without_a_complaint(window, server):
    assert window.page.title() == "Dragline studio"  # F25: no name of a model has run
    assert EVIL in window.page.locator("#model").inner_text()
    assert window.page.locator("#model img").count() == 0
    window.page.click("#settings-box summary")
    assert window.page.locator("#settings label").count() == len(window.state.settings) - len(PATHS)
    assert all(url.startswith(server.address) for url in window.requests)
    assert window.complaints == []


def test_arrows_are_exact_however_they_are_looked_at(browser, server):
    window = Window(browser, server, device_scale_factor=2)
    window.pull(window.place(20, 30), window.place(40, 34))
    assert close_to(window.state.points, [(20, 30)]), window.state.points
    assert close_to(window.state.targets, [(40, 34)]), window.state.targets
    anchor = tuple(map(round, window.place(10, 50)))  # a wheel turns at a whole pixel
    (left, top), one = window.place(0, 0), window.place(1, 0)[0] - window.place(0, 0)[0]
    x, y = (anchor[0] - left) / one, (anchor[1] - top) / one
    window.page.mouse.move(*anchor)
    window.page.evaluate(
        "() => addEventListener('wheel', (e) => { document.body.dataset.turned = e.deltaY })"
    )
    window.page.mouse.wheel(0, -400)
    window.page.wait_for_selector("body[data-turned]")
    turned = float(window.page.get_attribute("body", "data-turned"))  # halved, at this ratio
    scale = one * math.exp(-0.0015 * turned)
    assert scale > 1.2 * one
    window.pull(anchor, (anchor[0] + 3 * scale, anchor[1] - 2 * scale))
    assert close_to(window.state.points[1:], [(x, y)])
    assert close_to(window.state.targets[1:], [(x + 3, y - 2)])
    window.close()


def test_ends_are_moved_and_points_removed(window):
    window.pull(window.place(20, 30), window.place(40, 34))
    for start, end in (((40, 34), (50, 20)), ((20, 30), (12, 14))):
        window.page.mouse.move(*window.place(*start))
        window.page.mouse.down()
        window.page.mouse.move(*window.place(*end), steps=3)
        window.page.mouse.up()
    until(lambda: close_to(window.state.points, [(12, 14)]))
    assert close_to(window.state.targets, [(50, 20)])
    window.page.keyboard.press("Delete")
    until(lambda: not window.state.points)
    for _ in range(4):
        window.page.keyboard.press("Control+z")
    until(lambda: not window.state.can_undo)
    window.page.keyboard.press("Control+Shift+z")
    until(lambda: close_to(window.state.targets, [(40, 34)]))


def test_a_mask_is_painted_and_erased_to_the_pixel(window):
    page = window.page
    page.keyboard.press("b")
    for _ in range(3):
        page.keyboard.press("]")
    diameter = int(page.locator("#brush-value").inner_text().split()[0])
    page.mouse.move(*window.place(20, 30))
    page.mouse.down()
    page.mouse.up()
    until(lambda: window.state.has_mask)
    square = [(i // 64, i % 64) for i in range(4096)]
    wanted = sum((x - 20) ** 2 + (y - 30) ** 2 <= (diameter / 2) ** 2 for y, x in square)
    painted = int(window.session.edit.drag.mask.sum())
    assert abs(painted - wanted) <= 8 and painted > 100  # the rim may round
    page.keyboard.press("e")
    page.keyboard.press("[")
    page.mouse.move(*window.place(20, 10))
    page.mouse.down()
    page.mouse.move(*window.place(20, 50), steps=8)
    page.mouse.up()
    until(lambda: int(window.session.edit.drag.mask.sum()) < painted)
    assert window.session.edit.drag.mask[30, 20] == 0
    page.click("#clear-mask")
    until(lambda: not window.state.has_mask)
    page.keyboard.press("Control+z")
    until(lambda: window.state.has_mask)
    page.wait_for_selector("#clear-mask:enabled")
    mask = page.evaluate("document.querySelector('#mask-text').textContent")
    assert "bright" in mask


def test_what_is_painted_is_filled_and_undo_brings_it_back(window):
    page = window.page
    assert page.is_disabled("#fill")
    page.keyboard.press("f")
    page.wait_for_selector("#notes p:has-text('nothing is painted')")
    page.keyboard.press("b")
    page.mouse.move(*window.place(20, 30))
    page.mouse.down()
    page.mouse.up()
    until(lambda: window.state.has_mask)
    picture = window.session.edit.picture()
    page.click("#fill")
    page.wait_for_selector("#status:has-text('filling')")
    until(lambda: window.state.busy.startswith("refine"))
    page.focus("#picture")
    page.keyboard.press("Space")  # the inversion so far is enough
    until(lambda: window.state.kind == "photo")
    changed = (window.session.edit.inverted.photo.levels != picture).any(axis=2)
    assert changed[30, 20] and not changed[:, 40:].any()
    page.wait_for_selector("#photo-box:not([hidden])")
    assert page.is_disabled("#fill")
    page.keyboard.press("Control+z")
    page.wait_for_selector("#fill:enabled")
    assert window.state.kind == "seed" and window.state.can_redo
    assert window.complaints == []


@pytest.fixture(scope="module")
def told_server(tmp_path_factory) -> Iterator[Any]:
    """A server of a model that has directions and reads texts."""
    root = tmp_path_factory.mktemp("told")
    folder = add_text_encoder(save_small_model(root / "told", encoder=True))
    found = ["--methods", "pca", "--count", "2", "--samples", "20", "--seeds", "1"]
    assert main(["directions", "--model", str(folder), *found, "--out", str(root / "found")]) == 0
    request = StudioRequest(
        model=str(folder), directions=str(root / "found"), port=0, device="cpu", sessions=8
    )
    with served(request) as server:
        yield server


def test_a_slider_and_a_text_change_the_picture_and_undo_brings_it_back(browser, told_server):
    window = Window(browser, told_server)
    page, ws = window.page, window.session.edit.drag.ws
    slider = page.locator("[data-direction=pca0]")
    box = slider.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = int(page.get_attribute("#picture", "data-frames"))
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + box["width"] / 4, middle[1], steps=4)
    until(lambda: int(page.get_attribute("#picture", "data-frames")) > before)
    assert window.state.places == 0 and window.session.edit.drag.ws is ws
    page.mouse.up()
    until(lambda: window.state.directions["pca0"] > 1)
    assert window.state.places == 1 and float(slider.input_value()) > 1
    page.focus("#picture")
    page.keyboard.press("Control+z")  # at once
    until(lambda: slider.input_value() == "0")
    page.keyboard.press("Control+y")
    until(lambda: float(slider.input_value()) > 1)
    page.fill("#text", "a rad car")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notes p:has-text('did you mean red?')")
    page.fill("#text", "a red car")
    page.keyboard.press("Enter")
    until(lambda: window.state.places == 2)
    page.focus("#picture")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    until(lambda: window.session.edit.drag.ws is ws)
    until(lambda: slider.input_value() == "0")
    page.keyboard.press("Control+y")
    until(lambda: window.state.directions["pca0"] > 1)
    page.wait_for_selector("#save-edit:not([aria-disabled=true])", state="attached")
    assert page.get_attribute("#save-video", "aria-disabled") == "true"
    assert window.complaints == []
    window.close()


def test_a_model_without_directions_and_texts_shows_no_control_of_them(window):
    assert window.page.is_hidden("#text-box") and window.page.is_hidden("#directions-box")
    assert window.page.is_visible("#logs")


def test_ticks_stand_in_line_with_their_words(window):
    tick = window.page.locator("#logs").bounding_box()
    label = window.page.locator("label:has(#logs)").bounding_box()
    assert tick["x"] == label["x"] and tick["width"] < 20
    assert abs(tick["y"] + tick["height"] / 2 - label["y"] - label["height"] / 2) <= 1


def test_start_frames_stop_and_undo(window):
    page = window.page
    window.pull(window.place(20, 30), window.place(40, 34))
    page.mouse.move(5, 300)
    page.wait_for_timeout(200)
    before, frames = window.shown(), int(page.get_attribute("#picture", "data-frames"))
    page.keyboard.press("Space")
    page.wait_for_selector("#picture[data-status=running]")
    until(lambda: window.state.step >= 3)
    page.keyboard.press("Space")
    page.wait_for_selector("#picture:not([data-status=running])")
    step = window.state.step
    assert not window.state.running and int(page.get_attribute("#picture", "data-frames")) > frames
    dragged = window.shown()
    assert dragged != before and window.state.step == step
    page.keyboard.press("Control+z")
    page.wait_for_selector("#redo:enabled")
    page.wait_for_timeout(300)
    assert window.shown() == before
    page.keyboard.press("Control+y")
    page.wait_for_selector("#redo:disabled")
    until(lambda: window.state.step == step)
    place = window.state.place
    page.evaluate(
        "() => { const t = document.querySelector('#timeline'); t.value = 2;"
        " t.dispatchEvent(new Event('input')) }"
    )
    until(lambda: window.state.place == 2)
    assert window.state.places == place
    assert window.complaints == []


def test_two_windows_do_not_see_each_other(browser, server, window):
    other = Window(browser, server)
    assert other.session.id != window.session.id
    other.pull(other.place(20, 30), other.place(40, 34))
    other.page.keyboard.press("Space")
    until(lambda: other.state.step >= 2)
    assert window.state.points == [] and window.state.step == 0
    assert window.page.locator("#points li").count() == 0
    session = other.session
    other.close()  # in the middle
    until(lambda: not session.connected and not session.has_work)


def test_a_page_loaded_again_has_its_edit(window):
    window.pull(window.place(20, 30), window.place(40, 34))
    window.page.reload()
    window.page.wait_for_selector("#points li")
    assert window.page.locator("#points input").first.input_value() == "20"
    assert window.page.evaluate("sessionStorage.getItem('session')") == window.session.id


def test_the_keyboard_alone_makes_an_edit_and_it_is_the_command_lines(window, tiny_model, tmp_path):
    page = window.page
    page.focus("#preset")
    page.keyboard.press("Home")
    until(lambda: window.state.preset == "auto")
    page.keyboard.type("small")
    until(lambda: window.state.preset == "small")
    page.focus("#picture")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowLeft")  # from the middle: (32, 32) to (16, 32)
    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    until(lambda: window.state.points == [(16.0, 32.0)])
    assert window.state.targets == [(22.0, 32.0)]
    assert "22, 32" in page.locator("#cursor-text").inner_text()
    page.click("#settings-box summary")
    page.fill("#settings input[name=max_steps]", "5")
    page.keyboard.press("Tab")
    until(lambda: window.state.settings["max_steps"] == 5)
    page.focus("#picture")
    page.keyboard.press("Space")
    until(lambda: window.state.step and not window.state.running)
    page.wait_for_selector("#save-edit:not([aria-disabled=true])", state="attached")
    saved = window.saved("#save-edit")
    drag_job(
        DragRequest(
            model=str(tiny_model), seed=0, points="16,32:22,32", preset="small", steps=5,
            video=False, wandb="disabled", device="cpu", out=str(tmp_path / "out"),
        )
    )  # fmt: skip
    assert saved == (tmp_path / "out/edit.safetensors").read_bytes()
    assert window.saved("#save-picture") == (tmp_path / "out/after.png").read_bytes()


def test_a_photograph_that_lies_on_its_side_is_put_upright(window, tmp_path):
    upright = np.zeros((60, 80, 3), np.uint8)
    upright[:30] = (250, 20, 20)  # red above
    exif = Image.Exif()
    exif[274] = 6  # stored turned by a quarter
    lying = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "x.jpg", exif=exif)
    window.page.click("#photo-open")
    window.page.select_option("#photo-stages", "embed")
    with window.page.expect_file_chooser() as chooser:
        window.page.click("#photo-choose")
    chooser.value.set_files(tmp_path / "x.jpg")
    window.page.wait_for_selector("#photo-box", state="visible")
    photo = window.session.edit.inverted.photo.levels
    assert photo.shape[:2] == (60, 80) and photo[:25, :, 0].mean() > 200 > photo[35:].mean()
    assert "rotated by EXIF" in window.page.inner_text("#photo-notes")
    assert window.page.inner_text("#stages tbody").startswith("embed")
    pasted = Image.open(io.BytesIO(window.saved("#save-photograph")))
    assert pasted.size == (80, 60)


def test_the_picture_follows_the_hand_and_is_settled_when_it_lets_go(window):
    page = window.page
    page.click("#live")
    page.mouse.move(5, 300)
    before = int(page.get_attribute("#picture", "data-frames"))
    page.mouse.move(*window.place(20, 30))
    page.mouse.down()
    page.mouse.move(*window.place(30, 30), steps=5)
    until(lambda: window.state.held)
    until(
        lambda: page.evaluate("Number(document.querySelector('#picture').dataset.frames)") > before
    )
    assert window.state.points == [] and window.state.places == 0
    page.mouse.up()
    until(lambda: window.state.step >= 1)
    assert window.state.held is None and len(window.state.points) == 1


def test_the_gallery_opens_a_seed(window):
    page = window.page
    page.keyboard.press("g")
    page.click("#gallery-pictures button:nth-child(4)")
    until(lambda: window.state.seed == 3)
    assert window.complaints == []


def test_a_run_is_watched(browser, tiny_model, tmp_path):
    run = tmp_path / "runs" / "cars"
    run.mkdir(parents=True)
    for kimg in (0, 2):
        Image.new("RGB", (64, 32), (90 * kimg, 0, 0)).save(run / f"fakes{kimg:06d}.png")
    numbers = {"Progress/kimg": {"mean": 1.0}, "Loss/G/loss": {"mean": 2.0}}
    (run / "stats.jsonl").write_text(json.dumps(numbers) + "\n")
    with served(StudioRequest(port=0, device="cpu", runs=str(tmp_path / "runs"))) as server:
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{server.address}runs")
        page.wait_for_selector("#numbers canvas")
        assert "1.00 kimg" in page.inner_text("#about")
        assert page.get_attribute("#sheet", "src").endswith("fakes000002.png")
        page.focus("#kimg")
        page.keyboard.press("Home")
        page.wait_for_selector("#sheet[src$='fakes000000.png']")
        numbers |= {"Progress/kimg": {"mean": 3.0}}
        with open(run / "stats.jsonl", "a") as file:  # the run goes on
            file.write(json.dumps(numbers) + "\n")
        page.wait_for_selector("#about:has-text('3.00 kimg')")
        assert complaints == []
        page.close()


# F25
def test_mistakes_are_shown_as_text(window):
    page = window.page
    page.select_option("#model", EVIL)
    page.wait_for_selector("#notes p")
    assert EVIL in page.locator("#notes").inner_text() and page.locator("#notes img").count() == 0
    assert window.state.model == "tiny"


def test_names_for_a_screen_reader(window):
    """Every control has a name, and every picture an alternative."""
    nameless = window.page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, canvas, a')].filter("
        "(e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
