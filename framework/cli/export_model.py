"""`edit.py export`: a model as another program's file."""

from pathlib import Path
from shlex import quote
from typing import Any

from framework.cli.import_model import megabytes
from framework.cli.terminal import Terminal
from framework.jobs.requests.files import ExportRequest


def export(request: ExportRequest, terminal: Terminal, json: bool = False) -> None:
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
        json: End with one line of JSON: file, to, sha256, notes.
    """
    from framework.jobs.files import export_file

    outcome = export_file(request)
    print(f"{outcome.file}: {megabytes(outcome.file)}")
    for note in outcome.notes:
        print(f"note: {note}")
    where = "" if outcome.to == "onnx" else ", in that program's folder"
    print(f"try{where}: {_their_command(outcome.to, outcome.file, outcome.config)}")
    if json:
        terminal.json(outcome.to_dict())


def _their_command(to: str, path: Path, config: dict[str, Any]) -> str:
    """Return a command line of the other program that draws pictures with the file."""
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
