"""Models from and to the files of other programs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.files import check_new_file, check_new_folder, sha256_file
from framework.formats import ImportReport, import_model, load_generator
from framework.formats.export import export_model
from framework.jobs.requests.files import ExportRequest, ImportRequest


@dataclass(frozen=True)
class ExportOutcome:
    """A file for another program, with the configuration of the generator in it."""

    file: Path
    to: str
    notes: list[str]
    config: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for scripts, ready for JSON."""
        return {
            "file": str(self.file), "to": self.to, "sha256": sha256_file(self.file),
            "notes": self.notes,
        }  # fmt: skip


def import_file(request: ImportRequest) -> ImportReport:
    """Make a model folder of another program's file.

    Raises:
        UserError: If the file does not exist or is no model, or the folder is not new.
    """
    if not os.path.exists(request.file):  # Path.exists raises for names that are too long
        raise UserError(f"{request.file}: no such file", "file")
    check_new_folder(request.out)
    return import_model(request.file, request.out, request.half)


def export_file(request: ExportRequest) -> ExportOutcome:
    """Write a model as another program's file, and read it back.

    Raises:
        UserError: If there is no such model, or the file exists.
    """
    path = check_new_file(request.out)
    notes = export_model(request.model, request.to, path)
    # The file must open; a graph was checked when it was written.
    config = load_generator(request.model if request.to == "onnx" else path).config
    return ExportOutcome(path, request.to, notes, config)
