import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.cli.edit import main
from framework.formats import load_generator
from framework.formats.latents import ENDINGS, read_latents
from framework.inversion.inverted_image import InvertedImage
from framework.models.digest import state_digest


@pytest.fixture
def ws(small_model):
    """Latents of one picture of the small model."""
    generator = load_generator(small_model)
    rng = torch.Generator().manual_seed(1)
    return torch.randn(1, generator.num_ws, generator.w_dim, generator=rng)


@pytest.fixture(scope="module")
def inversion(small_model, tmp_path_factory) -> Path:
    """A tuned inverted image of a grey photograph."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("inverted")
    Image.new("RGB", (20, 20), (90, 120, 60)).save(folder / "grey.png")
    words = ["invert", str(folder / "grey.png"), "--model", str(small_model), "--out"]
    few = ["--refine-steps", "2", "--tune-steps", "2"]
    assert main([*words, str(folder / "out"), *few]) == 0
    return folder / "out" / "grey.inv.safetensors"


@pytest.mark.parametrize("kind", ENDINGS)
def test_latents_go_out_and_come_back(ws, tmp_path, capsys, kind):
    save_file({"ws": ws}, tmp_path / "mine.safetensors")
    out = tmp_path / f"theirs{ENDINGS[kind]}"
    words = ["latents", str(tmp_path / "mine.safetensors"), "--to", kind, "--out", str(out)]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["file"] == str(out) and told["shape"] == list(ws.shape) and told["notes"] == []
    assert torch.equal(read_latents(out), ws)

    back = tmp_path / "back.safetensors"
    assert main(["latents", str(out), "--to", "dragline", "--out", str(back)]) == 0
    assert torch.equal(load_file(back)["ws"], ws)


def test_one_row_for_all_layers_needs_the_model(ws, small_model, tmp_path):
    np.savez(tmp_path / "projected_w.npz", w=ws[:, :1].numpy())
    out = tmp_path / "all.npy"
    words = ["latents", str(tmp_path / "projected_w.npz"), "--to", "npy", "--out", str(out)]
    assert main([*words, "--model", str(small_model)]) == 0
    assert np.array_equal(np.load(out), ws[:, :1].expand_as(ws).numpy())


def test_a_tuned_image_says_that_its_model_is_needed_and_writes_it(
    inversion, small_model, tmp_path, capsys
):
    image = InvertedImage.load(inversion)
    words = ["latents", str(inversion), "--to", "draggan", "--json", "--out"]
    assert main([*words, str(tmp_path / "a.pt")]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "its model was tuned" in told["notes"][0] and "--model-out" in told["notes"][0]

    folder = tmp_path / "tuned"
    assert main([*words, str(tmp_path / "b.pt"), "--model-out", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["notes"] == []
    base, tuned = load_generator(small_model), load_generator(folder)
    assert state_digest(tuned) == state_digest(image.generator(base)) != state_digest(base)
    with torch.no_grad():
        drawn = tuned.synthesis(read_latents(tmp_path / "b.pt"), noise_mode="const")
    torch.testing.assert_close(drawn, image.render(base))


def test_an_edit_gives_its_last_picture(inversion, tmp_path):
    from framework.drag.edit_file import EditFile

    words = ["drag", "--image", str(inversion), "--points", "4,4:7,4", "--preset", "draggan"]
    assert main([*words, "--steps", "2", "--no-video", "--out", str(tmp_path / "edit")]) == 0
    edit = tmp_path / "edit" / "edit.safetensors"
    assert main(["latents", str(edit), "--to", "psp", "--out", str(tmp_path / "last.pt")]) == 0
    assert torch.equal(read_latents(tmp_path / "last.pt"), EditFile.load(edit).ws[-1:])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{tmp}/none.pt", "--to", "npy", "--out", "{tmp}/o.npy"], "none.pt: no such file"),
        (["{tmp}/ws.npy", "--to", "npy", "--out", "{tmp}/o.pt"], "ends with .npy"),
        (["{tmp}/ws.npy", "--to", "npy", "--out", "{tmp}/ws.npy"], "already there"),
        (["{tmp}/bad.npy", "--to", "psp", "--out", "{tmp}/o.pt"], "bad.npy"),
        (["{tmp}/two.npy", "--to", "draggan", "--out", "{tmp}/o.pt"], "not 2"),
        (["{tmp}/ws.npy", "--to", "psp", "--out", "{tmp}/o.pt", "--model-out", "{tmp}/m"],
         "changes nothing of its model"),
        (["{inv}", "--to", "psp", "--out", "{tmp}/o.pt", "--model-out", "{tmp}"],
         "--model-out {tmp}: already holds files"),
        (["{inv}", "--to", "psp", "--out", "{tmp}/o.pt", "--model-out", "{tmp}/m", "--model",
          "vehicles64"], "made with"),
        (["{tmp}/car.png", "--to", "psp", "--out", "{tmp}/o.pt"], "is no file with latents"),
        (["{tmp}/ws.npy", "--to", "jpeg", "--out", "{tmp}/o.pt"], "--to jpeg: give draggan"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(
    ws, inversion, photograph, tmp_path, capsys, words, complaint
):
    np.save(tmp_path / "ws.npy", ws.numpy())
    np.save(tmp_path / "two.npy", ws.expand(2, -1, -1).numpy())
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nothing")
    photograph()
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(["latents", *(word.format(tmp=tmp_path, inv=inversion) for word in words)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert complaint.format(tmp=tmp_path) in said
    assert sorted(tmp_path.rglob("*")) == before
