"""What each phase differentiates, for every choice of loss and regularisation."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

import framework.training.stylegan2.module as module_file
from framework.errors import UserError
from framework.formats import load_discriminator, load_generator, save_model_folder
from framework.formats.nvidia_writer import write_nvidia
from framework.formats.run_checkpoint import latest_whole
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.fade import without_fade
from framework.training.callbacks import RunCheckpoints
from framework.training.data import Batch
from framework.training.phases import Micro
from framework.training.randomness import keyed_generator
from framework.training.same_run import check_same_run
from framework.training.stylegan2 import game
from framework.training.stylegan2.module import StyleGAN2Training
from framework.training.stylegan2.state import ema_names, fitted
from tests.training.tiny import tiny_module, train

CPU, EYE = torch.device("cpu"), torch.eye(2)


def assembled(c_dim: int = 0, batch: int = 4, **settings: Any) -> StyleGAN2Training:
    """A training's networks and phases, without a trainer."""
    module = tiny_module(**settings)
    module.assemble((16, 16), 3, c_dim, CPU, batch)
    return module


def some_batch(n: int = 4, c_dim: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=rng)
    labels = torch.eye(c_dim)[torch.arange(n) % c_dim] if c_dim else torch.zeros(n, 0)
    return Batch(images, labels, 0)


def rng() -> torch.Generator:
    return keyed_generator("cpu", 1)


def listed(module: StyleGAN2Training) -> list[tuple[str, str, str, int]]:
    networks = {id(module.generator): "G", id(module.discriminator): "D"}
    return [(p.name, p.timing, networks[id(p.network)], p.interval) for p in module.phases]


def test_path_length_is_a_phase_of_the_generators_and_nothing_without_weight():
    module = assembled(pl_weight=2.0)
    assert listed(module) == [
        ("Gmain", "Gmain", "G", 1), ("Gpl", "Greg", "G", 4),
        ("Dmain", "Dmain", "D", 1), ("Dr1", "Dreg", "D", 4),
    ]  # fmt: skip
    without = assembled()
    assert [phase.name for phase in without.phases] == ["Gmain", "Dmain", "Dr1"]
    extra = set(module.state_dict()) - set(without.state_dict())
    assert extra == {"path_length.mean.value", "path_length.mean.weight"}


def test_path_length_sees_a_share_of_the_samples_and_makes_up_for_it():
    module = assembled(pl_weight=3.0, pl_interval=8)
    module.path_length.mean.value.fill_(0.7)
    loss = module.phase_loss("Gpl", some_batch(5), rng())
    source = rng()
    micro = Micro(some_batch(5).pictures, torch.zeros(2, 0), source)  # two of the five
    images, ws, _ = module.game.fakes(micro)
    noise = torch.randn(2, 3, 16, 16, generator=source) / 16
    lengths = []
    for i in range(2):
        grads = torch.autograd.grad((images[i] * noise[i]).sum(), ws, retain_graph=True)[0][i]
        lengths.append(sum(float(row.square().sum()) for row in grads) / len(grads))
    penalty = sum((length**0.5 - 0.7) ** 2 for length in lengths) / 2
    assert loss.item() == pytest.approx(3.0 * 8 * 5 * penalty, rel=1e-4)


def test_path_length_slows_the_generators_optimizer():
    module = assembled(pl_weight=2.0, pl_interval=4, lr=0.0025, r1_gamma=0)
    g, d = (made.param_groups[0] for made in module.configure_optimizers())
    assert g["lr"] == pytest.approx(0.0025 * 4 / 5)
    assert g["betas"] == (0.0, pytest.approx(0.99 ** (4 / 5)))
    assert (d["lr"], d["betas"]) == (0.0025, (0.0, 0.99))


def test_the_discriminator_may_learn_at_a_rate_of_its_own():
    module = assembled(lr=0.001, discriminator_lr=0.004, r1_gamma=0)
    g, d = (made.param_groups[0]["lr"] for made in module.configure_optimizers())
    assert (g, d) == (0.001, 0.004)


def saved(tmp_path: Path, images: int = 8, **settings: Any) -> Path:
    """A checkpoint of a training with `settings`."""
    train(tiny_module(**settings), images, callbacks=(RunCheckpoints(tmp_path, 1, 1, keep=1),))
    checkpoint = latest_whole(tmp_path)
    assert checkpoint is not None
    return checkpoint


def test_a_run_goes_on_with_regularisation_that_its_checkpoint_knows_nothing_of(tmp_path):
    module = tiny_module(pl_weight=2.0)
    trainer = train(module, 12, checkpoint=saved(tmp_path))
    assert module.seen_images == 12 and trainer.global_step == 3
    assert module.path_length.mean.value.item() == 0  # its turn comes at the fifth batch
    assert len(trainer.optimizers[0].state) == len(list(module.generator.parameters()))


def test_a_run_goes_on_without_regularisation_that_its_checkpoint_had(tmp_path):
    module = tiny_module()
    train(module, 12, checkpoint=saved(tmp_path, pl_weight=2.0))
    assert module.seen_images == 12 and module.path_length is None


def test_a_run_goes_on_at_the_speed_of_todays_settings(tmp_path):
    """H11: the advice to a training that diverges is a lower learning rate."""
    module = tiny_module(lr=1e-5, betas=(0.5, 0.9), r1_interval=8, pl_weight=2.0)
    trainer = train(module, 12, checkpoint=saved(tmp_path))
    g, d = (optimizer.param_groups[0] for optimizer in trainer.optimizers)
    assert (g["lr"], d["lr"]) == pytest.approx((1e-5 * 4 / 5, 1e-5 * 8 / 9))
    assert (g["betas"], d["betas"]) == (
        pytest.approx((0.5**0.8, 0.9**0.8)),
        pytest.approx((0.5 ** (8 / 9), 0.9 ** (8 / 9))),
    )


def test_only_what_lies_beside_the_networks_may_be_missing():
    ours = {"generator.a": 1, "discriminator.b": 1, "path_length.c": 1, "augmenter.d": 1}
    held = {"generator.a": 2, "augmenter.d": 2, "gone.e": 2}
    assert fitted(held, ours) == {"generator.a": 2, "path_length.c": 1, "augmenter.d": 2}


@pytest.mark.parametrize(
    ("held_kimg", "our_kimg", "expected"),
    [
        ([5, 10.5], [5, 10.5], {"generator_ema.a": 5, "generator_ema_10_5.a": 10.5}),
        ([5, 10.5], [10.5, 20], {"generator_ema.a": 10.5, "generator_ema_20.a": 5}),
        ([5, 10.5], [20], {"generator_ema.a": 5}),
        ([5], [5, 20], {"generator_ema.a": 5, "generator_ema_20.a": 5}),
        ([], [5, 20], {"generator_ema.a": 5, "generator_ema_20.a": 5}),  # of an older version
    ],
)
def test_averages_are_found_by_their_half_life_and_new_ones_go_on_from_the_first(
    held_kimg, our_kimg, expected
):
    held = {"generator_ema.a": 5, "generator_ema_10_5.a": 10.5}
    ours = dict.fromkeys((f"{name}.a" for name in ema_names(our_kimg)), 0)
    assert fitted(held, ours, held_kimg, our_kimg) == expected


def test_a_run_goes_on_with_other_averages(tmp_path):
    module = tiny_module(ema_kimg=[20.0, 0.001], lr=1e-12, ema_rampup=None)
    path = saved(tmp_path, ema_kimg=[5.0, 20.0], ema_rampup=None)
    held = torch.load(path, weights_only=True)["state_dict"]
    train(module, 12, checkpoint=path)
    name, first = "synthesis.b4.const", held["generator_ema.synthesis.b4.const"]
    second, now = held[f"generator_ema_20.{name}"], held[f"generator.{name}"]
    assert not torch.equal(first, second)
    # A batch hardly moves what forgets within 20 kimg, and all of what forgets within an image.
    torch.testing.assert_close(module.generator_ema.synthesis.b4.const, second, atol=1e-6, rtol=0)
    fast = module.get_submodule("generator_ema_0_001").synthesis.b4.const
    beta = 0.5**4
    torch.testing.assert_close(fast, first * beta + now * (1 - beta))


@pytest.mark.parametrize(
    ("settings", "lazy", "d_ratio"),
    [
        ({"loss": "hinge", "r1_interval": None}, [("Dr1", 16)], 16 / 17),
        ({"loss": "relativistic", "r1_interval": None}, [], 1),
        ({"loss": "relativistic", "r1_interval": 8}, [("Dr1", 8)], 8 / 9),
        ({"loss": "relativistic", "r1_gamma": 0}, [], 1),
        ({"loss": "wgan-gp"}, [], 1),
        ({"loss": "hinge", "r1_gamma": 0, "pl_weight": 1.0}, [("Gpl", 4)], 1),
    ],
)
def test_each_loss_has_its_penalty_in_its_place(settings, lazy, d_ratio):
    module = assembled(lr=1.0, **settings)
    assert [(p.name, p.interval) for p in module.phases if p.lazy] == lazy
    assert module.configure_optimizers()[1].param_groups[0]["lr"] == pytest.approx(d_ratio)


def softplus(x: torch.Tensor) -> torch.Tensor:
    return torch.log1p(x.exp())


NAIVE = {
    "nonsaturating": (lambda f, r: softplus(-f), lambda f, r: softplus(f) + softplus(-r)),
    "hinge": (lambda f, r: -f, lambda f, r: (1 + f).clamp(min=0) + (1 - r).clamp(min=0)),
    "wgan-gp": (lambda f, r: -f, lambda f, r: f - r),
    "relativistic": (lambda f, r: softplus(r - f), lambda f, r: softplus(f - r)),
}


def slopes(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Length of each sample's own gradient, one after another."""
    grads = [torch.autograd.grad(logit, images, retain_graph=True)[0] for logit in logits]
    return torch.stack([grad[i].square().sum().sqrt() for i, grad in enumerate(grads)])


@pytest.mark.parametrize("loss", NAIVE)
def test_main_phases_compute_the_loss_and_its_penalty(loss):
    """Without statistics over the batch, so that each sample has a gradient of its own."""
    module = assembled(
        loss=loss, augment="color,translation", mbstd_group_size=0, r1_interval=None,
        r1_gamma=None if loss == "wgan-gp" else 3.0, gp_weight=5.0,
    )  # fmt: skip
    generator, discriminator = NAIVE[loss]
    play, micro = module.game, Micro(some_batch().pictures, torch.zeros(4, 0), rng())
    fake = play.fakes(micro)[0].detach().requires_grad_()
    f = play.judge(fake, micro).logits
    real = play.reals(micro).requires_grad_()
    r = play.judge(real, micro).logits
    expected = discriminator(f, r).sum()
    if loss == "relativistic":
        expected = expected + 3.0 / 2 * (slopes(f, fake) ** 2 + slopes(r, real) ** 2).sum()
    if loss == "wgan-gp":
        share = torch.rand(4, 1, 1, 1, generator=micro.rng)
        between = (share * real + (1 - share) * fake).detach().requires_grad_()
        expected = (
            expected + 5.0 * (slopes(play.judge(between, micro).logits, between) - 1).square().sum()
        )
    got = module.phase_loss("Dmain", some_batch(), rng())
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)

    micro = Micro(some_batch().pictures, torch.zeros(4, 0), rng())
    f = play.judge(play.fakes(micro)[0], micro).logits
    r = play.judge(play.reals(micro), micro).logits
    got = module.phase_loss("Gmain", some_batch(), rng())
    torch.testing.assert_close(got, generator(f, r).sum(), rtol=1e-4, atol=1e-5)


def test_lazy_penalties_make_up_for_the_batches_without_them():
    settings = {"r1_gamma": 3.0, "r1_interval": 8, "mbstd_group_size": 0, "mirror": False}
    module = assembled(loss="relativistic", **settings)
    play, micro = module.game, Micro(some_batch().pictures, torch.zeros(4, 0), rng())
    real = play.reals(micro).requires_grad_()
    squares = slopes(play.judge(real, micro).logits, real) ** 2
    expected = 8 * 3.0 / 2 * squares.sum()
    got = assembled(**settings).phase_loss("Dr1", some_batch(), rng())
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    fake = play.fakes(micro)[0].detach().requires_grad_()
    expected = expected + 8 * 3.0 / 2 * (slopes(play.judge(fake, micro).logits, fake) ** 2).sum()
    got = module.phase_loss("Dr1", some_batch(), rng())
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_wgan_gp_takes_no_r1():
    with pytest.raises(UserError, match=r"^regularization\.r1_gamma 0\.5: .*gp_weight"):
        tiny_module(loss="wgan-gp", r1_gamma=0.5)
    tiny_module(loss="wgan-gp", r1_gamma=0)


def test_lecam_adds_its_share_and_moves_its_anchors_after_the_step():
    module = assembled(lecam_weight=0.3)
    module.lecam.anchors.update(torch.tensor([-3.0, 3.0]))
    before, batch = module.lecam.anchors.value.clone(), some_batch()
    got = module.phase_loss("Dmain", batch, rng()) - assembled().phase_loss("Dmain", batch, rng())
    micro = Micro(batch.pictures, batch.labels, rng())
    f = module.game.judge(module.game.fakes(micro)[0], micro).logits
    r = module.game.judge(module.game.reals(micro), micro).logits
    expected = 0.3 * ((r + 3).clamp(min=0) ** 2 + (3 - f).clamp(min=0) ** 2).sum()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(module.lecam.anchors.value, before)
    train(module := tiny_module(lecam_weight=0.3), 4)
    share = module.lecam.anchors.value / 0.01
    reported = module.stats.collect()
    assert share[1].item() == pytest.approx(reported["Loss/scores/real"]["mean"], abs=1e-4)
    assert reported["Loss/lecam"]["num"] == 4 and share[0] != 0


@pytest.mark.parametrize("loss", NAIVE)
def test_a_training_with_each_loss_moves_all_weights_and_reports_its_penalty(loss):
    module = tiny_module(loss=loss, r1_interval=None, pl_weight=2.0, lecam_weight=0.1)
    trainer = train(module, 8)
    assert trainer.global_step == module.batches_seen == 2  # whatever the phases
    begun = assembled(loss=loss)
    for name, value in module.discriminator.named_parameters():
        assert value.isfinite().all()
        assert not torch.equal(value, begun.discriminator.get_parameter(name)), name
    reported = module.stats.collect()
    of_penalty = {
        "relativistic": {"Loss/r1_penalty", "Loss/r2_penalty"},
        "wgan-gp": {"Loss/gradient_penalty"},
    }.get(loss, {"Loss/r1_penalty"})
    assert {name for name in reported if name.endswith("_penalty")} == of_penalty | {
        "Loss/pl_penalty"
    }
    assert {"Loss/G/reg", "Loss/D/reg", "Loss/lecam", "Timing/Greg"} <= set(reported)
    assert reported["Guard/nonfinite_grads"]["mean"] == 0


class Strength(lightning.Callback):
    """ADA's strength after each batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        self.seen.append(round(pl_module.augmenter.strength, 6))


ADA: dict[str, Any] = {"augment": "ada", "ada_kimg": 0.1, "ada_p_max": 0.4}


@pytest.mark.parametrize(
    ("sure", "begin", "expected"),
    [
        (True, 0.0, [0.0] * 3 + [0.16] * 4 + [0.32] * 4 + [0.4] * 5),
        (False, 0.3, [0.3] * 3 + [0.14] * 4 + [0.0] * 9),
    ],
)
def test_adas_strength_follows_the_discriminators_certainty(sure, begin, expected, monkeypatch):
    """H9: every four batches by 16 images of 100, and within its limits."""
    monkeypatch.setattr(game, "real_signs", lambda logits: torch.tensor([4.0 if sure else 2.0, 4]))
    strength, module = Strength(), tiny_module(ada_p=begin, ada_target=0.6, **ADA)
    train(module, 64, callbacks=(strength,))
    assert strength.seen == pytest.approx(expected, abs=1e-6)
    reported = module.stats.collect()["Progress/augment"]
    assert reported["mean"] == pytest.approx(sum(expected) / 16, abs=1e-5)


def test_a_strength_without_a_target_stays_and_is_the_settings_not_the_checkpoints(tmp_path):
    begun = {**ADA, "ada_target": None}
    checkpoint, strength = saved(tmp_path, ada_p=0.2, **begun), Strength()
    module = tiny_module(ada_p=0.5, **begun)
    train(module, 32, checkpoint=checkpoint, callbacks=(strength,))
    assert strength.seen == [0.5] * 6
    learning, strength = tiny_module(ada_p=0.0, **ADA), Strength()
    train(learning, 12, checkpoint=checkpoint, callbacks=(strength,))
    assert strength.seen == [0.2]


def test_real_and_generated_pictures_are_both_augmented_for_both_networks():
    module = assembled(augment="ada", ada_p=0.8, r1_interval=1)
    plain = assembled(r1_interval=1)
    for name, calls in (("Gmain", 1), ("Dmain", 2), ("Dr1", 1)):
        seen: list[torch.Tensor] = []
        hook = module.augmenter.register_forward_hook(lambda *call: seen.append(call[1][0]))  # noqa: B023
        assert module.phase_loss(name, some_batch(), rng()) != plain.phase_loss(
            name, some_batch(), rng()
        )
        hook.remove()
        assert len(seen) == calls, name


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ada_set": "blur"}, r"^augmentation\.ada_set: ada 'blur': choose bg, "),
        ({"ada_p_max": 1.5}, r"^augmentation\.ada_p_max 1\.5: .* above 0 and at most 1"),
        ({"ada_target": 1.0}, r"^augmentation\.ada_target 1\.0: .* between"),
        ({"ada_p": -0.1}, r"^augmentation\.ada_p -0\.1: .* at least 0 and at most 1"),
        ({"ada_kimg": 0}, r"^augmentation\.ada_kimg 0: .* above 0"),
        ({"augment": "ada,color"}, r"^augment 'ada': .*; or ada, or none"),
    ],
)
def test_impossible_augmentation_is_refused_by_its_flag(settings, says):
    with pytest.raises(UserError, match=says):
        tiny_module(**{"augment": "ada", **settings})


def test_no_augmentation_has_two_names():
    for augment in ("", "none"):
        module = assembled(augment=augment)
        assert module.augmenter is None and module.game.policy == ()


LAYERS = (
    "b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0", "b8.conv1", "b8.skip",
)  # fmt: skip


@pytest.mark.parametrize("count", [3, 5, 7])
# H15
def test_frozen_layers_stay_as_they_are_and_adam_knows_nothing_of_them(count):
    module = tiny_module(freeze_d_layers=count, r1_interval=1)
    trainer = train(module, 12)
    begun, now = assembled().discriminator, module.discriminator
    states = trainer.optimizers[1].state
    for name, parameter in now.named_parameters():
        frozen = name.startswith(LAYERS[:count])
        assert torch.equal(parameter, begun.get_parameter(name)) == frozen, name
        assert (parameter in states) != frozen, name
    assert list(now.state_dict()) == list(begun.state_dict())


def test_frozen_layers_thaw_when_a_run_goes_on_without(tmp_path):
    module = tiny_module()
    trainer = train(module, 12, checkpoint=saved(tmp_path, freeze_d_layers=4))
    weight, begun = module.discriminator.b16.conv0.weight, assembled().discriminator
    assert not torch.equal(weight, begun.b16.conv0.weight)
    assert trainer.optimizers[1].state[weight]["step"] == 1


def test_no_more_layers_than_there_are_can_be_frozen():
    assembled(freeze_d_layers=7)
    with pytest.raises(UserError, match=r"^transfer\.freeze_d_layers 8: .* has 7 before its last"):
        train(tiny_module(freeze_d_layers=8), 4)


def test_labels_count_by_what_was_seen():
    module = assembled(c_dim=2, transition_kimg=(0.01, 0.05))
    assert module.generator.mapping.label_strength == 0
    assert module.generator_ema.mapping.label_strength == 0
    for seen, share in ((0, 0.0), (10, 0.0), (20, 0.25), (50, 1.0), (9000, 1.0)):
        assert module.game.fade_labels(seen) == pytest.approx(share)
        assert module.generator.mapping.label_strength.item() == pytest.approx(share)
        assert module.discriminator.label_strength.item() == pytest.approx(share)
    assert assembled(c_dim=2).game.fade_labels(20) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_scale_the_embedding_and_weigh_the_second_of_two_losses(share):
    """By hand: softplus without the label plus, by its share, softplus with it."""
    module = assembled(c_dim=2, transition_kimg=(0.0, 1.0), r1_interval=None)
    module.game.fade_labels(round(share * 1000))
    batch = some_batch(c_dim=2)
    micro = Micro(batch.pictures, batch.labels, rng())
    f = module.game.judge(module.game.fakes(micro)[0], micro).heads
    r = module.game.judge(module.game.reals(micro), micro).heads
    assert f.shape == (4, 2)
    losses = softplus(f) + softplus(-r)
    expected = losses[:, 0].sum() + share * losses[:, 1].sum()
    torch.testing.assert_close(module.phase_loss("Dmain", batch, rng()), expected)
    micro = Micro(batch.pictures, batch.labels, rng())
    f = module.game.judge(module.game.fakes(micro)[0], micro).heads
    expected = softplus(-f[:, 0]).sum() + share * softplus(-f[:, 1]).sum()
    torch.testing.assert_close(module.phase_loss("Gmain", batch, rng()), expected)

    mapping, z = module.generator.mapping, torch.randn(1, 8)
    one, other = mapping(z, torch.eye(2)[:1]), mapping(z, torch.eye(2)[1:])
    assert torch.equal(one, other) == (share == 0)
    if share == 1:  # the very network that has no transition
        plain = Generator(**module.generator.config | {"label_fade": False})
        plain.load_state_dict(module.generator.state_dict(), strict=False)
        assert torch.equal(plain.mapping(z, torch.eye(2)[:1]), one)


def test_the_penalty_is_on_what_both_heads_say_together():
    module = assembled(c_dim=2, transition_kimg=(0.0, 1.0), mbstd_group_size=0, mirror=False)
    module.game.fade_labels(300)
    batch = some_batch(c_dim=2)
    micro = Micro(batch.pictures, batch.labels, rng())
    real = module.game.reals(micro).requires_grad_()
    heads = module.discriminator.heads(real, batch.labels)
    squares = slopes(heads[:, 0] + 0.3 * heads[:, 1], real) ** 2
    got = module.phase_loss("Dr1", batch, rng())
    gamma = module.game.r1_gamma
    torch.testing.assert_close(got, 4 * gamma / 2 * squares.sum(), rtol=1e-4, atol=1e-7)


def test_networks_leave_their_fading_behind_for_other_programs(tmp_path):
    module, z, labels = assembled(c_dim=2, transition_kimg=(0.0, 1.0)), torch.randn(2, 8), EYE
    module.game.fade_labels(400)
    with (tmp_path / "exported.pkl").open("wb") as file:
        write_nvidia(file, module.generator, module.discriminator)
    generator = load_generator(tmp_path / "exported.pkl")
    assert generator.config["label_fade"] is False
    torch.testing.assert_close(generator(z, labels), module.generator(z, labels))
    images = module.generator(z, labels).detach()
    judged = load_discriminator(tmp_path / "exported.pkl")(images, labels)
    torch.testing.assert_close(judged, module.discriminator.heads(images, labels)[:, 1:])
    assert without_fade(generator) is generator


def test_a_snapshot_in_the_middle_of_the_transition_shows_what_the_training_has(tmp_path):
    module, z = assembled(c_dim=2, transition_kimg=(0.0, 1.0)), torch.randn(2, 8)
    module.game.fade_labels(400)
    save_model_folder(tmp_path / "model", module.generator, module.discriminator)
    opened = load_generator(tmp_path / "model")
    torch.testing.assert_close(opened(z, EYE), module.generator(z, EYE))
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(
        load_discriminator(tmp_path / "model")(images, EYE), module.discriminator(images, EYE)
    )


def test_fading_labels_in_wants_labels_and_an_order():
    with pytest.raises(UserError, match=r"^transition_kimg: the pictures have no labels"):
        train(tiny_module(transition_kimg=(0.1, 0.2)), 4)
    with pytest.raises(UserError, match=r"^transition_kimg \(0\.2, 0\.1\): .* beginning"):
        tiny_module(transition_kimg=(0.2, 0.1))


def test_a_run_whose_labels_always_counted_goes_on_so(tmp_path):
    """Checkpoints of before there was a transition say nothing of it."""
    path = saved(tmp_path)
    facts = torch.load(path, weights_only=True)["dragline"]
    for network in ("generator", "discriminator"):
        del facts[network]["label_fade"]
    check_same_run(facts, assembled_identity())
    assert "label_strength" not in " ".join(assembled(c_dim=2).state_dict())


def assembled_identity() -> dict[str, Any]:
    module = assembled()
    return {"generator": module.generator.config, "discriminator": module.discriminator.config}


def in_float64(module: StyleGAN2Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training compute in float64, drawing the same numbers."""
    single = torch.float32
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch, "float32", torch.float64)
    module.double()
    for part in module.modules():
        if part.__dict__.get("dtype") is single:  # what a block computes in
            part.dtype = torch.float64  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("phase", "settings"),
    [
        ("Dr1", {"augment": ""}),
        ("Dr1", {"ada_set": "bgcfnc"}),
        ("Dr1", {"augment": "color,translation,cutout"}),
        ("Gpl", {"pl_weight": 2.0}),
        ("Gmain", {}),
        ("Dmain", {"loss": "relativistic", "r1_interval": None}),
        ("Dmain", {"loss": "wgan-gp", "r1_gamma": None}),
    ],
)
def test_gradients_equal_differences_in_float64(phase, settings, monkeypatch):
    """H6: along a random direction of all weights; through the augmentation where there is one."""
    torch.manual_seed(0)
    module = assembled(**{"augment": "ada", "ada_p": 0.8, "r1_gamma": 10.0, **settings})
    network = next(p.network for p in module.phases if p.name == phase)
    with torch.no_grad():
        for parameter in network.parameters():  # biases and noise strengths begin at 0
            parameter += 0.05 * torch.randn(parameter.shape)
    weights = list(network.parameters())
    loss = module.phase_loss(phase, some_batch(), rng())
    grads = torch.autograd.grad(loss, weights, materialize_grads=True)
    way = [torch.randn(w.shape) * w.detach().abs().mean().clamp(min=0.1) for w in weights]
    slope = sum((grad * step).double().sum().item() for grad, step in zip(grads, way, strict=True))
    in_float64(module, monkeypatch)

    def at(distance: float) -> float:
        with torch.no_grad():
            torch._foreach_add_(weights, way, alpha=distance)
        loss = module.phase_loss(phase, some_batch(), rng())
        assert loss.dtype == torch.float64
        with torch.no_grad():
            torch._foreach_sub_(weights, way, alpha=distance)
        return loss.item()

    assert slope == pytest.approx((at(1e-6) - at(-1e-6)) / 2e-6, rel=1e-3)


def test_the_operations_asked_for_are_chosen_before_the_networks_are_built(monkeypatch):
    asked = []
    monkeypatch.setattr(module_file, "use_ops", lambda mode, device: asked.append(mode))
    train(tiny_module(ops="auto"), 4)
    assert asked == ["auto"]
