"""Clips: MP4 that plays everywhere (H.264, yuv420p, even sides), and GIF."""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from threading import Thread
from typing import IO

import numpy as np
from PIL import Image

from framework.errors import UserError
from framework.files import whole_file
from framework.media.draw import enlarge, enlargement

FPS = 24
MIN_CLIP_PX = 256
SUFFIXES = (".mp4", ".gif")


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float = FPS) -> int:
    """Write frames to a clip, whole or not at all.

    Frames smaller than 256 px are enlarged by a whole factor, pixels kept visible; an odd side is
    made even by repeating its last row or column, since yuv420p needs pairs.

    Args:
        path: The file; its suffix (.mp4 or .gif) decides the format.
        frames: uint8 pictures (H, W, 3), all of one size; read one at a time.
        fps: Frames per second.

    Returns:
        The number of frames written.

    Raises:
        UserError: For another suffix, no frames, frames of different sizes, or if ffmpeg is missing
            or fails.
        OSError: If the disk refuses; it names `path`.
    """
    path = Path(path)
    write = _writer_for(path)
    prepared = _prepared(frames, path)
    try:
        with whole_file(path) as temporary:
            return write(temporary, prepared, fps)
    except _EncoderFailed as error:
        raise UserError(f"{path}: {error}") from None


def check_clip_path(path: str | Path) -> None:
    """Refuse early a clip that could not be written in the end.

    Raises:
        UserError: If the suffix is unknown or ffmpeg is missing.
    """
    _writer_for(Path(path))


def ffmpeg_executable() -> str | None:
    """Return the path of an ffmpeg that writes MP4, or None if there is none."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def paced(frames: Iterable[np.ndarray], count: int, fps: float = FPS) -> Iterator[np.ndarray]:
    """Repeat frames so that a clip of few steps can be watched.

    The first frame stays for half a second and the last one for a second; between them every
    step is shown as often as it takes to last two seconds together.

    Args:
        frames: The steps, one picture each.
        count: Number of steps.
        fps: Frames per second of the clip.
    """
    each = max(1, round(2 * fps / max(1, count)))
    for index, frame in enumerate(frames):
        repeats = each
        if index == 0:
            repeats = max(each, round(fps / 2))
        elif index == count - 1:
            repeats = max(each, round(fps))
        for _ in range(repeats):
            yield frame


def _writer_for(path: Path) -> Callable[[Path, Iterator[np.ndarray], float], int]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: a clip ends in {' or '.join(SUFFIXES)}")
    if suffix == ".gif":
        return _write_gif
    if ffmpeg_executable() is None:
        raise UserError(f"{path}: no ffmpeg here; pip install imageio-ffmpeg, or ask for a .gif")
    return _write_mp4


def _prepared(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    shape: tuple[int, ...] | None = None
    for frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape or frame.ndim != 3 or frame.shape[2] != 3:
            raise UserError(f"{path}: frames must all be (H, W, 3) of one size, got {frame.shape}")
        frame = enlarge(frame, enlargement(*frame.shape[:2], at_least_px=MIN_CLIP_PX))
        odd_rows, odd_columns = frame.shape[0] % 2, frame.shape[1] % 2
        frame = np.pad(frame, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
        yield np.ascontiguousarray(frame)
    if shape is None:
        raise UserError(f"{path}: no frames to write")


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    """Encode frames and check how the encoder ended, which a library's writer would not."""
    first = next(frames)
    rate = Fraction(fps).limit_denominator(1001)
    height, width = first.shape[:2]
    command = [
        ffmpeg_executable() or "ffmpeg", "-y", "-loglevel", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate),
        "-i", "-",
        "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-preset", "medium",
        "-movflags", "+faststart", os.path.abspath(path),
    ]  # fmt: skip
    with _encoder(command) as pictures:
        count = 0
        for frame in _chain(first, frames):
            pictures.write(frame.tobytes())
            count += 1
    return count


class _EncoderFailed(RuntimeError):
    """The failure of an encoder, with its own last message."""


@contextmanager
def _encoder(command: list[str]) -> Iterator[IO[bytes]]:
    """Run an encoder and yield its input; it is killed if the body raises.

    Raises:
        _EncoderFailed: If it ends with anything but 0.
    """
    # Signals stay as Python sets them: a file that grows too large is then an error, not a crash.
    encoder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        restore_signals=False,
    )  # fmt: skip
    assert encoder.stdin is not None and encoder.stderr is not None
    words: list[bytes] = []
    listener = Thread(target=lambda: words.extend(encoder.stderr or ()), daemon=True)
    listener.start()
    try:
        with suppress(BrokenPipeError):  # it ended early; its message says why
            yield encoder.stdin
        with suppress(BrokenPipeError):
            encoder.stdin.close()
    except BaseException:
        encoder.kill()
        raise
    finally:
        code = encoder.wait()
        listener.join()
        encoder.stderr.close()
    if code:
        message = b" ".join(words[-1:]).decode("utf-8", "replace").strip()
        raise _EncoderFailed(f"ffmpeg ended with {code}: {message or 'no reason given'}")


def _write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    """Write a GIF on one palette for the whole clip, so that colours do not flicker."""
    pictures = [Image.fromarray(frame) for frame in frames]
    step = max(1, len(pictures) // 8)
    sample = np.concatenate([np.asarray(picture) for picture in pictures[::step]])
    palette = Image.fromarray(sample).quantize(256, method=Image.Quantize.MEDIANCUT)
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    # GIF counts hundredths of a second, and browsers slow down anything faster than 2 of them.
    duration_ms = max(20, 10 * round(100 / fps))
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=duration_ms, loop=0, optimize=True
    )
    return len(pictures)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
