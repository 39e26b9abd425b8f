"""Drags by a network's predictions: hops, what stays, and models that have no such network."""

from dataclasses import replace

import pytest
import torch

from framework.drag.algorithm import drag_points, drag_state
from framework.drag.inputs import check_drag
from framework.drag.methods.latent_transformer import hops, preview, still_places, stretched
from framework.drag.session import DragSession
from framework.drag.settings import DragSettings
from framework.drag.stylegan2 import StyleGAN2
from framework.errors import UserError
from framework.formats import load_editor, load_generator
from framework.jobs.models import seed_latents
from framework.models.editors.latent_transformer import LatentTransformer
from tests.drag.fakes import ShiftGenerator
from tests.drag.test_drag_interface import HANDLE, TARGET, Card

SETTINGS = DragSettings.preset("latent-transformer")


class Without(Card):
    def predicted(self, view, points, moves):
        return None


class Mute(Card):
    """Its network never moves anything."""

    def predicted(self, view, points, moves):
        return torch.zeros(2)


class Broken(Card):
    def predicted(self, view, points, moves):
        return torch.full((2,), float("nan"))


class Asked(Card):
    """Remembers what its network was asked."""

    def __init__(self):
        self.asked = []

    def predicted(self, view, points, moves):
        self.asked.append((points.clone(), moves.clone()))
        return super().predicted(view, points, moves[: len(points)])


def dragged(card, mask=None, **changes):
    settings = replace(SETTINGS, **changes)
    return list(drag_state(card, torch.zeros(2), [HANDLE], [TARGET], mask, settings))


def test_it_arrives_in_hops_no_longer_than_what_the_tracker_searches():
    card = Asked()
    steps = dragged(card)
    assert steps[-1].arrived and (steps[-1].points - torch.tensor([TARGET])).norm() < 0.5
    lengths = [float(moves.norm(dim=1).max()) for _, moves in card.asked[1:]]
    assert max(lengths) <= 64 / 24 + 1e-4 and len(steps) == 1 + sum(x > 0.5 for x in lengths)
    short = Asked()
    dragged(short, tracking_radius_px=1, max_steps=3)
    assert max(float(moves.norm()) for _, moves in short.asked[1:]) <= 1 + 1e-4


def test_a_model_without_a_network_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"no latent transformer; train\.py fit .*editor/") as told:
        dragged(Without())
    assert "\n" not in str(told.value)
    generator = ShiftGenerator()
    with pytest.raises(UserError, match="no latent transformer"):
        drag_points(generator, generator.ws(), [(20, 20)], [(26, 20)], settings=SETTINGS)


def test_a_network_that_moves_nothing_is_stuck_and_one_of_nan_diverged():
    last = dragged(Mute())[-1]
    assert last.status == "stuck" and torch.equal(last.state, torch.zeros(2))
    assert last.confidence and last.max_distance_px == pytest.approx(8.06, abs=0.01)
    last = dragged(Broken())[-1]
    assert last.status == "diverged" and torch.equal(last.state, torch.zeros(2))


def test_the_result_is_the_best_of_the_way_not_the_last():
    class Overshoots(Card):
        def predicted(self, view, points, moves):
            return moves.mean(dim=0) if float(view.state.norm()) < 4 else -moves.mean(dim=0)

    steps = dragged(Overshoots())
    assert steps[-1].status == "stuck"
    assert steps[-1].max_distance_px <= min(step.max_distance_px for step in steps) / 0.95
    assert steps[-1].max_distance_px < steps[-2].max_distance_px


def test_what_the_mask_holds_is_asked_to_stay():
    mask = torch.zeros(48, 64)
    mask[:, :32] = 1
    card = Asked()
    dragged(card, mask, max_steps=1)
    points, moves = card.asked[1]
    assert len(points) == 1 + 8 and (points[1:, 0] >= 32).all() and not moves[1:].any()
    assert still_places(None, points).shape == (0, 2)


def test_hops_keep_their_direction_and_end_at_the_target():
    missing = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert torch.allclose(hops(missing, 2.5), torch.tensor([[1.5, 2.0], [0.3, 0.4], [0, 0]]))


def test_an_update_is_stretched_by_how_much_of_the_last_hop_was_real():
    asked = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert stretched(1.0, asked, asked) == 1.0
    assert stretched(1.2, 0.7 * asked, asked) == 1.2  # about as asked
    assert stretched(1.0, 0.6 * asked, asked) == pytest.approx(1 / 0.6)
    assert stretched(1.0, 0.1 * asked, asked) == 2.0  # at most doubled at once
    assert stretched(3.0, -asked, asked) == 4.0
    assert stretched(3.0, 5 * asked, asked) == 1.5 and stretched(1.2, 2 * asked, asked) == 1.0


def test_a_picture_that_goes_into_fog_is_not_the_result():
    class Fog(Card):
        """Fades beyond four pixels of shift."""

        def picture(self, state, view=None):
            return super().picture(state) * (0.1 if float(state.norm()) > 4 else 1.0)

    last = dragged(Fog())[-1]
    assert last.status == "stuck" and 1 < float(last.state.norm()) <= 4


@pytest.fixture
def edited():
    """A generator whose picture latents shift, and an untrained network for it."""
    generator = ShiftGenerator(num_ws=8, w_dim=4, channels=16)
    torch.manual_seed(0)
    editor = LatentTransformer(3, 4, 16, 32, width=16, heads=2, depth=1, hidden=16).eval()
    return generator, editor.requires_grad_(False)


@pytest.mark.parametrize(("layers", "space"), [(2, "w+"), (3, "w+"), (8, "w+"), (6, "w")])
def test_updates_have_the_shape_of_what_the_drag_moves(edited, layers, space):
    generator, editor = edited
    settings = DragSettings(feature_resolution=16, layers=layers, latent_space=space)
    model = StyleGAN2(generator, settings, editor=editor)
    view = model.view(model.own(generator.ws()))
    points, moves = torch.tensor([[20.0, 30.0]]), torch.tensor([[2.0, 0.0]])
    update = model.predicted(view, points, moves)
    assert update is not None and update.shape == model.trainable(view.state).shape
    features = generator.synthesis.partial(view.state, 32).x
    own = editor.update(view.state, features, points, moves, (64, 64))
    if space == "w":
        assert torch.allclose(update, own.mean(dim=1, keepdim=True))
    else:
        assert torch.allclose(update[:, :3], own[:, :layers]) and not update[:, 3:].any()


def test_sessions_and_previews_use_the_network(edited):
    generator, editor = edited
    settings = replace(SETTINGS, max_steps=1)
    session = DragSession(generator, generator.ws(), settings, editor=editor)
    session.set_points([(20, 30)], [(22, 30)])
    *_, last = session.run()
    assert last.step == 1
    model = StyleGAN2(generator, settings, editor=editor)
    drag = check_drag(model, generator.ws(), [(20, 30)], [(22, 30)])
    assert torch.equal(preview(model, drag)[:, :3], last.ws[:, :3]) or last.status == "stuck"
    assert not torch.equal(preview(model, drag), generator.ws())


@pytest.mark.parametrize(
    ("model", "seed", "handle", "target"),
    [("toycars64", 3, (22, 44), (24, 44)), ("vehicles64", 30, (40, 13), (42, 15))],
)
def test_the_shipped_networks_drag_without_a_gradient(model, seed, handle, target):
    generator, editor = load_generator(model), load_editor(model)
    ws = seed_latents(generator, seed)
    drag = list(drag_points(generator, ws, [handle], [target], settings=SETTINGS, editor=editor))
    assert drag[-1].arrived and drag[-1].max_distance_px <= 0.5 and len(drag) <= 13
    assert not drag[-1].ws.requires_grad and torch.equal(drag[-1].ws[:, 6:], ws[:, 6:])
    adapter = StyleGAN2(generator, SETTINGS, editor=editor)
    at_once = preview(adapter, check_drag(adapter, ws, [handle], [target]))
    assert not torch.equal(at_once[:, :6], ws[:, :6]) and torch.equal(at_once[:, 6:], ws[:, 6:])
