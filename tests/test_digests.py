"""The script of digests sees what it is there to see: the same bits, and any other bit."""

import pytest
import torch

from tests import digests


def test_a_case_gives_the_same_digests_twice_and_another_seed_others(tmp_path, monkeypatch):
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for folder in (one, two, other):
        folder.mkdir()
    first = digests.digests_of("generate", one)
    assert len(first) == 3 and digests.differences(first, digests.digests_of("generate", two)) == []
    command = digests.CASES["generate"][0].replace("1-3", "4,2,3")
    monkeypatch.setitem(digests.CASES, "generate", [command])
    different = digests.differences(first, digests.digests_of("generate", other))
    assert len(different) == 2, "seed 1 is gone and seed 4 is new"


def test_every_tensor_and_picture_counts(tmp_path):
    digests.make_picture(tmp_path)
    torch.save({"a": [torch.zeros(2), {"b": torch.ones(1)}], "c": 3}, tmp_path / "run.ckpt")
    before = dict(digests.contents(tmp_path))
    assert set(before) == {"run.ckpt:.a.0", "run.ckpt:.a.1.b", "mask.png", digests.PICTURE}
    torch.save({"a": [torch.zeros(2), {"b": -torch.ones(1)}], "c": 3}, tmp_path / "run.ckpt")
    assert digests.differences(before, dict(digests.contents(tmp_path))) == ["run.ckpt:.a.1.b"]


@pytest.mark.slow
@pytest.mark.parametrize("case", digests.CASES)
def test_every_case_runs_and_repeats_itself(case, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (digests.digests_of(case, tmp_path / name) for name in ("one", "two"))
    assert one and digests.differences(one, two) == []
