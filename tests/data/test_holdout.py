"""Pictures held out of training: by name alone, the same ones for everybody."""

from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data import open_dataset
from framework.data.holdout import is_held_out, split
from framework.errors import UserError
from framework.media.images import save_png
from framework.training.data import TrainingImages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty pictures, each of its own grey."""
    for i in range(40):
        save_png(tmp_path / f"{i}.png", np.full((16, 16, 3), 5 * i, np.uint8))
    return tmp_path


def held_out(folder: Path, share: float = 0.3) -> set[str]:
    part = split(open_dataset(folder), share)[1]
    return {part.name(i) for i in range(len(part))}


def test_the_share_is_about_what_was_asked_for_and_grows_with_it():
    names = [f"toycar{i:08d}" for i in range(5000)]
    counts = [sum(is_held_out(name, share) for name in names) for share in (0, 0.1, 0.5)]
    assert counts[0] == 0 and counts[1:] == pytest.approx([500, 2500], rel=0.1)
    assert all(is_held_out(name, 0.5) for name in names if is_held_out(name, 0.1))


def test_who_is_held_out_does_not_depend_on_who_else_there_is(folder):
    before = held_out(folder)
    assert 4 < len(before) < 20
    save_png(folder / "0-first-of-all.png", np.zeros((16, 16, 3), np.uint8))
    gone = sorted(before)[0]
    (folder / gone).unlink()
    assert held_out(folder) - {"0-first-of-all.png"} == before - {gone}


def test_the_parts_are_the_whole_without_anything_twice(folder):
    whole = open_dataset(folder)
    kept, out = split(whole, 0.3)
    names = [part.name(i) for part in (kept, out) for i in range(len(part))]
    assert sorted(names) == sorted(whole.name(i) for i in range(40))
    for part in (kept, out):
        for i in range(len(part)):
            assert (part.image(i) == 5 * int(part.name(i).removesuffix(".png"))).all()
    assert len({whole.fingerprint, kept.fingerprint, out.fingerprint}) == 3
    assert split(whole, 0.2)[0].fingerprint != kept.fingerprint
    assert kept.facts()["count"] == len(kept) and kept.facts()["of"] == 40


@pytest.mark.parametrize("cached", [False, True])
def test_training_never_sees_what_is_held_out(folder, tmp_path, cached):
    cache = str(tmp_path / "cache") if cached else None
    data = TrainingImages(str(folder), None, batch_size=8, held_out=0.3, cache=cache)
    data.prepare_data()
    data.setup("fit")
    assert data.held_out is not None
    out = set(data.held_out[:, 0, 0, 0].tolist())
    assert out == {5 * int(name.removesuffix(".png")) for name in held_out(folder)}
    stream = iter(data.train_dataloader())
    seen = torch.cat([next(stream).images[:, 0, 0, 0] for _ in range(20)])
    assert set(seen.tolist()) == set(range(0, 200, 5)) - out
    assert data.facts()["count"] == 40 - len(out)


def test_without_a_share_nothing_is_held_out(folder):
    data = TrainingImages(str(folder), None)
    assert data.held_out is None and len(data.dataset) == 40


def test_labels_stay_with_their_pictures(tmp_path):
    for i in range(20):
        path = tmp_path / ("dark", "light")[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        save_png(path, np.full((16, 16, 3), 200 * (i % 2), np.uint8))
    part = split(open_dataset(tmp_path, use_labels=True), 0.5)[1]
    assert part.classes == ("dark", "light") and part.label_dim == 2
    for i in range(len(part)):
        assert part.label(i).argmax() == part.raw_label(i) == (part.image(i).max() > 0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"held_out": 0.6}, r"^data\.held_out 0\.6: must be from 0 to 0\.5"),
        ({"held_out": -0.1}, r"^data\.held_out -0\.1: must be"),
        ({"source": "shards:x", "held_out": 0.1}, r"^data\.held_out 0\.1: not for shards"),
    ],
)
def test_shares_that_cannot_be_are_refused(settings, expected):
    with pytest.raises(UserError, match=expected):
        TrainingImages(**settings)


def test_a_part_without_pictures_is_refused():
    with pytest.raises(UserError, match=r"--data\.held_out 0\.0001: of 9 pictures it leaves 9 to"):
        split(open_dataset("toycars:9", size=16), 0.0001)
