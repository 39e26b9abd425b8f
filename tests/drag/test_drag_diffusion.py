"""Diffusion models are dragged like any other; the public code's faults are not here."""

from dataclasses import replace

import pytest
import torch

from framework.drag.adapters import draggable_of
from framework.drag.algorithm import drag_points
from framework.drag.diffusion import Diffusion
from framework.drag.edit_file import EditFile
from framework.drag.features import patches
from framework.drag.methods.dragdiffusion import NoisyHold, square_loss
from framework.drag.session import DragSession
from framework.drag.settings import PRESETS, DragSettings, usual_preset
from framework.errors import InvalidEdit, UserError
from framework.models.digest import state_digest
from tests.models.diffusion.tiny import tiny_generator

SETTINGS = replace(DragSettings.preset("diffusion"), max_steps=4)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("m") / "m")


@pytest.fixture(scope="module")
def ws(generator):
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return generator.mapping(z)


def drag(generator, ws, handles, targets, mask=None, settings=SETTINGS, **more):
    return list(drag_points(generator, ws, handles, targets, mask, settings, **more))


def test_its_gradient_is_that_of_finite_differences(generator, ws):
    model = Diffusion(generator.double())
    state = ws.double()
    view = model.view(state)
    loss = view.features.square().mean() + view.running.square().mean()  # type: ignore[union-attr]
    gradient = model.gradient(view, loss)
    assert gradient.shape == model.trainable(state).shape
    way = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1)).double()
    ends = []
    for sign in (1, -1):
        moved = model.view(model.moved(state, sign * 1e-5 * way))
        ends.append(moved.features.square().mean() + moved.running.square().mean())  # type: ignore[union-attr]
    assert float((ends[0] - ends[1]).detach() / 2e-5) == pytest.approx(
        float((gradient * way).sum()), 1e-5
    )
    generator.float()


def test_its_views_are_a_block_and_the_level_below(generator, ws):
    model, seen = Diffusion(generator), []
    block = list(generator.unet.up_blocks)[1]
    handle = block.register_forward_hook(lambda *a: seen.append(a[2]))
    x, _ = generator.parts(ws)
    output = generator.unet(x, generator.t).sample
    handle.remove()
    view = model.view(ws)
    assert torch.equal(view.features, seen[0])
    below = generator.schedule.step(x, output, generator.t, generator.before(generator.t))
    assert view.running is not None and torch.equal(view.running, below)
    assert [m.shape[1] for m in model.maps(view)] == [16, 12]


def test_only_the_noisy_picture_moves_and_the_model_is_only_read(generator, ws):
    before = state_digest(generator)
    last = drag(generator, ws, [(10, 12)], [(20, 12)])[-1]
    assert last.step == 4 and not torch.equal(last.ws[:, :12], ws[:, :12])
    assert torch.equal(last.ws[:, 12:], ws[:, 12:])
    assert state_digest(generator) == before
    assert all(p.grad is None for p in generator.parameters())


def test_far_from_the_handle_little_changes_with_a_common_scale(generator, ws):
    """Adam's own gives every place the same step, and the whole picture is repainted."""
    far, near = {}, {}
    for scale, rate in (("each", 0.05), ("common", 0.05)):
        settings = replace(SETTINGS, step_scale=scale, learning_rate=rate, max_steps=3)
        change = drag(generator, ws, [(6, 6)], [(12, 6)], settings=settings)[-1].ws - ws
        moved = change[:, :12].abs().unflatten(2, (16, 16)).mean(dim=1)[0]
        far[scale], near[scale] = float(moved[10:, 10:].mean()), float(moved[1:7, 1:7].mean())
    assert far["each"] > 0.5 * near["each"]
    assert far["common"] < 0.5 * near["common"] and far["common"] < 0.5 * far["each"]


def test_the_pull_moves_content_toward_the_target(generator, ws):
    """After a few steps the features a pixel on are nearer to those that were at the handle."""
    model = Diffusion(generator)
    handle, step = torch.tensor([[12.0, 16.0]]), torch.tensor([[1.0, 0.0]])
    before = model.view(ws).features.detach()
    steps = drag(generator, ws, [(12, 16)], [(24, 16)], settings=replace(
        SETTINGS, tracker="off", max_steps=2, learning_rate=0.01
    ))  # fmt: skip
    here = patches(before, handle, 3, (32, 32))

    def apart(features):
        return float((patches(features, handle + step, 3, (32, 32)) - here).abs().mean())

    assert apart(model.view(steps[1].ws).features.detach()) < apart(before)


@pytest.mark.parametrize(
    ("handle", "step"),
    [((0.0, 0.0), (-1.0, -1.0)), ((31.0, 31.0), (0.0, 0.0)), ((30.5, 0.2), (0.5, -0.2)),
     ((15.0, 31.0), (1.0, 0.0))],
)  # fmt: skip
def test_a_handle_at_the_rim_is_pulled(handle, step):
    """C27f. The public code's patches of different shapes: here both are cut alike."""
    features = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    features.requires_grad_(True)
    points, steps = torch.tensor([handle]), torch.tensor([step])
    loss = square_loss(features, points, steps, 3, (32, 32))
    assert loss.shape == (1,) and torch.isfinite(loss).all()
    (gradient,) = torch.autograd.grad(loss.sum(), features)
    assert torch.isfinite(gradient).all()


def test_the_loss_is_the_published_one_in_the_middle():
    """(2r + 1)² times the mean over square and channels."""
    features = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    loss = square_loss(features, torch.tensor([[10.0, 12.0]]), torch.tensor([[1.0, 0.0]]), 1,
                       (32, 32))  # fmt: skip
    square = features[0, :, 11:14, 9:12]
    ahead = features[0, :, 11:14, 10:13]
    assert float(loss) == pytest.approx(9 * float((ahead - square).abs().mean()), rel=1e-5)


def test_a_handle_keeps_its_fraction_of_a_pixel(generator, ws):
    """C27f. The public code rounds handles to whole pixels."""
    first = drag(generator, ws, [(10.4, 12.6)], [(20, 12)])[0]
    assert first.points.tolist() == [[pytest.approx(10.4), pytest.approx(12.6)]]
    features = Diffusion(generator).view(ws).features.detach()
    losses = [
        float(square_loss(features, torch.tensor([[x, 12.0]]), torch.ones(1, 2), 1, (32, 32)))
        for x in (10.0, 10.4)
    ]  # fmt: skip
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_without_a_mask_everything_may_change(generator, ws):
    """C27f. The public page holds everything where nothing is drawn."""
    model = Diffusion(generator)
    view = model.view(ws)
    loss = square_loss(view.features, torch.tensor([[10.0, 12.0]]), torch.ones(1, 2), 3, (32, 32))
    pulls = NoisyHold(model, None, view, SETTINGS).pulls(view, loss.sum())
    assert float(pulls.motion) == pytest.approx(float(loss)) and float(pulls.change) == 0


def test_a_point_that_has_arrived_is_still_held(generator, ws):
    """C27f. The public code leaves points within 2 pixels of their targets alone."""
    both = drag(generator, ws, [(10, 12), (24, 20)], [(20, 12), (25, 20)])
    one = drag(generator, ws, [(10, 12)], [(20, 12)])
    assert both[0].distance_px[1] == 1  # so it would not be pulled there …
    assert not torch.equal(both[1].ws, one[1].ws)  # … and is here


def test_a_mask_costs_what_the_paper_says(generator, ws):
    """λ times the sum of what changes of x_{t-1} outside of it."""
    model, mask = Diffusion(generator), torch.zeros(32, 32)
    mask[8:24, 8:24] = 1
    before = model.view(ws)
    update = torch.randn(1, 12, 256, generator=torch.Generator().manual_seed(3))
    now = model.view(model.moved(ws, 0.1 * update))
    pulls = NoisyHold(model, mask, before, SETTINGS).pulls(now, torch.zeros(()))
    outside = 1 - mask[::2, ::2]
    change = ((now.running - before.running).abs() * outside).sum()  # type: ignore[operator]
    assert float(pulls.motion) == pytest.approx(0.1 * float(change), rel=1e-5)
    assert float(pulls.change) > 0


def test_a_mask_keeps_the_rest(generator, ws):
    mask = torch.zeros(32, 32)
    mask[:, :16] = 1
    settings = replace(SETTINGS, max_steps=12, stop_distance_px=0.0)

    def outside(mask):
        last = drag(generator, ws, [(8, 16)], [(12, 16)], mask, settings)[-1]
        model = Diffusion(generator)
        change = model.view(last.ws).running - model.view(ws).running  # type: ignore[operator]
        return float(change[..., 9:].abs().mean())

    assert outside(mask) < 0.5 * outside(None)


def test_an_edit_is_written_read_and_gone_on_with(generator, ws, tmp_path):
    whole = drag(generator, ws, [(10, 12)], [(20, 12)])
    part = drag(generator, ws, [(10, 12)], [(20, 12)], settings=replace(SETTINGS, max_steps=2))
    EditFile.from_steps(part, generator, model_name="m", settings=SETTINGS).save(tmp_path / "e")
    edit = EditFile.load(tmp_path / "e")
    edit.check_model(generator)
    rest = list(edit.resume(generator, settings=replace(SETTINGS, max_steps=2)))
    assert torch.equal(rest[-1].ws, whole[-1].ws)


def test_a_session_drags_undoes_and_draws(generator, ws):
    session = DragSession(generator, ws, SETTINGS)
    session.add_point((10, 12), (20, 12))
    assert [step.step for step in session.run(2)] == [0, 1, 2]
    assert session.image().shape == (1, 3, 32, 32)
    session.undo(2)
    assert torch.equal(session.ws, ws)


@pytest.mark.parametrize("method", ["dragline", "latent-transformer"])
def test_a_method_for_styles_is_refused_in_one_line(generator, ws, method):
    with pytest.raises(UserError, match=rf"method {method}: needs the latents of a StyleGAN2"):
        drag_points(generator, ws, [(1, 1)], [(2, 2)], None, DragSettings.preset(method))


def test_latents_of_another_model_are_refused(generator):
    with pytest.raises(InvalidEdit, match=r"latents \(1, 10, 512\): this model takes"):
        draggable_of(generator).own(torch.zeros(1, 10, 512))


@pytest.mark.parametrize("preset", ["dragdiffusion", "draggan", "freedrag", "official"])
def test_other_methods_drag_it_too(generator, ws, preset):
    settings = replace(DragSettings.preset(preset), max_steps=2, feature_resolution=None)
    last = drag(generator, ws, [(10, 12)], [(20, 12)], settings=settings)[-1]
    assert last.step == 2 and torch.isfinite(last.ws).all()


def test_its_preset_is_chosen_by_the_model():
    assert usual_preset(True) in PRESETS and usual_preset(False) == "dragline"
