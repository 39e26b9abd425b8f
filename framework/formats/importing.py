"""Import of another program's file into a model folder, with a card that documents it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.files import check_new_folder, new_folder, sha256_file
from framework.formats.model_folder import parameter_count, save_model_folder
from framework.formats.opening import MODEL_FOLDER, OpenedModel, open_model
from framework.models.encoders.weights import EncoderWeights

LICENCE = "not known: the file does not say; ask its author before passing it on"
HALF_NOTE = "Weights were rounded to half precision; edits made with the file itself do not fit."
UNTYPED_NOTE = (
    "The file does not say which kind its encoder is, and its tensors alone cannot tell e4e "
    "from pSp."
)
TRAINED_NOTE = "The generator as trained, not averaged, is left out."


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    Attributes:
        folder: The model folder.
        provenance: Origin: `dialect`, `source` (the file's name), `sha256`, `notes` (what was left
            out, computed or assumed, a sentence each) and the file's facts about its training run.
        networks: Sizes of the networks, by `generator`, `discriminator`, `encoder`.
        files: Names of the files in the folder.
    """

    folder: Path
    provenance: dict[str, Any]
    networks: dict[str, dict[str, Any]]
    files: list[str]

    def lines(self) -> list[str]:
        """Return one line for each network: sizes and parameters."""
        return [f"{name:<14} {_in_words(facts)}" for name, facts in self.networks.items()]


def import_model(file: str | Path, folder: str | Path, half: bool = False) -> ImportReport:
    """Write the model folder of a file from another program or a training run.

    Args:
        file: Any file that `load_generator` opens, or a hub's folder.
        folder: New or empty folder. `config.json`, which makes it a model folder, is written last;
            if the import fails or is interrupted, the folder is emptied.
        half: Whether to store weights in half precision.

    Raises:
        UserError: If the folder is taken, or the file cannot be opened; see `load_generator`.
    """
    file, folder = Path(file), Path(folder)
    if not file.exists():
        raise UserError(f"{file}: no such file")
    check_new_folder(folder)
    model = open_model(file)
    if model.dialect == MODEL_FOLDER:
        raise UserError(f"{file}: a folder; a model folder is used as it is, with --model")
    generator = model.network("generator")
    discriminator = model.network("discriminator") if "discriminator" in model.networks else None
    encoder = model.encoder() if "encoder" in model.networks else None
    networks = {"generator": _sizes(generator)}
    if discriminator is not None:
        networks["discriminator"] = _sizes(discriminator)
    if encoder is not None:
        networks["encoder"] = _encoder_sizes(encoder)
    provenance = _provenance(model, encoder, half)
    card = _card(folder.resolve().name, provenance, networks, half)
    with _emptied_on_failure(folder):
        save_model_folder(folder, generator, discriminator, provenance, card, half, encoder)
    files = sorted(path.name for path in folder.iterdir())
    return ImportReport(folder, provenance, networks, files)


def _provenance(model: OpenedModel, encoder: EncoderWeights | None, half: bool) -> dict[str, Any]:
    notes = list(model.notes)
    if "training_generator" in model.networks:
        notes.append(TRAINED_NOTE)
    if encoder is not None and not encoder.encoder_type:
        notes.append(UNTYPED_NOTE)
    if half:
        notes.append(HALF_NOTE)
    # The encoder's options have their place beside it.
    facts = {k: v for k, v in model.facts.items() if encoder is None or k != "opts"}
    return {
        "dialect": model.dialect,
        "source": model.path.resolve().name if model.path.is_dir() else model.path.name,
        "sha256": _digest(model.files),
        "notes": list(dict.fromkeys(printable(note) for note in notes)),
        **facts,
    }


def _digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 of a file's bytes; of several files, that of their digests and names."""
    if len(files) == 1:
        return sha256_file(files[0])
    lines = "".join(f"{sha256_file(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _sizes(network: Any) -> dict[str, Any]:
    names = ["img_size", "img_channels", "c_dim"]
    if "w_dim" in network.config:
        names += ["z_dim", "w_dim", "mapping_layers"]
    sizes = {name: network.config[name] for name in names}
    return sizes | {"parameters": parameter_count(network)}


def _encoder_sizes(encoder: EncoderWeights) -> dict[str, Any]:
    count = sum(tensor.numel() for tensor in encoder.tensors.values())
    return {"encoder_type": encoder.encoder_type, "parameters": count}


def _in_words(facts: dict[str, Any]) -> str:
    """Describe the sizes of a network in a line."""
    words = []
    if "img_size" in facts:
        height, width = facts["img_size"]
        words += [f"{width}x{height} px", _count(facts["img_channels"], "channel")]
    if "encoder_type" in facts:
        words.append(printable(facts["encoder_type"]) or "of a kind that the file does not name")
    if "w_dim" in facts:
        words += [f"z {facts['z_dim']}, w {facts['w_dim']}"]
        words += [_count(facts["mapping_layers"], "mapping layer")]
    if facts.get("c_dim"):
        words.append(f"{facts['c_dim']} label values")
    return ", ".join([*words, f"{facts['parameters'] / 1e6:.2f} M parameters"])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _card(
    name: str, provenance: dict[str, Any], networks: dict[str, dict[str, Any]], half: bool
) -> str:
    """Write the model card, Markdown."""
    rows = {
        "source": f"`{printable(provenance['source'])}` ({provenance['dialect']})",
        "SHA-256 of the source": f"`{provenance['sha256']}`",
        **{kind: _in_words(facts) for kind, facts in networks.items()},
        "stored as": "float16" if half else "float32",
        "licence": LICENCE,
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    notes = "\n".join(f"- {note}" for note in provenance["notes"])
    return f"""# {printable(name)}

A StyleGAN2 that was trained elsewhere, imported from another file.

| | |
|---|---|
{table}

What the source says of its training is in `config.json`. Quality was not measured.

## What the import left out, computed or assumed

{notes or "- Nothing."}
"""


def printable(text: str) -> str:
    """Put a file's text on one line, without control characters or the end of a table's cell."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() and c not in "`|" else "?" for c in words)


@contextmanager
def _emptied_on_failure(folder: Path) -> Iterator[None]:
    """Make a folder; empty it again if the body fails, so that the same command can be repeated."""
    was_there = folder.exists()
    new_folder(folder)
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        if not was_there:
            folder.rmdir()
        raise
