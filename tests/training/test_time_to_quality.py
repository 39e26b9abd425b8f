"""benchmarks/time_to_quality.py: its clock, its table, its recipes, and one tiny run of it."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import time_to_quality as ttq  # noqa: E402


def point(recipe: str, minutes: float, kid: float) -> dict:
    return {
        "recipe": recipe, "model": f"{recipe}/{minutes}", "kimg": minutes * 2,
        "cpu_minutes": minutes, "kid_lite": kid, "kid_lite_ci95": 0.001, "recall_lite": 0.5,
    }  # fmt: skip


def test_the_clock_adds_up_sessions_that_each_start_at_nothing():
    ticks = [(1.0, 10.0), (2.0, 20.0), (3.0, 4.0), (4.0, 9.0)]
    assert ttq.accumulated(iter(ticks)) == [(1.0, 10.0), (2.0, 20.0), (3.0, 24.0), (4.0, 29.0)]


@pytest.mark.parametrize(
    ("kid", "minutes"), [(0.5, 10), (0.4, 10), (0.3, 15), (0.2, 20), (0.1, None)]
)
def test_the_minutes_to_a_kid_lie_between_two_points(kid, minutes):
    curve = [point("a", 10, 0.4), point("a", 20, 0.2)]
    assert ttq.minutes_to(curve, kid) == (None if minutes is None else pytest.approx(minutes))


def test_the_table_says_when_each_recipe_reached_the_last_kid_of_the_base():
    rows = [
        point("today", 30, 0.4), point("today", 60, 0.2),
        point("fast", 30, 0.2), point("fast", 15, 0.5),
        point("slow", 60, 0.3),
    ]  # fmt: skip
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in ttq.report(rows).splitlines()
    ]
    assert {line[0]: line[-1] for line in lines[2:]} == {
        "today": "60", "fast": "30", "slow": "not reached"
    }  # fmt: skip
    plot = ttq.plot(rows)
    assert "polyline" in plot and "slow" in plot
    assert re.findall(r'y="394" text-anchor="middle">(\d+)<', plot) == [*map(str, range(0, 61, 10))]


@pytest.mark.parametrize("name", ttq.RECIPES)
def test_every_recipe_is_made_of_settings_that_exist(name, capsys):
    from framework.cli.start import train

    for stage in ttq.RECIPES[name]:
        arguments = [
            "fit", "--config", str(ROOT / ttq.CONFIG), "--data.source", "toycars:64",
            "--run.dry_run", "true", "--run.dir", "never-made", *stage.flags,
        ]  # fmt: skip
        assert not train(arguments)
        assert not capsys.readouterr().err.startswith("error")


@pytest.mark.slow
def test_a_run_is_timed_measured_and_not_repeated(tmp_path, capsys):
    arguments = [
        "--out", str(tmp_path), "--recipes", "today", "32-then-64", "--minutes", "0.4",
        "--fakes", "64", "--data", "toycars:64", "--snapshot-minutes", "0.2",
    ]  # fmt: skip
    ttq.main(arguments)
    rows = [json.loads(line) for line in (tmp_path / ttq.MEASURED).read_text().splitlines()]
    assert {row["recipe"] for row in rows} == {"today", "32-then-64"}
    assert all(row["cpu_minutes"] > 0 and row["kid_lite"] > 0 for row in rows)
    ttq.main(arguments)
    assert len((tmp_path / ttq.MEASURED).read_text().splitlines()) == len(rows)
