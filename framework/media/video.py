"""Clips: MP4 that plays everywhere (H.264, yuv420p, even sides), and GIF."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

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
        path: Target; its suffix (.mp4 or .gif) decides the format.
        frames: uint8 pictures (H, W, 3), all of one size; taken one at a time.
        fps: Frames per second.

    Returns:
        The number of frames written.

    Raises:
        UserError: For another suffix, no frames, frames of different sizes, or no ffmpeg.
    """
    path = Path(path)
    write = _writer_for(path)
    prepared = _prepared(frames, path)
    with whole_file(path) as temporary:
        return write(temporary, prepared, fps)


def check_clip_path(path: str | Path) -> None:
    """Refuse, before any work is done, a clip that could not be written in the end.

    Raises:
        UserError: If the suffix is unknown or ffmpeg is missing.
    """
    _writer_for(Path(path))


def ffmpeg_executable() -> str | None:
    """Return the ffmpeg that writes MP4 here, or None if there is none."""
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
        count: How many they are.
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
    import imageio_ffmpeg

    first = next(frames)
    height, width = first.shape[:2]
    options: dict[str, Any] = {
        "fps": Fraction(fps).limit_denominator(1001),
        "codec": "libx264",
        "quality": None,  # -crf says it
        "macro_block_size": 1,  # even sides are made above; the default would rescale to 16
        "output_params": ["-crf", "16", "-preset", "medium", "-movflags", "+faststart"],
        "ffmpeg_log_level": "error",
    }
    writer = imageio_ffmpeg.write_frames(str(path), (width, height), **options)
    writer.send(None)
    count = 0
    try:
        for frame in _chain(first, frames):
            writer.send(frame)
            count += 1
    finally:
        writer.close()
    return count


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
