"""An encoder's training that was stopped goes on as if it never was; two processes are one."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.errors import UserError
from framework.formats import open_model
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.training.callbacks import RunCheckpoints
from tests.training.processes import environment, finish, free_port, run
from tests.training.test_training_processes import Keep, kept
from tests.training.test_training_resume import differing
from tests.training.tiny import train
from tests.training.tiny_encoder import EVERYTHING, tiny_encoder, tiny_model, tiny_pictures

BATCHES, BATCH = 8, 4  # a layer more from the fourth batch on, with each


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of 16x32 px with its opponent."""
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


def trained(
    model: Path, folder: Path, batches: int, start: int | None = None, **settings: Any
) -> dict[str, Any]:
    """Train up to so many batches, from a checkpoint after `start` of them; what was saved."""
    module = tiny_encoder(model, **{**EVERYTHING, **settings})
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    train(module, batches * BATCH, tiny_pictures(BATCH), (saving,), begin)
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory) -> dict[str, Any]:
    """What a run without a stop becomes."""
    return trained(model, tmp_path_factory.mktemp("whole"), BATCHES)


@pytest.mark.parametrize("stops", [(2, 5), (3,)], ids=["around a boundary", "at a boundary"])
def test_a_resumed_run_is_bit_equal_across_a_progressive_boundary(stops, whole, model, tmp_path):
    start = None
    for batches in (*stops, BATCHES):
        state = trained(model, tmp_path, batches, start)
        same = differing(state["state_dict"], whole["state_dict"]) == []
        assert same == (batches == BATCHES)
        start = batches
    assert differing(state, whole) == []


def test_a_checkpoint_knows_its_generator_and_what_judged_but_holds_neither(whole, model):
    facts = whole["dragline"]
    assert facts["generator_digest"] == open_model(model).network("generator").digest
    assert facts["perceptual"]["name"] == "dfeat"
    networks = {name.split(".")[0] for name in whole["state_dict"]}
    assert networks == {"encoder", "encoder_ema", "discriminator", "latent_discriminator"}


def test_another_generator_is_refused(model, tmp_path):
    other = tiny_model(tmp_path / "other", seed=1)
    trained(model, tmp_path, 1)
    with pytest.raises(UserError, match=r"other settings: another generator: .*, now .*other"):
        trained(other, tmp_path, 2, start=1)


def test_another_objective_is_refused_and_other_weights_are_not(model, tmp_path):
    trained(model, tmp_path, 1)
    with pytest.raises(UserError, match=r"discriminates \[.*\], now \['discriminator'\]"):
        trained(model, tmp_path, 2, start=1, adv_latent=0.0)
    trained(model, tmp_path, 2, start=1, adv_latent=0.2, lr=2e-3)


def test_a_checkpoint_opened_as_a_model_says_where_the_model_is(model, tmp_path):
    trained(model, tmp_path, 1)
    with pytest.raises(UserError, match=r"of an encoder's training.*network-\* folders"):
        open_model(checkpoint_path(tmp_path, BATCH))


def train_and_save(out: str, model: str, env: dict[str, str], trainer: dict[str, Any]) -> None:
    """Train in this process; it may be one of two."""
    os.environ.update(env)
    torch.set_num_threads(1)
    module = tiny_encoder(Path(model), micro_batch=2, iterations=2, **EVERYTHING)
    train(module, BATCHES * BATCH, tiny_pictures(BATCH), (Keep(out),), **trainer)


def test_two_processes_come_to_what_one_comes_to(model, tmp_path):
    port, two = free_port(), {"strategy": "ddp", "devices": 2}
    pair = [
        run(train_and_save, str(tmp_path / "two"), str(model), environment(rank, port), two)
        for rank in range(2)
    ]
    alone = run(train_and_save, str(tmp_path / "one"), str(model), {}, {})
    assert [finish(process) for process in (*pair, alone)] == [0, 0, 0]
    state, seeds = kept(tmp_path / "one")
    (first, of_first), (second, of_second) = (kept(tmp_path / "two", rank) for rank in range(2))
    for name, value in state.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, atol=2e-5, rtol=1e-4, msg=name)
    assert sorted(of_first + of_second) == sorted(seeds) and len(set(seeds)) == len(seeds)
