"""The models that a page may choose from: by name, never by a path of the page's."""

import io
import os
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from framework.errors import UserError
from framework.formats.opening import zoo_models
from framework.jobs.models import Networks, portable_name, render, seed_latents
from framework.media.draw import rgb
from framework.studio.control import Control
from framework.studio.runs import Runs

MAX_OPEN = 3  # models in memory
MAX_LISTED = 500
THUMBNAIL_PX = 128
_FILES = {".safetensors", ".ckpt", ".pkl", ".pt"}


class Models:
    """Models by the names that pages see; opened when chosen, the least used closed again.

    Args:
        first: The model that a page opens first, as on a command line, or None.
        folder: Folder whose models are offered, too, or None.
        device: Device of all models, as on a command line.
        runs: Training runs, whose snapshots are offered, too.
        directions: File of the first model's directions; None for its folder's own.
        text_encoder: File of the first model's text encoder; None likewise.
    """

    def __init__(
        self,
        first: str | None,
        folder: str | None,
        device: str,
        runs: Runs | None = None,
        directions: str | None = None,
        text_encoder: str | None = None,
    ) -> None:
        self.device = device
        self.runs = Runs(None) if runs is None else runs
        self._paths = {name: name for name in zoo_models()}
        if folder is not None:
            self._paths |= {name: str(path) for name, path in _models_in(Path(folder)).items()}
        self.first = None if first is None else self._add(first)
        self._given = (directions, text_encoder)
        self._open: OrderedDict[str, Networks] = OrderedDict()
        self._controls: dict[str, Control] = {}

    @property
    def names(self) -> list[str]:
        """The names, the first one first."""
        return [*sorted(self._paths, key=lambda name: (name != self.first, name)),
                *self.runs.snapshots()]  # fmt: skip

    def named(self, model: str) -> str:
        """Return the name here of a model as an edit file calls it.

        Raises:
            UserError: If it is not one of those here.
        """
        for name, path in {**self._paths, **self.runs.snapshots()}.items():
            if model in (name, portable_name(path)):
                return name
        raise UserError(
            f"{Path(model).name[:100]}: the edit's model is not one of those here; start the"
            " studio with it",
            "model",
        )

    def open(self, name: str) -> Networks:
        """Return the networks of a model; the worker's thread alone calls this.

        Raises:
            UserError: If there is no such model, or it cannot be opened.
        """
        path = self._paths.get(name) or self.runs.snapshots().get(name)
        if path is None:
            raise UserError("not one of the models here", "model")
        networks = self._open.pop(name, None) or Networks(path, self.device)
        _ = networks.generator  # a model that cannot be opened is not kept
        self._open[name] = networks
        while len(self._open) > MAX_OPEN:
            closed, _ = self._open.popitem(last=False)
            self._controls.pop(closed, None)
        return networks

    def control(self, name: str) -> Control:
        """Return the directions and the text encoder of a model; as `open`."""
        networks = self.open(name)
        if name not in self._controls:
            given = self._given if name == self.first else (None, None)
            self._controls[name] = Control.open(networks, *given)
        return self._controls[name]

    def thumbnail(self, name: str, seed: int, psi: float) -> bytes:
        """Return a small JPEG of a seed's picture; the worker's thread alone calls this.

        Raises:
            UserError: As in `open` and for a seed or truncation that does not fit.
        """
        generator = self.open(name).generator
        label = 0 if generator.c_dim else None
        image = Image.fromarray(rgb(render(generator, seed_latents(generator, seed, psi, label))))
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=88, subsampling=0)
        return buffer.getvalue()

    def _add(self, model: str) -> str:
        """Add a model of the command line under a name without folders."""
        if model in self._paths:
            return model
        name = Path(os.path.abspath(model)).name
        if name in self._paths:
            name = f"{name} ({len(self._paths)})"
        self._paths[name] = model
        return name


def _models_in(folder: Path) -> dict[str, Path]:
    """Find model folders and model files directly in a folder; links out of it are left out."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", "models")
    root = folder.resolve()
    found = {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.resolve().is_relative_to(root)
        and ((path / "config.json").is_file() if path.is_dir() else path.suffix in _FILES)
    }
    return dict(list(found.items())[:MAX_LISTED])
