import errno
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from framework.errors import UserError
from framework.media.video import MIN_CLIP_PX, check_clip_path, paced, write_video

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def ramp(count: int, height: int = 20, width: int = 32) -> list[np.ndarray]:
    return [np.full((height, width, 3), 20 * index, np.uint8) for index in range(count)]


def decoded(path) -> tuple[dict, list[np.ndarray]]:
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    return facts, [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]


def test_mp4_holds_every_frame_in_order_and_in_a_format_that_plays_everywhere(tmp_path):
    path = tmp_path / "clip.mp4"
    assert write_video(path, ramp(10), fps=24) == 10
    facts, frames = decoded(path)
    assert facts["codec"] == "h264" and facts["pix_fmt"].startswith("yuv420p")
    assert facts["fps"] == 24
    assert [round(float(frame.mean()) / 20) for frame in frames] == list(range(10))


@pytest.mark.parametrize("size", [(63, 65), (33, 31), (301, 257)])
def test_odd_and_tiny_sides_become_even_and_large_enough(tmp_path, size):
    write_video(tmp_path / "clip.mp4", ramp(3, *size))
    facts, _ = decoded(tmp_path / "clip.mp4")
    assert all(side % 2 == 0 for side in facts["size"])
    assert max(facts["size"]) >= MIN_CLIP_PX


def test_small_pixels_stay_sharp(tmp_path):
    board = (np.indices((16, 16)).sum(axis=0) % 2 * 255).astype(np.uint8)
    write_video(tmp_path / "clip.mp4", [board[..., None].repeat(3, axis=2)] * 3)
    _, frames = decoded(tmp_path / "clip.mp4")
    centres = frames[1][8::16, 8::16, 0].astype(int)
    assert np.abs(centres - board).max() < 40


def test_gif_lasts_as_long_as_its_frames(tmp_path):
    path = tmp_path / "clip.gif"
    assert write_video(path, ramp(6), fps=10) == 6
    with Image.open(path) as clip:
        total_ms = 0
        for index in range(clip.n_frames):
            clip.seek(index)
            total_ms += clip.info["duration"]
    assert total_ms == 600


def test_paced_makes_a_short_drag_watchable_and_keeps_the_order():
    frames = list(paced(iter(ramp(5)), 5, fps=24))
    assert 48 <= len(frames) < 120
    values = [int(frame[0, 0, 0]) for frame in frames]
    assert values == sorted(values) and set(values) == {0, 20, 40, 60, 80}


def test_paced_shows_each_of_many_steps_once():
    frames = list(paced(iter(range(300)), 300, fps=24))  # type: ignore[arg-type]
    assert frames[12:-24] == list(range(1, 299))


@pytest.mark.parametrize(
    ("name", "frames", "complaint"),
    [
        ("clip.avi", ramp(2), "ends in"),
        ("clip.mp4", [], "no frames"),
        ("clip.mp4", [*ramp(2), *ramp(1, 24, 32)], "one size"),
        ("clip.gif", [np.zeros((8, 8), np.uint8)], "one size"),
    ],
)
def test_what_cannot_be_a_clip_is_refused_and_leaves_no_file(tmp_path, name, frames, complaint):
    with pytest.raises(UserError, match=complaint):
        write_video(tmp_path / name, frames)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_ffmpeg_is_told_before_the_work(tmp_path, monkeypatch):
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        check_clip_path(tmp_path / "clip.mp4")
    check_clip_path(tmp_path / "clip.gif")


# A8f
@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_a_clip_that_does_not_fit_is_an_error_with_its_path_and_leaves_nothing(tmp_path, name):
    code = (
        "import resource, sys, numpy as np\n"
        "from framework.media.video import write_video\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "noise = np.random.default_rng(0).integers(0, 255, (24, 256, 256, 3), np.uint8)\n"
        "try: write_video(sys.argv[1], noise)\n"
        "except OSError as error: print(error.errno, error.filename, error.strerror)"
    )
    path = tmp_path / name
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.startswith(f"{errno.EFBIG} {path} File too large"), done
    assert "files may have 20,000 here" in done.stdout
    assert "bytes needed" in done.stdout or name == "clip.gif"  # Pillow takes it away
    assert list(tmp_path.iterdir()) == []


# A8f
@pytest.mark.parametrize("last", ["echo no such codec >&2; exit 3", "cat >/dev/null; exit 3"])
def test_an_encoder_that_fails_is_told_and_leaves_nothing(tmp_path, monkeypatch, last):
    encoder = tmp_path / "ffmpeg"
    encoder.write_text(f'#!/bin/sh\nfor p; do :; done; echo half > "$p"; {last}\n')
    encoder.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(encoder))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"clip.mp4: ffmpeg ended with 3: no \w+"):
        write_video(tmp_path / "out" / "clip.mp4", ramp(12, 200, 200))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_encoder_is_killed_with_the_frames_that_fail(tmp_path):
    def frames():
        yield from ramp(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "clip.mp4", frames())
    assert list(tmp_path.iterdir()) == []
