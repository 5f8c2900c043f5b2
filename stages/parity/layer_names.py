"""Trace each tensor of an ONNX model back to the PyTorch layer it came from.

The evidence, the surest first: the *value*, equal to the layer's output on the reference samples; the *scope*, what the
exporter noted of the module a node stands for; and the *structure*, the order of operations of one kind and shape
between tensors that are known. Tensors keep their names through simplification and quantization, so one
table serves every form of the model; stages behind `export` read it and need no PyTorch.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.activations import MODEL, Layer
from recast.stages.parity.metrics import difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "layers.json"
EQUAL_DB = 60.0
"""SQNR from which two values count as one: float32 keeps 120 and more, two layers that differ at all hardly 40"""
NAME_SCOPES = "pkg.torch.onnx.name_scopes"
"""metadata of the newer exporter: the modules around a node, outermost first, then the node's own name"""
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "linear": ("Gemm", "MatMul", "Add"),
    "conv": ("Conv", "ConvTranspose"),
    "relu6": ("Clip", "Min"),
    "hardtanh": ("Clip", "Min"),
    "clamp": ("Clip", "Min", "Max"),
    "flatten": ("Flatten", "Reshape"),
    "view": ("Reshape",),
    "reshape": ("Reshape",),
    "permute": ("Transpose",),
    "silu": ("Mul",),
    "gelu": ("Gelu", "Mul"),
    "batchnorm": ("BatchNormalization", "Conv", "Gemm"),
    "layernorm": ("LayerNormalization", "Add", "Mul"),
    "adaptiveavgpool": ("GlobalAveragePool", "ReduceMean", "AveragePool"),
    "avgpool": ("AveragePool", "GlobalAveragePool", "ReduceMean"),
    "cat": ("Concat",),
    "embedding": ("Gather",),
    "mean": ("ReduceMean",),
}
"""what an operation of PyTorch becomes, where ONNX calls it otherwise"""


def trace(
    model: onnx_files.Model,
    values: Mapping[str, NDArray[Any]],
    layers: Sequence[Layer],
    outputs: Mapping[str, NDArray[Any]],
) -> dict[str, tuple[str, str]]:
    """Tensor -> (layer, evidence), for each tensor that one layer of PyTorch's is known to give.

    `values`: the ONNX model's activations in running order; `outputs`: layer -> PyTorch's output on the
    same samples, as `recast.stages.parity.activations` names layers, in the order they finish. No layer is named twice.
    """
    nodes = {name: node for node in model.graph.node for name in node.output}
    tensors = [name for name in values if name in nodes]
    scopes = {name: _scope(nodes[name]) for name in tensors}
    known = [layer for layer in layers if layer.name != MODEL and layer.name in outputs]
    found: dict[str, tuple[str, str]] = {}
    free = {layer.name: layer for layer in known}
    for name in tensors:
        alike = [one for one in free if _equal(outputs[one], values[name])]
        if alike:
            # a block gives what the last layer in it gives: that is the layer
            alike = [one for one in alike if not any(other.startswith(f"{one}.") for other in alike)]
            # several others are equal where one changes nothing, as Dropout: the nearest in scope
            best = next((one for one in reversed(scopes[name]) if one in alike), alike[0])
            found[name] = best, "value"
            del free[best]
    # a block gives what a layer in it gives, which is the one to name
    blocks = {one.name for one in known if any(other.name.startswith(f"{one.name}.") for other in known)}
    for name in reversed(tensors):  # a layer of several nodes gives what its last one gives
        scope = next((one for one in reversed(scopes[name]) if one in free), None)
        # only the innermost module of the scope: a block's first node is not the block's output
        if name not in found and scope is not None and scope == scopes[name][-1] and scope not in blocks:
            del free[scope]
            if outputs[scope].shape == values[name].shape:
                found[name] = _normalised(scope, name, known, free, model), "scope"
                free.pop(found[name][0], None)
    found |= _by_structure(tensors, nodes, values, known, free, outputs, found)
    return {name: found[name] for name in tensors if name in found}


def write(path: Path, traced: Mapping[str, tuple[str, str]]) -> None:
    """Write layers.json: tensor -> the layer that gives it, and what shows that it does."""
    table = {tensor: {"layer": layer, "evidence": evidence} for tensor, (layer, evidence) in traced.items()}
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def of(export: Path) -> dict[str, str]:
    """Tensor -> layer for the model in `export`; empty for an imported one, whose layers are known by tensor only."""
    return read(export / FILE) if (export / FILE).is_file() else {}


def read(path: Path) -> dict[str, str]:
    """Tensor -> layer, as `write` wrote it; StageError if the file is damaged."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {tensor: str(entry["layer"]) for tensor, entry in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(
            f"cannot read the layer names {path.name}: {error}", "run the recipe again, which makes it anew"
        ) from error


def _normalised(
    layer: str, tensor: str, known: Sequence[Layer], free: Mapping[str, Layer], model: onnx_files.Model
) -> str:
    """The BatchNorm behind the layer, if the exporter has folded it in: the older one keeps the layer's name then."""
    names = [one.name for one in known]
    behind = known[names.index(layer) + 1 :][:1]
    readers = [node.op_type for node in model.graph.node if tensor in node.input]
    folded = behind and behind[0].kind.startswith("BatchNorm") and "BatchNormalization" not in readers
    return behind[0].name if folded and behind[0].name in free else layer


def _scope(node: Any) -> list[str]:
    """Qualified names of the modules around the node, outermost first, as far as the exporter noted them."""
    noted = next((entry.value for entry in node.metadata_props if entry.key == NAME_SCOPES), None)
    if noted is not None:
        try:
            names = ast.literal_eval(noted)
        except (ValueError, SyntaxError):
            return []
        # the last is the node's own name
        return [str(name) for name in names[:-1] if name]
    # the older exporter: /blocks/blocks.0/conv/Conv
    path: list[str] = []
    for part in str(node.name).split("/")[1:-1]:
        inside = path[-1] if path else ""
        path.append(part if not inside or part.startswith(f"{inside}.") else f"{inside}.{part}")
    return path


def _equal(expected: NDArray[Any], value: NDArray[Any]) -> bool:
    return expected.shape == value.shape and difference(expected, value, 1e-12).sqnr_db >= EQUAL_DB


def _by_structure(
    tensors: Sequence[str],
    nodes: Mapping[str, Any],
    values: Mapping[str, NDArray[Any]],
    known: Sequence[Layer],
    free: Mapping[str, Layer],
    outputs: Mapping[str, NDArray[Any]],
    found: Mapping[str, tuple[str, str]],
) -> dict[str, tuple[str, str]]:
    """The longest common order of what is left between neighbours that are known."""
    places = {layer.name: index for index, layer in enumerate(known)}
    matched: dict[str, tuple[str, str]] = {}
    run: list[str] = []
    low = -1
    for name in [*tensors, None]:
        at = places[found[name][0]] if name is not None and name in found else None
        if name is not None and at is None:
            run.append(name)
            continue
        high = len(known) if at is None else at
        between = [layer for layer in known[low + 1 : high] if layer.name in free]
        pairs = _longest(
            [
                [
                    _becomes(layer.kind, str(nodes[one].op_type)) and outputs[layer.name].shape == values[one].shape
                    for layer in between
                ]
                for one in run
            ]
        )
        matched |= {run[i]: (between[j].name, "structure") for i, j in pairs}
        run, low = [], max(low, high)
    return matched


def _longest(fits: Sequence[Sequence[bool]]) -> list[tuple[int, int]]:
    """The longest common subsequence of two sequences: fits[i][j] says whether i and j are alike."""
    rows, columns = len(fits), len(fits[0]) if fits else 0
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + 1 if fits[i][j] else 0)
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        if fits[i][j] and best[i][j] == best[i + 1][j + 1] + 1:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _becomes(kind: str, operation: str) -> bool:
    plain = kind.lower().replace("_", "")
    base = plain.rstrip("123d") if plain not in OPERATIONS else plain
    return operation.lower() == base or operation in OPERATIONS.get(base, ())
