"""A judge of toy cars: where are the wheels, the roof, the bumpers of this picture?

It learned from procedural drawings alone and has never seen a generator, so that an edit can be
judged by something other than the features the edit itself was made with.

    python -m framework.evaluation.drag.keypoints train --out out/judge
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.command_line import run, run_function
from framework.errors import BrokenCheckpoint, UserError
from framework.files import new_folder, sha256_file, whole_file, write_text
from framework.settings import MOST_STEPS, whole

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from framework.evaluation.drag.keypoint_network import KeypointNetwork

FORMAT = "dragline-keypoints"
WEIGHTS, FACTS = "keypoints.safetensors", "keypoints.json"
SHIPPED = Path(__file__).parents[2] / "zoo" / "toycars_keypoints"
HELD_OUT_SEED, HELD_OUT_COUNT = 777, 500


@dataclass(frozen=True, eq=False)
class Findings:
    """What the judge saw in N pictures.

    Args:
        points: Key points (x, y) in pixels, origin top left, pixel centres at integers, float32,
            shape (N, K, 2), in the order of `KeypointJudge.names`.
        confidence: Share of a point's heat that lies about its peak, float32, shape (N, K), in
            (0, 1]. Clear parts of a drawing have nearly 1.
    """

    points: np.ndarray
    confidence: np.ndarray


class KeypointJudge:
    """Finds the key points of toy cars in 64 px pictures.

    Args:
        network: What finds them, trained, on the CPU.
        facts: `names` of the key points (by place in the picture: `left_wheel_hub`), `img_size`
            (H, W), `low` and `high` (see `usual`), and how it was trained.
    """

    def __init__(self, network: KeypointNetwork, facts: dict[str, Any]) -> None:
        self._network = network
        self.facts = facts
        self.names: tuple[str, ...] = tuple(facts["names"])
        self.img_size: tuple[int, int] = tuple(facts["img_size"])

    def usual(self, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where drawings have a key point: the (x, y) that 1 % and 99 % stay below, in pixels."""
        index = self.names.index(name)
        (x0, y0), (x1, y1) = (self.facts[end][index] for end in ("low", "high"))
        return (x0, y0), (x1, y1)

    @classmethod
    def load(cls, folder: str | Path = SHIPPED) -> KeypointJudge:
        """Open a judge: the shipped one, or what `train` wrote into a folder.

        Raises:
            UserError: If there is none.
            BrokenCheckpoint: If it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from framework.evaluation.drag.keypoint_network import KeypointNetwork

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
        from safetensors.torch import save_file

        folder = Path(folder)
        state = self._network.state_dict().items()
        tensors = {name: t.half() if t.ndim == 4 else t.float() for name, t in state}
        with whole_file(folder / WEIGHTS) as temporary:
            packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(packed, temporary, metadata={"format": FORMAT})
        facts = self.facts | {"sha256": sha256_file(folder / WEIGHTS)}
        write_text(folder / FACTS, json.dumps(facts, indent=2) + "\n")

    def __call__(self, images: np.ndarray | Tensor) -> Findings:
        """Look at pictures.

        Args:
            images: uint8 (N, H, W, 3), or a float tensor (N, 3, H, W) in [-1, 1] (overshoot is
                clipped); of the judge's size.

        Raises:
            UserError: If the pictures are of another size or kind.
        """
        import torch

        from framework.evaluation.drag.keypoint_network import read_points
        from framework.media.images import to_float

        pictures = images if isinstance(images, torch.Tensor) else to_float(images)
        if pictures.ndim != 4 or tuple(pictures.shape[1:]) != (3, *self.img_size):
            height, width = self.img_size
            shape = "x".join(str(side) for side in images.shape)
            raise UserError(f"pictures {shape}: this judge knows colour pictures {height}x{width}")
        with torch.inference_mode():
            pictures = pictures.to("cpu", torch.float32).clamp(-1, 1)
            found = [read_points(self._network(part)) for part in pictures.split(64)]
        points, confidence = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
        return Findings(points, confidence)


def held_out_error_px(
    judge: KeypointJudge, count: int, seed: int = HELD_OUT_SEED
) -> dict[str, float]:
    """Mean distance of each key point to the truth on drawings of another seed, in pixels."""
    from framework.evaluation.drag.keypoint_training import draw

    drawings = draw(count, seed)
    found = judge(drawings.images).points
    distance = ((found - drawings.points.numpy()) ** 2).sum(axis=2) ** 0.5
    return dict(zip(drawings.names, distance.mean(axis=0).tolist(), strict=True))


def usual_places(points: Tensor) -> list[list[list[float]]]:
    """Places of key points (N, K, 2) that 1 % and 99 % of the pictures stay below, each (K, 2)."""
    import torch

    ends = points.quantile(torch.tensor([0.01, 0.99]), dim=0).tolist()
    return [[[round(x, 1), round(y, 1)] for x, y in end] for end in ends]


def train(
    out: str,
    drawings: int = 5000,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 0.004,
    seed: int = 0,
    threads: int = 1,
) -> KeypointJudge:
    """Train a judge on procedural toy cars and write it to a folder.

    Args:
        out: A new folder.
        drawings: How many cars to draw; each is shown many times, disturbed anew.
        steps: Updates of the network.
        batch_size: Drawings an update.
        learning_rate: Highest of the cycle.
        seed: Of the cars, the weights and the order; 777 is kept for the test.
        threads: CPU threads.

    Raises:
        UserError: If `out` holds files, or the seed is the test's.
    """
    import torch

    from framework.data.toycars import LOOK
    from framework.evaluation.drag import keypoint_training as training
    from framework.ops.memory import tune_malloc

    if seed == HELD_OUT_SEED:
        raise UserError(f"{seed}: these cars are kept for the test; give another", "seed")
    for name, number, least in (
        ("drawings", drawings, 1), ("steps", steps, 1), ("batch_size", batch_size, 1),
        ("seed", seed, 0), ("threads", threads, 1),
    ):  # fmt: skip
        whole(number, name, least, MOST_STEPS)
    folder = new_folder(out)
    tune_malloc()
    torch.set_num_threads(threads)
    start, start_cpu = time.monotonic(), time.process_time()
    cars = training.draw(drawings, seed)
    print(f"{drawings} cars drawn in {time.monotonic() - start:.0f} s", flush=True)

    def report(step: int, error_px: float) -> None:
        if training.learning_note(step, steps):
            elapsed = time.monotonic() - start
            print(f"step {step} of {steps}  error {error_px:.2f} px  {elapsed:.0f} s", flush=True)

    low, high = usual_places(cars.points)
    network = training.train(cars, steps, batch_size, learning_rate, seed, report)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "names": list(cars.names),
        "img_size": list(cars.images.shape[2:]),
        "low": low,
        "high": high,
        "trained": {
            "data": f"toycars:{drawings}, seed {seed}, look {LOOK}",
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seconds": round(time.monotonic() - start),
            "cpu_seconds": round(time.process_time() - start_cpu),
        },
    }
    judge = KeypointJudge(network, facts)
    judge.save(folder)
    judge = KeypointJudge.load(folder)  # measured as stored, in half precision
    errors = held_out_error_px(judge, HELD_OUT_COUNT)
    judge.facts["held_out_error_px"] = {name: round(error, 3) for name, error in errors.items()}
    judge.save(folder)
    mean = sum(errors.values()) / len(errors)
    print(f"{folder}: {mean:.2f} px on held-out drawings, {time.monotonic() - start:.0f} s")
    return judge


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["train"]:  # the only command, and still to be named
        return run_function(train, words[1:])
    return run(_refuse)


def _refuse() -> None:
    raise UserError(
        "python -m framework.evaluation.drag.keypoints train --out FOLDER; see train --help"
    )


if __name__ == "__main__":
    sys.exit(main())
