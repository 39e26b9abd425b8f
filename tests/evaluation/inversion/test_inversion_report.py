"""The report's numbers against naive ones, its folder against interruptions, its pictures."""

import csv
import io
import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from framework.data import ImageDataset, open_dataset
from framework.data.holdout import split
from framework.drag.settings import DragSettings
from framework.errors import InvalidEdit, UserError
from framework.evaluation.formatting import strict
from framework.evaluation.generator.features import open_discriminator
from framework.evaluation.intervals import bootstrap, paired
from framework.evaluation.inversion import baselines as inversion_baselines
from framework.evaluation.inversion import report as inversion_report
from framework.evaluation.inversion.baselines import (
    FROM_MEAN,
    MEAN,
    Result,
    StageRunner,
    from_mean,
    mean_result,
    nearest_of_each,
    render,
)
from framework.evaluation.inversion.measures import Measures, choose_ruler, rounded
from framework.evaluation.inversion.pages import page, per_image, write_pages
from framework.evaluation.inversion.protocol import (
    generator_quality,
    honest_notes,
    identity,
)
from framework.evaluation.inversion.record import FORM, ReportSettings
from framework.evaluation.inversion.report import InversionReport
from framework.evaluation.inversion.sheets import write_sheets
from framework.evaluation.inversion.tables import Tables
from framework.evaluation.report_folder import RESULTS, ReportFolder, differences
from framework.evaluation.session import session_facts
from framework.evaluation.sheet import sheet, shortened
from framework.evaluation.stopwatch import Stopwatch
from framework.inversion.settings import InversionSettings, RefineSettings, TuneSettings
from framework.media.draw import enlarge
from framework.media.images import read_image, to_float
from framework.models.features.distance import DiscriminatorDistance, MultiscaleDistance
from framework.models.stylegan2.statistics import style_statistics
from tests.inversion.small import small_encoder
from tests.inversion.streams import known, small_distance

STAGES = ("embed", "embed+refine", "embed+refine+tune")
SETTINGS = InversionSettings(refine=RefineSettings(steps=3), tune=TuneSettings(steps=2)).suited(
    has_encoder=True
)
DRAG = DragSettings(max_steps=2)
TIMED = {"seconds", "work_seconds", "peak_mb"}


@pytest.fixture(scope="module")
def parts() -> tuple[ImageDataset, ImageDataset]:
    """Training pictures and held-out ones: 16 px toy cars."""
    return split(open_dataset("toycars:24", 16), 0.2)


@pytest.fixture(scope="module")
def runner() -> StageRunner:
    generator, _, _ = known()
    statistics = style_statistics(generator, 200)
    encoder = small_encoder(num_ws=generator.num_ws).eval().requires_grad_(False)
    return StageRunner(generator, small_distance(), SETTINGS, statistics, encoder)


@pytest.fixture(scope="module")
def measures(runner) -> Measures:
    return Measures(runner.distance, MultiscaleDistance(), "multiscale")


@pytest.fixture(scope="module")
def questions(runner, measures, parts) -> InversionReport:
    settings = ReportSettings(
        count=3, embedded=4, edited=1, synthetic=1, edits=2, drag=DRAG, drag_points=1
    )
    judge = small_distance().discriminator
    return InversionReport(runner, measures, parts[1], parts[0], settings, judge)


@pytest.fixture(scope="module")
def folder(questions, tmp_path_factory) -> ReportFolder:
    """A report with everything asked once, closed."""
    out = tmp_path_factory.mktemp("report") / "whole"
    with opened(questions, out) as folder:
        for record in questions.records():
            folder.keep(record)
    return folder


@pytest.fixture(scope="module")
def tables(folder) -> Tables:
    return tables_of(folder)


def opened(questions: InversionReport, out) -> ReportFolder:
    session = session_facts(torch.device("cpu"))
    return ReportFolder(out, FORM, identity(questions, "tiny", 0.2), session)


def tables_of(folder: ReportFolder) -> Tables:
    columns = ("mse_pm1", "mse01", "psnr", "ssim", "ms_ssim", "dfeat", "multiscale")
    return Tables(folder.records, columns, STAGES, "multiscale", usual=1.5)


def protocol_of(folder: ReportFolder, questions: InversionReport) -> dict:
    return {
        **identity(questions, "tiny", 0.2),
        "perceptual": "dfeat",
        "ruler": "multiscale",
        "usual_deviations": 1.5,
        "sessions": folder.sessions,
        "notes": ["a note"],
    }


# --------------------------------------------------------------------------------------- intervals


def test_the_interval_is_that_of_a_naive_bootstrap():
    values = np.random.default_rng(1).gamma(2.0, size=20)
    rng = np.random.default_rng(9)
    naive = sorted(rng.choice(values, 20).mean() for _ in range(4000))
    made = bootstrap(values.tolist())
    assert made.mean == pytest.approx(values.mean()) and made.count == 20
    assert made.low == pytest.approx(naive[100], rel=0.05)
    assert made.high == pytest.approx(naive[3900], rel=0.05)
    assert bootstrap(values.tolist()) == made != bootstrap(values.tolist(), seed=1)


def test_intervals_of_few_equal_and_infinite_values():
    assert math.isnan(bootstrap([]).mean) and math.isnan(bootstrap([2.0]).low)
    same = bootstrap([3.0] * 5)
    assert (same.mean, same.low, same.high) == (3.0, 3.0, 3.0)
    assert bootstrap([1.0, math.inf]).high == math.inf


def test_differences_are_taken_picture_by_picture():
    before = [1.0, 10.0, 100.0, math.inf]
    after = [0.5, 9.0, 98.5, math.inf]
    made = paired(after, before)
    assert made.mean == pytest.approx(-0.75)
    assert made.high < 0 < bootstrap(before[:3]).high - bootstrap(before[:3]).low


# ---------------------------------------------------------------------------------------- baselines


@pytest.mark.parametrize("pixels_at_once", [1, 2**22])
@pytest.mark.parametrize("perceptual", [False, True])
def test_the_nearest_training_picture_is_that_of_a_naive_search(
    perceptual, pixels_at_once, monkeypatch
):
    monkeypatch.setattr(inversion_baselines, "_PIXELS_AT_ONCE", pixels_at_once)
    rng = torch.Generator().manual_seed(0)
    photos, gallery = (torch.rand(n, 3, 16, 16, generator=rng) * 2 - 1 for n in (3, 7))
    distance = small_distance() if perceptual else None

    def apart(a, b):
        if distance is None:
            return (a - b).square().mean().sqrt().item()
        return distance(a[None], b[None]).item()

    naive = [[apart(photo, other) for other in gallery] for photo in photos]
    index, least = nearest_of_each(photos, lambda: gallery.split(3), distance)
    assert index.tolist() == [row.index(min(row)) for row in naive]
    assert least.tolist() == pytest.approx([min(row) for row in naive], rel=1e-4)


def test_each_stage_has_a_result_that_its_own_generator_draws(runner):
    _, photo, _ = known()
    before = runner.generator.digest
    results = list(runner.results(photo))
    assert [result.method for result in results] == list(STAGES) == runner.methods
    for result in results:
        assert torch.equal(render(result.generator, result.ws), result.image)
    embedded, refined, tuned = results
    assert embedded.generator is refined.generator is runner.generator is not tuned.generator
    assert torch.equal(embedded.ws, runner.encoder(photo))
    assert torch.equal(refined.ws, tuned.ws) and not torch.equal(refined.image, tuned.image)
    for spent in ("seconds", "work_seconds"):  # of the whole way; a coarse clock may stand still
        assert 0 <= getattr(embedded, spent) <= getattr(refined, spent) <= getattr(tuned, spent)
    assert [result.steps for result in results] == [0, 3, 5]
    assert runner.generator.digest == before


def test_the_search_from_the_mean_has_the_rivals_time_and_no_encoder(runner, monkeypatch):
    _, photo, _ = known()
    rival = Result("embed+refine", photo, work_seconds=1.5)
    asked = []
    search = inversion_baselines.refine

    def watched(*arguments, **named):
        asked.append((arguments[4], named))
        return search(*arguments, **named)

    monkeypatch.setattr(inversion_baselines, "refine", watched)
    monkeypatch.setattr(inversion_baselines, "_seconds_a_step", lambda *_: 0.1)
    found = from_mean(runner, photo, rival)
    settings, named = asked[-1]
    assert found.method == FROM_MEAN + "embed+refine" and found.status != "diverged"
    assert settings.encoder == 0 and "encoder" not in named
    # All the steps that there is time for, not those of refine.
    assert found.steps == settings.steps == 15 != runner.settings.refine.steps
    assert found.work_seconds > 0
    mean = mean_result(runner.generator)
    error = [(image - photo).square().mean() for image in (found.image, mean.image)]
    assert error[0] < error[1]
    assert torch.equal(mean.ws, runner.generator.mapping.w_avg.expand_as(mean.ws))


def test_a_steps_time_is_the_median_between_two_steps(runner, monkeypatch):
    class Clock:
        def __init__(self, _):
            self.times = iter([5.0, 9.0, 9.25, 9.75])

        def work_seconds(self):
            return next(self.times)

    monkeypatch.setattr(inversion_baselines, "Stopwatch", Clock)
    _, photo, _ = known()
    step_sec = inversion_baselines._seconds_a_step(runner, photo, RefineSettings(steps=3))
    assert step_sec == 0.5


# ----------------------------------------------------------------------------------------- measures


def test_measures_are_those_of_eight_bits(measures):
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 16, 16, generator=rng) * 2.4 - 1.2 for _ in range(2))
    levels = [((x.clamp(-1, 1) + 1) * 127.5).round().double() for x in (a, b)]
    for row, first, second in zip(measures(a, b), *levels, strict=True):
        mse01 = ((first - second) / 255).square().mean().item()
        assert row["mse01"] == pytest.approx(mse01, rel=1e-4)
        assert row["mse_pm1"] == pytest.approx(4 * mse01, rel=1e-4)
        assert row["psnr"] == pytest.approx(-10 * math.log10(mse01), rel=1e-4)
        seen = [(x / 127.5 - 1).float()[None] for x in (first, second)]
        assert row["dfeat"] == pytest.approx(measures.distance(*seen).item(), rel=1e-3)
        assert row["multiscale"] == pytest.approx(MultiscaleDistance()(*seen).item(), rel=1e-3)
    assert set(measures.names) == set(measures(a, b)[0]) <= {*measures.protocol((16, 16))}


def test_no_network_judges_what_descended_on_it():
    own = DiscriminatorDistance(open_discriminator("features64").discriminator)
    name, ruler, note = choose_ruler(own)
    assert name == ruler.name == "multiscale" and "own discriminator" in note
    name, ruler, note = choose_ruler(small_distance())
    assert name == "features64" and ruler.digest == own.digest and not note
    assert choose_ruler(MultiscaleDistance())[0] == "features64"


def test_the_peak_is_of_the_time_since_the_watch_was_made():
    held = torch.ones(8_000_000)  # 32 MB
    del held
    watch = Stopwatch(torch.device("cpu"))
    before = watch.peak_mb()
    if before is None:
        pytest.skip("this system does not forget its peak")
    held = torch.ones(16_000_000)
    highest = watch.peak_mb()
    assert highest - before > 40
    del held
    assert Stopwatch(torch.device("cpu")).peak_mb() < highest - 40


def test_time_of_computing_is_not_that_of_waiting(monkeypatch):
    wall, work = iter([100.0, 107.0]), iter([5.0, 6.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(time, "process_time", lambda: next(work))
    watch = Stopwatch(torch.device("cpu"))
    assert (watch.seconds(), watch.work_seconds()) == (7.0, 1.5)


# -------------------------------------------------------------------------------------- the records


def test_every_question_is_asked_once(folder, questions):
    keys = [(record["kind"], record["index"]) for record in folder.records]
    wanted = {"latents": 1, "nearest": 3, "embedded": 4, "picture": 3, "synthetic": 1}
    assert keys == [(kind, i) for kind, count in wanted.items() for i in range(count)]
    assert list(questions.records(folder.done)) == []


def test_methods_of_a_photograph_are_all_there_and_measured_on_it(folder, questions, measures):
    order = questions.order
    for record in folder.records:
        if record["kind"] != "picture":
            continue
        held_out = questions.held_out
        number = order[record["index"]]
        assert record["picture"] == held_out.name(number)
        photo = folder.image("picture", record["index"], "photo", 3)
        assert np.array_equal(photo, held_out.image(number).transpose(1, 2, 0))
        rivals = [FROM_MEAN + stage for stage in STAGES]
        assert [row["method"] for row in record["rows"]] == [MEAN, *rivals, *STAGES]
        for row in record["rows"]:
            made = folder.image("picture", record["index"], row["method"], 3)
            naive = ((photo / 255.0 - made / 255.0) ** 2).mean()
            assert row["mse01"] == pytest.approx(naive, rel=1e-4)
            seen = [to_float(image[None]) for image in (made, photo)]
            assert row["dfeat"] == pytest.approx(measures.distance(*seen).item(), rel=1e-3)


def test_nearest_pictures_are_training_pictures(folder, questions, parts):
    kept = {parts[0].name(i): parts[0].image(i) for i in range(len(parts[0]))}
    for record in (r for r in folder.records if r["kind"] == "nearest"):
        photo = questions.held_out.image(questions.order[record["index"]])
        errors = {n: ((image / 1.0 - photo) ** 2).mean() for n, image in kept.items()}
        assert record["nearest_pixel"] == min(errors, key=errors.__getitem__)
        found = folder.image("nearest", record["index"], "nearest_pixel", 3)
        assert np.array_equal(found.transpose(2, 0, 1), kept[record["nearest_pixel"]])
        assert record["nearest_dfeat"] in kept


def test_edits_are_of_the_first_photographs_and_of_known_latents(folder):
    by_kind = {(r["kind"], r["index"]): r for r in folder.records}
    assert "edited" not in by_kind["picture", 1]
    assert [e["method"] for e in by_kind["picture", 0]["edited"]] == list(STAGES)
    (known_edit,) = by_kind["synthetic", 0]["edited"]
    assert known_edit["method"] == "sampled"
    start, back = (
        folder.image("synthetic", 0, name, 3) / 255.0 for name in ("photo", "sampled back")
    )
    assert known_edit["returned"]["mse01"] == pytest.approx(((start - back) ** 2).mean(), rel=1e-3)
    errors = {r["method"]: r["latent_error"] for r in by_kind["synthetic", 0]["rows"]}
    assert errors["embed+refine"] == errors["embed+refine+tune"] > 0


def test_a_drag_that_fails_is_counted_and_the_others_go_on(questions, monkeypatch):
    def refuse(*_):
        raise InvalidEdit("the model gives NaN")

    monkeypatch.setattr(inversion_report, "there_and_back", refuse)
    done = {(kind, i) for kind in ("latents", "nearest", "embedded", "synthetic") for i in range(9)}
    record = next(questions.records(done))
    assert record.facts["edited"][0] == {"method": "embed", "failed": "the model gives NaN"}
    line = {"kind": record.kind, "index": record.index, **record.facts}
    told = Tables([line], ["mse01"], STAGES, "mse01", 1.0).editability()
    assert (told["embed"]["count"], told["embed"]["failed"]) == (0, 1)


def test_more_photographs_begin_with_the_same_ones(questions):
    more = replace(questions, settings=replace(questions.settings, count=5))
    fewer = replace(questions, settings=replace(questions.settings, count=1))
    assert more.order == questions.order == fewer.order
    assert identity(more, "tiny", 0.2) == identity(fewer, "tiny", 0.2)


def test_without_an_encoder_or_a_gallery_nothing_is_asked_of_them(questions, runner):
    bare = replace(questions, runner=replace(runner, encoder=None), gallery=None)
    done = {(kind, i) for kind in ("latents", "picture", "synthetic") for i in range(9)}
    assert list(bare.records(done)) == []


# ------------------------------------------------------------------------------------ interruptions


def untimed(text: str) -> list[dict]:
    """Rows of per_image.csv that no clock decides, without what a clock says."""
    rows = csv.DictReader(io.StringIO(text))
    return [
        {name: value for name, value in row.items() if name not in TIMED}
        for row in rows
        if not row["method"].startswith(FROM_MEAN)
    ]


def test_a_report_that_was_stopped_goes_on_to_the_same_file(questions, folder, tmp_path):
    out = tmp_path / "report"
    with opened(questions, out) as first:
        for number, record in enumerate(questions.records()):
            if number == 9:  # the second photograph's work is lost
                break
            first.keep(record)
    begun = (out / RESULTS).read_text()
    with open(out / RESULTS, "a") as file:
        file.write('{"kind": "picture", "index": 1, "rows": [{"meth')  # killed as it wrote
    with opened(questions, out) as second:
        assert second.done == first.done and len(second.done) == 9
        for record in questions.records(second.done):
            second.keep(record)
    assert (out / RESULTS).read_text().startswith(begun)
    assert len(second.sessions) == 2
    assert untimed(per_image(tables_of(second))) == untimed(per_image(tables_of(folder)))


def test_a_folder_of_another_report_is_refused_by_what_differs(questions, folder, tmp_path):
    out, session = folder.path, {"date": "now"}
    facts = json.loads(json.dumps(identity(questions, "tiny", 0.2)))
    facts["stages"]["refine"]["steps"] = 99
    facts["model"]["name"] = "other"
    with pytest.raises(UserError, match=r"with another model\.name, stages\.refine\.steps"):
        ReportFolder(out, FORM, facts, session)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="already holds files"):
        ReportFolder(tmp_path, FORM, facts, session)
    (tmp_path / RESULTS).write_text('{"metric": 1}\n')
    with pytest.raises(UserError, match="is no report's"):
        ReportFolder(tmp_path, FORM, facts, session)
    (tmp_path / RESULTS).write_text("{]\n{}\n")
    with pytest.raises(UserError, match="damaged"):
        ReportFolder(tmp_path, FORM, facts, session)


def test_a_folder_is_one_processs_at_a_time(questions, tmp_path):
    with opened(questions, tmp_path / "report"):
        with pytest.raises(UserError, match="another process"):
            opened(questions, tmp_path / "report")
    with opened(questions, tmp_path / "report") as again:
        assert again.done == set()


def test_differences_are_named_by_their_place():
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}}) == ["a.c", "d"]
    assert differences([1], [1]) == []


# -------------------------------------------------------------------------------------- the tables


def test_means_medians_and_counts_are_naive_ones(folder, tables):
    told = tables.to_dict()
    rows = [r for record in folder.records if record["kind"] == "picture" for r in record["rows"]]
    for method in (MEAN, *STAGES):
        mine = [row for row in rows if row["method"] == method]
        line = told["reconstruction"][method]
        assert line["count"] == 3
        assert line["ssim"]["mean"] == pytest.approx(np.mean([row["ssim"] for row in mine]))
        assert line["mse01"] == bootstrap([row["mse01"] for row in mine]).to_dict()
        if method != MEAN:
            assert line["seconds_median"] == np.median([row["seconds"] for row in mine])
            assert line["peak_mb_max"] == max(row["peak_mb"] for row in mine)
    assert told["reconstruction_embedded"]["embed"]["count"] == 4
    assert told["counts"]["picture"] == 3


def test_stages_are_compared_photograph_by_photograph(folder, tables):
    lines = {(c["method"], c["against"]): c for c in tables.comparisons()}
    rows = tables.counted()
    pair = lines["embed+refine", "embed"]
    better = sum(r["embed+refine"]["psnr"] > r["embed"]["psnr"] for r in rows.values())
    assert pair["psnr"]["better"] == better and pair["of"] == 3
    naive = np.mean([r["embed+refine"]["dfeat"] - r["embed"]["dfeat"] for r in rows.values()])
    assert pair["dfeat"]["mean"] == pytest.approx(naive)
    # Each stage against the search that had its time, and against every other baseline.
    against = {other for method, other in lines if method == "embed+refine+tune"}
    rival = FROM_MEAN + "embed+refine+tune"
    assert against == {"embed+refine", MEAN, rival, "nearest_pixel", "nearest_dfeat"}


def made_up(ruler: dict[int, float]) -> Tables:
    """Tables of pictures whose final result is as far as said."""
    records = [
        {"kind": "picture", "index": i, "picture": f"p{i}",
         "rows": [{"method": m, "far": v if m == "b" else 0.0} for m in ("a", "b")]}
        for i, v in ruler.items()
    ]  # fmt: skip
    return Tables(records, ["far"], ["a", "b"], "far", 1.0)


def test_the_worst_are_the_farthest_of_the_last_stage():
    far = {i: float((7 * i) % 12) for i in range(12)}
    worst = made_up(far).worst()
    assert [line["far"] for line in worst] == [11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    assert all(far[line["index"]] == line["far"] for line in worst)


def test_latents_are_compared_with_the_models_own(folder, tables):
    told = tables.latents()
    (own,) = [r for r in folder.records if r["kind"] == "latents"]
    assert told["sampled"]["deviations"]["mean"] == pytest.approx(np.mean(own["deviations"]))
    beyond = np.mean(np.array(own["deviations"]) > 1.5)
    assert told["sampled"]["beyond_usual"] == pytest.approx(beyond)
    values = [rows["embed"]["deviations"] for rows in tables.rows("picture").values()]
    ranks = [np.mean(np.array(own["deviations"]) < value) for value in values]
    assert told["embed"]["rank"] == pytest.approx(np.mean(ranks))


# ---------------------------------------------------------------------------------------- the pages


@pytest.fixture(scope="module")
def pages(folder, tables, questions) -> dict:
    files = write_pages(folder, tables, protocol_of(folder, questions), 3)
    return {name: folder.path / name for name in files}


def test_the_numbers_are_strict_json_protocol_first(pages, tables):
    text = pages["report.json"].read_text()
    numbers = json.loads(text, parse_constant=pytest.fail)
    assert next(iter(numbers)) == "protocol"
    assert numbers["protocol"]["measures"]["dfeat"]["sha256_of_weights"]
    assert numbers["reconstruction"] == strict(tables.to_dict())["reconstruction"]
    assert strict({"a": [math.inf, math.nan, 1.0]}) == {"a": [None, None, 1.0]}


def test_the_table_of_rows_has_each_photograph_and_method(pages, tables):
    rows = list(csv.DictReader(pages["per_image.csv"].open()))
    counted = [row for row in rows if row["set"] == "counted"]
    assert len(counted) == 3 * (1 + 2 + 3 + 3)
    for row in counted:
        held = tables.counted()[int(row["index"])][row["method"]]
        assert float(row["dfeat"]) == held["dfeat"]
    assert {row["set"] for row in rows} == {"counted", "embedded", "synthetic"}


def test_the_worst_sheet_shows_all_methods_of_the_worst(pages, folder, tables):
    image = read_image(pages["worst.png"])
    names = ["photo", *tables.stages]
    names += [n for n in tables.methods(tables.counted()) if n not in tables.stages]
    worst = tables.worst()
    assert len(names) == 1 + 3 + 1 + 2 + 3 and len(worst) == 3
    tile = 96  # 16 px, six times
    head, row_px = image.shape[0] - 3 * (tile + 16 + 8), tile + 16 + 8
    for row, line in enumerate(worst):
        top = head + row * row_px + 16
        for column, name in enumerate(names):
            kind = "nearest" if name.startswith("nearest") else "picture"
            kept = folder.image(kind, line["index"], name, 3)
            left = 4 + column * (tile + 4)
            shown = image[top : top + tile, left : left + tile]
            assert np.array_equal(shown, enlarge(kept, 6, "bicubic"))


def test_the_page_names_what_was_measured_and_shows_every_sheet(pages):
    text = pages["report.md"].read_text()
    for name in ("grid.png", "worst.png", "worst_embedded.png", "edited.png", "synthetic.png"):
        assert f"![{name}]({name})" in text and pages[name].stat().st_size > 500
    assert "search from `w_avg` in the time of embed+refine" in text
    assert "peak 1 on values in [0, 1]" in text and "a note" in text
    assert "Of 3 photographs embed+refine improved" in text


def test_a_drag_that_failed_leaves_its_places_in_the_sheet_empty(folder, tables):
    records = json.loads(json.dumps(folder.records))
    for record in records:
        if record["kind"] == "picture" and "edited" in record:
            record["edited"][0] = {"method": STAGES[0], "failed": "the model gives NaN"}
    failed = Tables(records, tables.columns, STAGES, "multiscale", usual=1.5)
    assert "edited.png" in write_sheets(folder, failed, 3)


def test_a_page_of_a_report_that_has_hardly_begun(questions, tmp_path):
    with opened(questions, tmp_path / "report") as folder:
        tables = tables_of(folder)
        text = page(tables, tables.to_dict(), protocol_of(folder, questions), [])
        assert "0 held-out photographs" in text
        assert write_pages(folder, tables, protocol_of(folder, questions), 3)[0] == "report.md"


def test_sheets_leave_places_empty_and_shorten_names():
    tile = np.full((10, 12, 3), 7, np.uint8)
    made = sheet(["a", "b\nc"], [("first", [tile, None]), ("second", [None, tile])])
    black = (made == 7).all(axis=2)
    assert black.sum() == 2 * 120
    font = type("Font", (), {"getlength": staticmethod(len)})
    assert shortened("abcdef", font, 6) == "abcdef" and shortened("abcdef", font, 4) == "…def"


# ----------------------------------------------------------------------------------- honest words


def test_what_the_generator_was_trained_on_is_said(questions, tmp_path):
    generator, _, _ = known()
    generator.provenance = {"data": "my cars.", "fid50k": 12.5}
    bare = replace(questions, runner=replace(questions.runner, generator=generator, encoder=None))
    (tmp_path / "README.md").write_text("| `kid_d` | 0.02 | 0.03 |\n| data | cars |\n| a | b |\n")
    quality = generator_quality(tmp_path, generator.provenance)
    assert quality == {"fid50k": "12.5", "kid_d": "0.02"}
    notes = honest_notes(bare, quality, 0.1)
    assert notes[0].startswith("The generator was trained on: my cars. ")
    assert "kid_d 0.02" in notes[1] and "no encoder" in notes[2] and len(notes) == 3
    notes = honest_notes(questions, {}, 0.0)
    assert "does not say" in notes[0] and "states no measure" in notes[1]
    assert "set aside" in notes[3]


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        (None, "is the word of"),
        ({"data": {}}, "is the word of"),
        ({"data": {"fingerprint": "0123"}}, "names other training data (fingerprint `0123`)"),
        ("gallery", "names the very pictures"),
    ],
)
def test_whether_the_encoder_saw_the_photographs_is_said(trained, words, questions, parts):
    generator, _, _ = known()
    if trained == "gallery":
        trained = {"data": parts[0].facts()}
    generator.provenance = {"encoder": trained}
    report = replace(questions, runner=replace(questions.runner, generator=generator))
    assert words in honest_notes(report, {}, 0.1)[2]


def test_a_report_tells_nobody_where_things_lie(questions):
    facts = identity(questions, "/data/me/models/mine", 0.2)
    assert facts["model"]["name"] == "mine" and "/data" not in json.dumps(facts)


def test_a_report_of_nothing_is_refused():
    with pytest.raises(UserError, match="--count 0"):
        ReportSettings(count=0)


def test_rounding_is_that_of_a_file():
    image = torch.tensor([-3.0, -1.0, 0.001, 1.0, 2.0]).view(1, 1, 1, 5)
    assert (rounded(image) * 127.5 + 127.5).flatten().tolist() == [0, 0, 128, 255, 255]
