"""Distances to descend on: what they measure, where it counts, and which one is chosen."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.files import sha256_file
from framework.models.digest import state_digest
from framework.models.features import distance as distances
from framework.models.features.blocks import block_features
from framework.models.features.distance import (
    BACKBONES,
    DiscriminatorDistance,
    Distance,
    Lpips,
    MultiscaleDistance,
    choose_distance,
    masked,
    weighted_mean,
)
from tests.models.features.networks import discriminator, random_pictures, save_trunk, trunk_of

pytestmark = pytest.mark.usefixtures("bare")
SIDE = 32
NAMES = ("dfeat", "multiscale", "lpips-squeeze")


@pytest.fixture(scope="module")
def squeeze_file(tmp_path_factory) -> Path:
    return save_trunk("squeeze", tmp_path_factory.mktemp("weights"))[1]


@pytest.fixture(scope="module", params=NAMES)
def distance(request, squeeze_file) -> Distance:
    """One of each kind, for pictures of 32 px."""
    if request.param == "dfeat":
        return DiscriminatorDistance(discriminator(img_size=SIDE))
    return MultiscaleDistance() if request.param == "multiscale" else Lpips("squeeze", squeeze_file)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Two pictures and two others."""
    return random_pictures(2, SIDE, seed=1), random_pictures(2, SIDE, seed=2)


@pytest.fixture
def window() -> Tensor:
    """A valid box, (1, 1, 32, 32)."""
    weight = torch.zeros(1, 1, SIDE, SIDE)
    weight[..., 8:24, 4:28] = 1
    return weight


# --- all of them -----------------------------------------------------------------------------


def test_a_picture_is_nothing_away_from_itself_and_further_with_more_noise(distance, pair):
    a, noise = pair
    assert torch.allclose(distance(a, a), torch.zeros(2), atol=1e-6)
    near, far = distance(a, a + 0.02 * noise), distance(a, a + 0.2 * noise)
    assert near.shape == (2,) and near.dtype == torch.float32
    assert (near > 1e-6).all() and (near < far).all()
    torch.testing.assert_close(distance(a, noise), distance(noise, a))


def test_each_picture_is_compared_on_its_own(distance, pair):
    a, b = pair
    alone = torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(distance(a, b), alone, rtol=1e-4, atol=1e-6)


def test_features_are_compared_as_pictures_are(distance, pair, window):
    a, b = pair
    of_a, of_b = distance.features(a), distance.features(b)
    assert [x.shape[2] for x in of_a] == sorted([x.shape[2] for x in of_a], reverse=True)
    torch.testing.assert_close(distance.compare(of_a, of_b), distance(a, b))
    of_masked = distance.features(masked(b, a, window))
    torch.testing.assert_close(distance.compare(of_a, of_masked, window), distance(a, b, window))


def test_one_can_descend_on_it_and_it_stays_as_it_is(distance, pair):
    a, b = pair
    before = state_digest(distance)
    b = b.clone().requires_grad_()
    first = distance(a, b).sum()
    first.backward()
    assert b.grad is not None and b.grad.flatten(1).norm(dim=1).min() > 0
    step = 0.02 * b.grad / b.grad.abs().max()
    assert distance(a, b.detach() - step).sum() < first
    assert not any(p.requires_grad for p in distance.parameters())
    assert state_digest(distance) == before


def test_training_mode_changes_nothing(distance, pair):
    before = distance(*pair)
    holder = nn.ModuleList([distance]).train()
    assert not any(module.training for module in distance.modules())
    assert torch.equal(distance(*pair), before) and holder.training


def test_a_weight_of_one_is_no_weight(distance, pair):
    everywhere = torch.ones(2, 1, SIDE, SIDE)
    torch.testing.assert_close(distance(*pair, everywhere), distance(*pair))


def test_what_is_outside_the_box_counts_for_nothing(distance, pair, window):
    a, b = pair
    b = b.clone().requires_grad_()
    found = distance(a, b, window)
    found.sum().backward()
    assert b.grad is not None
    outside = window.expand_as(b) == 0
    assert (b.grad[outside] == 0).all() and (b.grad[~outside] != 0).float().mean() > 0.9
    changed = torch.where(outside, torch.ones(()), b.detach())
    assert torch.equal(distance(a, changed, window), found)
    assert torch.equal(distance(a, torch.where(outside, b.detach(), a), window), torch.zeros(2))
    empty = distance(a, b.detach(), torch.zeros_like(window))
    assert torch.equal(empty, torch.zeros(2))


def test_protocols_tell_distances_apart(distance, squeeze_file):
    protocol = distance.protocol()
    assert protocol["name"] == distance.name and "range" in protocol
    if distance.name == "dfeat":
        assert protocol["sha256_of_weights"] == state_digest(discriminator(img_size=SIDE))
        assert "32x32" in protocol["resize"] and "block" in protocol["layers"]
        other = DiscriminatorDistance(discriminator(seed=1, img_size=SIDE)).protocol()
        assert other["sha256_of_weights"] != protocol["sha256_of_weights"]
    elif distance.name == "lpips-squeeze":
        assert protocol["weights"] == squeeze_file.name
        assert protocol["sha256_of_weights"] == BACKBONES["squeeze"][0].sha256


def test_a_weighted_mean_counts_positions_as_much_as_they_weigh():
    values = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]], [[10.0, 20.0], [30.0, 50.0]]]])
    assert weighted_mean(values).item() == (11 + 110) / 8
    left = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert weighted_mean(values, left).item() == (1 + 3 + 10 + 30) / 4
    assert weighted_mean(values, 7 * left).item() == (1 + 3 + 10 + 30) / 4
    # A cell that is half outside counts half: top left 1, bottom right 0.5.
    fine = torch.zeros(1, 1, 4, 4)
    fine[..., :2, :2], fine[..., 2:, 3] = 1, 1
    assert weighted_mean(values, fine).item() == pytest.approx((11 + 0.5 * 55) / (2 * 1.5))


# --- each of them ----------------------------------------------------------------------------


def test_dfeat_is_the_mean_square_difference_of_the_blocks(pair):
    network, (a, b) = discriminator(img_size=SIDE), pair
    pairs = list(zip(*(block_features(network, x) for x in pair), strict=True))
    naive = sum((p - q).square().mean(dim=(1, 2, 3)) for p, q in pairs) / len(pairs)
    torch.testing.assert_close(DiscriminatorDistance(network)(a, b), naive)


def test_dfeat_looks_with_a_copy(pair):
    network = discriminator(img_size=SIDE)
    distance = DiscriminatorDistance(network)
    before = distance(*pair)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(-1)
    assert torch.equal(distance(*pair), before)
    assert all(p.requires_grad for p in network.parameters())


def test_dfeat_of_a_network_with_low_precision_is_float32(pair):
    low = discriminator(img_size=SIDE, low_precision_blocks=2, low_precision="bfloat16")
    whole = DiscriminatorDistance(discriminator(img_size=SIDE))
    torch.testing.assert_close(DiscriminatorDistance(low)(*pair), whole(*pair))
    assert low.get_submodule("b32").dtype == torch.bfloat16


def test_dfeat_takes_pictures_of_any_size():
    distance = DiscriminatorDistance(discriminator())
    assert distance(random_pictures(1, 48), random_pictures(1, 48, seed=1)).item() > 0


def test_multiscale_of_even_pictures_is_the_formula():
    a, b = (torch.full((1, 3, SIDE, SIDE), 2 * x - 1) for x in (0.5, 0.1))
    similarity = (2 * 0.5 * 0.1 + 0.01**2) / (0.5**2 + 0.1**2 + 0.01**2)
    by_hand = 0.84 * (1 - similarity) + 0.16 * (0.5 - 0.1)
    found = MultiscaleDistance()(a, b)
    torch.testing.assert_close(found, torch.tensor([by_hand]), rtol=1e-3, atol=0)


def test_multiscale_halves_down_to_eight_pixels():
    levels = MultiscaleDistance().features(torch.zeros(1, 3, 48, 70))
    assert [tuple(x.shape[2:]) for x in levels] == [(48, 70), (24, 35), (12, 17)]


def test_multiscale_sees_a_shift_of_things_that_are_far_smaller_than_its_window():
    """At the finest scale any shift of noise is as bad as any other; at coarser ones it is not."""
    picture = F.interpolate(random_pictures(1, 16), 64, mode="bicubic")
    near, far = (picture.roll(shift, 3) for shift in (1, 6))
    distance = MultiscaleDistance()
    assert distance(picture, near) < distance(picture, far)


# --- LPIPS -----------------------------------------------------------------------------------

# The layers of each backbone whose outputs count: ReLUs, and SqueezeNet's fire modules.
TAPS = {
    "vgg": (3, 8, 15, 22, 29),
    "alex": (1, 4, 7, 9, 11),
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
}


def naive_lpips(backbone: str, a: Tensor, b: Tensor) -> Tensor:
    """Zhang et al. 2018, equation 1, with the published scaling of the pictures."""
    spec = importlib.util.find_spec("torchmetrics.functional.image")
    assert spec and spec.origin
    file = Path(spec.origin).parent / f"lpips_models/{backbone}.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, total = torch.cat([(p - shift) / scale for p in (a, b)]), torch.zeros(len(a))
    level = 0
    with torch.no_grad():
        for i, layer in enumerate(trunk_of(backbone)[: TAPS[backbone][-1] + 1]):
            x = layer(x)
            if i in TAPS[backbone]:
                unit = F.normalize(x, dim=1)
                gap = (unit[: len(a)] - unit[len(a) :]).square()
                total += F.conv2d(gap, heads[f"lin{level}.model.1.weight"]).mean(dim=(1, 2, 3))
                level += 1
    return total


@pytest.mark.parametrize("backbone", BACKBONES)
def test_lpips_is_its_equation_on_the_published_heads(tmp_path, backbone):
    path = save_trunk(backbone, tmp_path)[1]
    a, b = random_pictures(2, 32, seed=1), random_pictures(2, 32, seed=2)
    found = Lpips(backbone, path)(a, b)
    assert found.shape == (2,)
    torch.testing.assert_close(found, naive_lpips(backbone, a, b), rtol=1e-4, atol=0)


def test_lpips_sees_grey_as_colours_and_no_transparency(squeeze_file):
    distance = Lpips("squeeze", squeeze_file)
    rgb, other = random_pictures(1, 32), random_pictures(1, 32, seed=1)
    rgba = [torch.cat([x, torch.full_like(x[:, :1], a)], 1) for x, a in ((rgb, 1.0), (other, -1.0))]
    torch.testing.assert_close(distance(*rgba), distance(rgb, other))
    grey = [x[:, :1] for x in (rgb, other)]
    shown = [x.expand(-1, 3, -1, -1) for x in grey]
    torch.testing.assert_close(distance(*grey), distance(*shown))


@pytest.mark.parametrize(("backbone", "smallest"), [("alex", 31), ("squeeze", 17)])
def test_lpips_of_pictures_that_are_too_small_is_one_line(tmp_path, backbone, smallest):
    distance = Lpips(backbone, save_trunk(backbone, tmp_path)[1])
    a, b = random_pictures(1, smallest), random_pictures(1, smallest, seed=1)
    assert distance(a, b).item() > 0
    with pytest.raises(UserError, match=f"at least {smallest} px a side, these are 64x"):
        distance.features(torch.zeros(1, 3, smallest - 1, 64))


# --- the choice ------------------------------------------------------------------------------


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Saves random weights that are taken for a backbone's; returns their file."""

    def save(backbone: str) -> Path:
        path = save_trunk(backbone, tmp_path)[1]
        published, smallest = BACKBONES[backbone]
        made = replace(published, sha256=sha256_file(path))
        monkeypatch.setitem(distances.BACKBONES, backbone, (made, smallest))
        return path

    return save


def test_auto_is_the_models_own_discriminator_and_multiscale_without():
    with_one, note = choose_distance("auto", discriminator())
    assert with_one.name == "dfeat" and "dfeat" in note
    without, note = choose_distance("auto", None)
    assert without.name == "multiscale" and "no discriminator" in note and "\n" not in note


def test_what_is_named_is_made_without_a_word():
    for name, network in (("dfeat", discriminator()), ("multiscale", discriminator())):
        distance, note = choose_distance(name, network)
        assert distance.name == name and note == ""


def test_lpips_is_the_first_whose_weights_are_here(known, tmp_path):
    path = known("squeeze")
    distance, note = choose_distance("lpips", None, str(tmp_path))
    assert distance.name == "lpips-squeeze" and "lpips-squeeze" in note
    named, note = choose_distance("lpips-squeeze", None, str(path))
    assert named.name == "lpips-squeeze" and note == ""
    known("alex")
    assert choose_distance("lpips", None, str(tmp_path))[0].name == "lpips-alex"


def test_lpips_that_is_here_comes_before_a_download(known, tmp_path):
    known("squeeze")
    distance, _ = choose_distance("lpips", None, str(tmp_path), allow_download=True)
    assert distance.name == "lpips-squeeze"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("dfeat", r"--model\.perceptual dfeat: this model has no discriminator"),
        ("vgg", r"--model\.perceptual vgg: choose one of auto, dfeat"),
        (
            "lpips-alex",
            r"lpips-alex: its weights are missing; fetch https\S+alexnet\S+ .*--model\.w",
        ),
        ("lpips", r"fetch \S+vgg16\S+ or \S+alexnet\S+ or \S+squeezenet"),
    ],
)
def test_what_cannot_be_had_is_one_line(choice, message):
    flags = {"flag": "--model.perceptual", "weights_flag": "--model.weights"}
    with pytest.raises(UserError, match=message):
        choose_distance(choice, None, **flags)


def test_a_folder_that_is_not_there_names_the_flag_of_weights():
    with pytest.raises(UserError, match=r"--perceptual-weights /nowhere: no such"):
        choose_distance("lpips", None, "/nowhere")
