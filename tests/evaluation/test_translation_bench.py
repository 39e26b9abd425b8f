"""Translations compared: agreement by its formula, baselines that must win or lose, the page."""

import json

import pytest
import torch

from framework.data.toycars import ToyCars
from framework.errors import UserError
from framework.evaluation.translation import bench, reader
from framework.evaluation.translation.bench import translation
from framework.evaluation.translation.reader import ink_agreement, part_agreement
from framework.evaluation.translation.ways import open_way
from framework.formats.translator_folder import save_translator
from framework.models.translation.condition import Condition
from framework.models.translation.unet import UNet


def test_agreement_of_parts_is_the_mean_intersection_over_union():
    a, b = torch.zeros(1, 4, 4).long(), torch.zeros(1, 4, 4).long()
    a[0, 0], b[0, 0, :2] = 2, 2
    assert part_agreement(a, b).item() == pytest.approx((2 / 4 + 12 / 14) / 2)
    assert part_agreement(b, b).item() == 1
    a[0, 3] = 5  # a part that is not there counts against what it covers
    assert part_agreement(a, b).item() == pytest.approx((2 / 4 + 8 / 14) / 2)


def test_ink_agrees_a_pixel_off_and_not_two():
    a, b, c = (torch.zeros(1, 8, 8, dtype=torch.bool) for _ in range(3))
    a[0, 2], b[0, 3], c[0, 4] = True, True, True
    assert ink_agreement(a, b).item() == pytest.approx(1)
    assert ink_agreement(a, c).item() == pytest.approx(0, abs=1e-4)
    both = a | torch.roll(a, 4, dims=1)
    assert ink_agreement(both, a).item() == pytest.approx(2 / 3)


def test_the_reader_that_comes_along_reads_held_out_cars():
    pictures, wanted = reader.truth(ToyCars(64, 24, reader.HELD_OUT_SEED), 24)
    found = reader.Reader.open()(pictures)
    assert part_agreement(found.parts, wanted.parts).mean() > 0.65
    assert ink_agreement(found.ink, wanted.ink).mean() > 0.9


def test_a_reader_is_trained_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "HELD_OUT_COUNT", 4)
    agreement = reader.train_reader(str(tmp_path / "new"), drawings=8, steps=2, batch_size=2)
    assert 0 <= agreement["parts"] < 0.7 and reader.Reader.open(tmp_path / "new").network
    with pytest.raises(UserError, match="reserved for the test"):
        reader.train_reader(str(tmp_path / "other"), seed=777)


def test_the_table_has_every_way_and_its_baselines(tmp_path, monkeypatch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_translator(
            tmp_path / "untrained", "pix2pix", {"picture": UNet(1, 3, 4, 4)}, Condition("sketch"),
            (64, 64),
        )  # fmt: skip
    monkeypatch.setattr(bench, "_DRAWS", 2)
    result = translation(str(tmp_path / "out"), f"mine={tmp_path}/untrained", n=10, known=12)
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["tables"]["sketch"]
    assert list(rows) == ["mine", "nearest neighbour", "true pictures"] == list(result["sketch"])
    true, mine = rows["true pictures"], rows["mine"]
    assert true["sketch"]["mean"] > 0.9 > mine["sketch"]["mean"]
    assert true["diversity"]["mean"] == 0 < mine["diversity"]["mean"]
    assert mine["realism"]["mean"] > true["realism"]["mean"]
    assert mine["parameters"] > 0 and mine["sketch"]["low"] < mine["sketch"]["high"]
    page = (tmp_path / "out" / "report.md").read_text()
    assert "## From sketch" in page and "| mine |" in page
    assert (tmp_path / "out" / "sketch.png").is_file()


def test_what_is_no_way_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"holds neither translator.safetensors nor one of"):
        open_way(f"x={tmp_path}", "toycars64")
    with pytest.raises(UserError, match=r"n 3: give 10"):
        translation("out", "x", n=3)
