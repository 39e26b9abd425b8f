"""One file from photograph to drag: what is in it comes back, and what is wrong with it is seen."""

import json
import random
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from framework.compositing.geometry import fit_geometry
from framework.errors import BrokenCheckpoint, UserError
from framework.files import sha256_file
from framework.inversion.deltas import WeightDeltas
from framework.inversion.inverted_image import (
    SUFFIX,
    InvertedImage,
    _plain,
    thumbnail,
)
from framework.models.digest import state_digest
from framework.models.stylegan2 import Generator
from framework.tensor_files import DIGEST, contents_digest, read_tensors

WEIGHT, NOISE = "synthesis.b8.conv0.weight", "synthesis.b8.conv0.noise_const"


@pytest.fixture
def image(tiny_generator) -> InvertedImage:
    rng = torch.Generator().manual_seed(0)
    weights = tiny_generator.state_dict()
    rows, columns = len(weights[WEIGHT]), weights[WEIGHT][0].numel()
    low_rank = (torch.randn(rows, 2, generator=rng), torch.randn(2, columns, generator=rng) / 9)
    other = "synthesis.b16.conv1.weight"
    full = torch.randn(weights[other].shape, generator=rng) / 7
    return InvertedImage(
        ws=torch.randn(1, tiny_generator.num_ws, tiny_generator.w_dim, generator=rng),
        generator_digest=state_digest(tiny_generator),
        model_name="tiny",
        geometry=fit_geometry((90, 70), (64, 64), "center", (5, 3, 66, 71), 7.5),
        noise={NOISE: torch.randn(8, 8, generator=rng)},
        deltas=WeightDeltas({other: full}, {WEIGHT: low_rank}),
        settings={"refine": {"steps": 3, "lr": 0.01, "betas": (0.9, 0.99)}, "seed": 4},
        measures={"mse": 0.01, "psnr_db": float("inf"), "seconds": [1, 2.5]},
        thumbnail=np.arange(64 * 48 * 3, dtype=np.uint8).reshape(64, 48, 3),
        photo={"name": "../../etc/p\u00e4ss wd\n\x1b[31m.jpg", "sha256": "ab" * 32},
        parent="cd" * 32,
    )


@pytest.fixture
def path(image, tmp_path):
    return image.save(tmp_path / f"cat{SUFFIX}")


def test_what_was_saved_comes_back_exactly(image, path):
    loaded = InvertedImage.load(path)
    assert loaded.to_dict() == image.to_dict() == json.loads(json.dumps(image.to_dict()))
    assert loaded.geometry == image.geometry and loaded.photo == image.photo
    assert loaded.measures == {"mse": 0.01, "psnr_db": None, "seconds": [1, 2.5]}
    saved, read = image.tensors(), loaded.tensors()
    assert saved.keys() == read.keys() and "pivot" not in saved
    assert all(torch.equal(saved[n], read[n]) and saved[n].dtype == read[n].dtype for n in saved)
    assert {str(read[n].dtype) for n in read if n.startswith("delta.")} == {"torch.float16"}


def test_the_picture_comes_back(image, path, tiny_generator):
    halved = replace(image, deltas=image.deltas.half())
    rendered = InvertedImage.load(path).render(tiny_generator)
    assert rendered.shape == (1, 3, 64, 64)
    assert (rendered - halved.render(tiny_generator)).abs().max() < 1e-6
    assert (rendered - image.render(tiny_generator)).abs().max() < 2 / 255  # [-1, 1]: one level
    untuned = replace(image, deltas=None, noise={}).render(tiny_generator)
    assert (rendered - untuned).abs().max() > 0.05


def test_the_shared_generator_is_never_changed(image, tiny_generator):
    before = state_digest(tiny_generator)
    own = image.generator(tiny_generator)
    assert own is not tiny_generator and state_digest(own) != before
    assert state_digest(tiny_generator) == before
    plain = replace(image, deltas=None, noise={})
    assert plain.generator(tiny_generator) is tiny_generator


def test_an_edit_remembers_the_reconstruction_and_its_file(image, path, tiny_generator, tmp_path):
    first = InvertedImage.load(path)
    edited = first.edited(first.ws + 0.3, sha256_file(path))
    loaded = InvertedImage.load(edited.save(tmp_path / "edit.inv.safetensors"))
    assert loaded.parent == sha256_file(path) and loaded.geometry == image.geometry
    assert loaded.pivot is not None and torch.equal(loaded.pivot, image.ws)
    assert torch.equal(loaded.ws, image.ws + 0.3)
    reconstruction = first.render(tiny_generator)
    assert torch.equal(loaded.render(tiny_generator, original=True), reconstruction)
    assert (loaded.render(tiny_generator) - reconstruction).abs().max() > 0.01
    twice = loaded.edited(loaded.ws - 1)
    assert twice.pivot is not None and torch.equal(twice.pivot, image.ws) and twice.parent is None


def test_another_generator_is_refused_by_name_and_digests(image, tiny_generator):
    other = Generator(**tiny_generator.config).eval()
    with pytest.raises(UserError) as error:
        image.render(other)
    message = str(error.value)
    assert "'tiny'" in message and state_digest(other)[:8] in message
    assert image.generator_digest[:8] in message and "\n" not in message
    image.check_model(other, allow_other=True)
    narrow = Generator(**{**tiny_generator.config, "w_dim": 16}).eval()
    with pytest.raises(UserError, match="this model has"):
        image.check_model(narrow, allow_other=True)


def test_a_flipped_bit_is_noticed(path):
    content = path.read_bytes()
    rng = random.Random(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [rng.randrange(len(content)) for _ in range(100)]
    places += [rng.randrange(header) for _ in range(100)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(UserError) as error:
            InvertedImage.load(path)
        assert len(str(error.value)) < 1000 + len(str(path))


HOSTILE = {
    "empty": b"",
    "a web page": b"<html><body>404</body></html>",
    "a header of exabytes": struct.pack("<Q", 1 << 60) + b"{}",
    "a header of fifty megabytes": struct.pack("<Q", 50 << 20) + b'{"a":' + b" " * (50 << 20),
    "nested without end": struct.pack("<Q", 500_000) + b"[" * 500_000,
    "a tensor beyond the end": struct.pack("<Q", 62)
    + b'{"ws":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}}  ',
    "a pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_are_refused(content, tmp_path):
    path = tmp_path / "x.inv.safetensors"
    path.write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match="cannot be read as an inverted image"):
        InvertedImage.load(path)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.inv.safetensors"):
        with pytest.raises(BrokenCheckpoint, match="cannot be read as an inverted image"):
            InvertedImage.load(path)


def tampered(path, change) -> None:
    """The file with something else in it and a digest that fits."""
    tensors, metadata = read_tensors(path)
    described = json.loads(metadata["description"])
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors, described, metadata)
    if isinstance(metadata.get("description"), str) and "description" in metadata:
        metadata["description"] = json.dumps(described)
    metadata[DIGEST] = contents_digest(metadata, tensors)
    save_file(tensors, path, metadata=metadata)


SPOILERS = {
    "'ws' is missing": lambda t, d, m: t.pop("ws"),
    "ws is torch.float64": lambda t, d, m: t.update(ws=t["ws"].double()),
    "are not (1, num_ws, w_dim)": lambda t, d, m: t.update(ws=t["ws"][0].clone()),
    "ws holds NaN": lambda t, d, m: t["ws"].fill_(torch.nan),
    "another shape than ws": lambda t, d, m: t.update(pivot=t["ws"][:, 1:].clone()),
    "holds values that are not finite": lambda t, d, m: t[f"delta.{WEIGHT}.A"].fill_(torch.inf),
    "do not fit each other": lambda t, d, m: t.pop(f"delta.{WEIGHT}.B"),
    "unknown tensor 'more'": lambda t, d, m: t.update(more=torch.zeros(1)),
    "thumbnail uint8 (300": lambda t, d, m: t.update(
        thumbnail=torch.zeros(300, 4, 3, dtype=torch.uint8)
    ),
    "generator_digest is not a SHA-256": lambda t, d, m: d.update(generator_digest="../" * 20),
    "parent is not a SHA-256": lambda t, d, m: d.update(parent=7),
    "photo is not a table": lambda t, d, m: d.update(photo="cat.jpg"),
    "is not text": lambda t, d, m: d.update(photo={"name": ["cat.jpg"]}),
    "measures is not a table": lambda t, d, m: d.update(measures=[1]),
    "geometry: valid_box": lambda t, d, m: d["geometry"].update(valid_box=[0, 0, 99, 99]),
    "geometry: affine": lambda t, d, m: d["geometry"].update(affine=[[0, 0, 0], [0, 0, 0]]),
    "its description": lambda t, d, m: d.pop("measures"),
    "version 2, this program reads 1": lambda t, d, m: m.update(version="2"),
    "another format": lambda t, d, m: m.update(format="dragline-edit"),
    "its digest does not": lambda t, d, m: m.update(more="metadata"),
}


@pytest.mark.parametrize("message", SPOILERS)
def test_a_file_that_does_not_fit_itself_is_refused_in_one_line(path, message):
    tampered(path, SPOILERS[message])
    with pytest.raises(BrokenCheckpoint) as error:
        InvertedImage.load(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_names_of_tensors_are_only_names(path, tiny_generator):
    tampered(path, lambda t, d, m: t.update({"noise.__class__": torch.zeros(8, 8)}))
    with pytest.raises(UserError, match="this model has no such tensor"):
        InvertedImage.load(path).render(tiny_generator)


def test_what_cannot_be_read_back_is_not_written(image, tmp_path):
    path = tmp_path / "x.inv.safetensors"
    with pytest.raises(UserError, match="keep fewer"):
        replace(image, settings={"log": ["x" * 1000] * 600}).save(path)
    with pytest.raises(UserError, match="diverged"):
        replace(image, deltas=WeightDeltas({WEIGHT: torch.full((1,), 1e6)})).save(path)
    with pytest.raises(UserError, match="cannot be written"):
        image.save(tmp_path / "missing" / "x.inv.safetensors")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="not a JSON value"):
        replace(image, settings={"distance": torch.ones(1)})
    with pytest.raises(UserError, match="NaN"):
        replace(image, ws=image.ws * torch.nan)


def test_settings_without_end_are_refused():
    endless: dict = {}
    endless["more"] = endless
    with pytest.raises(UserError, match="nested without end"):
        _plain(endless, "settings")


def test_thumbnails_keep_their_shape():
    assert thumbnail(np.zeros((1000, 500, 3), np.uint8)).shape == (256, 128, 3)
    assert thumbnail(np.zeros((64, 48, 3), np.uint8)).shape == (64, 48, 3)
