"""Training from tar shards: an order that is found again, shares that do not meet."""

import itertools
import json
import os
import shutil
import signal
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

import framework.training.data as data_module
from framework.cli.train_metrics import Metrics
from framework.data.shard_writer import shard
from framework.data.shards import ShardDataset, open_shards
from framework.errors import UserError
from framework.evaluation.generator.measure import MetricSettings
from framework.formats.run_checkpoint import checkpoint_path, latest_whole, read_checkpoint
from framework.training.batch import Batch
from framework.training.data import TrainingImages
from framework.training.stream import ShardStream, through_buffer
from tests.training import processes
from tests.training.processes import finish, run, start, wait_for
from tests.training.test_training_processes import environment, free_port
from tests.training.test_training_resume import differing, state
from tests.training.tiny import tiny_data, tiny_module, train

COUNT = 50


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty toy cars in ten shards or so."""
    folder = tmp_path_factory.mktemp("shards") / "cars"
    shard(f"toycars:{COUNT}", folder, size=16, shard_mb=0.006)
    return folder


@pytest.fixture(scope="module")
def dataset(shards: Path) -> ShardDataset:
    return open_shards(f"shards:{shards}")


def seen(batches: list[Batch]) -> list[bytes]:
    """What tells the pictures of some batches apart."""
    return [image.numpy().tobytes() for batch in batches for image in batch.images]


def taken(stream, count: int) -> list[Batch]:
    return list(itertools.islice(stream, count))


# ------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize(("count", "size"), [(100, 8), (100, 1), (8, 8), (5, 8), (3000, 64)])
def test_a_buffer_gives_what_a_buffer_would(count, size):
    rng, naive = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    order = through_buffer(count, size, rng).tolist()
    held = min(size, count)
    buffer, left = list(range(held)), []
    places = torch.randint(held, (count - held,), generator=naive).tolist()
    for number, place in enumerate(places, held):
        left.append(buffer[place])
        buffer[place] = number
    left += [buffer[place] for place in torch.randperm(held, generator=naive).tolist()]
    assert order == left and sorted(order) == list(range(count))
    assert all(number < position + size for position, number in enumerate(order))


def test_an_epoch_is_every_picture_once_and_the_next_one_another_order(dataset):
    assert len(dataset.counts) >= 8
    order = seen(taken(ShardStream(dataset, 5, 0, buffer=8), 30))
    epochs = [order[i : i + COUNT] for i in range(0, 150, COUNT)]
    assert all(len(set(epoch)) == COUNT for epoch in epochs)
    assert set(epochs[0]) == set(epochs[1]) and len({tuple(epoch) for epoch in epochs}) == 3
    assert seen(taken(ShardStream(dataset, 5, 1, buffer=8), 10)) != epochs[0]


@pytest.mark.parametrize("buffer", [1, 8, 1000])
def test_a_stream_begun_later_goes_on_as_the_first_would_have(buffer, dataset):
    whole = taken(ShardStream(dataset, 4, 0, buffer=buffer), 40)
    for begun in (1, 7, 12, 13, 24, 25, 26):  # epochs end after 12.5 and 25 batches
        later = taken(ShardStream(dataset, 4, 0, 4 * begun, buffer), 8)
        assert seen(later) == seen(whole[begun : begun + 8])
        assert [batch.first for batch in later] == [4 * i for i in range(begun, begun + 8)]


def test_shards_that_are_over_are_not_opened_again(dataset, monkeypatch):
    opened = []
    original = ShardDataset.stream
    monkeypatch.setattr(
        ShardDataset, "stream", lambda self, n: opened.append(n) or original(self, n)
    )
    late = COUNT - 4
    stream = ShardStream(dataset, 2, 0, start=late, buffer=2)
    taken(stream, 2)
    assert 0 < len(opened) <= 3 and opened == stream.shards_of(0, 0)[-len(opened) :]


def test_nothing_is_decoded_on_the_way(dataset, monkeypatch):
    decoded = []
    original = ShardDataset.picture
    monkeypatch.setattr(
        ShardDataset, "picture", lambda self, s: decoded.append(s) or original(self, s)
    )
    taken(ShardStream(dataset, 2, 0, start=20, buffer=8), 3)
    assert len(decoded) == 6


def test_the_last_shard_of_an_epoch_is_compared_with_its_digest_too(tmp_path):
    shard("toycars:8", tmp_path / "cars", size=16)
    tar = tmp_path / "cars" / "000000.tar"
    tar.write_bytes(tar.read_bytes()[:-512] + b"\1" * 512)  # behind the last picture
    stream = iter(ShardStream(open_shards(f"shards:{tmp_path / 'cars'}"), 4, 0))
    taken(stream, 2)
    with pytest.raises(UserError, match="changed since it was indexed"):
        next(stream)


def test_readers_have_shards_of_their_own_and_miss_none(dataset):
    shards = len(dataset.counts)
    for epoch in range(4):
        dealt = [
            ShardStream(dataset, 4, 0, readers=2, processes=2).shards_of(reader, epoch)
            for reader in range(4)
        ]
        assert sorted(itertools.chain(*dealt)) == list(range(shards))
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


# ----------------------------------------------------------------------------------------- workers


def loader(shards: Path, start: int = 0, **options):
    data = TrainingImages(f"shards:{shards}", size=None, batch_size=4, **options)
    data.setup("fit")
    module = type("Module", (), {"seen_images": start})
    data.trainer = type("Trainer", (), {
        "lightning_module": module, "strategy": type("S", (), {"root_device": torch.device("cpu")}),
    })  # fmt: skip
    return iter(data.train_dataloader())


def test_workers_keep_the_order_and_find_it_again(shards):
    settings = {"workers": 2, "shuffle_buffer": 8}
    whole = taken(loader(shards, **settings), 24)
    assert [batch.first for batch in whole] == list(range(0, 96, 4))
    assert seen(whole) == seen(taken(loader(shards, **settings), 24))
    for begun in (5, 14):
        later = taken(loader(shards, 4 * begun, **settings), 8)
        assert seen(later) == seen(whole[begun : begun + 8])


def test_one_worker_is_none_with_a_process_of_its_own(shards):
    none, one = (seen(taken(loader(shards, workers=n), 12)) for n in (0, 1))
    assert none == one


def test_two_workers_show_every_picture_as_often_as_one(shards):
    order = seen(taken(loader(shards, workers=2), 100))
    often = np.unique(order, return_counts=True)[1]
    assert len(often) == COUNT and often.sum() == 400
    assert often.min() >= 6 and often.max() <= 10  # 8 each


def test_workers_for_what_is_in_memory_change_nothing():
    held = []
    for workers in (None, 2):
        data = tiny_data(workers=workers)
        data.setup("fit")
        held.append(taken(iter(data.train_dataloader()), 9))
    assert seen(held[0]) == seen(held[1])
    assert [b.first for b in held[0]] == [b.first for b in held[1]]


def test_labels_and_the_first_pictures(tmp_path, shards, dataset):
    data = tiny_data(batch_size=8, source=f"shards:{shards}")
    data.setup("fit")
    assert len(data.images) == COUNT and data.label_table.shape == (COUNT, 0)
    assert all((data.images[i].numpy() == dataset.image(i)).all() for i in range(COUNT))


# ------------------------------------------------------------------------------------------- runs


def fit(run_dir: Path, shards: Path, *extra: str) -> list[str]:
    source = ("--data.source", f"shards:{shards}", "--data.workers", "2")
    return processes.fit(run_dir, *source, "--data.shuffle_buffer", "8", *extra)


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory) -> Path:
    """Eighteen batches without a stop."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    args = fit(run_dir, shards, "--run.kimg", "0.072")
    assert finish(start(args, run_dir.with_suffix(".log"))) == 0
    return run_dir


def test_a_run_that_was_killed_goes_on_bit_for_bit(whole, shards, tmp_path):
    killed, log = tmp_path / "killed", tmp_path / "log"
    marks = ("--run.checkpoint_kimg", "0.004", "--run.keep_checkpoints", "99")
    process = start(fit(killed, shards, "--run.kimg", "1000", *marks), log)
    wait_for(lambda: latest_whole(killed), process)
    process.kill()
    assert finish(process) == -signal.SIGKILL
    last = latest_whole(killed)
    assert last is not None
    for path in (killed / "checkpoints").glob("run-*"):  # however far it came: go on from 12
        if int(path.stem.split("-")[1]) > 12:
            path.unlink()
    assert finish(start(fit(killed, shards, "--run.kimg", "0.072"), log)) == 0
    assert differing(state(killed, 72), state(whole, 72)) == []
    assert "note" not in log.read_text()


def test_a_run_leaves_what_any_run_leaves(whole, shards):
    made = {path.name for path in whole.iterdir()}
    assert {"reals.png", "fakes_init.png", "network-000000-072"} <= made
    card = json.loads((whole / "network-000000-072" / "config.json").read_text())
    assert f"shards:{shards}" in json.dumps(card)


def test_another_order_is_said(whole, shards, tmp_path):
    run_dir, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(whole, run_dir)
    held = read_checkpoint(checkpoint_path(run_dir, 72))["TrainingImages"]
    assert held == {"processes": 1, "workers": 2, "shuffle_buffer": 8}
    args = fit(run_dir, shards, "--run.kimg", "0.08")
    assert finish(start([*args, "--data.workers", "1"], log)) == 0
    assert "note: workers 2, now 1: the pictures come in another order" in log.read_text()


def test_another_number_of_processes_is_said_too(shards, monkeypatch, capsys):
    data = tiny_data(source=f"shards:{shards}")
    before = data.state_dict()
    monkeypatch.setattr(data_module, "world_size", lambda: 2)
    data.load_state_dict(before)
    assert capsys.readouterr().err.startswith("note: processes 1, now 2: the pictures come in")
    data.load_state_dict(data.state_dict())
    assert not capsys.readouterr().err


def test_a_broken_shard_in_a_worker_is_one_line_too(tmp_path):
    folder, log = tmp_path / "cars", tmp_path / "log"
    shard("toycars:40", folder, size=16, shard_mb=0.006)
    for tar in sorted(folder.glob("*.tar"))[2:]:  # the first ones make the grid of real pictures
        tar.write_bytes(tar.read_bytes()[:-512] + b"\1" * 512)
    args = processes.fit(tmp_path / "run", "--data.source", f"shards:{folder}")
    assert finish(start([*args, "--run.kimg", "0.1", "--run.snapshot_kimg", "9"], log)) == 2
    said = log.read_text()
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if "changed since it was indexed" in line]


class Note(lightning.Callback):
    """Keeps what each process saw."""

    def __init__(self, out: str) -> None:
        self.out, self.batches = out, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches.append(batch)

    def on_train_end(self, trainer, pl_module) -> None:
        kept = [(batch.first, batch.images) for batch in self.batches]
        torch.save(kept, f"{self.out}-{trainer.global_rank}.pt")


def train_on_shards(out: str, source: str, env: dict[str, str]) -> None:
    os.environ.update(env)
    torch.set_num_threads(1)
    data = tiny_data(batch_size=8, source=source, shuffle_buffer=8, workers=1)
    module = tiny_module(micro_batch=4)
    train(module, 40, data, callbacks=(Note(out),), strategy="ddp", devices=2)


def test_two_processes_see_shares_that_do_not_meet(shards, tmp_path):
    port, out = free_port(), str(tmp_path / "seen")
    pair = [
        run(train_on_shards, out, f"shards:{shards}", environment(rank, port)) for rank in range(2)
    ]
    assert [finish(process) for process in pair] == [0, 0]
    first, second = (torch.load(f"{out}-{rank}.pt", weights_only=True) for rank in range(2))
    assert [number for number, _ in first] == [0, 8, 16, 24, 32]
    assert [number for number, _ in second] == [4, 12, 20, 28, 36]
    shown = [{i.numpy().tobytes() for _, b in part for i in b} for part in (first, second)]
    assert [len(part) for part in shown] == [20, 20]  # within an epoch none comes twice
    assert not shown[0] & shown[1]


def test_fewer_shards_than_processes_is_one_line(shards, dataset):
    data = tiny_data(batch_size=64, source=f"shards:{shards}")
    assert data.readers(2) == 2 and data.readers(8) == 1
    with pytest.raises(UserError, match=r"shards are too few for 64 processes") as caught:
        data.share(64)
    assert "\n" not in str(caught.value)


def test_a_cache_is_not_for_shards(shards):
    with pytest.raises(UserError, match=r"^data\.cache"):
        tiny_data(source=f"shards:{shards}", cache="somewhere")


def test_measuring_on_urls_is_refused_before_the_training(shards, dataset, monkeypatch):
    metrics = Metrics("unused", 1, 1, MetricSettings(features="features64", ppl=0), lambda: False)
    metrics.prepare(dataset)
    monkeypatch.setattr(ShardDataset, "location", lambda *_: "https://host/000000.tar")
    with pytest.raises(UserError, match="from local shards only"):
        metrics.prepare(open_shards(f"shards:{shards}"))
