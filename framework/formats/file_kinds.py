"""Files that are not models, recognised by their first bytes, with advice for each.

People pass on what a browser, a mirror or an archive gave them. The program that would open a file
says more in a message than its first eight bytes.
"""

import codecs
import re
from collections.abc import Iterable
from typing import NamedTuple

LOOKED_AT = 4096  # bytes from the start of a file; a tar archive has its sign at 257
_PACKED = "an archive ({}): unpack it and give the model's file in it"
_PICTURE = "a picture ({}), no model; drag and invert take it as --image"
_ANSWERED = "the download was answered with a message; fetch the file itself"
_PAGE = "a web page: the download went to a page and not to the file"
_NO_MODEL = "{}, no model of PyTorch's or TensorFlow's StyleGAN2"


class Magic(NamedTuple):
    """Bytes at a place that identify one kind of file."""

    sign: bytes
    what: str
    at: int = 0


MAGICS = (
    Magic(b"\x1f\x8b", _PACKED.format("gzip")),
    Magic(b"\xfd7zXZ\0", _PACKED.format("xz")),
    Magic(b"\x28\xb5\x2f\xfd", _PACKED.format("zstd")),
    Magic(b"BZh", _PACKED.format("bzip2")),
    Magic(b"7z\xbc\xaf\x27\x1c", _PACKED.format("7-Zip")),
    Magic(b"Rar!\x1a\x07", _PACKED.format("RAR")),
    Magic(b"\x04\x22\x4d\x18", _PACKED.format("lz4")),
    Magic(b"\x5d\0\0", _PACKED.format("lzma")),
    Magic(b"\x1f\x9d", _PACKED.format("compress")),
    Magic(b"\x78\x9c", _PACKED.format("zlib")),
    Magic(b"ustar", _PACKED.format("tar"), 257),
    Magic(b"!<arch>\n", _PACKED.format("ar")),
    Magic(b"xar!", _PACKED.format("xar")),
    Magic(b"MSCF", _PACKED.format("cabinet")),
    Magic(b"PK\x05\x06", "an empty zip archive; fetch it again"),
    Magic(b"\x89HDF\r\n\x1a\n", _NO_MODEL.format("HDF5, as Keras and TensorFlow save weights")),
    Magic(b"GGUF", _NO_MODEL.format("GGUF, a language model's weights")),
    Magic(b"TFL3", _NO_MODEL.format("TensorFlow Lite"), 4),
    Magic(b"\x89PNG\r\n\x1a\n", _PICTURE.format("PNG")),
    Magic(b"\xff\xd8\xff", _PICTURE.format("JPEG")),
    Magic(b"GIF8", _PICTURE.format("GIF")),
    Magic(b"WEBP", _PICTURE.format("WebP"), 8),
    Magic(b"II*\0", _PICTURE.format("TIFF")),
    Magic(b"MM\0*", _PICTURE.format("TIFF")),
    Magic(b"BM", _PICTURE.format("BMP")),
    Magic(b"ftypheic", _PICTURE.format("HEIC"), 4),
    Magic(b"ftypavif", _PICTURE.format("AVIF"), 4),
    Magic(b"ftyp", "a film (MP4), no model", 4),
    Magic(b"\x1aE\xdf\xa3", "a film (Matroska or WebM), no model"),
    Magic(b"%PDF", "a document (PDF), no model"),
    Magic(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of Microsoft's Office, no model"),
    Magic(b"SQLite format 3\0", "a database (SQLite), no model"),
    Magic(b"PAR1", "a table (Parquet), no model"),
    Magic(b"ARROW1", "a table (Arrow), no model"),
    Magic(b"\x7fELF", "a program (ELF), no model"),
    Magic(b"MZ", "a program for Windows, no model"),
    Magic(b"\xcf\xfa\xed\xfe", "a program for macOS, no model"),
    Magic(b"\xca\xfe\xba\xbe", "a program (Java or macOS), no model"),
    Magic(b"\0\x05\x16\x07", "what macOS keeps beside a file (its name begins with ._); "
          "give the file itself"),
    Magic(bytes(8), "zeros where a model begins: the download is not finished; "
          "wait, or fetch it again"),
)  # fmt: skip
NUMPY = Magic(b"\x93NUMPY", "an array of numpy's, no model; latents are read by edit.py latents and"
              " drag --latents")  # fmt: skip
_TF_INDEX_END = bytes.fromhex("57fb808b247547db")  # end of LevelDB's tables, used by TensorFlow
# Protocol buffers begin with the fields' numbers and lengths, which show the schema.
_ONNX = re.compile(rb"\x08[\x01-\x20](?:\x12[\x01-\x40][\x20-\x7e]|[\x1a\x3a\x42])")
_TF_GRAPH = re.compile(
    rb"\x08\x01\x12[\x80-\xff]|\x0a[\x01-\xff]{1,4}\x0a[\x01-\x60][ -~]+[\x12\x1a]"
)
_OLD_PICKLE = re.compile(
    rb"\(*(?:[dlt]p\d+\n|[dl](?=[VSIFLN(\]}c])|c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n"
    rb"|[}\]][qr(]|[SV][^\n]*\np\d+\n)"
)
_PAGE_SIGNS = re.compile(r"<!doctype html|<(?:html|head|body|script|title|meta|div)\b|^<!--")


def looks_like_old_pickle(start: bytes) -> bool:
    """Whether a file may be a pickle of protocol 0 or 1, which have no signature."""
    return bool(_OLD_PICKLE.match(start))


def other_kind(start: bytes, end: bytes = b"") -> str:
    """Say what a file is, and what to do, if it is clearly neither model nor latents; else "".

    `start` are its first bytes, up to `LOOKED_AT`; `end` are about its last dozen.
    """
    if start[3:8] == bytes(5) and start[8:9] == b"{":  # safetensors, which any length may begin
        return ""
    for sign, what, at in MAGICS:
        if start[at : at + len(sign)] == sign:
            return what
    if end.endswith(_TF_INDEX_END):
        return "the index of a TensorFlow checkpoint; only NVIDIA's pickles of TensorFlow are read"
    if looks_like_old_pickle(start):
        return ""
    if text := _text(start):
        return _kind_of_text(text)
    if _ONNX.match(start):
        return _NO_MODEL.format("ONNX, a network for inference")
    if _TF_GRAPH.match(start):
        return _NO_MODEL.format("a graph of TensorFlow's (SavedModel)")
    return ""


def _text(start: bytes) -> str:
    """Decode the start of a file as text; empty if it is not text."""
    wide = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    decode = codecs.utf_16_decode if wide else codecs.utf_8_decode
    try:
        text, _ = decode(start, "strict", False)  # the last letter may be cut in two
    except UnicodeDecodeError:
        return ""
    text = text.removeprefix("\ufeff")
    return text if all(c.isprintable() or c in "\n\r\t\f\x1b" for c in text) else ""


def _kind_of_text(text: str) -> str:
    text = text.strip()
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer: run git lfs pull to fetch the file itself"
    if text.startswith("<"):
        return _PAGE if _PAGE_SIGNS.search(text.lower()) else f"an XML page: {_ANSWERED}"
    if not text:
        return "blank; fetch it again"
    first = " ".join(text[:200].split())[:60]
    if text[0] in "{[":
        return f"JSON ({first}): a model's description, whose folder to give, or {_ANSWERED}"
    return f"a text ({first}), no model; or {_ANSWERED}"


# --------------------------------------------------------------------------------- zips by names

_TORCH_ENTRY = re.compile(r"(?:[^/]*/)?(?:data\.pkl|constants\.pkl|data/\d+|code/.*)$")
_MODEL_FILE = re.compile(r".*\.(?:pkl|pt|pth|ckpt|bin|safetensors|tar)$", re.IGNORECASE)
_PICTURE_FILE = re.compile(r".*\.(?:png|jpe?g|webp|bmp|gif)$", re.IGNORECASE)


def kind_of_zip(names: Iterable[str]) -> str:
    """Say what a zip is by the names in it; empty if it may be torch's own."""
    names = [name for name in names if not name.startswith("__MACOSX/")]
    folders = {name.partition("/")[0] for name in names}
    inner = next((name for name in names if _MODEL_FILE.match(name)), None)
    if not names or any(map(_TORCH_ENTRY.match, names)):
        return ""
    if any("archive_format" in name for name in names):
        return "a program exported by PyTorch (pt2), which is code and no weights"
    if {"META-INF", "AndroidManifest.xml"} & folders:
        return "a program (Java or Android), no model"
    if "[Content_Types].xml" in folders:
        return "a document of an office program, no model"
    if "model.weights.h5" in names:
        return _NO_MODEL.format("Keras")
    if all(name.endswith(".npy") for name in names):
        return f"arrays ({', '.join(names)[:60]}), no model; latents are read by edit.py latents"
    if inner is not None:
        return f"a zip archive: unpack it and give {inner[:80]!r} in it"
    if any(_PICTURE_FILE.match(name) for name in names):
        return "a zip of pictures, which are data and no model; training takes it as --data.source"
    return f"a zip archive of {', '.join(names)[:80]}: unpack it; a model is one file or folder"


# ------------------------------------------------------------- pickles by the names in them

_SAVED_WHOLE = "a module saved whole with its code; only its program can save its state_dict()"
_BEGINNINGS = {
    "training.networks_fastgan": "a FastGAN as Projected GAN and StyleGAN-XL save it",
    "pg_modules.networks_fastgan": "a FastGAN of Projected GAN's",
    "pg_modules.": "a Projected GAN or StyleGAN-XL",
    "training.networks_stylegan3": "a StyleGAN3 or StyleGAN-XL",
    "training.triplane": "an EG3D",
    "training.volumetric_rendering": "an EG3D",
    "feature_networks.": "a StyleGAN-XL",
    "legacy.": "a network of NVIDIA's, saved otherwise than by its program",
    "mmgen.": "a model of mmgeneration's",
    "mmcv.": "a checkpoint of OpenMMLab's, such as mmgeneration's",
    "mmengine.": "a checkpoint of OpenMMLab's, such as mmagic's",
    "stylegan2_pytorch.": "a model of lucidrains' stylegan2-pytorch",
    "diffusers.": "a model of diffusers'",
    "transformers.": "a model of transformers'",
    "tensorflow.": "a model of TensorFlow's",
    "keras.": "a model of Keras",
    "sklearn.": "a model of scikit-learn's",
    "joblib.": "a file of joblib's",
    "pandas.": "a table of pandas'",
    "PIL.": "a picture",
    "cv2.": "data of OpenCV's",
    "omegaconf.": "settings of OmegaConf's",
    "pytorch_lightning.": "a checkpoint with objects of Lightning's",
    "lightning.": "a checkpoint with objects of Lightning's",
    "torch.nn.": _SAVED_WHOLE,
    "torch.fx.": _SAVED_WHOLE,
    "torchvision.": _SAVED_WHOLE,
    "timm.": _SAVED_WHOLE,
    "models.": _SAVED_WHOLE,
    "model.": _SAVED_WHOLE,
    "networks.": _SAVED_WHOLE,
    "training.": _SAVED_WHOLE,
    "__main__.": _SAVED_WHOLE,
}


def asks_for(dotted: str) -> str:
    """Say what a file is whose pickle refers to this name; empty if unknown."""
    return next((what for start, what in _BEGINNINGS.items() if dotted.startswith(start)), "")
