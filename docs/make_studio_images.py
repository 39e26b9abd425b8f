"""Take the pictures of docs/studio.md and the README: a drag on the page, in Chromium.

    python docs/make_studio_images.py         # all, or:
    python docs/make_studio_images.py told    # the page after a text and with a slider moved

It needs the extra `dev`, a Chromium (CHROMIUM_PATH, or on the PATH) and no network. The clip shows
the page as it was, a screenshot as often as the machine can take one.
"""

import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from framework.studio.request import StudioRequest  # noqa: E402
from framework.studio.server import Server  # noqa: E402

IMAGES = ROOT / "docs/images"
MODEL, SEED, HANDLE, TARGET = "vehicles64", 30, (40, 13), (46, 16)
TOLD, TOLD_SEED, TEXT, SLIDES = "toycars64", 8, "a red car under a dusky sky", ("tall", 2.0)
CLIP_WIDTH_PX, CLIP_MS, QUALITY = 640, 120, 82


@contextmanager
def served(model: str = MODEL) -> Iterator[str]:
    """The page's address, while it is there."""
    up = threading.Event()
    request = StudioRequest(model=model, port=0)
    server = Server(request, lambda _: up.set())
    thread = threading.Thread(target=server.run)
    thread.start()
    up.wait()
    try:
        yield server.address
    finally:
        server.should_exit = True
        thread.join()


def opened(
    browser: Any, address: str, width: int, height: int, scheme: str, seed: int = SEED
) -> Page:
    """The page with the picture of the seed."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("#picture[data-frames]")
    page.fill("#seed", str(seed))
    page.keyboard.press("Enter")
    page.locator("#picture").focus()
    page.wait_for_timeout(1500)
    return page


def place(page: Page, point: tuple[float, float], size: int = 64) -> tuple[float, float]:
    """Where a pixel of the picture lies on the screen."""
    box = page.locator("#picture").bounding_box()
    assert box
    shorter = min(box["width"], box["height"])
    scale = (shorter - 2 * (24 if shorter > 500 else 8)) / size
    left = box["x"] + (box["width"] - scale * size) / 2
    top = box["y"] + (box["height"] - scale * size) / 2
    return left + (point[0] + 0.5) * scale, top + (point[1] + 0.5) * scale


def pull(page: Page, seen: Callable[[], None]) -> None:
    """Hold the point and move it, let go, and wait until the drag has ended."""
    page.mouse.move(*place(page, HANDLE))
    page.mouse.down()
    for i in range(1, 17):
        x, y = (a + (b - a) * i / 16 for a, b in zip(HANDLE, TARGET, strict=True))
        page.mouse.move(*place(page, (x, y)))
        page.wait_for_timeout(60)
        seen()
    page.mouse.up()
    page.mouse.move(5, 300)
    end_sec = time.monotonic() + 60
    page.wait_for_selector("#picture[data-status=running]")
    while page.get_attribute("#picture", "data-status") == "running":
        assert time.monotonic() < end_sec
        seen()
        page.wait_for_timeout(40)
    page.wait_for_timeout(500)
    seen()


def shrunk(data: bytes, width: int) -> Image.Image:
    """A screenshot, smaller."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return image.resize(
        (width, round(image.height * width / image.width)), Image.Resampling.LANCZOS
    )


def save(page: Page, name: str, width: int) -> None:
    """Write a screenshot."""
    shrunk(page.screenshot(), width).save(IMAGES / f"{name}.webp", quality=QUALITY, method=6)


def told(browser: Any) -> None:
    """Take the picture of the page after a text and with a slider moved."""
    with served(TOLD) as address:
        page = opened(browser, address, 1280, 800, "light", TOLD_SEED)
        page.fill("#text", TEXT)
        page.keyboard.press("Enter")
        page.wait_for_selector("#timeline[max='1']")
        slider = page.locator(f"[data-direction={SLIDES[0]}]")
        slider.fill(str(SLIDES[1]))
        slider.dispatch_event("change")
        page.wait_for_selector("#timeline[max='2']")
        page.wait_for_timeout(1500)
        save(page, "studio_told", 1000)
        page.close()


def main() -> None:
    """Take all pictures, or the one of `told`."""
    browser_path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    if sys.argv[1:] == ["told"]:
        with sync_playwright() as driver:
            told(driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"]))
        return
    with served() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = opened(browser, address, 1280, 800, "light")
        frames: list[Image.Image] = []
        pull(page, lambda: frames.append(shrunk(page.screenshot(), CLIP_WIDTH_PX)))
        frames += 8 * frames[-1:]
        frames[0].save(
            IMAGES / "studio.webp", save_all=True, append_images=frames[1:], duration=CLIP_MS,
            loop=0, quality=QUALITY - 20, method=6,
        )  # fmt: skip
        save(page, "studio_light", 1000)
        page = opened(browser, address, 1280, 800, "dark")
        pull(page, lambda: None)
        save(page, "studio_dark", 1000)
        page = opened(browser, address, 390, 844, "light")
        pull(page, lambda: None)
        save(page, "studio_phone_light", 390)
        told(browser)
        browser.close()


if __name__ == "__main__":
    main()
