"""A model that texts can be put to: its text encoder is untrained, and decides something anyway."""

from collections.abc import Sequence
from pathlib import Path

import torch

from framework.formats import open_model
from framework.formats.text_file import NAME, save_text_encoder
from framework.models.digest import state_digest
from framework.models.encoders.loading import build_encoder
from framework.models.text.encoder import TextEncoder

WORDS = ("a", "red", "car", "blue")


def add_text_encoder(folder: Path, words: Sequence[str] = WORDS) -> Path:
    """Put one into the folder of a model with an encoder of pictures."""
    opened = open_model(str(folder))
    generator = opened.network("generator")
    reader = build_encoder(opened.encoder(), generator)
    rng = torch.Generator().manual_seed(3)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        encoder = TextEncoder(
            "words", generator.num_ws, generator.w_dim, coordinates=4, hidden=8, width=8, heads=2,
            words=words,
        )  # fmt: skip
        encoder.encoder.answer.weight.normal_(std=0.5)
        encoder.encoder.answer.bias[4:] = -3.0  # it is sure
        pictures = torch.rand(40, generator.img_channels, *generator.img_size, generator=rng)
        encoder.space.set_codes(reader(pictures * 2 - 1))
    save_text_encoder(
        folder / NAME, encoder, generator.digest, state_digest(reader), "described"
    )  # fmt: skip
    return folder
