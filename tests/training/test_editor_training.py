"""An editor's training: flow, paths, objective; resumed is uninterrupted; mistakes are one line."""

from pathlib import Path
from typing import Any

import pytest
import torch

from framework.errors import UserError
from framework.formats import load_generator, open_model, save_model_folder
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.models.editors.latent_transformer import LatentTransformer
from framework.training.callbacks import RunCheckpoints
from framework.training.data import TrainingImages
from framework.training.editor import flow
from framework.training.editor.module import EditorTraining
from framework.training.editor.objectives import Following, disc, soft
from framework.training.editor.paths import draw
from framework.training.editor.settings import (
    EditorSettings,
    EditorWeights,
    Paths,
    Transformer,
)
from tests.training.test_training_resume import differing
from tests.training.tiny import in_groups, tiny_module, train
from tests.training.tiny_encoder import SIZE, tiny_model

BATCH = 4
TINY: dict[str, Any] = {
    "moving": 3, "features": 16, "width": 16, "heads": 2, "depth": 1, "hidden": 16,
    "pairs": 2, "points": 3, "match_px": 2, "latent": 0.1, "lr_final": 1e-4, "lr_kimg": 0.02,
}  # fmt: skip


def texture(shift: tuple[float, float] = (0, 0), zoom: float = 1.0, side: int = 64):
    """Grey waves, uint8 (1, side, side), moved by (x, y) pixels or widened about the middle."""
    rng = torch.Generator().manual_seed(0)
    waves = 0.5 * torch.randn(24, 2, generator=rng)
    phases = 6.3 * torch.rand(24, generator=rng)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    middle = (side - 1) / 2
    places = (torch.stack([x, y], dim=-1) - middle) / zoom + middle - torch.tensor(shift)
    picture = torch.sin(places @ waves.T + phases).mean(dim=-1)
    return flow.grey_of((3 * picture)[None, None])


@pytest.mark.parametrize("shift", [(2.0, 0.0), (-1.5, 2.5), (0.0, 0.0), (0.3, -0.4)])
def test_a_known_translation_is_followed_to_a_fraction_of_a_pixel(shift):
    moves = flow.flow(texture(), texture(shift))
    assert moves.shape == (1, 2, 64, 64)
    inner = moves[0, :, 8:-8, 8:-8].flatten(1)
    assert (inner - torch.tensor(shift)[:, None]).norm(dim=0).mean() < 0.25


def test_flows_are_chained_where_each_ends_and_a_zoom_is_seen():
    first = torch.zeros(1, 2, 8, 8)
    first[:, 0] = 2
    second = torch.arange(8.0).expand(1, 1, 8, 8).repeat(1, 2, 1, 1)  # moves that grow with x
    both = flow.chained([first, second])
    assert torch.allclose(both[0, 0, 4, :5], 2 + 2 + torch.arange(5.0))
    wider = flow.zoom(flow.flow(texture(), texture(zoom=1.06)))
    assert wider[0, 16:-16, 16:-16].mean() == pytest.approx(0.058, abs=0.015)


def test_large_pictures_are_reduced_first():
    assert flow.grey_of(torch.zeros(2, 3, 512, 256)).shape == (2, 128, 64)
    assert flow.grey_of(torch.ones(1, 3, 64, 64)).max() == 255


def test_a_path_gives_motions_that_its_change_makes():
    """Of every pair the flow to the other picture is what the points are asked to do."""
    generator, settings = load_generator("toycars64"), Paths(pairs=6, points=5, alone=0.5)
    asked = draw(generator, 32, 2, 6, settings, torch.Generator().manual_seed(0))
    assert asked.ws.shape == (12, generator.num_ws, 128) and asked.change.shape == (12, 6, 128)
    assert (asked.moves.norm(dim=2) < settings.farthest + 0.01).all()
    assert not asked.absent[:, 0].any() and asked.absent.any()
    ends = asked.points + asked.moves
    assert ((ends > -2) & (ends < 65)).all() and asked.moves.norm(dim=2).max() > 0.5
    after = asked.ws.clone()
    after[:, :6] += asked.change
    before = flow.grey_of(generator.synthesis(asked.ws, noise_mode="const"))
    there = flow.flow(before, flow.grey_of(generator.synthesis(after, noise_mode="const")))
    read = flow.sampled(there, asked.points[:, :, None])[..., 0].transpose(1, 2)
    near = (read - asked.moves).norm(dim=2)
    assert near.median() < 0.3  # not equal: the path's flow is chained


def following(weights: EditorWeights, paths: Paths) -> Following:
    generator = load_generator("toycars64")
    torch.manual_seed(0)
    sizes = {"width": 32, "heads": 2, "depth": 1, "hidden": 32}
    editor = LatentTransformer.new(generator, 6, 32, **sizes)
    editor.set_statistics(generator)
    settings = EditorSettings(
        transformer=Transformer(**sizes), weights=weights, paths=paths
    )  # fmt: skip
    return Following(editor, generator, settings)


def overfitted(
    weights: EditorWeights, steps: int, name: str, lr: float = 5e-3
) -> tuple[float, float]:
    """One term before and after learning one set of pairs by heart."""
    objective = following(weights, Paths(pairs=3, points=2))
    rng = torch.Generator().manual_seed(3)
    asked = draw(objective.generator, 32, 1, 6, objective.settings.paths, rng)
    adam = torch.optim.Adam(objective.editor.parameters(), lr=lr)
    values = []
    for _ in range(steps):
        terms = objective.terms(asked)
        values.append(terms[name].mean().item())
        loss = sum(getattr(weights, term) * value.mean() for term, value in terms.items())
        adam.zero_grad()
        loss.backward()
        adam.step()
    return values[0], values[-1]


def test_it_learns_a_few_true_changes_by_heart():
    before, after = overfitted(
        EditorWeights(latent=1, move=0, match=0, change=0, size=0), 60, "latent"
    )
    assert after < 0.2 * before


def test_it_learns_through_the_generator_to_move_points():
    before, after = overfitted(EditorWeights(), 40, "move", lr=1e-3)
    assert after < 0.3 * before


def test_a_miss_is_squared_when_small_and_linear_when_large():
    missed = torch.tensor([[[0.5, 0.0], [0.0, 1.0], [3.0, 4.0]]])
    assert torch.allclose(soft(missed), torch.tensor([[0.25, 1.0, 9.0]]))
    assert len(disc(1)) == 5 and len(disc(3)) == 29


# ------------------------------------------------------------------------------------- the run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of 16x32 px with its opponent."""
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


def module_of(model: Path, **settings: Any) -> EditorTraining:
    arguments = {"generator": str(model), **TINY, **settings}
    return EditorTraining(**in_groups(EditorSettings, **arguments))


def nothing(**settings: Any) -> TrainingImages:
    return TrainingImages(**{"source": "none", "size": SIZE, "batch_size": BATCH, **settings})


def trained(model: Path, folder: Path, batches: int, start: int | None = None) -> dict[str, Any]:
    """Train up to so many batches, from a checkpoint after `start` of them; what was saved."""
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    train(module_of(model), batches * BATCH, nothing(), (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


def test_a_resumed_run_is_bit_equal(model, tmp_path):
    whole = trained(model, tmp_path / "whole", 4)
    first = trained(model, tmp_path / "parts", 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    rest = trained(model, tmp_path / "parts", 4, 2)
    assert differing(rest, whole) == []
    facts = whole["dragline"]
    assert facts["generator_digest"] == open_model(model).network("generator").digest
    assert all(name.startswith(("editor.", "editor_ema.")) for name in whole["state_dict"])


def test_what_a_snapshot_publishes_is_the_model_with_its_editor(model, tmp_path):
    module = module_of(model)
    module.assemble(SIZE, 3, 0, torch.device("cpu"), BATCH)
    folder = save_model_folder(
        tmp_path / "m", **module.published(), provenance=module.provenance({})
    )
    opened = open_model(folder)
    assert opened.networks == ("generator", "discriminator", "editor")
    generator = opened.network("generator")
    assert generator.digest == open_model(model).network("generator").digest
    assert generator.provenance["editor"]["training"]["paths"]["pairs"] == 2
    sheets = module.exhibit(nothing(), 4, 12)
    assert sheets.begin()["motions_init"].shape == (12, *SIZE, 3)
    assert "motions" in sheets.now() and "latent transformer" in module.card("network-1", {})


def test_what_learns_from_pictures_needs_some():
    data = nothing(size=16)
    assert len(data.dataset) == 1 and data.remarks() == []
    with pytest.raises(UserError, match=r"data.source none: this learns from pictures"):
        train(tiny_module(), 4, data)


def test_missing_opencv_and_small_pictures_are_one_line(model, monkeypatch):
    with pytest.raises(UserError, match="too small"):
        flow.check_size((8, 64))
    monkeypatch.setattr(flow, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'dragline\[editor\]'"):
        flow.check_opencv()


@pytest.mark.parametrize(
    ("wrong", "about"),
    [
        ({"heads": 3, "width": 16}, "must divide the width, 16"),
        ({"shortest": 0.9}, "paths.shortest"),
        ({"pairs": 99}, "paths.pairs"),
        ({"latent": 0, "move": 0}, "weights"),
        ({"match_px": 0}, "match_px"),
    ],
)
def test_settings_that_cannot_be_are_named(wrong, about):
    with pytest.raises(UserError, match=about):
        EditorSettings(**in_groups(EditorSettings, **wrong))
