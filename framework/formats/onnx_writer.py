"""A generator as an ONNX graph, for runtimes without torch.

The graph is written node by node and not traced: its names are the field's, any batch size fits,
and it does not depend on the behaviour of a tracer.

| name | what | shape |
|---|---|---|
| `z` | input: latents, where `z_dim` is not 0 | (batch, z_dim) |
| `c` | input: labels, where there are some | (batch, c_dim) |
| `truncation_psi` | input: 1 if it is not given | () |
| `ws` | output: styles after truncation | (batch, num_ws, w_dim) |
| `image` | output: pictures, about [-1, 1], with the constant noise | (batch, channels, H, W) |

What follows `ws` depends on `ws` alone: `onnx.utils.extract_model` cuts out the synthesis.
"""

import importlib.util
import json
import math
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from framework.errors import UserError
from framework.models.stylegan2 import Generator
from framework.models.stylegan2.fade import without_fade
from framework.models.stylegan2.generator import SynthesisBlock, SynthesisLayer, ToRGBLayer
from framework.models.stylegan2.layers import FullyConnectedLayer
from framework.ops.bias_act import LRELU_GAIN
from framework.ops.modulated_conv2d import DEMOD_EPS

OPSET, IR_VERSION = 17, 8  # from 2022: every current runtime reads them
_LARGEST_BYTES = (1 << 31) - 1  # limit of a protocol buffer
_NORM_EPS, _SLOPE = 1e-8, 0.2


def check_onnx() -> None:
    """Check that the library is there.

    Raises:
        UserError: If the library is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        advice = "install it with pip install 'dragline[onnx]'"
        raise UserError(f"onnx: needs the package onnx; {advice}", "to")


def write_onnx(file: BinaryIO, generator: Generator) -> list[str]:
    """Write a generator as a graph in float32 with the names of the table above.

    Returns:
        Notes on what is lost and on the names of inputs, a sentence each.

    Raises:
        UserError: If the library is not installed, or the generator is larger than a file may be.
    """
    check_onnx()
    import onnx

    network = without_fade(generator)
    graph = _Graph(onnx)
    _synthesis(graph, network, _mapping(graph, network))
    model = graph.model(network)
    if model.ByteSize() > _LARGEST_BYTES:
        raise UserError("onnx: a generator of more than 2 GiB, which no such file can hold", "to")
    onnx.checker.check_model(model, full_check=True)
    file.write(model.SerializeToString())
    inputs = ", ".join(value.name for value in graph.inputs)
    return [
        f"Inputs: {inputs}; truncation_psi is 1 where it is not given. Outputs: image and ws.",
        "The noise is the constant one; random noise is left out.",
        *(["All blocks run in float32 there."] if generator.config["low_precision_blocks"] else []),
    ]


class _Graph:
    """A graph under construction: nodes and constants; values are referred to by name."""

    def __init__(self, onnx: ModuleType) -> None:
        self._onnx, self._helper, self._float = onnx, onnx.helper, onnx.TensorProto.FLOAT
        self.nodes: list[Any] = []
        self.numbers: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def constant(self, values: Any, name: str = "") -> str:
        """Add constants, float32, or int64 where they are whole; return their name."""
        values = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.array(values)
        kind = np.int64 if values.dtype.kind == "i" else np.float32
        name = name or f"n{len(self.numbers)}"
        values = np.asarray(values, kind, order="C")
        self.numbers.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = name or f"v{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, inputs, [name], **attributes))
        return name

    def input(self, name: str, *shape: int | str) -> str:
        """Add an input; return its name."""
        self.inputs.append(self._helper.make_tensor_value_info(name, self._float, shape))
        return name

    def output(self, name: str, *shape: int | str) -> None:
        """Declare an output."""
        self.outputs.append(self._helper.make_tensor_value_info(name, self._float, shape))

    def model(self, generator: Generator) -> Any:
        """Build the whole model, with metadata that describe it."""
        helper, out = self._helper, self.outputs
        graph = helper.make_graph(self.nodes, "stylegan2", self.inputs, out, self.numbers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="dragline", opset_imports=opsets)
        model.ir_version = IR_VERSION
        facts = {"config": json.dumps(generator.config), "digest": generator.digest}
        helper.set_model_props(model, facts)
        return model

    # Layers

    def dense(self, x: str, layer: FullyConnectedLayer, gain: float = 1.0) -> str:
        """Map (N, I) to (N, O); the gain of a leaky ReLU is part of the weights."""
        gain *= LRELU_GAIN if layer.act == "lrelu" else 1.0
        weight = self.constant(layer.weight * (layer.weight_gain * gain))
        x = self.op("Gemm", x, weight, self.constant(layer.bias * layer.bias_gain * gain), transB=1)
        return self.op("LeakyRelu", x, alpha=_SLOPE) if layer.act == "lrelu" else x

    def normalised(self, x: str) -> str:
        """Scale rows to a mean square of 1."""
        mean = self.op("ReduceMean", self.op("Mul", x, x), axes=[1], keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant(_NORM_EPS)))
        return self.op("Div", x, root)

    def as_maps(self, x: str) -> str:
        """Reshape (N, C) to (N, C, 1, 1)."""
        return self.op("Unsqueeze", x, self.constant([2, 3]))

    def clamped(self, x: str, limit: float | None) -> str:
        if limit is None:
            return x
        return self.op("Clip", x, self.constant(-limit), self.constant(limit))

    def doubled(self, x: str, channels: int, kernel: Tensor) -> str:
        """Upsample by a filter of four taps that keeps the mean."""
        weight = self.constant((kernel * 4).expand(channels, 1, *kernel.shape))
        strides, pads = [2, 2], [1] * 4  # for four taps, as in all filters here
        return self.op("ConvTranspose", x, weight, group=channels, strides=strides, pads=pads)

    def styled(self, x: str, styles: str, weight: Tensor, kernel: Tensor | None) -> str:
        """Scale features by styles (N, C) and convolve; upsample if there is a filter."""
        x = self.op("Mul", x, self.as_maps(styles))
        if kernel is None:
            return self.op("Conv", x, self.constant(weight), pads=[weight.shape[-1] // 2] * 4)
        x = self.op("ConvTranspose", x, self.constant(weight.transpose(0, 1)), strides=[2, 2])
        channels = weight.shape[0]
        fir = self.constant((kernel * 4).flip(0, 1).expand(channels, 1, *kernel.shape))
        return self.op("Conv", x, fir, group=channels, pads=[1] * 4)

    def layer(self, x: str, w: str, layer: SynthesisLayer, gain: float) -> str:
        """Add a modulated convolution (StyleGAN2, Eq. 1 and 3), noise, bias, leaky ReLU."""
        weight, act_gain = layer.weight, gain * LRELU_GAIN
        styles = self.dense(w, layer.affine)
        x = self.styled(x, styles, weight, layer.resample_filter if layer.up == 2 else None)
        energy = self.constant(weight.square().sum(dim=(2, 3)).t())
        square = self.op("MatMul", self.op("Mul", styles, styles), energy)
        norm = self.op("Sqrt", self.op("Add", square, self.constant(DEMOD_EPS)))
        norm = self.op("Div", self.constant(act_gain), norm)
        x = self.op("Mul", x, self.as_maps(norm))
        noise = layer.noise_const * (layer.noise_strength * act_gain)
        x = self.op("Add", x, self.constant(noise[None, None]))
        x = self.op("Add", x, self.constant(layer.bias[None, :, None, None] * act_gain))
        x = self.op("LeakyRelu", x, alpha=_SLOPE)
        return self.clamped(x, None if layer.conv_clamp is None else layer.conv_clamp * gain)

    def colours(self, x: str, w: str, layer: ToRGBLayer) -> str:
        """Add a 1x1 modulated convolution without demodulation."""
        x = self.styled(x, self.dense(w, layer.affine, layer.weight_gain), layer.weight, None)
        x = self.op("Add", x, self.constant(layer.bias[None, :, None, None]))
        return self.clamped(x, layer.conv_clamp)


def _mapping(graph: _Graph, generator: Generator) -> str:
    """Add the nodes from `z`, `c` and `truncation_psi` to `ws`."""
    mapping, parts = generator.mapping, []
    if generator.z_dim:
        parts.append(graph.normalised(graph.input("z", "batch", generator.z_dim)))
    if generator.c_dim:
        label = graph.input("c", "batch", generator.c_dim)
        parts.append(graph.normalised(graph.dense(label, mapping.embed)))
    psi = graph.constant(1.0, graph.input("truncation_psi"))
    w = graph.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    for i in range(mapping.num_layers):
        w = graph.dense(w, getattr(mapping, f"fc{i}"))
    mean = graph.constant(mapping.w_avg)
    w = graph.op("Add", graph.op("Mul", graph.op("Sub", w, mean), psi), mean)
    rows = graph.op("Unsqueeze", w, graph.constant([1]))
    ws = graph.op("Tile", rows, graph.constant([1, generator.num_ws, 1]), name="ws")
    graph.output("ws", "batch", generator.num_ws, generator.w_dim)
    return ws


def _synthesis(graph: _Graph, generator: Generator, ws: str) -> None:
    """Add the nodes from `ws` to `image`, block by block."""
    styles = [graph.op("Gather", ws, graph.constant(i), axis=1) for i in range(generator.num_ws)]
    synthesis, first = generator.synthesis, 0
    x, img = graph.constant(synthesis.b4.const[None]), None  # type: ignore[index]
    for block in synthesis.blocks:
        x, img = _block(graph, block, x, img, styles[first:], generator.img_channels)
        first += block.num_conv
    assert img is not None
    graph.op("Identity", img, name="image")
    graph.output("image", "batch", generator.img_channels, *generator.img_size)


def _block(
    graph: _Graph, block: SynthesisBlock, x: str, img: str | None, styles: list[str], channels: int
) -> tuple[str, str | None]:
    """Add a block, from features and picture of the block below to its own."""
    below, gain = x, math.sqrt(0.5) if block.has_shortcut else 1.0
    if not block.is_first:
        x = graph.layer(x, styles[0], block.conv0, 1.0)
    x = graph.layer(x, styles[block.num_conv - 1], block.conv1, gain)
    if block.has_shortcut:
        weight = block.skip.weight * (block.skip.weight_gain * gain)
        skipped = graph.op("Conv", below, graph.constant(weight))
        larger = graph.doubled(skipped, weight.shape[0], block.skip.resample_filter)
        x = graph.op("Add", x, larger)
    img = None if img is None else graph.doubled(img, channels, block.resample_filter)
    if block.has_colours:
        rgb = graph.colours(x, styles[block.num_conv], block.torgb)
        img = rgb if img is None else graph.op("Add", img, rgb)
    return x, img
