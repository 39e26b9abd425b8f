"""A tree of patches: a start from which a field of nearest patches has little left to do."""

import pytest
import torch

from framework.compositing.patch_field import PatchField
from framework.compositing.patch_tree import likely_patches
from framework.ops.nearest_patches import patches

SIDE = 5


def grain(seed: int, side_px: int = 48) -> torch.Tensor:
    """Noise, a little blurred: every patch has its nearest somewhere else."""
    noise = torch.randn(1, 3, side_px, side_px, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1)[0].movedim(0, 2).contiguous()


def everything(picture: torch.Tensor) -> torch.Tensor:
    return torch.ones(patches(picture, SIDE).shape[:2], dtype=torch.bool)


def test_after_a_tree_two_iterations_go_farther_than_five_from_a_random_start():
    target, source = grain(0), grain(1)
    active = allowed = everything(target)
    ours, theirs = (patches(x, SIDE).flatten(0, 1).flatten(1).double() for x in (target, source))
    nearest = torch.cdist(ours, theirs).min(dim=1).values.mean()
    from_tree, from_random = (
        field.improved(target, source, iterations).distances.sqrt().mean()
        for field, iterations in (
            (PatchField.likely(target, source, active, allowed, SIDE), 2),
            (PatchField.random(active, allowed, SIDE), 5),
        )
    )
    assert nearest * 0.9999 <= from_tree < from_random
    assert from_tree < 1.05 * nearest


@pytest.mark.parametrize("count", [1, 2, 17, 300])
def test_a_tree_gives_every_active_patch_an_allowed_one(count):
    target, source = grain(0), grain(1)[:, :40].contiguous()
    active, allowed = everything(target), torch.zeros_like(everything(source))
    active[:, ::3] = False
    shuffled = torch.randperm(allowed.numel(), generator=torch.Generator().manual_seed(0))
    allowed.view(-1)[shuffled[:count]] = True
    field = likely_patches(target, source, active, allowed, SIDE)
    assert field.dtype == torch.int32 and not field[~active].any()
    y, x = field[active].long().unbind(dim=1)
    assert allowed[y, x].all()


def test_a_tree_finds_a_patch_that_is_there_to_the_bit():
    picture = grain(2, 40)
    active = allowed = everything(picture)
    field = likely_patches(picture, picture, active, allowed, SIDE)
    own = torch.stack(torch.meshgrid(torch.arange(36), torch.arange(36), indexing="ij"), dim=2)
    assert (field == own).all(dim=2).float().mean() > 0.99
