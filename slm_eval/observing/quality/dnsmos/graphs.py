"""What is in the ONNX files of DNSMOS: their weights, where the graph is the one that this code was written for.

The files lie in speechmos's wheel. speechmos itself is never imported: it would import librosa and onnxruntime.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from slm_eval.base.errors import SlmEvalError
from slm_eval.weights.ledger import file_digest
from slm_eval.weights.locate import locate

if TYPE_CHECKING:
    from slm_eval.observing.quality.dnsmos.p808 import P808
    from slm_eval.observing.quality.dnsmos.p835 import P835

P808_FILE = "dnsmos_models/model_v8.onnx"
_ADVICE = "install it with: pip install --force-reinstall speechmos==0.0.1.1"
# The operations that compute something, in the order of the graphs; the others move data about.
_MOVES = {"Slice", "Reshape", "Concat", "Transpose", "Unsqueeze"}
_DENSE = "MatMul Add Relu MatMul Add Relu MatMul Add"
_P835_GRAPH = (
    "Conv Conv Mul Mul Add Sqrt Pow Max Log Div Conv Relu Conv Relu Conv Relu Conv Relu MaxPool Conv Relu MaxPool "
    f"Conv Relu MaxPool Conv Relu ReduceMax {_DENSE}"
)
_P808_GRAPH = f"Conv Relu MaxPool Conv Relu MaxPool Conv Relu Conv Relu MaxPool Conv Relu ReduceMax {_DENSE}"
_P835_CHANNELS, _P835_DENSE = [1, 128, 64, 64, 32, 32, 32, 64], [64, 128, 64, 3]
_P808_CHANNELS, _P808_DENSE = [1, 32, 32, 32, 32, 64], [64, 64, 64, 1]


def p835_file(personalized: bool) -> str:
    """Return the file of a P.835 network: the default one, or the one that also punishes a second talker."""
    return "pdnsmos_models/sig_bak_ovr.onnx" if personalized else "dnsmos_models/sig_bak_ovr.onnx"


def digest(name: str) -> str:
    """Return the SHA-256 of one of the files, in hexadecimal.

    Raises:
        SlmEvalError: the weights are missing, or not the official ones.
    """
    return file_digest(locate("dnsmos") / name)


def read_p835(personalized: bool) -> P835:
    """Read the P.835 network, onto the CPU.

    Raises:
        SlmEvalError: as ``digest``, or the graph is not the one this code was written for.
    """
    import torch

    from slm_eval.observing.quality.dnsmos.p835 import P835

    graph = _Graph(p835_file(personalized), _P835_GRAPH)
    real, imaginary = (graph.tensor(node.input[1]) for node in graph.nodes["Conv"][:2])
    graph.require(real.shape == imaginary.shape == (161, 320, 1), "the spectrum matrices")
    spectrum = torch.cat([real[:, :, 0], imaginary[:, :, 0]])
    return P835(spectrum, graph.convolutions(2, _P835_CHANNELS), graph.dense(_P835_DENSE))


def read_p808() -> P808:
    """Read the P.808 network, onto the CPU.

    Raises:
        SlmEvalError: as ``read_p835``.
    """
    from slm_eval.observing.quality.dnsmos.p808 import P808

    graph = _Graph(P808_FILE, _P808_GRAPH)
    return P808(graph.convolutions(0, _P808_CHANNELS), graph.dense(_P808_DENSE))


class _Graph:
    """An ONNX graph whose operations were checked: nodes by operation, tensors by name."""

    def __init__(self, name: str, operations: str) -> None:
        import onnx

        self.name = name
        graph = onnx.load(locate("dnsmos") / name).graph
        nodes = [node for node in graph.node if node.op_type not in _MOVES]
        self.require(" ".join(node.op_type for node in nodes) == operations, "the order of operations")
        self.nodes: dict[str, list[Any]] = {}
        for node in nodes:
            self.nodes.setdefault(node.op_type, []).append(node)
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}

    def require(self, holds: bool, what: str) -> None:
        """Raise SlmEvalError unless the graph is as expected."""
        if not holds:
            raise SlmEvalError(f"{self.name} is not the expected DNSMOS network: {what} differ; {_ADVICE}")

    def tensor(self, name: str) -> Any:
        """Return a float32 weight as a tensor of its own memory."""
        import torch
        from onnx import numpy_helper

        return torch.from_numpy(numpy_helper.to_array(self._initializers[name]).copy())

    def convolutions(self, first: int, channels: list[int]) -> list[Any]:
        """Return the 3×3 convolutions from the ``first`` on, through the given numbers of channels."""
        from slm_eval.observing.quality.dnsmos.layers import Layer

        layers = [Layer(self.tensor(node.input[1]), self.tensor(node.input[2])) for node in self.nodes["Conv"][first:]]
        shapes = [(after, before, 3, 3) for before, after in pairwise(channels)]
        self.require([tuple(layer.weight.shape) for layer in layers] == shapes, "the shapes of the convolutions")
        padding = [list(a.ints) for n in self.nodes["Conv"][first:] for a in n.attribute if a.name == "pads"]
        self.require(padding == [[1, 1, 1, 1]] * len(layers), "the paddings of the convolutions")
        return layers

    def dense(self, sizes: list[int]) -> list[Any]:
        """Return the dense layers, through the given numbers of features. ONNX stores (in, out)."""
        from slm_eval.observing.quality.dnsmos.layers import Layer

        products, sums = self.nodes["MatMul"], self.nodes["Add"][-len(self.nodes["MatMul"]) :]
        layers = [
            Layer(self.tensor(product.input[1]).T.contiguous(), self.tensor(addition.input[1]))
            for product, addition in zip(products, sums, strict=True)
        ]
        shapes = [(after, before) for before, after in pairwise(sizes)]
        self.require([tuple(layer.weight.shape) for layer in layers] == shapes, "the shapes of the dense layers")
        return layers
