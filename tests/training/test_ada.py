"""The whole of ADA: strength, independence of samples, derivatives, the controller."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from framework.errors import UserError
from framework.training.stylegan2 import losses
from framework.training.stylegan2.ada import (
    CHANGES,
    SETS,
    AdaptiveAugment,
    AdaSettings,
    next_p,
    parse_changes,
    real_signs,
)

EVERYTHING = "bgcfnc"
ALONE = [*CHANGES, EVERYTHING]


def source(seed=0):
    return torch.Generator().manual_seed(seed)


# -------------------------------------------------------------------------------------- names


def test_sets_by_name():
    assert list(parse_changes("bg")) == [
        *("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac")
    ]
    for smaller, larger in zip(list(SETS), list(SETS)[1:], strict=False):
        assert set(SETS[smaller]) < set(SETS[larger])
    assert set(parse_changes("bgc")) - set(SETS["bg"]) == {
        *("brightness", "contrast", "lumaflip", "hue", "saturation")
    }
    assert tuple(SETS[EVERYTHING]) == CHANGES
    assert parse_changes("xflip, hue") == {"xflip": 1.0, "hue": 1.0}
    assert parse_changes("") == {}


@pytest.mark.parametrize("text", ["bgx", "xflip;hue", "flip", "BGC"])
def test_unknown_names_are_refused(text):
    with pytest.raises(UserError, match="choose bg, bgc, bgcf, bgcfn, bgcfnc or names") as caught:
        parse_changes(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: AdaptiveAugment((8, 8), 3, {"hue": 1.5}),
        lambda: AdaptiveAugment((8, 8), 3, {"turn": 1.0}),
        lambda: AdaptiveAugment((8, 8), 2, "bgc"),
        lambda: AdaptiveAugment((8, 8), 3, p=1.1),
        lambda: AdaptiveAugment((8, 8), 3, p=float("nan")),
        lambda: AdaSettings(target=1.0),
        lambda: AdaSettings(interval=0),
        lambda: AdaSettings(ada_kimg=0),
        lambda: AdaSettings(p_max=1.5),
    ],
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(UserError, match=r"^ada\b") as caught:
        build()
    assert "\n" not in str(caught.value)


def test_only_what_is_asked_for_exists():
    def stages(changes):
        return [type(stage).__name__ for stage in AdaptiveAugment((8, 8), 3, changes).stages]

    assert stages(EVERYTHING) == ["Geometry", "Color", "Filter", "Noise", "Cutout"]
    assert stages("bgcf") == ["Geometry", "Color", "Filter"]
    assert stages("cutout,hue") == ["Color", "Cutout"]
    assert stages({"noise": 0.0}) == []
    # Whole pixels alone need no doubled resolution.
    assert AdaptiveAugment((8, 8), 3, "xflip,rotate90,xint").stages[0].warp is None
    assert AdaptiveAugment((8, 8), 3, "bg").stages[0].warp is not None


# ------------------------------------------------------------------------------------ pictures


def test_p_zero_costs_nothing():
    images, rng = torch.randn(2, 3, 16, 16), source()
    before = rng.get_state()
    assert AdaptiveAugment((16, 16), 3, EVERYTHING)(images, rng) is images
    assert torch.equal(rng.get_state(), before)
    off = AdaptiveAugment((16, 16), 3, dict.fromkeys(CHANGES, 0.0), p=1.0)
    assert off(images, rng) is images


@pytest.mark.parametrize("changes", ALONE)
def test_samples_on_which_nothing_acts_keep_every_bit(changes):
    """All stages run, as for a sample that is spared while others are not."""
    images = torch.randn(4, 3, 16, 16)
    augmenter = AdaptiveAugment((16, 16), 3, changes, p=0.5)
    augmenter.p.zero_()
    assert torch.equal(augmenter(images, source()), images)


@pytest.mark.parametrize("changes", ALONE)
def test_every_change_is_seen(changes):
    images = torch.randn(8, 3, 16, 16)
    changed = AdaptiveAugment((16, 16), 3, changes, p=1.0)(images, source())
    share = (changed != images).flatten(1).any(1).float().mean()
    assert share >= 0.25
    assert changed.shape == images.shape and changed.isfinite().all()


def test_blits_alone_move_whole_pixels():
    """Every pixel of the result is one of the picture."""
    images = torch.arange(4 * 12 * 12.0).reshape(4, 1, 12, 12)
    moved = AdaptiveAugment((12, 12), 1, "xflip,rotate90,xint", p=1.0)(images, source())
    assert not torch.equal(moved, images)
    for n in range(4):
        assert set(moved[n].flatten().tolist()) <= set(images[n].flatten().tolist())


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (33, 8)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sizes_and_channels(size, channels):
    images = torch.rand(3, channels, *size) * 2 - 1
    changed = AdaptiveAugment(size, channels, EVERYTHING, p=0.8)(images, source())
    assert changed.shape == images.shape and changed.isfinite().all()
    with pytest.raises(ValueError, match="expected"):
        AdaptiveAugment(size, channels, p=0.5)(images[:, :, :-1], source())


def test_the_source_decides():
    images = torch.randn(4, 3, 16, 16)
    augmenter = AdaptiveAugment((16, 16), 3, EVERYTHING, p=0.6)
    first = augmenter(images, source(1))
    assert torch.equal(first, augmenter(images, source(1)))
    assert not torch.equal(first, augmenter(images, source(2)))
    same = augmenter(images[:1].expand(4, 3, 16, 16), source(1))
    assert all(not torch.equal(same[0], other) for other in same[1:])


def test_samples_do_not_know_of_each_other():
    images = torch.randn(4, 3, 16, 16)
    augmenter = AdaptiveAugment((16, 16), 3, EVERYTHING, p=0.8)
    others = images.clone()
    others[0] = 1e4
    one, two = augmenter(images, source()), augmenter(others, source())
    torch.testing.assert_close(one[1:], two[1:], atol=0, rtol=0)
    draws = augmenter.draw(4, source())
    for n in range(4):
        own = [_sample(draw, n) for draw in draws]
        torch.testing.assert_close(
            augmenter.apply_draws(images[n : n + 1], own)[0], one[n], atol=1e-5, rtol=1e-5
        )


def _sample(draw, n):
    if isinstance(draw, torch.Tensor):
        return draw[n : n + 1]
    return type(draw)(*(value[n : n + 1] for value in draw))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_worked_on_in_single(dtype):
    images = (torch.rand(4, 3, 16, 16) * 2 - 1).to(dtype)
    augmenter = AdaptiveAugment((16, 16), 3, EVERYTHING, p=0.8)
    changed = augmenter(images, source())
    assert changed.dtype == dtype
    assert torch.equal(changed, augmenter(images.float(), source()).to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augmenter(images.float(), source()).to(dtype), changed)


def test_extremes_stay_finite():
    augmenter = AdaptiveAugment((8, 8), 3, EVERYTHING, p=1.0)
    for size in (0.0, 1.0, 1e6):
        images = (torch.randn(500, 3, 8, 8) * size).requires_grad_()
        changed = augmenter(images, source(3))
        (grads,) = torch.autograd.grad(changed.square().mean(), images)
        assert changed.isfinite().all() and grads.isfinite().all()


class _Recorder(TorchDispatchMode):
    """Every operation with the shapes that it gives."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        shape = tuple(result.shape) if isinstance(result, torch.Tensor) else None
        self.calls.append((str(func), shape))
        return result


def test_no_host_sync_and_no_shape_that_depends_on_a_draw():
    images = torch.randn(3, 3, 16, 16)
    recorded = []
    for seed, p in ((0, 0.1), (1, 0.9)):
        augmenter = AdaptiveAugment((16, 16), 3, EVERYTHING, p=p)
        with _Recorder() as recorder:
            augmenter(images, source(seed))
        recorded.append(recorder.calls)
    assert recorded[0] == recorded[1]
    names = {name for name, _ in recorded[0]}
    assert len(names) > 30
    waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal")
    assert not [name for name in names if any(wait in name.split(".") for wait in waits)]


def test_what_was_drawn_is_done_in_one_graph():
    images = torch.randn(3, 3, 16, 16, requires_grad=True)
    augmenter = AdaptiveAugment((16, 16), 3, EVERYTHING, p=0.7)
    draws = augmenter.draw(3, source())
    compiled = torch.compile(augmenter.apply_draws, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images, draws), augmenter.apply_draws(images, draws))


# --------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("changes", ["xflip,rotate90,xint", "bg", "bgc", "filter", "noise,cutout"])
def test_differentiable_twice(changes):
    augmenter = AdaptiveAugment((8, 8), 3, changes, p=0.9)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    draws = augmenter.draw(2, source())

    def change(images):
        return augmenter.apply_draws(images, draws).pow(3)

    assert gradcheck(change, images, fast_mode=True)
    assert gradgradcheck(change, images, fast_mode=True)


def test_gradients_reach_the_picture():
    images = torch.randn(50, 3, 16, 16, requires_grad=True)
    augmenter = AdaptiveAugment((16, 16), 3, EVERYTHING, p=0.5)
    (grads,) = torch.autograd.grad(augmenter(images, source()).square().sum(), images)
    assert grads.isfinite().all() and (grads.flatten(1) != 0).any(1).all()


def judge(weights, images):
    """A small critic, smooth so that its second derivatives count."""
    hidden = F.softplus(F.conv2d(images, weights[0], stride=2))
    return (F.softplus(hidden.flatten(1) @ weights[1]) * weights[2]).sum(1)


def small_critic(dtype):
    rng = source(7)
    shapes = (4, 3, 3, 3), (4 * 3 * 3, 5), (5,)
    return [
        torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    ]


@pytest.mark.parametrize("changes", ["bgc", EVERYTHING])
# H6
def test_r1_through_ada_is_a_dense_jacobian_s(changes):
    """ADA is affine in the picture, y = J x + b, so R1 is |J^T dD/dy|^2, J from unit pictures."""
    augmenter = AdaptiveAugment((8, 8), 3, changes, p=0.8)
    draws = augmenter.draw(3, source(5))
    images = torch.randn(3, 3, 8, 8, requires_grad=True)
    weights = small_critic(torch.float32)
    logits = judge(weights, augmenter.apply_draws(images, draws))
    penalty = losses.r1_penalty(logits, images)
    grads = torch.autograd.grad(penalty.sum(), weights)

    exact = small_critic(torch.float64)
    expected = []
    for n in range(3):
        own = [_sample(draw, n) for draw in draws]
        apply = partial(_repeated, augmenter, own)
        base = apply(torch.zeros(1, 192, dtype=torch.float64))
        jacobian = (apply(torch.eye(192, dtype=torch.float64)) - base).T
        shown = (base[0] + jacobian @ images[n].detach().double().flatten()).requires_grad_()
        logit = judge(exact, shown.view(1, 3, 8, 8)).sum()
        (slope,) = torch.autograd.grad(logit, shown, create_graph=True)
        expected.append((jacobian.T @ slope).square().sum())
    torch.testing.assert_close(penalty.double(), torch.stack(expected), rtol=1e-4, atol=1e-4)
    for grad, reference in zip(
        grads, torch.autograd.grad(torch.stack(expected).sum(), exact), strict=True
    ):
        torch.testing.assert_close(
            grad.double(), reference, rtol=1e-3, atol=1e-4 * float(reference.abs().max())
        )


def _repeated(augmenter, draw, flat):
    """One sample's draw on many pictures (K, 192)."""

    def many(value):
        return value.expand(len(flat), *value.shape[1:])

    draws = [
        many(d) if isinstance(d, torch.Tensor) else type(d)(*(many(value) for value in d))
        for d in draw
    ]
    return augmenter.apply_draws(flat.view(-1, 3, 8, 8), draws).flatten(1)


@pytest.mark.gpu
def test_cuda_does_what_was_drawn_as_the_cpu_does():
    augmenter = AdaptiveAugment((64, 64), 3, EVERYTHING, p=0.7)
    draws = augmenter.draw(8, source())
    there = [
        d.cuda() if isinstance(d, torch.Tensor) else type(d)(*(value.cuda() for value in d))
        for d in draws
    ]
    results = []
    for module, drawn, device in (
        (augmenter, draws, "cpu"),
        (copy.deepcopy(augmenter).cuda(), there, "cuda"),
    ):
        images = torch.randn(8, 3, 64, 64, generator=source(1)).to(device).requires_grad_()
        changed = module.apply_draws(images, drawn)
        (grads,) = torch.autograd.grad(changed.pow(3).sum(), images, create_graph=True)
        (second,) = torch.autograd.grad(grads.square().sum(), images)
        results.append([value.detach().cpu() for value in (changed, grads, second)])
    for here, other in zip(*results, strict=True):
        scale = float(here.abs().max())
        torch.testing.assert_close(other / scale, here / scale, atol=1e-3, rtol=0)


# ---------------------------------------------------------------------------------- controller


# H9
def test_direction_and_speed():
    settings = AdaSettings(target=0.6, ada_kimg=500)
    step = 256 / 500_000
    assert next_p(0.3, 0.7 * 256, 256, settings) == pytest.approx(0.3 + step)
    assert next_p(0.3, 0.5 * 256, 256, settings) == pytest.approx(0.3 - step)
    assert next_p(0.3, -256, 256, settings) == pytest.approx(0.3 - step)
    # However far off, the step is that of the pictures seen: 500 kimg from 0 to 1.
    assert next_p(0.0, 256, 256, settings) == pytest.approx(step)
    assert next_p(0.3, 256, 256, AdaSettings(ada_kimg=100)) == pytest.approx(0.3 + 5 * step)
    halves = AdaSettings(target=0.5)
    assert next_p(0.3, 0.5 * 256, 256, halves) == 0.3


# H9
def test_clamped_at_both_ends():
    fast = AdaSettings(ada_kimg=0.1, p_max=0.8)
    assert next_p(0.75, 64, 64, fast) == 0.8
    assert next_p(0.02, -64, 64, fast) == 0.0
    assert next_p(0.75, 64, 64, AdaSettings(ada_kimg=0.1, p_max=0.3)) == 0.3


@pytest.mark.parametrize(("total", "count"), [(float("nan"), 8.0), (float("inf"), 8.0), (0.0, 0.0)])
def test_p_stays_where_nothing_finite_was_seen(total, count):
    assert next_p(0.4, total, count, AdaSettings(ada_kimg=0.1)) == 0.4


def test_signs_are_counted_and_detached():
    logits = torch.tensor([[2.0], [-0.1], [3.0], [0.0]], requires_grad=True)
    assert real_signs(logits).tolist() == [1.0, 4.0]
    assert not real_signs(logits).requires_grad


def test_a_run_takes_p_up_at_the_set_speed():
    """64 batches of 8 at 1 kimg: p has risen by 0.512, in steps of 4 batches."""
    augmenter, settings = AdaptiveAugment((8, 8), 3), AdaSettings(ada_kimg=1.0, interval=4)
    seen = []
    for batch in range(1, 65):
        augmenter.observe(real_signs(torch.ones(8, 1)))
        if batch % settings.interval == 0:
            augmenter.adapt(settings)
        seen.append(augmenter.strength)
    assert seen[2] == 0 and seen[3] == pytest.approx(0.032)
    assert seen[-1] == pytest.approx(0.512) and len(set(seen)) == 17
    assert float(augmenter.p) == augmenter.strength
    for _ in range(100):
        augmenter.observe(real_signs(-torch.ones(8, 1)))
        augmenter.adapt(settings)
    assert augmenter.strength == 0 and float(augmenter.p) == 0


@pytest.mark.parametrize("p_max", [0.3, 0.7, 0.8])
def test_the_limit_is_noticed(p_max):
    augmenter, settings = AdaptiveAugment((8, 8), 3), AdaSettings(ada_kimg=0.01, p_max=p_max)
    assert not augmenter.at_limit(settings)
    augmenter.observe(real_signs(torch.ones(10, 1)))
    augmenter.adapt(settings)
    assert augmenter.at_limit(settings) and augmenter.strength == pytest.approx(p_max)


def test_two_processes_summed_are_one():
    logits = torch.randn(32, 1) + 0.8
    halves = real_signs(logits[:16]) + real_signs(logits[16:])
    assert torch.equal(halves, real_signs(logits))


def test_state_survives_a_checkpoint():
    settings = AdaSettings(ada_kimg=0.7)
    run = AdaptiveAugment((8, 8), 3)
    for _ in range(3):
        run.observe(real_signs(torch.ones(10, 1)))
        run.adapt(settings)
    run.observe(real_signs(torch.ones(10, 1)))  # in the middle of an interval
    assert set(run.state_dict()) == {"p", "signs"}
    resumed = torch.nn.Sequential(AdaptiveAugment((8, 8), 3))
    resumed.load_state_dict({f"0.{k}": v.clone() for k, v in run.state_dict().items()})
    assert resumed[0].strength == run.strength > 0
    for augmenter in (run, resumed[0]):
        augmenter.observe(real_signs(-torch.ones(2, 1)))
        augmenter.adapt(settings)
    assert resumed[0].strength == run.strength
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(resumed[0](images, source()), run(images, source()))
