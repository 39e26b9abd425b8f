"""Stands for open_clip: it sees the mean colour of a picture, and knows words of two colours."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

COLOURS = {"red": (1.0, -1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}


class StandIn(nn.Module):
    """Both towers: of pictures `visual`, of texts a table of colours."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
        self.token_embedding = nn.Embedding(len(COLOURS), 3)

    def encode_image(self, images: Tensor) -> Tensor:
        return self.visual(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens[:, 0])


def tokenize(texts: list[str]) -> Tensor:
    """1 for texts that name blue, else 0."""
    return torch.tensor([["blue" in text] for text in texts]).long()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in where the library would be, and return a file of weights for it."""
    network = StandIn()
    with torch.no_grad():
        network.visual[2].weight.copy_(torch.eye(3))  # pyright: ignore[reportArgumentType]
        network.visual[2].bias.zero_()  # pyright: ignore[reportCallIssue]
        network.token_embedding.weight.copy_(torch.tensor([*COLOURS.values()]))
    torch.save(network.state_dict(), folder / "clip.pt")
    library: Any = ModuleType("open_clip")
    library.create_model = lambda name, pretrained: StandIn()
    library.get_tokenizer = lambda name: tokenize
    monkeypatch.setitem(sys.modules, "open_clip", library)
    return folder / "clip.pt"
