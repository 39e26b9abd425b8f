"""The report on texts, and the judge of traits: what they count, on a judge that knows nothing."""

import json
from typing import Any, cast

import pytest
import torch

from framework.data.toycars_captions import TRAITS
from framework.errors import BrokenCheckpoint, UserError
from framework.evaluation.text import judge as judges
from framework.evaluation.text import model as models
from framework.evaluation.text import report as reports
from framework.evaluation.text.judge import TraitJudge, TraitNetwork, accuracy, draw, train_traits
from framework.formats import load_generator
from framework.jobs.requests.text import TextRequest
from framework.models.features.clip import Clip
from tests.stand_in_clip import install


@pytest.fixture(scope="module")
def judge() -> TraitJudge:
    """A judge that saw a few cars, a few times."""
    return train_traits(24, 8, lambda line: None)


@pytest.fixture(autouse=True, scope="module")
def few_held_out():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "_HELD_OUT", 10)
        patch.setattr(judges, "_BATCH", 6)
        yield


def test_a_judge_answers_with_values_and_is_the_same_from_its_file(judge, tmp_path):
    pictures, answers = draw(6, 5)
    found = judge(pictures.float() / 127.5 - 1)
    assert all(set(found[name]) <= set(TRAITS[name]) and len(found[name]) == 6 for name in TRAITS)
    judge.save(tmp_path / "judge.safetensors")
    loaded = TraitJudge.load(tmp_path / "judge.safetensors")
    assert loaded.facts == judge.facts and set(judge.facts["held_out"]) == set(TRAITS)
    assert accuracy(judge, pictures, answers) == {
        name: sum(TRAITS[name][i] == v for i, v in zip(answers[name].tolist(), found[name],
                                                       strict=True)) / 6
        for name in TRAITS
    }  # fmt: skip
    with pytest.raises(UserError, match="64x64"):
        judge(torch.zeros(1, 3, 32, 32))


def test_pictures_are_corrected_as_often_as_the_verb_does():
    assert models.LOOKS == TextRequest.looks
    assert reports._CLIP_STEPS == TextRequest.clip_steps


def test_training_lowers_the_loss_and_changes_the_network():
    lines: list[str] = []
    trained = train_traits(16, 100, lines.append)
    assert "step 100 of 100" in lines[-1]
    torch.manual_seed(judges.SEED)
    chance = sum(torch.tensor(float(len(values))).log() for values in TRAITS.values())
    assert float(lines[-1].rpartition(" ")[2]) < 0.9 * float(chance)
    assert isinstance(trained._network, TraitNetwork)


def test_a_file_that_is_no_judge_is_one_line(judge, tmp_path):
    judge.save(tmp_path / "judge.safetensors")
    data = (tmp_path / "judge.safetensors").read_bytes()
    (tmp_path / "judge.safetensors").write_bytes(
        data.replace(b"dragline-traits", b"dragline-tracts")
    )
    with pytest.raises(BrokenCheckpoint, match="no judge of these traits"):
        TraitJudge.load(tmp_path / "judge.safetensors")


def test_a_report_has_every_table(judge, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "cached_judge", lambda: judge)
    monkeypatch.setattr(reports, "_NEIGHBOURS", 8)
    monkeypatch.setattr(reports, "TEXTS", reports.TEXTS[:1])
    monkeypatch.setattr(reports, "PARAPHRASES", {"crimson": "red"})
    monkeypatch.setattr(models, "LOOKS", 1)
    monkeypatch.setattr(reports, "_CLIP_STEPS", 1)
    brief = reports.text(str(tmp_path / "out"), n=20, clip=str(install(tmp_path, monkeypatch)))
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert brief["R@1"] > 0.5 and facts["paraphrases"] == {"crimson": None}
    named = facts["text_to_image"]["named"]
    counts = {way: {t: row["of"] for t, row in table.items()} for way, table in named.items()}
    assert len(counts) == 6 and len({json.dumps(each) for each in counts.values()}) == 1
    of = next(iter(counts.values()))
    assert of["all"] == sum(of[trait] for trait in TRAITS) > 60
    assert facts["manipulation"]["kept"]["all"]["of"] == 20 * (len(TRAITS) - 1)
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| crimson | refused: never seen |" in page and "| colour |" in page
    assert {"texts.png", "edits.png"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_pictures_are_optimised_for_their_own_text(tmp_path, monkeypatch):
    clip = Clip.open(install(tmp_path, monkeypatch), "clip")
    measured = reports.Measured(load_generator("toycars64"), *[cast(Any, None)] * 5, clip=clip)
    monkeypatch.setattr(reports, "_CLIP_STEPS", 3)
    start = measured.seeds(2, 0)
    texts = ["a red car", "a blue car"]
    made = measured.optimised(texts, start)
    said = clip.texts(texts)
    with torch.no_grad():
        assert (clip(measured.draw(made), said) < clip(measured.draw(start), said)).all()


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="n 3"):
        reports.text(str(tmp_path / "out"), n=3)
    with pytest.raises(UserError, match="model features64"):
        reports.text(str(tmp_path / "out"), "features64")
    assert not (tmp_path / "out").exists()
