"""Latents go to other programs and come back bit-equal; hostile files are refused in a line."""

import io
import pickle
import struct
import zipfile
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint, UserError
from framework.formats.latents import (
    ENDINGS,
    Kind,
    read_latents,
    read_named_latents,
    write_latents,
)
from tests.formats.hostile import calls


def some_ws(count=1, num_ws=6, w_dim=24):
    return torch.randn(count, num_ws, w_dim, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_round_trips_are_bit_equal(kind, tmp_path):
    ws = some_ws()
    path = write_latents(tmp_path / f"latents{ENDINGS[kind]}", ws, kind)
    read = read_latents(path)
    assert read.dtype == torch.float32 and torch.equal(read, ws)
    assert torch.equal(read_latents(path, num_ws=6), ws)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["psp", "npy", "dragline"])
def test_several_pictures_stay_in_order(kind, tmp_path):
    ws = some_ws(5)
    path = write_latents(tmp_path / f"latents{ENDINGS[kind]}", ws, kind)
    assert torch.equal(read_latents(path), ws)


def test_other_programs_open_what_we_write(tmp_path):
    ws = some_ws()
    torch_kinds: tuple[Kind, ...] = ("draggan", "psp")
    for kind in torch_kinds:
        path = write_latents(tmp_path / "latents.pt", ws.expand(1, 6, 24)[:, :], kind)
        assert torch.equal(torch.load(path, weights_only=True), ws)
        assert path.stat().st_size < 3000
    path = write_latents(tmp_path / "projected_w.npz", ws, "nvidia")
    with np.load(path, allow_pickle=False) as arrays:
        assert list(arrays) == ["w"] and np.array_equal(arrays["w"], ws.numpy())
    path = write_latents(tmp_path / "latents.npy", ws, "npy")
    assert np.array_equal(np.load(path, allow_pickle=False), ws.numpy())
    path = write_latents(tmp_path / "latents.safetensors", ws, "dragline")
    assert torch.equal(load_file(path)["ws"], ws)


def test_a_part_of_a_larger_tensor_is_written_alone(tmp_path):
    many = some_ws(500)
    path = write_latents(tmp_path / "latents.pt", many[7:8], "draggan")
    assert torch.equal(read_latents(path), many[7:8]) and path.stat().st_size < 3000


@pytest.mark.parametrize("new_zip", [True, False])
def test_what_other_programs_write_is_read(new_zip, tmp_path):
    ws, path = some_ws(2), tmp_path / "latents.pt"
    pictures = {"a.jpg": ws[0], "b.jpg": ws[1]}
    projected = {n: {"img": torch.zeros(3), "latent": w, "noise": []} for n, w in pictures.items()}
    tables = [ws, ws.double(), ws.requires_grad_(), {"latents": ws}, pictures, projected]
    tables += [{"a.jpg": ws[:1], "b.jpg": ws[1:]}, torch.nn.Parameter(ws), {"w": ws, "seed": 1}]
    for table in tables:
        torch.save(table, path, _use_new_zipfile_serialization=new_zip)
        assert torch.equal(read_latents(path), ws), table
    torch.save(ws.half(), path, _use_new_zipfile_serialization=new_zip)
    assert torch.equal(read_latents(path), ws.half().float())


def test_numpy_files_of_any_layout_are_read(tmp_path):
    ws = some_ws(2).numpy()
    path = tmp_path / "latents.npy"
    for array in (ws, np.asfortranarray(ws), ws.astype(">f4"), ws.astype("<f8")):
        np.save(path, array)
        assert np.array_equal(read_latents(path).numpy(), ws)
    path = tmp_path / "projected_w.npz"
    for write in (np.savez, np.savez_compressed):
        write(path, w=ws, other=np.zeros(3))
        assert np.array_equal(read_latents(path).numpy(), ws)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (1, 1, 24)])
def test_one_row_serves_every_layer(shape, tmp_path):
    row = some_ws(1, 1)
    torch.save(row.reshape(shape), tmp_path / "w.pt")
    np.save(tmp_path / "w.npy", row.reshape(shape).numpy())
    for path in (tmp_path / "w.pt", tmp_path / "w.npy"):
        assert torch.equal(read_latents(path), row)
        assert torch.equal(read_latents(path, num_ws=6), row.repeat(1, 6, 1))


def test_a_matrix_is_one_picture(tmp_path):
    np.save(tmp_path / "w.npy", some_ws().numpy()[0])
    assert torch.equal(read_latents(tmp_path / "w.npy"), some_ws())


def test_another_number_of_layers_is_refused(tmp_path):
    path = write_latents(tmp_path / "w.pt", some_ws(), "draggan")
    with pytest.raises(UserError, match=r"w.pt: latents of 6 layers, and this model has 10"):
        read_latents(path, num_ws=10)


def refused(path, kind=UserError) -> str:
    with pytest.raises(kind) as error:
        read_latents(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(0, 6, 24),
        torch.zeros(2, 2, 6, 24),
        torch.zeros(1, 300, 24),
        torch.zeros(1, 6, 24, dtype=torch.int64),
        torch.full((1, 6, 24), torch.nan),
        torch.tensor(1.0),
        {},
        {"a.weight": torch.zeros(3, 4), "b.weight": torch.zeros(4, 5)},
        {"a": {"b": {"c": {"d": {"latent": torch.zeros(6, 24)}}}}},
        [torch.zeros(6, 24), 5],
        [[[[torch.zeros(6, 24)]]]],
        7,
    ],
    ids=str,
)
def test_what_is_no_latents_is_refused(value, tmp_path):
    path = tmp_path / "latents.pt"
    torch.save(value, path)
    refused(path)


def test_pickles_are_not_run(tmp_path):
    path = tmp_path / "latents.pt"
    for label, content in calls():
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("archive/data.pkl", content)
        path.write_bytes(archive.getvalue())
        assert refused(path, UnsafeCheckpoint), label
        path.write_bytes(content)
        refused(path, UnsafeCheckpoint)
        for kind in ("npy", "npz"):
            array = npy(described((), "|O"), content)
            other = tmp_path / f"latents.{kind}"
            if kind == "npz":
                with zipfile.ZipFile(other, "w") as file:
                    file.writestr("w.npy", array)
            else:
                other.write_bytes(array)
            refused(other, UnsafeCheckpoint)


def pickled_tables() -> dict[str, object]:
    """What other programs pickle: two pictures' latents, in NumPy's arrays or torch's tensors."""
    a, b = some_ws(2)
    row = some_ws(1, 1)[0, 0]
    steps = [torch.zeros(6, 24), a]
    return {
        "arrays by name": {"a.jpg": a.numpy(), "b.jpg": b.numpy()},
        "tensors by name": {"a.jpg": a, "b.jpg": b},
        "ReStyle's steps": {"a.jpg": [s.numpy() for s in steps], "b.jpg": [b.numpy()] * 3},
        "steps of one picture each": {"a.jpg": [a[None].numpy()], "b.jpg": [b[None].numpy()]},
        "layers": {"a.jpg": list(a.double().numpy()), "b.jpg": list(b.double().numpy())},
        "a list of pictures": [a.numpy(), b.numpy()],
        "a tuple": (a[None], b[None]),
        "names within": {"a.jpg": {"w": a.numpy(), "id": 3}, "b.jpg": {"w": b.numpy(), "id": 4}},
        "an array": some_ws(2).numpy(),
        "rows": {"a.jpg": row.numpy(), "b.jpg": row.numpy()},
    }


# D6f
@pytest.mark.parametrize("kind", pickled_tables())
@pytest.mark.parametrize("ending", [".npy", ".npz", ".pkl", "2.pkl", "0.pkl", ".pt"])
def test_pickled_tables_are_read_without_running_them(kind, ending, tmp_path):
    value, path = pickled_tables()[kind], tmp_path / f"latents{ending}"
    boxed = np.empty((), dtype=object)
    boxed[()] = value
    if ending == ".npy":
        np.save(path, boxed, allow_pickle=True)
    elif ending == ".npz":
        np.savez_compressed(path, latents=boxed)
    elif ending == ".pt":
        torch.save(value, path)
    else:
        protocol = int(ending[0]) if ending[0] != "." else 4
        path.write_bytes(pickle.dumps(value, protocol))
    expected = some_ws(1, 1).repeat(2, 6, 1) if kind == "rows" else some_ws(2)
    ws, names = read_named_latents(path, num_ws=6)
    assert torch.equal(ws, expected)
    by_number = kind in ("a list of pictures", "a tuple", "an array")
    assert names == (["0", "1"] if by_number else ["a.jpg", "b.jpg"])


# D6f
def test_a_folder_with_a_file_for_each_picture_is_read(tmp_path):
    ws = some_ws(3)
    for name, one in zip(("c", "a", "b"), ws, strict=True):
        folder = tmp_path / "embeddings" / "PTI" / name
        folder.mkdir(parents=True)
        torch.save(one[None].requires_grad_(), folder / "0.pt")
    read, names = read_named_latents(tmp_path / "embeddings")
    assert names == ["PTI/a", "PTI/b", "PTI/c"] and torch.equal(read, ws[[1, 2, 0]])
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing")


# D6f, G10f
def test_few_bytes_that_mean_very_many_latents_are_refused(tmp_path):
    path, picture = tmp_path / "latents.pkl", some_ws(1, 18, 512)[0].numpy()
    path.write_bytes(pickle.dumps({str(i): picture for i in range(90_000)}))
    refused(path)
    rows = {str(i): [picture[0]] * 18 for i in range(4)}
    path.write_bytes(pickle.dumps(rows))
    assert read_latents(path).shape == (4, 18, 512)


def test_rows_that_may_be_layers_or_pictures(tmp_path):
    path = tmp_path / "w.npy"
    np.save(path, some_ws(1, 25)[0].numpy())  # what InterFaceGAN saves of w
    assert read_latents(path, num_ws=6).shape == (25, 6, 24)
    np.save(path, some_ws(1, 14)[0].numpy())
    with pytest.raises(UserError, match=r"14 layers, and this model has 6.*\(14, 1, 24\)"):
        read_latents(path, num_ws=6)


# A11f
def test_no_bit_of_our_own_latents_may_turn(tmp_path):
    path = write_latents(tmp_path / "w.safetensors", some_ws(), "dragline")
    whole = path.read_bytes()
    for at in range(len(whole) - 6 * 24 * 4, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(BrokenCheckpoint, match="digest does not match its contents; damaged"):
            read_latents(path)


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode() + content


def described(shape, dtype="<f4") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n"


HOSTILE_NPY = {
    "exabytes": npy(described((1 << 30, 1 << 30)), b"1234"),
    "negative": npy(described((-1, 6, 24)), b"1234"),
    "both negative": npy(described((-1, -1)), b"1234"),
    "cut off": npy(described((1, 6, 24)), b"1234"),
    "no header": b"\x93NUMPY\x01\x00",
    "code": npy("__import__('os').system('true')\n"),
    "nested": npy("(" * 60000),
    "long names": npy(described("(1,)") + " " * 60000),
    "version 2": npy(described((1, 1, 1)), b"1234", b"\x02\x00"),
    "version 9": npy(described((1, 1, 1)), b"1234", b"\x09\x00"),
    "texts": npy(described((1, 1, 1), "<U1"), b"1234"),
}


@pytest.mark.parametrize("content", HOSTILE_NPY.values(), ids=HOSTILE_NPY)
def test_headers_of_arrays_are_not_believed(content, tmp_path):
    (tmp_path / "w.npy").write_bytes(content)
    refused(tmp_path / "w.npy")
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", content)
    refused(tmp_path / "w.npz")


def test_a_zip_that_unfolds_without_end_is_refused(tmp_path):
    path = tmp_path / "w.npz"
    side = 1 << 13
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", npy(described((1, 256, side)), bytes(256 * side * 4)))
    assert path.stat().st_size < 20_000
    assert "an array of" in refused(path, BrokenCheckpoint)


def test_flipped_bytes_never_crash(tmp_path):
    rng = np.random.default_rng(0)
    for kind in get_args(Kind):
        path = write_latents(tmp_path / f"latents{ENDINGS[kind]}", some_ws(), kind)
        content = path.read_bytes()
        for _ in range(30):
            flipped = bytearray(content)
            flipped[rng.integers(len(content))] ^= 1 << rng.integers(8)
            path.write_bytes(flipped)
            try:
                ws = read_latents(path)
                assert ws.ndim == 3 and ws.isfinite().all()
            except UserError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff" * 100, b"PK\x03\x04", bytes(100)])
def test_what_is_another_file_is_refused(content, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)
    refused(tmp_path / "w.pt")
    refused(tmp_path / "missing.pt")
    refused(tmp_path)


def test_safetensors_without_ws_are_refused(tmp_path):
    save_file({"weight": torch.zeros(3, 4), "bias": torch.zeros(4)}, tmp_path / "w.safetensors")
    assert "weight" in refused(tmp_path / "w.safetensors")


def test_what_a_kind_cannot_hold_is_not_written(tmp_path):
    one_picture: tuple[Kind, ...] = ("draggan", "nvidia")
    for kind in one_picture:
        with pytest.raises(UserError, match="holds one picture's latents, not 2"):
            write_latents(tmp_path / f"w{ENDINGS[kind]}", some_ws(2), kind)
    with pytest.raises(UserError, match=r"files of kind psp end with \.pt"):
        write_latents(tmp_path / "w.npy", some_ws(), "psp")
    with pytest.raises(UserError, match="kind pkl: give one of draggan, nvidia"):
        write_latents(tmp_path / "w.pkl", some_ws(), "pkl")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="NaN"):
        write_latents(tmp_path / "w.pt", some_ws() * torch.nan, "psp")
    with pytest.raises(UserError, match="cannot be written"):
        write_latents(tmp_path / "missing" / "w.pt", some_ws(), "psp")
    assert not list(tmp_path.iterdir())
