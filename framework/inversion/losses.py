"""The losses of an inversion, each with one value for each picture, shape (N,).

Weights, averaging and logging happen elsewhere, so the numbers are those that papers print.
"""

from torch import Tensor

from framework.models.features.distance import weighted_mean


def pixel_loss(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean square difference (N,) of pictures (N, C, H, W) in [-1, 1].

    The weight (N or 1, 1, H, W) is a valid box or a mask. With a box this is the loss of the
    pictures cropped to it, and the gradient outside is exactly 0.
    """
    return weighted_mean((a - b).square(), weight)


def encoder_loss(ws: Tensor, encoded: Tensor) -> Tensor:
    """Return the mean square difference (N,) of styles and encoded styles (N, num_ws, w_dim).

    (w - E(G(w)))^2 is the in-domain term of idinvert (Zhu et al. 2020, equation 7) and TediGAN
    (Xia et al. 2021).
    """
    return (ws - encoded).square().flatten(1).mean(dim=1)
