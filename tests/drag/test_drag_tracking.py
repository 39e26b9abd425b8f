import pytest
import torch

from framework.drag.algorithm import drag_points
from framework.drag.features import patches
from framework.drag.settings import DragSettings
from framework.drag.trackers import nearest
from framework.drag.trackers.nearest import search

SIZE = (32, 40)


def naive_track(features, point, template, radius):
    """Equation 2 pixel by pixel, at the image's own size: L1 to the initial feature."""
    best = None
    for y in range(max(0, point[1] - radius), min(SIZE[0] - 1, point[1] + radius) + 1):
        for x in range(max(0, point[0] - radius), min(SIZE[1] - 1, point[0] + radius) + 1):
            distance = (features[0, :, y, x] - template).abs().mean().item()
            if best is None or distance < best[0]:
                best = (distance, x, y)
    return best


@pytest.mark.parametrize("radius", [1, 4])
def test_tracking_equals_the_equation(radius):
    features = torch.randn(1, 6, *SIZE)
    points = [(10, 12), (0, 0), (39, 31), (38, 1), (20, 31)]
    templates = torch.randn(len(points), 6)
    found, drift = search(
        features, torch.tensor(points).float(), templates[:, :, None, None], radius, SIZE
    )
    for i, point in enumerate(points):
        distance, x, y = naive_track(features, point, templates[i], radius)
        assert found[i].tolist() == [x, y]
        assert drift[i].item() == pytest.approx(distance)


@pytest.mark.parametrize("template_radius", [0, 1, 2])
@pytest.mark.parametrize("point", [(20.0, 15.0), (12.3, 17.8), (4.0, 4.0), (34.0, 27.0)])
def test_what_moved_by_whole_pixels_is_found_there(template_radius, point):
    before = torch.randn(1, 4, *SIZE)
    after = before.roll((-2, 3), dims=(2, 3))
    points = torch.tensor([point])
    templates = patches(before, points, template_radius, SIZE)
    found, drift = search(after, points, templates, 3, SIZE)
    torch.testing.assert_close(found, points + torch.tensor([[3.0, -2.0]]))
    assert drift.item() < 1e-5


def test_patches_find_what_one_feature_confuses():
    before = torch.randint(0, 2, (1, 1, *SIZE)).float()
    points = torch.tensor([[20.0, 15.0]])
    after = before.roll((2, 2), dims=(2, 3))
    template = patches(before, points, 2, SIZE)
    found, _ = search(after, points, template, 3, SIZE)
    assert found.tolist() == [[22.0, 17.0]]


def test_where_all_is_alike_a_point_stays():
    points = torch.tensor([[20.0, 15.0], [0.0, 0.0], [39.0, 31.0]])
    features = torch.ones(1, 3, 16, 20)
    found, _ = search(features, points, patches(features, points, 0, SIZE), 5, SIZE)
    torch.testing.assert_close(found, points)


# E2
def test_points_never_leave_the_picture():
    before = torch.randn(1, 4, *SIZE)
    points = torch.tensor([[38.5, 30.5], [0.5, 0.25]])
    templates = patches(before, points, 0, SIZE)
    for shift in [(3, 3), (-3, -3)]:
        found, _ = search(before.roll(shift, dims=(2, 3)), points, templates, 4, SIZE)
        assert (found >= 0).all() and (found <= torch.tensor([39, 31])).all()


# F2f
@pytest.mark.parametrize(
    ("settings", "radius"),
    [({"tracking_radius_px": 3}, 3), ({"tracking_radius": 24.0}, 3), ({}, 2)],
)
def test_a_drag_searches_the_radius_of_its_settings(tiny_generator, monkeypatch, settings, radius):
    searched = []

    def look(features, points, templates, radius_px, img_size):
        searched.append(radius_px)
        return search(features, points, templates, radius_px, img_size)

    monkeypatch.setattr(nearest, "search", look)
    ws = tiny_generator.mapping.w_avg.expand(1, tiny_generator.num_ws, -1)
    chosen = DragSettings(max_steps=2, **settings)
    list(drag_points(tiny_generator, ws, [(20, 40)], [(50, 40)], settings=chosen))
    assert set(searched) <= {0, radius} and radius in searched


def test_nothing_beyond_the_searched_square_is_found():
    """The right place lies one pixel outside: whatever is found, it is not that."""
    before = torch.randn(1, 6, *SIZE)
    points = torch.tensor([[20.0, 15.0]])
    after = before.roll((0, 3), dims=(2, 3))
    found, drift = search(after, points, patches(before, points, 0, SIZE), 2, SIZE)
    assert (found - points).abs().max() <= 2 and drift.item() > 1e-3
