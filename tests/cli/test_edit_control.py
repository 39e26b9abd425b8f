"""Layers, directions and edits through the commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from framework.cli.edit import main
from framework.control.directions_file import Directions
from framework.drag.edit_file import EditFile
from framework.formats import load_generator
from framework.formats.latents import read_latents, write_latents
from framework.inversion.inverted_image import InvertedImage
from framework.jobs.directions import directions
from framework.jobs.models import render, seed_latents
from framework.jobs.requests.control import DirectionsRequest
from framework.jobs.watcher import Cancelled, Watcher
from tests.cli.conftest import save_small_model

FEW = ["--count", "2", "--samples", "40", "--seeds", "1"]


def picture(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def found(small_model, tmp_path_factory) -> Path:
    """A folder that `directions` wrote."""
    out = tmp_path_factory.mktemp("found") / "out"
    assert main(["directions", "--model", str(small_model), *FEW, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def steered(found, tmp_path_factory) -> Path:
    """The model with its own directions in its folder, and an encoder."""
    folder = save_small_model(tmp_path_factory.mktemp("models") / "steered", encoder=True)
    shutil.copy(found / "directions.safetensors", folder)
    return folder


def step(found: Path, name: str, num_ws: int) -> torch.Tensor:
    return Directions.load(found / "directions.safetensors").table[name].step(num_ws)


def test_layers_writes_its_table_and_its_pictures(small_model, tmp_path, capsys):
    out = tmp_path / "layers"
    words = ["layers", "--model", str(small_model), "--pairs", "3", "--out", str(out), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    by_resolution = {"pose": [0, 1, 2], "shape": [3, 4], "colour": [5]}
    assert told["map"]["by_resolution"] == by_resolution
    assert [row["resolution"] for row in told["layers"]] == [4, 8, 8, 16, 16, 16]
    assert all(row["features"] >= 0 for row in told["layers"])  # the model has a discriminator
    written = json.loads((out / "layers.json").read_text())
    assert written["layers"] == told["layers"]
    lines = (out / "layers.md").read_text().splitlines()
    measured = told["map"]["measured"]
    assert sum(line.startswith("| ") for line in lines) == 1 + 6 + 3 + len(measured)
    assert picture(out / "layers.png").shape[1] > (2 + 6 + 3 + len(measured)) * 16


def test_a_model_folder_may_carry_its_measured_layers(steered, tmp_path):
    generator, model = load_generator(steered), tmp_path / "model"
    shutil.copytree(steered, model)
    groups = {"pose": [0, 1], "colour": [2, 5], "detail": [3, 4]}
    facts = {"generator_digest": generator.digest, "map": {"measured": groups}}
    (model / "layers.json").write_text(json.dumps(facts))
    words = ["edit", "--model", str(model), "--seed", "3", "--style-seed", "9", "--layers"]
    assert main([*words, "colour", "--out", str(tmp_path / "out")]) == 0
    wanted = seed_latents(generator, 3)
    wanted[:, [2, 5]] = seed_latents(generator, 9)[:, [2, 5]]
    assert torch.equal(read_latents(tmp_path / "out" / "latents.safetensors"), wanted)


def test_directions_writes_what_it_found(small_model, found, tmp_path):
    table = Directions.load(found / "directions.safetensors")
    table.check_model(load_generator(small_model), "small")
    names = list(table.table)
    assert names[:2] == ["pca0", "pca1"] and "sefa-pose1" in names and "brightness" in names
    facts = {row["name"]: row for row in json.loads((found / "directions.json").read_text())[
        "directions"]}  # fmt: skip
    assert facts["brightness"]["r2"] <= 1 and facts["pca0"]["share"] >= facts["pca1"]["share"]
    assert all(row["changes"]["colour"] >= 0 for row in facts.values())
    assert (found / "directions.png").stat().st_size > 1000


def test_generate_along_a_direction_draws_what_the_latents_say(steered, found, tmp_path):
    generator = load_generator(steered)
    moves = ["--direction", "pca0=2", "--direction", "sefa-pose1=-1", "pca1@colour=3"]
    words = ["generate", "--model", str(steered), "--seeds", "3,4", "--out", str(tmp_path / "out")]
    assert main([*words, *moves]) == 0
    num_ws = generator.num_ws
    third = 3 * step(found, "pca1", num_ws)
    third[:, :5] = 0
    for seed in (3, 4):
        ws = seed_latents(generator, seed) + 2 * step(found, "pca0", num_ws)
        ws = ws - step(found, "sefa-pose1", num_ws) + third
        drawn = picture(tmp_path / "out" / f"seed{seed:04d}.png")
        assert np.array_equal(drawn, render(generator, ws))
        assert not np.array_equal(drawn, render(generator, seed_latents(generator, seed)))


# G24f
def test_a_seed_is_edited_and_dragged_on(steered, found, tmp_path, capsys):
    out, generator = tmp_path / "out", load_generator(steered)
    words = ["edit", "--model", str(steered), "--seed", "3", "--direction", "pca0=2"]
    assert main([*words, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["moves"] == {"pca0": 2.0} and told["layers"] == [0, 1, 2, 3, 4, 5]
    wanted = seed_latents(generator, 3) + 2 * step(found, "pca0", generator.num_ws)
    assert torch.equal(read_latents(told["file"]), wanted)
    assert np.array_equal(picture(out / "picture.png"), render(generator, wanted))
    drag = ["drag", "--model", str(steered), "--image", told["file"], "--points", "5,8:7,8"]
    few = ["--steps", "1", "--no-video", "--preset", "draggan", "--out", str(tmp_path / "drag")]
    assert main([*drag, *few]) == 0
    edit = tmp_path / "drag" / "edit.safetensors"
    assert torch.equal(EditFile.load(edit).start_ws, wanted)

    # And an edit's last picture is edited on.
    words = ["edit", "--edit", str(edit), "--direction", "pca1=1", "--out", str(tmp_path / "on")]
    assert main(words) == 0
    last = EditFile.load(edit).ws[-1:] + step(found, "pca1", generator.num_ws)
    assert torch.equal(read_latents(tmp_path / "on" / "latents.safetensors"), last)


def test_layers_of_another_seed_are_mixed_in_and_the_rest_varies(steered, tmp_path):
    out, generator = tmp_path / "out", load_generator(steered)
    words = ["edit", "--model", str(steered), "--seed", "3", "--style-seed", "9"]
    assert main([*words, "--layers", "pose,4", "--variants", "3", "--out", str(out)]) == 0
    wanted = seed_latents(generator, 3)
    wanted[:, [0, 1, 2, 4]] = seed_latents(generator, 9)[:, [0, 1, 2, 4]]
    assert torch.equal(read_latents(out / "latents.safetensors"), wanted)
    assert picture(out / "variants.png").shape == (16, 64, 3)  # the edit and three others


# G24f
def test_a_photograph_is_inverted_moved_pasted_and_dragged_on(
    steered, found, photograph, tmp_path, capsys
):
    out, photo = tmp_path / "out", photograph()
    words = ["edit", "--model", str(steered), "--image", str(photo), "--stages", "embed"]
    assert main([*words, "--direction", "pca0=2", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Path(told["file"]) == out / "car.inv.safetensors"
    assert set(told["inversion"]["stages"]) == {"embed"}
    before = InvertedImage.load(out / "inversion" / "car.inv.safetensors")
    after = InvertedImage.load(told["file"])
    generator = load_generator(steered)
    moved = before.ws + 2 * step(found, "pca0", generator.num_ws)
    assert torch.equal(after.ws, moved) and torch.equal(after.pivot, before.ws)
    pasted, whole = picture(out / "pasted.png"), picture(photo)
    assert pasted.shape == whole.shape and not np.array_equal(pasted, whole)
    assert np.array_equal(pasted[:, :4], whole[:, :4])  # left of what the model sees
    drag = ["drag", "--image", str(out), "--points", "5,8:7,8", "--steps", "1", "--no-video"]
    assert main([*drag, "--preset", "draggan", "--out", str(tmp_path / "drag")]) == 0
    assert torch.equal(EditFile.load(tmp_path / "drag" / "edit.safetensors").start_ws, moved)
    assert (tmp_path / "drag" / "pasted.png").exists()


def test_a_probe_of_given_attributes_becomes_a_direction(small_model, tmp_path):
    generator = load_generator(small_model)
    planted = torch.linspace(-1, 1, generator.w_dim)
    seeds = range(80)
    w = torch.cat([seed_latents(generator, seed)[:, 0] for seed in seeds])
    rows = [f"{seed},{value}" for seed, value in zip(seeds, (w @ planted).tolist(), strict=True)]
    (tmp_path / "a.csv").write_text("seed,how wide\n" + "\n".join(rows))
    words = ["directions", "--model", str(small_model), "--attributes", str(tmp_path / "a.csv")]
    words += ["--methods", "pca", *FEW]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    table = Directions.load(tmp_path / "out" / "directions.safetensors").table
    assert table["how-wide"].facts["r2"] > 0.95
    along = w @ table["how-wide"].vectors[0]
    assert torch.corrcoef(torch.stack([along, w @ planted]))[0, 1] > 0.98

    # The same rows by the names of latents in a file.
    write_latents(tmp_path / "ws.npy", w[:, None].expand(-1, generator.num_ws, -1), "npy")
    (tmp_path / "b.csv").write_text("name,how wide\n" + "\n".join(rows))
    words[words.index("--attributes") + 1] = str(tmp_path / "b.csv")
    words += ["--latents", str(tmp_path / "ws.npy"), "--out", str(tmp_path / "again")]
    assert main(words) == 0
    again = Directions.load(tmp_path / "again" / "directions.safetensors").table["how-wide"]
    torch.testing.assert_close(again.vectors, table["how-wide"].vectors, atol=1e-4, rtol=0)


# G22f
def test_rosinalitys_factor_file_moves_pictures(small_model, tmp_path):
    generator = load_generator(small_model)
    eigvec = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0))).Q
    torch.save({"ckpt": "cars.pt", "eigvec": eigvec}, tmp_path / "factor.pt")
    words = ["edit", "--model", str(small_model), "--seed", "3", "--direction", "factor2=1.5"]
    words += ["--directions", str(tmp_path / "factor.pt"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    moved = read_latents(tmp_path / "out" / "latents.safetensors") - seed_latents(generator, 3)
    along = torch.nn.functional.cosine_similarity(moved, eigvec[:, 2], dim=2)
    torch.testing.assert_close(along, torch.ones_like(along))
    words = ["directions", "--model", str(small_model), "--factor", str(tmp_path / "factor.pt")]
    assert main([*words, "--methods", "sefa", *FEW, "--out", str(tmp_path / "all")]) == 0
    table = Directions.load(tmp_path / "all" / "directions.safetensors").table
    assert list(table)[:3] == ["factor0", "factor1", "sefa0"]


class Stops(Watcher):
    """Presses Ctrl-C while pictures are measured."""

    def progress(self, text: str) -> None:
        if text.startswith("measuring pictures"):
            raise Cancelled


# G24f
def test_ctrl_c_keeps_the_directions_that_were_found(small_model, tmp_path):
    few = {"model": str(small_model), "count": 2}
    outcome = directions(DirectionsRequest(out=str(tmp_path / "out"), **few), Stops())
    assert outcome.stop is not None and not (tmp_path / "out" / "directions.png").exists()
    table = Directions.load(outcome.file).table
    assert list(table)[:4] == ["pca0", "pca1", "sefa0", "sefa1"] and "brightness" not in table
    with pytest.raises(Cancelled):
        only = DirectionsRequest(out=str(tmp_path / "none"), methods=("measured",), **few)
        directions(only, Stops())
    assert not (tmp_path / "none").exists()


MISTAKES = [
    ("edit --model {m} --seed 3 --direction pc0=1", "did you mean pca0?"),
    ("edit --model {m} --seed 3 --direction pca0=far", "far is no number"),
    ("edit --model {m} --seed 3 --direction pca0@hue=1", "give pose, shape, colour"),
    ("edit --model {bare} --seed 3 --direction pca0=1", "carries none; the verb directions finds"),
    ("edit --model {other} --seed 3 --direction pca0=1 --directions {found}",
     "python edit.py directions --model {other} --out DIR finds its own"),
    ("edit --model {m} --seed 3 --direction factor0=1 --directions {wide}",
     "directions of width 9, and w of {m} has 8"),
    ("edit --model {m} --seed 3 --direction a=1 --directions {none}", "without eigvec"),
    ("edit --model {m} --seed 3 --direction a=1 --directions {tmp}/no", "no: no such file"),
    ("edit --model {m} --seed 3", "give --direction NAME=VALUE, or --style-seed with --layers"),
    ("edit --model {m} --seed 3 --style-seed 4", "--style-seed and --layers belong together"),
    ("edit --model {m} --seed 3 --style-seed 4 --layers hue", "--layers 'hue': give pose"),
    ("edit --model {m} --seed 3 --style-seed -4 --layers pose", "--style-seed -4: give a number"),
    ("edit --model {m} --direction pca0=1", "give one of --seed, --image and --edit"),
    ("edit --seed 3 --direction pca0=1", "--model: give a zoo name"),
    ("edit --model {m} --seed 3 --direction pca0=1 --variants 3", "none is left to vary"),
    ("generate --model {m} --seeds 3 --directions {found}", "say with --direction which of them"),
    ("generate --model {m} --seeds 3 --direction pca9=1", "did you mean pca"),
    ("directions --model {m} --methods svd", "svd: give of pca, sefa, measured"),
    ("directions --model {m} --count 0", "--count 0: give 1 to 64"),
    ("directions --model {m} --latents {none}", "only with --attributes"),
    ("directions --model {m} --attributes {same}", "hue: is 2 in all 30 pictures"),
    ("directions --model {m} --attributes {odd}", "'car' is no seed"),
    ("directions --model {m} --attributes {odd} --latents {ws}", "names 'car', which"),
    ("directions --model {m} --attributes {tmp}/no", "no: no such file"),
    ("directions --model {m} --factor {wide}", "directions of width 9"),
    ("layers --model {m} --pairs 0", "--pairs 0: give 1 to 10000"),
    ("layers --model {m} --psi 1000", "--psi 1000: give a number"),
]  # fmt: skip


# G20f, G21f, G22f, G23f
@pytest.mark.parametrize(("line", "complaint"), MISTAKES)
def test_bad_directions_are_one_line_and_leave_nothing(
    steered, small_model, found, tmp_path, capsys, line, complaint
):
    torch.save({"eigvec": torch.eye(9), "ckpt": ""}, tmp_path / "wide.pt")
    torch.save({"a": torch.eye(9)}, tmp_path / "none.pt")
    rows = "\n".join(f"{seed},2" for seed in range(30))
    (tmp_path / "same.csv").write_text(f"seed,hue\n{rows}\n")
    (tmp_path / "odd.csv").write_text(f"seed,hue\n{rows}\ncar,3\n")
    write_latents(tmp_path / "ws.npy", torch.zeros(30, 6, 8), "npy")
    other = save_small_model(tmp_path / "other", seed=1)
    places = {
        "m": steered, "bare": small_model, "other": other, "tmp": tmp_path,
        "found": found / "directions.safetensors", "wide": tmp_path / "wide.pt",
        "none": tmp_path / "none.pt", "same": tmp_path / "same.csv", "odd": tmp_path / "odd.csv",
        "ws": tmp_path / "ws.npy",
    }  # fmt: skip
    out = tmp_path / "out"
    capsys.readouterr()
    words = [word.format(**places) for word in line.split()]
    assert main([*words, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert complaint.format(**places) in told
    assert not out.exists()


# G20f
@pytest.mark.parametrize(
    "words",
    [["layers"], ["directions"], ["edit", "--seed", "3", "--direction", "pca0=1"],
     ["generate", "--seeds", "3", "--direction", "pca0=1"]],
)  # fmt: skip
def test_a_model_whose_latents_have_no_layers_says_so(tmp_path, capsys, words):
    pytest.importorskip("diffusers")
    from tests.models.diffusion.tiny import tiny_folder

    model = tiny_folder(tmp_path / "diffusion")
    out = ["--model", str(model), "--out", str(tmp_path / "out")]
    assert main([*words, *out]) == 2
    told = capsys.readouterr().err
    assert told == f"error: --model {model}: a diffusion model, whose latents have no layers\n"
    assert not (tmp_path / "out").exists()
