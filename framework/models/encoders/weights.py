"""An encoder's weights as data: what files hold, before a network is made of it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class EncoderWeights:
    """Weights of an encoder, which no network was made of yet.

    Attributes:
        encoder_type: `dragline` for our own; else what its training called it, such as
            `Encoder4Editing` (e4e) or `GradualStyleEncoder` (pSp); "" where the file does not say.
            Names and shapes alone cannot tell those two apart.
        tensors: State dict under its own names, without an `encoder.` before them.
        latent_avg: Mean style that is added to its outputs, shape (w_dim,) or (num_ws, w_dim);
            None where the file has none.
        opts: For our own the arguments that build it; else options of its training, plain values.
    """

    encoder_type: str
    tensors: dict[str, Tensor]
    latent_avg: Tensor | None
    opts: dict[str, Any]
