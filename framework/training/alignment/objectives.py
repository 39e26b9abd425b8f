"""The objective of an encoder of another input: to say of a picture's code what is true of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.models.alignment.code_space import Belief, CodeSpace
from framework.training.alignment.settings import AlignmentWeights
from framework.training.phases import Micro, Outcome, Phase

Pairs = Callable[[Micro], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Aligning:
    """Visual-linguistic similarity in its general form (Xia et al. 2021, TediGAN, 3.2).

    Attributes:
        network: From inputs to a `Belief`.
        space: Its coordinates of codes.
        pairs: The inputs and the codes (N, num_ws, w_dim) of a micro-batch's pictures.
        weights: Weights of the terms.
    """

    network: nn.Module
    space: CodeSpace
    pairs: Pairs
    weights: AlignmentWeights

    def phases(self) -> list[Phase]:
        """Return the only phase."""
        return [Phase("Amain", "Amain", self.network, 1, self.align)]

    def align(self, micro: Micro) -> Outcome:
        """Return the loss of a micro-batch; pairs that do not belong together are its own."""
        inputs, codes = self.pairs(micro)
        belief, coordinates = self.network(inputs), self.space.coordinates(codes)
        weights, terms = self.weights, {}
        if weights.likelihood:
            terms["likelihood"] = self.likelihood(belief, coordinates)
        if weights.distance:
            terms["distance"] = layer_distance(self.space, belief, codes)
        if weights.ranking or weights.contrastive:
            far = surprises(belief, coordinates)
            if weights.ranking:
                terms["ranking"] = ranking(far)
            if weights.contrastive:
                terms["contrastive"] = contrastive(far)
        loss = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum(0)
        stats = {f"Loss/{name}": term.detach() for name, term in terms.items()}
        return Outcome(loss.sum(), {"Loss/A/loss": loss.detach(), **stats})

    def likelihood(self, belief: Belief, coordinates: Tensor) -> Tensor:
        """Negative log likelihood of each code, a coordinate, without its constant, (N,)."""
        return (belief.surprise(coordinates) - self.space.log_volume) / coordinates.shape[1]


def layer_distance(space: CodeSpace, belief: Belief, codes: Tensor) -> Tensor:
    """Squared distance of the code that is meant from the picture's, in layers' variances, (N,).

    The mean over layers; 1 is as far as pictures are from the mean code.
    """
    missed = codes - space.mean - space.step(belief.mean)
    # What the coordinates hold of each layer's variance: that of all codes, nearly.
    spread = space.up.unflatten(0, (space.num_ws, space.w_dim)).square().sum(dim=(1, 2))
    return (missed.square().sum(dim=2) / spread.clamp(min=1e-12)).mean(dim=1)


def surprises(belief: Belief, coordinates: Tensor) -> Tensor:
    """How surprising each picture is for each input, a coordinate, (inputs, pictures)."""
    said = Belief(belief.mean[:, None], belief.log_std[:, None])
    return said.surprise(coordinates[None]) / coordinates.shape[1]


def ranking(far: Tensor, margin: float = 1.0) -> Tensor:
    """Pairwise ranking: a hinge for each pair that does not belong together, mean, (N,).

    Args:
        far: Distances (N, N), own pairs on the diagonal.
        margin: How much nearer the own pair is to be.
    """
    own = far.diagonal()
    for_inputs = F.relu(margin + own[:, None] - far)
    for_pictures = F.relu(margin + own[None] - far)
    others = 1 - torch.eye(len(far), device=far.device)
    count = max(1, len(far) - 1)
    return ((for_inputs * others).sum(1) + (for_pictures * others).sum(0)) / (2 * count)


def contrastive(far: Tensor) -> Tensor:
    """Cross entropy of the own picture, and of the own input, among those of the batch, (N,)."""
    own = torch.arange(len(far), device=far.device)
    of_inputs = F.cross_entropy(-far, own, reduction="none")
    return (of_inputs + F.cross_entropy(-far.T, own, reduction="none")) / 2
