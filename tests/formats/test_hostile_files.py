"""Files of strangers: what is benign opens, what is hostile is refused in a line, nothing runs."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint, UserError
from framework.files import sha256_file
from framework.formats import (
    load_discriminator,
    load_encoder_parts,
    load_generator,
    source_file,
)
from framework.formats.foreign import read_foreign
from framework.formats.run_checkpoint import manifest_path
from framework.models.stylegan2 import Generator
from tests.formats import hostile, specimens
from tests.formats.specimens import Nvidia, networks

ROOT = Path(__file__).resolve().parents[2]
# What running something would do, by the names of Python's audit events.
FORBIDDEN = (
    "exec", "compile", "import", "open", "marshal.", "pickle.", "code.__new__", "function.__new__",
    "socket.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "subprocess.", "ctypes.",
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "pty.",
)  # fmt: skip
# Work of a file, in calls, which are the same on a slow machine: for each megabyte, one at least.
CALLS_A_MEGABYTE = 3_000_000
# Memory of a file: three times its size, and what a hundred thousand steps of a pickle may take.
TIMES_ITS_SIZE, MEGABYTES_MORE = 3, 30


class Watch:
    """Forbids, while it is on, everything that a reader of data has no business with."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.seen: list[str] = []
        sys.addaudithook(self._hook)  # for good: hooks cannot be taken away

    def _hook(self, event: str, args: tuple) -> None:
        if not self.paths or not event.startswith(FORBIDDEN):
            return
        if event == "open" and (isinstance(args[0], int) or os.fspath(args[0]) in self.paths):
            return
        self.seen.append(f"{event} {args!r:.100}")
        raise PermissionError(event)

    @contextmanager
    def over(self, *paths: Path) -> Iterator[None]:
        """Forbid all but opening these."""
        self.paths, self.seen = set(map(str, paths)), []
        try:
            yield
        finally:
            self.paths = set()
        assert not self.seen


WATCH = Watch()


def test_the_watch_sees_what_it_forbids(tmp_path):
    for act in (
        lambda: exec("1"),
        lambda: __import__("antigravity"),
        lambda: open(os.devnull),
        lambda: os.system("true"),
        lambda: subprocess.run(["true"]),
        lambda: pickle.loads(b"cposix\nsystem\n."),
    ):
        with pytest.raises(AssertionError), WATCH.over(tmp_path):
            try:
                act()
            except OSError:
                pass


def refusal(path: Path, load: Any = load_generator, *also: Path) -> tuple[UserError, int]:
    """The error with which `path` is refused, one line that names it, and the calls it took."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    with WATCH.over(path, *also), pytest.raises(UserError) as caught:
        sys.setprofile(count)
        try:
            load(path)
        finally:
            sys.setprofile(None)
    message = str(caught.value)
    assert message.isprintable() and str(path) in message and len(message) < 600
    return caught.value, calls


# Benign


@pytest.fixture(scope="module")
def pair():
    return networks()


@pytest.fixture(scope="module")
def benign():
    return specimens.benign()


def assert_same(loaded: torch.nn.Module, original: torch.nn.Module) -> None:
    held = loaded.state_dict()
    assert held.keys() == original.state_dict().keys()
    for name, tensor in original.state_dict().items():
        assert torch.equal(held[name], tensor), name


@pytest.mark.parametrize("name", list(specimens.benign()))
def test_benign_files_open_bit_for_bit(tmp_path, pair, benign, name):
    path = tmp_path / name
    path.write_bytes(benign[name])
    with WATCH.over(path):
        generator = load_generator(path)
    if name == "training.pt":  # which holds no mean style
        assert not torch.equal(generator.mapping.w_avg, pair[0].mapping.w_avg)
        generator.mapping.w_avg.copy_(pair[0].mapping.w_avg)
    assert_same(generator, pair[0])
    if name not in ("one.pkl", "e4e.pt"):
        with WATCH.over(path):
            discriminator = load_discriminator(path)
        assert_same(discriminator, pair[1])


@pytest.mark.parametrize("flat", [False, True])
def test_labels(tmp_path, flat):
    labelled = networks(c_dim=3)
    path = tmp_path / "labels.pkl"
    path.write_bytes(Nvidia(flat=flat, c_dim=3).file(*labelled))
    assert_same(load_generator(path), labelled[0])
    assert_same(load_discriminator(path), labelled[1])


@pytest.mark.parametrize("name", ["zip.pt", "stream.pt", "e4e.pt"])
def test_the_specimens_are_files_that_torch_reads(pair, benign, name):
    held = torch.load(io.BytesIO(benign[name]), weights_only=True)
    weight = pair[0].synthesis.b8.conv0.weight[None]
    found = held["state_dict"]["decoder.convs.0.conv.weight"] if name == "e4e.pt" else (
        held["g_ema"]["convs.0.conv.weight"])  # fmt: skip
    assert torch.equal(found, weight)


# H13
def test_source_text_is_carried_and_never_run(tmp_path, pair):
    path = tmp_path / "payload.pkl"
    payload = f"import os; os.system({hostile.COMMAND!r})"
    path.write_bytes(Nvidia(source=payload).file(*pair))
    with WATCH.over(path):
        assert_same(load_generator(path), pair[0])


def test_sizes_that_the_shapes_contradict_are_not_believed(tmp_path, pair):
    layout = Nvidia(flat=True)
    contents = layout.contents(pair[0])
    claims = layout.arguments(pair[0]) | {"channel_max": 10**9, "channel_base": 2**40}
    contents["G_ema"].arguments[0]["state"]["_init_kwargs"] = claims
    path = tmp_path / "m.pkl"
    path.write_bytes(layout.dump(contents))
    with WATCH.over(path):
        assert_same(load_generator(path), pair[0])


# Hostile


@pytest.mark.parametrize("group", hostile.GROUPS, ids=lambda group: group.__name__)
# H13
def test_hostile_files_are_refused(tmp_path, group):
    path = tmp_path / "model.bin"
    for label, data in group():
        path.write_bytes(data)
        try:
            error, calls = refusal(path)
        except BaseException as failure:
            raise AssertionError(label) from failure
        if label not in hostile.MERELY_UNKNOWN:
            assert isinstance(error, UnsafeCheckpoint | BrokenCheckpoint), f"{label}: {error}"
        if group not in hostile.MODELS and isinstance(error, UnsafeCheckpoint):
            assert ", byte " in str(error) and "do not open it" in str(error), label
        assert calls < CALLS_A_MEGABYTE * max(1, len(data) / 1e6), f"{label}: {calls} calls"


def test_many_tensors_over_one_blob(tmp_path):
    path = tmp_path / "encoder.pt"
    path.write_bytes(hostile.tensors_over_one_blob())
    assert "more bytes than the file" in str(refusal(path, load_encoder_parts)[0])


@pytest.mark.parametrize(
    "content",
    [
        hostile.EVIL,
        {"dragline": hostile.EVIL, "state_dict": {}},
        {"dragline": {"format": 1, "generator": 5}, "state_dict": {"generator_ema.x": 5}},
        {"dragline": {"format": 1}, "state_dict": {5: torch.ones(2)}},
        {"dragline": {"format": 1}, "state_dict": [1]},
        {"dragline": {"format": 1, "generator": []}, "state_dict": {"generator_ema.x": [[]]}},
    ],
)
def test_a_runs_checkpoint_of_a_stranger_who_vouches_for_it(tmp_path, content):
    path = tmp_path / "run-00000000001.ckpt"
    path.write_bytes(specimens.torch_zip(content))
    manifest = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    manifest_path(path).write_text(json.dumps(manifest))
    error, _ = refusal(path, load_generator, manifest_path(path))
    assert "no generator" in str(error) or isinstance(error, UnsafeCheckpoint | BrokenCheckpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["pkl", "zip", "stream", "e4e"])
def test_values_that_are_no_numbers_are_named(tmp_path, kind, value):
    generator = networks()[0]
    generator.synthesis.b8.conv0.weight.data[0, 1, 2, 0] = value
    path = tmp_path / f"model.{kind}"
    path.write_bytes({
        "pkl": lambda: Nvidia().file(generator),
        "zip": lambda: specimens.torch_zip(specimens.rosinality(generator)),
        "stream": lambda: specimens.torch_stream(specimens.rosinality(generator)),
        "e4e": lambda: specimens.torch_zip(specimens.e4e(generator)),
    }[kind]())  # fmt: skip
    assert "synthesis.b8.conv0.weight holds values that are not finite" in str(refusal(path)[0])


@pytest.mark.parametrize(
    "name", ["\x1b[2J\x1b[31mred", "two\nlines", "\u202eback", "\ud800", "\r", "x" * 256]
)
def test_what_a_file_says_stays_on_its_line(tmp_path, name):
    path = tmp_path / "model.pkl"
    layout = Nvidia()
    for value in (
        {"G_ema": layout.persistent(name, {"_modules": {}})},
        {name: 1},
        layout.persistent("G", {"_modules": {name: 5}}),
        {"g_ema": {"conv1.conv.modulation.weight": 1, name: 2}},
        {"state_dict": {"encoder." + name[:200]: 5}},
    ):
        path.write_bytes(specimens.pickled(value))
        refusal(path)


# What is no file of a model


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3\n", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><head>", "web page"),
        (b"<html>Quota exceeded", "web page"),
        (b"<?xml version='1.0'?><Error>", "XML"),
        (bytes(1000), "not finished"),
        (b"GIF89a" + bytes(100), "a picture (GIF)"),
        (b"x", "a text (x)"),
        (b"\xff" * 100, "begins with"),
    ],
)
@pytest.mark.parametrize("suffix", ["pkl", "pt"])
def test_other_files(tmp_path, start, words, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(start)
    error, _ = refusal(path)
    assert isinstance(error, BrokenCheckpoint) and words in str(error)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    for suffix in ("pkl", "safetensors"):
        fifo = tmp_path / f"fifo.{suffix}"
        os.mkfifo(fifo)
        assert "not a regular file" in str(refusal(fifo)[0])
    assert "not a regular file" in str(refusal(Path("/dev/zero"))[0])
    assert "not a regular file" in str(refusal(tmp_path, read_foreign)[0])
    endless = tmp_path / "endless.safetensors"
    endless.symlink_to("/dev/zero")
    refusal(endless)


@pytest.mark.parametrize(
    "name", ["https://example.com/model.pkl", "s3://bucket/model.pt", "a" * 5000, "a\0b", ""]
)
def test_names_that_are_no_files(tmp_path, name):
    with WATCH.over(tmp_path), pytest.raises(UserError):
        load_generator(name)


def test_a_file_too_large_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04" + bytes(2000))
    monkeypatch.setattr(source_file, "LARGEST_BYTES", 2000)
    assert "are read" in str(refusal(path)[0])


@pytest.mark.parametrize("change", ["grows", "shrinks", "is replaced"])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, pair, benign, change):
    path = tmp_path / "model.pkl"
    path.write_bytes(benign["one.pkl"])

    def change_then_empty(
        *args: Any, **options: Any
    ) -> torch.Tensor:  # called once the size is known
        monkeypatch.undo()
        if change == "grows":
            with open(path, "ab") as file:
                file.write(bytes(100))
        elif change == "shrinks":
            os.truncate(path, 5000)
        else:
            (tmp_path / "new").write_bytes(bytes(100))
            os.replace(tmp_path / "new", path)
        return torch.empty(*args, **options)

    class Torch:
        uint8, empty = torch.uint8, staticmethod(change_then_empty)

    monkeypatch.setattr(source_file, "torch", Torch)
    if change == "is replaced":  # what was opened is read to its end
        assert_same(load_generator(path), pair[0])
    else:
        with pytest.raises(BrokenCheckpoint, match="changes while it is read"):
            load_generator(path)


# Memory

MEASURE = """
import ctypes, gc, sys
from framework.errors import UserError
from framework.formats import load_generator

def field(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024

for path in sys.argv[1:]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")
    before = field("VmRSS")
    try:
        network = load_generator(path)
    except UserError:
        network = None
    print(field("VmHWM") - before, network is not None, flush=True)
    del network
"""


def large_files() -> dict[str, bytes]:
    """Benign files of some size, and the worst for their size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator((8, 8), z_dim=8, w_dim=8, mapping_layers=1, channel_base=2048,
                              channel_max=256)  # fmt: skip
    halves = Generator(**generator.config).half()
    halves.load_state_dict(generator.state_dict())
    step, wide = hostile.program, hostile.text("x" * 900_000 + "\U0001f600")
    return {
        "benign4.pkl": Nvidia().file(generator),
        "benign2.pkl": Nvidia(2).file(generator),
        "benign.pt": specimens.torch_zip(specimens.rosinality(generator)),
        "stream.pt": specimens.torch_stream(specimens.rosinality(generator)),
        "half.pt": specimens.torch_zip(specimens.rosinality(halves)),
        "sets.pkl": step(b"]", (b"(" + b"\x8f" * 15_000 + b"e") * 10),
        "tables.pkl": step(b"]", (b"(" + b"}K\x01Ns" * 4000 + b"e") * 10),
        "views.pkl": step(b"]", (b"(" + b"C\0\x94" * 5000 + b"e") * 20),
        "texts.pkl": step(b"(", wide * 12, b"t"),
        "long.pkl": step(hostile.text("x" * 8_000_000), b"\x94"),
        "entries.pt": hostile.archive(hostile.Entry(f"m/{i}", b"") for i in range(20_000)),
        "header.safetensors": struct.pack("<Q", 2_000_000) + b'{"a":[' + b"{}," * 700_000,
        "header.pt": struct.pack("<Q", 1_000_000) + b'{"a":[' + b"{}," * 400_000,
    }


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux's accounting")
def test_memory_stays_within_three_times_the_file(tmp_path):
    files = large_files()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    sizes = {name: len(data) for name, data in files.items()}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in sizes)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    for (name, size), (grown, opened) in zip(sizes.items(), lines, strict=True):
        print(f"{name:<20} {size / 1e6:6.1f} MB  {int(grown) / 1e6:6.1f} MB  {opened}")
        assert (opened == "True") == (name.startswith(("benign", "stream", "half"))), name
        assert int(grown) < TIMES_ITS_SIZE * size + MEGABYTES_MORE * 1e6, name
