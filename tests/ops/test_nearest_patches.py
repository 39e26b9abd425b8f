"""Fields of nearest patches: near to what an exhaustive search finds, compiled or not."""

import pytest
import torch

from framework.data.toycars import ToyCars
from framework.ops.compiled import use_ops
from framework.ops.nearest_patches import nearest_patches, patch_distances, patches

SIDE = 5


def car(index: int, side_px: int = 48) -> torch.Tensor:
    return torch.from_numpy(ToyCars(side_px, 10).image(index)).float() / 127.5 - 1


def everything(picture: torch.Tensor) -> torch.Tensor:
    return torch.ones(patches(picture, SIDE).shape[:2], dtype=torch.bool)


def random_start(active, allowed, seed=0):
    rng = torch.Generator().manual_seed(seed)
    choices = allowed.nonzero().int()
    return choices[torch.randint(len(choices), active.shape, generator=rng)]


def exact(target, source, active, allowed):
    """Distances (not squared) to the nearest of all allowed patches, by looking at each."""
    ours = patches(target, SIDE)[active].flatten(1)
    theirs = patches(source, SIDE)[allowed].flatten(1)
    return torch.cdist(ours.double(), theirs.double()).min(dim=1).values


@pytest.fixture(params=["torch", "compiled"])
def mode(request):
    if request.param == "compiled":
        request.getfixturevalue("cpu_ops")
    use_ops(request.param)
    return request.param


def test_patches_are_what_slices_are():
    picture = torch.randn(7, 9, 3)
    view = patches(picture, 4)
    assert view.shape == (4, 6, 4, 12)
    assert torch.equal(view[2, 5], picture[2:6, 5:9].reshape(4, 12))


def test_five_iterations_come_within_five_per_cent_of_an_exhaustive_search(mode):
    target, source = car(0), car(1)
    active = allowed = everything(target)
    _, distances = nearest_patches(
        target, source, active, allowed, random_start(active, allowed), SIDE, 5
    )
    nearest, reached = exact(target, source, active, allowed).mean(), distances.sqrt().mean()
    assert nearest * 0.9999 <= reached < 1.05 * nearest


def test_only_active_patches_get_only_allowed_neighbours_at_the_stated_distance(mode):
    target, source = car(2), car(3)[:40].contiguous()
    active, allowed = everything(target), everything(source)
    active[:, ::2], allowed[10:20], allowed[:, :9] = False, False, False
    start = random_start(active, allowed)
    before = patch_distances(target, source, active.nonzero(), start[active], SIDE)
    field, distances = nearest_patches(target, source, active, allowed, start, SIDE, 2)
    y, x = field[active].long().unbind(dim=1)
    assert allowed[y, x].all()
    assert torch.equal(field[~active], start[~active]) and not distances[~active].any()
    stated = patch_distances(target, source, active.nonzero(), field[active], SIDE)
    torch.testing.assert_close(distances[active], stated)
    assert (stated <= before + 1e-4).all() and (stated < before).any()


def test_the_result_is_a_function_of_the_seed_whatever_the_threads(mode):
    target, source = car(4, 80), car(5, 80)
    active = allowed = everything(target)
    start, threads = random_start(active, allowed), torch.get_num_threads()
    fields = []
    try:
        for count, seed in ((1, 0), (2, 0), (1, 1)):
            torch.set_num_threads(count)
            fields.append(nearest_patches(target, source, active, allowed, start, SIDE, 2, seed)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(fields[0], fields[1]) and not torch.equal(fields[0], fields[2])


def test_a_picture_finds_itself(mode):
    picture = torch.rand(30, 30, 1, generator=torch.Generator().manual_seed(0))
    active = allowed = everything(picture)
    start = torch.stack(torch.meshgrid(torch.arange(26), torch.arange(26), indexing="ij"), 2).int()
    start[3:] = 0  # the rest follows by propagation
    field, distances = nearest_patches(picture, picture, active, allowed, start, SIDE, 4)
    assert distances.max() == 0 and field[25, 25].tolist() == [25, 25]
