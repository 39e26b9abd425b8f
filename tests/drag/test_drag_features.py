import pytest
import torch
import torch.nn.functional as F

from framework.drag.features import inside, patches

# Feature size and image size: equal, 2x, 4x, not square, features nearly as small as a patch.
SIZES = [
    ((16, 16), (16, 16)),
    ((16, 16), (32, 32)),
    ((8, 8), (32, 32)),
    ((6, 8), (24, 32)),
    ((2, 2), (16, 16)),
]
CENTRES = torch.tensor([[0.0, 0.0], [15.0, 15.0], [7.0, 3.0], [6.3, 9.71], [0.4, 14.9]])


def by_resizing_everything(features, centres, radius, img_size):
    """The published way: resize to the image, then sample there with align_corners=True."""
    resized = F.interpolate(features, img_size, mode="bilinear", align_corners=False)
    reach = torch.arange(-radius, radius + 1, dtype=centres.dtype)
    results = []
    for x, y in centres:
        grid_y, grid_x = torch.meshgrid(y + reach, x + reach, indexing="ij")
        grid = torch.stack(
            [2 * grid_x / (img_size[1] - 1) - 1, 2 * grid_y / (img_size[0] - 1) - 1], dim=-1
        )
        results.append(
            F.grid_sample(resized, grid[None], align_corners=True, padding_mode="border")
        )
    return torch.cat(results)


@pytest.mark.parametrize(("size", "img_size"), SIZES)
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_patches_and_their_gradients_equal_resizing_everything(size, img_size, radius):
    features = torch.randn(1, 3, *size, dtype=torch.float64, requires_grad=True)
    centres = CENTRES.double()
    got = patches(features, centres, radius, img_size)
    want = by_resizing_everything(features, centres, radius, img_size)
    torch.testing.assert_close(got, want)
    weights = torch.randn_like(got)
    (got_gradient,) = torch.autograd.grad((got * weights).sum(), features)
    (want_gradient,) = torch.autograd.grad((want * weights).sum(), features)
    torch.testing.assert_close(got_gradient, want_gradient)


def test_at_the_images_own_size_a_pixel_is_its_feature():
    features = torch.randn(1, 4, 12, 20)
    got = patches(features, torch.tensor([[19.0, 11.0], [3.0, 7.0]]), 0, (12, 20))
    torch.testing.assert_close(got[0, :, 0, 0], features[0, :, 11, 19])
    torch.testing.assert_close(got[1, :, 0, 0], features[0, :, 7, 3])


# E13
def test_inside_cuts_at_every_border():
    assert inside(torch.tensor([[0.0, 2.0]]), 1, (3, 8)).tolist() == [
        [[False, True, True], [False, True, True], [False, False, False]]
    ]
    assert inside(torch.tensor([[6.5, 0.5]]), 1, (3, 8))[0].sum() == 4
