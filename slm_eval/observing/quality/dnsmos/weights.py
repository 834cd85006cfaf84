"""The weights of DNSMOS: where they are, whether they are the known ones, and what is in them.

They are the ONNX files inside speechmos's wheel, byte-identical to those of the DNS-Challenge repository. speechmos
itself is never imported: it would import librosa and onnxruntime.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_eval.base.errors import SlmEvalError

if TYPE_CHECKING:
    from slm_eval.observing.quality.dnsmos.p808 import P808
    from slm_eval.observing.quality.dnsmos.p835 import P835

# SHA-256 of the files of DNS-Challenge 591184a, which are those of speechmos 0.0.1.1.
DIGESTS = {
    "dnsmos_models/sig_bak_ovr.onnx": "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
    "pdnsmos_models/sig_bak_ovr.onnx": "9e3a197449ca2177f0997afec3bd6b890117ce2f17b89d6eea7fa0d47272c81c",
    "dnsmos_models/model_v8.onnx": "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
}
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
    """Which P.835 network: the default one or the personalised one, which also punishes a second talker."""
    return "pdnsmos_models/sig_bak_ovr.onnx" if personalized else "dnsmos_models/sig_bak_ovr.onnx"


def weights_path(name: str) -> Path:
    """Where the file ``name`` of ``DIGESTS`` is.

    Raises:
        SlmEvalError: speechmos is not installed, or lacks the file.
    """
    spec = importlib.util.find_spec("speechmos")
    if spec is None or not spec.submodule_search_locations:
        raise SlmEvalError(f"the DNSMOS weights are missing: they come with the package speechmos; {_ADVICE}")
    path = Path(spec.submodule_search_locations[0]) / name
    if not path.is_file():
        raise SlmEvalError(f"the DNSMOS weights are missing: speechmos has no {name}; {_ADVICE}")
    return path


def digest(name: str) -> str:
    """SHA-256 of the file, in hexadecimal.

    Raises:
        SlmEvalError: the file is missing.
    """
    path = weights_path(name)
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verified_path(name: str) -> Path:
    """Where the file is, known to be the official one.

    Raises:
        SlmEvalError: the file is missing, or is another one.
    """
    found = digest(name)
    if found != DIGESTS[name]:
        raise SlmEvalError(
            f"{weights_path(name)} is not the official DNSMOS network: its SHA-256 starts with {found[:8]}, "
            f"expected {DIGESTS[name][:8]}; {_ADVICE}"
        )
    return weights_path(name)


def read_p835(personalized: bool) -> P835:
    """The P.835 network, on the CPU.

    Raises:
        SlmEvalError: as ``verified_path``, or the graph is not the one this code was written for.
    """
    import torch

    from slm_eval.observing.quality.dnsmos.p835 import P835

    graph = _Graph(p835_file(personalized), _P835_GRAPH)
    real, imaginary = (graph.tensor(node.input[1]) for node in graph.nodes["Conv"][:2])
    graph.require(real.shape == imaginary.shape == (161, 320, 1), "the spectrum matrices")
    spectrum = torch.cat([real[:, :, 0], imaginary[:, :, 0]])
    return P835(spectrum, graph.convolutions(2, _P835_CHANNELS), graph.dense(_P835_DENSE))


def read_p808() -> P808:
    """The P.808 network, on the CPU.

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
        graph = onnx.load(verified_path(name)).graph
        nodes = [node for node in graph.node if node.op_type not in _MOVES]
        self.require(" ".join(node.op_type for node in nodes) == operations, "the order of operations")
        self.nodes: dict[str, list[Any]] = {}
        for node in nodes:
            self.nodes.setdefault(node.op_type, []).append(node)
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}

    def require(self, holds: bool, what: str) -> None:
        """Raises SlmEvalError unless the graph is as expected."""
        if not holds:
            raise SlmEvalError(f"{self.name} is not the expected DNSMOS network: {what} differ; {_ADVICE}")

    def tensor(self, name: str) -> Any:
        """A float32 weight as a tensor of its own memory."""
        import torch
        from onnx import numpy_helper

        return torch.from_numpy(numpy_helper.to_array(self._initializers[name]).copy())

    def convolutions(self, first: int, channels: list[int]) -> list[Any]:
        """The 3×3 convolutions from the ``first`` on, through the given numbers of channels."""
        from slm_eval.observing.quality.dnsmos.layers import Layer

        layers = [Layer(self.tensor(node.input[1]), self.tensor(node.input[2])) for node in self.nodes["Conv"][first:]]
        shapes = [(after, before, 3, 3) for before, after in pairwise(channels)]
        self.require([tuple(layer.weight.shape) for layer in layers] == shapes, "the shapes of the convolutions")
        padding = [list(a.ints) for n in self.nodes["Conv"][first:] for a in n.attribute if a.name == "pads"]
        self.require(padding == [[1, 1, 1, 1]] * len(layers), "the paddings of the convolutions")
        return layers

    def dense(self, sizes: list[int]) -> list[Any]:
        """The dense layers, through the given numbers of features. ONNX stores (in, out)."""
        from slm_eval.observing.quality.dnsmos.layers import Layer

        products, sums = self.nodes["MatMul"], self.nodes["Add"][-len(self.nodes["MatMul"]) :]
        layers = [
            Layer(self.tensor(product.input[1]).T.contiguous(), self.tensor(addition.input[1]))
            for product, addition in zip(products, sums, strict=True)
        ]
        shapes = [(after, before) for before, after in pairwise(sizes)]
        self.require([tuple(layer.weight.shape) for layer in layers] == shapes, "the shapes of the dense layers")
        return layers
