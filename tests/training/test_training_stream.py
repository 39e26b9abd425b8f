"""Which pictures a batch holds: of the seed and the position, never of the processes."""

import itertools

import pytest
import torch

import framework.training.data as data_module
from framework.errors import UserError
from framework.training.data import ImageStream, TrainingImages
from tests.training.tiny import tiny_data


def stream(count: int = 10, batch_size: int = 4, seed: int = 0, start: int = 0) -> ImageStream:
    """Pictures that hold their own number."""
    images = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1)
    labels = torch.arange(count, dtype=torch.float32)[:, None]
    return ImageStream(images, labels, batch_size, seed, start)


def shown(stream: ImageStream, batches: int) -> list[int]:
    return [
        n for batch in itertools.islice(stream, batches) for n in batch.images.flatten().tolist()
    ]


def test_every_picture_once_an_epoch_and_each_epoch_in_its_own_order():
    order = shown(stream(), 10)
    epochs = [order[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert shown(stream(seed=1), 10) != order


@pytest.mark.parametrize("start", [4, 8, 12, 36])
def test_a_stream_begun_later_goes_on_as_the_first_would_have(start):
    assert shown(stream(start=start), 5) == shown(stream(), 14)[start : start + 20]


def test_labels_stay_with_their_pictures():
    for batch in itertools.islice(stream(), 5):
        assert batch.labels[:, 0].tolist() == batch.images.flatten().tolist()


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batch_that_one_would_have(processes, monkeypatch):
    whole = list(itertools.islice(stream(start=8), 6))
    monkeypatch.setattr(data_module, "world_size", lambda: processes)
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(data_module, "rank", lambda rank=rank: rank)
        shares.append(list(itertools.islice(stream(start=8), 6)))
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
        firsts = [batch.first + rank * 4 // processes for rank in range(processes)]
        assert [part.first for part in parts] == firsts


def test_a_batch_larger_than_the_data_goes_round():
    assert sorted(shown(stream(count=3, batch_size=7), 3)) == sorted([0, 1, 2] * 7)


def test_a_batch_that_processes_cannot_share_is_refused():
    assert tiny_data(6).share(3) == 2
    with pytest.raises(UserError, match=r"data.batch_size 6.* 4 processes"):
        tiny_data(6).share(4)


def test_a_mapped_file_gives_the_same_batches(tmp_path):
    held = []
    for cache in (None, str(tmp_path)):
        data = TrainingImages("toycars:24", size=16, batch_size=4, cache=cache)
        data.prepare_data()
        data.setup("fit")
        stream = iter(data.train_dataloader())
        held.append([next(stream).images for _ in range(8)])
    assert all(torch.equal(a, b) for a, b in zip(*held, strict=True))
    assert len(list(tmp_path.iterdir())) == 1
