"""What an inversion minimises: each loss one value a picture, shape (N,).

Weights, averaging and logging happen elsewhere, so each number is the one that papers print.
"""

from torch import Tensor

from framework.models.features.distance import weighted_mean


def pixel_loss(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean square difference of pictures in [-1, 1]; a quarter of it is the one on [0, 1].

    Args:
        a: Shape (N, C, H, W).
        b: Same shape.
        weight: Where it counts, (N or 1, 1, H, W): a valid box or a mask. Over a box this is the
            loss of the two pictures cropped to it, and the gradient outside is exactly 0.

    Returns:
        Shape (N,).
    """
    return weighted_mean((a - b).square(), weight)


def encoder_loss(ws: Tensor, encoded: Tensor) -> Tensor:
    """Whether the encoder reads the same styles from the picture: mean (w - E(G(w)))^2.

    The in-domain term of idinvert (Zhu et al. 2020, equation 7) and TediGAN (Xia et al. 2021).

    Args:
        ws: Styles that are searched, shape (N, num_ws, w_dim).
        encoded: What the encoder makes of their picture, same shape.

    Returns:
        Shape (N,).
    """
    return (ws - encoded).square().flatten(1).mean(dim=1)
