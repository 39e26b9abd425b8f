import json
from pathlib import Path

import pytest

from framework.cli.edit import main
from framework.evaluation import report_folder
from framework.evaluation.report_folder import RESULTS
from framework.jobs import report as report_job
from tests.cli.conftest import save_small_model

FILES = {"report.md", "report.json", "per_image.csv", "grid.png", "worst.png", "results.jsonl"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small", encoder=True)


def report(model: Path, out: Path, *flags: str) -> int:
    """A report with few steps; later flags win."""
    return main(
        ["invert-report", "--data", "toycars:16", "--model", str(model), "--out", str(out),
         "--held-out", "0.3", "--count", "2", "--refine-steps", "2", "--tune-steps", "1",
         "--no-editability", "--json", *flags]
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_samples():
    """A report draws eight pictures of the model's own; one tells a test as much."""
    changed = pytest.MonkeyPatch()
    settings = report_job.ReportSettings
    changed.setattr(
        report_job, "ReportSettings", lambda **given: settings(**{"synthetic": 1, **given})
    )
    yield
    changed.undo()


def test_a_report_is_interrupted_and_the_same_command_goes_on(model, tmp_path, capsys, monkeypatch):
    out, keep = tmp_path / "report", report_folder.ReportFolder.keep

    def interrupted(folder, record):
        if (record.kind, record.index) == ("picture", 1):
            raise KeyboardInterrupt
        keep(folder, record)

    monkeypatch.setattr(report_folder.ReportFolder, "keep", interrupted)
    assert report(model, out) == 130
    told = capsys.readouterr().out
    assert "interrupted: 1 of 2 photographs are done" in told
    assert json.loads(told.splitlines()[-1])["counts"]["picture"] == 1
    begun = (out / RESULTS).read_text()
    assert {path.name for path in out.iterdir()} >= FILES

    monkeypatch.setattr(report_folder.ReportFolder, "keep", keep)
    assert report(model, out) == 0
    told = capsys.readouterr().out
    outcome = json.loads(told.splitlines()[-1])
    assert "going on" in told and "2/2 toycar" in told and "1/2 toycar" not in told
    assert (out / RESULTS).read_text().startswith(begun)
    assert outcome["counts"]["picture"] == 2 and outcome["counts"]["synthetic"] == 1
    assert {Path(name).name for name in outcome["files"]} >= FILES

    numbers = json.loads((out / "report.json").read_text())
    protocol = numbers["protocol"]
    assert next(iter(numbers)) == "protocol" and len(protocol["sessions"]) == 2
    assert protocol["encoder"]["parameters"] > 0 and protocol["data"]["source"] == "toycars"
    assert protocol["stages"]["refine"]["steps"] == 2 and protocol["stages"]["tune"]["steps"] == 1
    assert protocol["data"]["held_out"]["share"] == 0.3
    assert protocol["generator_quality"] is None
    held_out = protocol["data"]["held_out"]["pictures"]
    assert numbers["counts"]["embedded"] == held_out < 16
    assert "trained on: none" in (out / "report.md").read_text()


def test_all_of_a_folder_may_be_held_out_and_edits_are_asked_for(model, tmp_path, capsys):
    out = tmp_path / "report"
    flags = ["--held-out", "0", "--count", "1", "--stages", "embed,refine", "--editability"]
    assert report(model, out, "--data", "toycars:2", *flags) == 0
    numbers = json.loads((out / "report.json").read_text())
    assert list(numbers["reconstruction"]) == [
        "w_avg", "from_w_avg@embed", "from_w_avg@embed+refine", "embed", "embed+refine"
    ]  # fmt: skip
    assert set(numbers["editability"]) == {"sampled", "embed", "embed+refine"}
    assert "logit_shift" in numbers["editability"]["embed"]
    assert numbers["protocol"]["data"]["held_out"]["pictures"] == 2
    assert (out / "edited.png").exists()
    assert "1/1 toycar" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--held-out", "0.9"], "--held-out 0.9: give a share from 0 to 0.5"),
        (["--count", "0"], "--count 0: give at least 1"),
        (["--stages", "tune,embed"], "--stages"),
        (["--data", "nowhere"], "--data nowhere: no such folder or zip file"),
        (["--data", "toycars:2", "--held-out", "0.001"], "--held-out 0.001: of 2 pictures"),
        (["--model", "nowhere"], "--model nowhere"),
        (["--refine-steps", "-1"], "--refine-steps"),
        (["--perceptual", "lpips-vgg"], "--perceptual lpips-vgg: its weights are missing"),
    ],
)
def test_mistakes_are_told_in_a_line_that_names_the_flag(
    flags, complaint, model, tmp_path, capsys, bare
):
    out = tmp_path / "report"
    assert report(model, out, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and complaint in line
    assert not out.exists()


def test_a_folder_with_other_settings_is_left_alone(model, tmp_path, capsys):
    out = tmp_path / "report"
    assert report(model, out, "--stages", "embed", "--count", "1") == 0
    held = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert report(model, out, "--stages", "embed", "--count", "1", "--seed", "4") == 2
    assert "with another data.order" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == held
