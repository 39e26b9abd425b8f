"""Drag a point of a generated picture to a target, and save the edit.

python examples/drag.py toycars64 out/edit.safetensors
"""

import sys
from pathlib import Path

import numpy as np
import torch

from framework import DragSettings, EditFile, drag_points, load_generator, to_uint8
from framework.media.draw import rgb, side_by_side
from framework.media.images import save_png

HANDLES, TARGETS = [(20, 44)], [(26, 44)]
SETTINGS = DragSettings(learning_rate=0.01, motion_radius_px=3, template_radius_px=1, max_steps=60)


def main(model: str = "toycars64", out: str = "out/edit.safetensors") -> None:
    """Drag, print how it goes, and write the edit with a picture beside it."""
    generator = load_generator(model)
    z = torch.from_numpy(np.random.RandomState(7).randn(1, generator.z_dim)).float()
    ws = generator.mapping(z, truncation_psi=0.7)

    steps = []
    for step in drag_points(generator, ws, HANDLES, TARGETS, settings=SETTINGS):
        steps.append(step)
        print(
            f"step {step.step}: {step.mean_distance_px:.2f} px to go, drift {step.mean_drift:.3f}"
        )
    print(step.status)

    picture = Path(out).with_suffix(".png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    EditFile.from_steps(steps, generator, model_name=model, settings=SETTINGS).save(out)
    before, after = (rgb(to_uint8(s.image())[0]) for s in (steps[0], steps[-1]))
    track = [s.points.tolist() for s in steps]
    save_png(picture, side_by_side(before, after, HANDLES, TARGETS, track))
    print(out, picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
