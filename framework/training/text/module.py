"""Training a text encoder onto a frozen image encoder's codes, as a LightningModule."""

import hashlib
import json
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from framework.files import cache_folder, sha256_file, write_text
from framework.formats.text_file import FORMAT, NAME, save_text_encoder
from framework.models.text.encoder import TextEncoder
from framework.models.text.sentences import PACKAGE, check_package, sentence_vectors
from framework.models.text.words import Vocabulary, words_of
from framework.tensor_files import read_tensors, write_tensors
from framework.training.alignment.exhibit import Described
from framework.training.alignment.module import AlignmentTraining
from framework.training.data import TrainingImages
from framework.training.run_folder import CONFIG
from framework.training.text.captions import captions_of
from framework.training.text.settings import TextSettings


class TextTraining(AlignmentTraining[TextSettings]):
    """Trains a text encoder on captions of pictures, and averages it.

    Settings: `TextSettings`.
    """

    encoder: TextEncoder
    encoder_ema: TextEncoder

    def __init__(self, **settings: Any) -> None:
        super().__init__(TextSettings(**settings))
        self._captions: dict[bool, list[list[str]]] = {}
        self._words: tuple[str, ...] = ()

    def foresee(
        self,
        trainer: lightning.Trainer,
        data: TrainingImages,
        about_run: dict[str, Any] | None = None,
    ) -> None:
        """Check all but the pictures; see `PhasedTraining`."""
        super().foresee(trainer, data, about_run)
        if self.settings.tower == "minilm":
            check_package()

    def fresh(self) -> "TextTraining":
        """Return the same module, not built, with the same opened model and words."""
        fresh = super().fresh()
        assert isinstance(fresh, TextTraining)
        fresh._words = self._words
        return fresh

    def plan(self, trainer: lightning.Trainer, data: TrainingImages) -> dict[str, Any]:
        """Read the captions, and check that this can be trained; see `PhasedTraining`."""
        if not self._captions:
            self.read_captions(data)
        return super().plan(trainer, data)

    def read_captions(self, data: TrainingImages) -> None:
        """Read the captions of both parts of the data, and collect the words of the first."""
        s = self.settings
        parts = {False: data.dataset, True: data.held_out_dataset}
        self._captions = {
            held_out: captions_of(dataset, s.captions, s.per_picture)
            for held_out, dataset in parts.items()
            if dataset is not None
        }
        self._words = Vocabulary.of(c for each in self._captions[False] for c in each).words

    def new_encoder(self) -> TextEncoder:
        """Return the untrained text encoder."""
        s, generator = self.settings, self.opened.generator
        sizes: dict[str, Any] = {"coordinates": s.coordinates, "hidden": s.hidden}
        if s.tower == "words":
            sizes |= {"width": s.words.width, "heads": s.words.heads, "depth": s.words.depth}
        words = {"words": self._words or ("",)} if s.tower == "words" else {}
        return TextEncoder(s.tower, generator.num_ws, generator.w_dim, **words, **sizes)

    def inputs_of(self, data: TrainingImages, held_out: bool) -> Tensor:
        """Return what the tower reads of all captions, (M, most of a picture, ...).

        A picture with fewer has some of its own twice.
        """
        captions = self._captions[held_out]
        most = max(map(len, captions))
        texts = [each[i % len(each)] for each in captions for i in range(most)]
        if self.settings.tower == "minilm":
            inputs = _cached_vectors(texts)
        else:
            known = {*self._words}  # a word that only held-out captions have says nothing
            texts = [" ".join(word for word in words_of(text) if word in known) for text in texts]
            inputs = Vocabulary(known).numbers([text or self._words[0] for text in texts])
        return inputs.unflatten(0, (len(captions), most))

    def exhibit(self, data: TrainingImages, columns: int, count: int) -> Described:
        """Return held-out pictures, or else training ones, above what their captions draw."""
        pictures = data.images if data.held_out is None else data.held_out
        return Described(self, pictures, columns, count)

    def write_model(self, folder: Path, provenance: dict[str, Any], card: str) -> None:
        """Write the averaged text encoder."""
        opened = self.opened
        file = save_text_encoder(
            folder / NAME, self.encoder_ema, opened.generator.digest, opened.encoder_digest,
            self.settings.generator, provenance,
        )  # fmt: skip
        about = {"format": FORMAT, "provenance": provenance, "sha256": {NAME: sha256_file(file)}}
        write_text(folder / "config.json", json.dumps(about, indent=2) + "\n")
        write_text(folder / "README.md", card)

    def published(self) -> dict[str, Any]:
        """Return the text encoder."""
        return {"text": self.encoder_ema}

    def card(self, name: str, data: dict[str, Any]) -> str:
        """Return the model card of a snapshot, Markdown."""
        s = self.settings
        words = f" of {len(self._words)} words" if s.tower == "words" else ""
        return f"""# {name}

A text encoder for the model `{s.generator}`: tower {s.tower}{words}, averaged weights after
{self.seen_images / 1000:g} thousand captions. It belongs to that model's weights alone.

- Use: `python edit.py text "..." --model {s.generator} --text-encoder {NAME} --out out/text`
- Data: {data["count"]} pictures of `{data["source"]}` with captions. Their licence is not known to
  the trainer: add it here before passing this folder on.
- Quality: `stats.jsonl` of the run has retrieval on held-out pictures, `Retrieval/R@1`;
  `../described{name.removeprefix("network-")}.png` shows some.
- Made by: `python train.py fit --config ../{CONFIG}`
"""


def _cached_vectors(texts: list[str]) -> Tensor:
    """Sentence vectors of texts, (N, 384), in half precision, computed once for each text."""
    distinct = sorted(set(texts))
    key = hashlib.sha256("\n".join([PACKAGE, *distinct]).encode()).hexdigest()
    path = cache_folder("codes") / f"{key[:32]}.safetensors"
    if path.is_file():
        vectors = read_tensors(path)[0]["vectors"]
    else:
        print(f"sentence vectors of {len(distinct)} captions", flush=True)
        vectors = sentence_vectors(distinct).half()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"vectors": vectors}, {"key": key})
    number = {text: i for i, text in enumerate(distinct)}
    return vectors[torch.tensor([number[text] for text in texts])].float()
