"""What several rooms' tests share: a machine without accounts, and an untrained model folder."""

import gc
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before anything imports wandb: no test may talk to anybody.
for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_BASE_URL"):
    os.environ.pop(name, None)
os.environ["WANDB_MODE"] = "disabled"

# Collecting tests makes millions of objects that stay: not to be gone through again and again.
gc.disable()

_HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", None}


def _no_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Fail whatever talks to another machine; processes of one machine may talk to each other."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
        if host not in _HERE and not str(host).startswith("127."):
            raise PermissionError(f"a test connects to {host}")


sys.addaudithook(_no_network)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="shuffle files, and the tests of each"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle files, and tests within files: what a file's tests share is made once, as always."""
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    draw = random.Random(seed)
    groups = sorted(files.values(), key=lambda _: draw.random())
    items[:] = [item for group in groups for item in draw.sample(group, len(group))]


def pytest_collection_finish() -> None:
    """From here on garbage is collected, and what collecting the tests made is passed over."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or leaves anything in the user's cache; workers compile operations once."""
    cache = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = tmp_path_factory.getbasetemp().parent / "ops"
        shared.mkdir(exist_ok=True)
        (cache / "dragline").mkdir()
        (cache / "dragline" / "ops").symlink_to(shared)


TINY = {
    "img_size": (64, 64),
    "z_dim": 16,
    "w_dim": 24,
    "mapping_layers": 2,
    "channel_base": 512,
    "channel_max": 16,
}


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """A machine without published weights and without a network; its cache of downloads."""
    from urllib.error import URLError

    import torch

    from framework.models.features import weights

    def refuse(url: str, *_: object, **__: object) -> None:
        raise URLError(f"tests fetch nothing, not even {url}")

    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(weights, "_packaged", lambda wanted: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="session")
def tiny_generator():
    """An untrained 64 px generator of a few thousand weights, frozen."""
    import torch

    from framework.models.stylegan2 import Generator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        generator = Generator(**TINY)
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_model(tiny_generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a model folder."""
    from framework.formats import save_model_folder

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model_folder(folder, tiny_generator, provenance={"data": "none"}, card="# tiny\n")
    return folder


@pytest.fixture
def photograph(tmp_path: Path) -> Callable[..., Path]:
    """Makes picture files: smooth colours with noise, 40x30 px unless told."""
    import numpy as np
    from PIL import Image

    def make(name: str = "car.png", size: tuple[int, int] = (40, 30), **save) -> Path:
        width, height = size
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        colours = 255 * np.stack([x, y, (x + y) / 2], axis=2)
        grain = np.random.default_rng(0).normal(0, 8, colours.shape)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (colours + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, **save)
        return path

    return make
