"""Ways from a condition to pictures: translations, the StyleGAN way, and baselines."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.formats import open_model
from framework.formats.condition_file import NAMES, load_condition_encoder
from framework.formats.model_folder import parameter_count
from framework.formats.translator_folder import WEIGHTS, load_translator
from framework.models.digest import state_digest
from framework.models.encoders.loading import build_encoder
from framework.models.translation.condition import Condition, Kind

PSI = 1.0  # the full variety of what a condition leaves open
Draw = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Way:
    """A way from conditions to pictures.

    Args:
        name: Its name in the table.
        condition: What it draws from.
        parameters: Its parameters.
        draw: Function from conditions, uint8 (N, c, H, W), and random numbers to pictures
            (N, C, H, W) in [-1, 1].
    """

    name: str
    condition: Condition
    parameters: int
    draw: Draw


def open_way(text: str, generator: str) -> Way:
    """Open a translation's folder, or that of a StyleGAN2's encoder.

    Args:
        text: NAME=FOLDER, or a folder alone.
        generator: The StyleGAN2 that encoders belong to.

    Raises:
        UserError: If the folder holds neither.
    """
    name, equals, place = text.partition("=")
    folder = Path(place if equals else text)
    if (folder / WEIGHTS).is_file():
        return _translation(name if equals else "", folder)
    kinds: list[Kind] = [kind for kind, file in NAMES.items() if (folder / file).is_file()]
    if len(kinds) != 1:
        raise UserError(f"{folder}: holds neither {WEIGHTS} nor one of {', '.join(NAMES.values())}",
                        "ways")  # fmt: skip
    return _stylegan(name if equals else "StyleGAN2", folder, kinds[0], generator)


def _translation(name: str, folder: Path) -> Way:
    translator = load_translator(folder)

    def draw(conditions: Tensor, rng: torch.Generator) -> Tensor:
        return translator.pictures(conditions.float() / 127.5 - 1, rng)

    count = parameter_count(translator.networks["picture"])
    return Way(name or translator.method, translator.condition, count, draw)


def _stylegan(name: str, folder: Path, kind: Kind, model: str) -> Way:
    opened = open_model(model, "--generator")
    generator = opened.network("generator")
    digest = state_digest(build_encoder(opened.encoder(), generator))
    encoder = load_condition_encoder(folder, kind, generator.digest, digest, model)

    def draw(conditions: Tensor, rng: torch.Generator) -> Tensor:
        belief = encoder(conditions)
        random = torch.randn(belief.mean.shape, generator=rng)
        ws = encoder.space.drawn(belief, random, PSI)
        return generator.synthesis(ws, noise_mode="const")

    parts: list[nn.Module] = [encoder, generator.synthesis]
    return Way(name, encoder.condition, sum(map(parameter_count, parts)), draw)


def true_pictures(condition: Condition, pictures: Tensor) -> Way:
    """Return the true pictures as a way: the most that the judges see."""
    return Way("true pictures", condition, 0, lambda conditions, rng: pictures)


def nearest(condition: Condition, known: Tensor, pictures: Tensor) -> Way:
    """Return the pictures of the nearest known conditions, which differ least, pixel by pixel."""
    if condition.kind == "labels":
        table = torch.nn.functional.one_hot(known[:, 0].long(), condition.num_labels).half()
    else:
        table = known.half() / 255
    table = table.flatten(1).float()

    def draw(conditions: Tensor, rng: torch.Generator) -> Tensor:
        if condition.kind == "labels":
            seen = torch.nn.functional.one_hot(conditions[:, 0].long(), condition.num_labels)
        else:
            seen = conditions / 255
        return pictures[torch.cdist(seen.flatten(1).float(), table).argmin(dim=1)]

    return Way("nearest neighbour", condition, 0, draw)
