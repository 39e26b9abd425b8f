"""`edit.py from-sketch` and `from-label`: files, notes, chains, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from framework.cli.edit import main
from framework.data.toycars import ToyCars
from framework.errors import UserError
from framework.formats import load_generator, open_model
from framework.formats.condition_file import save_condition_encoder
from framework.formats.latents import read_latents
from framework.formats.translator_folder import save_translator
from framework.jobs.requests.translation import FromSketchRequest
from framework.models.alignment.condition import ConditionEncoder
from framework.models.digest import state_digest
from framework.models.encoders.loading import build_encoder
from framework.models.translation.condition import Condition
from framework.models.translation.resnet import ResnetTranslator
from framework.models.translation.spade import SpadeGenerator, StyleReader
from framework.models.translation.unet import UNet
from tests.cli.conftest import save_small_model
from tests.cli.describable import add_text_encoder

SIZE, NAMES = (16, 16), ("background", "shadow", "body")
CONDITIONS = {"sketch": Condition("sketch"), "labels": Condition("labels", 1, 3, NAMES)}


def save_encoders(folder, seed=0, at=None):
    """Give a small model encoders of sketches and of labels, untrained but with a say."""
    generator, opened = load_generator(folder), open_model(folder)
    digests = generator.digest, state_digest(build_encoder(opened.encoder(), generator))
    rng = torch.Generator().manual_seed(seed)
    codes = torch.randn(40, generator.num_ws, generator.w_dim, generator=rng)
    for condition in CONDITIONS.values():
        encoder = ConditionEncoder(
            condition, SIZE, generator.num_ws, generator.w_dim, coordinates=6, hidden=8, width=4
        )
        encoder.space.set_codes(codes)
        torch.nn.init.normal_(encoder.encoder.answer.weight, generator=rng)
        (at or folder).mkdir(exist_ok=True)
        save_condition_encoder(at or folder, encoder, *digests, "small")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models of every kind, and inputs of every kind."""
    root = tmp_path_factory.mktemp("conditions")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_small_model(root / "small", encoder=True)
        save_encoders(root / "small")
        add_text_encoder(root / "small")
        save_small_model(root / "other", encoder=True, seed=1)
        save_encoders(root / "other", at=root / "other" / "theirs")
        save_translator(root / "pix2pix", "pix2pix", {"picture": UNet(1, 3, 4, 3)},
                        CONDITIONS["sketch"], SIZE)  # fmt: skip
        save_translator(root / "cyclegan", "cyclegan", {"picture": ResnetTranslator(1, 3, 4, 1)},
                        CONDITIONS["sketch"], SIZE)  # fmt: skip
        networks = {"picture": SpadeGenerator(3, 3, 16, SIZE, 4, 4), "style": StyleReader(3, 4, 4)}
        save_translator(root / "spade", "spade", networks, CONDITIONS["labels"], SIZE)
    shutil.copy(root / "small" / "sketch.safetensors", root / "theirs.safetensors")
    car = ToyCars(32, 4, 1)[2]
    Image.fromarray(car.sketch).save(root / "sketch.png")
    Image.fromarray(255 - car.sketch).save(root / "inverted.png")
    Image.fromarray(car.image).save(root / "colour.png")
    Image.fromarray((car.part_mask % 3).astype(np.uint8)).save(root / "labels.png")
    Image.fromarray(car.part_mask).save(root / "unknown.png")
    return root


def drawn(place, capsys, words):
    """Run a command; its table, its notes, and what it drew."""
    out = place / f"out{len(list(place.glob('out*')))}"
    words = [word.format(at=place) for word in words.split()]
    assert main([*words, "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out.splitlines()[-1])
    pictures = [np.asarray(Image.open(file)) for file in sorted(out.glob("picture*.png"))]
    return facts, said.err, pictures, out


@pytest.mark.parametrize("verb", ["from-sketch {at}/sketch.png", "from-label {at}/labels.png"])
def test_an_encoder_draws_diverse_pictures_and_their_latents(place, verb, capsys):
    facts, notes, pictures, out = drawn(place, capsys, f"{verb} --model {{at}}/small --n 3")
    assert facts["method"] == "encoder" and len(pictures) == 3
    assert all(picture.shape == (16, 16, 3) for picture in pictures)
    assert not np.array_equal(pictures[0], pictures[1])
    assert "32x32 px, resized to 16x16" in notes
    assert Image.open(out / "sheet.png").width == 4 * 128
    ws = read_latents(out / "latents.safetensors")
    assert len(ws) == 3 and facts["file"].endswith("latents.safetensors")
    again = drawn(place, capsys, f"{verb} --model {{at}}/small --n 3")[2]
    other = drawn(place, capsys, f"{verb} --model {{at}}/small --n 3 --seed 5")[2]
    assert np.array_equal(pictures[2], again[2]) and not np.array_equal(pictures[2], other[2])
    sure = drawn(place, capsys, f"{verb} --model {{at}}/small --n 2 --psi 0")[2]
    assert np.array_equal(*sure)


def test_what_is_drawn_is_mixed_and_edited_on(place, capsys):
    words = "from-sketch {at}/sketch.png --model {at}/small --n 2"
    plain = read_latents(drawn(place, capsys, words)[3] / "latents.safetensors")
    out = drawn(place, capsys, f"{words} --style-seed 3 --layers 4-5")[3]
    mixed = read_latents(out / "latents.safetensors")
    assert torch.equal(mixed[:, :4], plain[:, :4])
    assert torch.equal(mixed[0, 4:], mixed[1, 4:]) and not torch.equal(mixed[0, 4], plain[0, 4])
    latents, on = str(out / "latents.safetensors"), str(place / "on")
    edit = ["edit", "--model", str(place / "small"), "--image", latents, "--pick", "0"]
    assert main([*edit, "--style-seed", "4", "--layers", "5", "--out", on]) == 0


@pytest.mark.parametrize("verb", ["from-sketch {at}/sketch.png", "from-label {at}/labels.png"])
def test_a_text_changes_what_an_input_drew_as_the_text_verb_does(place, verb, capsys, tmp_path):
    words = f"{verb} --model {{at}}/small --n 2"
    plain = drawn(place, capsys, words)[3] / "latents.safetensors"
    facts, _, pictures, out = drawn(place, capsys, f"{words} --text red")
    ws = read_latents(out / "latents.safetensors")
    assert facts["text"] == "red" and len(facts["missed"]) == len(pictures) == 2
    for i in range(2):
        after = tmp_path / str(i)
        words = ["text", "red", "--model", str(place / "small"), "--image", str(plain)]
        assert main([*words, "--pick", str(i), "--out", str(after)]) == 0
        one = read_latents(after / "latents.safetensors")
        assert torch.allclose(one[0], ws[i], atol=1e-4)
        assert not torch.allclose(ws[i], read_latents(plain)[i], atol=1e-3)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("from-sketch {at}/sketch.png --model {at}/pix2pix", 4),
        ("from-sketch {at}/sketch.png --model {at}/cyclegan", 1),
        ("from-label {at}/labels.png --model {at}/spade", 4),
        ("from-label {at}/labels.png --model {at}/spade --style {at}/colour.png", 1),
    ],
)
def test_a_translation_draws_what_it_can(place, capsys, words, count):
    facts, notes, pictures, out = drawn(place, capsys, words)
    assert facts["method"] in words and len(pictures) == count and facts["file"] is None
    assert ("draws one picture of an input" in notes) == (count == 1)
    assert not (out / "latents.safetensors").exists()
    if count > 1:
        assert not np.array_equal(pictures[0], pictures[1])


# G33f
def test_sketches_of_any_look_are_read_and_what_was_changed_is_said(place, capsys):
    words = "--model {at}/small --n 1"
    _, notes, plain, _ = drawn(place, capsys, f"from-sketch {{at}}/sketch.png {words}")
    assert "inverted" not in notes and "colour" not in notes
    _, notes, inverted, _ = drawn(place, capsys, f"from-sketch {{at}}/inverted.png {words}")
    assert "white on black: inverted" in notes and np.array_equal(plain[0], inverted[0])
    _, notes, _, _ = drawn(place, capsys, f"from-sketch {{at}}/colour.png {words}")
    assert "in colour: only its brightness counts" in notes


# G33f
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("from-label {at}/unknown.png --model {at}/spade",
         "labels 3, 4, 5, 6, 7, 8, 9: unknown to this model; it knows 0 background, 1 shadow, 2"),
        ("from-label {at}/colour.png --model {at}/spade", "in colour ("),
        ("from-sketch {at}/nowhere.png --model {at}/pix2pix", "SKETCH"),
        ("from-sketch {at}/sketch.png --model {at}/other",
         "has no encoder of sketches; python train.py fit --config configs/train/translation/"),
        ("from-sketch {at}/sketch.png --model {at}/other --encoder {at}/theirs.safetensors",
         "belongs to another generator, digest"),
        ("from-label {at}/labels.png --model {at}/small --encoder {at}/theirs.safetensors",
         "reads sketch, not labels"),
        ("from-sketch {at}/sketch.png --model {at}/small --encoder {at}/sketch.png",
         "--encoder"),
        ("from-label {at}/labels.png --model {at}/pix2pix", "draws from sketch: the verb from-s"),
        ("from-sketch {at}/sketch.png --model {at}/pix2pix --style {at}/colour.png",
         "pix2pix takes no style"),
        ("from-sketch {at}/sketch.png --model {at}/pix2pix --style-seed 3 --layers 1",
         "--style-seed a translation has no latents"),
        ("from-sketch {at}/sketch.png --model {at}/small --style {at}/colour.png", "--style of tr"),
        ("from-sketch {at}/sketch.png --model {at}/small --layers 1", "belong together"),
        ("from-sketch {at}/sketch.png --model {at}/small --n 0", "--n 0: give 1 to 64"),
        ("from-sketch {at}/sketch.png --model {at}/small --text=", "--text '': is empty"),
        ("from-sketch {at}/sketch.png --model {at}/small --text rad", "did you mean red?"),
        ("from-label {at}/labels.png --model {at}/small --text crimson", "no 'crimson'"),
        ("from-sketch {at}/sketch.png --model {at}/other --encoder {at}/other/theirs --text red",
         "has no text encoder; python train.py fit --config configs/train/text/vehicles64.yaml"),
        ("from-sketch {at}/sketch.png --model {at}/other --encoder {at}/other/theirs --text red"
         " --text-encoder {at}/small", "trains its own"),
        ("from-sketch {at}/sketch.png --model {at}/small --text-encoder {at}/small",
         "only with --text"),
        ("from-sketch {at}/sketch.png --model {at}/pix2pix --text red",
         "--text a translation has no latents"),
        ("from-sketch {at}/sketch.png --model {at}/small --style-seed 1 --layers 9", "--layers"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_one_line_and_leaves_nothing(place, capsys, words, message):
    out = place / "never"
    assert main([*(word.format(at=place) for word in words.split()), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and message in said, said
    assert not out.exists()


def test_a_text_of_a_request_says_something():
    with pytest.raises(UserError, match="text: is empty"):
        FromSketchRequest(sketch="s", model="m", out="o", text=" ")


# G33f
def test_a_damaged_encoder_is_one_line(place, capsys, tmp_path):
    file = tmp_path / "sketch.safetensors"
    content = bytearray((place / "small" / "sketch.safetensors").read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    words = ["from-sketch", str(place / "sketch.png"), "--model", str(place / "small")]
    assert main([*words, "--encoder", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "digest does not match" in capsys.readouterr().err
