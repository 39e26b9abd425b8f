"""What is no model, or an unfinished one, is named by its content, with what to do."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from framework.errors import BrokenCheckpoint, UserError
from framework.formats import import_model, load_generator, save_model_folder
from framework.formats.latents import read_latents
from framework.models.stylegan2 import Generator
from tests.formats.nvidia_layout import made
from tests.formats.specimens import Nvidia, networks, pickled, rosinality, torch_stream, torch_zip

PACKED = "unpack it and give the model's file in it"
PAGE = "went to a page"
ANSWERED = "answered with a message"


def pictures(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, kind)
    return buffer.getvalue()


def tar_of(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("network.pkl")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), data)
    return buffer.getvalue()


def saved(save, value) -> bytes:
    buffer = io.BytesIO()
    save(buffer, value)
    return buffer.getvalue()


MODEL = b"\x80\x04" + bytes(range(256)) * 4
KINDS = {
    "gzip": (gzip.compress(MODEL), "gzip", PACKED),
    "xz": (lzma.compress(MODEL), "xz", PACKED),
    "bzip2": (bz2.compress(MODEL), "bzip2", PACKED),
    "lzma": (lzma.compress(MODEL, lzma.FORMAT_ALONE), "lzma", PACKED),
    "zstd": (b"\x28\xb5\x2f\xfd\x24\x0a" + MODEL, "zstd", PACKED),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c\0\4" + MODEL, "7-Zip", PACKED),
    "RAR": (b"Rar!\x1a\x07\x01\0" + MODEL, "RAR", PACKED),
    "tar": (tar_of(MODEL), "tar", PACKED),
    "zip of a pickle": (zip_of(a__network_DOT_pkl=MODEL), "zip", "unpack it and give 'a/network"),
    "zip of pictures": (zip_of(a_DOT_png=b"x"), "zip of pictures", "--data.source"),
    "zip of a text": (zip_of(readme_DOT_txt=b"x"), "zip archive of readme.txt", "unpack it"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.9.0" + MODEL, "ONNX", "no model"),
    "SavedModel": (b"\x08\x01\x12\xb4\x99\x02\x0a" + MODEL, "TensorFlow", "no model"),
    "TensorFlow's index": (b"\0\0\x08" + MODEL + bytes.fromhex("57fb808b247547db"), "TensorFlow",
                           "only NVIDIA's pickles"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + MODEL, "HDF5", "no model"),
    "GGUF": (b"GGUF\3\0\0\0" + MODEL, "GGUF", "no model"),
    "PDF": (b"%PDF-1.7\n" + MODEL, "PDF", "no model"),
    "film": (b"\0\0\0\x20ftypisom" + MODEL, "MP4", "no model"),
    "program": (b"\x7fELF\2\1\1" + MODEL, "ELF", "no model"),
    "beside macOS's": (b"\0\x05\x16\x07\0\2\0\0" + MODEL, "._", "give the file itself"),
    "npy": (saved(np.save, np.zeros((6, 24))), "array of numpy's", "edit.py latents"),
    "npz": (saved(lambda f, v: np.savez(f, w=v), np.ones((6, 24))), "arrays (w.npy)", "latents"),
    **{kind: (pictures(kind), kind, "--image") for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")},
    "page": (b"\n<!DOCTYPE html>\n<html><head>", "web page", PAGE),
    "page behind a comment": (b"<!-- " + b"x" * 300 + b" -->\n<HTML lang=en>", "web page", PAGE),
    "page behind a long comment": (b"<!-- " + b"x" * 9000 + b" -->\n<html>", "web page", PAGE),
    "page behind a mark": (b"\xef\xbb\xbf \n<html>Quota exceeded", "web page", PAGE),
    "page of Windows": ("\ufeff<html>".encode("utf-16"), "web page", PAGE),
    "page behind XML": (b"<?xml version='1.0'?>\n<!DOCTYPE html><html>", "web page", PAGE),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML", ANSWERED),
    "JSON": (b'{"error": "Repository not found"}', 'JSON ({"error"', ANSWERED),
    "a list": (b'\xef\xbb\xbf[{"a": 1}]', "JSON", ANSWERED),
    "words": (b"Not Found", "a text (Not Found)", ANSWERED),
    "words of HTTP": (b"404: Not Found\r\n", "a text (404: Not Found)", ANSWERED),
    "a word of pickle's letters": (b"could not find it", "a text", ANSWERED),
    "an umlaut cut in two": ("ü".encode() * 2048 + "ü".encode()[:1], "a text", ANSWERED),
    "blanks": (b" \n\n", "blank", "fetch it again"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3\n",
                "Git LFS pointer", "git lfs pull"),
    "zeros": (bytes(100), "zeros", "not finished"),
}  # fmt: skip


# G1f
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_model_is_named_with_what_to_do(tmp_path, kind):
    data, name, advice = KINDS[kind]
    for suffix in (".pkl", ".safetensors", ".ckpt"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(data)
        with pytest.raises(BrokenCheckpoint) as caught:
            load_generator(path)
        said = str(caught.value)
        assert said.startswith(str(path)) and name.lower() in said.lower() and advice in said


def test_of_latents_too(tmp_path):
    path = tmp_path / "w.pt"
    for kind in ("gzip", "PNG", "page behind a mark", "words", "HDF5"):
        data, name, _ = KINDS[kind]
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            read_latents(path)
        assert name in str(caught.value)


def test_a_header_whose_length_is_another_kinds_sign(tmp_path):
    """A safetensors file may begin with the letters of a bitmap, a program or an archive."""
    generator = made(Generator, 16)
    path = tmp_path / "model.safetensors"
    save_file(generator.state_dict(), path)
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    for sign in (b"BM", b"MZ", b"\x1f\x8b"):
        length = int.from_bytes(sign, "little")
        path.write_bytes(struct.pack("<Q", length) + data[8:end].ljust(length) + data[end:])
        assert load_generator(path).digest == generator.digest


# Unfinished


def safetensors(tmp_path) -> bytes:
    file = tmp_path / "whole.safetensors"
    save_file(made(Generator, 16).state_dict(), file)
    return file.read_bytes()


def whole_files(tmp_path) -> dict[str, bytes]:
    pair = networks()
    files = {f"protocol {p}": Nvidia(p).file(*pair) for p in (2, 4)}
    files["zip"] = torch_zip(rosinality(*pair))
    files["stream"] = torch_stream(rosinality(*pair))
    files["safetensors"] = safetensors(tmp_path)
    return files


# G2f
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_download_that_was_allocated_in_full_is_called_unfinished(tmp_path, share):
    for kind, data in whole_files(tmp_path).items():
        for name in ("model.pkl", "model.safetensors"):
            path = tmp_path / name
            filled = int(len(data) * share)
            path.write_bytes(data[:filled] + bytes(len(data) - filled))
            with pytest.raises(BrokenCheckpoint, match=r"not finished.*fetch it again") as caught:
                load_generator(path)
            at = int(str(caught.value).split("byte ")[1].split(":")[0])
            assert filled - 64 <= at <= filled, kind  # zeros of the file itself may precede


# G2f
def test_so_is_one_into_a_model_folder(tmp_path):
    folder = save_model_folder(tmp_path / "model", made(Generator, 16))
    path = folder / "generator.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-3000] + bytes(3000))
    with pytest.raises(BrokenCheckpoint, match=r"generator.safetensors, byte \d+.*not finished"):
        load_generator(folder)


# G2f
def test_a_hole_in_a_download_is_called_unfinished_and_code_is_not(tmp_path):
    path = tmp_path / "model.pkl"
    data = pickled({f"name {i}": i for i in range(3000)})
    for tail in (1, 5, 40):  # fewer zeros than a look at the end would notice
        path.write_bytes(data[:-tail] + bytes(tail))
        with pytest.raises(BrokenCheckpoint, match=r"not finished|in the middle"):
            load_generator(path)
    for first in range(100, 4000, 97):
        path.write_bytes(data[:first] + bytes(2048) + data[first + 2048 :])
        with pytest.raises(BrokenCheckpoint, match="not finished"):
            load_generator(path)
    path.write_bytes(data[:5000] + b"\0" + data[5001:])
    with pytest.raises(UserError) as caught:
        load_generator(path)
    assert "not finished" not in str(caught.value)


def test_a_file_that_ends_with_a_few_zeros_of_its_own_opens(tmp_path):
    pair = networks()
    pair[0].synthesis.b8.torgb.bias.data.zero_()
    path = tmp_path / "model.pt"
    for write in (torch_zip, torch_stream):
        path.write_bytes(write(rosinality(*pair)))
        assert not load_generator(path).synthesis.b8.torgb.bias.any()


# Folders of hubs

HUB = {"architectures": ["StyleGAN2Generator"], "model_type": "stylegan2", "torch_dtype": "float32"}


def hub_folder(tmp_path, config=HUB):
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# G3f
@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin"],
)
def test_a_hubs_folder_opens_by_its_weights(tmp_path, name):
    generator = made(Generator, 16)
    folder = hub_folder(tmp_path)
    save = save_file if name.endswith("safetensors") else torch.save
    save(generator.state_dict(), folder / name)
    assert load_generator(folder).digest == generator.digest


# G3f
def test_a_hubs_folder_in_parts_opens_and_a_missing_part_is_named(tmp_path):
    generator = made(Generator, 16)
    state = list(generator.state_dict().items())
    folder, half = hub_folder(tmp_path), len(state) // 2
    parts = {"model-1.safetensors": dict(state[:half]), "model-2.safetensors": dict(state[half:])}
    for file, tensors in parts.items():
        save_file(tensors, folder / file)
    index = {name: file for file, tensors in parts.items() for name in tensors}
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": index}))
    assert load_generator(folder).digest == generator.digest
    report = import_model(folder, tmp_path / "imported")
    assert load_generator(tmp_path / "imported").digest == generator.digest
    assert report.provenance["source"] == "hub" and len(report.provenance["sha256"]) == 64
    with pytest.raises(UserError, match="a model folder is used as it is"):
        import_model(tmp_path / "imported", tmp_path / "again")
    for name in ("../model-1.safetensors", "/etc/passwd", ".."):
        index_file.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(BrokenCheckpoint, match="is not a file name"):
            load_generator(folder)
    index_file.write_text(json.dumps({"weight_map": index}))
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(BrokenCheckpoint, match=r"model-2.safetensors: missing.*fetch it"):
        load_generator(folder)


# G3f
def test_other_folders_are_named(tmp_path):
    folder = hub_folder(tmp_path, {"_class_name": "UNet2DModel"})
    with pytest.raises(UserError, match="a UNet2DModel without weights"):
        load_generator(folder)
    names = ("down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight")
    save_file({name: torch.ones(2) for name in names}, folder / _DIFFUSERS)
    with pytest.raises(UserError, match=r"diffusion U-Net of diffusers'.*says UNet2DModel"):
        load_generator(folder)
    for here, words in (
        ({"saved_model.pb": b""}, "TensorFlow's"),
        ({"network.pkl": b""}, "give the file, such as network.pkl"),
        ({"data.pkl": b"", "data": b""}, "an unpacked torch file"),
        ({"notes.txt": b""}, "no config.json in it"),
    ):
        other = tmp_path / words.split()[0].replace("'", "")
        other.mkdir(exist_ok=True)
        for name, data in here.items():
            (other / name).write_bytes(data)
        with pytest.raises(UserError, match=words):
            load_generator(other)
    run = tmp_path / "run"
    (run / "network-000200").mkdir(parents=True)
    (run / "network-000200" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"give a model folder in it, such as .*network-000200"):
        load_generator(run)


_DIFFUSERS = "diffusion_pytorch_model.safetensors"
