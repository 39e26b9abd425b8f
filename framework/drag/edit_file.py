"""`edit.safetensors`: a whole drag in one file, to look at, to render again and to go on from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from framework.drag.adapters import draggable_of
from framework.drag.algorithm import drag_points
from framework.drag.edit_format import InversionLink, as_float, read_edit, write_edit
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep, Picture, Status
from framework.errors import InvalidEdit
from framework.models.digest import state_digest
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.frozen import Adam
from framework.models.stylegan2 import Discriminator, Generator

# Fields of the last step only.
_OF_LAST = ("status", "optimizer", "confidence", "pull_length", "settled")


@dataclass(frozen=True, eq=False)
class EditFile:
    """The record of a drag: N steps of K points. All tensors are float32 on the CPU.

    Args:
        model_name: What the user called the model: a zoo name or a path.
        model_digest: `state_digest` of the generator.
        settings: Settings of the drag's last run.
        status: How the last step ended (see `DragStep`).
        img_size: Picture's (height, width).
        start_ws: Latents before the drag, shape (1, num_ws, w_dim).
        handles: The points before the drag, (x, y) in pixels, shape (K, 2).
        ws: Latents of every step, shape (N, num_ws, w_dim).
        points: Where the handles were at every step, shape (N, K, 2).
        targets: Where the handles should go, at every step, shape (N, K, 2).
        step: Number of each step, increasing, int64, shape (N,).
        motion_loss: Motion loss of every step, shape (N,).
        mask_loss: Mask loss of every step, shape (N,).
        drift: Feature distance to the template, shape (N, K).
        mask: The drag's mask, shape (H, W), 1 = may change, or None.
        earlier_ws: Latents of earlier drags of the same edit, with other points, shape
            (M, num_ws, w_dim); M may be 0. Only used for videos of the whole edit.
        optimizer: Adam's state after the last step, or None.
        inversion: The inverted image that the edit began with, or None. `model_digest` is then of
            the image's own generator: the model with the image's noise and changed weights.
        confidence: Confidence of each point after the last step (see `DragStep`), or empty.
        pull_length: Length of the pull after the last step (see `DragStep`).
        settled: Steps at the targets after the last step (see `DragStep`).
    """

    model_name: str
    model_digest: str
    settings: DragSettings
    status: Status
    img_size: tuple[int, int]
    start_ws: Tensor
    handles: Tensor
    ws: Tensor
    points: Tensor
    targets: Tensor
    step: Tensor
    motion_loss: Tensor
    mask_loss: Tensor
    drift: Tensor
    mask: Tensor | None
    earlier_ws: Tensor
    optimizer: Adam | None
    inversion: InversionLink | None = None
    confidence: tuple[float, ...] = ()
    pull_length: float = 0.0
    settled: int = 0

    @classmethod
    def from_steps(
        cls,
        steps: Sequence[DragStep],
        generator: Generator,
        *,
        model_name: str,
        settings: DragSettings,
        mask: Tensor | None = None,
        model_digest: str | None = None,
        start_ws: Tensor | None = None,
        handles: Sequence | Tensor | None = None,
        earlier_ws: Tensor | None = None,
        inversion: InversionLink | None = None,
    ) -> "EditFile":
        """Record the steps that `drag_points` yielded.

        Args:
            steps: At least one step, all of the same points.
            generator: The model of the drag.
            model_name: What the user calls the model.
            settings: Settings of the drag.
            mask: The drag's mask.
            model_digest: The model's `state_digest`; None to compute it.
            start_ws: Latents before the drag; None if `steps` begins with step 0.
            handles: Points before the drag; None likewise.
            earlier_ws: Latents of earlier drags of the same edit.
            inversion: The inverted image that the edit began with.

        Raises:
            InvalidEdit: If there are no steps, or they do not begin with step 0 and `start_ws` or
                `handles` is missing.
        """
        if not steps:
            raise InvalidEdit("an edit without steps cannot be saved")
        if steps[0].step != 0 and (start_ws is None or handles is None):
            raise InvalidEdit("the steps do not begin with step 0: give start_ws and handles")
        first = steps[0]
        ws = _stack(s.ws[0] for s in steps)
        return cls(
            model_name=model_name,
            model_digest=model_digest or state_digest(generator),
            settings=settings,
            img_size=draggable_of(generator).img_size,
            start_ws=as_float(first.ws if start_ws is None else start_ws).reshape(1, *ws.shape[1:]),
            handles=as_float(torch.as_tensor(first.points if handles is None else handles)),
            ws=ws,
            points=_stack(s.points for s in steps),
            targets=_stack(s.targets for s in steps),
            step=torch.tensor([s.step for s in steps]),
            motion_loss=torch.tensor([s.motion_loss for s in steps]),
            mask_loss=torch.tensor([s.mask_loss for s in steps]),
            drift=torch.tensor([s.drift for s in steps]),
            mask=None if mask is None else as_float(torch.as_tensor(mask)),
            earlier_ws=ws[:0].clone() if earlier_ws is None else as_float(earlier_ws),
            inversion=inversion,
            **{name: getattr(steps[-1], name) for name in _OF_LAST},
        )

    @property
    def distance_px(self) -> Tensor:
        """Distance of each point to its target at every step, shape (N, K)."""
        return (self.targets - self.points).norm(dim=2)

    def steps(self, generator: Generator) -> Iterator[DragStep]:
        """The recorded steps, pictures included; only the last has Adam's state."""
        device, picture = next(generator.parameters()).device, Picture(draggable_of(generator))
        for i, number in enumerate(self.step.tolist()):
            end = {"status": "moving", "optimizer": None}
            if i == len(self.step) - 1:
                end = {name: getattr(self, name) for name in _OF_LAST}
            yield DragStep(
                step=number,
                state=self.ws[i : i + 1].to(device),
                points=self.points[i],
                targets=self.targets[i],
                motion_loss=self.motion_loss[i].item(),
                mask_loss=self.mask_loss[i].item(),
                distance_px=tuple(self.distance_px[i].tolist()),
                drift=tuple(self.drift[i].tolist()),
                picture=picture,
                **end,
            )

    def resume(
        self,
        generator: Generator,
        targets: Sequence | Tensor | None = None,
        settings: DragSettings | None = None,
        discriminator: Discriminator | None = None,
        editor: LatentTransformer | None = None,
    ) -> Iterator[DragStep]:
        """Continue the drag from where it ended, as if it had not stopped.

        Args:
            generator: The model (see `check_model`).
            targets: Other targets; None for the file's. With other targets Adam starts anew.
            settings: Other settings; None for the file's.
            discriminator: The generator's frozen discriminator, see `drag_points`.
            editor: The generator's frozen latent transformer, see `drag_points`.

        Returns:
            Steps as from `drag_points`, beginning with the file's last.
        """
        *_, last = self.steps(generator)
        if targets is not None:
            last = replace(last, optimizer=None)
        else:
            targets = self.targets[-1]
        settings = settings or self.settings
        return drag_points(
            generator, self.start_ws, self.handles, targets, self.mask, settings,
            resume_from=last, discriminator=discriminator, editor=editor,
        )  # fmt: skip

    def check_model(self, generator: Generator, allow_other: bool = False) -> None:
        """Check that a model is the one the edit was made with.

        Args:
            generator: The model to be used.
            allow_other: Accept another model whose latents and pictures have the same shape.

        Raises:
            InvalidEdit: If it is another model, or one whose shapes do not fit.
        """
        edit_shape = (self.ws.shape[1], self.ws.shape[2], *self.img_size)
        model_shape = (generator.num_ws, generator.w_dim, *draggable_of(generator).img_size)
        if edit_shape != model_shape:
            raise InvalidEdit(
                f"the edit was made with {self.model_name!r}: (num_ws, w_dim, height, width) is"
                f" {edit_shape}, this model has {model_shape}"
            )
        if not allow_other and state_digest(generator) != self.model_digest:
            link = self.inversion
            raise InvalidEdit(
                f"the edit was made with other weights than these: {self.model_name!r}"
                f"{f' as changed by {link.file!r}' if link else ''}, digest"
                f" {self.model_digest[:12]}; give that model, or allow another one"
            )

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all; an existing file is replaced."""
        write_edit(path, vars(self))

    @classmethod
    def load(cls, path: str | Path) -> "EditFile":
        """Read a file written by `save`; only data is read, no code is run.

        Raises:
            InvalidEdit: If it is no edit file, is damaged, or its contents contradict each other.
        """
        return cls(**read_edit(path))


def _stack(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack([as_float(tensor) for tensor in tensors])
