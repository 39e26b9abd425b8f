"""What a layer draws: each measure sees its own kind of change, and the table is relative."""

import pytest
import torch
import torch.nn.functional as F

from framework.control.analysis import (
    KINDS,
    analyse_layers,
    changes,
    colour_change,
    detail_change,
    measured_map,
    mostly,
    outline_change,
    structure_change,
)
from framework.control.layers import LayerMap, mix
from framework.models.stylegan2.statistics import styles_of_seeds


@pytest.fixture(scope="module")
def picture():
    rng = torch.Generator().manual_seed(3)
    smooth = F.interpolate(torch.randn(1, 3, 6, 6, generator=rng), (32, 32), mode="bicubic")
    return 0.3 * smooth


def test_nothing_changes_in_the_same_picture(picture):
    assert all(value.abs().max() < 1e-5 for value in changes(picture, picture).values())


def test_a_tint_is_a_colour_and_no_outline(picture):
    tinted = picture + torch.tensor([0.3, -0.3, 0.1])[None, :, None, None]
    assert colour_change(picture, tinted).item() == pytest.approx(0.2517, abs=1e-3)
    assert outline_change(picture, tinted) < 1e-5 and detail_change(picture, tinted) < 1e-5


def test_what_moves_is_an_outline_and_grain_is_a_detail(picture):
    moved = picture.roll(8, dims=3)
    grain = picture + 0.05 * (-1.0) ** (torch.arange(32)[:, None] + torch.arange(32))
    assert outline_change(picture, moved) > 0.5 > 10 * outline_change(picture, grain)
    assert structure_change(picture, moved) > 0.5
    assert detail_change(picture, grain).item() == pytest.approx(0.05, rel=0.05)
    assert colour_change(picture, grain) < 1e-5


def test_a_layer_is_measured_as_by_hand(tiny_generator):
    analysis = analyse_layers(tiny_generator, pairs=3, psi=0.7, seed=5)
    assert len(analysis.layers) == tiny_generator.num_ws and set(analysis.groups) == {
        "pose", "shape", "colour",
    }  # fmt: skip
    ws = tiny_generator.mapping.truncate(next(styles_of_seeds(tiny_generator, 6, 5)), 0.7)
    first, second = ws[0::2], ws[1::2]
    before, other = (tiny_generator.synthesis(w, noise_mode="const") for w in (first, second))
    after = tiny_generator.synthesis(mix(first, second, (4,)), noise_mode="const")
    for kind in KINDS:
        whole = changes(before, other)[kind].mean().item()
        assert analysis.unrelated[kind] == pytest.approx(whole, rel=1e-3)
        part = changes(before, after)[kind].mean().item()
        assert analysis.layers[4][kind] == pytest.approx(part / whole, rel=1e-3, abs=1e-5)
    assert set(analysis.measured_groups) == set(analysis.measured.groups)
    assert analysis.to_dict()["layers"][9]["resolution"] == 64


def test_layers_go_where_their_share_of_the_changes_is_largest():
    rows = [(0.8, 0.7, 0.1, 0.3), (0.2, 0.1, 0.9, 0.1), (0.3, 0.3, 0.1, 0.2), (0, 0, 0.1, 0.5)]
    layers = [dict(zip(KINDS, row, strict=True)) for row in rows]
    assert mostly(layers) == ["form", "colour", "form", "detail"]
    measured = measured_map(LayerMap((4, 8, 16, 16)), layers)
    assert measured.groups == {"pose": (0,), "shape": (2,), "colour": (1,), "detail": (3,)}
    assert measured.parse("colour,shape") == (1, 2) and measured.named((1,)) == "colour"
