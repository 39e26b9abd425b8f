"""How far a picture is from being a photograph's colours through smooth affine maps."""

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE_PX = 3  # of a window
_PIXELS = _SIDE_PX**2
_EPSILON = 1e-3  # of the maps' squares (Levin et al. 2008, section 2)


class MattingLaplacian:
    """The quadratic form of a photograph's matting Laplacian (Levin et al. 2008).

    Its value is the error that is left when each window of 3x3 pixels is fitted by an affine map of
    the photograph's colours (equation 2 for colours), which is what the Laplacian of equation 12
    gives. It is computed as such, window by window: no sparse matrix is needed.

    Args:
        content: The photograph, float32 (1, 3, h, w), at least 3 px a side.
        epsilon: Weight of the maps' squares.
    """

    def __init__(self, content: Tensor, epsilon: float = _EPSILON) -> None:
        self._colours = _windows(content)
        covariance = torch.einsum("ikn,jkn->nij", self._colours, self._colours)
        flat = epsilon * torch.eye(3, dtype=content.dtype, device=content.device)
        self._inverse = torch.linalg.inv(covariance + flat)

    def energy(self, picture: Tensor) -> Tensor:
        """Return the form's value for a picture (1, C, h, w), summed over channels, shape ().

        It is 0 for each picture that is one affine map of the photograph's colours, but for the
        maps' squares.
        """
        values = _windows(picture)
        shared = torch.einsum("ckn,ikn->cni", values, self._colours)
        explained = torch.einsum("cni,nij,cnj->", shared, self._inverse, shared)
        return values.square().sum() - explained

    def mean(self, picture: Tensor) -> Tensor:
        """Return the energy by window, pixel and channel: a mean square error, shape ()."""
        windows = self._colours.shape[2]
        return self.energy(picture) / (windows * _PIXELS * picture.shape[1])


def _windows(picture: Tensor) -> Tensor:
    """Each window's values around their mean, (C, 9, windows)."""
    values = F.unfold(picture, _SIDE_PX).unflatten(1, (picture.shape[1], _PIXELS))[0]
    return values - values.mean(dim=1, keepdim=True)
