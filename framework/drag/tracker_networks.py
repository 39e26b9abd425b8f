"""What trackers that are networks share: where their weights are, and the pictures they see."""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.drag.interface import Draggable, View
from framework.drag.settings import Sizes
from framework.errors import UserError, blame
from framework.models.features.weights import FOLDER_VARIABLE, read_weights

SETTING = "tracker_weights"


def opened(
    name: str, files: Sequence[str], build: Callable[[Path], nn.Module], sizes: Sizes, like: Tensor
) -> nn.Module:
    """A tracker's network, frozen, on a tensor's device.

    Args:
        name: The tracker's name, for messages.
        files: Names under which its weights are published.
        build: Makes the network from a file.
        sizes: The setting `tracker_weights`, a file.
        like: A tensor on the device.

    Raises:
        UserError: Naming the setting, if there is no file, or another network's.
    """
    return _opened(find(name, files, sizes.tracker_weights), build).to(like.device)


def find(name: str, files: Sequence[str], given: str | None) -> Path:
    """The file given, or one of the known names in DRAGLINE_WEIGHTS or torch's cache."""
    if given is not None:
        if not Path(given).is_file():
            raise UserError(f"{given}: no such file", SETTING)
        return Path(given)
    variable = os.environ.get(FOLDER_VARIABLE)
    folders = [Path(variable)] if variable else []
    folders.append(Path(torch.hub.get_dir()) / "checkpoints")
    for path in (folder / file for folder in folders for file in files):
        if path.is_file():
            return path
    raise UserError(
        f": the tracker {name} needs its weights: give their file, or put {' or '.join(files)}"
        f" into the folder that {FOLDER_VARIABLE} names",
        SETTING,
    )


def loaded(network: nn.Module, path: Path, inside: str = "") -> nn.Module:
    """The network with the weights of a file, of which `inside` may be one of several parts.

    Raises:
        UserError: Naming the setting, if the file holds another network's weights.
    """
    with blame(SETTING, str(path)):
        tensors, wanted = read_weights(path, inside), network.state_dict()
    strange = {name for name in tensors if name not in wanted}
    strange |= {n for n, t in wanted.items() if n not in tensors or tensors[n].shape != t.shape}
    if strange:
        names = f"{min(strange)} and {len(strange) - 1} more" if len(strange) > 1 else min(strange)
        raise UserError(f"{path}: not the weights of this tracker; {names} do not fit", SETTING)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def picture(
    draggable: Draggable, view: View, least_px: int, multiple: int = 8
) -> tuple[Tensor, int]:
    """The picture of a state as networks want it: in colour, large enough, its sides multiples.

    Args:
        draggable: The model.
        view: View of the state.
        least_px: Least length of the shorter side.
        multiple: What the sides have to be divisible by.

    Returns:
        The picture, float32, shape (1, 3, H, W), in [-1, 1], and how many times it was enlarged;
        what was added lies to the right and below, and repeats the rim.
    """
    seen = draggable.picture(view.state, view).detach().float().clamp(-1, 1)
    seen = seen[:, :3] if seen.shape[1] >= 3 else seen[:, :1].expand(-1, 3, -1, -1)
    factor = -(-least_px // min(seen.shape[2:]))
    if factor > 1:
        seen = F.interpolate(seen, scale_factor=factor, mode="bilinear", align_corners=False)
    height, width = seen.shape[2:]
    padding = (0, -width % multiple, 0, -height % multiple)
    return F.pad(seen, padding, mode="replicate"), factor


def enlarged(points: Tensor, factor: int) -> Tensor:
    """Points (x, y) of a picture in pixels of the enlarged one."""
    return (points + 0.5) * factor - 0.5


def reduced(points: Tensor, factor: int, sizes: Sizes) -> Tensor:
    """The points again in pixels of the picture, none of them outside."""
    height, width = sizes.img_size
    last = points.new_tensor([width - 1, height - 1])
    return torch.minimum(((points + 0.5) / factor - 0.5).clamp(min=0), last)


@lru_cache(maxsize=1)
def _opened(path: Path, build: Callable[[Path], nn.Module]) -> nn.Module:
    return build(path)
