"""What goes wrong while training ends it in one line, or is told in one; rows A1-A20, B15, B16.

docs/reliability.md says what each row guarantees.
"""

import itertools
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from framework.errors import UserError
from framework.formats.run_checkpoint import is_whole, latest_whole, newest_first, read_checkpoint
from framework.media.images import save_png
from framework.training.callbacks import RunCheckpoints
from framework.training.failures import in_words
from framework.training.status import Alarms, StatusLine
from framework.training.stylegan2 import losses
from framework.training.stylegan2.health import DIVERSITY, Diversity
from tests.training.processes import children, contents, finish, fit, start, wait_for
from tests.training.tiny import tiny_data, tiny_module, train, weights

ENDLESS = ("--run.kimg", "1000", "--run.tick_kimg", "0.004", "--run.wandb", "disabled")
SHORT = ("--run.kimg", "0.016", "--run.wandb", "disabled")


def fails_at_the_third_batch(failure: Any) -> None:
    """Let the third batch of this process raise what `failure` raises."""
    from framework.training.stylegan2.module import StyleGAN2Training

    step = StyleGAN2Training.training_step

    def training_step(self: Any, *batch: Any) -> None:
        if self.seen_images == 8:
            failure()
        step(self, *batch)

    StyleGAN2Training.training_step = training_step  # type: ignore[method-assign]


# ---------------------------------------------------------------------------------------- signals


def test_three_times_ctrl_c_is_no_storm(tmp_path):
    """A4."""
    run_dir, log = tmp_path / "run", tmp_path / "log"
    process = start(fit(run_dir, *ENDLESS, "--run.checkpoint_kimg", "0.004"), log)
    wait_for(lambda: log.exists() and "tick 2 " in log.read_text(), process)
    for _ in range(3):
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.005)
    assert finish(process) == 130
    assert "Traceback" not in log.read_text() and "KeyboardInterrupt" not in log.read_text()
    assert all(is_whole(path) for path in newest_first(run_dir))
    assert latest_whole(run_dir) is not None


EVERYTHING: dict[str, Any] = {
    "augment": "ada", "ada_p": 0.3, "ada_kimg": 0.2, "ada_target": 0.99,
    "pl_weight": 2.0, "pl_interval": 3, "lecam_weight": 0.3,
}  # fmt: skip


def test_all_that_a_training_remembers_is_gone_on_with(tmp_path):
    """A5, H10: ADA's p, the mean path length and LeCam's averages, too; bit for bit."""
    states = []
    for name, stops in (("whole", (32,)), ("resumed", (12, 32))):
        folder = tmp_path / name
        for images in stops:
            saving = RunCheckpoints(folder, 1, 1, keep=9)
            train(tiny_module(**EVERYTHING), images, None, (saving,), latest_whole(folder))
        states.append(read_checkpoint(folder / "checkpoints" / "run-00000000032.ckpt"))
    for kept in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(states[1][kept], states[0][kept], rtol=0, atol=0)
    moved = states[0]["state_dict"]
    assert 0 < moved["augmenter.p"] < 0.3 and moved["path_length.mean.value"] > 0
    assert any(moved[name].abs().max() > 0 for name in moved if name.startswith("lecam."))


# ------------------------------------------------------------------------------ not finite, memory


class LoseTheWay(lightning.Callback):
    """Styles are NaN from the third batch on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        if pl_module.seen_images == 8:
            self.monkeypatch.setattr(losses, "mix_styles", lambda ws, *_: ws * torch.nan)


def test_a_training_that_loses_its_way_leaves_finite_checkpoints(tmp_path, monkeypatch):
    """A6: the error names phase and place, and what was saved before and since is good."""
    saving, module = RunCheckpoints(tmp_path, 0.004, 1, keep=99), tiny_module()
    with pytest.raises(UserError, match=r"^Gmain: .* not been finite .* by kimg 0\.0\d+; the last"):
        train(module, 100, callbacks=(LoseTheWay(monkeypatch), saving))
    assert module.seen_images <= 8 + 2 * 4 * module.guard.patience
    saved = list(newest_first(tmp_path))
    assert len(saved) >= 2
    for path in saved:
        for name, value in read_checkpoint(path)["state_dict"].items():
            assert value.isfinite().all(), name


def run_out_of_gpu_memory() -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    fails_at_the_third_batch(fail)


def run_out_of_host_memory() -> None:
    fails_at_the_third_batch(lambda: torch.empty(2**52))


@pytest.mark.parametrize(
    ("before", "flags"),
    [
        (run_out_of_gpu_memory, ["--model.micro_batch 2", "--model.networks.channel_base"]),
        (run_out_of_host_memory, ["--model.micro_batch 2", "--data.cache FOLDER"]),
    ],
)
def test_out_of_memory_is_one_line_with_flags_that_help(before, flags, begun):
    """A12, A13: sizes and flags are named, nothing saved is touched, the run goes on after."""
    kept, log = contents(begun / "checkpoints"), begun.with_suffix(".log")
    assert finish(start(fit(begun, *SHORT), log, before=before)) == 2
    line = log.read_text().splitlines()[-1]
    assert line.startswith("error: out of memory: a step works on 4 pictures of 16x16 at once")
    assert "of a batch of 4" in line and all(flag in line for flag in flags)
    assert "Traceback" not in log.read_text()
    assert contents(begun / "checkpoints") == kept
    assert finish(start(fit(begun, *SHORT), log)) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_that_is_full_is_told_in_one_line(tmp_path):
    """A12: the real thing."""
    log = tmp_path / "log"
    args = fit(
        tmp_path / "run", *SHORT, "--data.size", "256", "--data.batch_size", "64",
        "--model.networks.channel_base", "16384", "--model.networks.channel_max", "512",
    )  # fmt: skip
    assert finish(start(args, log, before=take_most_of_the_gpu), 300) == 2
    line = log.read_text().splitlines()[-1]
    assert line.startswith("error: out of memory: a step works on 64 pictures of 256x256")
    assert "--model.micro_batch 32" in line
    assert latest_whole(tmp_path / "run") is None


def take_most_of_the_gpu() -> None:
    torch.cuda.set_per_process_memory_fraction(0.01)


def raised(last_line: str) -> ProcessRaisedException:
    """What the parent of forked processes gets of an error in one of them."""
    text = f"-- Process 1 terminated with the following error:\nTraceback ...\n{last_line}\n"
    return ProcessRaisedException(text, 1, 7)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "out of memory: less"),
        (MemoryError("Unable to allocate 3.2 TiB for an array"), "out of memory: less"),
        (RuntimeError("[enforce fail at x.cpp] DefaultCPUAllocator: can't allocate memory: you"),
         "out of memory: less"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), "out of memory: less"),
        (RuntimeError("DataLoader worker (pid 812) is killed by signal: Killed. "),
         "a reader of the pictures (process 812) is killed by signal: Killed"),
        (RuntimeError("DataLoader worker (pid(s) 812, 813) exited unexpectedly"),
         "(process 812, 813) exited unexpectedly"),
        (RuntimeError("[/x/pair.cc:1] Connection closed by peer [::1]:7. This is"),
         "is gone (Connection closed by peer [::1]:7)"),
        (RuntimeError("[/x/buffer.cc:7] Timed out waiting 3000ms for recv operation"),
         "did not answer in time (Timed out waiting 3000ms"),
        (RuntimeError("The server socket has failed. port: 29500, code: -98, name: EADDRINUSE"),
         "MASTER_PORT 29500 is taken"),
        (raised("torch.OutOfMemoryError: CUDA out of memory."), "out of memory: less"),
        (raised("framework.errors.UserError: Gmain: not finite"), "Gmain: not finite"),
        (raised("ZeroDivisionError: division by zero"), None),
        (ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 7, -9, "SIGKILL"),
         "is gone (process 1 terminated with signal SIGKILL)"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (KeyError("out of memory"), None),
    ],
)  # fmt: skip
def test_failures_are_known_by_their_words(error, words):
    """A11-A13, D1, D6, D7: what torch says; anything else is a fault of the program's."""
    said = in_words(error, lambda _: "less")
    assert said is None if words is None else words in said and "\n" not in said


# ------------------------------------------------------------------------------------------ readers


def test_a_killed_reader_ends_the_training_with_its_name(tmp_path):
    """A11."""
    log = tmp_path / "log"
    process = start(fit(tmp_path / "run", *ENDLESS, "--data.workers", "1"), log)
    assert process.pid is not None
    wait_for(lambda: log.exists() and "tick 2 " in log.read_text(), process)
    (reader,) = children(process.pid)
    os.kill(reader, signal.SIGKILL)
    assert finish(process) == 2
    line = log.read_text().splitlines()[-1]
    # Its number is not known where it went while it was handing pictures over.
    assert re.match(rf"error: a reader of the pictures (\(process {reader}\)|is gone)", line)
    assert "Traceback" not in log.read_text()
    assert not Path(f"/proc/{reader}").exists()


def test_what_is_in_memory_is_read_without_helpers(tmp_path):
    """A11: by default there is no process that could be killed."""
    log = tmp_path / "log"
    process = start(fit(tmp_path / "run", *ENDLESS), log)
    assert process.pid is not None
    wait_for(lambda: log.exists() and "tick 1 " in log.read_text(), process)
    found = children(process.pid)
    process.kill()
    finish(process)
    assert found == []


# ------------------------------------------------------------------------------------- the clock


def test_a_clock_that_is_set_back_changes_no_times(tmp_path, monkeypatch, capsys):
    """A15: the wall clock only dates the lines."""
    ages = itertools.count(1e9, -86_400.0)
    monkeypatch.setattr(time, "time", lambda: next(ages))
    train(tiny_module(), 32, callbacks=(StatusLine(tmp_path, 0.004, 0.032),))
    ticks = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert len(ticks) == 8 and ticks[0]["timestamp"] > ticks[-1]["timestamp"]
    totals = [tick["Timing/total_sec"]["mean"] for tick in ticks]
    assert totals == sorted(totals)
    for tick in ticks:
        assert all(v["mean"] >= 0 for n, v in tick.items() if n.startswith("Timing/"))
    left = [line.split(" left ")[1] for line in capsys.readouterr().out.splitlines()]
    assert len(left) == 8 and not any("-" in text for text in left)


# --------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (("--data.size", "2"), "--data.size 2: "),
        (("--data.size", "100"), "--data.size 100: "),
        (("--model.lr", "-1"), "--model.lr -1.0: expected a number above 0"),
        (("--data.batch_size", "0"), "--data.batch_size 0"),
        (("--model.augmentation", "ada"), "--model"),
    ],
)
def test_mistakes_are_told_before_the_pictures_are_looked_at(mistake, expected, tmp_path):
    """A19: a scan of many pictures takes minutes."""
    log = tmp_path / "log"
    args = fit(tmp_path / "run", "--data.source", "/nowhere", *mistake)
    assert finish(start(args, log)) == 2
    said = log.read_text()
    assert said.startswith("error: ") and said.count("\n") == 1
    assert expected in said and "nowhere" not in said


# ----------------------------------------------------------------------------- few or no pictures


def pictures(folder: Path, count: int) -> Path:
    for i in range(count):
        folder.mkdir(exist_ok=True)
        pixels = torch.randint(256, (16, 16, 3), dtype=torch.uint8, generator=rng(i))
        save_png(folder / f"{i}.png", pixels.numpy())
    return folder


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_pictures_than_a_batch_train_with_a_note(count, tmp_path):
    """B15: epochs end within batches; a batch shows a picture more than once."""
    log, source = tmp_path / "log", str(pictures(tmp_path / "photos", count))
    args = fit(tmp_path / "run", *SHORT, "--run.tick_kimg", "0.004", "--data.source", source)
    assert finish(start(args, log), 60) == 0
    said = log.read_text()
    noun = "picture" if count == 1 else "pictures"
    assert f"note: {count} {noun} for batches of 4" in said and said.count("tick ") == 4


def lose_a_picture() -> None:
    """A picture vanishes when all have been looked at."""
    from framework.training.data import TrainingImages

    setup = TrainingImages.setup

    def vanish(self: TrainingImages, stage: str) -> None:
        if self.dataset:
            (Path(self.source) / "1.png").unlink(missing_ok=True)
        setup(self, stage)

    TrainingImages.setup = vanish  # type: ignore[method-assign]


def test_a_picture_that_vanishes_after_the_scan_is_named(tmp_path):
    """B16."""
    log, source = tmp_path / "log", str(pictures(tmp_path / "photos", 4))
    args = fit(tmp_path / "run", *SHORT, "--data.source", source)
    assert finish(start(args, log, before=lose_a_picture), 60) == 2
    line = log.read_text().splitlines()[-1]
    assert line.startswith("error: 1.png: cannot be read (No such file")
    assert "Traceback" not in log.read_text()


# ------------------------------------------------------------------------------------------ alarms


def tick(**means: float) -> dict[str, float]:
    """Averages of a tick; names with / and spaces are spelled with _."""
    names = {"diversity": DIVERSITY, "p": "Progress/augment", "sign": "Loss/signs/real"}
    return {names[name]: value for name, value in means.items()}


def told(ticks: list[dict[str, float]], **settings: Any) -> list[list[str]]:
    """The first word that names each alarm, tick by tick."""
    alarms, module = Alarms(), tiny_module(**settings)
    words = ("all alike", "its limit", "by heart")
    said = [alarms.update(module.signs(mean))[1] for mean in ticks]
    return [[next(w for w in words if w in line) for line in lines] for lines in said]


def test_a_collapse_is_told_once_when_it_has_lasted_two_ticks():
    ticks = [tick(diversity=d) for d in (2.0, 0.05, 0.9, 0.05, 0.02, 0.0, 0.5, 0.05, 0.05)]
    assert told(ticks) == [[], [], [], [], ["all alike"], [], [], [], ["all alike"]]
    alarms, module = Alarms(), tiny_module()
    holding = [alarms.update(module.signs(mean))[0] for mean in ticks]
    assert holding == [0, 0, 0, 0, 1, 1, 0, 0, 1]


def test_p_at_its_limit_is_told_once():
    limit = torch.tensor(0.7).item()  # as the buffer holds it: a little below 0.7
    ticks = [tick(p=p) for p in (0.1, 0.69, limit, limit, 0.6, limit)]
    expected = [[], [], ["its limit"], [], [], ["its limit"]]
    assert told(ticks, augment="ada", ada_p_max=0.7) == expected
    assert told(ticks, augment="ada", ada_p_max=0.7, ada_target=None) == [[]] * 6
    assert told(ticks, augment="color", ada_p_max=0.7) == [[]] * 6


def test_a_discriminator_that_is_always_right_is_told_unless_p_can_still_rise():
    ticks = [tick(sign=0.99, p=0.5)] * 4 + [tick(sign=0.9, p=0.5)] + [tick(sign=0.99, p=0.5)] * 6
    expected = [[]] * 9 + [["by heart"], []]
    assert told(ticks) == expected
    assert told(ticks, augment="ada") == [[]] * 11
    assert told(ticks, loss="relativistic") == told(ticks, loss="wgan-gp") == [[]] * 11
    assert told(ticks, loss="hinge") == expected
    at_limit = [tick(sign=0.99, p=0.8)] * 5
    assert told(at_limit, augment="ada") == [["its limit"], [], [], [], ["by heart"]]


class Collapse(lightning.Callback):
    """From the third batch on, every style draws the same picture."""

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        if pl_module.seen_images >= 8:
            with torch.no_grad():
                for name, value in pl_module.generator_ema.named_parameters():
                    if "affine.weight" in name:
                        value.zero_()


def test_a_generator_that_draws_one_picture_is_announced(tmp_path, capsys):
    """The whole way: pictures, statistics, the line on the terminal and in the log."""
    watching = (Collapse(), Diversity(0.004, 0.032), StatusLine(tmp_path, 0.004, 0.032))
    module = tiny_module()
    train(module, 32, callbacks=watching)
    out = capsys.readouterr().out
    assert out.count("note: generated pictures are all alike (0.00 of") == 1
    assert (tmp_path / "log.txt").read_text() == out
    ticks = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    diversity = [t[DIVERSITY]["mean"] for t in ticks]
    assert diversity[0] > 0.3 and max(diversity[1:]) < 0.01
    assert [t["Guard/alarms"]["mean"] for t in ticks] == [0, 0, 1, 1, 1, 1, 1, 1]


class CollapseOfClasses(Collapse):
    """From the third batch on, latents change nothing; labels do."""

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        if pl_module.seen_images >= 8:
            mapping = pl_module.generator_ema.mapping
            with torch.no_grad():
                mapping.fc0.weight[:, : mapping.z_dim] = 0


def test_one_picture_a_class_is_a_collapse_too(tmp_path):
    for i, name in enumerate(("bright", "dark")):
        pictures(tmp_path / name, 4)
        assert i < 2
    data = tiny_data(source=str(tmp_path), labels="folders")
    watching = (CollapseOfClasses(), Diversity(0.004, 0.032), StatusLine(tmp_path, 0.004, 0.032))
    train(tiny_module(), 16, data, watching)
    ticks = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    diversity = [t[DIVERSITY]["mean"] for t in ticks]
    assert diversity[0] > 0.1 and max(diversity[1:]) < 0.01


def test_watching_changes_no_training(tmp_path):
    """Diversity draws from its own latents: weights are the same bits with it and without."""
    plain, watched = tiny_module(), tiny_module()
    train(plain, 16)
    train(watched, 16, callbacks=(Diversity(0.004, 0.016), StatusLine(tmp_path, 0.004, 0.016)))
    torch.testing.assert_close(weights(watched), weights(plain), rtol=0, atol=0)


def test_data_that_are_all_alike_raise_no_alarm(tmp_path, capsys):
    data = tiny_data(source=str(pictures(tmp_path / "photos", 1)))
    train(tiny_module(), 16, data, (Diversity(0.004, 0.1), StatusLine(tmp_path, 0.004, 0.1)))
    assert "note" not in capsys.readouterr().out
    assert DIVERSITY not in (tmp_path / "stats.jsonl").read_text()
