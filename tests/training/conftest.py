"""A run to begin from, made once for all tests of trainings that go wrong."""

import shutil
from pathlib import Path

import pytest

from tests.training.processes import finish, fit, start


@pytest.fixture(scope="session")
def two_batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two batches, one checkpoint at its end; only to be read."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    args = fit(run_dir, "--run.kimg", "0.008", "--run.wandb", "disabled")
    assert finish(start(args, run_dir.with_suffix(".log"))) == 0
    return run_dir


@pytest.fixture
def begun(two_batches, tmp_path) -> Path:
    """A copy of it to go on with."""
    return Path(shutil.copytree(two_batches, tmp_path / "run"))
