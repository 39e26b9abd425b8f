import pytest
import torch

from framework.evaluation.drag.known_motion import Motion, random_motion, relit, still

SIZE = (48, 64)


def dot(at: tuple[float, float], size: tuple[int, int] = SIZE) -> torch.Tensor:
    """A soft white dot on black, (1, 1, H, W)."""
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in size), indexing="ij")
    return 2 * torch.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 8)[None, None] - 1


def middle_of(picture: torch.Tensor) -> torch.Tensor:
    """Centre of mass (x, y) of what is not black."""
    weight = (picture[0, 0] + 1) ** 2
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in SIZE), indexing="ij")
    return torch.stack([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("turn", [0.0, 20.0])
def test_the_picture_moves_as_the_points_do(turn):
    rng = torch.Generator().manual_seed(4)
    for at in ((20.0, 30.0), (40.0, 17.5)):
        motion = random_motion(SIZE, rng, shift_px=4, turn_degrees=turn, stretch=turn / 100)
        went = motion.points(torch.tensor(at))
        assert (went - torch.tensor(at)).norm() > 0.5
        assert (middle_of(motion.picture(dot(at))) - went).norm() < 0.1


def test_a_quarter_turn_is_clockwise_about_the_middle():
    motion = Motion(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.zeros(2), (64, 64))
    right_of_it = motion.centre + torch.tensor([10.0, 0.0])
    torch.testing.assert_close(motion.points(right_of_it), motion.centre + torch.tensor([0.0, 10]))


def test_sources_undo_points_and_parts_lead_there():
    motion = random_motion(SIZE, torch.Generator().manual_seed(1), 6, 30, 0.2)
    points = torch.tensor([[3.0, 40.0], [60.0, 2.0]])
    torch.testing.assert_close(motion.sources(motion.points(points)), points)
    torch.testing.assert_close(motion.part(1.0).points(points), motion.points(points))
    torch.testing.assert_close(motion.part(0.0).points(points), points)
    half = motion.part(0.5).points(points)
    torch.testing.assert_close(half, (points + motion.points(points)) / 2)


def test_a_finer_picture_is_seen_at_the_size_of_the_motion():
    fine = torch.nn.functional.interpolate(dot((20, 30)), scale_factor=3, mode="bicubic")
    seen = still(SIZE).picture(fine)
    assert seen.shape[2:] == SIZE
    assert (middle_of(seen) - torch.tensor([20.0, 30.0])).norm() < 0.1


def test_other_light_changes_colours_and_stays_in_range():
    picture = dot((20, 30)).expand(1, 3, *SIZE) / 2
    other = relit(picture, torch.Generator().manual_seed(0))
    assert other.shape == picture.shape and other.abs().max() <= 1
    assert 0.02 < (other - picture).abs().mean() < 0.4
    torch.testing.assert_close(relit(picture, torch.Generator(), 0.0), picture)
