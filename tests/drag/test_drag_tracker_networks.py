"""Trackers that are networks: weights from files, coordinates, and what a missing file says."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.optical_flow import raft_small

from framework.drag import tracker_networks as networks
from framework.drag.algorithm import drag_state
from framework.drag.registry import named
from framework.drag.settings import DragSettings
from framework.drag.trackers import pips, raft
from framework.errors import UserError
from framework.models.tracking.pips import CHANNELS, PICTURES, STRIDE, Pips, correlations, encoded
from tests.drag.test_drag_interface import HANDLE, SETTINGS, TARGET, Card

SHIFT = torch.tensor([1.25, -2.5])  # pixels of the card's picture


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Random weights in the published layouts, by tracker."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), folder / "raft.pth")
    checkpoint = {"optimizer_state_dict": {"step": 3}, "model_state_dict": Pips().state_dict()}
    torch.save(checkpoint, folder / "pips.pth")
    return {"raft": folder / "raft.pth", "pips": folder / "pips.pth"}


@pytest.fixture(autouse=True)
def no_weights_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("DRAGLINE_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    networks._opened.cache_clear()


def settings(tracker, path=None, **more):
    weights = None if path is None else str(path)
    return replace(SETTINGS, tracker=tracker, tracker_weights=weights, **more)


def dragged(these):
    return list(drag_state(Card(), torch.zeros(2), [HANDLE], [TARGET], None, these))


@pytest.mark.parametrize("name", ["raft", "pips"])
def test_a_file_of_weights_opens_and_points_stay_in_the_picture(name, files, monkeypatch):
    monkeypatch.setattr(pips, "LEAST_PX", 96)  # less to compute
    steps = dragged(settings(name, files[name], max_steps=1))
    assert [step.step for step in steps] == [0, 1]
    first, last = steps
    assert first.points.tolist() == [list(HANDLE)] and first.drift == (0.0,)
    assert last.points.isfinite().all() and last.drift[0] > 0
    assert (last.points >= 0).all() and (last.points <= torch.tensor([63, 47])).all()


@pytest.mark.parametrize("name", ["raft", "pips"])
def test_weights_that_are_missing_are_one_line_that_names_the_setting(name):
    with pytest.raises(UserError, match=f"tracker {name} needs .* DRAGLINE_WEIGHTS") as error:
        dragged(settings(name))
    assert error.value.field == "tracker_weights" and "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"^tracker_weights nowhere\.pth: no such file"):
        dragged(settings(name, "nowhere.pth"))


@pytest.mark.parametrize("name", ["raft", "pips"])
def test_other_weights_are_refused(name, files):
    other = files["pips" if name == "raft" else "raft"]
    with pytest.raises(UserError, match=r"tracker_weights .*(not the weights|more than tensors)"):
        dragged(settings(name, other))


def test_weights_are_found_under_their_names(monkeypatch, files, tmp_path):
    (tmp_path / "pips.pth").write_bytes(b"")
    monkeypatch.setenv("DRAGLINE_WEIGHTS", str(tmp_path))
    assert networks.find("pips", pips.FILES, None) == tmp_path / "pips.pth"
    assert networks.find("pips", pips.FILES, str(files["pips"])) == files["pips"]


class KnownFlow(nn.Module):
    """Says that everything moved by `SHIFT`, in pixels of what it is given."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, first, now):
        assert first.shape == now.shape and all(side % 8 == 0 for side in now.shape[2:])
        assert first.shape[1] == 3 and min(first.shape[2:]) >= 128
        return [self.factor * SHIFT[None, :, None, None].expand(-1, -1, *now.shape[2:])]


class KnownWay(nn.Module):
    """Says that the points moved on by `SHIFT` in the last picture."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.fnet, self.windows = factor, nn.AvgPool2d(STRIDE), []

    def forward(self, maps, places, content):
        assert len(maps) == len(places) == PICTURES and content.shape == (len(places[0]), 3)
        self.windows.append((maps, places))
        return torch.cat([places[:-1], places[-1:] + self.factor * SHIFT / STRIDE])


@pytest.mark.parametrize(
    ("name", "stub", "factor"), [("raft", KnownFlow, 3), ("pips", KnownWay, 6)]
)
def test_moves_come_back_in_pixels_of_the_picture(name, stub, factor, monkeypatch):
    network = stub(factor)
    monkeypatch.setattr(networks, "opened", lambda *_: network)
    card, handles = Card(), torch.tensor([[20.5, 30.0], [63.0, 0.0]])
    view = card.view(torch.zeros(2))
    sizes = DragSettings().sizes(card.img_size, 2)
    tracker = named("trackers", name)(card, view, handles, sizes)
    points, drift = tracker.follow(view, handles, None)
    assert torch.equal(points, handles) and drift.tolist() == [0.0, 0.0]
    moved = card.view(SHIFT)
    points, drift = tracker.follow(moved, handles, torch.zeros(2, 2))
    torch.testing.assert_close(points, torch.tensor([[21.75, 27.5], [63.0, 0.0]]))
    assert drift[0] < 0.05 < drift[1]


def test_a_way_is_remembered_for_as_many_pictures_as_the_network_sees(monkeypatch):
    network = KnownWay(6)
    monkeypatch.setattr(networks, "opened", lambda *_: network)
    card, points = Card(), torch.tensor([[20.0, 30.0]])
    view = card.view(torch.zeros(2))
    tracker = pips.Tracker(card, view, points, DragSettings().sizes(card.img_size, 1))
    for _ in range(PICTURES + 1):
        points, _ = tracker.follow(view, points, torch.zeros(1, 2))
    _, first_places = network.windows[0]
    assert len(first_places.unique(dim=0)) == 1  # one picture, seen as if it lasted
    _, places = network.windows[-1]
    assert len(places.unique(dim=0)) == PICTURES - 1  # the last place is where it was before
    apart = (places[1:-1] - places[:-2])[:, 0] * STRIDE / 6
    torch.testing.assert_close(apart, SHIFT.expand(PICTURES - 2, 2))


def test_the_network_has_the_published_names_and_shapes():
    state = {name: tuple(tensor.shape) for name, tensor in Pips().state_dict().items()}
    for name, shape in {
        "fnet.conv1.weight": (64, 3, 7, 7),
        "fnet.layer1.0.conv1.weight": (64, 64, 3, 3),
        "fnet.layer2.0.downsample.0.weight": (96, 64, 1, 1),
        "fnet.layer4.1.conv2.bias": (128,),
        "fnet.conv2.weight": (256, 416, 3, 3),
        "fnet.conv3.weight": (128, 256, 1, 1),
        "delta_block.to_delta.0.weight": (512, 128 + 4 * 49 + 3 * 64 + 3),
        "delta_block.to_delta.1.0.fn.0.weight": (32, 8, 1),
        "delta_block.to_delta.12.0.fn.3.weight": (8, 32, 1),
        "delta_block.to_delta.12.1.fn.0.weight": (2048, 512),
        "delta_block.to_delta.12.1.norm.bias": (512,),
        "delta_block.to_delta.13.weight": (512,),
        "delta_block.to_delta.15.weight": (8 * 130, 512),
        "norm.weight": (128,),
        "ffeat_updater.0.weight": (128, 128),
        "vis_predictor.0.weight": (1, 128),
    }.items():
        assert state.pop(name) == shape, name
    layers = r"fnet\.(layer[1-4]\.[01]\.(conv[12]|downsample\.0)|conv[123])"
    mixers = r"delta_block\.to_delta\.(\d+|\d+\.[01]\.(fn\.[03]|norm))"
    known = re.compile(
        rf"({layers}|{mixers}|norm|ffeat_updater\.0|vis_predictor\.0)\.(weight|bias)"
    )
    assert all(map(known.fullmatch, state))


def test_correlations_equal_those_of_the_whole_map():
    maps, contents = torch.randn(2, 5, 9, 11), torch.randn(2, 1, 5)
    places = torch.tensor([[[4.0, 5.0]], [[1.0, 7.0]]])
    got = correlations(maps, places, contents)
    whole = torch.einsum("schw,skc->skhw", maps, contents) / 5**0.5
    for s, (x, y) in enumerate(places[:, 0].long().tolist()):
        wanted = [
            float(whole[s, 0, y + dy, x + dx]) if 0 <= x + dx < 11 and 0 <= y + dy < 9 else 0.0
            for dx in range(-3, 4)
            for dy in range(-3, 4)
        ]
        torch.testing.assert_close(got[s, 0], torch.tensor(wanted), atol=1e-5, rtol=1e-4)


def test_coordinates_are_encoded_by_sines_and_cosines_in_turns():
    code = encoded(torch.tensor([[[0.3, -0.2, 4.0]]]))[0, 0]
    assert code.shape == (3 * 64,)
    for axis, value in enumerate((0.3, -0.2, 4.0)):
        angle = torch.tensor(value * 2 * 1000 / 64)  # the second frequency
        torch.testing.assert_close(code[64 * axis + 2], angle.sin())
        torch.testing.assert_close(code[64 * axis + 3], angle.cos())


def test_the_first_place_of_a_way_is_kept():
    torch.manual_seed(0)
    network = Pips().requires_grad_(False)
    places = 5 + torch.rand(PICTURES, 2, 2)
    way = network(torch.randn(PICTURES, CHANNELS, 16, 16), places, torch.randn(2, CHANNELS))
    assert torch.equal(way[0], places[0]) and not torch.equal(way[1], places[1])


def test_raft_is_as_large_as_its_file(tmp_path):
    with pytest.raises(UserError, match="read safely"):
        (tmp_path / "raft.pth").write_bytes(b"nothing")
        raft.build(tmp_path / "raft.pth")
