"""The drag is written against a protocol: something that is no StyleGAN2 is dragged like one."""

import ast
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

import framework.drag
from framework.drag.algorithm import drag_state
from framework.drag.interface import View
from framework.drag.registry import names
from framework.drag.settings import DragSettings
from framework.drag.statistics import Statistics, scales_of
from framework.errors import InvalidEdit

HANDLE, TARGET = (20.0, 30.0), (27.0, 26.0)
SETTINGS = DragSettings(
    motion_radius_px=3, tracking_radius_px=2, learning_rate=0.4, stop_distance_px=0.5, max_steps=60
)

TRACKERS = [name for name in names("trackers") if name not in ("raft", "pips")]  # have no weights


class Card:
    """A pattern that its state, (dx, dy) in pixels, shifts."""

    img_size, spread = (48, 64), 1.0

    def own(self, state):
        return state.detach().clone()

    def trainable(self, state):
        return state

    def moved(self, state, update):
        return state + update

    def view(self, state):
        leaf = state.detach().requires_grad_(torch.is_grad_enabled())
        return View(state, leaf, self.draw(leaf))

    def gradient(self, view, loss, keep=False):
        return torch.autograd.grad(loss, view.leaf, retain_graph=keep)[0]

    def picture(self, state, view=None):
        return self.draw(state)[:, :3]

    def showing(self, picture, state):
        """The shift by whole pixels that fits best where the picture has changed."""
        changed = (picture - self.picture(state)).abs().amax(dim=1, keepdim=True) > 0.1
        moves = [
            torch.tensor(move, dtype=torch.float32) for move in product(range(-8, 9), repeat=2)
        ]

        def misfit(move):
            return float(((self.picture(state + move) - picture).abs() * changed).sum())

        return state + min(moves, key=misfit)

    def finer(self, state):
        return None

    def maps(self, view):
        return [view.features]

    def statistics(self):
        return Statistics(torch.eye(2), torch.eye(2), scales_of([self.draw(torch.zeros(2))]))

    def predicted(self, view, points, moves):
        return moves.mean(dim=0)

    def realism(self, picture):
        return None

    def draw(self, state):
        rng = torch.Generator().manual_seed(0)
        waves = 0.6 * torch.randn(32, 2, generator=rng)
        y, x = torch.meshgrid(*map(torch.arange, self.img_size), indexing="ij")
        places = torch.stack([x, y], dim=-1) - state
        phases = 6.3 * torch.rand(32, generator=rng)
        return torch.sin(places @ waves.T / self.spread + phases).permute(2, 0, 1)[None]


def drag(settings, mask=None, **more):
    card, start = Card(), torch.zeros(2)
    return list(drag_state(card, start, [HANDLE], [TARGET], mask, settings, **more))


@pytest.mark.parametrize(("method", "tracker"), [*product(names("methods"), TRACKERS)])
def test_whatever_is_draggable_is_dragged_by_every_method_and_tracker(method, tracker):
    *_, last = drag(replace(SETTINGS, method=method, tracker=tracker))
    moved = torch.tensor(TARGET) - torch.tensor(HANDLE)
    # The public code stops at 2 px, and its points are whole pixels.
    stop_px, limit_px = (2, 2.75) if method == "official" else (0.5, 1)
    assert last.status in ("arrived", "lost") and last.max_distance_px <= stop_px
    if tracker == "off" and method != "official":  # it believes; the last look does not
        assert (last.status == "lost") == bool((last.state - moved).norm() > 2)
    else:
        assert last.arrived and (last.state - moved).norm() < limit_px
    assert torch.equal(last.image(), Card().picture(last.state))


def test_patches_are_found_like_single_features():
    *_, last = drag(replace(SETTINGS, template_radius_px=1))
    assert last.arrived and last.min_confidence > 0.5


def test_a_mask_holds_what_has_no_running_picture():
    mask = torch.zeros(48, 64)
    mask[20:, :40] = 1
    *_, last = drag(replace(SETTINGS, settle_steps=3), mask)
    assert last.arrived and last.settled == 3 and last.mask_loss > 0


def test_what_is_no_stylegan2_can_be_continued():
    whole = drag(replace(SETTINGS, max_steps=6, stop_distance_px=0.01))
    start = drag(replace(SETTINGS, max_steps=2, stop_distance_px=0.01))
    rest = drag(replace(SETTINGS, max_steps=4, stop_distance_px=0.01), resume_from=start[-1])
    for one, other in zip(whole, start[:-1] + rest, strict=True):
        assert torch.equal(one.state, other.state) and torch.equal(one.points, other.points)


def test_numbers_that_are_none_are_not_dragged():
    with pytest.raises(InvalidEdit, match="gives NaN"):
        next(drag_state(Card(), torch.full((2,), float("nan")), [HANDLE], [TARGET]))


ADAPTERS = {
    "stylegan2.py", "diffusion.py", "adapters.py", "algorithm.py", "session.py", "edit_file.py"
}  # fmt: skip


def test_only_adapters_know_what_a_stylegan2_is():
    words = re.compile(r"\b(ws|num_ws|synthesis|generator)\b", re.IGNORECASE)
    room = Path(framework.drag.__file__).parent
    for file in sorted({*room.rglob("*.py")} - {room / name for name in ADAPTERS}):
        code = ast.parse(file.read_text("utf-8"))
        known = {n.id for n in ast.walk(code) if isinstance(n, ast.Name)}
        known |= {n.attr for n in ast.walk(code) if isinstance(n, ast.Attribute)}
        assert not any(map(words.fullmatch, known)), file
