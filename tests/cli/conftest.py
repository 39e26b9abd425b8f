"""A model that photographs are put into."""

from pathlib import Path

import pytest

_CONFIG = Path("configs/train/stylegan2/debug_cpu.yaml").resolve()
SMALL = {
    "z_dim": 6,
    "w_dim": 8,
    "img_size": (16, 16),
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 8,
}


def save_small_model(folder: Path, encoder: bool = False, seed: int = 0, **config) -> Path:
    """Write an untrained model of 16 px with a discriminator, and an encoder if asked for."""
    import torch

    from framework.formats import save_model_folder
    from framework.models.encoders.dragline import Encoder
    from framework.models.encoders.loading import encoder_weights
    from framework.models.stylegan2 import Discriminator, Generator

    config = {**SMALL, **config}
    size, channels = config["img_size"], config.get("img_channels", 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(**config).eval()
        discriminator = Discriminator(
            img_size=size, img_channels=channels, channel_base=128, channel_max=8
        )
        weights = None
        if encoder:
            made = Encoder(
                size, channels, generator.num_ws, generator.w_dim, channel_base=64, channel_max=8
            )
            weights = encoder_weights(made)
    return save_model_folder(
        folder, generator, discriminator, {"data": "none"}, "# small\n", encoder=weights
    )


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder without an encoder."""
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs `train.py fit` in this process; gives the one line that it must end with."""

    def run(*args: str, config: Path = _CONFIG, verb: str = "fit") -> str:
        from framework.cli.train import main

        folder = tmp_path / "run"
        assert main([verb, "--config", str(config), "--run.dir", str(folder), *args]) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1 and len(line) < 500
        assert not folder.exists()
        return line

    return run
