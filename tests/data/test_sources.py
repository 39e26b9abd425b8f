"""Zips of pictures: NVIDIA's layout is read, hostile ones are refused with the entry's name."""

import json
import multiprocessing
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from framework.data import decoded, open_dataset
from framework.data.scan import in_threads
from framework.errors import UserError
from framework.media.images import png_bytes


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


def make_zip(path, entries, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile minds names that occur twice
        for name, data in entries:
            archive.writestr(name, data)
    return path


def nvidia_zip(path, labels, method=zipfile.ZIP_STORED):
    names = [f"00000/img{index:08d}.png" for index in range(3)]
    listed = None if labels is None else [[n, v] for n, v in zip(names, labels, strict=True)]
    entries = [(name, png_bytes(picture(index))) for index, name in enumerate(names)]
    return make_zip(path, [*entries, ("dataset.json", json.dumps({"labels": listed}))], method)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 0], [[1, 0], [0, 1], [1, 0]]),
        ([[1, 2.5], [3, 4], [5, 6]], [[1, 2.5], [3, 4], [5, 6]]),
    ],
)
# H20
def test_nvidias_layout_is_read(tmp_path, method, labels, expected):
    dataset = open_dataset(nvidia_zip(tmp_path / "a.zip", labels, method), use_labels=True)
    assert (len(dataset), dataset.size) == (3, (16, 16))
    pixels = decoded(dataset)
    assert all((pixels[i] == picture(i).transpose(2, 0, 1)).all() for i in range(3))
    assert [dataset.label(i).tolist() for i in range(3)] == expected
    assert dataset.name(2) == "00000/img00000002.png"


# H20
def test_a_zip_may_have_no_labels(tmp_path):
    path = nvidia_zip(tmp_path / "a.zip", None)
    assert open_dataset(path).label_dim == 0
    with pytest.raises(UserError, match="no labels"):
        open_dataset(path, use_labels=True, labels="file")


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", r"..\x.png"]
)
# B17
def test_names_that_leave_the_zip_are_refused(tmp_path, name):
    path = make_zip(tmp_path / "a.zip", [("good.png", png_bytes(picture())), (name, b"x")])
    with pytest.raises(UserError, match=r"a.zip: entry .*x.png has a name that leads out"):
        open_dataset(path)
    assert os.listdir(tmp_path) == ["a.zip"]


# B17
def test_names_that_occur_twice_are_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("a.png", png_bytes(picture(i))) for i in range(2)])
    with pytest.raises(UserError, match=r"entry a.png occurs twice"):
        open_dataset(path)


# B17
def test_encrypted_entries_are_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("a.png", png_bytes(picture()))])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag in the central directory
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"entry a.png is encrypted"):
        open_dataset(path)


# B17
def test_bombs_are_refused_unopened(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("a.png", bytes(2**24))], zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"entry a.png unpacks to \d+ times its size"):
        open_dataset(path)


def test_entries_that_claim_to_be_huge_are_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("a.png", png_bytes(picture()))])
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 20 : at + 28] = (2**31 - 1).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"entry a.png unpacks to 2,147,483,647 bytes"):
        open_dataset(path)


def test_exotic_compression_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("a.png", png_bytes(picture()))], zipfile.ZIP_BZIP2)
    with pytest.raises(UserError, match=r"entry a.png is neither stored nor deflated"):
        open_dataset(path)


def test_a_flipped_bit_in_a_zip_is_found(tmp_path):
    path = nvidia_zip(tmp_path / "a.zip", None)
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"1 of 3 .*img00000000.png \(damaged in the zip"):
        open_dataset(path)


def test_half_a_zip_is_refused(tmp_path):
    path = nvidia_zip(tmp_path / "a.zip", None)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match="complete"):
        open_dataset(path)


def test_a_replaced_zip_is_noticed(tmp_path):
    dataset = open_dataset(nvidia_zip(tmp_path / "a.zip", None))
    again = pickle.loads(pickle.dumps(dataset))
    make_zip(tmp_path / "a.zip", [("00000/img00000000.png", png_bytes(picture(8)))])
    with pytest.raises(UserError, match=r"img00000000.png: changed"):
        again.image(0)
    with pytest.raises(UserError, match=r"img00000001.png: .*was there"):
        again.image(1)


def test_forked_and_threaded_readers_do_not_share_a_position(tmp_path):
    # Larger than any read buffer: what is buffered is safe even from a shared position.
    large = [np.tile(picture(seed), (10, 10, 1)) for seed in range(3)]
    entries = [(f"{seed}.png", png_bytes(large[seed], 0)) for seed in range(3)]
    dataset = open_dataset(make_zip(tmp_path / "a.zip", entries))
    expected = decoded(dataset)
    order = [0, 1, 2] * 60

    def read_all():
        for index, pixels in zip(order, in_threads(dataset.image, order), strict=True):
            assert (pixels == expected[index]).all()

    # A forked child inherits the open file; a pool would get the data set by pickle.
    child = multiprocessing.get_context("fork").Process(target=read_all)
    child.start()
    read_all()
    child.join(30)
    assert child.exitcode == 0
