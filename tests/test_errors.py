"""An error knows the input that is wrong; a front names its own flag for it, and only that one."""

import pickle

import pytest

from framework.data.tars import BrokenShard
from framework.errors import BrokenCheckpoint, UserError, blame, named, reason_of
from framework.media.images import ImageRefused, Refusal

FLAGS = {"on_bad": "--on-bad", "size": "--data.size", "follow_links": "--follow-links"}


def said(error: UserError, *around) -> str:
    """What reaches the user of an error that is raised within some contexts, innermost first."""
    try:
        raise_within(error, list(around))
    except UserError as caught:
        assert caught is error  # its kind and its traceback stay
        return str(caught)
    raise AssertionError


def raise_within(error: UserError, around: list) -> None:
    if not around:
        raise error
    with around.pop():
        raise_within(error, around)


# C2f
@pytest.mark.parametrize(
    ("error", "around", "message"),
    [
        (UserError("3: too few", "size"), [], "size 3: too few"),
        (UserError("3: too few", "size"), [named(FLAGS)], "--data.size 3: too few"),
        (UserError("3: too few", "seed"), [named(FLAGS)], "seed 3: too few"),
        (UserError("a.png: no file"), [blame("--mask")], "--mask: a.png: no file"),
        (UserError("no file"), [blame("--mask", "a.png")], "--mask a.png: no file"),
        (UserError("a.png: no file"), [blame("--mask", "a.png")], "--mask a.png: no file"),
        (UserError("--model x: none"), [blame("--points", "1,2:3,4")], "--model x: none"),
        (UserError("x: none", "model"), [blame("--points")], "model x: none"),
        (UserError("x: none"), [blame("--a"), blame("--b", "v")], "--a: x: none"),
        (UserError("x: bad; skip them: on_bad=skip"), [named(FLAGS)],
         "x: bad; skip them: --on-bad skip"),
        (UserError("x: give (size=[48,64])."), [named(FLAGS)], "x: give (--data.size [48,64])."),
        (UserError("a link: follow_links=True"), [named(FLAGS)], "a link: --follow-links"),
        (UserError("runs/size=3/x: none"), [named(FLAGS)], "runs/size=3/x: none"),
        (UserError("1: only with `size`", "seed"), [named(FLAGS)], "seed 1: only with --data.size"),
        (UserError("`size` and `on_bad`: give one"), [named(FLAGS)],
         "--data.size and --on-bad: give one"),
        (UserError("`size` and `other`: give one"), [named({})], "`size` and `other`: give one"),
        (UserError("x: none"), [named({})], "x: none"),
    ],
)  # fmt: skip
def test_a_complaint_names_one_flag_and_the_right_one(error, around, message):
    assert said(error, *around) == message


@pytest.mark.parametrize(
    "error",
    [
        BrokenCheckpoint("x: cut off", "model"),
        ImageRefused("a\nb", Refusal.DAMAGED, "cut off"),
        BrokenShard("a.tar", "cut off"),
    ],
)
def test_an_error_survives_the_way_to_another_process(error):
    with pytest.raises(UserError), blame("--data"), named({"model": "--model"}):
        raise error
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error) and copy.field == error.field


def test_words_without_end_are_cut_and_nothing_moves_the_cursor():
    text = str(UserError(f"{'a' * 5000}: no such file\n\x1b[2J\udcff"))
    assert len(text) < 400 and text.isprintable() and "no such file" in text


def test_what_a_pickle_asks_for_is_cut_before_it_fills_the_screen():
    asked = "os." + "x" * 5000
    reason = reason_of(RuntimeError(f"WeightsUnpickler error: Unsupported global: GLOBAL {asked}"))
    assert reason.startswith("it asks for os.xxx") and len(reason) < 130
