"""The protocol of a report: what two reports must share for their numbers to compare."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.evaluation.inversion.editability import POINTS_RULE
from framework.evaluation.inversion.report import InversionReport
from framework.models.digest import state_digest
from framework.models.encoders.style_encoder import StyleEncoder

# Words by which a model's card or provenance names a measure of its pictures.
_QUALITY_WORDS = ("fid", "kid", "wasserstein", "swd", "precision", "recall", "ppl")


def identity(report: InversionReport, model: str, held_out: float) -> dict[str, Any]:
    """Facts that must not change while a report's records are gathered; JSON values.

    `model` is what the user called the model; `held_out` the share of the pictures that is held
    out, 0 if all are.
    """
    runner, generator = report.runner, report.runner.generator
    size = (int(generator.img_size[0]), int(generator.img_size[1]))
    return {
        "model": {
            "name": Path(model).name,  # its path is private
            "sha256_of_weights": generator.digest,
            "size": f"{size[1]}x{size[0]}",
            "channels": generator.img_channels,
            "latents": [generator.num_ws, generator.w_dim],
        },
        "encoder": None if runner.encoder is None else _encoder_facts(runner.encoder),
        "data": _data_facts(report, held_out),
        "stages": {
            **runner.settings.to_dict(),
            "one_picture_at_a_time": True,
            "tuned_weights": "differences in half precision, as they are saved",
            "noise": "constant",
            "from_w_avg": "refine from w_avg without encoder, in the time of computing (processor "
            "time on a CPU, wall time on a GPU) of the other method's whole way, as many steps as "
            "fit",
            "nearest": f"among at most {report.settings.gallery} training pictures, drawn",
        },
        "measures": report.measures.protocol(size),
        "editability": _editability_facts(report),
    }


def _data_facts(report: InversionReport, held_out: float) -> dict[str, Any]:
    """Facts on the pictures, their resizing, and the rule by which some are held out."""
    source = report.held_out.facts()
    whole = getattr(report.held_out, "whole", report.held_out)
    rule = "all pictures: the encoder's training is said to have seen none of them"
    if held_out > 0:
        rule = f"BLAKE2b of the picture's name in the lowest {held_out:g}; not trained on"
    return {
        "source": Path(source.get("source", "")).name,
        "pictures": len(whole),
        "fingerprint": whole.fingerprint,
        "crop": source.get("crop"),
        "resize": source.get("filter"),
        "range": "[-1, 1]",
        "held_out": {"share": held_out, "rule": rule, "pictures": len(report.held_out)},
        "order": f"drawn with seed {report.settings.seed}",
    }


def _editability_facts(report: InversionReport) -> dict[str, Any]:
    """Facts on how results are edited."""
    settings = report.settings
    judge = "the model's own discriminator, each picture alone"
    return {
        **settings.identity(),
        "drag_by_px": settings.drag_by * min(report.runner.generator.img_size),
        "points": POINTS_RULE,
        "direction": "straight away from the picture's centre, then back to where they were",
        "judge": judge if report.discriminator is not None else None,
        "deviations": "root mean square over layers and coordinates, in standard deviations of w",
        "nscd": "mean over layers of 1 - cos to the mean style direction (LSAP)",
    }


def _encoder_facts(encoder: StyleEncoder) -> dict[str, Any]:
    return {
        "kind": type(encoder).__name__,
        "sha256_of_weights": state_digest(encoder),
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "config": encoder.config,
    }


# ----------------------------------------------------------------------------------- the generator


def generator_quality(folder: Path, provenance: Mapping[str, Any]) -> dict[str, str]:
    """The model's own measures of its pictures: no inversion can be better.

    Numbers by name, from the generator's provenance and from the card in its folder, if there is
    one; empty if there are none.
    """
    quality = {n: str(v) for n, v in provenance.items() if _is_quality(n)}
    card = folder / "README.md"
    if folder.is_dir() and card.is_file():
        for line in card.read_text("utf-8", "replace").splitlines():
            cells = [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
            # Further columns are for other models, to compare with.
            if len(cells) >= 2 and line.startswith("|") and _is_quality(cells[0]):
                quality[cells[0]] = cells[1]
    return quality


def _is_quality(name: str) -> bool:
    return any(word in name.lower() for word in _QUALITY_WORDS)


def honest_notes(report: InversionReport, quality: Mapping[str, str], held_out: float) -> list[str]:
    """Notes that a reader must know before believing the numbers, a sentence or two each."""
    provenance = getattr(report.runner.generator, "provenance", {})
    data = str(provenance.get("data", "")).rstrip(".")
    trained = "The model does not say what its generator was trained on."
    if data:
        trained = f"The generator was trained on: {data}."
    measures = "This model states no measure of its own pictures (FID, KID or similar)."
    if quality:
        numbers = "; ".join(f"{name} {value}" for name, value in quality.items())
        measures = f"The model's own measure: {numbers}."
    notes = [
        f"{trained} What is held out here is held out of the encoder's training; where the "
        "generator's own training saw these photographs, its numbers flatter all methods that use "
        "it.",
        f"No inversion is better than its generator. {measures}",
        "There is no encoder: `embed` is the picture of `w_avg`."
        if report.runner.encoder is None
        else _held_out_of(provenance.get("encoder"), report),
    ]
    if held_out == 0:
        notes.append("No picture was set aside by a rule: all of the data count as held out.")
    return notes


def _held_out_of(provenance: Any, report: InversionReport) -> str:
    """A note on whether the encoder's record names the other pictures as its training data."""
    data = provenance.get("data") if isinstance(provenance, dict) else None
    fingerprint = data.get("fingerprint") if isinstance(data, dict) else None
    if fingerprint is None:
        return (
            "The encoder does not say what it was trained on: that these photographs were held out "
            "of it is the word of whoever made this report."
        )
    if report.gallery is not None and fingerprint == report.gallery.fingerprint:
        return (
            "The encoder's record names the very pictures that are not held out here (fingerprint "
            f"`{fingerprint[:12]}`) as its training data."
        )
    return (
        f"The encoder's record names other training data (fingerprint `{str(fingerprint)[:12]}`) "
        "than the pictures that are not held out here: it may have seen these photographs, unless "
        "the two are apart for another reason."
    )
