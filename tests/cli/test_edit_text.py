"""`edit.py text`: what a text describes, what it changes, and every mistake in one line."""

import json
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image

from framework.cli.edit import main
from framework.control.describing import described, touched
from framework.control.directions_file import Directions
from framework.data.toycars import ToyCars
from framework.errors import UserError
from framework.formats import load_generator
from framework.formats.latents import read_latents
from framework.formats.text_file import NAME
from framework.inversion.embed import codes_of
from framework.jobs.models import Networks, render, seed_latents
from framework.jobs.requests.text import TextRequest
from framework.jobs.text import Reader
from framework.models.alignment.code_space import Belief, CodeSpace
from framework.training.alignment.retrieval import retrieval
from tests.cli.conftest import save_small_model
from tests.cli.describable import add_text_encoder
from tests.stand_in_clip import install

TEXT = "a red car"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model with an encoder of pictures and a text encoder."""
    folder = tmp_path_factory.mktemp("models") / "described"
    return add_text_encoder(save_small_model(folder, encoder=True))


def run(*words: object) -> int:
    return main(["text", *map(str, words)])


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


# G54f
def test_pictures_of_seeds_are_changed_and_dragged_on(model, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(TEXT, "--model", model, "--n", 3, "--seed", 5, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["text"] == TEXT and told["layers"] and told["inversion"] is None
    assert len(told["missed"]) == len(told["missed_before"]) == 3
    ws, generator = read_latents(out / "latents.safetensors"), load_generator(model)
    assert len(ws) == 3
    for i in range(3):
        assert np.array_equal(
            picture(out / f"seed{5 + i:04d}.png"), render(generator, ws[i : i + 1])
        )
    again = tmp_path / "again"
    assert run(TEXT, "--model", model, "--n", 1, "--seed", 6, "--out", again) == 0
    assert torch.allclose(read_latents(again / "latents.safetensors")[0], ws[1], atol=1e-4)
    drag = ["drag", "--model", str(model), "--image", told["file"], "--pick", "1", "--points",
            "5,8:7,8", "--steps", "2", "--no-video", "--out", str(tmp_path / "drag")]  # fmt: skip
    assert main(drag) == 0


# G54f
def test_a_photograph_is_described_twice_and_its_files_follow(model, tmp_path):
    photo = tmp_path / "photo.png"
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    Image.fromarray(noise).save(photo)
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--model", model, "--image", photo, "--stages", "embed"]
    assert run(TEXT, *words, "--out", first) == 0
    names = {path.name for path in first.iterdir()}
    assert {"picture.png", "before.png", "side_by_side.png", "pasted.png", "inversion"} <= names
    assert not np.array_equal(picture(first / "picture.png"), picture(first / "before.png"))
    assert run("blue", "--image", first, "--out", second) == 0
    assert np.array_equal(picture(second / "before.png"), picture(first / "picture.png"))


# G54f
def test_the_last_picture_of_a_drag_is_described(model, tmp_path):
    drag = ["drag", "--model", str(model), "--seed", "3", "--points", "5,8:7,8", "--steps", "1",
            "--no-video", "--out", str(tmp_path / "drag")]  # fmt: skip
    assert main(drag) == 0
    out = tmp_path / "out"
    assert run(TEXT, "--edit", tmp_path / "drag" / "edit.safetensors", "--out", out) == 0
    assert read_latents(out / "latents.safetensors").shape[0] == 1


# G54f
def test_a_model_without_a_text_encoder_is_optimised_for_clip(
    small_model, tmp_path, capsys, monkeypatch
):
    out, weights = tmp_path / "out", install(tmp_path, monkeypatch)
    words = ["--clip", weights, "--clip-steps", 20, "--n", 2, "--json"]
    assert run("a red car", "--model", small_model, *words, "--out", out) == 0
    *_, line, _, told = capsys.readouterr().out.splitlines()
    told = json.loads(told)
    was, now = (1 - fmean(told[name]) for name in ("missed_before", "missed"))
    assert line == f"CLIP's cosine of picture and text: {was:.3f} before, {now:.3f} now"
    assert now > was + 0.1 and told["layers"] == {}
    before = latents_of(small_model, 0)
    assert not torch.allclose(read_latents(out / "latents.safetensors")[:1], before, atol=0.01)
    again = tmp_path / "again"
    words = ["--model", small_model, "--image", told["file"], "--pick", 0, *words[:4]]
    assert run("a blue car", *words, "--out", again) == 0
    assert np.array_equal(picture(again / "before.png"), picture(out / "seed0000.png"))


def latents_of(model: Path, seed: int) -> torch.Tensor:
    return seed_latents(load_generator(model), seed, TextRequest.psi)


def space() -> CodeSpace:
    torch.manual_seed(1)
    made = CodeSpace(4, 5, 6)
    made.set_codes((torch.randn(200, 8) @ torch.randn(8, 20)).unflatten(1, (4, 5)))
    return made


def test_looks_correct_what_a_picture_did_not_follow():
    """A picture that follows by half is there after some looks; what is left open stays."""
    made = space()
    mean, log_std = torch.tensor([[2.0, 2, 2, 0, 0, 0]]), torch.tensor([[-9.0, -9, -9, 0, 0, 0]])
    belief = Belief(mean, log_std)
    ws = torch.randn(2, 4, 5)

    def read(latents: torch.Tensor) -> torch.Tensor:
        return ws + (latents - ws) / 2

    steps = described(made, belief, ws, read)
    seen = [next(steps) for _ in range(6)]
    missed = [step.missed.max().item() for step in seen]
    assert all(b < 0.6 * a for a, b in pairwise(missed))
    before, after = made.coordinates(ws), made.coordinates(seen[-1].ws)
    assert torch.allclose(after[:, 3:], before[:, 3:], atol=1e-2)
    half = described(made, belief, ws, lambda latents: latents, strength=0.5)
    next(half)
    went = made.coordinates(next(half).ws)
    assert torch.allclose(went[:, :3], (before[:, :3] + 2) / 2, atol=1e-2)


def test_touched_layers_are_those_of_the_decided_coordinates():
    made = space()
    nothing = Belief(torch.zeros(1, 6), torch.zeros(1, 6))
    everything = Belief(torch.zeros(1, 6), torch.full((1, 6), -9.0))
    assert touched(made, nothing).max() < 1e-5
    assert torch.allclose(touched(made, everything), torch.ones(1, 4), atol=1e-4)


# G55f
@pytest.mark.parametrize(
    ("words", "about"),
    [
        (["", "--model", "{model}"], "empty"),
        (["a crimson car", "--model", "{model}"], "no 'crimson'"),
        (["a rad car", "--model", "{model}"], "did you mean red?"),
        (["x" * 500, "--model", "{model}"], "500 characters"),
        (["a red car"], "model"),
        (["a red car", "--model", "{bare}"], "has no text encoder; python train.py fit"),
        (["a red car", "--model", "{none}"], "has no encoder of pictures"),
        (["a red car", "--model", "{bare}", "--text-encoder", "{model}/" + NAME], "trains its own"),
        (["a red car", "--model", "{model}", "--text-encoder", "{model}/config.json"],
         "cannot be read as a text encoder"),
        (["a red car", "--model", "{model}", "--text-encoder", "nowhere"], "no such file"),
        (["a red car", "--model", "{model}", "--n", "0"], "--n 0"),
        (["a red car", "--model", "{model}", "--strength", "9"], "--strength 9"),
        (["a red car", "--model", "{model}", "--looks", "0"], "--looks 0"),
        (["a red car", "--model", "{model}", "--pick", "1"], "only with --image"),
        (["a red car", "--model", "{model}", "--image", "a.png", "--edit", "b"], "one of them"),
        (["a red car", "--model", "{model}", "--clip", "nowhere"], "--clip: nowhere is no file"),
        (["a red car", "--model", "{model}", "--clip", "a", "--text-encoder", "b"], "one of them"),
        (["a red car", "--model", "{model}", "--clip", "a", "--clip-steps", "0"], "--clip-steps 0"),
        (["a red car", "--model", "{model}", "--clip", "a", "--looks", "9"], "not with --clip"),
        (["a red car", "--model", "{model}", "--clip-steps", "9"], "only with --clip"),
    ],
)  # fmt: skip
def test_mistakes_about_texts_are_one_line_and_leave_nothing(
    model, bare, small_model, tmp_path, capsys, words, about
):
    places = {"model": model, "bare": bare, "none": small_model}
    out = tmp_path / "out"
    assert run(*(str(word).format(**places) for word in words), "--out", out) == 2
    err = capsys.readouterr().err
    assert about in err and err.count("\n") == 1 and not out.exists()


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A model with an encoder of pictures, of other weights, and no text encoder."""
    return save_small_model(tmp_path_factory.mktemp("models") / "bare", encoder=True, seed=5)


def test_a_request_says_where_it_starts():
    assert TextRequest(text="a", out="o", model="m").starts_with_seeds
    assert not TextRequest(text="a", out="o", image="i").starts_with_seeds
    with pytest.raises(UserError, match="text is empty"):
        TextRequest(text=" \n", out="o", model="m")


FEW = ["--methods", "pca", "--count", "1", "--samples", "20", "--seeds", "1"]


# G54f
def test_two_texts_are_the_ends_of_a_direction(model, tmp_path):
    out = tmp_path / "out"
    words = ["directions", "--model", str(model), *FEW, "--texts", "red=a blue car|a red car"]
    assert main([*words, "--out", str(out)]) == 0
    direction = Directions.load(out / "directions.safetensors").table["red"]
    encoder = Networks(str(model)).text_encoder()
    means = encoder.read(["a blue car", "a red car"]).mean
    wanted = encoder.space.step(means[1:] - means[:1])
    step = direction.step(encoder.space.num_ws) * direction.facts["difference"]
    assert torch.allclose(step, wanted, rtol=1e-2, atol=1e-4)


# G55f
@pytest.mark.parametrize(
    ("texts", "about"),
    [("red", "give NAME=TEXT"), ("red=a car", "give NAME=TEXT"), ("red=a car|crimson", "crimson"),
     ("red=a car|", "empty"), ("red=a car|a car", "red")],
)  # fmt: skip
def test_two_texts_that_are_no_direction_are_one_line(model, tmp_path, capsys, texts, about):
    words = ["directions", "--model", str(model), *FEW, "--texts", texts]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert about in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_the_shipped_text_encoder_finds_pictures_and_draws_what_is_said():
    networks = Networks("toycars64")
    reader = Reader.open(networks, "a red car")  # if it fits no more: train it anew, docs/text.md
    cars = ToyCars(64, 50, seed=31)
    pictures = torch.stack([torch.from_numpy(car.image) for car in cars]).permute(0, 3, 1, 2)
    codes = codes_of(networks.generator, reader.encoder, pictures.float() / 127.5 - 1)
    belief = reader.text_encoder.read([car.caption for car in cars])
    found = retrieval(belief, reader.text_encoder.space.coordinates(codes))
    assert found.first.mean() > 0.6 and found.fifth.mean() > 0.9
    ws = torch.cat([seed_latents(networks.generator, seed) for seed in range(4)])
    before, after = reader.changed(networks.generator, ws, 1.0, 3)
    shown = [networks.generator.synthesis(each.ws, noise_mode="const") for each in (before, after)]
    red = [(one[:, 0] - one[:, 1:].mean(dim=1))[:, 32:48, 16:48].mean() for one in shown]
    assert red[1] > red[0] + 0.2
