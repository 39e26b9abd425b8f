"""What a step of an encoder's training does, and what settings make of it."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from framework.errors import UserError
from framework.formats import open_model, save_model_folder
from framework.formats.run_checkpoint import checkpoint_path
from framework.models.digest import state_digest
from framework.training.callbacks import RunCheckpoints
from framework.training.data import Batch
from framework.training.encoder.settings import EncoderSettings, Schedule
from framework.training.phases import Micro
from framework.training.randomness import keyed_generator
from tests.training.tiny import train, weights
from tests.training.tiny_encoder import (
    EVERYTHING,
    NETWORKS,
    SIZE,
    built,
    tiny_encoder,
    tiny_model,
    tiny_pictures,
)

CONFIGS = Path(__file__).parents[2] / "configs" / "train" / "encoder"
RECIPES = ("tedigan", "e4e", "psp", "restyle", "small")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of 16x32 px with its opponent."""
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


def recipe(name: str) -> dict[str, Any]:
    """A shipped recipe at the smallest sizes, its schedules shortened to begin at once."""
    given = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["init_args"]
    del given["generator"]
    short = {"progressive_kimg": (0.0, 0.001), "adv_image_kimg": (0, 0), "synthetic_kimg": 0.004}
    at_once = {key: value for key, value in short.items() if key in given.get("schedule", {})}
    return {**given, **NETWORKS, **at_once, "micro_batch": None, "r1_interval": 2}


def micro(images: int = 4, seed: int = 0) -> Micro:
    """A micro-batch of noise."""
    rng = torch.Generator().manual_seed(seed)
    pictures = torch.rand(images, 3, *SIZE, generator=rng) * 2 - 1
    return Micro(lambda: pictures, torch.zeros(images, 0), keyed_generator("cpu", seed))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_whatever_the_generators_sizes(name, model):
    module, begun = tiny_encoder(model, **recipe(name)), {}
    module.on_train_start = lambda: begun.update(weights(module))  # type: ignore[method-assign]
    train(module, 12, tiny_pictures())
    still = [n for n, p in module.named_parameters() if torch.equal(p, begun[n])]
    assert still == []
    assert (module.encoder.num_ws, module.encoder.w_dim) == (8, 6)
    stats = module.stats.collect()
    assert {"Loss/pixel", "Loss/dfeat", "Loss/E/loss"} <= set(stats)
    assert stats["Loss/pixel"]["num"] == 12 and stats["Guard/nonfinite_grads"]["mean"] == 0
    assert ("Loss/adv_image" in stats, "Loss/r1_penalty" in stats) == (name == "tedigan",) * 2
    assert ("Loss/adv_latent" in stats) == (name in ("e4e", "restyle", "small"))
    assert ("Loss/E/loss_look4" in stats) == (name == "restyle")
    assert module.facts()["perceptual"]["name"] == "dfeat"


def test_low_precision_changes_gradients_little_and_losses_stay_float32(model):
    """Against float32, whose gradient the one of bfloat16 must follow and not equal."""
    gradients = []
    for choice in ("none", "bfloat16"):
        module = built(model, low_precision=choice, adv_latent=0.1)
        outcome = next(module.objective.e_main(micro()))
        assert {term.dtype for term in outcome.stats.values()} == {torch.float32}
        outcome.loss.backward()
        grads = [p.grad for p in module.encoder.parameters() if p.grad is not None]
        assert {g.dtype for g in grads} == {torch.float32}
        gradients.append(torch.cat([g.flatten() for g in grads]))
    assert not torch.equal(*gradients)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_float16_is_refused(model):
    with pytest.raises(UserError, match="low_precision"):
        tiny_encoder(model, low_precision="float16")


def test_a_batch_of_one_picture_trains(model):
    module = tiny_encoder(model, **EVERYTHING)
    train(module, 12, tiny_pictures(1))
    assert module.stats.collect()["Guard/nonfinite_grads"]["mean"] == 0


def test_terms_of_weight_zero_are_not_built(model):
    module = built(model, perceptual=0.0)
    assert module.opened.distance is None and module.opened.similarity is None
    assert {name for name, _ in module.named_children()} == {"encoder", "encoder_ema"}
    (phase,) = module.phases
    (outcome,) = phase.objective(micro())
    assert set(outcome.stats) == {"Loss/pixel", "Loss/E/loss"}
    everything = built(model, **EVERYTHING)
    everything.objective.advance(1000)
    (outcome,) = everything.phases[0].objective(micro())
    terms = {"pixel", "dfeat", "adv_image", "adv_latent", "delta", "w_norm", "nscd", "latent"}
    assert set(outcome.stats) == {f"Loss/{term}" for term in (*terms, "E/loss")}
    assert len(everything.phases) == 5


def test_the_loss_is_the_sum_of_its_weighted_terms(model):
    module = built(model, **EVERYTHING)
    module.objective.advance(1000)
    (outcome,) = module.phases[0].objective(micro())
    weights = module.settings.weights
    weights_of = {**weights.to_dict(), "dfeat": weights.perceptual}
    names = [n for n in outcome.stats if n not in ("Loss/E/loss", "Loss/latent")]
    each = sum(weights_of[n.removeprefix("Loss/")] * outcome.stats[n] for n in names)
    torch.testing.assert_close(outcome.stats["Loss/E/loss"], each)
    missed = outcome.stats["Loss/latent"].sum() * weights.latent
    torch.testing.assert_close(outcome.loss, each.sum() + missed)


def test_a_few_pictures_are_learned(model):
    """The generator was never trained, but its own pictures it can make again."""
    module = tiny_encoder(model, synthetic_share=1.0, lr=5e-3, ema_kimg=0.01)
    losses = []
    module.end_batch = lambda: losses.append(  # type: ignore[method-assign]
        module.stats.collect()["Loss/latent"]["mean"]
    )
    train(module, 4 * 50, tiny_pictures(4))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize(
    ("seen", "stage"),
    [(0, 0), (99, 0), (100, 1), (109, 1), (110, 2), (137, 4), (160, 7), (10**6, 7)],
)
def test_the_stage_is_a_function_of_the_images_seen(seen, stage):
    """Of batches of any size: a boundary that a batch steps over is passed all the same."""
    assert Schedule(progressive_kimg=(0.1, 0.01)).stage(seen, num_ws=8) == stage
    assert Schedule().stage(seen, num_ws=8) is None


def test_layers_are_set_free_one_by_one(model):
    module = built(model, progressive_kimg=(0.1, 0.01))
    torch.nn.init.normal_(module.encoder.heads[0].styles.weight)
    torch.nn.init.normal_(module.encoder.heads[1].styles.weight)
    for seen, free in ((0, 0), (110, 2), (1000, 7)):
        module.objective.advance(seen)
        ws = module.encoder(micro().pictures(), module.objective.stage)
        differs = (ws != ws[:, :1]).any(dim=2).any(dim=0)
        assert differs.tolist() == [0 < layer <= free for layer in range(8)]


@pytest.mark.parametrize(("seen", "ramp"), [(0, 0), (8, 0), (14, 0.5), (20, 1), (99, 1)])
def test_the_adversary_comes_in_slowly(seen, ramp):
    assert Schedule(adv_image_kimg=(0.008, 0.02)).ramp(seen) == ramp
    assert Schedule(adv_image_kimg=(0, 0)).ramp(seen) == 1


def test_the_learning_rate_falls_on_half_a_cosine():
    falling = EncoderSettings(lr=1e-3, lr_final=1e-4, lr_kimg=1)
    rates = [falling.learning_rate(seen) for seen in (0, 500, 1000, 5000)]
    assert rates == pytest.approx([1e-3, 5.5e-4, 1e-4, 1e-4])
    assert EncoderSettings(lr=1e-3).learning_rate(500) == 1e-3


def test_the_optimizers_follow_the_learning_rate_of_today(model):
    settings = {**EVERYTHING, "lr": 1e-3, "lr_final": 1e-4, "lr_kimg": 0.016, "d_lr": 3e-4}
    module = tiny_encoder(model, **settings)
    trainer = train(module, 12, tiny_pictures())
    groups = [optimizer.param_groups[0] for optimizer in trainer.optimizers]
    expected = [module.settings.learning_rate(8), 3e-4 * 2 / 3, 1e-3 * 3 / 4]
    assert [group["lr"] for group in groups] == pytest.approx(expected)
    assert groups[0]["betas"] == (0.9, 0.99)
    assert groups[1]["betas"] == pytest.approx((0.9 ** (2 / 3), 0.99 ** (2 / 3)))


def test_made_pictures_are_what_the_generator_makes_of_their_styles(model):
    module = built(model, synthetic_kimg=1.0)
    generator = module.opened.generator
    pictures, ws = module.objective.pictures(micro())
    assert ws is not None and len(ws) == 4
    assert torch.equal(pictures, generator.synthesis(ws, noise_mode="const"))
    module.objective.advance(1000)
    pictures, ws = module.objective.pictures(micro())
    assert ws is not None and len(ws) == 0
    assert torch.equal(pictures, micro().pictures())


def test_the_generator_and_its_features_stay_as_they_are(model):
    module = tiny_encoder(model, **EVERYTHING)
    before = module.opened.generator.digest
    opponent = weights(module.opened.discriminator)  # type: ignore[arg-type]
    train(module, 24, tiny_pictures())
    assert state_digest(module.opened.generator) == before
    now = weights(module.opened.discriminator)  # type: ignore[arg-type]
    assert all(torch.equal(now[name], opponent[name]) for name in opponent)
    assert not any(p.grad is not None for p in module.opened.generator.parameters())
    assert any(not torch.equal(weights(module.discriminator)[name], opponent[name]) for name in now)
    assert not any(name.startswith("generator") for name in module.state_dict())


def test_each_look_has_its_own_gradient_and_leaves_the_one_before(model):
    """Five looks are five losses, not one long graph; the second sees what the first made."""
    module = built(model, iterations=3)
    outcomes, kept = module.phases[0].objective(micro()), []
    for outcome in outcomes:
        outcome.loss.backward()  # a second time through one graph would raise
        kept.append(outcome.loss.item())
    assert len(kept) == 3 and len(set(kept)) == 3


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "adversary": ({"adv_image": 0.1}, "weights.adv_image 0.1: .* has no discriminator"),
    "features": (
        {"perceptual_network": "dfeat"},
        "judges.perceptual_network dfeat: .*no disc",
    ),
    "no face network": (
        {"similarity": 0.1, "similarity_network": "arcface"},
        "--model.judges.similarity_network arcface: .*--model.judges.similarity_weights",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_had_is_refused_by_name(mistake, tmp_path):
    settings, expected = MISTAKES[mistake]
    alone = tiny_model(tmp_path / "m", opponent=False)
    with pytest.raises(UserError, match=expected):
        built(alone, **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lr": -1}, "lr -1: expected a number above 0"),
        ({"progressive_kimg": (1.0, 0.0)}, "schedule.progressive_kimg .*positive"),
        ({"adv_image_kimg": (2.0, 1.0)}, "schedule.adv_image_kimg .*not before the beginning"),
        (
            {"pixel": 0.0, "perceptual": 0.0},
            "weights.pixel 0, weights.perceptual=0: ",
        ),
        ({"synthetic_share": 1.5}, "schedule.synthetic_share 1.5: expected a number .* at most 1"),
        ({"generator": "nonesuch"}, "--model.generator nonesuch: no such file"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings, expected, model):
    with pytest.raises(UserError, match=expected):
        built(model, **settings) if "generator" not in settings else built(Path("nonesuch"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"size": 16}, r"makes pictures of 32x16 px, these are 16x16; give `data.size` \[16,32\]"),
        ({"channels": 1}, "data.channels 1: .*give `data.channels` 3"),
    ],
)
def test_pictures_that_the_generator_does_not_make_are_refused(data, expected, model):
    with pytest.raises(UserError, match=expected):
        train(tiny_encoder(model), 4, tiny_pictures(**data))


def test_a_generator_with_classes_needs_them_where_they_count(tmp_path):
    model = tiny_model(tmp_path / "m", c_dim=2)
    module = tiny_encoder(model, adv_latent=0.1)
    with pytest.raises(UserError, match=r"knows 2 classes, the pictures 0; give --data\.labels"):
        train(module, 4, tiny_pictures())
    train(tiny_encoder(model, delta=0.1), 4, tiny_pictures())


def test_a_micro_batch_is_part_of_the_batch(model):
    """Two micro-batches of two have the gradient of one of four, where nothing is drawn."""
    parts, whole = (tiny_encoder(model, micro_batch=n) for n in (2, None))
    for module in (parts, whole):
        train(module, 4, tiny_pictures())
    for name, value in whole.named_parameters():
        torch.testing.assert_close(dict(parts.named_parameters())[name], value, msg=name)


def test_pictures_are_compared_no_larger_than_asked(model):
    module = built(model, loss_px=16, perceptual_network="multiscale")
    seen = []
    module.objective.distance.features = lambda x: seen.append(x.shape) or [x]  # type: ignore
    list(module.phases[0].objective(micro()))  # type: ignore[arg-type]
    assert {tuple(shape) for shape in seen} == {(4, 3, 8, 16)}


def test_a_batch_counts_each_picture_once(model):
    module = built(model)
    batch = Batch(torch.zeros(4, 3, *SIZE, dtype=torch.uint8), torch.zeros(4, 0), 0)
    loss = module.phase_loss("Emain", batch, keyed_generator("cpu", 0))
    (outcome,) = module.phases[0].objective(Micro(batch.pictures, batch.labels, torch.Generator()))
    torch.testing.assert_close(loss, outcome.stats["Loss/E/loss"].sum())


def published_encoder(model: Path, folder: Path, **settings: Any) -> Path:
    """A model folder whose encoder has weights of its own."""
    module = built(model, **settings)
    torch.manual_seed(3)
    for parameter in module.encoder_ema.parameters():
        parameter.data.normal_()
    return save_model_folder(folder, **module.published())


def test_a_run_starts_from_a_models_encoder_with_its_own_generators_statistics(model, tmp_path):
    start = published_encoder(tiny_model(tmp_path / "other", seed=5), tmp_path / "start")
    module, begun = tiny_encoder(model, start_from=str(start)), {}
    module.on_train_start = lambda: begun.update(deepcopy(module.state_dict()))  # type: ignore[method-assign]
    train(module, 4, tiny_pictures())
    encoder = open_model(start).encoder().tensors
    names = [name for name, _ in module.encoder.named_parameters()]
    assert names and all(torch.equal(begun[f"encoder.{n}"], encoder[n]) for n in names)
    assert all(torch.equal(begun[f"encoder_ema.{n}"], encoder[n]) for n in names)
    assert torch.equal(begun["encoder.w_avg"], module.objective.statistics.w_avg)
    assert not torch.equal(begun["encoder.w_avg"], encoder["w_avg"])


def test_a_run_that_goes_on_does_not_start_again(model, tmp_path):
    start = published_encoder(model, tmp_path / "start")
    module = tiny_encoder(model, start_from=str(start))
    saving = RunCheckpoints(tmp_path, 1000.0, 1000.0, 9)
    train(module, 4, tiny_pictures(), (saving,))
    whole = weights(module)
    again, begun = tiny_encoder(model, start_from=str(start)), {}
    again.on_train_start = lambda: begun.update(weights(again))  # type: ignore[method-assign]
    train(again, 8, tiny_pictures(), (), checkpoint_path(tmp_path, 4))
    assert all(torch.equal(begun[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channel_max": 8}, "its encoder has channel_max 16, this one 8"),
        ({"encoder": "e4e"}, "of another kind; give --model.encoder dragline"),
        ({"iterations": 2}, "its encoder has residual False, this one True"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_in_one_line(settings, message, model, tmp_path):
    start = published_encoder(model, tmp_path / "start")
    module = built(model, start_from=str(start), **settings)
    with pytest.raises(UserError, match=f"--model.start_from {re.escape(str(start))}: .*{message}"):
        module.opened_start(module.encoder)


def test_a_start_without_an_encoder_and_one_of_another_generator_are_refused(model, tmp_path):
    other = tiny_model(tmp_path / "wide", w_dim=7)
    for start, message in [(model, "encoder"), (published_encoder(other, tmp_path / "s"), "of 6")]:
        module = tiny_encoder(model, start_from=str(start))
        with pytest.raises(UserError, match=f"--model.start_from.*{message}"):
            module.opened_start(built(model).encoder)
