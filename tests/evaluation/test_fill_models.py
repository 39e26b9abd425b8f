"""Fillings by models in the benchmark: they fill the hole, and what does not open is one line."""

import numpy as np
import pytest
import torch

import framework.inversion.photo_fill as photo_fill
from framework.errors import UserError
from framework.evaluation.filling import _ways
from framework.formats.filler_folder import save_filler
from framework.inversion.prior_fill import PriorFillSettings
from framework.inversion.settings import RefineSettings, TuneSettings
from framework.models.filling.network import HoleFiller
from tests.cli.conftest import save_small_model

HOLE = np.zeros((40, 36), bool)
HOLE[10:20, 8:20] = True


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fill-models")
    save_small_model(folder / "gan", encoder=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_filler(folder / "learned", HoleFiller(3, 8, (16, 20)))
    return folder


@pytest.mark.parametrize("way", ["gan", "learned"])
def test_a_model_fills_the_hole_and_sees_nothing_of_it(models, monkeypatch, way):
    few = PriorFillSettings(RefineSettings(steps=2), RefineSettings(steps=2), TuneSettings(steps=1))
    monkeypatch.setattr(photo_fill, "PriorFillSettings", lambda: few)
    function = _ways(f"smooth,{way}={models / way}")[way]
    picture = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    results = []
    for colour in (0, 255):
        holed = np.where(HOLE[..., None], np.uint8(colour), picture)
        filled = function(holed, HOLE)
        assert filled.shape == picture.shape and filled.dtype == np.uint8
        assert np.array_equal(filled[~HOLE], picture[~HOLE])
        results.append(filled)
    assert (results[0][HOLE] != 0).any()
    if way == "gan":
        assert np.array_equal(*results)


def test_what_does_not_open_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"learned=.*holds no filler"):
        _ways(f"learned={tmp_path}")
    with pytest.raises(UserError, match=r"expected some of .*gan=MODEL, learned=MODEL"):
        _ways("gan")
