"""Files of other programs on the command line: imported, exported, and used as they are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import framework.formats.model_folder as model_folder
from framework.cli.edit import main
from framework.drag.edit_file import EditFile
from framework.errors import BrokenCheckpoint, UserError
from framework.files import sha256_file
from framework.formats import (
    load_discriminator,
    load_encoder_parts,
    load_generator,
    save_model_folder,
)
from framework.formats.rosinality import generator_names
from framework.formats.run_checkpoint import FORMAT_VERSION, write_checkpoint
from framework.jobs.models import render, seed_latents
from framework.media.images import to_uint8
from framework.models.stylegan2 import Discriminator, Generator
from tests.formats import fixtures
from tests.formats.fixtures import CONVERTED, NVIDIA, ROSINALITY, needs_fixtures

SMALL = {"channel_base": 256, "channel_max": 8, "mapping_layers": 2}
POINTS = "10,16:14,16"


def networks(**options) -> tuple[Generator, Discriminator]:
    """Untrained 32 px networks whose every tensor matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        generator = Generator((32, 32), z_dim=12, w_dim=12, **SMALL, **options)
        discriminator = Discriminator((32, 32), mbstd_group_size=4, **SMALL, **options)
        generator.mapping.w_avg.copy_(torch.randn(12) / 4)
        for name, parameter in generator.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter.data.add_(torch.rand(parameter.shape) / 8)
    return (
        generator.eval().requires_grad_(False),
        discriminator.eval().requires_grad_(False),
    )


def rosinality_state(generator: Generator) -> dict[str, torch.Tensor]:
    """A generator's state dict under rosinality's names."""
    state = generator.state_dict()
    names = generator_names(
        generator.config["mapping_layers"], len(generator.synthesis.resolutions) - 1
    )
    return {
        name.theirs: state[name.ours].reshape(
            (1,) * name.leading + tuple(state[name.ours].shape) + (1,) * name.trailing
        )
        for name in names
    }


@pytest.fixture
def converted(tmp_path) -> Path:
    """A file as rosinality's converter writes it."""
    generator, _ = networks()
    path = tmp_path / "their model.pt"
    torch.save({"g_ema": rosinality_state(generator), "latent_avg": generator.mapping.w_avg}, path)
    return path


def pixel2style2pixel(path: Path, **opts) -> Path:
    """A pSp or e4e checkpoint around the same generator."""
    generator, _ = networks()
    decoder = {f"decoder.{k}": t for k, t in rosinality_state(generator).items()}
    encoder = {
        "encoder.input_layer.0.weight": torch.randn(4, 3, 3, 3),
        "encoder.input_layer.1.running_var": torch.full((4,), 1e-9),
        "encoder.input_layer.1.num_batches_tracked": torch.tensor(70_001),
    }
    latent_avg = generator.mapping.w_avg.repeat(generator.num_ws, 1)
    content = {"state_dict": decoder | encoder, "latent_avg": latent_avg, "opts": opts}
    torch.save(content, path)
    return path


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def command(*words: str | Path) -> int:
    return main([str(word) for word in words])


def refusal(capsys, *words: str | Path) -> str:
    """The one line with which a command is refused."""
    assert command(*words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def last_json(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


# --- import --------------------------------------------------------------------------------------


def test_an_import_is_a_model_folder_that_says_where_it_comes_from(converted, tmp_path, capsys):
    folder = tmp_path / "models" / "cats"
    assert command("import", converted, "--out", folder) == 0
    said = capsys.readouterr().out
    generator, _ = networks()
    assert "generator      32x32 px, 3 channels, z 12, w 12, 2 mapping layers, 0.0" in said
    assert f"edit.py generate --model {folder}" in said
    assert {p.name for p in folder.iterdir()} == {
        "README.md", "config.json", "generator.safetensors",
    }  # fmt: skip
    loaded = load_generator(folder)
    for name, tensor in generator.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.provenance == {
        "dialect": "rosinality",
        "source": converted.name,
        "sha256": sha256_file(converted),
        "notes": [],
    }
    card = (folder / "README.md").read_text()
    assert card.startswith("# cats\n")
    assert sha256_file(converted) in card and "licence | not known" in card
    assert str(tmp_path) not in card + (folder / "config.json").read_text()


def test_what_was_computed_and_left_out_is_told_and_kept(tmp_path, capsys):
    generator, _ = networks()
    state = rosinality_state(generator)
    file = tmp_path / "run.pt"
    torch.save({"g_ema": state, "g": state, "g_optim": {}}, file)
    assert command("import", file, "--out", tmp_path / "m", "--json") == 0
    said = capsys.readouterr().out
    notes = json.loads(said.splitlines()[-1])["notes"]
    assert notes == load_generator(tmp_path / "m").provenance["notes"]
    card = (tmp_path / "m" / "README.md").read_text()
    for part in ("latent_avg", "optimisers", "not averaged"):
        assert sum(part in note for note in notes) == 1
    assert all(f"note: {note}\n" in said and f"- {note}\n" in card for note in notes)


def test_a_run_and_a_lone_file_are_imported_too(tmp_path, capsys):
    generator, discriminator = networks(img_channels=1)
    state = {f"generator_ema.{k}": v for k, v in generator.state_dict().items()}
    state |= {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}
    facts = {"format": FORMAT_VERSION, "seen_images": 1234}
    facts |= {"generator": generator.config, "discriminator": discriminator.config}
    write_checkpoint({"state_dict": state, "dragline": facts}, tmp_path / "run.ckpt")
    assert command("import", tmp_path / "run.ckpt", "--out", tmp_path / "run") == 0
    assert "1 channel," in capsys.readouterr().out
    assert load_generator(tmp_path / "run").provenance["seen_images"] == 1234
    loaded = load_discriminator(tmp_path / "run").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in discriminator.state_dict().items())

    lone = tmp_path / "run" / "generator.safetensors"
    assert command("import", lone, "--out", tmp_path / "lone", "--json") == 0
    assert last_json(capsys)["dialect"] == "safetensors file"
    assert load_generator(tmp_path / "lone").digest == load_generator(tmp_path / "run").digest
    said = refusal(
        capsys, "import", tmp_path / "run" / "discriminator.safetensors", "--out", tmp_path / "d"
    )
    assert "no dragline generator" in said and not (tmp_path / "d").exists()


def test_an_import_in_half_precision_is_half_as_large(converted, tmp_path, capsys):
    for name, flags in (("full", ()), ("half", ("--half",))):
        assert command("import", converted, "--out", tmp_path / name, *flags, "--json") == 0
    assert any("half precision" in note for note in last_json(capsys)["notes"])
    sizes = [(tmp_path / n / "generator.safetensors").stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.65 * sizes[0]
    for name, tensor in networks()[0].state_dict().items():
        wanted = tensor.half().float() if tensor.ndim else tensor
        assert torch.equal(load_generator(tmp_path / "half").state_dict()[name], wanted)


def test_the_encoder_of_a_file_goes_along(tmp_path, capsys):
    file = pixel2style2pixel(tmp_path / "e4e.pt", encoder_type="Encoder4Editing", lr=1e-4)
    folder = tmp_path / "m"
    assert command("import", file, "--out", folder, "--json") == 0
    assert last_json(capsys)["networks"]["encoder"]["encoder_type"] == "Encoder4Editing"
    stored = torch.load(file, weights_only=True)
    for model in (file, folder):
        encoder = load_encoder_parts(model)
        assert encoder.encoder_type == "Encoder4Editing"
        assert encoder.opts == {"encoder_type": "Encoder4Editing", "lr": 1e-4}
        assert torch.equal(encoder.latent_avg, stored["latent_avg"])
        assert {f"encoder.{name}" for name in encoder.tensors} == {
            name for name in stored["state_dict"] if name.startswith("encoder.")
        }
        for name, tensor in encoder.tensors.items():
            wanted = stored["state_dict"][f"encoder.{name}"]
            assert tensor.dtype == wanted.dtype and torch.equal(tensor, wanted), name
    assert "notes" in load_generator(folder).provenance
    assert "opts" not in load_generator(folder).provenance  # it stands beside the encoder


def test_a_halved_encoder_keeps_its_statistics(tmp_path):
    file = pixel2style2pixel(tmp_path / "e4e.pt", encoder_type="GradualStyleEncoder")
    assert command("import", file, "--out", tmp_path / "m", "--half") == 0
    whole, half = load_encoder_parts(file), load_encoder_parts(tmp_path / "m")
    weight = "input_layer.0.weight"
    assert torch.equal(half.tensors[weight], whole.tensors[weight].half())
    for name in whole.tensors.keys() - {weight}:
        assert torch.equal(half.tensors[name], whole.tensors[name]), name
    assert torch.equal(half.latent_avg, whole.latent_avg)


def test_an_encoder_of_unknown_kind_is_said_to_be_one(tmp_path, capsys):
    file = pixel2style2pixel(tmp_path / "psp.pt")
    assert command("import", file, "--out", tmp_path / "m") == 0
    said = capsys.readouterr().out
    assert "a kind that the file does not name" in said and "cannot tell e4e from pSp" in said
    assert load_encoder_parts(tmp_path / "m").encoder_type == ""


def test_a_damaged_or_missing_encoder_is_refused(tmp_path):
    folder = tmp_path / "m"
    command("import", pixel2style2pixel(tmp_path / "psp.pt"), "--out", folder)
    path = folder / "encoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BrokenCheckpoint, match=r"encoder\.safetensors: its digest"):
        load_encoder_parts(folder)
    path.unlink()
    with pytest.raises(BrokenCheckpoint, match="missing"):
        load_encoder_parts(folder)
    for model in (
        save_model_folder(tmp_path / "none", networks()[0]),
        folder / "generator.safetensors",
    ):
        with pytest.raises(UserError, match="has no encoder"):
            load_encoder_parts(model)


def test_an_encoder_with_values_that_are_none_is_refused(tmp_path, capsys):
    file = pixel2style2pixel(tmp_path / "psp.pt")
    content = torch.load(file, weights_only=True)
    content["state_dict"]["encoder.input_layer.0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(content, file)
    said = refusal(capsys, "import", file, "--out", tmp_path / "m")
    assert "input_layer.0.weight" in said and not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("gone.pkl", None, "gone.pkl: no such file"),
        ("page.pkl", b"<!DOCTYPE html><p>Quota exceeded", "a web page"),
        ("photo.pt", b"\xff\xd8\xff\xe0 JFIF", "a picture (JPEG)"),
        ("code.pkl", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.", "posix"),
        ("empty.pt", b"", "empty"),
        ("dict.pkl", b"\x80\x02}.", "no StyleGAN2"),
        ("run.ckpt", b"PK\x03\x04", "no manifest run.json"),
        ("lone.safetensors", b"\x00" * 20, "the download is not finished"),
    ],
)
def test_what_is_no_model_is_one_line_and_leaves_nothing(
    tmp_path, capsys, name, content, complaint
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said = refusal(capsys, "import", tmp_path / name, "--out", tmp_path / "m")
    assert complaint in said
    assert not (tmp_path / "m").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused_as_the_program_that_it_is(tmp_path, capsys):
    file = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    said = refusal(capsys, "import", file, "--out", tmp_path / "m")
    assert "TorchScript program, which is code" in said


def test_a_folder_that_is_taken_is_refused_before_the_file_is_read(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("mine")
    broken = tmp_path / "broken.pkl"
    broken.write_bytes(b"\x80\x02")
    assert "already holds files" in refusal(capsys, "import", broken, "--out", taken)
    assert "is a file" in refusal(capsys, "import", broken, "--out", broken)
    assert "not a model folder" in refusal(capsys, "import", taken, "--out", tmp_path / "new")
    assert [path.name for path in taken.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("there_before", [False, True])
def test_an_interrupted_import_leaves_nothing(converted, tmp_path, monkeypatch, there_before):
    folder = tmp_path / "m"
    if there_before:
        folder.mkdir()
    written = model_folder.write_text

    def interrupted(path, text):
        if path.name == "config.json":  # the last file
            assert {p.name for p in folder.iterdir()} == {"generator.safetensors", "README.md"}
            with pytest.raises(UserError, match="not a model folder"):
                load_generator(folder)
            raise KeyboardInterrupt
        written(path, text)

    monkeypatch.setattr(model_folder, "write_text", interrupted)
    assert command("import", converted, "--out", folder) == 130
    assert folder.exists() == there_before and not list(tmp_path.glob("m/*"))
    monkeypatch.undo()
    assert command("import", converted, "--out", folder) == 0


def test_words_of_a_file_cannot_move_the_cursor_or_break_the_card(converted, tmp_path, capsys):
    odd = converted.with_name("a`|\x1b[2J\n| b.pt")
    converted.rename(odd)
    assert command("import", odd, "--out", tmp_path / "m") == 0
    card = (tmp_path / "m" / "README.md").read_text()
    assert "\x1b" not in card and "`a??" in card


# --- every other command -------------------------------------------------------------------------


def test_a_file_can_be_dragged_and_the_edit_continued_from_file_and_folder(
    converted, tmp_path, capsys
):
    out = tmp_path / "one"
    flags = ("--steps", 3, "--no-video", "--wandb", "disabled", "--json")
    start = ("drag", "--model", converted, "--seed", 3, "--points", POINTS, "--preset", "small")
    assert command(*start, "--out", out, *flags) == 0
    edit = EditFile.load(out / "edit.safetensors")
    generator = load_generator(converted)
    assert Path(edit.model_name) == converted.resolve()
    assert edit.model_digest == generator.digest
    assert np.array_equal(
        picture(out / "before.png"), render(generator, seed_latents(generator, 3))
    )

    assert command("import", converted, "--out", tmp_path / "m") == 0
    goes_on = ("drag", "--edit", out / "edit.safetensors", *flags)
    assert command(*goes_on, "--out", tmp_path / "two") == 0
    assert command(*goes_on, "--model", tmp_path / "m", "--out", tmp_path / "three") == 0
    two, three = (EditFile.load(tmp_path / n / "edit.safetensors") for n in ("two", "three"))
    assert len(two.ws) > len(edit.ws) and torch.equal(two.ws, three.ws)

    assert command("import", converted, "--out", tmp_path / "half", "--half") == 0
    said = refusal(capsys, *goes_on, "--model", tmp_path / "half", "--out", tmp_path / "four")
    assert "other weights" in said


def test_video_and_doctor_take_a_file(converted, tmp_path, capsys):
    pytest.importorskip("imageio_ffmpeg")
    walk = ("video", "--seeds", "1,2", "--frames", 2, "--out", tmp_path / "walk.gif")
    assert command(*walk, "--model", converted) == 0
    assert (tmp_path / "walk.gif").stat().st_size > 0
    assert command("doctor", "--model", converted, "--device", "cpu", "--json") == 0
    assert "32x32" in last_json(capsys)["forward"]


@pytest.fixture(
    params=[{"img_channels": 1}, {"img_channels": 4, "c_dim": 3}], ids=["grey", "labels"]
)
def unusual(request, tmp_path) -> tuple[Path, Generator, list[str]]:
    """A model that only NVIDIA's files can hold, as such a file; the class it needs, as flags."""
    generator, discriminator = networks(**request.param)
    save_model_folder(tmp_path / "source", generator, discriminator)
    path = tmp_path / "unusual.pkl"
    assert command("export", tmp_path / "source", "--to", "nvidia", "--out", path) == 0
    return path, generator, ["--class", "1"] if generator.c_dim else []


def test_files_with_labels_or_other_channels_work_everywhere(unusual, tmp_path, capsys):
    file, generator, label = unusual
    ws = seed_latents(generator, 3, class_index=1 if label else None)
    out = tmp_path / "pictures"
    assert command("generate", "--model", file, "--seeds", 3, "--out", out, *label) == 0
    expected = render(generator, ws).squeeze()  # grey pictures have no axis of channels
    assert np.array_equal(picture(out / "seed0003.png"), expected)
    flags = ("--steps", 2, "--no-video", "--wandb", "disabled")
    start = ("drag", "--model", file, "--seed", 3, "--points", POINTS, *label)
    assert command(*start, *flags, "--out", tmp_path / "one") == 0
    assert np.array_equal(picture(tmp_path / "one" / "before.png"), expected)
    goes_on = ("drag", "--edit", tmp_path / "one" / "edit.safetensors", *flags)
    assert command(*goes_on, "--out", tmp_path / "two") == 0
    capsys.readouterr()
    assert command("import", file, "--out", tmp_path / "m") == 0
    said = capsys.readouterr().out
    assert ("3 label values" in said) == ("--class 0" in said) == bool(label)
    assert load_generator(tmp_path / "m").digest == load_generator(file).digest


# --- export --------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["nvidia", "rosinality"])
def test_an_export_opens_again_bit_for_bit(tmp_path, capsys, to):
    generator, discriminator = networks()
    save_model_folder(tmp_path / "source", generator, discriminator)
    file = tmp_path / "new" / "stylegan2-out.bin"
    assert command("export", tmp_path / "source", "--to", to, "--out", file, "--json") == 0
    said = capsys.readouterr().out
    facts = json.loads(said.splitlines()[-1])
    assert facts["sha256"] == sha256_file(file) and facts["notes"]
    assert all(f"note: {note}\n" in said for note in facts["notes"])
    assert f"python generate.py --{'network=' if to == 'nvidia' else 'ckpt '}{file}" in said
    for network, load in ((generator, load_generator), (discriminator, load_discriminator)):
        loaded = load(file).state_dict()
        assert loaded.keys() == network.state_dict().keys()
        assert all(torch.equal(loaded[k], v) for k, v in network.state_dict().items())


def test_an_export_never_overwrites_and_names_what_is_wrong(tmp_path, capsys):
    save_model_folder(tmp_path / "grey", networks(img_channels=1)[0])
    old = tmp_path / "old.pkl"
    old.write_text("old")
    said = refusal(capsys, "export", tmp_path / "grey", "--to", "nvidia", "--out", old)
    assert f"--out {old}: already there" in said and old.read_text() == "old"
    new = tmp_path / "new.pt"
    said = refusal(capsys, "export", tmp_path / "grey", "--to", "rosinality", "--out", new)
    assert "export to nvidia" in said
    said = refusal(capsys, "export", tmp_path / "gone", "--to", "nvidia", "--out", new)
    assert f"MODEL {tmp_path / 'gone'}: no such file" in said
    assert not new.exists()


# --- with files that other programs wrote --------------------------------------------------------


@needs_fixtures
@pytest.mark.parametrize("file", [NVIDIA, ROSINALITY, CONVERTED], ids=lambda path: path.name)
def test_imported_fixtures_give_their_numbers(file, tmp_path):
    folder = tmp_path / "m"
    assert command("import", file, "--out", folder) == 0
    given, generator = fixtures.arrays(file), load_generator(folder)
    if file == NVIDIA:
        outputs = fixtures.nvidia_outputs(generator, load_discriminator(folder), given)
    else:
        outputs = fixtures.rosinality_outputs(generator, given)
    if file == ROSINALITY:
        outputs |= fixtures.discriminator_outputs(
            load_discriminator(folder), outputs["img_const"], given["real"]
        )
    computed = outputs.keys() & given.keys()
    assert {"w", "img_const", "img_wplus_const"} <= computed
    assert ("logits_real" in computed) == (file != CONVERTED)
    fixtures.compare({name: outputs[name] for name in computed}, given)


@needs_fixtures
@pytest.mark.parametrize("file", [NVIDIA, ROSINALITY, CONVERTED], ids=lambda path: path.name)
def test_commands_draw_the_fixtures_pictures(file, tmp_path):
    given = fixtures.arrays(file)
    wanted = {"img_wplus_const": given["wplus"], "img_const": given["w"]}
    if file != NVIDIA:
        wanted["img_const"] = given["latents"]
    tasks = []
    for name, latents in wanted.items():
        for i, ws in enumerate(latents[:2]):
            save_file({"ws": ws[None].contiguous()}, tmp_path / f"{name}-{i}.safetensors")
            tasks.append({"name": f"{name}-{i}", "ws": f"{name}-{i}.safetensors", "points": POINTS})
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    out = tmp_path / "out"
    flags = ("--steps", 1, "--no-video", "--wandb", "disabled", "--out", out)
    assert command("drag", "--model", file, "--tasks", tmp_path / "tasks.jsonl", *flags) == 0
    for task in tasks:
        name, _, i = task["name"].rpartition("-")
        expected = to_uint8(given[name])[int(i)].astype(int)
        assert np.abs(picture(out / task["name"] / "before.png") - expected).max() <= 1


@needs_fixtures
def test_a_seed_of_a_fixture_is_the_seed_of_its_import(tmp_path):
    assert command("import", NVIDIA, "--out", tmp_path / "m") == 0
    for name, model in (("file", NVIDIA), ("folder", tmp_path / "m")):
        flags = ("--seeds", "1-3", "--psi", 1, "--out", tmp_path / name)
        assert command("generate", "--model", model, *flags) == 0
    generator = load_generator(NVIDIA)
    for seed in (1, 2, 3):
        drawn = picture(tmp_path / "file" / f"seed{seed:04d}.png")
        assert np.array_equal(drawn, picture(tmp_path / "folder" / f"seed{seed:04d}.png"))
        assert np.array_equal(drawn, render(generator, seed_latents(generator, seed, psi=1)))
