"""Ways to fill holes that need a model of such pictures: a generator, or a trained filler."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from framework.compositing.geometry import fit_geometry
from framework.compositing.photograph import Photograph
from framework.compositing.poisson import blend
from framework.formats import open_model
from framework.formats.filler_folder import load_filler
from framework.inversion.photo_fill import Painter, PriorFilling
from framework.media.images import to_float, to_uint8
from framework.models.encoders.loading import build_encoder
from framework.models.features.distance import choose_distance

Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]  # uint8 (H, W, 3), bool (H, W) -> uint8


def prior_fill(model: str) -> Fill:
    """Filling by a generator, which sees the whole picture.

    Raises:
        UserError: If the model cannot be opened.
    """
    opened = open_model(model)
    has = opened.networks
    generator = opened.network("generator")
    judge = opened.network("discriminator") if "discriminator" in has else None
    encoder = build_encoder(opened.encoder(), generator) if "encoder" in has else None
    painter = Painter(generator, choose_distance("auto", judge, None)[0], encoder)

    def function(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        photo, size = Photograph(picture), (picture.shape[0], picture.shape[1])
        geometry = fit_geometry(size, generator.img_size, "pad")
        filling = PriorFilling(photo, hole.astype(np.float32), painter, geometry)
        *_, last = filling.steps()
        return filling.filled(last).levels

    return function


def learned_fill(folder: str) -> Fill:
    """Filling by a trained network at the size that it was trained at, blended by its gradients.

    Raises:
        UserError: If the folder holds none.
    """
    filler = load_filler(folder)
    height, width = filler.img_size

    def function(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        size = (picture.shape[1], picture.shape[0])
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
        covered = Image.fromarray((255 * hole).astype(np.uint8))
        holes = np.array(covered.resize((width, height), Image.Resampling.BOX)) > 0
        with torch.no_grad():
            made = filler(
                to_float(np.array(small)[None]), torch.from_numpy(holes)[None, None].float()
            )
        large = Image.fromarray(to_uint8(made)[0]).resize(size, Image.Resampling.BICUBIC)
        return np.rint(blend(picture, np.asarray(large), hole)).clip(0, 255).astype(np.uint8)

    return function


BY_MODEL = {"gan": prior_fill, "learned": learned_fill}
