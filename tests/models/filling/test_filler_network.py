"""The network that fills holes: its attention against a naive version, and what it must not see."""

import pytest
import torch
import torch.nn.functional as F

from framework.errors import UserError
from framework.models.filling.attention import contextual_attention
from framework.models.filling.network import HoleFiller, HoleJudge


def naive(features, hole):
    """Patch by patch: likeness to all known patches, their weighted sum, overlaps averaged."""
    height, width = features.shape[1:]
    padded = F.pad(features, (1, 1, 1, 1))
    patches = {(y, x): padded[:, y : y + 3, x : x + 3] for y in range(height) for x in range(width)}
    gaps = F.pad(hole, (1, 1, 1, 1))
    known = [place for place in patches if not gaps[:, place[0] :, place[1] :][:, :3, :3].any()]
    total, votes = torch.zeros_like(padded), torch.zeros_like(padded)
    for (y, x), patch in patches.items():
        likeness = torch.stack(
            [F.cosine_similarity(patch.flatten(), patches[k].flatten(), dim=0) for k in known]
        )
        share = (10 * likeness).softmax(dim=0)
        total[:, y : y + 3, x : x + 3] += sum(
            s * patches[k] for s, k in zip(share, known, strict=True)
        )
        votes[:, y : y + 3, x : x + 3] += 1
    return (total / votes)[:, 1:-1, 1:-1]


def test_attention_is_the_naive_one():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 5, 7, generator=rng, dtype=torch.float64)
    hole = torch.zeros(2, 1, 5, 7, dtype=torch.float64)
    hole[0, :, 1:3, 1:3], hole[1, :, 4, 6] = 0.5, 1
    found = contextual_attention(features, hole)
    for row in range(2):
        assert torch.allclose(found[row], naive(features[row], hole[row]), atol=1e-8)


def test_attention_has_a_gradient_and_bears_a_picture_of_nothing_but_hole():
    features = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    hole = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    hole[..., 0] = 1
    assert torch.autograd.gradcheck(lambda x: contextual_attention(x, hole), features)
    nothing = contextual_attention(features, torch.ones_like(hole))
    assert (nothing == 0).all()
    assert nothing.sum().backward() is None and features.grad.isfinite().all()


@pytest.fixture
def filler():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = HoleFiller(3, 8)
        torch.nn.init.normal_(network.out.weight, std=0.1)
    return network


@pytest.mark.parametrize("size", [(16, 16), (20, 12)])
def test_it_fills_the_hole_and_never_sees_what_was_in_it(filler, size):
    pictures = torch.rand(2, 3, *size) * 2 - 1
    holes = torch.zeros(2, 1, *size)
    holes[:, :, 4:9, 3:8] = 1
    filled = filler(pictures, holes)
    outside = (holes == 0).expand_as(pictures)
    assert torch.equal(filled[outside], pictures[outside])
    other = torch.where(holes > 0, 0.7, pictures)
    assert torch.equal(filler(other, holes), filled)
    moved = pictures.clone()
    moved[:, :, 0, 0] = -pictures[:, :, 0, 0]
    assert not torch.equal(filler(moved, holes)[..., 4:9, 3:8], filled[..., 4:9, 3:8])


def test_the_judge_looks_patch_by_patch():
    assert HoleJudge(3, 8)(torch.rand(2, 3, 32, 24), torch.zeros(2, 1, 32, 24)).shape == (
        2,
        1,
        4,
        3,
    )


@pytest.mark.parametrize("width", [0, 2, 10])
def test_a_width_that_cannot_be_is_refused(width):
    with pytest.raises(UserError, match=r"multiple of 4"):
        HoleFiller(3, width)
