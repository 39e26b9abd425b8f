"""The latent transformer: what it promises before it is trained, and its files."""

import json

import pytest
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import open_model, save_model_folder
from framework.models.editors.latent_transformer import (
    LatentTransformer,
    at,
    fitting,
    motion_tokens,
    places,
)
from framework.models.stylegan2 import Generator

SIZE = (32, 64)


def generator(seed: int = 0, **sizes) -> Generator:
    torch.manual_seed(seed)
    common = {"img_size": SIZE, "z_dim": 5, "w_dim": 6, "mapping_layers": 2, **sizes}
    made = Generator(channel_base=128, channel_max=8, **common)
    made.mapping.w_avg.normal_(std=0.1)
    return made.eval().requires_grad_(False)


def editor(model: Generator, seed: int = 0) -> LatentTransformer:
    """One whose head is drawn, so that it changes something."""
    torch.manual_seed(seed)
    made = LatentTransformer.new(model, 4, 16, width=16, heads=2, depth=1, hidden=16)
    made.set_statistics(model)
    torch.nn.init.normal_(made.head.weight)
    return made.eval().requires_grad_(False)


def inputs(model: Generator, points: int = 3):
    rng = torch.Generator().manual_seed(1)
    channels = len(model.synthesis.blocks[model.synthesis.resolutions.index(16)].conv1.bias)
    return (
        torch.randn(2, model.num_ws, 6, generator=rng),
        torch.randn(2, points, channels, generator=rng),
        torch.rand(2, points, 2, generator=rng) * 2 - 1,
        torch.cat([torch.randn(2, points, 3, generator=rng), torch.ones(2, points, 1)], dim=2),
    )


def test_an_untrained_one_changes_nothing_and_knows_the_spread_of_w():
    model = generator()
    fresh = LatentTransformer.new(model, 4, 16, width=16, heads=2)
    assert not fresh(*inputs(model)).any()
    fresh.set_statistics(model)
    z = torch.randn(20_000, 5, generator=torch.Generator().manual_seed(7))
    w = model.mapping(z)[:, 0]
    covariance = torch.cov(w.T)
    assert (fresh.spread @ fresh.spread - covariance).norm() < 0.05 * covariance.norm()
    assert (fresh.w_avg - w.mean(dim=0)).norm() < 0.05 * w.std(dim=0).norm()


def test_the_opposite_motion_is_the_opposite_change_and_none_is_none():
    model = generator()
    made, (ws, features, where, motions) = editor(model), inputs(model)
    change = made(ws, features, where, motions)
    turned = motions * torch.tensor([-1.0, -1, -1, 1])
    assert change.abs().max() > 0.01
    assert torch.allclose(made(ws, features, where, turned), -change, atol=1e-6)
    still = motions * torch.tensor([0.0, 0, 0, 1])
    assert not made(ws, features, where, still).any()


def test_points_that_are_absent_and_their_order_do_not_count():
    model = generator()
    made, (ws, features, where, motions) = editor(model), inputs(model)
    absent = torch.tensor([[False, False, True]]).expand(2, 3)
    two = made(ws, features[:, :2], where[:, :2], motions[:, :2])
    assert torch.allclose(made(ws, features, where, motions, absent), two, atol=1e-6)
    turned = made(ws, *(part[:, [1, 0]] for part in (features, where, motions)))
    assert torch.allclose(turned, two, atol=1e-6)
    assert not torch.allclose(made(ws, features, where, motions), two, atol=1e-4)


def test_features_are_read_between_the_centres_of_pixels():
    features = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    points = torch.tensor([[[3.5, 3.5], [11.5, 3.5], [7.5, 3.5], [0.0, 0.0], [63.0, 31.0]]])
    read = at(features, points, SIZE)[0, :, 0]  # a feature is 8 pixels wide
    assert torch.allclose(read, torch.tensor([0.0, 1.0, 0.5, 0.0, 7.0]), atol=1e-5)
    assert torch.allclose(places(points, SIZE)[0, 2], torch.tensor([-0.75, -0.75]))


def test_moves_are_counted_in_sixteenths_and_a_zoom_may_be_open():
    moves = torch.tensor([[[4.0, -2.0]]])
    assert motion_tokens(moves, SIZE).tolist() == [[[1.0, -0.5, 0.0, 0.0]]]
    zoomed = torch.tensor([[[4.0, -2.0, 0.5]]])
    assert motion_tokens(zoomed, SIZE).tolist() == [[[1.0, -0.5, 0.5, 1.0]]]


@pytest.mark.parametrize("half", [False, True])
def test_a_model_folder_keeps_it(half, tmp_path):
    model = generator()
    made = editor(model)
    folder = save_model_folder(tmp_path / "m", model, editor=made, half=half)
    opened = open_model(folder)
    assert opened.networks == ("generator", "editor")
    again = opened.network("editor")
    assert again.config == made.config and not again.training
    assert not any(p.requires_grad for p in again.parameters())
    one, other = (each(*inputs(model)) for each in (made, again))
    assert torch.equal(one, other) if not half else (one - other).abs().max() < 0.01


@pytest.mark.parametrize(
    "change",
    [{"width": 1024}, {"heads": 3}, {"depth": 0}, {"layers": "4"}, {"depth": 10**9}, {"more": 1}],
)
def test_a_damaged_configuration_is_refused_before_memory_is_taken(change, tmp_path):
    model = generator()
    folder = save_model_folder(tmp_path / "m", model, editor=editor(model))
    description = json.loads((folder / "config.json").read_text())
    description["editor"] |= change
    del description["sha256"]["config.json"]
    (folder / "config.json").write_text(json.dumps(description))
    with pytest.raises(BrokenCheckpoint, match="configuration"):
        open_model(folder).network("editor")


def test_a_changed_file_and_one_that_does_not_open_alone_say_so(tmp_path):
    model = generator()
    folder = save_model_folder(tmp_path / "m", model, editor=editor(model))
    with pytest.raises(UserError, match="holds no dragline generator"):
        open_model(folder / "editor.safetensors").network("generator")
    data = bytearray((folder / "editor.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "editor.safetensors").write_bytes(data)
    with pytest.raises(BrokenCheckpoint, match="digest"):
        open_model(folder).network("editor")


def test_that_of_another_generator_is_refused():
    made = editor(generator())
    assert fitting(made, generator(seed=3)) is made
    for other in (generator(w_dim=8), generator(img_size=(16, 32)), generator(z_dim=5)):
        if other.w_dim != 6 or 16 not in other.synthesis.resolutions[:-1]:
            with pytest.raises(UserError):
                fitting(made, other)


@pytest.mark.parametrize("wrong", [{"resolution": 128}, {"layers": 99}])
def test_what_a_generator_does_not_have_is_refused(wrong):
    sizes = {"layers": 4, "resolution": 16, **wrong}
    with pytest.raises(UserError, match="the generator has"):
        LatentTransformer.new(generator(), **sizes)
