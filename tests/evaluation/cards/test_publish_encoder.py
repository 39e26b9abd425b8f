"""An encoder joins the model folder of its generator, and of no other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.errors import UserError
from framework.evaluation.cards.publish import publish_editor, publish_encoder
from framework.formats import load_generator, open_model, save_model_folder
from framework.media.images import read_image, save_png
from framework.models.editors.latent_transformer import LatentTransformer
from framework.models.encoders.dragline import Encoder
from framework.models.encoders.loading import build_encoder, encoder_weights
from framework.models.stylegan2 import Generator

SIZES: dict[str, Any] = {"img_size": (16, 16), "channel_base": 64, "channel_max": 8}
TRAINED = {
    "seen_kimg": 7.5,
    "data": {"source": "/data/somebody/cars", "count": 3},
    "training": {
        "generator": "/data/somebody/models/mine",
        "start_from": None,
        "lr": 0.5,
        "judges": {"perceptual_weights": "/data/somebody/vgg.pth"},
    },
}


def model(folder: Path, seed: int = 0, encoder: Encoder | None = None) -> Path:
    torch.manual_seed(seed)
    generator = Generator(**SIZES, z_dim=4, w_dim=4, mapping_layers=1)
    provenance = {"data": "none", "encoder": TRAINED} if encoder else {"data": "none"}
    weights = encoder_weights(encoder) if encoder else None
    card = "# A model\n\nwith a card\n"
    return save_model_folder(folder, generator, None, provenance, card, half=True, encoder=weights)


def small_encoder(seed: int = 1) -> Encoder:
    torch.manual_seed(seed)
    return Encoder((16, 16), 3, 6, 4, channel_base=64, channel_max=8).eval()


@pytest.fixture
def report(tmp_path) -> Path:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.md").write_text(
        "# Page\n\n## Reconstruction\n\n| a table |\n\n## More\n\n![x](worst.png)\n"
    )
    for name in ("report.json", "per_image.csv"):
        (folder / name).write_text(name)
    for name in ("grid.png", "worst.png"):
        save_png(folder / name, np.full((8, 24, 3), 99, np.uint8))
    return folder


def test_the_folder_has_the_encoder_and_its_report(tmp_path, report):
    encoder = small_encoder()
    snapshot, kept = model(tmp_path / "run", encoder=encoder), model(tmp_path / "kept")
    before = load_generator(kept).digest
    publish_encoder(str(snapshot), str(kept), str(report), command="python train.py fit")
    generator = load_generator(kept)
    assert generator.digest == before
    trained = {
        "seen_kimg": 7.5,
        "data": {"source": "cars", "count": 3},
        "training": {
            "generator": "mine",
            "start_from": None,
            "lr": 0.5,
            "judges": {"perceptual_weights": "vgg.pth"},
        },
    }
    assert generator.provenance["encoder"] == trained
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    found = build_encoder(open_model(kept).encoder(), generator)
    torch.testing.assert_close(found(pictures), encoder(pictures), rtol=1e-2, atol=1e-2)
    card = (kept / "README.md").read_text()
    assert card.startswith("# A model") and "| a table |" in card and "## More" not in card
    assert "![x](worst.jpg)" in (kept / "inversion" / "report.md").read_text()
    assert read_image(kept / "inversion" / "worst.jpg").shape == (8, 24, 3)


def test_another_time_replaces_it(tmp_path, report):
    kept = model(tmp_path / "kept")
    for seed in (1, 2):
        snapshot = model(tmp_path / f"run{seed}", encoder=small_encoder(seed))
        publish_encoder(str(snapshot), str(kept), str(report))
    assert (kept / "README.md").read_text().count("## Encoder") == 1


def test_strangers_are_refused(tmp_path):
    kept = model(tmp_path / "kept")
    bare, other = model(tmp_path / "bare"), model(tmp_path / "other", 5, small_encoder())
    with pytest.raises(UserError, match="has no encoder"):
        publish_encoder(str(bare), str(kept))
    with pytest.raises(UserError, match="of another generator"):
        publish_encoder(str(other), str(kept))
    with pytest.raises(UserError, match="not a model folder"):
        publish_encoder(str(other), str(tmp_path))


def with_editor(folder: Path, seed: int = 0) -> Path:
    """A run's snapshot: the model with an editor."""
    torch.manual_seed(seed)
    generator = Generator(**SIZES, z_dim=4, w_dim=4, mapping_layers=1)
    editor = LatentTransformer.new(generator, 2, 8, width=8, heads=2, depth=1, hidden=8)
    torch.nn.init.normal_(editor.head.weight)
    training = {"generator": "/data/somebody/models/mine"}
    provenance = {"data": "none", "editor": {"seen_kimg": 1.5, "training": training}}
    return save_model_folder(folder, generator, None, provenance, half=True, editor=editor)


def test_an_editor_joins_encoder_and_discriminator_and_is_replaced(tmp_path, report):
    kept = model(tmp_path / "kept", encoder=small_encoder())
    publish_encoder(str(kept), str(kept), str(report))
    snapshot = with_editor(tmp_path / "run")
    for _ in range(2):
        publish_editor(str(snapshot), str(kept), command="python train.py fit", notes="A note.")
    opened = open_model(kept)
    assert opened.networks == ("generator", "editor", "encoder")
    mine, theirs = (open_model(f).network("editor").head.weight for f in (kept, snapshot))
    assert torch.equal(mine, theirs)
    provenance = opened.network("generator").provenance["editor"]
    assert provenance == {"seen_kimg": 1.5, "training": {"generator": "mine"}}
    card = (kept / "README.md").read_text()
    assert card.count("## Latent transformer") == 1 and card.count("A note.") == 1
    assert card.index("## Latent transformer") < card.index("## Encoder") < card.index("a table")
    publish_encoder(str(kept), str(kept), str(report))
    assert open_model(kept).networks == opened.networks
    assert "A note." in (kept / "README.md").read_text()
    with pytest.raises(UserError, match="its editor is of another generator"):
        publish_editor(str(with_editor(tmp_path / "other", 5)), str(kept))
