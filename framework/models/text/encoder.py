"""The text encoder: texts to what they say of the codes of a frozen image encoder.

Xia et al. 2021 (TediGAN, 3.2) learn it as visual-linguistic similarity: the text's code and the
picture's are brought together in W+.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.alignment.code_space import Belief, CodeSpace
from framework.models.alignment.encoder import AlignedEncoder
from framework.models.text.sentences import WIDTH, check_package, sentence_vectors
from framework.models.text.words import Vocabulary, WordTower

TOWERS = ("words", "minilm")
LONGEST_TEXT = 400  # characters


class TextEncoder(nn.Module):
    """A tower of text, and the head that is trained for the codes of one image encoder.

    Args:
        tower: `words`, a Transformer over the words of the captions, trained from nothing; or
            `minilm`, the sentence vectors of a packaged model, frozen (extra `text`).
        num_ws: Layers of the codes.
        w_dim: Length of a layer's code.
        coordinates: Coordinates of the codes.
        hidden: Units of the head's hidden layer.
        words: `words`: those of the captions.
        width: `words`: width of a word.
        heads: `words`: heads of attention; divides `width`.
        depth: `words`: layers.

    Raises:
        UserError: If sizes do not fit each other.
    """

    def __init__(
        self,
        tower: str,
        num_ws: int,
        w_dim: int,
        *,
        coordinates: int = 32,
        hidden: int = 128,
        words: Sequence[str] = (),
        width: int = 64,
        heads: int = 4,
        depth: int = 1,
    ) -> None:
        super().__init__()
        if tower not in TOWERS:
            raise UserError(f"{tower!r}: give {' or '.join(TOWERS)}", "tower")
        self.config: dict[str, Any] = {
            "tower": tower, "num_ws": num_ws, "w_dim": w_dim, "coordinates": coordinates,
            "hidden": hidden,
        }  # fmt: skip
        self.vocabulary: Vocabulary | None = None
        network: nn.Module = nn.Identity()
        features = WIDTH
        if tower == "words":
            if width % heads:
                raise UserError(f"{heads}: must divide the width, {width}", "heads")
            self.vocabulary = Vocabulary(words)
            network, features = WordTower(self.vocabulary.size, width, heads, depth), width
            self.config |= {
                "words": list(self.vocabulary.words), "width": width, "heads": heads,
                "depth": depth,
            }  # fmt: skip
        space = CodeSpace(num_ws, w_dim, coordinates)
        self.encoder = AlignedEncoder(network, features, space, hidden)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TextEncoder":
        """Make the untrained encoder of a `config`."""
        return cls(**config)

    @property
    def space(self) -> CodeSpace:
        """The coordinates."""
        return self.encoder.space

    def inputs(self, texts: Sequence[str]) -> Tensor:
        """Return what the network reads of texts: numbers of words, or vectors of sentences.

        Raises:
            UserError: Naming what is wrong with a text: empty, too long, a word never seen.
        """
        for text in texts:
            check_text(text)
        if self.vocabulary is None:
            return sentence_vectors(texts)
        return self.vocabulary.numbers(texts)

    def check_packages(self) -> None:
        """Refuse to go on without the packages that the tower needs."""
        if self.vocabulary is None:
            check_package()

    def forward(self, inputs: Tensor) -> Belief:
        """Return what `inputs` say of the coordinates."""
        return self.encoder(inputs)

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Belief:
        """Return what texts say of the coordinates; errors as in `inputs`."""
        return self(self.inputs(texts).to(self.space.mean.device))


def check_text(text: str) -> None:
    """Refuse a text that is empty or too long.

    Raises:
        UserError: Saying so.
    """
    if not text.strip():
        raise UserError("the text is empty; say what is to be seen, such as 'a red car'")
    if len(text) > LONGEST_TEXT:
        raise UserError(f"{len(text)} characters; give at most {LONGEST_TEXT}")
