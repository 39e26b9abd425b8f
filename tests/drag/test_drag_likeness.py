"""Whether what was taken hold of is still there, on pictures whose truth is known."""

import torch

from framework.drag.likeness import LEAST_CONFIDENCE, SURE_CONFIDENCE, confidence
from tests.drag.fakes import ShiftGenerator

SIZE = (64, 64)
HANDLES = torch.tensor([[20.0, 30.0], [40.5, 22.0]])


def views(generator, shift_px):
    ws = generator.ws()
    ws[..., :2] = torch.tensor(shift_px) / generator.synthesis.gain
    with torch.no_grad():
        return [generator.synthesis.partial(ws, 32).x, generator.synthesis.partial(ws, 64).x]


def test_what_moved_along_is_there_and_what_did_not_is_lost():
    """A2f: right points are sure; points of another place, and of another picture, are lost."""
    generator = ShiftGenerator()
    before, after = views(generator, (0.0, 0.0)), views(generator, (6.0, -3.0))
    moved = HANDLES + torch.tensor([6.0, -3.0])
    assert (confidence(before, before, HANDLES, HANDLES, SIZE) == 1).all()
    assert (confidence(before, after, HANDLES, moved, SIZE) > SURE_CONFIDENCE).all()
    assert (confidence(before, after, HANDLES, HANDLES, SIZE) < LEAST_CONFIDENCE).all()
    another = views(ShiftGenerator(seed=1), (0.0, 0.0))
    assert (confidence(before, another, HANDLES, HANDLES, SIZE) < SURE_CONFIDENCE).all()


def test_the_scale_of_features_plays_no_part():
    """A2f: the yardstick is the picture itself, whatever the model."""
    generator = ShiftGenerator()
    before, after = views(generator, (0.0, 0.0)), views(generator, (2.0, 1.0))
    plain = confidence(before, after, HANDLES, HANDLES, SIZE)
    scaled = confidence(*([100 * v for v in vs] for vs in (before, after)), HANDLES, HANDLES, SIZE)
    torch.testing.assert_close(scaled, plain, atol=1e-4, rtol=0)


def test_large_flat_and_small_pictures_have_an_answer():
    """A2f: corners, one colour, 16 and 512 px."""
    for side in (16, 64, 512):
        flat = [torch.zeros(1, 2, side, side)]
        corner = torch.tensor([[0.0, side - 1.0]])
        assert confidence(flat, flat, corner, corner, (side, side)).item() == 1
        noise = [torch.randn(1, 2, side, side)]
        assert 0 <= confidence(flat, noise, corner, corner, (side, side)).item() < LEAST_CONFIDENCE
