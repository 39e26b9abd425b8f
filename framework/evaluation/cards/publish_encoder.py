"""A trained encoder beside its generator in a model folder, with the report of what it is worth.

`python -m framework.evaluation.cards.publish_encoder --snapshot runs/NAME/network-000080
--model FOLDER`
"""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from framework.command_line import run_function
from framework.errors import UserError
from framework.evaluation.inversion.pages import NUMBERS, PAGE, PER_IMAGE
from framework.files import write_text
from framework.formats import open_model, save_model_folder

CARD, REPORT = "README.md", "inversion"
_TITLE = "## Encoder"
_QUALITY = 92  # of the sheets: a tenth of their size as PNG
_NOT_COPIED = "\nEvery picture is in"
SECTION = """{title}

`encoder.safetensors` reads photographs into this generator's styles: {millions:.2f} M parameters,
in half precision, {kimg:g} thousand images of training.

    {command}

{notes}{reconstruction}

How this was measured, how editable the results are and the worst cases:
[inversion/report.md](inversion/report.md).

![Photographs, the three stages and the baselines](inversion/grid.jpg)
"""


def publish_encoder(
    snapshot: str, model: str, report: str | None = None, command: str = "", notes: str = ""
) -> None:
    """Add the encoder of a training's snapshot to the model folder that it was trained for.

    Weights of generator and discriminator stay as they are; an encoder that was there is replaced.

    Args:
        snapshot: `network-...` folder of `train.py fit` with an encoder's configuration.
        model: Model folder with the same generator.
        report: Folder of `edit.py invert-report` on the result, for the card.
        command: The exact training command, for the card.
        notes: A paragraph of the card.

    Raises:
        UserError: If the snapshot has no encoder, or one of another generator.
    """
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise UserError(f"--model {model}: is no model folder")
    made, kept = open_model(snapshot, "--snapshot"), open_model(folder)
    if "encoder" not in made.held:
        raise UserError(f"--snapshot {snapshot}: has no encoder")
    generator, encoder = kept.network("generator"), made.encoder()
    source = made.network("generator")
    if source.digest != generator.digest:
        raise UserError(
            f"--snapshot {snapshot}: its encoder is of another generator "
            f"({source.digest[:8]}, not {generator.digest[:8]})"
        )
    trained = _portable(source.provenance["encoder"])  # type: ignore[index]
    card = _without_section((folder / CARD).read_text(encoding="utf-8"))
    facts = {
        "title": _TITLE,
        "millions": sum(tensor.numel() for tensor in encoder.tensors.values()) / 1e6,
        "kimg": trained["seen_kimg"],
        "command": command or "python train.py fit with the settings of config.json",
        "notes": f"{notes}\n\n" if notes else "",
        "reconstruction": _reconstruction(Path(report)) if report else "",
    }
    if report:
        _copy_report(Path(report), folder / REPORT)
        card = f"{card.rstrip()}\n\n{SECTION.format(**facts)}"
    save_model_folder(
        folder,
        generator,
        kept.network("discriminator") if "discriminator" in kept.held else None,
        provenance={**generator.provenance, "encoder": trained},  # type: ignore[dict-item]
        card=card,
        half=True,
        encoder=encoder,
    )
    print(f"{folder}: encoder of {facts['millions']:.2f} M parameters, {facts['kimg']:g} kimg")


def _portable(trained: dict[str, Any]) -> dict[str, Any]:
    """How it was trained, without where the photographs lay on that machine."""
    data = trained.get("data", {})
    if "source" not in data:
        return trained
    return {**trained, "data": {**data, "source": Path(data["source"]).name}}


def _without_section(card: str) -> str:
    """The card up to what an earlier encoder had on it, which stands last."""
    return card.split(f"\n{_TITLE}\n")[0]


def _reconstruction(report: Path) -> str:
    """The table of methods from a report's page."""
    page = (report / PAGE).read_text(encoding="utf-8")
    found = re.search(r"## Reconstruction\n\n(.*?)(?=\n\n##|\Z)", page, re.DOTALL)
    if found is None:
        raise UserError(f"--report {report}: {PAGE} has no table of reconstructions")
    return found[1]


def _copy_report(report: Path, folder: Path) -> None:
    """Copy the page, the numbers and the sheets, these as JPEG; replace an earlier report."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (NUMBERS, PER_IMAGE):
        shutil.copyfile(report / name, folder / name)
    for sheet in sorted(report.glob("*.png")):
        with Image.open(sheet) as picture:
            picture.convert("RGB").save(folder / f"{sheet.stem}.jpg", quality=_QUALITY)
    page = (report / PAGE).read_text(encoding="utf-8").split(_NOT_COPIED)[0]
    write_text(folder / PAGE, f"{page.replace('.png', '.jpg').rstrip()}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    return run_function(publish_encoder, arguments)


if __name__ == "__main__":
    sys.exit(main())
