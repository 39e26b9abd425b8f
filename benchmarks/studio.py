"""The studio measured from a page's side: frames, gesture to frame, stop, memory of sessions.

    python benchmarks/studio.py --model vehicles64

The server is a real one on this machine, in a process of its own; the page is a WebSocket without
a browser, which acknowledges every frame as it comes. The first frames per second are of a source
that gives 512 px pictures as fast as they are taken: what server and wire can do; the second of a
drag. Times are medians with the 90th percentile.
"""

import argparse
import itertools
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import connect
from websockets.typing import Origin

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import facts
from framework.studio import messages
from framework.studio.messages import to_text

PULL = messages.AddPoint((40, 13), (47.3, 17.4))  # no point lands on a fraction: it never ends
LONG = messages.Choose("small", {"max_steps": 100_000, "stop_distance_px": 0.0})


class Source:
    """Stands in for a drag: pictures of noise, 512 px, as fast as they are taken."""

    text, last_step, step_ms, is_coarse = "", 0, 0.0, False
    pictures = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), np.uint8)
    pictures = pictures.repeat(8, axis=1).repeat(8, axis=2)

    def __init__(self, edit: Any, show: Callable[..., None], row: Any, log: Any) -> None:
        self._show, self._numbers = show, itertools.count()

    def step(self) -> bool:
        """Show the next one."""
        number = next(self._numbers)
        self._show(lambda: self.pictures[number % 8], number)
        time.sleep(0.001)
        return True

    def stop(self) -> None:
        """Nothing is kept."""


def server(model: str, sender: Any, synthetic: bool, sessions: int) -> None:
    """Serve in this process; says its address, and its memory when asked."""
    from framework.studio import session
    from framework.studio.request import StudioRequest
    from framework.studio.server import Server
    from framework.threads import shorten_spin

    shorten_spin()
    if synthetic:
        session.Dragging = Source  # type: ignore[misc]
    request = StudioRequest(model=model, port=0, sessions=sessions, device="cpu")
    Server(request, sender.send).run()


class Page:
    """A page: what it has seen, and when."""

    def __init__(self, address: str) -> None:
        base = address.rstrip("/")
        place = f"{base.replace('http', 'ws')}/ws"
        self._connect = connect(
            place, origin=Origin(base), max_size=None, proxy=None, close_timeout=1
        )
        self._wire = self._connect.__enter__()
        self.frames = 0
        self.state: dict[str, Any] = {}
        self.model = json.loads(self._wire.recv())["first"]

    def say(self, command: Any) -> None:
        """Send a command."""
        self._wire.send(to_text(command))

    def read(self, timeout_sec: float | None = 60) -> bool:
        """Read a message; whether there was one in time."""
        try:
            message = self._wire.recv(timeout_sec)
        except TimeoutError:
            return False
        if isinstance(message, bytes):
            self.frames += 1
            self.say(messages.Ack(int.from_bytes(message[4:8], "little")))
        else:
            event = json.loads(message)
            if event["type"] == "State":
                self.state = event
        return True

    def until(self, condition: Callable[[], Any]) -> None:
        """Read until something is so."""
        while not condition():
            self.read()

    def opened(self, seed: int) -> "Page":
        """Open a picture and put a point on it."""
        self.say(messages.Open(self.model, seed=seed))
        self.say(PULL)
        self.until(lambda: self.frames and self.state.get("points"))
        return self

    def close(self) -> None:
        """Go."""
        self._wire.close()


def frames_per_sec(page: Page, seconds: float) -> float:
    """Frames that a page gets in a second of a run."""
    page.say(messages.Run())
    page.until(lambda: page.state["running"])
    first, start = page.frames, time.perf_counter()
    page.until(lambda: time.perf_counter() - start > seconds)
    rate = (page.frames - first) / (time.perf_counter() - start)
    page.say(messages.Stop())
    page.until(lambda: not page.state["running"])
    return rate


def gesture_ms(page: Page, count: int) -> list[float]:
    """From the movement of a held point to the next frame, from rest."""
    times = []
    for i in range(count):
        page.say(messages.Release())
        while page.read(0.3):  # until nothing comes any more
            pass
        before = page.frames
        start = time.perf_counter()
        page.say(messages.Hold((40, 13), (42 + i % 5, 14 + i % 3), 0))
        page.until(lambda before=before: page.frames > before)
        times.append(1000 * (time.perf_counter() - start))
    page.say(messages.Release())
    return times


def stop_ms(page: Page, count: int) -> list[float]:
    """From a stop to the state that says so."""
    times = []
    for i in range(count):
        page.say(messages.Run())
        page.until(lambda i=i: page.state["running"] and page.state["step"] > 3 * i)
        start = time.perf_counter()
        page.say(messages.Stop())
        page.until(lambda: not page.state["running"])
        times.append(1000 * (time.perf_counter() - start))
    return times


def resident_mb(process: int) -> float:
    """Memory of a process now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def memory_mb(process: int, address: str, count: int, steps: int) -> tuple[float, float]:
    """Memory with one session, and how much each further one adds, with a drag's history."""
    pages, used = [], []
    for seed in range(count):
        page = Page(address).opened(seed)
        page.say(LONG)
        page.say(messages.Run())
        page.until(lambda page=page: page.state["step"] >= steps)
        page.say(messages.Stop())
        page.until(lambda page=page: not page.state["running"])
        pages.append(page)
        used.append(resident_mb(process))
    for page in pages:
        page.close()
    return used[0], (used[-1] - used[0]) / (count - 1)


def spread(times: list[float]) -> dict[str, float]:
    """Median and 90th percentile."""
    return {
        "median": round(statistics.median(times), 1),
        "p90": round(statistics.quantiles(times, n=10)[-1], 1),
    }


def main() -> None:
    """Measure everything, and print it as JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--model", default="vehicles64")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--count", type=int, default=30, help="gestures and stops")
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="of each session's drag")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": facts(), **vars(options)}
    for synthetic in (True, False):
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        arguments = (options.model, sender, synthetic, options.sessions + 1)
        process = context.Process(target=server, args=arguments, daemon=True)
        process.start()
        address = receiver.recv()
        page = Page(address).opened(30)
        page.say(LONG)
        if synthetic:
            results["frames_per_sec_512px_source"] = round(frames_per_sec(page, options.seconds), 1)
        else:
            results["frames_per_sec_drag"] = round(frames_per_sec(page, options.seconds), 1)
            results["stop_ms"] = spread(stop_ms(page, options.count))
            page.say(messages.Reset())
            page.say(PULL)
            page.until(lambda page=page: page.state["step"] == 0 and page.state["points"])
            results["gesture_to_frame_ms"] = spread(gesture_ms(page, options.count))
            first, each = memory_mb(process.pid or 0, address, options.sessions, options.steps)
            results["memory_mb_one_session"] = round(first)
            results["memory_mb_each_further"] = round(each, 1)
        page.close()
        process.terminate()
        process.join()
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
