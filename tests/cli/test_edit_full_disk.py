"""What a disk refuses is told in a line with the path, and nothing half is left."""

import errno
import os
import resource
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

import framework.files as files
from framework.cli.edit import main
from framework.data.__main__ import main as data_main
from tests.cli.conftest import save_small_model

FEW = "--points 5,8:6,8 --steps 1 --preset draggan"
# Commands, and a name that a file has which they write.
COMMANDS = {
    "drag": (f"drag --model {{model}} --seed 3 {FEW} --out {{out}}", ".safetensors"),
    "drag, numbers": (f"drag --model {{model}} --seed 3 {FEW} --no-video --out {{out}}", ".jsonl"),
    "drag, clip": (f"drag --model {{model}} --seed 3 {FEW} --out {{out}}", ".mp4"),
    "drag, gif": (f"drag --model {{model}} --seed 3 {FEW} --no-video --gif --out {{out}}", ".gif"),
    "drag, tasks": ("drag --model {model} --tasks {tasks} --steps 1 --preset draggan --no-video"
                    " --out {out}", ".png"),
    "drag, photograph": (f"drag --image {{photo}} --model {{model}} --stages embed {FEW} --no-video"
                         " --out {out}", ".png"),
    "invert": ("invert {photo} --model {model} --stages refine --refine-steps 1 --out {out}",
               ".safetensors"),
    "invert, copy": ("invert {photo} --model {model} --stages refine --refine-steps 1 --out {out}",
                     "original.png"),
    "generate": ("generate --model {model} --seeds 1-3 --out {out}", ".png"),
    "video": ("video --model {model} --seeds 1,2 --frames 2 --out {out}/walk.mp4", ".mp4"),
    "video, gif": ("video --model {model} --seeds 1,2 --frames 2 --out {out}/walk.gif", ".gif"),
    "export": ("export {model} --to nvidia --out {out}/stylegan2.pkl", ".pkl"),
    "import": ("import {model}/generator.safetensors --out {out}", ".safetensors"),
    "latents": ("latents {edit} --to npy --out {out}/a.npy", ".npy"),
    "latents, torch": ("latents {edit} --to draggan --out {out}/a.pt", ".pt"),
    "prepare": ("prepare {photos} --size 16 --out {out}/a.zip", ".zip"),
    "shard": ("shard {photos} --size 16 --out {out}", ".tar"),
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("full")
    model = save_small_model(root / "small", encoder=True)
    (root / "photos").mkdir()
    for i in range(3):
        Image.effect_noise((30, 30), 90 + i).convert("RGB").save(root / "photos" / f"{i}.png")
    (root / "tasks.jsonl").write_text('{"seed": 3, "points": "5,8:6,8"}\n')
    edit = ["drag", "--model", str(model), "--seed", "3", *FEW.split(), "--no-video"]
    assert main([*edit, "--out", str(root / "d")]) == 0
    return {"model": model, "photos": root / "photos", "photo": root / "photos" / "0.png",
            "tasks": root / "tasks.jsonl", "edit": root / "d" / "edit.safetensors"}  # fmt: skip


def words(command: str, places: dict[str, Path], out: Path) -> list[str]:
    return [word.format(**places, out=out) for word in COMMANDS[command][0].split()]


def run(command: list[str]) -> int:
    return (data_main if command[0] in ("prepare", "shard") else main)(command)


def half_files(folder: Path) -> list[str]:
    """Files in a folder that are not what their names say, and what was only meant to be moved."""
    half = []
    for path in folder.rglob("*"):
        try:
            if path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".safetensors":
                with safe_open(path, "pt") as file:
                    [file.get_tensor(name) for name in file.keys()]
            elif path.is_file() and (path.suffix != ".jsonl" or ".part" in path.name):
                half.append(path.name)
        except Exception:
            half.append(path.name)
    return half


# A8f B6f
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_ends_every_command_in_a_line_and_leaves_nothing_half(
    command, places, tmp_path, monkeypatch, request, capsys
):
    refused, said_of = [COMMANDS[command][1]], []
    request.addfinalizer(refused.clear)  # modules that are imported meanwhile keep what is broken
    whole, append = files.whole_file, files.naming

    def refuses(path) -> bool:
        if not refused or not str(path).endswith(refused[0]):
            return False
        said_of.append(path)
        return True

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @files.contextmanager
    def whole_file(path):
        with whole(path) as temporary:
            if refuses(path):
                temporary.write_bytes(b"half")
                full()
            yield temporary

    @files.contextmanager
    def naming(path):
        with append(path):
            if refuses(path):
                full()
            yield

    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("framework."):
            for name, function, broken in (
                ("whole_file", whole, whole_file), ("naming", append, naming),
            ):  # fmt: skip
                if getattr(module, name, None) is function:
                    monkeypatch.setattr(module, name, broken)
    assert run(words(command, places, tmp_path / "out")) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(told) == 1 and said_of and Path(said_of[0]).name in told[0], told
    assert "No space left on device" in told[0]
    assert not half_files(tmp_path)


@pytest.fixture
def small_files():
    """No file of this process may have more than 200 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# A8f B6f
@pytest.mark.parametrize("command", ["drag, clip", "video", "generate", "export", "prepare"])
def test_a_limit_of_the_size_of_files_is_a_line_with_the_bytes(
    command, places, tmp_path, small_files, capsys
):
    assert run(words(command, places, tmp_path / "out")) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1, told
    assert "File too large" in told and "files may have 200 here" in told
    assert not half_files(tmp_path)
