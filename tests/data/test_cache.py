"""Decoded pictures in a mapped file: the same pixels, written once, never a part of them."""

import numpy as np
import pytest

from framework.data import cache, decoded, mapped, open_dataset
from framework.errors import UserError


@pytest.fixture
def cars():
    return open_dataset("toycars:12", size=16)


def test_the_same_pixels(cars, tmp_path):
    pixels = mapped(cars, tmp_path / "cache")
    assert isinstance(pixels, np.memmap) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, decoded(cars))


def test_the_second_time_nothing_is_decoded(cars, tmp_path, monkeypatch):
    first = np.array(mapped(cars, tmp_path))
    monkeypatch.setattr(cache, "pictures", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(mapped(cars, tmp_path), first)


def test_writing_to_the_array_leaves_the_file_alone(cars, tmp_path):
    mapped(cars, tmp_path)[:] = 7
    np.testing.assert_array_equal(mapped(cars, tmp_path), decoded(cars))


# B20
def test_other_data_have_another_file(cars, tmp_path):
    mapped(cars, tmp_path)
    mapped(open_dataset("toycars:13", size=16), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interruption_leaves_no_part(cars, tmp_path, monkeypatch):
    def stops(*_):
        yield from list(enumerate(decoded(cars)))[:5]
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "pictures", stops)
    with pytest.raises(KeyboardInterrupt):
        mapped(cars, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_size_is_refused(cars, tmp_path):
    mapped(cars, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="delete it"):
        mapped(cars, tmp_path)


def test_a_full_disk_is_one_line(cars, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("D", (), {"free": 10}))
    with pytest.raises(UserError, match="does not fit"):
        mapped(cars, tmp_path)


def test_a_folder_that_is_a_file(cars, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match=r"data\.cache"):
        mapped(cars, tmp_path / "taken")
