"""An encoder's weights as data: the content of files, before a network is built from it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class EncoderWeights:
    """The weights of an encoder that was not built yet.

    Attributes:
        encoder_type: `dragline` for our own; else its training program's name, such as
            `Encoder4Editing` (e4e) or `GradualStyleEncoder` (pSp); "" where the file does not say.
            Names and shapes alone cannot tell those two apart.
        tensors: State dict under its own names, without the prefix `encoder.`.
        latent_avg: Mean style that is added to the outputs, shape (w_dim,) or (num_ws, w_dim);
            None where the file has none.
        opts: For our own, the arguments that build it; else its training options; plain values.
    """

    encoder_type: str
    tensors: dict[str, Tensor]
    latent_avg: Tensor | None
    opts: dict[str, Any]
