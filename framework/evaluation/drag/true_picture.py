"""How near a result is to a picture that is known to be right.

In the spirit of the RealDrag benchmark (2512.12287), which compares with real target pictures. The
formulas of its four measures were not to be had, so these are others, with other names.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.measures import SURE
from framework.evaluation.drag.targets import judge_knows
from framework.evaluation.drag.trial import Point
from framework.evaluation.image_metrics import mse_pm1
from framework.media.images import to_float


def measure(
    lab: Lab,
    start: np.ndarray,
    true: np.ndarray,
    result: np.ndarray,
    handles: Sequence[Point],
    targets: Sequence[Point],
    reach_px: float,
) -> dict[str, Any]:
    """Measures of a result, JSON values; all pictures are uint8 (H, W, C).

    Args:
        lab: The judges.
        start: The picture before.
        true: What it should have become.
        result: What it became.
        handles: Points (x, y) of `start`.
        targets: Where they are in `true`, as the correspondence sees them.
        reach_px: How far from the handles it searches the result.
    """
    found = lab.correspondence(start, result, torch.tensor(handles), reach_px)
    return {
        "mse": 100 * float(mse_pm1(to_float(result[None]), to_float(true[None]))),
        "perceptual": 10 * lab.perceptual(true, result),
        "px": float((found.points - torch.tensor(targets)).norm(dim=1).mean()),
        "keypoints_px": keypoints_apart_px(lab, true, result),
        "direction": same_direction(lab, start, true, result),
    }


def keypoints_apart_px(
    lab: Lab, first: np.ndarray, second: np.ndarray, known: bool = False
) -> float | None:
    """Mean distance of two pictures' key points; None unless the judge knows them and is sure.

    Args:
        lab: The judges.
        first: A picture, uint8 (H, W, 3).
        second: Another one.
        known: Whether the pictures are toy cars, whatever the model draws by itself.
    """
    if not known and not judge_knows(lab):
        return None
    seen = lab.look(np.stack([first, second]))
    if seen.confidence.min() < SURE:
        return None
    return float(np.linalg.norm(seen.points[0] - seen.points[1], axis=1).mean())


def same_direction(
    lab: Lab, start: np.ndarray, true: np.ndarray, result: np.ndarray
) -> float | None:
    """Cosine of how features changed with how they should have; None where nothing changed.

    The idea is that of directional similarity in CLIP's space (Gal et al. 2022), here in the
    features of the stranger.
    """
    pictures = torch.from_numpy(np.stack([start, true, result])).permute(0, 3, 1, 2)
    features = lab.stranger(pictures)
    wanted, done = features[1] - features[0], features[2] - features[0]
    if float(done.norm()) == 0 or float(wanted.norm()) == 0:
        return None
    return float(torch.nn.functional.cosine_similarity(wanted, done, dim=0))
