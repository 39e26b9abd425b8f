"""The status line, the bar and the marks that both are keyed on."""

from types import SimpleNamespace

import pytest
import torch

from framework.errors import UserError
from framework.training.callbacks import KimgCallback, StopAtKimg
from framework.training.phased import Headline
from framework.training.run_settings import RunSettings
from framework.training.stats import StatsCollector
from framework.training.status import StatusLine, _clock


class Marks(KimgCallback):
    """Notes where it was called."""

    def __init__(self, every_kimg: float, total_kimg: float) -> None:
        super().__init__(every_kimg, total_kimg)
        self.at: list[int] = []

    def at_mark(self, trainer, pl_module) -> None:
        self.at.append(pl_module.seen_images)


def passed(callback: KimgCallback, batch: int, start: int = 0, end: int = 1000) -> None:
    """Let a callback see batches of a size, without training."""
    module = SimpleNamespace(seen_images=start)
    callback.on_train_start(None, module)  # type: ignore[arg-type]
    for seen in range(start + batch, end + 1, batch):
        module.seen_images = seen
        callback.on_train_batch_end(None, module)


@pytest.mark.parametrize("every", [0.01, 0.07, 0.1, 0.29, 0.3])
# H2
def test_marks_are_the_multiples_whatever_floats_make_of_them(every):
    marks = Marks(every, 1e6)
    passed(marks, 10, end=900)
    step = round(every * 1000)
    assert marks.at == list(range(step, 901, step))


def test_a_batch_that_does_not_divide_reaches_a_mark_with_its_last_images():
    marks = Marks(0.1, 1e6)
    passed(marks, 32, end=448)
    assert marks.at == [128, 224, 320, 416]


def test_the_end_is_a_mark_even_if_no_multiple():
    marks = Marks(0.4, 0.5)
    passed(marks, 10, end=500)
    assert marks.at == [400, 500]


def test_a_resumed_session_repeats_no_mark():
    marks = Marks(0.1, 1e6)
    passed(marks, 10, start=200, end=310)
    assert marks.at == [300]


@pytest.mark.parametrize("kimg", [0.07, 0.1, 0.29])
def test_training_ends_with_the_batch_that_reaches_the_length(kimg):
    trainer, module = SimpleNamespace(should_stop=False), SimpleNamespace(seen_images=0)
    stop = StopAtKimg(kimg)
    stop.on_train_start(trainer, module)  # type: ignore[arg-type]
    while not trainer.should_stop:
        module.seen_images += 10
        stop.on_train_batch_end(trainer, module)
    assert module.seen_images == round(kimg * 1000)


def status(tmp_path, seen: int = 40) -> tuple[StatusLine, SimpleNamespace, SimpleNamespace]:
    line = StatusLine(tmp_path, 0.04, 0.1)
    module = SimpleNamespace(
        seen_images=0, batches_seen=0, stats=StatsCollector(), signs=lambda mean: (), headlines=()
    )
    trainer = SimpleNamespace(is_global_zero=True, loggers=[])
    line.on_train_start(trainer, module)  # type: ignore[arg-type]
    module.seen_images = seen
    return line, trainer, module


def test_without_a_terminal_there_is_no_bar(tmp_path, capsys):
    line, trainer, module = status(tmp_path)
    line.on_train_batch_end(trainer, module)
    out = capsys.readouterr().out
    assert not line.bar and "\r" not in out and out.startswith("tick 1 ") and out.endswith("\n")
    assert (tmp_path / "log.txt").read_text() == out


def test_what_no_batch_of_a_tick_reported_is_no_number(tmp_path, capsys):
    line, trainer, module = status(tmp_path)
    module.headlines = (Headline("G", "Loss/G", "<6.3f"), Headline("r1", "Loss/r1", "<8.4f"))
    module.stats.report("Loss/G", torch.tensor([float("nan")]))
    line.on_train_batch_end(trainer, module)
    said = capsys.readouterr().out
    assert " G nan    r1 -        left " in said


def test_on_a_terminal_a_bar_shows_the_way_to_the_end(tmp_path, capsys):
    line, trainer, module = status(tmp_path, seen=50)
    line.bar, line.last = True, 41
    line.on_train_batch_end(trainer, module)
    out = capsys.readouterr().out
    assert out.startswith("\r") and not out.endswith("\n") and "0.1/0.1 kimg" in out
    assert out.count("█") == out.count("·")  # half of the way
    line.on_train_end(trainer, module)
    assert capsys.readouterr().out == "\n"


def test_the_time_of_a_tick_is_without_what_was_done_between_ticks(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("framework.training.status.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("framework.training.status.time.process_time", lambda: clock.now / 2)
    line, trainer, module = status(tmp_path, seen=40)
    clock.now = 110.0  # ten seconds of training
    first = line._clocks(0.04)
    line.at_mark(trainer, module)
    clock.now = 113.0  # three of snapshots
    line.on_train_batch_start(trainer, module)
    clock.now = 118.0  # five of training
    second = line._clocks(0.08)
    assert (first["Timing/sec_per_tick"], first["Timing/maintenance_sec"]) == (10.0, 0.0)
    assert (second["Timing/sec_per_tick"], second["Timing/maintenance_sec"]) == (5.0, 3.0)
    assert second["Timing/sec_per_kimg"] == pytest.approx(125.0)
    assert (second["Timing/total_sec"], second["Timing/cpu_sec"]) == (18.0, 9.0)
    assert (second["Progress/tick"], second["Progress/kimg"]) == (2, 0.08)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(float("nan"), "?"), (61.9, "1m 01s"), (7384, "2h 03m 04s"), (93_780, "1d 02h 03m")],
)
def test_times_are_told_in_words(seconds, text):
    assert _clock(seconds) == text


def test_settings_of_a_run_are_checked_by_name():
    RunSettings().check()
    for name in ("kimg", "tick_kimg", "checkpoint_kimg", "snapshot_kimg", "keep_checkpoints"):
        with pytest.raises(UserError, match=rf"--run\.{name} 0: must be positive"):
            RunSettings(**{name: 0}).check()
