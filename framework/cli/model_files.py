"""`edit.py import` and `edit.py export`: models from and to the files of other programs."""

import os
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from framework.errors import UserError

Target = Literal["nvidia", "rosinality", "onnx"]


def import_(file: str, /, out: str, half: bool = False, json: bool = False) -> None:
    """Make a model folder of another program's file.

    Opens NVIDIA's .pkl (PyTorch and TensorFlow), rosinality's, pSp's and e4e's .pt, state dicts,
    and what a training run wrote; docs/formats.md has the table. What a file is, is seen in it, and
    nothing in it is run. The other commands take such files as --model, too; a folder opens faster,
    is checked by digests, and says in its card what was kept.

    Examples::

      python edit.py import downloads/network-snapshot.pkl --out models/cats
      python edit.py import e4e_ffhq_encode.pt --half --out models/faces

    Args:
        file: The file, or a hub's folder with its weights.
        out: New or empty folder.
        half: Store weights in half precision: half the size, pictures all but equal.
        json: End with one line of JSON: folder, dialect, source, sha256, networks, notes, files.
    """
    from framework.cli.common import print_json
    from framework.files import check_new_folder

    # Before torch is loaded, which takes longer than the answer.
    if not os.path.exists(file):  # where Path.exists raises, for names that are too long
        raise UserError(f"{file}: no such file", "file")
    check_new_folder(out)
    from framework.formats import import_model

    report = import_model(file, out, half)
    facts = {name: report.provenance[name] for name in ("dialect", "source", "sha256", "notes")}
    print(f"{file}: {facts['dialect']}")
    print("\n".join(report.lines()))
    for note in facts["notes"]:
        print(f"note: {note}")
    files = [report.folder / name for name in report.files]
    print(f"{report.folder}: {', '.join(report.files)}; {_megabytes(*files)}")
    label = " --class 0" if report.networks["generator"]["c_dim"] else ""
    print(f"try: python edit.py generate --model {quote(str(report.folder))} --seeds 1-16{label}"
          f" --grid --out {quote(f'out/{report.folder.resolve().name}')}")  # fmt: skip
    if json:
        print_json(
            {"folder": str(report.folder), **facts, "networks": report.networks,
             "files": list(map(str, files))}
        )  # fmt: skip


def export(model: str, /, to: Target, out: str, json: bool = False) -> None:
    """Write a model as a file that another program opens.

    nvidia is a .pkl for stylegan2-ada-pytorch, stylegan3 and the official DragGAN; rosinality is a
    .pt for stylegan2-pytorch and what was built on it; onnx is a graph for runtimes without torch,
    which takes z, labels c and truncation_psi and gives image and ws, any number at once, with the
    constant noise (it needs pip install 'dragline[onnx]').

    Examples::

      python edit.py export vehicles64 --to nvidia --out out/stylegan2-vehicles64.pkl
      python edit.py export models/cats --to rosinality --out out/cats.pt
      python edit.py export models/cats --to onnx --out out/cats.onnx

    Args:
        model: Zoo name, model folder or file, all that other commands take as --model.
        to: Whose file it shall be.
        out: New file. DragGAN opens only names with "stylegan2" in them.
        json: End with one line of JSON: file, to, sha256, notes.
    """
    from framework.cli.common import print_json
    from framework.files import check_new_file, sha256_file

    path = check_new_file(out)
    from framework.formats import load_generator
    from framework.formats.export import export_model

    notes = export_model(model, to, path)
    # Read back: what was written opens; a graph was checked when it was written.
    config = load_generator(model if to == "onnx" else path).config
    print(f"{path}: {_megabytes(path)}")
    for note in notes:
        print(f"note: {note}")
    where = "" if to == "onnx" else ", in that program's folder"
    print(f"try{where}: {_their_command(to, path, config)}")
    if json:
        print_json({"file": str(path), "to": to, "sha256": sha256_file(path), "notes": notes})


def _their_command(to: Target, path: Path, config: dict[str, Any]) -> str:
    """A command line of the other program that draws pictures with the file."""
    file = quote(str(path.resolve()))
    if to == "onnx":
        numbers = {"z": f"n.random.randn(1, {config['z_dim']})" if config["z_dim"] else "",
                   "c": f"n.eye({config['c_dim']})[:1]" if config["c_dim"] else ""}  # fmt: skip
        feed = ", ".join(f"'{name}': {x}.astype('f')" for name, x in numbers.items() if x)
        return ("python -c \"import sys, numpy as n, onnxruntime as o; print(o.InferenceSession("
                f"sys.argv[1]).run(['image'], {{{feed}}})[0].shape)\" {file}")  # fmt: skip
    if to == "nvidia":
        label = " --class=0" if config["c_dim"] else ""
        return f"python generate.py --network={file} --seeds=1-16{label} --outdir=out"
    return f"python generate.py --ckpt {file} --size {config['img_size'][0]} --pics 16"


def _megabytes(*files: Path) -> str:
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
