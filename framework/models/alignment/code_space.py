"""Coordinates of an image encoder's codes, in which what an input leaves open is independent.

The codes of W+ have num_ws * w_dim numbers, and vary in few directions. Their principal components,
brought to variance 1, come first; a linear map that is trained with the encoder of the other input
follows. Together with a Gaussian that the input gives, this is a normalising flow of one linear
layer (Rezende and Mohamed 2015): its likelihood compares codes of all coordinates at once.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from framework.errors import UserError

_LEAST_VARIANCE = 1e-6  # of a component, in layers' variances


class Belief(NamedTuple):
    """What an input says of the coordinates: a Gaussian of independent ones.

    Attributes:
        mean: Shape (N, coordinates).
        log_std: Logarithms of the standard deviations, likewise.
    """

    mean: Tensor
    log_std: Tensor

    def surprise(self, coordinates: Tensor) -> Tensor:
        """Negative log likelihood of coordinates, up to a constant; shapes broadcast, (...,)."""
        missed = (coordinates - self.mean) * torch.exp(-self.log_std)
        return (self.log_std + missed.square() / 2).sum(dim=-1)


class CodeSpace(nn.Module):
    """The coordinates of codes.

    Args:
        num_ws: Layers of the codes.
        w_dim: Length of a layer's code.
        coordinates: How many coordinates.

    Raises:
        UserError: If codes do not have so many.
    """

    mean: Tensor
    down: Tensor
    up: Tensor

    def __init__(self, num_ws: int, w_dim: int, coordinates: int) -> None:
        super().__init__()
        if coordinates > num_ws * w_dim:
            raise UserError(
                f"{coordinates}: the codes have {num_ws * w_dim} numbers", "coordinates"
            )
        self.config: dict[str, Any] = {
            "num_ws": num_ws, "w_dim": w_dim, "coordinates": coordinates,
        }  # fmt: skip
        self.num_ws, self.w_dim = num_ws, w_dim
        self.register_buffer("mean", torch.zeros(num_ws, w_dim))
        self.register_buffer("down", torch.zeros(coordinates, num_ws * w_dim))
        self.register_buffer("up", torch.zeros(num_ws * w_dim, coordinates))
        self.mixing = nn.Parameter(torch.eye(coordinates))

    @torch.no_grad()
    def set_codes(self, codes: Tensor) -> None:
        """Fit mean and principal components to codes (M, num_ws, w_dim), the same everywhere.

        A layer's numbers are divided by their common standard deviation first, so that no layer
        counts for more than another because its codes are longer.

        Raises:
            UserError: If the codes vary in fewer directions than there are coordinates.
        """
        count = self.down.shape[0]
        if len(codes) <= count:
            raise UserError(f"{count}: {len(codes)} pictures are too few for it", "coordinates")
        codes = codes.double()
        self.mean.copy_(codes.mean(dim=0))
        offsets = codes - codes.mean(dim=0)
        spread = offsets.square().mean(dim=(0, 2)).sqrt()  # of each layer
        scale = spread.clamp(min=1e-12).repeat_interleave(self.w_dim)
        offsets = offsets.flatten(1) / scale
        values, vectors = torch.linalg.eigh(offsets.T @ offsets / len(codes))
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
        if not (values > _LEAST_VARIANCE).all():
            most = int((values > _LEAST_VARIANCE).sum())
            raise UserError(f"{count}: these codes vary in {most} directions", "coordinates")
        # The largest entry of a component is positive, so that every machine finds the same one.
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
        vectors = vectors * largest.sign()
        self.down.copy_((vectors / values.sqrt()).T / scale)
        self.up.copy_(scale[:, None] * vectors * values.sqrt())

    def coordinates(self, codes: Tensor) -> Tensor:
        """Return the coordinates (N, K) of codes (N, num_ws, w_dim)."""
        return ((codes - self.mean).flatten(1) @ self.down.T) @ self.mixing.T

    def step(self, change: Tensor) -> Tensor:
        """Return the change of codes, (N, num_ws, w_dim), for a change of coordinates, (N, K)."""
        unmixed = torch.linalg.solve(self.mixing, change.T).T
        return (unmixed @ self.up.T).unflatten(1, (self.num_ws, self.w_dim))

    @property
    def spread(self) -> Tensor:
        """Standard deviation of each coordinate over all codes, (K,)."""
        return self.mixing.norm(dim=1)

    @property
    def log_volume(self) -> Tensor:
        """Logarithm of how much the trained map enlarges volumes, ()."""
        return torch.linalg.slogdet(self.mixing)[1]

    def decided(self, belief: Belief) -> Tensor:
        """Return how much of each coordinate an input decides, (N, K).

        From 0, it leaves the coordinate as spread as all codes are, to 1, it names the value: the
        share of the variance that is gone.
        """
        return (1 - torch.exp(2 * (belief.log_std - self.spread.log()))).clamp(0, 1)

    def drawn(self, belief: Belief, random: Tensor, psi: float = 1.0) -> Tensor:
        """Draw codes that an input describes, (N, num_ws, w_dim).

        Args:
            belief: Of N inputs.
            random: Standard normal numbers, (N, K).
            psi: Truncation: 0 gives the mean of what the input describes.
        """
        return self.mean + self.step(belief.mean + psi * belief.log_std.exp() * random)

    def transported(self, coordinates: Tensor, belief: Belief) -> Tensor:
        """Return what an input makes of coordinates, (N, K).

        The optimal transport from the Gaussian of all codes to that of the input (Peyre and Cuturi
        2019, remark 2.31): a coordinate that is named goes to its value, one that is left open
        stays, and what lies between keeps its place in a narrower spread.
        """
        narrowing = (belief.log_std - self.spread.log()).clamp(max=0).exp()
        return belief.mean + narrowing * coordinates

    def approached(self, coordinates: Tensor, belief: Belief) -> Tensor:
        """Return coordinates taken to an input's mean only as far as it decides them, (N, K).

        More careful than `transported`: a picture that is already what is said hardly changes.
        """
        return coordinates + self.decided(belief) * (belief.mean - coordinates)
