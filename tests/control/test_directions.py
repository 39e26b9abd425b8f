"""Directions: found as their papers say, kept to the bit, and refused where they do not fit."""

import json

import numpy as np
import pytest
import torch

from framework.control.directions import LARGEST_VALUE, Direction, Move, by_name, moved, unit
from framework.control.directions_file import Directions
from framework.control.discover import (
    affine_weights,
    closed_form,
    pca_directions,
    principal,
    sampled_w,
    sefa_directions,
)
from framework.control.layers import LayerMap
from framework.errors import BrokenCheckpoint, UserError
from framework.models.digest import state_digest
from framework.tensor_files import read_tensors, write_tensors


@pytest.fixture(scope="module")
def w(tiny_generator):
    return sampled_w(tiny_generator, 400)


@pytest.fixture(scope="module")
def layers(tiny_generator):
    return LayerMap.of(tiny_generator)


@pytest.fixture(scope="module")
def found(tiny_generator, w, layers) -> Directions:
    table = pca_directions(layers, w, 2)
    table += sefa_directions(tiny_generator, layers, w, ["all", "colour"], 2)
    digest = state_digest(tiny_generator)
    return Directions(by_name(table), digest, "tiny", layers.num_ws, 24, {"seed": 0})


def test_the_closed_form_is_the_svd_of_the_weights(tiny_generator):
    naive = []
    for name in ("b32.conv0", "b32.conv1"):
        affine = tiny_generator.synthesis.get_submodule(name).affine
        eye = torch.eye(24)
        naive.append((affine(eye) - affine(torch.zeros(1, 24))).T)  # column by column
    weights = torch.cat(naive).double().numpy()
    torch.testing.assert_close(
        affine_weights(tiny_generator, (5, 6)).double(),
        torch.from_numpy(weights),
        rtol=0,
        atol=1e-5,
    )
    _, singular, rows = np.linalg.svd(weights)
    values, directions = closed_form(tiny_generator, (5, 6))
    np.testing.assert_allclose(values[: len(singular)], singular**2, rtol=1e-4, atol=1e-5)
    for i in range(3):  # the same up to sign
        assert abs(directions[i].numpy() @ rows[i]) == pytest.approx(1, abs=1e-4)
        assert directions[i].abs().max() == directions[i].max()


def test_principal_components_are_those_of_an_svd_of_the_samples(w):
    values, directions = principal(w)
    centred = (w - w.mean(dim=0)).double().numpy()
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(values, singular**2 / (len(w) - 1), rtol=1e-6, atol=1e-9)
    for i in range(4):
        assert abs(directions[i].numpy() @ rows[i]) == pytest.approx(1, abs=1e-6)


def test_a_value_of_one_is_a_standard_deviation(w, found):
    for direction in found.table.values():
        along = w.double() @ direction.vectors[0].double()
        assert direction.scale == pytest.approx(along.std().item(), rel=1e-5)
        assert direction.vectors.norm().item() == pytest.approx(1, rel=1e-5)
    scales = [found.table[name].scale for name in ("pca0", "pca1")]
    assert scales[0] > scales[1]


def test_vectors_that_differ_by_layer_are_a_direction_too(w):
    vectors = torch.randn(2, 24)
    direction = unit("text", 7 * vectors, (1, 3), w, "text")
    step = direction.step(6)
    assert torch.equal(step[0, [0, 2, 4, 5]], torch.zeros(4, 24))
    torch.testing.assert_close(step[0, 1] / step[0, 3], vectors[0] / vectors[1])
    with pytest.raises(UserError, match="flat: this model's latents do not vary along it"):
        unit("flat", torch.zeros(1, 24), (0,), w, "text")


def test_moves_add_up_and_touch_their_layers_alone(found, layers):
    ws = torch.randn(2, layers.num_ws, 24)
    table = found.table
    moves = [Move.parse("pca0=1.5"), Move.parse("sefa-colour1=-2"), Move.parse("pca1@0-1=3")]
    naive = ws.clone()
    naive += 1.5 * table["pca0"].scale * table["pca0"].vectors
    naive[:, 7:] += -2 * table["sefa-colour1"].scale * table["sefa-colour1"].vectors
    naive[:, :2] += 3 * table["pca1"].scale * table["pca1"].vectors
    torch.testing.assert_close(moved(ws, moves, table, layers), naive)


# G20f
@pytest.mark.parametrize(
    ("text", "complaint"),
    [("pca0", "give NAME=VALUE"), ("=1", "give NAME=VALUE"), ("pca0=", "nothing is no number"),
     ("pca0=far", "far is no number"), ("pca0=nan", "is no number"), ("pca0=inf", "is no number"),
     (f"pca0={LARGEST_VALUE + 1}", "is no number from -100 to 100")],
)  # fmt: skip
def test_a_move_that_is_none_is_refused(text, complaint):
    with pytest.raises(UserError, match=complaint):
        Move.parse(text)


# G20f
@pytest.mark.parametrize(
    ("text", "complaint"),
    [("pc0=1", "pc0: no such direction; did you mean pca0"), ("smile=1", "there are pca0, pca1"),
     ("pca0@hue=1", "give pose"), ("sefa-colour0@pose=1", "sefa-colour0 moves colour alone")],
)  # fmt: skip
def test_unknown_names_and_layers_are_refused_with_what_there_is(found, layers, text, complaint):
    with pytest.raises(UserError, match=complaint):
        moved(torch.zeros(1, layers.num_ws, 24), [Move.parse(text)], found.table, layers)


def test_a_file_of_directions_comes_back_to_the_bit(found, tmp_path):
    found.save(tmp_path / "a.safetensors")
    again = Directions.load(tmp_path / "a.safetensors")
    assert list(again.table) == list(found.table) and again.made_with == found.made_with
    for one, other in zip(found.table.values(), again.table.values(), strict=True):
        assert torch.equal(one.vectors, other.vectors) and one.scale == other.scale
        assert (one.layers, one.found, one.facts) == (other.layers, other.found, other.facts)
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


# G21f
def test_another_generators_directions_are_refused_with_the_command(found, tiny_generator):
    found.check_model(tiny_generator, "tiny")
    other = Directions(found.table, "0" * 64, "old", found.num_ws, found.w_dim)
    with pytest.raises(UserError, match=r"python edit.py directions --model new --out DIR") as one:
        other.check_model(tiny_generator, "new")
    assert "'old' (digest 00000000)" in str(one.value)


def _described(file, **changes):
    """The file again with other facts, its digest right."""
    tensors, metadata = read_tensors(file)
    facts = json.loads(metadata["description"])
    for path, value in changes.items():
        place = facts["directions"][0] if path in facts["directions"][0] else facts
        place[path] = value
    metadata["description"] = json.dumps(facts, sort_keys=True)
    write_tensors(file, tensors, {k: v for k, v in metadata.items() if k != "sha256"})


# G21f
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"layers": [99]}, "moves layers that the model has not"),
     ({"layers": []}, "moves layers that the model has not"),
     ({"scale": float("inf")}, "not finite"), ({"scale": -1.0}, "not finite"),
     ({"name": "a b"}, "not a name"), ({"name": "pca1"}, "two directions have this name"),
     ({"w_dim": 512}, "not of width 512"), ({"directions": []}, "0 names for 6 directions"),
     ({"facts": 3}, "cannot be read as directions"), ({"num_ws": "x"}, "cannot be read")],
)  # fmt: skip
def test_a_file_whose_facts_do_not_fit_is_refused(found, tmp_path, changes, complaint):
    file = found.save(tmp_path / "a.safetensors")
    _described(file, **changes)
    with pytest.raises(UserError, match=complaint):
        Directions.load(file)


# G21f
def test_a_turned_bit_is_noticed(found, tmp_path):
    file = found.save(tmp_path / "a.safetensors")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BrokenCheckpoint, match="its digest does not match its contents"):
        Directions.load(file)


def test_names_are_unique_and_can_be_typed():
    one = Direction("a", torch.ones(1, 2), (0,), 1.0, "pca")
    with pytest.raises(UserError, match="two directions have this name"):
        by_name([one, one])
