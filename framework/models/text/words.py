"""Words as numbers, and a small Transformer over them that is trained from nothing."""

import difflib
import re
from collections.abc import Iterable, Sequence
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import UserError

MOST_WORDS = 48  # of one text
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_PADDING, _START, _FIRST = 0, 1, 2
# Words between others, which name nothing: a text may have them although no caption had.
_PASSED_OVER = frozenset(
    "the this that these it its is are was be has have had one some please very of on at to in and"
    " a an with which there shows showing".split()
)
# How alike letters must be to offer a word: "red" for "rad", and not "ring" for "crimson".
_LIKELY = 0.6
_MOST_SHOWN = 600  # characters of known words in a complaint: those of the toy cars' captions
_LARGEST_STEP = 0.02


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters; a hyphen joins two to one."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """The words of some captions, in the order of the alphabet; each has a number.

    Args:
        words: All different words.

    Raises:
        UserError: If there is none.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(sorted(set(words)))
        if not self.words:
            raise UserError("the captions have no words")
        self._numbers = {word: _FIRST + i for i, word in enumerate(self.words)}

    @classmethod
    def of(cls, captions: Iterable[str]) -> "Vocabulary":
        """Collect the words of captions."""
        return cls({word for caption in captions for word in words_of(caption)})

    @property
    def size(self) -> int:
        """How many numbers there are, padding and start included."""
        return _FIRST + len(self.words)

    def numbers(self, texts: Sequence[str]) -> Tensor:
        """Return words as numbers, (N, longest), int64: a start, the words, padding of 0.

        Words that name nothing are passed over where they are not known.

        Raises:
            UserError: Naming a word that is not known, and the nearest one that is; or if a text
                has no words, or more than `MOST_WORDS`.
        """
        rows = [self._row(text) for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [_PADDING] * (longest - len(row)) for row in rows])

    def _row(self, text: str) -> list[int]:
        words = words_of(text)
        if len(words) > MOST_WORDS:
            raise UserError(f"{len(words)} words; give at most {MOST_WORDS}")
        known = [word for word in words if word in self._numbers or word not in _PASSED_OVER]
        unknown = [word for word in known if word not in self._numbers]
        if unknown:
            raise UserError(self._complaint(unknown))
        if not known:
            raise UserError(
                f"{text.strip()[:40]!r}: says nothing; name what is to be seen, such as"
                f" {', '.join(self.words[:: max(1, len(self.words) // 5)][:5])}"
            )
        return [_START, *(self._numbers[word] for word in known)]

    def _complaint(self, unknown: Sequence[str]) -> str:
        """Name the words that are not known, each with the nearest one, or else all that are."""
        shown = unknown[:3]
        near = [difflib.get_close_matches(word, self.words, 1, _LIKELY) for word in shown]
        offers = [
            f"{word!r}" + (f" (did you mean {known[0]}?)" if known else "")
            for word, known in zip(shown, near, strict=True)
        ]
        more = f" and {len(unknown) - 3} more" if unknown[3:] else ""
        complaint = f"the captions that it learned from have no {', '.join(offers)}{more}"
        if len(unknown) < 3 and all(near):
            return complaint
        words = ", ".join(word for word in self.words if word not in _PASSED_OVER)
        return f"{complaint}; they have {shorten(words, _MOST_SHOWN, placeholder=' …')}"


class WordTower(nn.Module):
    """A Transformer over words (Vaswani et al. 2017), normalised first, its places learned.

    Args:
        vocabulary: Number of different words, padding and start included.
        width: Width of a word, and of the result.
        heads: Heads of attention; divides `width`.
        depth: Layers.
    """

    def __init__(self, vocabulary: int, width: int = 64, heads: int = 4, depth: int = 1) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "vocabulary": vocabulary, "width": width, "heads": heads, "depth": depth,
        }  # fmt: skip
        self.width = width
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(_LARGEST_STEP * torch.randn(MOST_WORDS + 1, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return features (N, width) of words (N, L): the mean over the words of a text."""
        padding = numbers == _PADDING
        numbers = numbers[:, : int((~padding).sum(dim=1).max())]
        padding = padding[:, : numbers.shape[1]]
        x = self.words(numbers) + self.places[: numbers.shape[1]]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        there = (~padding)[..., None].to(x.dtype)
        return (self.norm(x) * there).sum(dim=1) / there.sum(dim=1)
