"""Exported graphs draw in onnxruntime what the networks draw here."""

import sys

import numpy as np
import pytest
import torch

from framework.cli.edit import main
from framework.errors import UserError
from framework.formats import load_generator, save_model_folder
from framework.formats.export import export_networks
from framework.models.stylegan2 import Generator
from tests.formats.test_export import GENERATORS, made

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def drawn(path, **inputs):
    """Pictures and styles of a graph."""
    given = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
    return [torch.from_numpy(array) for array in session(path).run(["image", "ws"], given)]


@pytest.mark.parametrize("options", GENERATORS.values(), ids=GENERATORS.keys())
# D3f
def test_a_graph_draws_what_the_generator_draws(tmp_path, options):
    generator = made(Generator, **options)
    out = tmp_path / "a.onnx"
    notes = export_networks(generator, None, "onnx", out)
    for count, psi in ((3, 0.5), (1, None)):  # any batch; 1 where no psi is given
        z = torch.randn(count, generator.z_dim)
        labels = torch.eye(3)[torch.arange(count) % 3] if generator.c_dim else None
        inputs = {} if psi is None else {"truncation_psi": psi}
        inputs |= {"z": z} if generator.z_dim else {}
        inputs |= {} if labels is None else {"c": labels}
        image, ws = drawn(out, **inputs)
        psi = 1.0 if psi is None else psi
        torch.testing.assert_close(ws, generator.mapping(z, labels, psi), **CLOSE)
        torch.testing.assert_close(image, generator(z, labels, psi), **CLOSE)
    assert ("All blocks run in float32 there." in notes) == ("low_precision_blocks" in options)


# D3f
def test_the_synthesis_can_be_cut_out_of_a_graph(tmp_path):
    generator = made(Generator)
    export_networks(generator, None, "onnx", tmp_path / "a.onnx")
    part = tmp_path / "synthesis.onnx"
    onnx.utils.extract_model(str(tmp_path / "a.onnx"), str(part), ["ws"], ["image"])
    ws = torch.randn(2, generator.num_ws, generator.w_dim)
    (image,) = session(part).run(["image"], {"ws": ws.numpy()})
    expected = generator.synthesis(ws, noise_mode="const")
    torch.testing.assert_close(torch.from_numpy(image), expected, **CLOSE)


# D3f
def test_the_command_exports_and_says_how_to_run_it(tmp_path, capsys):
    folder = save_model_folder(tmp_path / "model", made(Generator))
    out = tmp_path / "a.onnx"
    words = ["export", str(folder), "--to", "onnx", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Inputs: z, truncation_psi;" in said and "constant" in said and "run(['image']" in said
    model = onnx.load(out)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["digest"] == load_generator(folder).digest and '"z_dim": 10' in facts["config"]
    assert main(words) == 2
    assert "already there" in capsys.readouterr().err
    with pytest.raises(UserError, match="ONNX, a network for inference"):
        load_generator(out)


def test_without_the_library_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"needs the package onnx.*dragline\[onnx\]"):
        export_networks(made(Generator), None, "onnx", tmp_path / "out" / "a.onnx")
    assert not list(tmp_path.iterdir())
