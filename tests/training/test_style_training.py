"""Training of a decoder of styles: it learns, resumes bit for bit, mistakes are told."""

from pathlib import Path
from typing import Any

import pytest
import torch

from framework.errors import UserError
from framework.formats.decoder_folder import DECODERS
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.models.features.lite0 import EfficientNetLite0
from framework.models.style.network import restyled
from framework.training.callbacks import RunCheckpoints
from framework.training.phases import Micro
from framework.training.style import module as training
from framework.training.style.module import StyleTraining
from framework.training.style.objectives import content_error, style_error
from framework.training.style.settings import StyleDecoderSettings
from tests.training.test_training_resume import differing
from tests.training.tiny import tiny_data, train

BATCH, SIZE = 4, (16, 16)
TINY: dict[str, Any] = {"width": 8, "patterns": 3}


def untrained(_: StyleTraining) -> EfficientNetLite0:
    """Features of a network that nobody trained, the same each time: no package is needed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return EfficientNetLite0()


@pytest.fixture(autouse=True)
def features(monkeypatch):
    monkeypatch.setattr(StyleTraining, "frozen_network", untrained)


def assembled(**settings: Any) -> StyleTraining:
    module = StyleTraining(**{**TINY, **settings})
    module.assemble(SIZE, 3, 0, torch.device("cpu"), BATCH)
    return module


def trained(folder: Path, batches: int, start: int | None = None) -> dict[str, Any]:
    """Train up to so many batches, from a checkpoint after `start` of them; what was saved."""
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    train(StyleTraining(**TINY), batches * BATCH, tiny_data(BATCH), (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


def test_a_resumed_run_of_a_decoder_is_bit_equal(tmp_path):
    whole = trained(tmp_path / "whole", 4)
    first = trained(tmp_path / "parts", 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    assert differing(trained(tmp_path / "parts", 4, 2), whole) == []
    assert whole["dragline"]["width"] == 8
    assert all(name.startswith("decoder") for name in whole["state_dict"])  # no frozen features


def test_it_learns_a_batch_of_one_colour():
    module = assembled()
    pictures = torch.tensor([0.8, -0.8, 0.4])[None, :, None, None].expand(4, -1, *SIZE)
    adam, losses = torch.optim.Adam(module.decoder.parameters(), lr=2e-2), []
    for _ in range(20):
        micro = Micro(lambda: pictures, torch.zeros(4, 0), torch.Generator().manual_seed(1))
        outcome = module.phases[0].objective(micro)
        losses.append(outcome.stats["Loss/S/identity"].mean().item())  # type: ignore[union-attr]
        adam.zero_grad()
        outcome.loss.backward()  # type: ignore[union-attr]
        adam.step()
    assert losses[-1] < 0.5 * losses[0]


def test_errors_are_nothing_where_nothing_is_to_do_and_all_where_there_is_no_style():
    seen = [torch.rand(2, 3, 4, 4) + 0.1 for _ in range(5)]
    assert content_error(seen, seen).tolist() == style_error(seen, seen).tolist() == [0, 0]
    dark = [torch.zeros_like(x) for x in seen]
    assert torch.allclose(content_error(dark, seen), torch.ones(2))
    assert torch.allclose(style_error(dark, seen), torch.ones(2), atol=0.05)


def test_a_snapshot_of_a_decoder_loads_and_its_sheets_are_the_same_all_through(tmp_path):
    module, data = assembled(), tiny_data()
    data.setup("fit")
    module.write_model(tmp_path, module.provenance({"count": 3}), "# card")
    loaded = DECODERS.load(tmp_path)
    features = module.features(torch.rand(1, 3, *SIZE))
    assert loaded(restyled(features, features, 1.0)).shape == (1, 3, *SIZE)
    sheets = module.exhibit(data, 4, 8)
    assert {name: x.shape for name, x in sheets.begin().items()} == {
        "pictures": (8, *SIZE, 3), "styles": (8, *SIZE, 3),
    }  # fmt: skip
    assert (sheets.now()["styled"] == sheets.now()["styled"]).all()
    assert "adain" in module.card("network-1", {"size": SIZE, "count": 1, "source": "x"})


# H35f
@pytest.mark.parametrize(
    "wrong",
    [{"width": 10}, {"patterns": 0}, {"style_weight": -1.0}, {"ema_kimg": 0.0}],
    ids=str,
)
def test_settings_of_a_decoder_that_cannot_be_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        StyleDecoderSettings(**{**TINY, **wrong})


# H35f
def test_pictures_that_a_decoder_cannot_learn_from_are_named(monkeypatch):
    cpu = torch.device("cpu")
    with pytest.raises(UserError, match=r"data.size 24x16: must be multiples of 16"):
        StyleTraining(**TINY).sketch((24, 16), 3, 0, cpu)
    with pytest.raises(UserError, match=r"data.channels 1: styles have three"):
        StyleTraining(**TINY).sketch(SIZE, 1, 0, cpu)
    monkeypatch.setattr(training, "find_weights", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'dragline\[features\]'"):
        train(StyleTraining(**TINY), BATCH, tiny_data(BATCH))  # type: ignore[arg-type]
