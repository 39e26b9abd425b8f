"""The sheets of an editor's run: motions asked, made by the network, and as they were."""

import numpy as np
import torch
from torch import Tensor

from framework.media.draw import draw_task
from framework.media.images import to_uint8
from framework.models.editors.latent_transformer import LatentTransformer, places
from framework.models.stylegan2 import Generator
from framework.training.editor.paths import draw
from framework.training.editor.settings import EditorSettings

ROWS = 3  # what is asked, what the editor makes of it, the picture that the motion is from


class Motions:
    """The same motions all through a run.

    Args:
        editor: The averaged network.
        generator: The generator.
        settings: Settings of the run.
        columns: Columns of a sheet.
        count: Pictures on a sheet.
    """

    def __init__(
        self,
        editor: LatentTransformer,
        generator: Generator,
        settings: EditorSettings,
        columns: int,
        count: int,
    ) -> None:
        device = next(generator.parameters()).device
        rng = torch.Generator(device).manual_seed(settings.seed)
        shown, s = columns * max(1, count // columns // ROWS), settings.transformer
        paths = -(-shown // settings.paths.pairs)
        asked = draw(generator, s.features, paths, s.moving, settings.paths, rng)
        self.editor, self.generator, self.columns = editor, generator, columns
        self.asked = asked.first(shown)

    def begin(self) -> dict[str, np.ndarray]:
        """Return what the untrained editor makes: nothing moves."""
        return {"motions_init": self._sheet()}

    def now(self) -> dict[str, np.ndarray]:
        """Return what the editor makes of them now."""
        return {"motions": self._sheet()}

    @torch.no_grad()
    def _sheet(self) -> np.ndarray:
        asked, size = self.asked, self.generator.img_size
        change = self.editor(
            asked.ws, asked.features, places(asked.points, size), asked.motions, asked.absent
        )
        rows = [self._tasks(), self._moved(change @ self.editor.spread), self._moved(asked.change)]
        parts = zip(*(np.split(row, len(row) // self.columns) for row in rows), strict=True)
        return np.concatenate([row for part in parts for row in part])

    def _tasks(self) -> np.ndarray:
        """The pictures, with an arrow for every motion."""
        asked, drawn = self.asked, []
        for picture, points, moves, absent in zip(
            self._moved(torch.zeros_like(asked.change)), asked.points, asked.moves, asked.absent,
            strict=True,
        ):  # fmt: skip
            handles, targets = points[~absent], (points + moves)[~absent]
            drawn.append(draw_task(picture, handles.tolist(), targets.tolist(), factor=1))
        return np.stack(drawn)

    def _moved(self, change: Tensor) -> np.ndarray:
        ws = self.asked.ws.clone()
        ws[:, : change.shape[1]] += change
        return to_uint8(self.generator.synthesis(ws, noise_mode="const"))
