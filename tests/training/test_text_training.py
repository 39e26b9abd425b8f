"""Training of a text encoder: it learns, resumes bit for bit, mistakes are one line."""

import json
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from PIL import Image

from framework.data.captions import captions
from framework.errors import BrokenCheckpoint, UserError
from framework.formats.run_checkpoint import checkpoint_path, read_checkpoint
from framework.formats.text_file import NAME, load_text_encoder
from framework.models.alignment.code_space import Belief
from framework.training.alignment.objectives import contrastive, layer_distance, ranking, surprises
from framework.training.alignment.retrieval import retrieval
from framework.training.alignment.settings import AlignmentWeights
from framework.training.callbacks import RunCheckpoints
from framework.training.data import TrainingImages
from framework.training.phases import Micro
from framework.training.text.captions import captions_of
from framework.training.text.module import TextTraining
from framework.training.text.settings import TextSettings, Words
from framework.training.trainer import TRAINER_DEFAULTS
from tests.cli.conftest import save_small_model
from tests.training.test_training_resume import differing
from tests.training.tiny import tiny_data, train

BATCH = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small", encoder=True)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def tiny(model: Path, **settings: Any) -> TextTraining:
    sizes = {"coordinates": 6, "hidden": 16, "words": Words(width=8, heads=2), "per_picture": 2}
    return TextTraining(generator=str(model), **{**sizes, **settings})


def pictures(**settings: Any) -> TrainingImages:
    return tiny_data(BATCH, source="toycars:40", held_out=0.2, **settings)


def trained(model: Path, folder: Path, batches: int, start: int | None = None) -> dict[str, Any]:
    saving = RunCheckpoints(folder, 1000.0, 1000.0, 99)
    begin = None if start is None else checkpoint_path(folder, start * BATCH)
    train(tiny(model), batches * BATCH, pictures(), (saving,), begin)  # type: ignore[arg-type]
    held = read_checkpoint(checkpoint_path(folder, batches * BATCH))
    return {name: held[name] for name in ("state_dict", "optimizer_states", "dragline")}


@pytest.fixture(scope="module")
def built(model) -> TextTraining:
    """A module that was built for its data, and trained for a batch."""
    module = tiny(model)
    train(module, BATCH, pictures())  # type: ignore[arg-type]
    return module


def test_a_size_that_is_left_open_is_the_models(model):
    trainer = lightning.Trainer(**{**TRAINER_DEFAULTS, "accelerator": "cpu"})
    data = TrainingImages(source="toycars:8", size=None, batch_size=BATCH)
    tiny(model).foresee(trainer, data)
    assert data.size == (16, 16)


def test_a_resumed_run_is_bit_equal_and_codes_are_computed_once(model, tmp_path, cache):
    whole = trained(model, tmp_path / "whole", 4)
    files = {path: path.stat().st_mtime_ns for path in (cache / "dragline" / "codes").iterdir()}
    first = trained(model, tmp_path / "parts", 2)
    assert differing(first["state_dict"], whole["state_dict"]) != []
    assert differing(trained(model, tmp_path / "parts", 4, 2), whole) == []
    assert {path: path.stat().st_mtime_ns for path in files} == files and len(files) == 2
    assert "hatchback" in whole["dragline"]["encoder"]["words"]


def test_a_damaged_file_of_codes_is_made_anew(model, cache, built):
    files = list((cache / "dragline" / "codes").iterdir())
    contents = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(b"junk")
    module, data = tiny(model), pictures()
    train(module, BATCH, data)  # type: ignore[arg-type]
    assert [file.read_bytes() for file in files] == contents
    assert torch.equal(module._pairs.codes, built._pairs.codes)


@pytest.mark.parametrize("term", ["likelihood", "distance", "ranking", "contrastive"])
def test_every_term_learns_pairs_by_heart(built, model, term):
    weights = AlignmentWeights(**{"likelihood": 0.0, term: 1.0})
    module = tiny(model, weights=weights)
    module._pairs, module._order, module._words = built._pairs, built._order, built._words
    module.assemble((16, 16), 3, 0, torch.device("cpu"), BATCH)
    adam, losses = torch.optim.Adam(module.encoder.parameters(), lr=1e-2), []
    for _ in range(40):
        micro = Micro(lambda: torch.zeros(8), torch.zeros(8, 0), torch.Generator().manual_seed(0))
        outcome: Any = module.phases[0].objective(micro)
        assert list(outcome.stats) == ["Loss/A/loss", f"Loss/{term}"]
        losses.append(outcome.loss.item())
        adam.zero_grad()
        outcome.loss.backward()
        adam.step()
    assert min(losses) < losses[0] - 0.3 * abs(losses[0])


def test_pairs_are_the_pictures_of_the_batch(built):
    data = pictures()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    micro = Micro(batch.pictures, batch.labels, torch.Generator().manual_seed(0), batch.first)
    inputs, codes = built.pairs(micro)
    with torch.no_grad():
        wanted = built.opened.encoder(batch.pictures()).half().float()
    assert torch.equal(codes, wanted)
    order = [built._order.position(i) for i in range(BATCH)]
    texts = [captions_of(data.dataset, None, 2)[i] for i in order]
    for row, several in zip(inputs, texts, strict=True):
        rows = [built.encoder.inputs([text])[0] for text in several]
        assert any(torch.equal(row[: len(r)], r) and not row[len(r) :].any() for r in rows)


def test_ties_count_against_and_groups_are_whole():
    belief = Belief(torch.tensor([[0.0], [1.0], [1.0], [9.0], [5.0]]), torch.zeros(5, 1))
    coordinates = torch.tensor([[0.1], [1.0], [1.0], [2.0], [5.0]])
    found = retrieval(belief, coordinates, group=2)
    assert found.first.tolist() == [1, 1, 1, 1] and found.fifth.tolist() == [1, 1, 1, 1]
    assert retrieval(belief, coordinates).first.tolist() == [1, 0, 0, 0, 1]


def test_terms_are_what_they_say(built):
    space = built.encoder.space
    codes = built._pairs.codes[:5].float()
    coordinates = space.coordinates(codes)
    belief = Belief(coordinates.detach(), torch.zeros_like(coordinates))
    far = surprises(belief, coordinates)
    assert torch.allclose(far.diagonal(), torch.zeros(5), atol=1e-6)
    naive = (coordinates[:, None] - coordinates[None]).square().sum(2) / 2 / 6
    assert torch.allclose(far, naive, rtol=1e-4, atol=1e-5)
    hinge = ranking(far, 1.0)
    wanted = [
        sum(max(0, 1 - far[i, j].item()) + max(0, 1 - far[j, i].item()) for j in range(5) if j != i)
        / 8
        for i in range(5)
    ]
    assert torch.allclose(hinge, torch.tensor(wanted), rtol=1e-4)
    guesses = [far[i].neg().log_softmax(0)[i] + far[:, i].neg().log_softmax(0)[i] for i in range(5)]
    assert torch.allclose(contrastive(far), -torch.stack(guesses) / 2, rtol=1e-4)
    nowhere = Belief(torch.zeros(1, 6), torch.zeros(1, 6))
    everywhere = layer_distance(space, nowhere, built._pairs.codes.float())
    assert layer_distance(space, belief, codes).max() < everywhere.mean() / 2
    assert everywhere.mean().item() == pytest.approx(1, abs=0.2)


# G51f
def test_a_snapshot_is_a_file_that_loads_for_its_model_alone(built, model, tmp_path):
    built.write_model(tmp_path, built.provenance({"count": 3}), "# card")
    opened, name = built.opened, str(model)
    loaded = load_text_encoder(tmp_path, opened.generator.digest, opened.encoder_digest, name)
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, built.encoder_ema.state_dict()[key].half().float())
    assert loaded.config == built.encoder_ema.config
    with pytest.raises(UserError, match=r"is 00000000; .* trains its own"):
        load_text_encoder(tmp_path, "0" * 64, opened.encoder_digest, "other")
    with pytest.raises(UserError, match="another encoder of pictures"):
        load_text_encoder(tmp_path, opened.generator.digest, "0" * 64, "other")
    assert "a text encoder" in built.card("network-1", {"count": 1, "source": "x"}).lower()


# G51f
@pytest.mark.parametrize("damage", ["short", "changed", "kind"])
def test_a_damaged_text_encoder_is_one_line(built, tmp_path, damage):
    built.write_model(tmp_path, {}, "")
    file, digest = tmp_path / NAME, built.opened.generator.digest
    data = bytearray(file.read_bytes())
    if damage == "short":
        data = data[:-9]
    elif damage == "changed":
        data[-1] ^= 1
    else:
        data = data.replace(b"dragline-text", b"dragline-taxt")
    file.write_bytes(data)
    with pytest.raises(BrokenCheckpoint, match=NAME) as error:
        load_text_encoder(file, digest, built.opened.encoder_digest, "m")
    assert "\n" not in str(error.value)


def test_its_sheets_are_held_out_pictures_and_what_is_drawn_of_them(built):
    data = pictures()
    data.setup("fit")
    sheets = built.exhibit(data, 3, 9)
    sheet = sheets.now()["described"]
    assert sheet.shape == (9, 16, 16, 3)
    assert np.array_equal(sheet[:3], data.held_out[:3].permute(0, 2, 3, 1).numpy())


# G52f
def test_no_codes_without_an_encoder(tmp_path):
    bare = save_small_model(tmp_path / "bare")
    with pytest.raises(UserError, match=r"has no encoder.*train.py fit"):
        _ = tiny(bare).opened


# G52f
@pytest.mark.parametrize(
    ("wrong", "about"),
    [
        ({"mirror": True}, "mirror"),
        ({"weights": {"likelihood": 0.0}}, "nothing would be learned"),
        ({"coordinates": 0}, "coordinates"),
        ({"words": {"heads": 3}}, "heads"),
        ({"tower": "clip"}, "words, minilm"),
        ({"per_picture": 0}, "per_picture"),
    ],
)
def test_settings_of_a_text_encoder_that_cannot_be_are_named(wrong, about):
    groups = {"weights": AlignmentWeights, "words": Words}
    with pytest.raises(UserError, match=about):
        TextSettings(**{n: groups[n](**v) if n in groups else v for n, v in wrong.items()})


# G52f
def test_captions_in_files_are_read_and_mistakes_named(tmp_path):
    folder, texts = tmp_path / "images", tmp_path / "text"
    folder.mkdir(), texts.mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(folder / f"{i}.png")
        (texts / f"{i}.txt").write_text(f"a red car {i}\n\n a car\nmore\n")
    dataset = TrainingImages(str(folder), 16).dataset
    assert captions_of(dataset, str(texts), 2) == [[f"a red car {i}", "a car"] for i in range(3)]
    with pytest.raises(UserError, match="captions: these pictures have no captions"):
        captions_of(dataset, None, 2)
    with pytest.raises(UserError, match="no such folder"):
        captions_of(dataset, str(tmp_path / "none"), 2)
    for content, about in ((b"\n \n", "holds no caption"), (b"\xff\xfe", "cannot be read"),
                           (b"word " * 60, "is longer than")):  # fmt: skip
        (texts / "1.txt").write_bytes(content)
        with pytest.raises(UserError, match=rf"1\.txt.*{about}"):
            captions_of(dataset, str(texts), 2)
    (texts / "1.txt").unlink()
    with pytest.raises(UserError, match="No such file"):
        captions_of(dataset, str(texts), 2)


def test_photographs_are_described_by_a_command_and_learned(model, tmp_path):
    for number in range(24):
        kind, red = ("van", "car")[number % 2], 200 * (number // 12)
        (tmp_path / "photos" / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 16, 3), 128, np.uint8)
        pixels[3:13, 3:13] = (red, 20, 20 + number)
        Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{number}.png")
    captions(tmp_path / "photos", tmp_path / "texts")
    module = tiny(model, captions=str(tmp_path / "texts"), per_picture=5)
    data = tiny_data(BATCH, source=str(tmp_path / "photos"), held_out=0.2)
    train(module, 2 * BATCH, data)  # type: ignore[arg-type]
    assert {"van", "car", "red", "black"} <= set(module._words)
    assert module.encoder_ema.read(["a red van", "a black car"]).mean.isfinite().all()
    with pytest.raises(UserError, match="did you mean van"):
        module.encoder_ema.read(["a red vans"])


def test_toy_cars_know_their_captions_and_a_file_of_them_is_json_free():
    data = pictures()
    captions = captions_of(data.dataset, None, 2)
    assert json.dumps(captions) and all(len(each) == 4 for each in captions)
    assert captions[3][2].startswith(("a ", "an ")) and " facing " in captions[3][2]
