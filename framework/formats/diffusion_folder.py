"""Diffusion models on the disk, in diffusers' layout: written, and read as data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from framework.errors import BrokenCheckpoint, UserError, blame
from framework.files import sha256_file, write_text
from framework.formats.model_folder import check_finite
from framework.formats.source_file import check_unfinished, read_table
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.diffusion.schedule import Schedule, schedule_of
from framework.models.diffusion.spaces import Latents, Pixels
from framework.models.diffusion.unet import cell_side, config_of, library
from framework.models.sketch import Undrawn, fill
from framework.tensor_files import DIGEST, read_tensors, write_tensors

FORMAT, FORMAT_VERSION = "dragline-diffusion", 1
INDEX, CONFIG, CARD = "model_index.json", "config.json", "README.md"
UNET, SCHEDULER = "unet", "scheduler"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER_CONFIG = "scheduler_config.json"
_PACKAGE = "diffusers"
VAE, TEXT, TOKENIZER = "vae", "text_encoder", "tokenizer"
# Parts that change nothing here: what a picture shows is the user's business, and 1.5's are fp32.
_IGNORED = {"safety_checker", "feature_extractor", "image_encoder", "requires_safety_checker"}
_KINDS = {
    "UNet2DModel": {UNET, SCHEDULER},
    "UNet2DConditionModel": {UNET, SCHEDULER, VAE, TEXT, TOKENIZER},
}
_LARGEST_SIDE, _MOST_CHANNELS = 1024, 65_536


def save_diffusion_folder(
    folder: str | Path,
    unet: nn.Module,
    scheduler: Mapping[str, Any],
    provenance: Mapping[str, Any] | None = None,
    card: str = "",
    half: bool = False,
) -> Path:
    """Write an unconditional model; each file is written whole, `config.json` with digests last.

    Args:
        folder: The folder; it is created, and files of the same names are replaced.
        unet: The averaged U-Net.
        scheduler: The content of `scheduler_config.json`.
        provenance: Origin of the weights; JSON values.
        card: Markdown of the model card.
        half: Whether to store weights in half precision.
    """
    folder = Path(folder)
    for part in (UNET, SCHEDULER):
        (folder / part).mkdir(parents=True, exist_ok=True)
    kind = str(scheduler["_class_name"])
    index = {
        "_class_name": "DDIMPipeline",
        UNET: [_PACKAGE, type(unet).__name__],
        SCHEDULER: [_PACKAGE, kind],
    }
    config = {"_class_name": type(unet).__name__, **config_of(unet)}
    _write(folder / UNET / CONFIG, config)
    _write(folder / SCHEDULER / SCHEDULER_CONFIG, dict(scheduler))
    _write(folder / INDEX, index)
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: tensor.detach().to("cpu", dtype, copy=True).contiguous()
        for name, tensor in unet.state_dict().items()
    }
    write_tensors(folder / UNET / WEIGHTS, tensors, {"format": "pt"})
    if card:
        write_text(folder / CARD, card)
    parts = (f"{UNET}/{CONFIG}", f"{UNET}/{WEIGHTS}", f"{SCHEDULER}/{SCHEDULER_CONFIG}", INDEX)
    digests = {part: sha256_file(folder / part) for part in parts}
    description = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "provenance": dict(provenance or {}),
    }
    _write(folder / CONFIG, {**description, DIGEST: digests})
    return folder


def save_tuned_folder(
    folder: Path, unet: nn.Module, provenance: Mapping[str, Any], card: str = ""
) -> Path:
    """Write other weights of the U-Net into a copy of a model's folder.

    Args:
        folder: The copy, whose other parts stay as they are.
        unet: The U-Net.
        provenance: Origin of the weights; JSON values.
        card: Markdown of the model card.
    """
    for old in (folder / UNET).glob("*.safetensors"):
        old.unlink()
    tensors = {
        n: t.detach().to("cpu", copy=True).contiguous() for n, t in unet.state_dict().items()
    }
    write_tensors(folder / UNET / WEIGHTS, tensors, {"format": "pt"})
    if card:
        write_text(folder / CARD, card)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.parent != folder)
    digests = {str(path.relative_to(folder)): sha256_file(path) for path in files}
    description = {"format": FORMAT, "version": FORMAT_VERSION, "provenance": dict(provenance)}
    _write(folder / CONFIG, {**description, DIGEST: digests})
    return folder


def recognises(folder: Path) -> bool:
    """Whether a folder is a model of diffusers."""
    return (folder / INDEX).is_file()


def has_text(folder: Path) -> bool:
    """Whether its pictures have a text."""
    return _class(_table(folder / INDEX), TEXT) is not None


def load_diffusion(folder: Path, prompt: str = "", **choices: Any) -> DiffusionGenerator:
    """Read a model: a U-Net of pixels, or one of latents with its autoencoder and text.

    Weights are read from safetensors, whatever their precision, into float32.

    Args:
        folder: The folder with `model_index.json`.
        prompt: Text of the pictures, for models that have one.
        **choices: `steps`, `strength` and `reference` of `DiffusionGenerator`.

    Raises:
        UserError: If it is of another kind, or a part is missing.
        BrokenCheckpoint: If a file is damaged or not whole.
    """
    index = _table(folder / INDEX)
    kind = _kind(folder, index)
    provenance = _checked_digests(folder)
    schedule = _schedule(folder)
    unet = _network(folder, UNET, kind)
    config: Any = unet.config
    space = _space(folder, index, config, prompt)
    with blame("model", str(folder)):
        generator = DiffusionGenerator(unet, schedule, space, **choices)
    generator.provenance = provenance
    return generator.eval().requires_grad_(False)


def _kind(folder: Path, index: Mapping[str, Any]) -> str:
    """Return the class of the U-Net of a pipeline that is known here."""
    pipeline, kind = str(index.get("_class_name"))[:60], _class(index, UNET)
    if kind is None:
        raise UserError(f"{folder}: a {pipeline} has no unet; pipelines with a U-Net open here")
    if kind not in _KINDS:
        raise UserError(f"{folder}: its unet is a {kind[:60]}; {' and '.join(_KINDS)} open here")
    parts = {n for n in index if n[0] != "_" and _class(index, n)} - _IGNORED
    odd, missing = sorted(parts - _KINDS[kind]), sorted(_KINDS[kind] - parts)
    if odd or missing:
        what = f"has {', '.join(odd)}" if odd else f"has no {', '.join(missing)}"
        raise UserError(f"{folder}: a {pipeline} {what}: of a kind that does not open here")
    return kind


def _class(index: Mapping[str, Any], part: str) -> str | None:
    value = index.get(part)
    named = isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)
    return value[1] if named else None  # type: ignore[index]


def _schedule(folder: Path) -> Schedule:
    path = folder / SCHEDULER / SCHEDULER_CONFIG
    table = _table(path)
    try:
        return schedule_of(table)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _network(folder: Path, part: str, kind: str) -> nn.Module:
    """Build a network of diffusers from its table, and give it the weights of its file."""
    table = _table(folder / part / CONFIG)
    _check_sizes(folder / part / CONFIG, table)
    file = _weights(folder / part)
    try:
        tensors, _ = read_tensors(file)
    except BrokenCheckpoint:
        check_unfinished(file)
        raise
    wanted = {n: v for n, v in table.items() if not n.startswith("_")}
    known: Any = getattr(library("diffusers"), kind)
    try:
        with Undrawn():
            network = known.from_config(wanted)
    except (
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        KeyError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise BrokenCheckpoint(f"{folder / part / CONFIG}: not a {kind}'s: {reason}") from error
    fill(network, tensors, str(file), f"{part}/{CONFIG}")
    check_finite(network.state_dict(), str(file))
    return network


def _space(folder: Path, index: Mapping[str, Any], unet: Any, prompt: str) -> Pixels | Latents:
    if _class(index, VAE) is None:
        cell_px = cell_side(int(unet.in_channels))
        if cell_px is None:
            raise UserError(f"{folder}: {unet.in_channels} channels; models of RGB pictures open")
        return Pixels(cell_px)
    kind = str(_class(index, VAE))
    if kind != "AutoencoderKL":
        raise UserError(f"{folder}: its vae is a {kind[:60]}; AutoencoderKL opens here")
    autoencoder = _network(folder, VAE, kind)
    config: Any = autoencoder.config
    if config.latent_channels != unet.in_channels:
        raise UserError(
            f"{folder}: the vae makes {config.latent_channels} channels, the unet takes"
            f" {unet.in_channels}; they are of different models"
        )
    text = embedded(folder, prompt)
    if text.shape[2] != unet.cross_attention_dim:
        raise UserError(
            f"{folder}: the text has {text.shape[2]} channels, the unet takes"
            f" {unet.cross_attention_dim}; they are of different models"
        )
    return Latents(autoencoder, text)


def embedded(folder: Path, prompt: str) -> Tensor:
    """Return the embedding of a text, shape (1, L, D), by the model's own CLIP.

    Raises:
        UserError: If the text is too long, or a part is missing or damaged.
    """
    for part in (TOKENIZER, TEXT):
        if not (folder / part).is_dir():
            raise UserError(f"{folder / part}: missing; fetch the whole folder")
    transformers = library("transformers")
    try:
        transformers.utils.logging.disable_progress_bar()
        tokenizer: Any = transformers.CLIPTokenizer.from_pretrained(
            folder / TOKENIZER, local_files_only=True
        )
        encoder: Any = transformers.CLIPTextModel.from_pretrained(
            folder / TEXT, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BrokenCheckpoint(f"{folder}: its text encoder does not open: {reason}") from error
    most = int(tokenizer.model_max_length)
    words = tokenizer(prompt, padding="max_length", max_length=most, return_tensors="pt").input_ids
    if words.shape[1] > most:
        raise UserError(
            f"{words.shape[1]} words and signs: this model reads {most}; shorten it", "prompt"
        )
    with torch.no_grad():
        return encoder(words).last_hidden_state.float()


def _weights(folder: Path) -> Path:
    """Return the safetensors file of a network; say what lies in its place."""
    stem = WEIGHTS.removesuffix(".safetensors")
    for name in (WEIGHTS, f"{stem}.fp16.safetensors"):
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir() or not any(folder.glob("*.bin")):
        partly = next(iter(sorted(folder.glob("*.incomplete*"))), None) if folder.is_dir() else None
        hint = f"{partly.name} is half downloaded; " if partly else ""
        raise UserError(f"{folder / WEIGHTS}: missing; {hint}fetch the whole folder again")
    raise UserError(f"{folder}: weights as pickles; fetch the same as safetensors ({WEIGHTS})")


def _check_sizes(path: Path, table: Mapping[str, Any]) -> None:
    """Refuse sizes that no model has before memory is taken for them."""
    sides = table.get("sample_size", 64)
    sides = sides if isinstance(sides, list) else [sides]
    channels = table.get("block_out_channels", [])
    whole = all(type(n) is int and 0 < n <= _LARGEST_SIDE for n in sides) and len(sides) <= 2
    fits = isinstance(channels, list) and 0 < len(channels) <= 16
    fits = fits and all(type(n) is int and 0 < n <= _MOST_CHANNELS for n in channels)
    if not whole or not fits:
        raise BrokenCheckpoint(f"{path}: sample_size or block_out_channels are no sizes")


def _checked_digests(folder: Path) -> dict[str, Any]:
    """Compare the files with the digests in our own description, if there is one."""
    path = folder / CONFIG
    if not path.is_file():
        return {}
    description = _table(path)
    digests, provenance = description.get(DIGEST), description.get("provenance")
    if description.get("format") != FORMAT or not isinstance(digests, dict):
        return {}
    for name, digest in digests.items():
        if not (folder / name).is_file() or ".." in name:
            raise BrokenCheckpoint(f"{folder / name}: missing, {CONFIG} names it")
        if sha256_file(folder / name) != digest:
            raise BrokenCheckpoint(
                f"{folder / name}: its digest is not the one in {CONFIG}; damaged"
            )
    return provenance if isinstance(provenance, dict) else {}


def _table(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: missing; fetch the whole folder")
    try:
        return read_table(path)
    except (ValueError, OSError, RecursionError) as error:
        raise BrokenCheckpoint(f"{path}: not a table of a diffusion model ({error})") from None


def _write(path: Path, table: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(table, indent=2) + "\n")
