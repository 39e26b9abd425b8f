"""One drag of the benchmark, with what it costs."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from framework.drag.algorithm import drag_points
from framework.errors import UserError
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.specs import MethodSpec
from framework.evaluation.stopwatch import Stopwatch
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.stylegan2 import Discriminator, Generator

Point = tuple[float, float]


@dataclass
class Passes:
    """Passes through a network: a batch of N is N forward passes, and one backward pass."""

    forward: int = 0
    backward: int = 0


@dataclass(frozen=True, eq=False)
class Trial:
    """The end of a drag.

    Args:
        ws: Latents of the result, (1, num_ws, w_dim).
        points: Where the drag says that the points are, (x, y) in pixels.
        facts: Status, confidence and costs, JSON values.
    """

    ws: Tensor
    points: list[Point]
    facts: dict[str, Any]


@contextmanager
def counted(module: nn.Module) -> Iterator[Passes]:
    """Count the passes through a module, whoever asks for them.

    Of a synthesis give the first block: every forward pass begins there, wherever it stops, and
    every gradient by the latents ends there.
    """
    passes = Passes()

    def backward(_gradient: Tensor) -> None:
        passes.backward += 1

    def forward(_module: nn.Module, _inputs: Any, output: Any) -> None:
        x = output[0] if isinstance(output, tuple) else output
        passes.forward += len(x)
        if x.requires_grad:
            x.register_hook(backward)

    handle = module.register_forward_hook(forward)
    try:
        yield passes
    finally:
        handle.remove()


def first_layer(generator: Any) -> nn.Module:
    """The layer that every pass goes through: a synthesis' first block, a U-Net's first layer."""
    if isinstance(generator, DiffusionGenerator):
        return generator.unet.get_submodule("conv_in")
    return generator.synthesis.blocks[0]


@contextmanager
def costs(generator: Generator, discriminator: Discriminator | None) -> Iterator[dict[str, Any]]:
    """Fill the facts with passes, times and memory of what is done meanwhile, at its end."""
    facts: dict[str, Any] = {}
    critic = Passes()
    with ExitStack() as stack:
        synthesis = stack.enter_context(counted(first_layer(generator)))
        if discriminator is not None:
            critic = stack.enter_context(counted(discriminator))
        watch = Stopwatch(next(generator.parameters()).device)
        try:
            yield facts
        finally:
            spent = watch.spent()
            facts |= {
                "forward": synthesis.forward,
                "backward": synthesis.backward,
                "critic_passes": critic.forward + critic.backward,
                "wall_seconds": spent["seconds"],
                "cpu_seconds": spent["work_seconds"],
                "peak_mb": spent["peak_mb"],
                "grown_mb": watch.grown_mb(),
            }


def run_trial(
    lab: Lab,
    spec: MethodSpec,
    ws: Tensor,
    handles: Sequence[Point],
    targets: Sequence[Point],
    mask: Tensor | None = None,
    generator: Any = None,
) -> Trial:
    """Drag points of a picture; a drag that is refused leaves it as it was, with its reason.

    Args:
        lab: The model, and those who watch.
        spec: The method.
        ws: Latents of the picture.
        handles: Points (x, y) in pixels.
        targets: Where they should go.
        mask: What may change, or None.
        generator: The picture's own generator; None for the model's.
    """
    own = lab.generator if generator is None else generator
    lab.warm_up(spec)
    facts: dict[str, Any] = {"status": "refused", "steps": 0}
    end, points = ws, list(handles)
    with costs(own, lab.discriminator) as spent:
        try:
            steps = drag_points(
                own, ws, handles, targets, mask, spec.settings,
                discriminator=lab.discriminator, editor=lab.editor, origin=lab.generator,
            )  # fmt: skip
            step = deque(steps, maxlen=1)[0]
            end, points = step.ws, [(float(x), float(y)) for x, y in step.points.tolist()]
            facts = {
                "status": step.status,
                "steps": step.step,
                "confidence": step.min_confidence,
                "called_lost": step.lost,
            }
        except UserError as error:
            facts["refusal"] = str(error)
    return Trial(end, points, facts | spent)
