"""Files cut off or with bits flipped: ours are always noticed, others never end in a traceback."""

import json
import pickle
import random
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import load_generator, save_model_folder
from framework.formats.foreign import build_foreign, read_source
from framework.formats.pickle_machine import Source
from framework.formats.run_checkpoint import FORMAT_VERSION, manifest_path, write_checkpoint
from tests.formats.specimens import Nvidia, e4e, networks, rosinality, torch_stream, torch_zip

FLIPS = CUTS = 200
BUILT_OF = 8  # of so many files one is made into a network, the others are only read


def flipped(data: bytes, at: int, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


def flips(data: bytes, rng: random.Random, count: int = FLIPS) -> Iterator[bytes]:
    """The data with one bit turned."""
    for _ in range(count):
        yield flipped(data, rng.randrange(len(data)), rng.randrange(8))


def cuts(data: bytes, rng: random.Random, count: int = CUTS) -> Iterator[bytes]:
    """The data without its end."""
    for _ in range(count):
        yield data[: rng.randrange(len(data))]


def scars(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """The data with a few bytes lost, doubled, zeroed or replaced."""
    for _ in range(count):
        first = rng.randrange(len(data))
        last = first + rng.randrange(1, 24)
        piece = data[first:last]
        other = rng.choice([b"", piece * 2, bytes(len(piece)), rng.randbytes(len(piece))])
        yield data[:first] + other + data[last:]


# Other programs' files


def nvidia(protocol: int) -> Callable[[], bytes]:
    return lambda: Nvidia(protocol).file(networks()[0])


def of_old_protocol() -> bytes:
    tensors = {name: tensor.numpy() for name, tensor in networks()[0].state_dict().items()}
    return pickle.dumps({"G_ema": tensors}, 0)


FOREIGN: dict[str, tuple[Callable[[], bytes], int]] = {
    **{f"protocol {p}": (nvidia(p), 400) for p in (2, 3, 4, 5)},
    "zip": (lambda: torch_zip(rosinality(*networks())), 500),
    "stream": (lambda: torch_stream(rosinality(*networks())), 500),
    "e4e": (lambda: torch_zip(e4e(networks()[0])), 500),
    "protocol 0": (of_old_protocol, 200),
}


def test_three_thousand():
    assert sum(count for _, count in FOREIGN.values()) >= 3000


@pytest.mark.parametrize("kind", FOREIGN)
def test_damage_ends_in_one_line_or_in_a_model(kind):
    make, count = FOREIGN[kind]
    data, rng = make(), random.Random(kind)
    variants = [*flips(data, rng, count // 2), *cuts(data, rng, count // 4)]
    variants += scars(data, rng, count - len(variants))
    original = dict(read(data, "generator"))
    loaded, slowest = 0, 0.0
    for number, damaged in enumerate(variants):
        before = time.thread_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                held = read(damaged, "generator", build=number % BUILT_OF == 0)
        except UserError as error:
            assert str(error).startswith("model") and str(error).isprintable(), str(error)
        else:
            loaded += 1
            if "zip" in kind or kind == "e4e":  # which have checksums
                assert held.keys() == original.keys()
                assert all(torch.equal(held[name], original[name]) for name in held)
        slowest = max(slowest, time.thread_time() - before)
    print(f"{kind}: {count} files of {len(data)} bytes, {loaded} loaded, {slowest:.3f} s at most")
    assert loaded < count / 2
    assert slowest < 1.5


def read(data: bytes, kind: str, build: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a network, or those of the network that is made of them."""
    contents = read_source(Source(memoryview(bytearray(data)), "model"))
    if kind not in contents.networks:
        raise UserError(f"model: no {kind}")
    if build:
        return build_foreign(contents, kind, "model", len(data)).state_dict()
    return contents.networks[kind].read("model", len(data))


@pytest.mark.parametrize("kind", ["zip", "e4e"])
def test_every_flip_in_a_zips_tensors_is_noticed(tmp_path, kind):
    data = FOREIGN[kind][0]()
    path = tmp_path / "model.zip"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        spans = [
            (info.header_offset + 30 + len(info.filename), info.file_size)
            for info in archive.infolist()
            if "/data/" in info.filename
        ]
    # The generator comes first in both files, then a discriminator or an encoder.
    spans = spans[: len(read(data, "generator")) // 2]
    rng = random.Random(kind)
    for _ in range(300):
        first, size = rng.choice(spans)
        damaged = flipped(data, first + rng.randrange(size), rng.randrange(8))
        with pytest.raises(BrokenCheckpoint, match="checksum"):
            read(damaged, "generator")


# Our own files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model_folder(
        tmp_path_factory.mktemp("damaged") / "model", *networks(), provenance={"data": "toys"}
    )


def assert_all_noticed(path: Path, rng: random.Random, load: Callable[[], object]) -> None:
    """Flip and cut the file `path`; `load` must refuse each, and take the whole one."""
    data = path.read_bytes()
    load()
    for damaged in (*flips(data, rng), *cuts(data, rng)):
        path.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            load()
        assert str(caught.value).isprintable()
    path.write_bytes(data)
    load()


def test_damaged_weights_in_a_folder(folder):
    rng = random.Random("weights")
    assert_all_noticed(folder / "generator.safetensors", rng, lambda: load_generator(folder))


def test_a_damaged_description(folder):
    rng = random.Random("description")
    path = folder / "config.json"
    whole = path.read_text()
    path.write_text(whole.rstrip())  # so that a cut by one byte cuts something
    assert_all_noticed(path, rng, lambda: load_generator(folder))
    path.write_text(whole)


def test_a_description_may_be_laid_out_anew(folder):
    path = folder / "config.json"
    whole = path.read_text()
    held = json.loads(whole)
    path.write_text(json.dumps(dict(reversed(held.items()))))
    assert load_generator(folder).provenance == {"data": "toys"}
    path.write_text(json.dumps(held | {"provenance": {"data": "cars"}}))
    with pytest.raises(BrokenCheckpoint, match=r'then remove "config\.json"'):
        load_generator(folder)
    del held["sha256"]["config.json"]
    path.write_text(json.dumps(held | {"provenance": {"data": "cars"}}))
    assert load_generator(folder).provenance == {"data": "cars"}
    path.write_text(whole)


def test_a_damaged_lone_file(folder, tmp_path):
    path = tmp_path / "lone.safetensors"
    path.write_bytes((folder / "generator.safetensors").read_bytes())
    assert_all_noticed(path, random.Random("lone"), lambda: load_generator(path))


def test_every_flip_in_a_lone_files_header_is_noticed(folder, tmp_path):
    data = (folder / "generator.safetensors").read_bytes()
    path = tmp_path / "lone.safetensors"
    end = 8 + int.from_bytes(data[:8], "little")
    start = data.index(b"__metadata__")
    stop = data.index(b'"}', start)  # the end of the metadata, which stands first
    assert stop < end
    for at in range(start, stop):
        path.write_bytes(flipped(data, at, at % 7))
        with pytest.raises(UserError):
            load_generator(path)


def test_a_damaged_run_checkpoint(tmp_path):
    generator = networks()[0]
    state = {f"generator_ema.{name}": t for name, t in generator.state_dict().items()}
    facts = {"format": FORMAT_VERSION, "seen_images": 7, "generator": generator.config}
    path = tmp_path / "run.ckpt"
    write_checkpoint({"state_dict": state, "dragline": facts}, path)
    rng = random.Random("run")
    assert_all_noticed(path, rng, lambda: load_generator(path))
    manifest = manifest_path(path)
    manifest.write_text(manifest.read_text().rstrip())
    assert_all_noticed(manifest, rng, lambda: load_generator(path))


@pytest.mark.parametrize("name", ["toycars64", "vehicles64"])
def test_folders_of_before_there_were_such_digests_open(name):
    generator = load_generator(name)
    assert generator.provenance
    file = Path(__file__).parents[2] / "framework" / "zoo" / name / "generator.safetensors"
    assert load_generator(file).digest == generator.digest
