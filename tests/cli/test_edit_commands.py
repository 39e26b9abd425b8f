import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import framework.formats
import framework.jobs.demo as demo_module
from framework.cli.edit import main
from framework.command_line import TORCHVISION_MISMATCH
from framework.jobs.models import render, seed_latents

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def clip_facts(path: Path) -> tuple[tuple[int, int], int]:
    """Size (width, height) and number of frames."""
    count, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    return next(imageio_ffmpeg.read_frames(str(path)))["size"], count


def test_generate_writes_each_seed_and_the_grid(tiny_model, tiny_generator, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--seeds", "5,7-9", "--psi", "0.5", "--grid", "--columns", "3", "--json"]
    assert main(["generate", "--model", str(tiny_model), *flags, "--out", str(out)]) == 0
    names = ["seed0005.png", "seed0007.png", "seed0008.png", "seed0009.png", "grid.png"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["files"] == [
        str(out / name) for name in names
    ]
    assert {path.name for path in out.iterdir()} == set(names)
    eighth = render(tiny_generator, seed_latents(tiny_generator, 8, psi=0.5))
    assert np.array_equal(picture(out / "seed0008.png"), eighth)
    sheet = picture(out / "grid.png")
    assert sheet.shape == (128, 192, 3)
    assert np.array_equal(sheet[:64, 128:], eighth)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--seeds", "1-"], "--seeds '1-'"),
        (["--class", "0"], "--class 0"),
        (["--psi", "inf"], "--psi inf"),
        (["--columns", "0"], "--columns 0"),
        (["--model", "nowhere"], "--model nowhere"),
    ],
)
def test_generate_refuses_in_one_line_and_leaves_nothing(
    tiny_model, tmp_path, capsys, flags, complaint
):
    out = tmp_path / "out"
    model = ["generate", "--model", str(tiny_model), "--seeds", "1", "--out", str(out)]
    assert main([*model, *flags]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1
    assert not out.exists()


def test_a_walk_between_seeds_is_a_clip(tiny_model, tmp_path, capsys):
    out = tmp_path / "deep" / "walk.mp4"
    flags = ["--seeds", "1,5", "--frames", "6", "--json"]
    assert main(["video", "--model", str(tiny_model), *flags, "--out", str(out)]) == 0
    assert clip_facts(out) == ((256, 256), 12)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["files"] == [str(out)]


def test_the_clip_of_an_edit_is_drawn_again(tiny_model, tmp_path):
    flags = ["--seed", "3", "--points", "20,40:24,40", "--steps", "3", "--no-video"]
    out = tmp_path / "drag"
    assert main(["drag", "--model", str(tiny_model), *flags, "--out", str(out)]) == 0
    edit = ["video", "--edit", str(out / "edit.safetensors"), "--out"]
    assert main([*edit, str(tmp_path / "with")]) == 0
    assert main([*edit, str(tmp_path / "plain.mp4"), "--no-overlay"]) == 0
    assert clip_facts(tmp_path / "with" / "drag.mp4")[0] == (384, 384)
    assert clip_facts(tmp_path / "plain.mp4")[0] == (256, 256)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ([], "--edit FILE or --seeds"),
        (["--seeds", "1,2", "--edit", "x"], "--edit FILE or --seeds"),
        (["--seeds", "1"], "--seeds 1"),
        (["--seeds", "1,2", "--fps", "0"], "--fps 0"),
        (["--seeds", "1,2", "--out", "{tmp}/clip.avi"], "ends in .mp4 or .gif"),
        (["--seeds", "1,2", "--out", "{tmp}/old.mp4"], "--out {tmp}/old.mp4: already there"),
        (["--seeds", "1,2", "--out", "{tmp}"], "already there"),
        (["--edit", "{tmp}/none.safetensors"], "none.safetensors"),
        (["--edit", "{tmp}/old.mp4"], "old.mp4"),
    ],
)
def test_video_refuses_in_one_line(tiny_model, tmp_path, capsys, flags, complaint):
    (tmp_path / "old.mp4").write_text("old")
    model = [] if "--edit" in flags else ["--model", str(tiny_model)]
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    assert main(["video", *model, "--frames", "1", "--out", str(tmp_path / "v"), *flags]) == 2
    said = capsys.readouterr().err
    assert complaint.format(tmp=tmp_path) in said and said.count("\n") == 1
    assert (tmp_path / "old.mp4").read_text() == "old"
    assert not (tmp_path / "v").exists()


def test_the_demo_runs_again_and_again_and_says_where_to_look(
    tiny_model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tiny_model.parent)
    monkeypatch.setattr(framework.formats.opening, "zoo_models", lambda: [tiny_model.name])
    show = demo_module.Show(tiny_model.name, 3, "20,40:20,41")
    monkeypatch.setattr(demo_module, "SHOWS", (show, demo_module.Show("absent64", 1, "1,1:2,2")))
    for name in ("demo", "demo-2"):
        assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
        told = capsys.readouterr().out.split("look at:")[1].split()
        assert len(told) == 2 and all(Path(path).is_file() for path in told)
        assert all(Path(path).is_relative_to(tmp_path / name) for path in told)


def test_a_demo_without_shipped_models_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(framework.formats.opening, "zoo_models", lambda: [])
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "no model came with this copy" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_every_show_of_the_demo_fits_its_model():
    from framework.drag.points import parse_points

    shipped = [show for show in demo_module.SHOWS if show.model in framework.formats.zoo_models()]
    for show in shipped:
        parse_points(show.points, framework.formats.load_generator(show.model).img_size)


def test_doctor_times_a_picture_and_tells_what_will_be_used(tiny_model, capsys):
    assert main(["doctor", "--model", str(tiny_model), "--device", "cpu", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["will_use"] == "cpu" and facts["forward_ms"] > 0
    assert facts["torch"] == torch.__version__.split("+")[0]
    assert facts["wandb_mode"] == "disabled"  # the tests' environment says so
    assert facts["problems"] == []


def test_doctor_as_a_table(tiny_model, capsys):
    assert main(["doctor", "--model", str(tiny_model)]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["torchvision_fits"] == "yes" and float(rows["forward_ms"]) > 0


def test_doctor_says_in_one_line_that_torchvision_does_not_fit(monkeypatch, capsys):
    class Refuses:
        def find_spec(self, name, path=None, target=None):
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuses(), *sys.meta_path])
    assert main(["doctor", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {TORCHVISION_MISMATCH}\n"
    assert json.loads(captured.out)["torchvision_fits"] is False


def test_doctor_notes_a_missing_ffmpeg_without_failing(tiny_model, monkeypatch, capsys):
    monkeypatch.setattr("framework.media.video.ffmpeg_executable", lambda: None)
    assert main(["doctor", "--model", str(tiny_model)]) == 0
    assert "note: no ffmpeg" in capsys.readouterr().out


def test_doctor_fails_on_a_device_that_is_not_there(capsys):
    assert main(["doctor", "--device", "cuda:99", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: --device cuda:99")
    assert json.loads(captured.out)["problems"]
