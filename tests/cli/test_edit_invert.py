import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import framework.inversion.refine as refine_module
import framework.jobs.stages as stages_module
from framework.cli.edit import main
from framework.compositing.geometry import photo_box, to_canvas
from framework.formats import load_generator
from framework.formats.opening import open_model
from framework.inversion.inverted_image import InvertedImage
from framework.media.images import read_image, to_float, to_uint8
from framework.models.encoders.loading import build_encoder
from tests.cli.conftest import save_small_model

CONFIGS = Path(__file__).parents[2] / "configs"
STAGES = ("embed", "refine", "tune")
FILES = {
    "car.inv.safetensors", "original.png", "stats.jsonl", "photo.png", "embed.png", "refine.png",
    "tune.png", "side_by_side.png", "pasted.png",
}  # fmt: skip


def inverted(model: Path, out: Path, *photos: Path, flags: tuple[str, ...] = ()) -> int:
    """Invert with few steps; later flags win."""
    return main(
        ["invert", *map(str, photos), "--model", str(model), "--out", str(out),
         "--refine-steps", "6", "--tune-steps", "3", "--json", *flags]
    )  # fmt: skip


def last_json(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_a_photograph_becomes_an_inverted_image_with_pictures_and_numbers(
    small_model, photograph, tmp_path, capsys
):
    out = tmp_path / "out"
    assert inverted(small_model, out, photograph()) == 0
    outcome = last_json(capsys)
    assert {path.name for path in out.iterdir()} == FILES
    assert {Path(name).name for name in outcome["files"]} == FILES

    image = InvertedImage.load(out / "car.inv.safetensors")
    made = to_uint8(image.render(load_generator(small_model)))[0]
    assert np.array_equal(picture(out / "tune.png"), made)
    assert np.array_equal(picture(out / "photo.png"), to_canvas(picture_of(out), image.geometry))
    for name in STAGES:
        error = (picture(out / f"{name}.png") / 255.0 - picture(out / "photo.png") / 255.0) ** 2
        assert outcome["stages"][name]["mse"] == pytest.approx(error.mean(), rel=0.02)
        psnr = -10 * np.log10(outcome["stages"][name]["mse"])
        assert outcome["stages"][name]["psnr_db"] == pytest.approx(psnr, abs=1e-3)
    assert image.measures["stages"] == outcome["stages"]
    assert image.deltas is not None and image.photo["name"] == "car.png"


def picture_of(folder: Path) -> np.ndarray:
    """The copy of the photograph that lies in a result's folder."""
    return read_image(folder / "original.png")


def test_every_stage_is_nearer_than_the_one_before_and_told_so(
    small_model, photograph, tmp_path, capsys
):
    assert inverted(small_model, tmp_path / "out", photograph()) == 0
    captured = capsys.readouterr()
    stages = json.loads(captured.out.splitlines()[-1])["stages"]
    assert list(stages) == list(STAGES)
    assert stages["embed"]["deviations"] < 1e-6 < stages["refine"]["deviations"]
    losses = [4 * stages[name]["mse"] + stages[name]["dfeat"] for name in STAGES]
    assert losses[0] > losses[1] > losses[2]
    table = [line.split() for line in captured.out.splitlines() if line.startswith("  ")]
    assert table[0] == ["stage", "mse", "PSNR", "dfeat", "deviations", "steps", "seconds"]
    assert [row[0] for row in table[1:]] == list(STAGES)
    assert float(table[3][2]) == pytest.approx(stages["tune"]["psnr_db"], abs=0.006)
    assert "has no encoder" in captured.err and "discriminator (dfeat)" in captured.err


def test_every_step_is_a_line_of_numbers(small_model, photograph, tmp_path):
    inverted(small_model, tmp_path / "out", photograph())
    lines = [json.loads(line) for line in (tmp_path / "out/stats.jsonl").read_text().splitlines()]
    steps = [(line["stage"], line["step"]) for line in lines]
    wanted = [("embed", 0), *(("refine", i) for i in range(7)), *(("tune", i) for i in range(4))]
    assert steps == wanted
    best = [line["best_loss"] for line in lines if line["stage"] == "refine"]
    assert best == sorted(best, reverse=True)
    assert all({"pixel", "perceptual", "elapsed_sec"} <= line.keys() for line in lines)


def test_the_encoder_makes_the_first_guess(photograph, tmp_path, capsys):
    model = save_small_model(tmp_path / "model", encoder=True)
    out = tmp_path / "out"
    assert inverted(model, out, photograph(), flags=("--stages", "embed")) == 0
    captured = capsys.readouterr()
    assert "no encoder" not in captured.err
    assert list(json.loads(captured.out.splitlines()[-1])["stages"]) == ["embed"]
    image = InvertedImage.load(out / "car.inv.safetensors")
    opened = open_model(model)
    encoder = build_encoder(opened.encoder(), opened.network("generator"))
    seen = to_float(picture(out / "photo.png")[None])
    torch.testing.assert_close(image.ws, encoder(seen))
    assert image.settings["encoder"] is True and image.deltas is None


def test_without_embed_the_encoder_is_not_used(photograph, tmp_path):
    model = save_small_model(tmp_path / "model", encoder=True)
    flags = ("--stages", "refine", "--refine-steps", "0")
    assert inverted(model, tmp_path / "out", photograph(), flags=flags) == 0
    image = InvertedImage.load(tmp_path / "out" / "car.inv.safetensors")
    w_avg = load_generator(model).mapping.w_avg
    torch.testing.assert_close(image.ws, w_avg.expand_as(image.ws))


def test_the_reconstruction_is_pasted_into_the_photograph(small_model, photograph, tmp_path):
    out = tmp_path / "out"
    assert inverted(small_model, out, photograph(), flags=("--box", "20,10,36,26")) == 0
    pasted, whole = picture(out / "pasted.png"), picture_of(out)
    assert pasted.shape == whole.shape
    outside = np.ones(whole.shape[:2], bool)
    outside[10:26, 20:36] = False
    assert np.array_equal(pasted[outside], whole[outside])
    assert not np.array_equal(pasted, whole)


def test_a_rotated_photograph_is_used_upright(small_model, photograph, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    path = photograph("turned.png", exif=exif)
    out = tmp_path / "out"
    assert inverted(small_model, out, path, flags=("--box", "10,20,26,36")) == 0
    upright = np.rot90(picture(path), -1)
    assert upright.shape == (40, 30, 3)
    assert np.array_equal(picture_of(out), upright)
    geometry = InvertedImage.load(out / "turned.inv.safetensors").geometry
    assert geometry is not None and photo_box(geometry) == (10, 20, 26, 36)
    assert np.array_equal(picture(out / "photo.png"), upright[20:36, 10:26])
    changed = (picture(out / "pasted.png") != upright).any(axis=2)
    assert changed[20:36, 10:26].any() and not changed[:20].any() and not changed[:, :10].any()


def test_borders_of_a_padded_photograph_do_not_count(small_model, photograph, tmp_path, capsys):
    out = tmp_path / "out"
    assert inverted(small_model, out, photograph(), flags=("--crop", "pad")) == 0
    outcome = last_json(capsys)
    image = InvertedImage.load(out / "car.inv.safetensors")
    assert image.geometry is not None
    left, top, right, bottom = image.geometry.valid_box
    assert (right - left, bottom - top) == (16, 12)
    seen = (slice(top, bottom), slice(left, right))
    error = (
        picture(out / "tune.png")[seen] / 255.0 - picture(out / "photo.png")[seen] / 255.0
    ) ** 2
    assert outcome["stages"]["tune"]["mse"] == pytest.approx(error.mean(), rel=0.02)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_models_of_other_channels_and_shapes(photograph, tmp_path, channels, mode):
    model = save_small_model(tmp_path / "model", img_channels=channels, img_size=(16, 24))
    path = photograph("clear.png")
    Image.open(path).convert("RGBA").save(path)
    out = tmp_path / "out"
    assert inverted(model, out, path) == 0
    with Image.open(out / "tune.png") as tuned, Image.open(out / "pasted.png") as pasted:
        assert (tuned.mode, tuned.size) == (mode, (24, 16))
        assert (pasted.mode, pasted.size) == ("RGBA", (40, 30))
    image = InvertedImage.load(out / "clear.inv.safetensors")
    assert image.render(load_generator(model)).shape == (1, channels, 16, 24)


def test_a_folder_and_files_get_a_folder_each_and_a_bad_one_stops_none(
    small_model, photograph, tmp_path, capsys
):
    photograph("many/one.png"), photograph("many/sub/one.png")
    (tmp_path / "many" / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "many" / "notes.txt").write_text("no picture either")
    out = tmp_path / "out"
    photos = (tmp_path / "many", photograph("one.png"))
    assert inverted(small_model, out, *photos, flags=("--stages", "embed")) == 2
    captured = capsys.readouterr()
    assert captured.err.endswith(f"error: 1 of 4 photographs failed: {tmp_path}/many/bad.jpg\n")
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["bad", "one", "sub-one", "one-2"]
    assert "not an image" in lines[0]["error"] and lines[1]["stages"]["embed"]["mse"] > 0
    for name in ("one", "sub-one", "one-2"):
        assert (out / name / f"{name}.inv.safetensors").exists()
    assert json.loads(captured.out.splitlines()[-1])["failed"] == [f"{tmp_path}/many/bad.jpg"]


def test_where_all_are_bad_nothing_is_written(small_model, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    assert inverted(small_model, tmp_path / "out", tmp_path / "a.png", tmp_path / "b.png") == 2
    assert "2 of 2 photographs failed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_the_best_so_far(small_model, photograph, tmp_path, monkeypatch, capsys):
    updates = []

    def interrupted(*arguments):
        updates.append(1)
        if len(updates) == 3:
            raise KeyboardInterrupt
        return adam_update(*arguments)

    adam_update = refine_module.adam_update
    monkeypatch.setattr(refine_module, "adam_update", interrupted)
    out = tmp_path / "out"
    assert inverted(small_model, out, photograph()) == 130
    stages = last_json(capsys)["stages"]
    assert list(stages) == ["embed", "refine"]
    assert stages["refine"]["status"] == "interrupted" and stages["refine"]["steps"] == 2
    assert {path.name for path in out.iterdir()} == FILES - {"tune.png"}
    image = InvertedImage.load(out / "car.inv.safetensors")
    made = to_uint8(image.render(load_generator(small_model)))[0]
    assert np.array_equal(picture(out / "refine.png"), made)


def test_seconds_end_every_stage(small_model, photograph, tmp_path, capsys):
    flags = ("--max-seconds", "0.001", "--refine-steps", "100000", "--tune-steps", "100000")
    assert inverted(small_model, tmp_path / "out", photograph(), flags=flags) == 0
    stages = last_json(capsys)["stages"]
    assert [stages[name]["status"] for name in STAGES] == ["done", "max_seconds", "max_seconds"]


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_latents_beyond_the_models_own_are_a_note(
    small_model, photograph, tmp_path, monkeypatch, capsys, factor
):
    stages = ("--stages", "refine")
    assert inverted(small_model, tmp_path / "first", photograph(), flags=stages) == 0
    captured = capsys.readouterr()
    outcome = json.loads(captured.out.splitlines()[-1])
    reached = outcome["stages"]["refine"]["deviations"]
    assert reached < outcome["usual_deviations"] and "editable region" not in captured.err

    monkeypatch.setattr(stages_module, "usual_deviations", lambda *_: factor * reached)
    assert inverted(small_model, tmp_path / "again", photograph(), flags=stages) == 0
    assert ("out of the editable region" in capsys.readouterr().err) is (factor < 1)


def test_flags_and_file_reach_the_settings(small_model, photograph, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("refine: {lr: 0.02, steps: 50}\ntune: {locality: null}\nstages: [refine]\n")
    flags = ("--config", str(config), "--seed", "7", "--stages", "refine,tune")
    assert inverted(small_model, tmp_path / "out", photograph(), flags=flags) == 0
    settings = InvertedImage.load(tmp_path / "out" / "car.inv.safetensors").settings
    assert settings["stages"] == ["refine", "tune"]
    assert {**settings["refine"]} | {"lr": 0.02, "steps": 6, "seed": 7} == settings["refine"]
    assert settings["tune"]["locality"] is None and settings["tune"]["seed"] == 7
    assert settings["perceptual"]["name"] == "dfeat"


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--stages", "tune,embed"], "--stages 'tune,embed': give"),
        (["--stages", "paint"], "--stages 'paint': give"),
        (["--refine-steps", "-1"], "--refine-steps -1"),
        (["--max-seconds", "0"], "--max-seconds"),
        (["--box", "1,2,3"], "--box '1,2,3': give left,top,right,bottom"),
        (["--box", "90,90,99,99"], "--box 90,90,99,99: puts no part"),
        (["--config", "{tmp}/bad.yaml"], "{tmp}/bad.yaml: refine: no setting 'stpes'"),
        (["--config", "{tmp}/none.yaml"], "{tmp}/none.yaml: cannot be read"),
        (["--perceptual", "vgg"], "--perceptual vgg: give auto or dfeat"),
        (["--perceptual", "lpips-vgg", "--perceptual-weights", "{tmp}/none"], "--perceptual"),
        (["--model", "{tmp}/nothing"], "--model {tmp}/nothing"),
        (["--device", "tpu"], "--device tpu"),
        (["--out", "{tmp}/full"], "already holds files"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    small_model, photograph, tmp_path, capsys, flags, complaint
):
    (tmp_path / "bad.yaml").write_text("refine: {stpes: 3}\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("another run")
    path = photograph()
    before = sorted(tmp_path.rglob("*"))
    flags = tuple(flag.format(tmp=tmp_path) for flag in flags)
    assert inverted(small_model, tmp_path / "out", path, flags=flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert complaint.format(tmp=tmp_path) in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("none.png", None, "no such photograph or folder"),
        ("empty.png", b"", "empty file"),
        ("text.jpg", b"hello", "not an image"),
    ],
)
def test_what_is_no_photograph_is_one_line(small_model, tmp_path, capsys, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert inverted(small_model, tmp_path / "out", tmp_path / name) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert name in said and complaint in said
    assert not (tmp_path / "out").exists()


def test_a_photograph_that_is_too_small_is_one_line(small_model, photograph, tmp_path, capsys):
    assert inverted(small_model, tmp_path / "out", photograph(size=(5, 5))) == 2
    assert "5x5 is too small" in capsys.readouterr().err
    assert inverted(small_model, tmp_path / "out", photograph(size=(10, 9))) == 0
    assert "enlarged" in capsys.readouterr().err


def test_an_offline_run_holds_the_named_keys_and_pictures(
    small_model, photograph, tmp_path, capsys
):
    out = tmp_path / "out"
    assert inverted(small_model, out, photograph(), flags=("--wandb", "offline")) == 0
    stages = last_json(capsys)["stages"]
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json"]
    read = json.loads(subprocess.check_output([*command, str(out / "wandb")]))
    summary = read["summary"]
    assert read["state"] == "finished" and read["config"]["settings"]["refine"]["steps"] == 6
    last = json.loads((out / "stats.jsonl").read_text().splitlines()[-1])
    assert summary["Invert/tune/pixel"] == pytest.approx(last["pixel"])
    assert summary["Invert/tune/best_loss"] == pytest.approx(last["best_loss"])
    assert summary["Invert/refine/psnr_db"] == pytest.approx(stages["refine"]["psnr_db"])
    for name in ("photo", *STAGES, "side_by_side", "pasted"):
        assert summary[f"Invert/{name}"]["_type"] == "image-file"
