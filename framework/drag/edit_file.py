"""`edit.safetensors`: a whole drag in one file, to look at, to render again and to go on from."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from framework.drag.algorithm import drag_points
from framework.drag.points import MAX_POINTS
from framework.drag.settings import DragSettings
from framework.drag.step import DragStep, Picture, Status
from framework.drag.stylegan2 import StyleGAN2
from framework.errors import InvalidEdit
from framework.files import whole_file
from framework.models.digest import state_digest
from framework.models.frozen import Adam
from framework.models.stylegan2 import Generator
from framework.tensor_files import DIGEST, contents_digest, read_tensors

FORMAT = "dragline-edit"
VERSION = 1


@dataclass(frozen=True)
class InversionLink:
    """The inverted image that an edit began with.

    Args:
        file: Its file's name, without folders: it lies beside the edit.
        sha256: Of the file's bytes.

    Raises:
        InvalidEdit: If they are none.
    """

    file: str
    sha256: str

    def __post_init__(self) -> None:
        if not self.file or set(self.file) & set("/\\\0") or self.file in (".", ".."):
            raise InvalidEdit(f"inverted image {self.file!r}: expected the name of a file")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise InvalidEdit(f"inverted image {self.file!r}: its SHA-256 is none")


@dataclass(frozen=True, eq=False)
class EditFile:
    """The record of a drag: N steps of K points. All tensors are float32 on the CPU.

    Args:
        model_name: What the user called the model: a zoo name or a path.
        model_digest: `state_digest` of the generator.
        settings: Settings of the drag (the last run's).
        status: How the last step ended (see `DragStep`).
        img_size: Picture's (height, width).
        start_ws: Latents before the drag, shape (1, num_ws, w_dim).
        handles: The points before the drag, (x, y) in image pixels, shape (K, 2).
        ws: Latents of every step, shape (N, num_ws, w_dim).
        points: Where the handles were at every step, shape (N, K, 2).
        targets: Where they should go, at every step, shape (N, K, 2).
        step: Number of each step, rising, int64, shape (N,).
        motion_loss: Shape (N,).
        mask_loss: Shape (N,).
        drift: Feature distance to the template, shape (N, K).
        mask: Shape (H, W), 1 = may change, or None.
        earlier_ws: Latents of earlier drags of the same edit, with other points, shape
            (M, num_ws, w_dim); M may be 0. Only for films of the whole edit.
        optimizer: What Adam remembers after the last step, or None.
        inversion: The inverted image that it began with, or None. `model_digest` is then that of
            the image's own generator: the model with the image's noise and changed weights.
        confidence: Of each point after the last step (see `DragStep`); empty where not asked.
        pull_length: After the last step (see `DragStep`).
        settled: After the last step (see `DragStep`).
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
        """The record of the steps that `drag` gave.

        Args:
            steps: At least one, all of the same points.
            generator: The model they were made with.
            model_name: What the user calls it.
            settings: Settings of the drag.
            mask: Its mask.
            model_digest: The model's `state_digest`; None to compute it.
            start_ws: Latents before the drag; None if `steps` begins with step 0.
            handles: Points before the drag; None likewise.
            earlier_ws: Latents of earlier drags of the same edit.
            inversion: The inverted image that it began with.

        Raises:
            InvalidEdit: If there are no steps, or they do not begin with step 0 and the beginning
                is not given.
        """
        if not steps:
            raise InvalidEdit("an edit without steps cannot be saved")
        if steps[0].step != 0 and (start_ws is None or handles is None):
            raise InvalidEdit("the steps do not begin with step 0: give start_ws and handles")
        first, last = steps[0], steps[-1]
        ws = _stack([s.ws[0] for s in steps])
        return cls(
            model_name=model_name,
            model_digest=model_digest or state_digest(generator),
            settings=settings,
            status=last.status,
            img_size=StyleGAN2(generator).img_size,
            start_ws=_float(first.ws if start_ws is None else start_ws).reshape(1, *ws.shape[1:]),
            handles=_float(torch.as_tensor(first.points if handles is None else handles)),
            ws=ws,
            points=_stack([s.points for s in steps]),
            targets=_stack([s.targets for s in steps]),
            step=torch.tensor([s.step for s in steps]),
            motion_loss=torch.tensor([s.motion_loss for s in steps]),
            mask_loss=torch.tensor([s.mask_loss for s in steps]),
            drift=torch.tensor([s.drift for s in steps]),
            mask=None if mask is None else _float(torch.as_tensor(mask)),
            earlier_ws=ws[:0].clone() if earlier_ws is None else _float(earlier_ws),
            optimizer=last.optimizer,
            inversion=inversion,
            confidence=last.confidence,
            pull_length=last.pull_length,
            settled=last.settled,
        )

    @property
    def distance_px(self) -> Tensor:
        """Distance of each point to its target at every step, shape (N, K)."""
        return (self.targets - self.points).norm(dim=2)

    def steps(self, generator: Generator) -> Iterator[DragStep]:
        """The recorded steps, pictures included; only the last knows Adam's state."""
        device, picture = next(generator.parameters()).device, Picture(StyleGAN2(generator))
        for i in range(len(self.ws)):
            is_last = i == len(self.ws) - 1
            yield DragStep(
                step=int(self.step[i]),
                status=self.status if is_last else "moving",
                state=self.ws[i : i + 1].to(device),
                points=self.points[i],
                targets=self.targets[i],
                motion_loss=self.motion_loss[i].item(),
                mask_loss=self.mask_loss[i].item(),
                distance_px=tuple(self.distance_px[i].tolist()),
                drift=tuple(self.drift[i].tolist()),
                optimizer=self.optimizer if is_last else None,
                picture=picture,
                confidence=self.confidence if is_last else (),
                pull_length=self.pull_length if is_last else 0.0,
                settled=self.settled if is_last else 0,
            )

    def resume(
        self,
        generator: Generator,
        targets: Sequence | Tensor | None = None,
        settings: DragSettings | None = None,
    ) -> Iterator[DragStep]:
        """Go on with the drag where it ended, as if it had not.

        Args:
            generator: The model (see `check_model`).
            targets: Other targets; None for the file's. With others Adam begins anew.
            settings: Other settings; None for the file's.

        Returns:
            Steps as from `drag`, beginning with the file's last.
        """
        *_, last = self.steps(generator)
        if targets is not None:
            last = replace(last, optimizer=None)
        else:
            targets = self.targets[-1]
        settings = settings or self.settings
        return drag_points(
            generator, self.start_ws, self.handles, targets, self.mask, settings, resume_from=last
        )

    def check_model(self, generator: Generator, allow_other: bool = False) -> None:
        """Refuse a model that is not the one the edit was made with.

        Args:
            generator: The model to be used.
            allow_other: Take another one whose latents and pictures have the same shape.

        Raises:
            InvalidEdit: If it is another, or one that cannot fit.
        """
        wanted = (self.ws.shape[1], self.ws.shape[2], *self.img_size)
        given = (generator.num_ws, generator.w_dim, *StyleGAN2(generator).img_size)
        if wanted != given:
            raise InvalidEdit(
                f"the edit was made with {self.model_name!r}: (num_ws, w_dim, height, width) is"
                f" {wanted}, this model has {given}"
            )
        if not allow_other and state_digest(generator) != self.model_digest:
            link = self.inversion
            raise InvalidEdit(
                f"the edit was made with other weights than these: {self.model_name!r}"
                f"{f' as changed by {link.file!r}' if link else ''}, digest"
                f" {self.model_digest[:12]}; give that model, or allow another one"
            )

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all; an old one is replaced."""
        tensors = {
            name: getattr(self, name).contiguous()
            for name in (*_SHAPES, "step")
            if getattr(self, name) is not None
        }
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "model_name": self.model_name,
            "model_digest": self.model_digest,
            "settings": json.dumps(self.settings.to_dict()),
            "status": self.status,
            "img_size": json.dumps(list(self.img_size)),
        }
        if self.optimizer is not None:
            tensors["adam.mean"] = _float(self.optimizer.mean)
            tensors["adam.square"] = _float(self.optimizer.square)
            metadata["adam.count"] = str(self.optimizer.count)
        if self.mask is not None:
            metadata["settling"] = json.dumps([self.pull_length, self.settled])
        if self.confidence:
            metadata["confidence"] = json.dumps(list(self.confidence))
        if self.inversion is not None:
            metadata["inversion"] = json.dumps(asdict(self.inversion))
        metadata[DIGEST] = contents_digest(metadata, tensors)
        with whole_file(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: str | Path) -> "EditFile":
        """Read a file written by `save`; only data is read, no code is run.

        Raises:
            InvalidEdit: If it is no such file, damaged, or its contents do not fit each other.
        """
        path = Path(path)
        tensors, metadata = read_tensors(
            path, complaint="cannot be read as an edit", kind=InvalidEdit
        )
        try:
            return _decode(metadata, tensors)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise InvalidEdit(f"{path}: not a whole edit file: {what}") from None


# Shape of every tensor by the names of its sides; sides of one name are equal throughout the file.
_SHAPES = {
    "start_ws": ("1", "num_ws", "w_dim"),
    "handles": ("K", "2"),
    "ws": ("N", "num_ws", "w_dim"),
    "points": ("N", "K", "2"),
    "targets": ("N", "K", "2"),
    "motion_loss": ("N",),
    "mask_loss": ("N",),
    "drift": ("N", "K"),
    "mask": ("H", "W"),
    "earlier_ws": ("M", "num_ws", "w_dim"),
}


# What files said before they had digests.
_METADATA_OF_OLD = {"format", "version", "model_name", "model_digest", "settings", "status",
                    "img_size", "adam.count", "inversion"}  # fmt: skip


def _check_digest(metadata: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Refuse a file in which a bit is another than was written; older ones have no digest."""
    digest = metadata.get(DIGEST)
    damaged = digest is None and metadata.keys() - _METADATA_OF_OLD  # its name was hit
    if damaged or digest not in (None, contents_digest(metadata, tensors)):
        raise ValueError("its digest is not of what it holds; damaged")


def _decode(metadata: dict[str, str], tensors: dict[str, Tensor]) -> EditFile:
    if metadata.get("format") != FORMAT:
        raise ValueError("it has another format")
    if metadata["version"] != str(VERSION):
        raise ValueError(f"version {metadata['version']}, this program reads {VERSION}")
    _check_digest(metadata, tensors)
    height, width = json.loads(metadata["img_size"])
    if not (type(height) is int and type(width) is int):
        raise ValueError("img_size is not two whole numbers")
    sides = {"1": 1, "2": 2, "H": height, "W": width}
    values = {}
    for name, shape in _SHAPES.items():
        if name == "mask" and name not in tensors:
            values[name] = None
            continue
        values[name] = _checked(name, tensors.pop(name), shape, sides)
    mask = values["mask"]
    if mask is not None and not (mask.min() >= 0 and mask.max() <= 1 and mask.any()):
        raise ValueError("mask is not from 0 to 1, or all zero")
    step = tensors.pop("step")
    if step.shape != (sides["N"],) or step.dtype != torch.int64 or sides["N"] == 0:
        raise ValueError("step has the wrong shape or type")
    if not 1 <= sides["K"] <= MAX_POINTS:
        raise ValueError(f"{sides['K']} points")
    limits = torch.tensor([width - 1, height - 1])
    for name in ("handles", "points", "targets"):
        if (values[name] < 0).any() or (values[name] > limits).any():
            raise ValueError(f"{name} lie outside the picture")
    status = next((s for s in get_args(Status) if s == metadata["status"]), None)
    if status is None:
        raise ValueError(f"unknown status {metadata['status']!r}")
    optimizer = _optimizer(metadata, tensors, sides)
    link = metadata.get("inversion")
    pull_length, settled = _settling(json.loads(metadata.get("settling", "[0.0, 0]")))
    if tensors:
        raise ValueError(f"unknown tensor {next(iter(tensors))!r}")
    return EditFile(
        model_name=metadata["model_name"],
        model_digest=metadata["model_digest"],
        settings=_settings(metadata),
        status=status,
        img_size=(height, width),
        step=step,
        optimizer=optimizer,
        inversion=None if link is None else _link(json.loads(link)),
        confidence=_confidence(json.loads(metadata.get("confidence", "[]")), sides["K"]),
        pull_length=pull_length,
        settled=settled,
        **values,
    )


def _link(values: Any) -> InversionLink:
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise ValueError("inversion names no file")
    return InversionLink(**values)


def _settings(metadata: dict[str, str]) -> DragSettings:
    """The drag's; in files without a digest the mask's weight is the paper's λ, another measure."""
    settings = DragSettings.from_dict(json.loads(metadata["settings"]), "settings")
    if DIGEST in metadata or settings.mask_weight == 0:
        return settings
    return replace(settings, mask_weight=DragSettings.mask_weight)


def _settling(values: Any) -> tuple[float, int]:
    length, steps = values if isinstance(values, list) and len(values) == 2 else (-1.0, 0)
    if type(length) is not float or type(steps) is not int or not 0 <= length < math.inf:
        raise ValueError("settling is not a length and a number of steps")
    return length, max(0, steps)


def _confidence(values: Any, count: int) -> tuple[float, ...]:
    known = isinstance(values, list) and len(values) in (0, count)
    if not known or not all(type(v) in (int, float) and 0 <= v <= 1 for v in values):
        raise ValueError("confidence is not one number from 0 to 1 of each point")
    return tuple(map(float, values))


def _optimizer(
    metadata: dict[str, str], tensors: dict[str, Tensor], sides: dict[str, int]
) -> Adam | None:
    if "adam.count" not in metadata:
        return None
    shape = ("1", "rows", "w_dim")
    mean = _checked("adam.mean", tensors.pop("adam.mean"), shape, sides)
    square = _checked("adam.square", tensors.pop("adam.square"), shape, sides)
    count = int(metadata["adam.count"])
    if count < 0 or (square < 0).any():
        raise ValueError("adam has impossible values")
    return Adam(count, mean, square)


def _checked(name: str, tensor: Tensor, shape: tuple[str, ...], sides: dict[str, int]) -> Tensor:
    """The tensor, if it is finite float32 and fits the sides known so far; new sides are noted."""
    if tensor.dtype != torch.float32 or tensor.ndim != len(shape):
        raise ValueError(f"{name} is {tensor.dtype} with {tensor.ndim} sides")
    for side, length in zip(shape, tensor.shape, strict=True):
        if sides.setdefault(side, length) != length:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return tensor


def _float(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()


def _stack(tensors: list[Tensor]) -> Tensor:
    return torch.stack([_float(tensor) for tensor in tensors])
