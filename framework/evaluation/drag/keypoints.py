"""A judge of toy cars: where are the wheels, the roof, the bumpers in a picture?

It learned from procedural drawings alone and has never seen a generator, so it judges an edit by
something other than the features that the edit itself uses.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from framework.errors import BrokenCheckpoint, UserError
from framework.evaluation.drag.keypoint_network import KeypointNetwork, read_points
from framework.files import sha256_file, write_text
from framework.media.images import to_float
from framework.tensor_files import write_tensors

FORMAT = "dragline-keypoints"
WEIGHTS, FACTS = "keypoints.safetensors", "keypoints.json"
SHIPPED = Path(__file__).parents[2] / "zoo" / "toycars_keypoints"


@dataclass(frozen=True, eq=False)
class Findings:
    """The key points that the judge found in N pictures.

    Args:
        points: Key points (x, y) in pixels, origin top left, pixel centres at integers, float32,
            shape (N, K, 2), in the order of `KeypointJudge.names`.
        confidence: Share of a point's heat about its peak, float32, shape (N, K), in (0, 1]. Clear
            parts of a drawing have nearly 1.
    """

    points: np.ndarray
    confidence: np.ndarray


class KeypointJudge:
    """A judge that finds the key points of toy cars in 64 px pictures.

    Args:
        network: The trained network, on the CPU.
        facts: `names` of the key points (by place in the picture: `left_wheel_hub`), `img_size` (H,
            W), `low` and `high` (see `usual`), and how it was trained.
    """

    def __init__(self, network: KeypointNetwork, facts: dict[str, Any]) -> None:
        self._network = network
        self.facts = facts
        self.names: tuple[str, ...] = tuple(facts["names"])
        self.img_size: tuple[int, int] = tuple(facts["img_size"])

    def usual(self, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """Usual range of a key point: the 1st and the 99th percentile of (x, y), in pixels."""
        index = self.names.index(name)
        (x0, y0), (x1, y1) = (self.facts[end][index] for end in ("low", "high"))
        return (x0, y0), (x1, y1)

    @classmethod
    def load(cls, folder: str | Path = SHIPPED) -> Self:
        """Open a judge: the shipped one, or one that `train_judge` wrote into a folder.

        Raises:
            UserError: If there is no judge; `BrokenCheckpoint` if it is damaged.
        """
        folder = Path(folder)
        if not (folder / FACTS).is_file() or not (folder / WEIGHTS).is_file():
            raise UserError(f"{folder}: holds no judge ({FACTS} and {WEIGHTS}); train one")
        try:
            facts = json.loads((folder / FACTS).read_text("utf-8"))
            network = KeypointNetwork(len(facts["names"]))
            state = load_file(folder / WEIGHTS)
            network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
            return cls(network.eval().requires_grad_(False), facts)
        except (ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BrokenCheckpoint(f"{folder}: not a judge of this version ({reason})") from None

    def save(self, folder: str | Path) -> None:
        """Write weights (kernels in half precision) and facts into an existing folder."""
        folder = Path(folder)
        state = self._network.state_dict().items()
        tensors = {n: (t.half() if t.ndim == 4 else t.float()).contiguous() for n, t in state}
        write_tensors(folder / WEIGHTS, tensors, {"format": FORMAT})
        facts = self.facts | {"sha256": sha256_file(folder / WEIGHTS)}
        write_text(folder / FACTS, json.dumps(facts, indent=2) + "\n")

    def __call__(self, images: np.ndarray | Tensor) -> Findings:
        """Find the key points in pictures.

        Args:
            images: uint8 (N, H, W, 3), or a float tensor (N, 3, H, W) in [-1, 1] (overshoot is
                clipped).

        Raises:
            UserError: If the pictures are not of the judge's size or kind.
        """
        pictures = images if isinstance(images, torch.Tensor) else to_float(images)
        if pictures.ndim != 4 or tuple(pictures.shape[1:]) != (3, *self.img_size):
            height, width = self.img_size
            shape = "x".join(str(side) for side in images.shape)
            raise UserError(f"pictures {shape}: this judge takes colour pictures {height}x{width}")
        with torch.inference_mode():
            pictures = pictures.to("cpu", torch.float32).clamp(-1, 1)
            parts = [read_points(self._network(part)) for part in pictures.split(64)]
        points, confidence = (torch.cat(both).numpy() for both in zip(*parts, strict=True))
        return Findings(points, confidence)
