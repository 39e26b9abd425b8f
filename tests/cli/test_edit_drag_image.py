"""Drags that begin at a picture: the whole way from a photograph, and all that goes on from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import framework.inversion.refine as refine_module
from framework.cli.edit import main
from framework.compositing.paste import paste_back
from framework.drag.edit_file import EditFile
from framework.files import sha256_file
from framework.formats import load_generator
from framework.inversion.inverted_image import InvertedImage
from framework.media.images import to_uint8
from framework.models.digest import state_digest
from tests.cli.conftest import save_small_model

POINTS = "5,8:9,8"
DRAG_FILES = {
    "before.png", "after.png", "side_by_side.png", "edit.safetensors", "stats.jsonl", "pasted.png",
    "car.inv.safetensors", "original.png",
}  # fmt: skip
BOX = "20,10,36,26"  # as large as the model's pictures: a pixel is a pixel


def picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def last_json(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def dragged(out: Path, *flags: str, points: str | None = POINTS, steps: int = 6) -> int:
    """Drag a little, large steps, without a clip; later flags win."""
    asked = [] if points is None else ["--points", points]
    return main(
        ["drag", *asked, "--out", str(out), "--steps", str(steps), "--lr", "0.2", "--no-video",
         "--preset", "draggan",
         "--json", *flags]
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(small_model, tmp_path_factory):
    """A photograph inverted in a box, tuned: its folder, which is not to be written to."""
    folder = tmp_path_factory.mktemp("whole")
    x, y = np.meshgrid(np.linspace(0, 255, 40), np.linspace(0, 255, 30))
    pixels = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "car.png")
    words = ["invert", str(folder / "car.png"), "--model", str(small_model), "--box", BOX]
    few = ["--refine-steps", "4", "--tune-steps", "2", "--out", str(folder / "car")]
    assert main([*words, *few]) == 0
    return folder / "car"


@pytest.fixture
def few_steps(monkeypatch):
    """Inversions of a few steps: what the drag's own flags cannot ask for."""
    import framework.inversion.settings as settings

    monkeypatch.setattr(settings, "STEPS_FROM_MEAN", 3)
    monkeypatch.setattr(
        settings.InversionSettings, "suited", shortened(settings.InversionSettings.suited)
    )


def shortened(suited):
    """`suited` with two steps of tuning."""
    from dataclasses import replace

    def short(self, *arguments):
        made = suited(self, *arguments)
        return replace(made, tune=replace(made.tune, steps=2))

    return short


def test_from_a_photograph_to_the_dragged_photograph_in_one_command(
    small_model, photograph, tmp_path, capsys, few_steps
):
    out, path = tmp_path / "out", photograph()
    flags = ("--image", str(path), "--model", str(small_model), "--box", BOX)
    assert dragged(out, *flags) == 0
    captured = capsys.readouterr()
    outcome = json.loads(captured.out.splitlines()[-1])
    assert {p.name for p in out.iterdir()} == DRAG_FILES | {"inversion"}
    assert {p.name for p in (out / "inversion").iterdir()} >= {"tune.png", "stats.jsonl"}

    # How good it is comes first, then the drag.
    lines = captured.out.splitlines()
    told = next(i for i, line in enumerate(lines) if line.startswith("  tune"))
    assert told < next(i for i, line in enumerate(lines) if "distance" in line)
    assert list(outcome["inversion"]["stages"]) == ["embed", "refine", "tune"]

    assert np.array_equal(picture(out / "before.png"), picture(out / "inversion" / "tune.png"))
    assert not np.array_equal(picture(out / "after.png"), picture(out / "before.png"))
    photo, pasted = picture(path), picture(out / "pasted.png")
    outside = np.ones(photo.shape[:2], bool)
    outside[10:26, 20:36] = False
    assert np.array_equal(pasted[outside], photo[outside])
    assert not np.array_equal(pasted, photo)


def test_the_edit_knows_its_inverted_image_and_both_the_model(small_model, whole, tmp_path):
    assert dragged(tmp_path / "out", "--image", str(whole / "car.inv.safetensors")) == 0
    edit = EditFile.load(tmp_path / "out" / "edit.safetensors")
    copy = tmp_path / "out" / "car.inv.safetensors"
    assert edit.inversion is not None and edit.inversion.file == copy.name
    assert edit.inversion.sha256 == sha256_file(copy) == sha256_file(whole / copy.name)
    image, base = InvertedImage.load(copy), load_generator(small_model)
    assert image.generator_digest == state_digest(base) != edit.model_digest
    assert edit.model_digest == state_digest(image.generator(base))
    assert torch.equal(edit.start_ws, image.ws)


def test_a_drag_is_on_the_tuned_generator(whole, tmp_path):
    assert dragged(tmp_path / "out", "--image", str(whole)) == 0  # the folder will do
    assert np.array_equal(picture(tmp_path / "out" / "before.png"), picture(whole / "tune.png"))
    assert {p.name for p in (tmp_path / "out").iterdir()} == DRAG_FILES


@pytest.mark.parametrize(("paste", "written"), [("changed", True), ("box", True), ("none", False)])
def test_what_is_pasted_is_what_was_asked_for(whole, tmp_path, paste, written):
    out = tmp_path / "out"
    assert dragged(out, "--image", str(whole), "--paste", paste, "--seam", "gradient") == 0
    assert (out / "pasted.png").exists() is written
    if written:
        image = InvertedImage.load(out / "car.inv.safetensors")
        assert image.geometry is not None
        wanted = paste_back(
            picture(whole / "original.png"),
            picture(out / "after.png"),
            image.geometry,
            original=picture(whole / "tune.png"),
            changed_only=paste == "changed",
            seam="gradient",
        )
        assert np.array_equal(picture(out / "pasted.png"), wanted)


def test_an_edit_of_a_photograph_goes_on_and_is_pasted_again(whole, tmp_path, capsys):
    far = "5,8:12,8"
    assert dragged(tmp_path / "whole", "--image", str(whole), points=far, steps=6) == 0
    assert dragged(tmp_path / "half", "--image", str(whole), points=far, steps=3) == 0
    half = ("--edit", str(tmp_path / "half" / "edit.safetensors"))
    assert dragged(tmp_path / "rest", *half, points=None, steps=3) == 0
    edits = [EditFile.load(tmp_path / n / "edit.safetensors") for n in ("whole", "rest")]
    torch.testing.assert_close(edits[1].ws, edits[0].ws, rtol=0, atol=1e-6)
    assert edits[1].inversion == edits[0].inversion is not None
    pasted = [picture(tmp_path / n / "pasted.png") for n in ("whole", "rest")]
    assert np.abs(pasted[0].astype(int) - pasted[1]).max() <= 1
    assert {p.name for p in (tmp_path / "rest").iterdir()} == DRAG_FILES

    # With other points, in the photograph's pixels; pasted is all that changed since the photo.
    more = ("--edit", str(tmp_path / "rest" / "edit.safetensors"), "--points-in", "photo")
    assert dragged(tmp_path / "more", *more, points="25,18:29,18") == 0
    assert EditFile.load(tmp_path / "more" / "edit.safetensors").handles.tolist() == [[5, 8]]


def test_the_film_of_such_an_edit_is_on_its_own_generator(whole, tmp_path, monkeypatch):
    frames = []
    monkeypatch.setattr(
        "framework.jobs.video.write_video",
        lambda path, pictures, fps: frames.extend(pictures) or len(frames),
    )
    assert dragged(tmp_path / "out", "--image", str(whole)) == 0
    edit = str(tmp_path / "out" / "edit.safetensors")
    film = ["video", "--edit", edit, "--no-overlay", "--out", str(tmp_path / "drag.mp4")]
    assert main(film) == 0
    assert np.array_equal(frames[0], picture(whole / "tune.png"))
    assert np.array_equal(frames[-1], picture(tmp_path / "out" / "after.png"))
    shutil.move(tmp_path / "out" / "car.inv.safetensors", tmp_path / "elsewhere.safetensors")
    assert main(film) == 2


@pytest.mark.parametrize("change", ["gone", "other"])
def test_an_edit_whose_inverted_image_is_gone_or_another_is_refused(
    whole, tmp_path, capsys, change
):
    assert dragged(tmp_path / "out", "--image", str(whole)) == 0
    file = tmp_path / "out" / "car.inv.safetensors"
    if change == "gone":
        file.unlink()
    else:
        InvertedImage.load(file).edited(torch.zeros(1, 6, 8)).save(file)
    capsys.readouterr()
    edit = str(tmp_path / "out" / "edit.safetensors")
    assert dragged(tmp_path / "on", "--edit", edit, points=None) == 2
    said = capsys.readouterr().err
    wanted = {"gone": "has to lie beside it", "other": "not the inverted image that it began with"}
    assert f"--edit {edit}" in said and wanted[change] in said and said.count("\n") == 1
    assert not (tmp_path / "on").exists()


def test_points_and_mask_of_the_photograph_reach_the_models_picture(whole, tmp_path):
    white = np.zeros((30, 40), np.uint8)
    white[12:24, 22:34] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    flags = ("--image", str(whole), "--points-in", "photo", "--mask", str(tmp_path / "mask.png"))
    assert dragged(tmp_path / "out", *flags, points="25,18:29,18") == 0
    edit = EditFile.load(tmp_path / "out" / "edit.safetensors")
    assert edit.handles.tolist() == [[5, 8]] and edit.targets[-1].tolist() == [[9, 8]]
    assert edit.mask is not None
    assert np.array_equal(edit.mask.numpy(), white[10:26, 20:36] / 255)


def test_corners_of_a_shrunk_photograph_are_in_the_picture(
    small_model, photograph, tmp_path, few_steps
):
    flags = ("--image", str(photograph(size=(64, 64))), "--model", str(small_model))
    flags = (*flags, "--points-in", "photo", "--stages", "refine")
    assert dragged(tmp_path / "out", *flags, points="0,0:63,63", steps=1) == 0
    edit = EditFile.load(tmp_path / "out" / "edit.safetensors")
    assert edit.handles.tolist() == [[0, 0]] and edit.targets[-1].tolist() == [[15, 15]]


def test_where_the_photograph_is_not_there_nothing_is_pasted_unless_it_is_given(
    whole, tmp_path, capsys
):
    file = tmp_path / "alone" / "car.inv.safetensors"
    file.parent.mkdir()
    shutil.copy(whole / file.name, file)
    assert dragged(tmp_path / "a", "--image", str(file)) == 0
    assert "--photo" in capsys.readouterr().err
    assert not (tmp_path / "a" / "pasted.png").exists()

    given = ("--image", str(file), "--photo", str(whole / "original.png"))
    assert dragged(tmp_path / "b", *given) == 0
    assert (tmp_path / "b" / "pasted.png").exists()
    assert "not the file" not in capsys.readouterr().err

    again = tmp_path / "again.bmp"  # the same size, other bytes: a retouched copy
    Image.open(whole / "original.png").save(again)
    assert dragged(tmp_path / "c", "--image", str(file), "--photo", str(again)) == 0
    assert "is not the file that was inverted" in capsys.readouterr().err


def test_latents_of_another_program_are_dragged(small_model, tmp_path):
    generator = load_generator(small_model)
    rng = torch.Generator().manual_seed(4)
    ws = torch.randn(1, generator.num_ws, generator.w_dim, generator=rng)
    np.savez(tmp_path / "projected_w.npz", w=ws.numpy())
    flags = ("--image", str(tmp_path / "projected_w.npz"), "--model", str(small_model))
    assert dragged(tmp_path / "out", *flags) == 0
    edit = EditFile.load(tmp_path / "out" / "edit.safetensors")
    assert torch.equal(edit.start_ws, ws) and edit.inversion is None
    with torch.no_grad():
        drawn = to_uint8(generator.synthesis(ws, noise_mode="const"))[0]
    assert np.array_equal(picture(tmp_path / "out" / "before.png"), drawn)


def test_ctrl_c_while_inverting_keeps_the_best_and_drags_nothing(
    small_model, photograph, tmp_path, monkeypatch, few_steps
):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(refine_module, "adam_update", interrupted)
    flags = ("--image", str(photograph()), "--model", str(small_model))
    assert dragged(tmp_path / "out", *flags) == 130
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"car.inv.safetensors", "original.png", "inversion"}
    InvertedImage.load(tmp_path / "out" / "car.inv.safetensors")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--image", "{tmp}/none.png"], "--image {tmp}/none.png: no such file"),
        (["--image", "{tmp}/text.jpg"], "--image {tmp}/text.jpg: not an image"),
        (["--image", "{tmp}/bad.inv.safetensors"], "--image {tmp}/bad.inv.safetensors"),
        (["--image", "{tmp}/empty"], "a folder with 0 inverted images"),
        (["--image", "{car}", "--points", "5,8:19,8"], "--points: target 0 (19, 8)"),
        (["--image", "{car}", "--box", "20,10,36,26", "--points-in", "photo", "--points",
          "5,8:25,18"], "--points: handle 0 (5, 8): the model sees of the photograph x 20 to 35"),
        (["--image", "{car}", "--mask", "{car}"], "--mask {car}: mask (30, 40)"),
        (["--image", "{car}", "--box", "x"], "--box 'x'"),
        (["--image", "{car}", "--stages", "drag"], "--stages"),
        (["--image", "{car}", "--crop", "round"], "--crop round: give center or pad or stretch"),
        (["--image", "{car}", "--photo", "{car}"], "--photo {car}: only with an inverted image"),
        (["--image", "{inv}", "--stages", "tune"], "--stages: only where --image is a photograph"),
        (["--image", "{inv}", "--photo", "{tmp}/small.png"], "small.png: photo of 20x20"),
        (["--image", "{inv}", "--model", "{tmp}/other"], "made with"),
        (["--image", "{tmp}/wide.safetensors"], "latents of 2 layers, and this model has 6"),
        (["--image", "{inv}", "--seed", "3"], "--seed and --image given"),
        (["--image", "{inv}", "--out", "{tmp}/full"], "already holds files"),
        (["--image", "{tmp}/mean.safetensors", "--points-in", "photo"], "is of no photo"),
        (["--seed", "3", "--box", "1,2,3,4"], "--box 1,2,3,4: only with --image"),
        (["--seed", "3", "--photo", "{car}"], "--photo {car}: only with --image"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(
    small_model, whole, photograph, tmp_path, capsys, flags, complaint
):
    names = {"tmp": tmp_path, "car": photograph(), "inv": whole / "car.inv.safetensors"}
    photograph("small.png", (20, 20))
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "bad.inv.safetensors").write_bytes(names["inv"].read_bytes()[:-9])
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("another run")
    save_file({"ws": torch.zeros(1, 2, 3)}, tmp_path / "wide.safetensors")
    save_file({"ws": torch.zeros(1, 6, 8)}, tmp_path / "mean.safetensors")
    if "{tmp}/other" in flags:
        save_small_model(tmp_path / "other", seed=5)
    before = sorted(tmp_path.rglob("*"))
    asked = ["--model", str(small_model), *(flag.format(**names) for flag in flags)]
    assert dragged(tmp_path / "out", *asked) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert complaint.format(**names) in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_photograph_or_bare_latents_need_a_model(photograph, tmp_path, capsys):
    assert dragged(tmp_path / "out", "--image", str(photograph())) == 2
    assert "--model: needed" in capsys.readouterr().err
