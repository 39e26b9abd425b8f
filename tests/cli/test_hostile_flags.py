"""Every flag of every command with values that nobody means: one line and 2, or it works.

The flags are those of the parsers, so that a new one cannot be forgotten; what stands here is one
command line for each command that works, and one list of values for each kind of flag.
"""

import inspect
import io
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest

import framework.cli.edit as edit
import framework.data.__main__ as data
from framework.command_line import flag_of, shown
from framework.files import new_folder
from framework.formats.decoder_folder import DECODERS
from framework.formats.translator_folder import save_translator
from framework.jobs.report import ReportOutcome
from framework.jobs.requests.pictures import MAX_SEED
from framework.models.style.network import StyleDecoder
from framework.models.translation.condition import Condition
from framework.models.translation.unet import UNet
from tests.cli.conftest import save_small_model
from tests.cli.describable import add_text_encoder

TEXTS = [
    "", " ", "a\0b", "a\nb", "\udcff\udc00", "\udcff", "x" * 5000, "x" * 300, "{dir}", "{file}",
    "{file}/x", "/dev/null", "/dev/null/x", "{loop}", "{loop}/x", "{dangling}", "{binary}",
    "{empty}", "{pipe}", ".foo.Bar", "nan", "-1", "--", "[", "{{}}", "~", "1" + "0" * 30, "1e400",
    "٣", "%s%n", "null",
]  # fmt: skip
NUMBERS = [
    "", "nan", "inf", "-inf", "1e40", "-1e40", "1e400", "-1", "0", "-0.0", "1e-320", "0x10", "1_0",
    "1" + "0" * 30, "1" + "0" * 5000, "9" * 19, str(MAX_SEED + 1), "٣", "true", "null", "[1]",
    "2147483648", "a\nb",
]  # fmt: skip
QUICK = 2  # values of each flag where not all are asked for
WORDS = ["", "bogus", "null", "a\nb", "x" * 5000, "[]", "0"]
SWITCH = ["=", "=bogus", "=1e40"]


@cache
def commands() -> dict[str, tuple[Callable[..., int], dict[str, inspect.Parameter]]]:
    """Every command: its main, its parameters."""
    table: dict[str, Any] = {
        f"edit {name}": (edit.main, edit.options(command))
        for name, command in edit.COMMANDS.items()
    }
    return table | {
        f"data {name}": (data.main, data._parameters(function))
        for name, (function, *_) in data._COMMANDS.items()
    }


def values(parameter: inspect.Parameter) -> list[str]:
    annotation = shown(parameter)[0]
    kind = str(annotation)
    if annotation is bool:
        return SWITCH
    if "Literal" in kind:
        return WORDS
    if "int" in kind or "float" in kind:
        return NUMBERS
    return TEXTS


def flags() -> list[tuple[str, str]]:
    return [(command, name) for command, (_, parameters) in commands().items()
            for name in parameters]  # fmt: skip


# What works, by command; flags that exclude each other get a line each.
GOOD = {
    "edit drag": [
        "--model {model} --seed 3 --points 5,8:7,8 {few} --out {out}",
        "--image {inv} --points 5,8:7,8 {few} --out {out}",
        "--edit {edit} {few} --out {out}",
        "--model {model} --tasks {tasks} {few} --out {out}",
    ],
    "edit invert": ["{photo} --model {model} --stages refine {once} --out {out}"],
    "edit invert-report": [
        "--data {photos} --model {model} --held-out 0 --count 1 --stages refine {once}"
        " --no-editability --out {out}"
    ],
    "edit latents": ["{inv} --to npy --out {out}.npy"],
    "edit generate": [
        "--model {model} --seeds 1 --out {out}",
        "--model {model} --seeds 1 --direction pca0=1 --directions {directions} --out {out}",
    ],
    "edit layers": ["--model {model} --pairs 1 --out {out}"],
    "edit directions": [
        "--model {model} {little} --out {out}",
        "--model {model} {little} --attributes {marks} --out {out}",
    ],
    "edit edit": [
        "--model {model} --seed 3 --direction pca0=1 --directions {directions} --out {out}",
        "--image {inv} --style-seed 1 --layers pose --variants 1 --out {out}",
    ],
    "edit text": [
        "red --model {model} --n 1 --looks 1 --out {out}",
        "red --image {inv} --looks 1 --out {out}",
    ],
    "edit video": [
        "--model {model} --seeds 1,2 --frames 1 --out {out}.gif",
        "--edit {edit} --out {out}.gif",
    ],
    "edit fill": ["{photo} --mask {mask} --out {out}"],
    "edit texture": ["{photo} --size 20x16 --out {out}"],
    "edit transfer": [
        "{photo} --texture {photo} --out {out}",
        "{photo} --texture {photo} --before {photo} --out {out}",
    ],
    "edit from-sketch": ["{photo} --model {sketch} --n 1 --out {out}"],
    "edit from-label": ["{mask} --model {labels} --n 1 --out {out}"],
    "edit style": [
        "{photo} --style {photo} --steps 1 --work 32 --out {out}",
        "{photo} --style {photo} --method adain --decoder {decoder} --work 32 --out {out}",
    ],
    "edit import": ["{lone} --out {out}"],
    "edit export": ["{model} --to rosinality --out {out}.pt"],
    # The judge takes pictures of toy cars alone: this model is refused, in one line.
    "edit bench": ["drag --model {model} --n 1 --methods draggan --out {out}"],
    "edit demo": ["--out {out}"],
    "edit doctor": ["--model {model}"],
    "edit studio": ["--model {model} --port 0"],
    "data inspect": ["{photos}"],
    "data prepare": ["{photos} --out {out}.zip --size 16"],
    "data shard": ["{photos} --out {out} --size 16"],
    "data index": ["{shards} --out {shards}/new.json"],
    "data captions": ["{photos} --out {out} --noun car"],
}


ONCE = "--refine-steps 1 --tune-steps 1"
FEW = "--steps 1 --no-video --preset draggan"
LITTLE = "--methods pca --count 1 --samples 20 --seeds 1"


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """A model, files made with it, and what is no file that anybody wants."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("hostile")
    here = {name: root / name for name in ("dir", "file", "loop", "dangling", "binary", "empty")}
    here["dir"].mkdir()
    (here["dir"] / "x.txt").write_text("x")
    here["file"].write_text("text")
    here["binary"].write_bytes(bytes(range(256)) * 8)
    here["empty"].write_bytes(b"")
    here["loop"].symlink_to(here["loop"])
    here["dangling"].symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe")
    (root / "photos").mkdir()
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(noise).save(root / "photos" / f"{i}.png")
    mask = Image.new("L", (40, 30))
    mask.paste(255, (8, 8, 14, 16))
    mask.save(root / "mask.png")
    model = add_text_encoder(save_small_model(root / "small", encoder=True))
    photo = root / "photos" / "0.png"
    (root / "tasks.jsonl").write_text('{"seed": 3, "points": "5,8:7,8"}\n')
    refine = ["--stages", "refine", "--refine-steps", "1", "--out", str(root / "i")]
    seed = ["--seed", "3", "--points", "5,8:7,8", *FEW.split(), "--out", str(root / "d")]
    assert edit.main(["invert", str(photo), "--model", str(model), *refine]) == 0
    assert edit.main(["drag", "--model", str(model), *seed]) == 0
    (root / "marks.csv").write_text("seed,a\n" + "\n".join(f"{i},{i % 7}" for i in range(25)))
    found = ["--model", str(model), *LITTLE.split(), "--out", str(root / "found")]
    assert edit.main(["directions", *found]) == 0
    for condition in (Condition("sketch"), Condition("labels", 1, 256)):
        unet = UNet(condition.channels, 3, 4, 3)
        save_translator(root / condition.kind, "pix2pix", {"picture": unet}, condition, (16, 16))
    DECODERS.save(root / "decoder", StyleDecoder(8))
    shards = ["shard", str(root / "photos"), "--size", "16", "--out", str(root / "shards")]
    assert data.main(shards) == 0
    return {
        **here, "pipe": root / "pipe", "photos": root / "photos", "model": model, "photo": photo,
        "inv": root / "i" / "0.inv.safetensors", "edit": root / "d" / "edit.safetensors",
        "tasks": root / "tasks.jsonl", "lone": model / "generator.safetensors",
        "shards": root / "shards", "mask": root / "mask.png", "marks": root / "marks.csv",
        "decoder": root / "decoder",
        "directions": root / "found" / "directions.safetensors",
        "sketch": root / "sketch", "labels": root / "labels",
    }  # fmt: skip


@pytest.fixture
def quick_commands(monkeypatch, places):
    """Parsers that are built once, a demo that shows nothing and a studio that only listens."""
    for front in (edit, data):
        monkeypatch.setattr(front, "build_parser", cache(front.build_parser))
    monkeypatch.setattr("framework.formats.opening.zoo_models", lambda: ["toycars64"])

    def shows_nothing(request, watcher):
        new_folder(request.out)
        return SimpleNamespace(stop=None)

    monkeypatch.setattr("framework.jobs.demo.drag", shows_nothing)
    monkeypatch.setattr("framework.studio.server.Server.run", lambda it: it.listener.close())


@pytest.fixture
def no_report(monkeypatch):
    """A report of which only the flags are read."""
    nothing = ReportOutcome(Path("report"), [], 0, 0, {})
    monkeypatch.setattr("framework.jobs.report._run", lambda *_: nothing)
    monkeypatch.setattr("framework.jobs.stages.Inverter.prepare", lambda _: None)


def command_line(line: str, places: dict[str, Path], out: Path) -> list[str]:
    """Words of a line; a place keeps its blanks."""
    words = line.replace("{few}", FEW).replace("{once}", ONCE).replace("{little}", LITTLE).split()
    return [word.format(**places, out=out) for word in words]


def with_value(words: list[str], parameter: inspect.Parameter, flag: str, value: str) -> list[str]:
    """A command line that works, with another value of one flag."""
    kind, look = shown(parameter)
    if look.in_place:
        return [value, *words[1:]]
    if kind is bool:
        return [*words, flag + value]
    if flag in words:
        place = words.index(flag)
        words = [*words[:place], *words[place + 2 :]]
    return [*words, f"{flag}={value}"]


def ends_well(run: Callable[[], int], monkeypatch) -> str:
    """Run a command; returns what is wrong about its end, "" if nothing is."""
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        code = run()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    stream.flush()
    told = stream.buffer.getvalue().decode().splitlines()
    told = [line for line in told if not line.startswith("note: ")]
    if code == 0 or (code == 2 and len(told) == 1 and told[0].startswith("error: ")):
        return ""
    return f"code {code}, told {told}"


def check(command: str, name: str, chosen, places, tmp_path: Path, monkeypatch) -> None:
    main, parameters = commands()[command]
    flag = flag_of(parameters[name])
    lines = GOOD[command]
    monkeypatch.chdir(tmp_path)
    for number, value in chosen:
        line = command_line(lines[number % len(lines)], places, tmp_path / "out")
        value = value.format(**places) if "{" in value else value
        words = [command.split()[1], *with_value(line, parameters[name], flag, value)]
        assert not (wrong := ends_well(lambda: main(words), monkeypatch)), (words, wrong)  # noqa: B023
        for left in tmp_path.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        (places["shards"] / "new.json").unlink(missing_ok=True)


def test_every_command_has_a_line_that_works():
    assert set(GOOD) == set(commands())


# B7f
@pytest.mark.parametrize(("command", "name"), flags())
def test_any_value_of_any_flag_is_done_or_refused_in_a_line(
    command, name, places, tmp_path, monkeypatch, quick_commands, no_report
):
    all_of_them = list(enumerate(values(commands()[command][1][name])))
    first = crc32(f"{command} {name}".encode())
    chosen = [all_of_them[(first + 7 * i) % len(all_of_them)] for i in range(QUICK)]
    check(command, name, chosen, places, tmp_path, monkeypatch)


# B7f
@pytest.mark.slow
@pytest.mark.parametrize(("command", "name"), flags())
def test_every_value_of_every_flag_is_done_or_refused_in_a_line(
    command, name, places, tmp_path, monkeypatch, quick_commands
):
    all_of_them = list(enumerate(values(commands()[command][1][name])))
    check(command, name, all_of_them, places, tmp_path, monkeypatch)
