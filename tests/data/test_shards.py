"""Tar shards: the same pictures as the folder's, and what hostile ones come to."""

import functools
import http.server
import io
import json
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from framework.data import open_dataset
from framework.data import tars as tars_module
from framework.data.__main__ import main
from framework.data.shard_index import INDEX, read_index, read_label
from framework.data.shard_writer import index_shards, shard
from framework.data.shards import ShardDataset, open_shards
from framework.data.tars import BrokenShard, places
from framework.errors import UserError

SMALL = 0.006  # MB: a few pictures of 16 px


@pytest.fixture
def photos(tmp_path, put) -> Path:
    folder = tmp_path / "photos"
    for index in range(12):
        put(folder / f"k{index % 3}" / f"{index}.png", index)
    return folder


@pytest.fixture
def shards(photos, tmp_path) -> Path:
    shard(photos, tmp_path / "shards", labels="folders", shard_mb=SMALL)
    return tmp_path / "shards"


def streamed(dataset: ShardDataset) -> list[tuple[str, np.ndarray]]:
    """Every picture with its name, in the order of the shards."""
    return [(sample.name, dataset.picture(sample)) for sample in dataset.first(len(dataset))]


def opened(path: Path, **options) -> ShardDataset:
    return open_shards(f"shards:{path}", **options)


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


@pytest.fixture
def png(tmp_path, put) -> Callable[[int], bytes]:
    return lambda seed: put(tmp_path / "one" / f"{seed}.png", seed).read_bytes()


# ------------------------------------------------------------------------------- the same pictures


@pytest.mark.parametrize(
    "options", [{}, {"size": (8, 12)}, {"size": 8, "channels": 1}, {"size": (8, 12), "crop": "pad"}]
)
def test_the_pictures_are_the_folders(photos, tmp_path, options):
    shard(photos, tmp_path / "shards", shard_mb=SMALL, **options)
    folder = open_dataset(photos, **options)
    dataset = opened(tmp_path / "shards", channels=options.get("channels", 3))
    found = streamed(dataset)
    assert len(found) == len(dataset) == 12 and len(dataset.counts) > 1
    order = [int(name.split(".")[0]) for name, _ in found]
    assert sorted(order) == list(range(12)) and order != list(range(12))  # mixed
    assert all(
        (picture == folder.image(i)).all() for i, (_, picture) in zip(order, found, strict=True)
    )


def test_pictures_of_any_size_get_the_folders_treatment(tmp_path, put):
    folder = tmp_path / "photos"
    paths = [put(folder / f"{i}.jpg", i, (20 + 4 * i, 30)) for i in range(4)]
    make_tar(tmp_path / "tars" / "a.tar", {path.name: path.read_bytes() for path in paths})
    report = index_shards(str(tmp_path / "tars"))
    assert report["size"] is None
    with pytest.raises(UserError, match="several sizes; give the one to use"):
        opened(tmp_path / "tars")
    for crop in ("center", "pad", "stretch"):
        dataset = opened(tmp_path / "tars", size=(8, 16), crop=crop)
        same = open_dataset(folder, size=(8, 16), crop=crop)
        assert all((p == same.image(i)).all() for i, (_, p) in enumerate(streamed(dataset)))


def test_single_pictures_are_those_of_the_stream(shards):
    dataset = opened(shards, use_labels=True)
    for index, sample in enumerate(dataset.first(12)):
        assert (dataset.image(index) == dataset.picture(sample)).all()
        assert (dataset.label(index) == dataset.vector(sample)).all()


def test_labels_come_along(photos, shards):
    folder, dataset = open_dataset(photos, use_labels=True), opened(shards, use_labels=True)
    assert dataset.label_dim == 3 and dataset.classes == ("k0", "k1", "k2")
    for sample in dataset.first(12):
        number = int(sample.name.split(".")[0])
        assert (dataset.vector(sample) == folder.label(number)).all()
    assert opened(shards).label_dim == 0


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        (b"3", 3), (b" 3\n", 3), (b"[0.5, 1]", [0.5, 1]), (b'{"label": 2, "width": 9}', 2),
        (None, None), (b"", None), (b"-1", None), (b"cat", None), (b"NaN", None), (b"\xff", None),
        (b"[" * 100_000, None), (b"9" * 5000, None), (b"[1" + b"0" * 400 + b"]", None),
        (b'{"caption": "x"}', None), (b"true", None),
    ],
    ids=range(15),
)  # fmt: skip
def test_labels_of_strangers(raw, label):
    assert read_label(raw) == label


def test_vectors_as_labels(tmp_path, png):
    rows = {f"{i}.{kind}": data for i in range(3) for kind, data in (
        ("json", json.dumps({"label": [i, 0.5]}).encode()), ("png", png(i)))}  # fmt: skip
    make_tar(tmp_path / "tars" / "a.tar", rows)
    index_shards(str(tmp_path / "tars"))
    dataset = opened(tmp_path / "tars", use_labels=True)
    assert [dataset.label(i).tolist() for i in range(3)] == [[i, 0.5] for i in range(3)]


def test_one_picture_without_a_label_makes_labels_none(tmp_path, png):
    make_tar(tmp_path / "tars" / "a.tar", {"0.png": png(0), "0.cls": b"1", "1.png": png(1)})
    assert index_shards(str(tmp_path / "tars"))["label_dim"] == 0
    with pytest.raises(UserError, match="no labels"):
        opened(tmp_path / "tars", use_labels=True)


# ------------------------------------------------------------------------------------ the commands


def test_the_index_command_finds_what_the_writer_wrote(shards, tmp_path, capsys):
    written = (shards / INDEX).read_text()
    (shards / INDEX).rename(tmp_path / "kept.json")
    main(["index", str(shards)])
    assert "12 pictures of 16x16, labels of length 3" in capsys.readouterr().out
    again = read_index(str(shards / INDEX))
    assert again.fingerprint == json.loads(written)["fingerprint"]
    assert again.shards == read_index(str(tmp_path / "kept.json")).shards


def test_a_shard_holds_what_it_may_and_one_picture_at_least(photos, tmp_path, capsys):
    main(["shard", str(photos), "--out", str(tmp_path / "a"), "--shard-mb", "0.000001"])
    assert "12 pictures of 16x16, 3 channels, 12 shards" in capsys.readouterr().out
    main(["shard", str(photos), "--out", str(tmp_path / "b")])
    assert [path.name for path in sorted((tmp_path / "b").iterdir())] == ["000000.tar", INDEX]


def test_the_same_pictures_give_the_same_bytes_and_another_seed_another_order(photos, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        shard(photos, tmp_path / name, shard_mb=SMALL, seed=seed)
    a, b, c = (read_index(str(tmp_path / name / INDEX)) for name in "abc")
    assert a == b and a.fingerprint != c.fingerprint


def test_a_picture_that_fits_is_copied_and_others_are_not(tmp_path, put):
    kept = put(tmp_path / "photos" / "0.jpg", 0)
    put(tmp_path / "photos" / "1.jpg", 1, (20, 20))
    shard(tmp_path / "photos", tmp_path / "shards", size=16)
    found = {s.name: s.picture for s in opened(tmp_path / "shards").first(2)}
    assert found["000000000.jpg"] == kept.read_bytes()
    assert found["000000001.png"].startswith(b"\x89PNG")


def test_nothing_is_overwritten(shards, photos):
    before = {path: path.read_bytes() for path in shards.iterdir()}
    with pytest.raises(UserError, match="already holds files"):
        shard(photos, shards)
    with pytest.raises(UserError, match="already there"):
        index_shards(str(shards))
    assert {path: path.read_bytes() for path in shards.iterdir()} == before


def test_an_interruption_leaves_whole_shards_and_no_index(photos, tmp_path):
    def stops(done: int, _: int) -> None:
        stops.calls += 1
        if stops.calls == 20:  # twelve were scanned, eight written
            raise KeyboardInterrupt

    stops.calls = 0
    with pytest.raises(KeyboardInterrupt):
        shard(photos, tmp_path / "out", shard_mb=SMALL, progress=stops)
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left and all(re.fullmatch(r"\d{6}\.tar", name) for name in left)


def test_part_of_the_shards_by_a_pattern(shards):
    some = open_shards(f"shards:{shards}/{{000000..000001}}.tar")
    assert len(some) == sum(opened(shards).counts[:2])
    assert some.fingerprint != opened(shards).fingerprint
    assert len(open_shards(f"shards:{shards}/*.tar")) == len(
        open_shards(f"shards:{shards / INDEX}")
    )
    with pytest.raises(UserError, match=r"000099\.tar: no such folder or tar file"):
        open_shards(f"shards:{shards}/{{000000,000099}}.tar")
    shutil.copy(shards / "000000.tar", shards / "000099.tar")
    with pytest.raises(UserError, match=r"1 of 2 shards are not in it: 000099.tar"):
        open_shards(f"shards:{shards}/{{000000,000099}}.tar")


# ------------------------------------------------------------------------------------- what is bad


def test_without_an_index_one_line_says_how_to_make_it(tmp_path, png):
    make_tar(tmp_path / "tars" / "a.tar", {"0.png": png(0)})
    with pytest.raises(UserError, match=r"shards\.json.*python -m framework\.data index") as caught:
        opened(tmp_path / "tars")
    assert "\n" not in str(caught.value)


def test_without_the_extra_one_line_says_what_to_install(shards, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    for call in (opened, lambda path: index_shards(str(path)), lambda p: shard(p, p / "out")):
        with pytest.raises(UserError, match=r"pip install 'dragline\[stream\]'"):
            call(shards)


@pytest.mark.parametrize("source", ["pipe:touch {}", "pipe:touch {}/shards.json", "file:///x.tar",
                                    "{{pipe,http}}:touch {}", "ftp://host/a.tar"])  # fmt: skip
def test_urls_that_run_programs_are_refused(source, tmp_path):
    mark = tmp_path / "ran"
    for call in (open_shards, index_shards):
        with pytest.raises(UserError, match="give a path or a URL that begins with"):
            call("shards:" + source.format(mark))
    assert not mark.exists()


class Runs:
    """A pickle that runs something when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickles_are_never_read(tmp_path, png):
    mark = tmp_path / "ran"
    poison = pickle.dumps(Runs(mark))
    members = {f"0.{kind}": poison for kind in ("pyd", "pth", "pkl", "npy", "cls", "json")}
    make_tar(tmp_path / "tars" / "a.tar", {**members, "0.png": png(0), "1.png": png(1)})
    report = index_shards(str(tmp_path / "tars"))
    assert report["count"] == 2
    assert report["never_read"] == {"pyd": 1, "pth": 1, "pkl": 1, "npy": 1}
    assert len(streamed(opened(tmp_path / "tars"))) == 2
    assert not mark.exists()
    pickle.loads(poison)  # or the pickle would be harmless anyway
    assert mark.exists()


def bad_members(good: Callable[[int], bytes]) -> dict[str, tuple[dict[str, bytes], str]]:
    return {
        "outside": ({"../../x.png": good(9)}, "leads out of the tar file"),
        "absolute": ({"/etc/x.png": good(9)}, "leads out of the tar file"),
        "text": ({"x.png": b"hello, no picture"}, "x.png"),
        "empty": ({"x.png": b""}, "empty file"),
        "html": ({"x.jpg": b"<!doctype html><html>"}, "an HTML page"),
        "cut": ({"x.png": good(9)[:300]}, "truncated"),
        "twice": ({"x.png": good(9), "./x.png": good(9), "y.png": good(8), "y.PNG": good(9)},
                  "occurs twice"),
        "dots": ({"x.1.png": good(9), "x.2.png": good(9)}, "one of several pictures"),
        "label": ({"x.cls": b"1" * 2_000_000, "x.txt": b""}, "2,000,000 bytes"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", bad_members(lambda _: b""))
def test_a_bad_member_is_named_and_skipped_or_one_line(kind, tmp_path, png):
    members, said = bad_members(png)[kind]
    good = {f"{i}.png": png(i) for i in range(5)}
    tar = make_tar(tmp_path / "tars" / "a.tar", {**members, **good})
    with pytest.raises(UserError, match=said) as caught:
        index_shards(str(tar.parent))
    assert "a.tar/" in str(caught.value) and "\n" not in str(caught.value)
    report = index_shards(str(tar.parent), on_bad="skip")
    assert len(report["unusable"]) == 1 and said in str(report["unusable"])
    names = [name for name, _ in streamed(opened(tar.parent))]
    assert [name for name in names if name in good] == list(good)
    dataset = opened(tar.parent)
    assert (dataset.image(len(dataset) - 1) == streamed(dataset)[-1][1]).all()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made.tobuf(tarfile.GNU_FORMAT)


def sparse(name: str, size: int) -> bytes:
    """A header that claims a file of `size` bytes with nothing in it."""
    made = bytearray(header(name, 0, tarfile.GNUTYPE_SPARSE))
    made[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


HUGE = 2**60
NEGATIVE = (
    header("x", 14, tarfile.XHDTYPE) + b"14 size=-1024\n".ljust(512, b"\0") + header("x.png", 0)
)  # which sends a reader that can go back back for ever
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut in a member": lambda tar: tar[:2000],
    "cut between members": lambda tar: tar[: tar.index(b"4.png") // 512 * 512],
    "cut in a header": lambda tar: tar[: tar.index(b"4.png") // 512 * 512 + 100],
    "damaged header": lambda tar: tar.replace(b"3.png", b"9.png"),
    "no tar": lambda _: b"hello" * 1000,
    "nothing": lambda _: b"",
    "claims an exabyte": lambda tar: header("x.png", HUGE) + tar,
    "a name of an exabyte": lambda tar: header("x", HUGE, tarfile.GNUTYPE_LONGNAME) + tar,
    "notes of a megabyte": lambda tar: header("x", 2**20, tarfile.XHDTYPE) + bytes(2**20) + tar,
    "notes on notes": lambda tar: header("x", 0, tarfile.XHDTYPE) * 5000 + tar,
    "negative": lambda tar: NEGATIVE + tar,
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_shard_is_named_and_left_out_or_one_line(kind, tmp_path, png):
    good = make_tar(tmp_path / "tars" / "a.tar", {f"{i}.png": png(i) for i in range(5)})
    bad = tmp_path / "tars" / "b.tar"
    bad.write_bytes(BROKEN[kind](good.read_bytes()))
    with pytest.raises(UserError, match=r"b\.tar \(") as caught:
        index_shards(str(good.parent))
    assert "\n" not in str(caught.value)
    report = index_shards(str(good.parent), on_bad="skip")
    assert report["count"] == 5 and len(report["unusable"]) == 1
    assert len(streamed(opened(good.parent))) == 5


def test_a_lookup_does_not_go_back_for_ever(tmp_path, png):
    tar = make_tar(tmp_path / "a.tar", {"0.png": png(0)})
    assert len(list(places(str(tar), "a.tar"))) == 1
    tar.write_bytes(NEGATIVE + tar.read_bytes())
    with pytest.raises(BrokenShard, match="-1,024 bytes"):
        list(places(str(tar), "a.tar"))


def test_a_file_of_holes_is_not_filled_into_memory(tmp_path, png):
    good = make_tar(tmp_path / "tars" / "a.tar", {f"{i}.png": png(i) for i in range(5)})
    good.write_bytes(sparse("x.png", HUGE) + good.read_bytes())
    report = index_shards(str(good.parent), on_bad="skip")
    assert report["count"] == 5 and report["unusable"][0]["reason"] == "not a regular file"


def test_links_and_pipes_are_not_followed(tmp_path, png):
    tar = make_tar(tmp_path / "tars" / "a.tar", {f"{i}.png": png(i) for i in range(5)})
    link = header("x.png", 0, tarfile.SYMTYPE)
    tar.write_bytes(link + tar.read_bytes())
    assert index_shards(str(tar.parent), on_bad="skip")["unusable"][0]["name"] == "a.tar/x.png"
    (tmp_path / "tars" / INDEX).unlink()
    subprocess.run(["mkfifo", tar.parent / "b.tar"], check=True)
    with pytest.raises(UserError, match="not a regular file"):
        index_shards(f"{tar.parent}/b.tar")


def test_more_bad_than_good_is_too_much_to_skip(tmp_path, png):
    make_tar(tmp_path / "tars" / "a.tar", {"0.png": png(0), "1.png": b"no", "2.png": b"no"})
    with pytest.raises(UserError, match="more than half"):
        index_shards(str(tmp_path / "tars"), on_bad="skip")
    make_tar(tmp_path / "none" / "a.tar", {"readme.txt": b"nothing here"})
    with pytest.raises(UserError, match="no pictures found"):
        index_shards(str(tmp_path / "none"), on_bad="skip")


@pytest.mark.parametrize("change", ["a pixel", "one picture more", "one less", "gone"])
def test_a_shard_that_changed_since_it_was_indexed_is_noticed(change, tmp_path, png):
    members = {f"{i}.png": png(i) for i in range(5)}
    tar = make_tar(tmp_path / "tars" / "a.tar", members)
    index_shards(str(tar.parent))
    dataset = opened(tar.parent)
    changed = {
        "a pixel": members | {"3.png": png(9)},
        "one picture more": members | {"9.png": png(9)},
        "one less": dict(list(members.items())[:-1]),
    }
    tar.unlink()
    if change in changed:
        make_tar(tar, changed[change])
    with pytest.raises(BrokenShard, match=r"index again|cannot be read"):
        list(dataset.first(9))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "no json",
        lambda text: "[" * 100_000,
        lambda text: "[1]",
        lambda text: text.replace("000000.tar", "../x.tar"),
        lambda text: text.replace("000000.tar", "/etc/passwd"),
        lambda text: text.replace('"count": ', '"count": -'),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"sha256": "', '"sha256": "0'),
        lambda text: re.sub(r'"sha256": "\w{8}', '"sha256": "00000000', text),
    ],
    ids=range(9),
)
def test_an_index_that_is_none_is_one_line(spoil, shards):
    text = spoil((shards / INDEX).read_text())
    (shards / INDEX).write_text(text)
    with pytest.raises(UserError, match="not an index of shards") as caught:
        opened(shards)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_an_index_names_no_program(shards):
    (shards / INDEX).write_text(
        (shards / INDEX).read_text().replace("000000.tar", "pipe:touch ran")
    )
    with pytest.raises(UserError, match="give a path or a URL"):
        opened(shards)


# -------------------------------------------------------------------------------------------- URLs


@pytest.fixture
def served(shards):
    """The shards' folder behind a web server on this machine."""
    if shutil.which("curl") is None:
        pytest.skip("webdataset reads URLs with curl")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_shards_behind_a_url(served, shards, tmp_path):
    last = len(opened(shards).counts) - 1
    far = open_shards(f"shards:{served}/{{000000..{last:06d}}}.tar")
    here = opened(shards)
    assert far.fingerprint == here.fingerprint
    for (name, picture), (other, same) in zip(streamed(far), streamed(here), strict=True):
        assert name == other and (picture == same).all()
    with pytest.raises(UserError, match="from local shards only"):
        far.image(0)
    own = tmp_path / "own.json"
    index_shards(f"shards:{served}/{{000000..{last:06d}}}.tar", out=str(own))
    assert open_shards(f"shards:{own}").fingerprint == here.fingerprint


def test_a_url_that_is_not_there_is_one_line(served, tmp_path):
    with pytest.raises(UserError, match="curl ended with code 22"):
        index_shards(f"{served}/none.tar", out=str(tmp_path / "x.json"))
    with pytest.raises(UserError, match=r"framework\.data index"):
        open_shards(f"shards:{served}/nowhere/a.tar")


def test_a_transfer_that_breaks_off_is_an_error(served, shards, monkeypatch):
    dataset = open_shards(f"shards:{served}/{INDEX}")
    path = shards / "000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BrokenShard, match=r"too early|unexpected end"):
        list(dataset.stream(0))


def test_a_server_that_never_answers_is_not_waited_for_at_the_end():
    if shutil.which("curl") is None:
        pytest.skip("webdataset reads URLs with curl")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        # It would wait for ever: no other ending than that of the reader is possible.
        with tars_module.opened(f"http://127.0.0.1:{silent.getsockname()[1]}/a.tar"):
            pass
