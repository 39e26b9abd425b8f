"""The benchmark as a job: stopped and continued, refused in one line, skipped by name."""

import json
import re
from dataclasses import replace

import pytest

from framework.errors import UserError
from framework.evaluation.drag import trial as trials
from framework.evaluation.drag.lab import Lab
from framework.evaluation.drag.protocols import landmarks
from framework.evaluation.report_folder import ReportFolder
from framework.jobs import bench as bench_job
from framework.jobs.bench import bench
from framework.jobs.requests.bench import BenchRequest
from framework.media.images import read_image
from tests.evaluation.drag.conftest import car, lab, shifted_car  # noqa: F401 - fixtures

FAST = "small+max_steps=3+feature_resolution=64"
WHEELS = "wheels, real mix"


class NoTime:
    """A stopwatch of a machine that takes no time."""

    def __init__(self, device):
        pass

    def spent(self):
        return {"seconds": 0.25, "work_seconds": 0.125, "peak_mb": 100.0}

    def grown_mb(self):
        return 10.0


@pytest.fixture(autouse=True)
def small_bench(monkeypatch, lab):  # noqa: F811
    """The drawing's lab, two kinds of tasks, and a clock that stands still."""
    monkeypatch.setattr(bench_job, "open_lab", lambda request: lab)
    monkeypatch.setattr(trials, "Stopwatch", NoTime)
    monkeypatch.setattr(Lab, "realism_to_a_stranger", lambda self, before, after: 0.5)
    monkeypatch.setattr(Lab, "perceptual", lambda self, before, after: 0.25)
    groups = (WHEELS, "roofs, free 6 px")
    monkeypatch.setattr(landmarks, "PROTOCOL", replace(landmarks.PROTOCOL, groups=groups))
    session = {
        "date": "2026-01-01", "processor": "none", "cores": 1, "torch": "0", "python": "3",
    }  # fmt: skip
    monkeypatch.setattr(bench_job, "session_facts", lambda device: session)


def request(out, **changes) -> BenchRequest:
    given = {"methods": (FAST,), "n": 2} | changes
    return BenchRequest(what="drag", out=str(out), model="drawing", **given)


def numbers_of(out) -> dict:
    return json.loads((out / "report.json").read_text())


def test_a_stopped_benchmark_goes_on_and_its_report_is_that_of_one_run(tmp_path, monkeypatch):
    whole = bench(request(tmp_path / "whole"))
    assert whole.stop is None and whole.done == whole.planned == 2 * (3 + 2)
    keep, kept = ReportFolder.keep, []

    def interrupted(folder, record):
        if len(kept) == 10:
            raise KeyboardInterrupt
        kept.append(record)
        keep(folder, record)

    monkeypatch.setattr(ReportFolder, "keep", interrupted)
    stopped = bench(request(tmp_path / "parts"))
    assert stopped.stop is not None and 0 < stopped.done < whole.done
    assert numbers_of(tmp_path / "parts")["protocols"]["landmarks"]["groups"][WHEELS]["rows"]

    monkeypatch.setattr(ReportFolder, "keep", keep)
    again = bench(request(tmp_path / "parts"))
    assert again.done == whole.done - stopped.done
    reports = [numbers_of(tmp_path / name) for name in ("whole", "parts")]
    assert [len(report.pop("sessions")) for report in reports] == [1, 2]
    assert reports[0] == reports[1]
    assert bench(request(tmp_path / "parts")).planned == 0


def test_more_tasks_and_methods_are_added_to_what_is_there(tmp_path):
    out = tmp_path / "bench"
    bench(request(out, n=1, methods=(FAST,)))
    outcome = bench(request(out, n=2, methods=(f"{FAST}+tracker=off",)))
    rows = numbers_of(out)["protocols"]["landmarks"]["groups"][WHEELS]["rows"]
    assert list(rows) == ["no edit", "the mix itself", FAST, f"{FAST}+tracker=off"]
    assert [row["count"] for row in rows.values()] == [2, 2, 1, 2]
    assert outcome.planned == 2 * (3 + 2) - (2 + 1)
    assert rows["no edit"]["px"]["mean"] > 2 and rows["the mix itself"]["px"]["mean"] < 1e-5
    assert rows[FAST]["ended"] == {"max_steps": 1}
    page = (out / "report.md").read_text()
    assert f"| `{FAST}+tracker=off` |" in page and "left wheel hub 0.15" in page
    named = re.findall(r"!\[\]\((.*)\)", page)
    assert len(named) == 2 * (2 + 2) and all((out / name).is_file() for name in named)
    strip = read_image(
        out / "strips/landmarks_wheels-real-mix_small+max-steps=3+feature-resolution=64.jpg"
    )
    assert strip.shape[1] > 2 * 192 and (out / "report.html").stat().st_size > 20_000


def test_only_some_kinds_of_tasks_are_done_where_that_is_asked(tmp_path):
    out = tmp_path / "bench"
    assert bench(request(out, n=1, only=("roofs",))).planned == 2
    groups = numbers_of(out)["protocols"]["landmarks"]["groups"]
    assert groups[WHEELS] == {"tasks": 0, "rows": {}}
    assert "### Wheels" not in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("changes", "what"), [({"psi": 0.5}, "psi"), ({"model": "another"}, "model.name")]
)
def test_other_settings_in_the_same_folder_are_refused(tmp_path, changes, what):
    out = tmp_path / "bench"
    bench(request(out, n=1))
    before = (out / "results.jsonl").read_bytes()
    other = BenchRequest(
        **({"what": "drag", "out": str(out), "model": "drawing", "methods": (FAST,)} | changes)
    )
    with pytest.raises(UserError, match=f"another {what}; give a new folder"):
        bench(other)
    assert (out / "results.jsonl").read_bytes() == before


def test_a_method_that_cannot_run_is_skipped_by_name(tmp_path):
    out = tmp_path / "bench"
    names = ("small+feature_resolution=256", "latent-transformer+feature_resolution=64")
    outcome = bench(request(out, n=1, methods=(FAST, *names)))
    assert tuple(outcome.skipped) == names and "this model has 4, 8" in outcome.skipped[names[0]]
    page = (out / "report.md").read_text()
    for name, reason in outcome.skipped.items():
        assert f"`{name}` is skipped: {reason}" in page
        assert page.count(f"| `{name}` | skipped: ") >= 2
    rows = numbers_of(out)["protocols"]["landmarks"]["groups"][WHEELS]["rows"]
    assert list(rows) == ["no edit", "the mix itself", FAST]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"n": 0}, "n 0: give a number"),
        ({"processes": 0}, "processes 0: give 1"),
        ({"first_seed": -1}, "first_seed -1"),
        ({"protocol": ("landmark",)}, "protocol landmark: expected one of ablations"),
        ({"only": ("ships",)}, "only ships: in none of: wheels, real mix; "),
        ({"methods": ("none",)}, "methods none: 'none' is none of"),
    ],
)
def test_a_wrong_request_is_one_line(tmp_path, changes, complaint):
    with pytest.raises(UserError) as refusal:
        bench(request(tmp_path / "bench", **changes))
    assert complaint in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "bench").exists()


@pytest.mark.slow
def test_processes_give_what_one_gives(tmp_path, monkeypatch):
    monkeypatch.undo()  # the shipped model and clock: processes are not patched
    few = {"methods": ("dragline",), "n": 1, "only": ("wheels",), "model": "toycars64"}
    reports = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        bench(BenchRequest(what="drag", out=str(out), processes=processes, **few))
        groups = numbers_of(out)["protocols"]["landmarks"]["groups"]
        reports.append({
            name: {row: [numbers["px"], numbers["steps"], numbers["passes"]]
                   for row, numbers in group["rows"].items()}
            for name, group in groups.items()
        })  # fmt: skip
    assert reports[0] == reports[1] and reports[0][WHEELS]["dragline"][1]["mean"] > 0


def test_another_model_is_refused_where_pictures_are_the_first_ones(tmp_path):
    with pytest.raises(UserError, match=r"other: in landmarks pictures of the model are dragged"):
        bench(request(tmp_path / "out", methods=("other:small",)))
    with pytest.raises(UserError, match=r"a/m, b/m: two of one name"):
        bench(request(tmp_path / "out", methods=("a/m:small", "b/m:small"), protocol=("drawn",)))
