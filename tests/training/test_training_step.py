"""What one step of training does to the two networks, the average and the counters."""

from copy import deepcopy
from typing import Any

import lightning
import pytest
import torch

from framework.errors import UserError
from framework.formats import open_model
from framework.formats.model_folder import save_model_folder
from framework.models.stylegan2 import Generator
from framework.training.data import Batch
from framework.training.ema import ema_beta
from framework.training.phases import Phase
from framework.training.randomness import keyed_generator
from framework.training.stylegan2 import losses
from framework.training.stylegan2.settings import Regularization
from framework.training.trainer import TRAINER_DEFAULTS, check_trainer
from tests.training.processes import finish, fit, start
from tests.training.tiny import tiny_data, tiny_module, train, weights


class Spy(lightning.Callback):
    """Keeps what a training looked like after each batch."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []
        self.leaks: list[str] = []
        self.generators: list[dict[str, torch.Tensor]] = []
        self.averages: list[list[dict[str, torch.Tensor]]] = []
        self.seen: list[int] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self.initial = deepcopy(pl_module.generator)
        take = pl_module._phase

        def phase(phase: Phase, batch: Batch) -> None:
            pl_module.zero_grad(set_to_none=True)
            take(phase, batch)
            name = phase.name
            self.phases.append((name, pl_module.seen_images))
            with_grad = {
                n.split(".")[0] for n, p in pl_module.named_parameters() if p.grad is not None
            }
            if with_grad != {"generator" if name[0] == "G" else "discriminator"}:
                self.leaks.append(f"{name}: {with_grad}")

        pl_module._phase = phase

    def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
        self.generators.append(weights(pl_module.generator))
        names = ("generator_ema", "generator_ema_0_05")
        self.averages.append([weights(pl_module.get_submodule(name)) for name in names])
        self.seen.append(pl_module.seen_images)


@pytest.fixture(scope="module")
def trained():
    """Eight batches of four pictures, R1 every fourth and path lengths every third."""
    settings = {"pl_weight": 1.0, "pl_interval": 3}
    spy, module = Spy(), tiny_module(ema_kimg=[0.02, 0.05], ema_rampup=0.5, **settings)
    trainer = train(module, 32, callbacks=(spy,))
    del module._phase
    return module, spy, trainer


# H1
def test_images_and_batches_are_counted_once_whatever_the_phases(trained):
    module, spy, trainer = trained
    assert spy.seen == [4, 8, 12, 16, 20, 24, 28, 32]
    assert trainer.global_step == 8
    assert module.batches_seen == 8


def test_penalties_come_at_their_intervals_and_after_the_main_phases(trained):
    _, spy, _ = trained
    expected = []
    for seen in range(0, 32, 4):
        expected += [("Gmain", seen)] + [("Gpl", seen)] * (seen % 12 == 0)
        expected += [("Dmain", seen)] + [("Dr1", seen)] * (seen % 16 == 0)
    assert spy.phases == expected


# H7
def test_each_phase_gives_gradients_to_its_own_network_alone(trained):
    assert trained[1].leaks == []


@pytest.mark.parametrize(("which", "half_life"), [(0, 0.02), (1, 0.05)])
# H8
def test_the_averages_follow_the_formula_batch_by_batch(which, half_life, trained):
    module, spy, _ = trained
    by_hand = weights(spy.initial)
    names = dict(module.generator.named_parameters())
    for seen, now in zip(spy.seen, spy.generators, strict=True):
        beta = ema_beta(4, half_life, 0.5, seen)
        for name in by_hand:
            new = beta * by_hand[name] + (1 - beta) * now[name] if name in names else now[name]
            by_hand[name] = new
    for name, value in spy.averages[-1][which].items():
        torch.testing.assert_close(value, by_hand[name], msg=name)
    assert 0.5 < ema_beta(4, half_life, 0.5, 32) < 1  # or the average would be the last state


# H7
def test_the_averages_have_the_buffers_of_the_generator_and_stay_in_evaluation(trained):
    module, _, _ = trained
    assert module.generator.mapping.w_avg.abs().max() > 0
    module.train()
    assert module.generator.training
    for average in (module.generator_ema, module.generator_ema_0_05):
        for name, value in module.generator.named_buffers():
            assert torch.equal(value, average.get_buffer(name)), name
        assert not any(part.training for part in average.modules())
        assert not any(p.requires_grad or p.grad is not None for p in average.parameters())


# H7
def test_looking_on_the_way_changes_nothing():
    looked, plain = tiny_module(), tiny_module()
    validation = {
        "limit_val_batches": 1, "val_check_interval": 2, "check_val_every_n_epoch": None,
    }  # fmt: skip
    train(looked, 24, **validation)
    assert looked.generator.training and looked.discriminator.training
    assert not any(part.training for part in looked.generator_ema.modules())
    train(plain, 24)
    assert all(torch.equal(looked.state_dict()[n], v) for n, v in plain.state_dict().items())


def test_the_mean_style_moves_by_its_share_of_the_first_batchs_styles(trained):
    spy = trained[1]
    rng = keyed_generator("cpu", 0, 0, "Gmain")
    z = torch.randn(2, 4, 8, generator=rng)[0]
    with torch.no_grad():
        expected = 0.002 * spy.initial.mapping(z)[:, 0].mean(dim=0)
    torch.testing.assert_close(spy.generators[0]["mapping.w_avg"], expected)


def test_everything_the_field_looks_at_is_reported(trained):
    reported = trained[0].stats.collect()
    assert set(reported) == {
        "Loss/scores/fake", "Loss/signs/fake", "Loss/G/loss", "Loss/scores/real",
        "Loss/signs/real", "Loss/D/loss", "Loss/r1_penalty", "Loss/D/reg",
        "Timing/Gmain", "Timing/Dmain", "Timing/Dreg", "Guard/nonfinite_grads",
        "Loss/pl_penalty", "Loss/G/reg", "Timing/Greg",
    }  # fmt: skip
    assert reported["Loss/G/loss"]["num"] == 32
    assert reported["Loss/scores/fake"]["num"] == 64
    assert reported["Loss/r1_penalty"]["num"] == 8
    assert reported["Timing/Dreg"]["num"] == 2
    assert reported["Timing/Greg"]["num"] == 3
    assert reported["Loss/pl_penalty"]["num"] == 6  # one of two samples
    assert reported["Guard/nonfinite_grads"]["mean"] == 0
    penalty, loss = reported["Loss/r1_penalty"]["mean"], reported["Loss/D/reg"]["mean"]
    assert loss == pytest.approx(penalty * 0.0002 * 16 * 16 / 4 / 2)


def test_micro_batches_change_only_what_is_drawn_for_them():
    """The same micro-batches give the same numbers, whatever the batch is called."""
    data = tiny_data(batch_size=4)
    parts, whole = tiny_module(micro_batch=2), tiny_module()
    train(parts, 8, data)
    train(whole, 8, tiny_data(batch_size=4))
    assert parts.micro_batch == 2 and whole.micro_batch == 4
    assert not torch.equal(parts.generator.mapping.w_avg, whole.generator.mapping.w_avg)
    assert parts.stats.collect()["Loss/G/loss"]["num"] == 8


def optimizers(**settings: Any) -> list[torch.optim.Optimizer]:
    module = tiny_module(**{"r1_interval": 16, **settings})
    module.assemble((16, 16), 3, 0, torch.device("cpu"), batch=4)
    return module.configure_optimizers()


def test_the_lazy_penalty_slows_the_discriminators_optimizer():
    g, d = (made.param_groups[0] for made in optimizers(lr=0.0025))
    assert (g["lr"], *g["betas"]) == (0.0025, 0.0, 0.99)
    assert d["lr"] == pytest.approx(0.0025 * 16 / 17)
    assert d["betas"] == (0.0, pytest.approx(0.99 ** (16 / 17)))
    assert g["eps"] == d["eps"] == 1e-8


def test_whole_numbers_are_decay_rates_too(tmp_path):
    """H17: as recipes have them; torch refuses an int beside a float."""
    assert [made.param_groups[0]["betas"][0] for made in optimizers(betas=(0, 0.99))] == [0.0, 0.0]
    (tmp_path / "recipe.yaml").write_text("model:\n  init_args:\n    betas: [0, 0.99]\n")
    recipe = ("--config", str(tmp_path / "recipe.yaml"), "--run.kimg", "0.004")
    assert finish(start(fit(tmp_path / "run", *recipe), tmp_path / "log")) == 0


# H18
def test_one_overflow_is_counted_and_spoils_no_weight(monkeypatch):
    """A loss scale would hide it; here the gradient is made finite, and the next batch is fine."""
    real, calls = losses.mix_styles, []

    def overflow(ws: torch.Tensor, *rest: Any) -> torch.Tensor:
        calls.append(None)
        return real(ws, *rest) * (torch.inf if len(calls) == 5 else 1.0)

    monkeypatch.setattr(losses, "mix_styles", overflow)
    module = tiny_module(r1_gamma=0)
    train(module, 24)
    assert len(calls) == 12
    assert module.stats.collect()["Guard/nonfinite_grads"]["mean"] > 0
    assert all(value.isfinite().all() for value in module.state_dict().values())


# H18
def test_half_precision_clamps_what_would_overflow():
    module = tiny_module(low_precision="float16")
    module.assemble((16, 16), 3, 0, torch.device("cpu"), batch=4)
    generator, discriminator = module.generator, module.discriminator
    seen: list[torch.Tensor] = []
    for layer in (generator.synthesis.b16.conv1, discriminator.b16.conv0):
        layer.bias.data.fill_(1e9)
        layer.register_forward_hook(lambda *call: seen.append(call[2]))
    images = generator(torch.randn(2, 8))
    assert discriminator(images).isfinite().all() and len(seen) == 2
    assert all(features.max() == 256 for features in seen)
    assert (
        tiny_module(low_precision="none")
        .build_networks((16, 16), 3, 0, torch.device("cpu"))[0]
        .config["conv_clamp"]
        is None
    )


def test_a_model_that_a_cpu_trained_in_bfloat16_opens_in_float32(tmp_path):
    module = tiny_module(low_precision="bfloat16")
    module.assemble((16, 16), 3, 0, torch.device("cpu"), batch=4)
    average, discriminator = module.generator_ema, module.discriminator
    for noise in (m for name, m in average.named_parameters() if "noise_strength" in name):
        noise.data.fill_(0.5)
    save_model_folder(tmp_path / "m", **module.published(), provenance={}, card="")
    opened = open_model(str(tmp_path / "m"))
    exact = Generator(**{**average.config, "low_precision_blocks": 0})
    exact.load_state_dict(average.state_dict())
    z = torch.randn(2, 8)
    images = exact(z, noise_mode="const")
    assert torch.equal(opened.network("generator")(z, noise_mode="const"), images)
    assert not torch.equal(average(z, noise_mode="const"), images)  # training goes on as before
    logits = opened.network("discriminator")(images)
    assert not torch.equal(discriminator(images), logits)
    assert opened.network("generator").digest == average.digest


def test_without_penalty_both_optimizers_are_alike():
    g, d = (made.param_groups[0] for made in optimizers(r1_gamma=0))
    assert (d["lr"], d["betas"]) == (g["lr"], g["betas"])


def test_the_penaltys_weight_follows_size_and_batch_unless_given():
    assert Regularization().r1_weight((256, 256), 16) == pytest.approx(0.8192)
    assert Regularization().r1_weight((32, 64), 8) == pytest.approx(0.0512)
    assert Regularization(r1_gamma=10).r1_weight((256, 256), 16) == 10
    assert Regularization(r1_gamma=0).r1_weight((256, 256), 16) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -1), ("lr", float("nan")), ("lr", float("inf")), ("z_dim", 0), ("micro_batch", -4),
        ("micro_batch", 0), ("r1_interval", 0), ("r1_gamma", -0.1), ("betas", (0.0, 1.0)),
        ("style_mixing_prob", 1.5), ("ema_kimg", 0), ("ema_rampup", -1), ("channel_base", 0),
        ("seed", -1), ("ema_kimg", [5.0, 0.0]), ("freeze_d_layers", -1), ("pl_interval", 0),
        ("pl_weight", -1.0), ("pl_batch_shrink", 0), ("lecam_weight", float("inf")),
    ],
)  # fmt: skip
def test_numbers_that_no_training_can_have_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"^(\w+\.)?{name} .*: expected a "):
        tiny_module(**{name: value})


@pytest.mark.parametrize("half_lives", [[], [5.0, 10.0, 5.0]])
def test_averages_must_differ(half_lives):
    with pytest.raises(UserError, match=r"^averaging\.ema_kimg \[.*\]: expected a half-life, or a"):
        tiny_module(ema_kimg=half_lives)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"precision": "bf16-mixed"}, "--trainer.precision"),
        ({"gradient_clip_val": 1.0}, "--trainer.gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, "--trainer.accumulate_grad_batches"),
    ],
)
def test_settings_of_the_trainer_that_would_train_wrongly_are_refused(settings, says):
    trainer = lightning.Trainer(**TRAINER_DEFAULTS, accelerator="cpu", devices=1, **settings)
    with pytest.raises(UserError, match=says):
        check_trainer(trainer)
