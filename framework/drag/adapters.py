"""The adapter of a model: which `Draggable` it is."""

from framework.drag.diffusion import Diffusion
from framework.drag.interface import Draggable
from framework.drag.settings import DragSettings
from framework.drag.stylegan2 import StyleGAN2
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.stylegan2 import Discriminator, Generator


def draggable_of(
    generator: Generator | DiffusionGenerator,
    settings: DragSettings | None = None,
    discriminator: Discriminator | None = None,
    editor: LatentTransformer | None = None,
    origin: Generator | DiffusionGenerator | None = None,
) -> Draggable:
    """Return the model as the drag sees it; arguments as in `drag_points`.

    Raises:
        UserError: If a setting does not fit the model.
    """
    if isinstance(generator, DiffusionGenerator):
        return Diffusion(generator, settings)
    assert not isinstance(origin, DiffusionGenerator)
    return StyleGAN2(generator, settings, discriminator, editor, origin)
