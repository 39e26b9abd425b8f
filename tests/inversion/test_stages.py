from itertools import pairwise

import pytest
import torch

from framework.errors import UserError
from framework.inversion import stages
from framework.inversion.refine import refine
from framework.inversion.settings import (
    EmbedSettings,
    InversionSettings,
    RefineSettings,
    TuneSettings,
)
from framework.inversion.stages import invert, usual_deviations
from framework.inversion.tune import tune
from framework.models.stylegan2.statistics import style_statistics
from tests.inversion.small import small_encoder, small_generator
from tests.inversion.streams import seeds_ws, small_distance

FEW = InversionSettings(refine=RefineSettings(steps=4), tune=TuneSettings(steps=3))


@pytest.fixture(scope="module")
def parts():
    """A generator, a photograph that it can make, a distance and the statistics."""
    generator = small_generator()
    with torch.no_grad():
        pictures = generator.synthesis(seeds_ws(generator, 1), noise_mode="const").clamp(-1, 1)
    return generator, pictures, small_distance(), style_statistics(generator, 500)


def test_each_stage_begins_with_the_best_of_the_one_before(parts):
    generator, pictures, distance, statistics = parts
    steps = list(invert(generator, pictures, distance, FEW, statistics=statistics))
    ends = [a for a, b in pairwise(steps) if a.stage != b.stage] + steps[-1:]
    starts = steps[:1] + [b for a, b in pairwise(steps) if a.stage != b.stage]
    assert [step.stage for step in ends] == ["embed", "refine", "tune"]
    for end, start in zip(ends, starts[1:], strict=False):
        torch.testing.assert_close(start.ws, end.ws)
        torch.testing.assert_close(start.images, end.images)

    own = {"statistics": statistics}
    *_, refined = refine(generator, pictures, ends[0].ws, distance, FEW.refine, **own)
    *_, tuned = tune(generator, pictures, refined.ws, distance, FEW.tune, **own)
    assert torch.equal(tuned.best_loss, steps[-1].best_loss)


def test_noise_maps_of_refine_stay_in_tune(parts):
    generator, pictures, distance, statistics = parts
    settings = InversionSettings(
        stages=("refine", "tune"),
        refine=RefineSettings(steps=2, noise="optimise"),
        tune=TuneSettings(steps=1),
    )
    steps = list(invert(generator, pictures, distance, settings, statistics=statistics))
    refined = [step for step in steps if step.stage == "refine"][-1]
    assert steps[0].stage == "refine" and refined.noise
    assert all(torch.equal(steps[-1].noise[name], maps) for name, maps in refined.noise.items())


def test_without_embed_the_search_begins_at_the_mean_whatever_the_encoder(parts):
    generator, pictures, distance, statistics = parts
    settings = InversionSettings(stages=("refine",), refine=RefineSettings(steps=0))
    encoder = small_encoder(num_ws=generator.num_ws).eval()
    (step,) = invert(
        generator, pictures, distance, settings, encoder=encoder, statistics=statistics
    )
    assert torch.equal(step.ws, generator.mapping.w_avg.expand_as(step.ws))


@pytest.mark.parametrize(
    ("own_seconds", "wanted"), [((None, None), (6.0, 8.0)), ((2.0, 3.0), (2.0, 3.0))]
)
def test_seconds_are_shared_by_the_stages(parts, monkeypatch, own_seconds, wanted):
    generator, pictures, distance, statistics = parts
    given = []

    def watched(stage):
        def begin(*arguments, **options):
            given.append(arguments[4].max_seconds)
            return stage(*arguments, **options)

        return begin

    monkeypatch.setattr(stages.time, "monotonic", lambda: 100.0)  # no time passes
    for stage in (refine, tune):
        monkeypatch.setattr(stages, stage.__name__, watched(stage))
    settings = InversionSettings(
        refine=RefineSettings(steps=0, max_seconds=own_seconds[0]),
        tune=TuneSettings(steps=0, max_seconds=own_seconds[1]),
        max_seconds=8.0,
    )
    list(invert(generator, pictures, distance, settings, statistics=statistics))
    assert given == list(wanted)


def test_what_does_not_fit_is_said_at_once(parts):
    generator, pictures, distance, _ = parts
    with pytest.raises(UserError, match="pictures"):
        invert(generator, pictures[:, :2], distance)


@pytest.mark.parametrize(
    "values",
    [
        {"stages": []},
        {"stages": ["tune", "refine"]},
        {"stages": ["embed", "embed"]},
        {"stages": 3},
        {"max_seconds": 0},
        {"tune": None},
        {"refine": 5},
        {"refine": {"steps": -1}},
        {"encode": {}},
    ],
)
def test_bad_settings_are_refused_where_they_stand(values):
    with pytest.raises(UserError, match=r"^mine\.yaml: "):
        InversionSettings.from_dict(values, "mine.yaml")


def test_settings_come_back_from_their_values():
    settings = InversionSettings(
        stages=("refine", "tune"), embed=EmbedSettings(2), tune=TuneSettings(locality=None)
    )
    assert InversionSettings.from_dict(settings.to_dict()) == settings


def test_one_in_a_thousand_seeds_lies_beyond_the_usual(parts):
    generator, _, _, statistics = parts
    usual = usual_deviations(generator, statistics)
    rng = torch.Generator().manual_seed(99)
    with torch.no_grad():
        ws = generator.mapping(torch.randn(20_000, generator.z_dim, generator=rng))
    beyond = (statistics.deviations(ws) > usual).float().mean().item()
    assert 0.0002 < beyond < 0.003
