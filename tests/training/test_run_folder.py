import json
import os
import signal

import pytest

from framework.errors import UserError
from framework.training.run_folder import (
    check_folder,
    clean_up,
    last_checkpoint,
    lock_folder,
)
from framework.training.same_run import check_same_run
from tests.training import processes
from tests.training.processes import finish, wait_for


def test_a_new_an_empty_and_a_just_locked_folder_may_take_a_run(tmp_path):
    check_folder(tmp_path / "new", "never")
    check_folder(tmp_path, "never")
    with lock_folder(tmp_path):
        check_folder(tmp_path, "never")
    assert not (tmp_path / "new").exists()


def test_other_peoples_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match=r"run.dir .* holds files but no run"):
        check_folder(tmp_path, "auto")
    with pytest.raises(UserError, match="is a file"):
        check_folder(tmp_path / "thesis.txt", "auto")


def test_a_run_is_gone_on_with_unless_it_must_not(tmp_path):
    (tmp_path / "config.yaml").write_text("run:\n")
    check_folder(tmp_path, "auto")
    with pytest.raises(UserError, match="already holds a run"):
        check_folder(tmp_path, "never")


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(tmp_path):
    assert last_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "run-00000000008.ckpt").write_bytes(b"half")
    with pytest.raises(UserError, match="none of its checkpoints is whole"):
        last_checkpoint(tmp_path)


def hold(folder) -> None:
    with lock_folder(folder):
        (folder / "held").touch()
        signal.pause()


# A14
def test_a_folder_takes_one_training_at_a_time_and_a_dead_one_counts_for_nothing(tmp_path):
    holder = processes.run(hold, tmp_path)
    try:
        wait_for((tmp_path / "held").exists, holder)
        with pytest.raises(UserError, match=rf"process {holder.pid}\) is at work in it"):
            with lock_folder(tmp_path):
                raise AssertionError("two at once")
    finally:
        holder.kill()
    assert finish(holder) == -signal.SIGKILL
    assert (tmp_path / ".lock").read_text() == f"{holder.pid}\n"
    for _ in range(2):
        with lock_folder(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


HELD = {
    "format": 1,
    "seen_images": 8,
    "seed": 0,
    "batch_size": 4,
    "data": "abc",
    "generator": {"img_size": [16, 16], "w_dim": 8, "low_precision_blocks": 4},
}
OURS = {k: v for k, v in HELD.items() if k not in ("format", "seen_images")}


def test_the_same_settings_are_the_same_run_on_another_machine_too():
    check_same_run(HELD, OURS)
    generator = {"img_size": (16, 16), "w_dim": 8, "low_precision_blocks": 0}
    check_same_run(HELD, {**OURS, "generator": generator})


def test_a_run_begun_before_a_setting_existed_had_its_default():
    check_same_run(HELD, {**OURS, "discriminator": {"architecture": "resnet"}})
    with pytest.raises(UserError, match=r"discriminator\.architecture resnet, now orig"):
        check_same_run(HELD, {**OURS, "discriminator": {"architecture": "orig"}})


def test_settings_that_changed_are_named_with_both_values():
    generator = {**HELD["generator"], "w_dim": 16, "z_dim": 3}
    with pytest.raises(UserError) as caught:
        check_same_run(HELD, {**OURS, "seed": 1, "generator": generator})
    said = str(caught.value)
    assert "generator.w_dim 8, now 16; generator.z_dim unset, now 3; seed 0, now 1" in said
    assert "batch_size" not in said and "img_size" not in said and "\n" not in said


def line(kimg: float) -> str:
    return json.dumps({"Progress/kimg": {"num": 1, "mean": kimg, "std": 0.0}, "timestamp": 1.0})


# A20
def test_what_a_killed_training_left_is_cleaned_up(tmp_path):
    places = [tmp_path, tmp_path / "checkpoints", tmp_path / "network-000001"]
    rests = [place / ".run-8.123.part.ckpt" for place in places]
    for rest in rests:
        rest.parent.mkdir(exist_ok=True)
        rest.write_bytes(b"half")
    kept = [tmp_path / "checkpoints" / "run-8.ckpt", tmp_path / "notes.part", tmp_path / ".hidden"]
    for file in kept:
        file.write_bytes(b"whole")
    stats = tmp_path / "stats.jsonl"
    stats.write_text(f"{line(0.004)}\n{line(0.008)}\n{line(0.012)}\n{line(0.016)[:20]}")
    clean_up(tmp_path, 0.008)
    assert not any(rest.exists() for rest in rests)
    assert all(file.read_bytes() == b"whole" for file in kept)
    assert stats.read_text() == f"{line(0.004)}\n{line(0.008)}\n"


def test_statistics_that_fit_are_not_touched(tmp_path):
    stats = tmp_path / "stats.jsonl"
    stats.write_text(f"{line(0.004)}\n")
    before = stats.stat().st_ino
    clean_up(tmp_path, 0.004)
    assert stats.stat().st_ino == before
    clean_up(tmp_path / "new", 0.0)


PICTURES = {"count": 24, "source": "a", "size": [16, 16], "channels": 3, "label_dim": 0}


def refusal(held: dict, ours: dict) -> str:
    with pytest.raises(UserError) as caught:
        check_same_run({**HELD, **held}, {**OURS, **ours})
    return str(caught.value)


# C5f
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"count": 12}, "other pictures: 24, now 12. "),
        ({"count": 12, "source": "b"}, "other pictures: 24, now 12 and of a, now b. "),
        ({"label_dim": 3}, "other pictures: labels of length 0, now 3. "),
        ({"size": [32, 32]}, "other pictures: size [16, 16], now [32, 32]. "),
        ({}, "other pictures: as many, 24, but their contents, names or labels changed. "),
    ],
)
def test_other_pictures_are_told_in_words_with_the_way_on(changed, words):
    now = {"data": "def", "pictures": {**PICTURES, **changed}}
    said = refusal({"pictures": PICTURES}, now)
    assert words in said and "abc" not in said
    assert said.endswith("Give a new --run.dir, or the old settings: --data.source a")
    check_same_run(
        {**HELD, "pictures": PICTURES}, {**OURS, "pictures": {**PICTURES, "source": "b"}}
    )


# C5f
def test_a_run_that_kept_no_words_is_told_what_there_is_now():
    said = refusal({}, {"data": "def", "pictures": PICTURES})
    assert "other pictures than those of --data.source now (24 of a)" in said
    assert "--data.source WITH_THE_OLD_PICTURES" in said and "abc" not in said


# C5f
def test_another_generator_is_told_by_name():
    held, ours = {"generator_digest": "1", "generator_name": "x"}, {"generator_digest": "2"}
    said = refusal(held, {**ours, "generator_name": "y"})
    assert "another generator: x, now y" in said and "--model.generator x" in said
    said = refusal(held, {**ours, "generator_name": "x"})
    assert "--model.generator x holds another generator than it did" in said


# C5f
def test_every_changed_setting_comes_with_the_flag_that_gives_its_old_value():
    changed = {
        "seed": 1, "batch_size": 8, "generator": {"img_size": [32, 32], "w_dim": 4},
        "discriminator": {"channel_base": 64, "architecture": "orig"},
    }  # fmt: skip
    said = refusal({"discriminator": {"channel_base": 128}}, changed)
    for flag in (
        "--model.seed 0", "--data.batch_size 4", "--data.size [16,16]", "--model.networks.w_dim 8",
        "--model.networks.discriminator_channel_base 128",
        "--model.networks.discriminator_architecture resnet",
    ):  # fmt: skip
        assert f" {flag}" in said.split("or the old settings:")[1]
