"""`edit.py video`: the clip of an edit, or a walk between seeds."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.pictures import VideoRequest


def video(request: VideoRequest, terminal: Terminal, json: bool = False) -> None:
    """Draw the clip of an edit again, or walk between seeds.

    Writes OUT itself if it ends in .mp4 or .gif, else OUT/drag.mp4 or OUT/walk.mp4.

    Examples::

      python edit.py video --edit out/drag/edit.safetensors --no-overlay --out out/drag.gif
      python edit.py video --edit out/car/edit.safetensors --show photo --out out/car.mp4
      python edit.py video --model toycars64 --seeds 1,5,9 --out out/walk.mp4

    Args:
        json: End with one line of JSON for scripts.
    """
    from framework.jobs.video import video

    clip = video(request)
    terminal.say(f"{clip.file}: {clip.frames} frames, {clip.frames / clip.fps:.1f} s")
    if json:
        terminal.json(clip.to_dict())
