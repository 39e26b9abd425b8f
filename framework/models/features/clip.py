"""CLIP (Radford et al. 2021): how well a text describes a picture, by open_clip's ViT-B/32.

Nobody ships its weights in a package, so they come from a file of the user's.
"""

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.features.view import View
from framework.models.features.weights import fill

CLIP_MODEL = "ViT-B-32"
CLIP = View(224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_EXTRA = "pip install 'dragline[clip]'"


class Clip(nn.Module):
    """Both towers, frozen.

    Args:
        network: open_clip's network.
        tokenize: From texts to the numbers that its tower of texts reads, (N, length).
    """

    def __init__(self, network: Any, tokenize: Any) -> None:
        super().__init__()
        self.network = network.float().eval().requires_grad_(False)
        self.tokenize = tokenize

    @classmethod
    def open(cls, path: str | Path, flag: str) -> "Clip":
        """Open weights of open_clip's ViT-B-32.

        Args:
            path: File of the weights: .safetensors, .bin or .pt.
            flag: What named the file, for messages.

        Raises:
            UserError: If the extra is not installed, or the file holds no such weights.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{flag}: {path} is no file; give weights of open_clip's {CLIP_MODEL}")
        network = open_network(path, flag)
        return cls(network, _library(flag).get_tokenizer(CLIP_MODEL))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Map texts to unit vectors (N, 512); what lies beyond 77 tokens is not read."""
        tokens = self.tokenize(list(texts)).to(next(self.network.parameters()).device)
        return F.normalize(self.network.encode_text(tokens), dim=1)

    def pictures(self, images: Tensor) -> Tensor:
        """Map pictures (N, C, H, W) in [-1, 1] to unit vectors (N, 512); differentiable."""
        return F.normalize(self.network.encode_image(CLIP(images)), dim=1)

    def forward(self, images: Tensor, text: Tensor) -> Tensor:
        """Map pictures and the vectors of their texts, (N or 1, 512), to 1 - cosine, (N,)."""
        return 1 - (self.pictures(images) * text).sum(dim=1)


def open_network(path: Path, flag: str) -> Any:
    """Make open_clip's network with weights read here: the library would download and unpickle.

    Raises:
        UserError: If the extra is not installed, or the file holds no such weights.
    """
    library = _library(flag)
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))  # it warns that it read no weights
    try:
        with torch.random.fork_rng(devices=[]):
            network = library.create_model(CLIP_MODEL, pretrained=None)
    finally:
        logging.disable(before)
    fill(network, path)
    return network


def _library(flag: str) -> Any:
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise UserError(f"{flag}: open_clip is not installed; {_EXTRA}") from error
