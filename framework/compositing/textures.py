"""Pictures made of an exemplar's patches: textures, transfer of textures, image analogies.

All three are one search (Kwatra et al. 2005, Texture optimization for example-based synthesis):
patches of what is made look for their nearest in the exemplar, and vote. What else is to agree
stands in further channels, as in Hertzmann et al. 2001 (Image analogies): A is to A' as B is to B'.

Pictures are float32 (1, C, H, W) in [-1, 1]; every generator's last step is the result.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.compositing.filling import FillStep
from framework.compositing.patch_field import PatchField
from framework.compositing.quilting import quilted

ROUNDS = 8  # of each level
_COARSEST_OF_PATCH = 3  # shorter side of the coarsest exemplar, in patches
_GREY = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]


def texture(
    exemplar: Tensor, size: tuple[int, int], side: int = 9, seed: int = 0
) -> Iterator[FillStep]:
    """Make more of a texture: quilted when it is small, then patches agree across the cuts."""
    return _made(exemplar, None, None, size, side, 0.0, seed)


def transfer(
    photo: Tensor, exemplar: Tensor, side: int = 7, likeness: float = 1.0, seed: int = 0
) -> Iterator[FillStep]:
    """Draw a photograph with a texture: light is to lie as in the photograph.

    As Efros and Freeman 2001 (Image quilting, section 3), with brightness as what corresponds. The
    photograph's is first given the exemplar's mean and spread (Hertzmann et al. 2001, section 3.4).

    Args:
        photo: Where light and dark are to be.
        exemplar: The texture, of any size.
        side: Side of a patch in pixels.
        likeness: Weight of brightness against the texture's own continuity.
        seed: Seed of the searches.
    """
    of, to = _brightness(exemplar), _brightness(photo)
    spread = of.std() / to.std().clamp(min=1e-3)
    to = (to - to.mean()) * spread + of.mean()
    return _made(exemplar, of, to, _size(photo), side, likeness, seed)


def analogy(
    before: Tensor,
    after: Tensor,
    photo: Tensor,
    side: int = 5,
    likeness: float = 1.0,
    seed: int = 0,
) -> Iterator[FillStep]:
    """Do to a photograph what was done to `before` to get `after`, which lie pixel on pixel."""
    return _made(after, before, photo, _size(photo), side, likeness, seed)


def _made(
    exemplar: Tensor,
    guide_of: Tensor | None,
    guide_to: Tensor | None,
    size: tuple[int, int],
    side: int,
    likeness: float,
    seed: int,
) -> Iterator[FillStep]:
    """Coarse to fine: `likeness` weighs the guides, which correspond."""
    least = min(*size, *_size(exemplar))
    side = min(side, least - (1 - least % 2))
    count = 1
    while least / 2**count >= _COARSEST_OF_PATCH * side:
        count += 1
    field, current = None, None
    for level in range(count):
        by = 2.0 ** (level + 1 - count)
        source, target_size = _resized(exemplar, by), _scaled(size, by)
        guides = [
            None if guide is None else F.adaptive_avg_pool2d(guide, at) * likeness
            for guide, at in ((guide_of, _size(source)), (guide_to, target_size))
        ]
        colours, seen = _planes(source), _planes(source, guides[0])
        active = torch.ones(target_size[0] - side + 1, target_size[1] - side + 1) > 0
        allowed = torch.ones(seen.shape[0] - side + 1, seen.shape[1] - side + 1) > 0
        number = seed * 100 + level
        if field is None:
            field = PatchField.random(active, allowed, side, number)
            if guide_to is None:
                *_, quilt = quilted(source, target_size, 3 * side, number)
                current = quilt.picture
        else:
            field = field.finer(active, allowed, number)
        if level or current is None:
            current = _voted(field, colours, target_size)
        for again in range(ROUNDS):
            wanted = _planes(current, guides[1])
            field = field.improved(wanted, seen, iterations=3, seed=number * 100 + again)
            current = _voted(field, colours, target_size)
            stage = f"level {level + 1} of {count}"
            yield FillStep(current, stage, level * ROUNDS + again + 1, count * ROUNDS)


def _voted(field: PatchField, colours: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean of all votes; patches that fit badly count less."""
    width = field.distances.mean().clamp(min=1e-6)
    weights = torch.exp(-field.distances / (2 * width)) + 1e-9
    sums, total = field.votes(colours, weights, size)
    return (sums / total.clamp(min=1e-20)).reshape(1, *size, -1).movedim(3, 1)


def _planes(picture: Tensor, guide: Tensor | None = None) -> Tensor:
    """Turn (1, C, H, W), and a guide of that size, into (H, W, C and more)."""
    both = picture if guide is None else torch.cat([picture, guide], dim=1)
    return both[0].movedim(0, 2).contiguous()


def _brightness(picture: Tensor) -> Tensor:
    """Brightness (1, 1, H, W), a little blurred: its fine detail is the texture's matter."""
    grey = (picture * _GREY).sum(dim=1, keepdim=True) if picture.shape[1] == 3 else picture[:, :1]
    padded = F.pad(grey, (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(padded, 5, stride=1)


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[2], picture.shape[3]


def _scaled(size: tuple[int, int], by: float) -> tuple[int, int]:
    return max(1, round(size[0] * by)), max(1, round(size[1] * by))


def _resized(picture: Tensor, by: float) -> Tensor:
    return F.adaptive_avg_pool2d(picture, _scaled(_size(picture), by))
