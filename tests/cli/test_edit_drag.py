import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import framework.drag.progress as progress
from framework.cli.edit import main
from framework.drag.edit_file import EditFile
from framework.drag.settings import DragSettings
from framework.errors import UserError
from framework.jobs.models import render, seed_latents

ROOT = Path(__file__).parents[2]
POINTS = "20,40:24,40"
FILES = {
    "before.png", "after.png", "side_by_side.png", "edit.safetensors", "stats.jsonl",
}  # fmt: skip


def dragged(model: Path, out: Path, *more: str, points: str = POINTS, steps: int = 4) -> int:
    """Drag with few steps of the paper's kind and no clip; later flags win."""
    preset = [] if "--config" in more else ["--preset", "small"]
    return main(
        ["drag", "--model", str(model), "--seed", "3", "--points", points, "--out", str(out),
         "--steps", str(steps), "--no-video", "--json", *preset, *more]
    )  # fmt: skip


def last_json(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def stats(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_drag_writes_its_pictures_numbers_and_edit(tiny_model, tiny_generator, tmp_path, capsys):
    out = tmp_path / "out"
    assert dragged(tiny_model, out, points="20,40:24,40;40,20:40,30", steps=5) == 0
    outcome = last_json(capsys)
    assert {path.name for path in out.iterdir()} == FILES
    assert outcome["files"] and {Path(name).name for name in outcome["files"]} == FILES

    ws = seed_latents(tiny_generator, 3)
    assert np.array_equal(picture(out / "before.png"), render(tiny_generator, ws))
    edit = EditFile.load(out / "edit.safetensors")
    assert np.array_equal(picture(out / "after.png"), render(tiny_generator, edit.ws[-1:]))
    assert not np.array_equal(picture(out / "before.png"), picture(out / "after.png"))
    assert edit.mask is None and edit.handles.tolist() == [[20, 40], [40, 20]]

    lines = stats(out)
    assert [line["step"] for line in lines] == list(range(len(edit.ws)))
    assert len(lines[0]["drift"]) == len(lines[0]["distance_px"]) == 2
    assert lines[-1]["distance_px_max"] == outcome["max_distance_px"]
    assert lines[-1]["drift_mean"] == outcome["drift"]
    assert outcome["steps"] == lines[-1]["step"] and outcome["seconds"] > 0
    assert outcome["arrived"] is (outcome["status"] == "arrived")


def test_the_side_by_side_is_large_enough_to_see_arrows(tiny_model, tmp_path):
    dragged(tiny_model, tmp_path / "out", steps=1)
    height, width = picture(tmp_path / "out" / "side_by_side.png").shape[:2]
    assert height > 384 and width > 2 * 384


def test_an_edit_continues_as_if_it_had_not_stopped(tiny_model, tmp_path, capsys):
    away = "20,40:50,40"  # far enough not to arrive
    dragged(tiny_model, tmp_path / "whole", points=away, steps=6)
    dragged(tiny_model, tmp_path / "half", points=away, steps=3)
    half = str(tmp_path / "half" / "edit.safetensors")
    more = ["drag", "--edit", half, "--steps", "3", "--no-video", "--json"]
    assert main([*more, "--out", str(tmp_path / "rest")]) == 0
    assert last_json(capsys)["steps"] == 6
    whole, rest = (EditFile.load(tmp_path / n / "edit.safetensors") for n in ("whole", "rest"))
    torch.testing.assert_close(rest.ws, whole.ws, rtol=0, atol=1e-6)
    assert torch.equal(rest.points, whole.points) and torch.equal(rest.step, whole.step)
    before = (picture(tmp_path / n / "before.png") for n in ("whole", "rest"))
    assert np.array_equal(*before)


def test_an_edit_goes_back_to_a_step_and_on_from_there(tiny_model, tmp_path, capsys):
    dragged(tiny_model, tmp_path / "first", points="20,40:50,40", steps=4)
    first = tmp_path / "first" / "edit.safetensors"
    back = ["drag", "--edit", str(first), "--at", "2", "--steps", "1", "--no-video", "--out"]
    assert main([*back, str(tmp_path / "second")]) == 0
    second = EditFile.load(tmp_path / "second" / "edit.safetensors")
    assert second.step.tolist() == [0, 1, 2, 3]
    assert torch.equal(second.ws[:3], EditFile.load(first).ws[:3])
    assert main([*back, str(tmp_path / "third"), "--at", "9"]) == 2
    assert "--at 9: the edit has steps 0 to 4" in capsys.readouterr().err


def test_an_edit_goes_on_with_other_points_from_its_last_picture(tiny_model, tmp_path):
    dragged(tiny_model, tmp_path / "first", steps=2)
    first = tmp_path / "first" / "edit.safetensors"
    again = ["drag", "--edit", str(first), "--points", "40,20:44,20", "--steps", "2", "--no-video"]
    assert main([*again, "--out", str(tmp_path / "second")]) == 0
    second = EditFile.load(tmp_path / "second" / "edit.safetensors")
    assert second.handles.tolist() == [[40, 20]]
    assert torch.equal(second.start_ws[0], EditFile.load(first).ws[-1])
    assert len(second.earlier_ws) == 3
    pictures = (tmp_path / "first" / "after.png", tmp_path / "second" / "before.png")
    assert np.array_equal(*map(picture, pictures))


def test_flags_reach_the_settings(tiny_model, tmp_path):
    dragged(tiny_model, tmp_path / "out", "--lr", "2e-3", "--space", "w", "--preset", "draggan")
    settings = EditFile.load(tmp_path / "out" / "edit.safetensors").settings
    paper = DragSettings.preset("draggan")
    assert settings == DragSettings.from_dict(
        {**paper.to_dict(), "learning_rate": 2e-3, "latent_space": "w", "max_steps": 4}
    )


def test_a_settings_file_takes_the_place_of_a_preset(tiny_model, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("motion_radius_px: 2\nmax_steps: 50\n")
    dragged(tiny_model, tmp_path / "out", "--config", str(config))
    settings = EditFile.load(tmp_path / "out" / "edit.safetensors").settings
    assert (settings.motion_radius_px, settings.max_steps) == (2, 4)


def test_a_mask_is_kept_and_holds_the_rest(tiny_model, tmp_path):
    white = np.zeros((64, 64), np.uint8)
    white[20:60, 5:45] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    dragged(tiny_model, tmp_path / "out", "--mask", str(tmp_path / "mask.png"))
    edit = EditFile.load(tmp_path / "out" / "edit.safetensors")
    assert edit.mask is not None and np.array_equal(edit.mask.numpy(), white / 255)
    assert stats(tmp_path / "out")[-1]["mask_loss"] > 0


def test_a_handle_outside_the_mask_is_a_note(tiny_model, tmp_path, capsys):
    white = np.zeros((64, 64), np.uint8)
    white[:10] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    assert dragged(tiny_model, tmp_path / "out", "--mask", str(tmp_path / "mask.png")) == 0
    said = capsys.readouterr().err
    assert said.startswith("note: handle 0") and "Warning" not in said


def bad_mask(folder: Path, name: str, pixels: np.ndarray) -> str:
    path = folder / name
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--points", "20,40:70,40"], "--points: target 0 (70, 40): outside the picture"),
        (["--points", "20,40"], "--points '20,40': expected handle:target"),
        (["--points", "nan,40:20,40"], "--points: handle 0"),
        (["--points", ""], "--points"),
        (["--seed", "-1"], "--seed -1"),
        (["--psi", "nan"], "--psi nan"),
        (["--class", "2"], "--class 2: this model has no classes"),
        (["--lr", "-1"], "--lr"),
        (["--steps", "0"], "--steps"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "{tmp}/bad.yaml"], "no setting 'learnig_rate'"),
        (["--config", "{tmp}/bad.yaml", "--preset", "small"], "give one of them"),
        (["--mask", "{tmp}/small.png"], "--mask {tmp}/small.png: mask (32, 32)"),
        (["--mask", "{tmp}/black.png"], "all zero"),
        (["--mask", "{tmp}/none.png"], "--mask {tmp}/none.png"),
        (["--model", "{tmp}/nothing"], "--model {tmp}/nothing"),
        (["--device", "tpu"], "--device tpu"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--edit", "x.safetensors"], "--seed and --edit given"),
        (["--at", "3"], "--at 3: only with --edit"),
        (["--out", "{tmp}/full"], "already holds files"),
    ],
)
def test_bad_input_is_one_line_naming_the_flag_and_leaves_nothing(
    tiny_model, tmp_path, capsys, flags, complaint
):
    (tmp_path / "bad.yaml").write_text("learnig_rate: 1\n")
    bad_mask(tmp_path, "small.png", np.full((32, 32), 255, np.uint8))
    bad_mask(tmp_path, "black.png", np.zeros((64, 64), np.uint8))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("another run")
    before = sorted(tmp_path.rglob("*"))
    assert dragged(tiny_model, tmp_path / "out", *(f.format(tmp=tmp_path) for f in flags)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert complaint.format(tmp=tmp_path) in said
    assert sorted(tmp_path.rglob("*")) == before


def test_an_edit_of_another_model_is_refused(tiny_model, tiny_generator, tmp_path, capsys):
    from framework.formats import save_model_folder

    dragged(tiny_model, tmp_path / "out", steps=1)
    other = type(tiny_generator)(**{**OTHER, "img_size": (64, 64)})
    save_model_folder(tmp_path / "other", other, provenance={"data": "none"}, card="# other\n")
    edit = str(tmp_path / "out" / "edit.safetensors")
    again = ["drag", "--edit", edit, "--model", str(tmp_path / "other"), "--out"]
    assert main([*again, str(tmp_path / "x")]) == 2
    assert f"--edit {edit}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


OTHER = {"z_dim": 8, "w_dim": 12, "mapping_layers": 1, "channel_base": 256, "channel_max": 8}


def test_a_task_file_gives_a_folder_a_task_and_a_line_each(tiny_model, tmp_path, capsys):
    tasks = tmp_path / "tasks.jsonl"
    wheel = {"name": "wheel", "seed": 3, "points": POINTS}
    roof = {"name": "roof", "seed": 4, "handles": [[40, 20]], "targets": [[40, 16]]}
    tasks.write_text(f"{json.dumps(wheel)}\n\n{json.dumps(roof)}\n")
    out = tmp_path / "out"
    batch = ["drag", "--model", str(tiny_model), "--tasks", str(tasks), "--out", str(out)]
    assert main([*batch, "--steps", "2", "--preset", "small", "--no-video", "--json"]) == 0
    outcome = last_json(capsys)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["wheel", "roof"]
    assert outcome["tasks"] == 2
    assert outcome["steps"] == sum(line["steps"] for line in lines)
    assert outcome["max_distance_px"] == max(line["max_distance_px"] for line in lines)
    for name in ("wheel", "roof"):
        assert {path.name for path in (out / name).iterdir()} == FILES
    dragged(tiny_model, tmp_path / "alone", steps=2)
    alone = EditFile.load(tmp_path / "alone" / "edit.safetensors")
    assert torch.equal(alone.ws, EditFile.load(out / "wheel" / "edit.safetensors").ws)


def test_no_task_is_done_where_bad_ones_are_an_error(tiny_model, tmp_path, capsys):
    tasks = tmp_path / "tasks.jsonl"
    good, bad = {"seed": 3, "points": POINTS}, {"seed": 4, "points": POINTS, "mask": "no.png"}
    tasks.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    batch = ["drag", "--model", str(tiny_model), "--tasks", str(tasks), "--on-bad", "error"]
    assert main([*batch, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --tasks {tasks}: 1 of 2 tasks cannot be done: line 2: mask ")
    assert "no.png" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_task_that_fails_on_the_way_does_not_stop_the_others(
    tiny_model, tmp_path, monkeypatch, capsys
):
    tasks = tmp_path / "tasks.jsonl"
    lines = [json.dumps({"name": name, "seed": 3, "points": POINTS}) for name in ("bad", "good")]
    tasks.write_text("\n".join(lines))

    def fails_once(*arguments):
        monkeypatch.setattr(progress, "adam_update", adam_update)
        raise UserError("the model gives NaN")

    adam_update = progress.adam_update
    monkeypatch.setattr(progress, "adam_update", fails_once)
    batch = ["drag", "--model", str(tiny_model), "--tasks", str(tasks), "--steps", "1", "--json"]
    small = ["--preset", "small", "--no-video"]
    assert main([*batch, *small, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err.endswith("error: 1 of 2 tasks failed: bad\n")
    assert json.loads(captured.out.splitlines()[-1])["failed"] == ["bad"]
    results = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert json.loads(results[0]) == {"name": "bad", "error": "the model gives NaN"}
    assert json.loads(results[1])["steps"] == 1


def test_latents_of_a_file_start_a_task(tiny_model, tmp_path):
    dragged(tiny_model, tmp_path / "first", steps=2)
    first = tmp_path / "first" / "edit.safetensors"
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"ws": str(first), "points": POINTS}))
    batch = ["drag", "--model", str(tiny_model), "--tasks", str(tmp_path / "tasks.jsonl")]
    assert main([*batch, "--steps", "1", "--no-video", "--out", str(tmp_path / "out")]) == 0
    started = EditFile.load(tmp_path / "out" / "line_1" / "edit.safetensors")
    assert torch.equal(started.start_ws[0], EditFile.load(first).ws[-1])


def test_ctrl_c_keeps_what_is_done(tiny_model, tmp_path, monkeypatch, capsys):
    updates = []

    def interrupted(*arguments):
        updates.append(1)
        if len(updates) == 3:
            raise KeyboardInterrupt
        return adam_update(*arguments)

    adam_update = progress.adam_update
    monkeypatch.setattr(progress, "adam_update", interrupted)
    out = tmp_path / "out"
    assert dragged(tiny_model, out, "--video", points="20,40:50,40", steps=100) == 130
    outcome = last_json(capsys)
    assert outcome["status"] == "interrupted" and not outcome["arrived"]
    assert outcome["steps"] == 2
    assert {path.name for path in out.iterdir()} == FILES  # no clip: whoever stops wants to go
    assert len(EditFile.load(out / "edit.safetensors").ws) == 3


def test_sigterm_keeps_what_is_done_and_ends_with_143(tiny_model, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable, "edit.py", "drag", "--model", str(tiny_model), "--seed", "3",
        "--points", "5,5:60,60", "--steps", "1000000", "--lr", "1e-9", "--no-video",
        "--preset", "small",
        "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    deadline_sec = time.monotonic() + 180
    while not (out / "stats.jsonl").exists() or len(stats_so_far(out)) < 3:
        assert process.poll() is None and time.monotonic() < deadline_sec
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 143 and b"Traceback" not in said
    assert len(EditFile.load(out / "edit.safetensors").ws) >= 3


def stats_so_far(folder: Path) -> list[str]:
    return (folder / "stats.jsonl").read_text().splitlines()


def test_an_offline_run_holds_the_named_keys_and_pictures(tiny_model, tmp_path):
    out = tmp_path / "out"
    points = "20,40:24,40;40,20:40,24"
    assert dragged(tiny_model, out, "--wandb", "offline", "--video", points=points, steps=2) == 0
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json"]
    read = json.loads(subprocess.check_output([*command, str(out / "wandb")]))
    summary, last = read["summary"], stats(out)[-1]
    assert read["state"] == "finished"
    assert summary["Drag/motion_loss"] == pytest.approx(last["motion_loss"])
    assert summary["Drag/mask_loss"] == last["mask_loss"]
    assert summary["Drag/distance_px_mean"] == pytest.approx(last["distance_px_mean"])
    assert summary["Drag/distance_px_max"] == pytest.approx(last["distance_px_max"])
    assert summary["Drag/drift_mean"] == pytest.approx(last["drift_mean"])
    assert summary["Drag/drift/point_1"] == pytest.approx(last["drift"][1])
    for name in ("before", "after", "side_by_side"):
        assert summary[f"Drag/{name}"]["_type"] == "image-file"
    assert summary["Drag/video"]["_type"] == "video-file"
    assert read["config"]["settings"]["max_steps"] == 2 and read["config"]["seed"] == 3
