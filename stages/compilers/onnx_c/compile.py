"""ONNX to C: read, rewrite, choose kernels, assign layouts, write functions, plan memory, write the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recast.stages.common.onnx_models.onnx_files import Model
from recast.stages.compilers.onnx_c.codegen import model_c
from recast.stages.compilers.onnx_c.codegen.model_h import model_h
from recast.stages.compilers.onnx_c.graph import Graph
from recast.stages.compilers.onnx_c.kernels import catalog
from recast.stages.compilers.onnx_c.kernels.base import Call
from recast.stages.compilers.onnx_c.memory.memory_plan import Plan, plan
from recast.stages.compilers.onnx_c.memory.weights import Weights, weights_c
from recast.stages.compilers.onnx_c.onnx_import import read
from recast.stages.compilers.onnx_c.options import Options, Unsupported
from recast.stages.compilers.onnx_c.passes import batch_norm, constants, dead, epilogue, identities, int8, layout
from recast.stages.compilers.onnx_c.ports import Port

__all__ = ["Options", "Port", "Sources", "Unsupported", "generate"]


@dataclass(frozen=True)
class Sources:
    """The generated C.

    `files` holds model.c and model.h. Their constants are in `weights`: C type -> the bytes of the array
    `<prefix>_weights_<C type>`, little-endian, which `build` embeds; `weights_c()` is the same as C99 text, to be
    delivered beside the others as model_weights.c.
    """

    files: dict[str, bytes]
    weights: dict[str, bytes]
    report: dict[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    prefix: str

    def weights_c(self) -> bytes:
        """model_weights.c: the constants as plain C99 arrays."""
        return weights_c(self.weights, self.prefix)


def generate(model: Model, options: Options | None = None) -> Sources:
    """The C of an `onnx.ModelProto`; the same model and options give the same bytes. Raises Unsupported."""
    options = options or Options()
    graph = read(model, options)
    outputs = tuple(_port(graph, name) for name in graph.outputs)
    rewrites = (identities.remove, batch_norm.fold, int8.quantize, constants.fold, epilogue.fuse, dead.remove)
    for rewrite in rewrites:
        rewrite(graph)
    kernels = catalog.select(graph, options)
    layout.assign(graph, kernels)
    codes = []
    for node in graph.nodes:
        call, kernel = Call(node, graph, options), kernels[node.outputs[0]]
        codes.append(model_c.NodeCode(call, kernel, kernel.emit(call)))
    calls = [code.call for code in codes]
    memory = plan(graph, calls, kernels)
    weights = Weights()
    source = model_c.model_c(graph, codes, memory, weights, options.prefix)
    inputs = tuple(_port(graph, name) for name in graph.inputs)
    files = {"model.c": source.encode(), "model.h": model_h(inputs, outputs, memory, options.prefix).encode()}
    packed = weights.packed()
    report = _report(graph, calls, kernels, memory, sum(map(len, packed.values())))
    return Sources(files, packed, report, inputs, outputs, options.prefix)


def _port(graph: Graph, name: str) -> Port:
    tensor = graph.tensors[name]
    return Port(name, tensor.shape, tensor.dtype)


def _report(graph: Graph, calls: list[Call], kernels: Any, memory: Plan, weights_bytes: int) -> dict[str, Any]:
    """What was chosen: per node its name, operator, kernel, multiply-accumulates and the nodes merged into it."""
    nodes = [
        {
            "name": call.node.name,
            "op": call.node.op,
            "kernel": "none" if step in memory.skipped else kernels[call.node.outputs[0]].name,
            "macs": call.macs,
            "folded": list(call.node.folded),
        }
        for step, call in enumerate(calls)
    ]
    return {
        "nodes": nodes,
        "macs": sum(call.macs for call in calls),
        "memory_bytes": memory.size_bytes,
        "weights_bytes": weights_bytes,
        "borders_cleared": sum(map(len, memory.cleared.values())),
    }
