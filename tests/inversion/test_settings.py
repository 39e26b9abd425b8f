"""Settings of an inversion's stages: checked at once, and the same after a file."""

import json
import subprocess
import sys

import pytest

from framework.errors import UserError
from framework.inversion.settings import EmbedSettings, Locality, RefineSettings, TuneSettings


@pytest.mark.parametrize(
    "settings",
    [
        EmbedSettings(iterations=3),
        RefineSettings(steps=7, space="w", stop=0.1, noise="optimise"),
        TuneSettings(rank=2, locality=Locality(alpha=2.0), max_seconds=3.5),
        TuneSettings(locality=None, parameters="all"),
    ],
)
def test_settings_survive_json(settings):
    read = json.loads(json.dumps(settings.to_dict()))
    assert type(settings).from_dict(read) == settings


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (EmbedSettings, {"iterations": 0}, "iterations 0"),
        (RefineSettings, {"lr": 0}, "lr 0"),
        (RefineSettings, {"lr": "1e-2"}, "write 0.002, not 2e-3"),
        (RefineSettings, {"lr": float("nan")}, "lr nan"),
        (RefineSettings, {"steps": True}, "steps True"),
        (RefineSettings, {"steps": None}, "steps None"),
        (RefineSettings, {"pixel": -1}, "pixel -1"),
        (RefineSettings, {"pixel": None}, "pixel None"),
        (RefineSettings, {"space": "z"}, "w+, w"),
        (RefineSettings, {"noise": "random"}, "const, optimise"),
        (RefineSettings, {"stop": -0.1}, "stop -0.1"),
        (TuneSettings, {"rank": 0}, "rank 0"),
        (TuneSettings, {"parameters": "mapping"}, "conv, all"),
        (TuneSettings, {"locality": 3}, "locality 3"),
        (TuneSettings, {"locality": {"evry": 3}}, "no setting 'evry'"),
        (TuneSettings, {"locality": {"every": 0}}, "locality: every 0"),
        (TuneSettings, {"seed": -1}, "seed -1"),
    ],
)
def test_what_does_not_fit_is_named(kind, values, named):
    with pytest.raises(UserError, match="here: ") as error:
        kind.from_dict(values, "here")
    assert named in str(error.value)


def test_unknown_names_are_told_what_there_is():
    with pytest.raises(UserError, match="no setting 'iters'; there are iterations"):
        EmbedSettings.from_dict({"iters": 2})
    with pytest.raises(UserError, match="by name, got list"):
        EmbedSettings.from_dict([])  # type: ignore[arg-type]


def test_optional_values_may_be_none():
    assert TuneSettings(rank=None, stop=None, max_seconds=None, locality=None).locality is None


def test_settings_need_no_torch():
    code = "import sys; import framework.inversion.settings; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
