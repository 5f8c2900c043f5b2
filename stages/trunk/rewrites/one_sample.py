"""A model that has no axis for samples, or that mixes them, as one of a single sample at a time.

An exported function of arrays often has none: it takes (100, 4) and gives (4,), or a number. And one that reduces over
its first axis has outputs of a batch, not of a sample. Either is a model of batches of one: its inputs get an axis of
length one in front, or theirs is fixed to one, and so do its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.common.onnx_models.axis_nodes import axis_node, fresh, taken_names
from recast.stages.common.onnx_models.onnx_subgraphs import rename_reads
from recast.stages.common.samples import Taken
from recast.stages.common.vendor_errors import foreign

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Input

Pairs = Sequence[tuple[onnx_files.Port, "Input"]]
"""each input of the model, and what the data is for it"""


def is_needed(model: onnx_files.Model, pairs: Pairs, few: Taken, threads: int, what: str) -> bool:
    """Whether the model takes or gives no batch; `few`: samples that the model takes, two or more."""
    if any(takes_whole(port, one.shape) for port, one in pairs):
        return True
    count = onnx_files.fixed_batch([port.shape for port, _ in pairs], what) or min(2, len(few))
    rows = [*range(min(count, len(few))), *[0] * (count - len(few))]
    given = {port.name: value for (port, _), value in zip(pairs, samples.parts(few[rows]).values(), strict=True)}
    return any(not value.ndim or len(value) != count for value in _run(model, given, threads, what).values())


def make(model: onnx_files.Model, pairs: Pairs, few: Taken, threads: int, what: str) -> None:
    """Changed in place: the model takes (1, *shape) for each input, and gives (1, ...) for each output."""
    given = {}
    for (port, one), value in zip(pairs, samples.parts(few[:1]).values(), strict=True):
        given[port.name] = value[0] if takes_whole(port, one.shape) else value
    _rewrite(model, {port.name: one.shape for port, one in pairs}, _run(model, given, threads, what))


def takes_whole(port: onnx_files.Port, shape: tuple[int, ...]) -> bool:
    """Whether samples of `shape` are all that the input takes, with no axis for the batch."""
    return len(port.shape) == len(shape) and all(
        axis is None or axis == length for axis, length in zip(port.shape, shape, strict=True)
    )


def _run(
    model: onnx_files.Model, given: Mapping[str, NDArray[Any]], threads: int, what: str
) -> dict[str, NDArray[Any]]:
    with foreign(f"onnxruntime cannot run {what}", "use operators and types that onnxruntime has on the CPU"):
        session = onnx_session.start(model.SerializeToString(), threads)
        made = session.run(None, dict(given))
    return dict(zip([value.name for value in session.get_outputs()], made, strict=True))


def _rewrite(model: onnx_files.Model, shapes: Mapping[str, tuple[int, ...]], made: Mapping[str, NDArray[Any]]) -> None:
    graph = model.graph
    taken = taken_names(graph)
    ports = {port.name: port for port in onnx_files.inputs_of(model)}
    front, back = [], []
    for value in graph.input:
        if value.name not in shapes:
            continue
        if takes_whole(ports[value.name], shapes[value.name]):
            inner = fresh(f"{value.name}/sample", taken)
            for node in graph.node:
                rename_reads(node, {value.name: inner})
            front.append(_node(model, "Squeeze", value.name, inner, taken))
        _set_shape(value, (1, *shapes[value.name]))
    for value in graph.output:
        array = made[value.name]
        if array.ndim and array.shape[0] == 1:
            _set_shape(value, array.shape)
            continue
        inner = fresh(f"{value.name}/sample", taken)
        for node in graph.node:
            for index, name in enumerate(node.output):
                if name == value.name:
                    node.output[index] = inner
            rename_reads(node, {value.name: inner})
        back.append(_node(model, "Unsqueeze", inner, value.name, taken))
        _set_shape(value, (1, *array.shape))
    nodes = [*front, *graph.node, *back]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def _node(model: onnx_files.Model, kind: str, source: str, made: str, taken: set[str]) -> Any:
    name = fresh(f"{made}/{kind.lower()}", taken)
    return axis_node(model, kind, source, made, 0, name=name, axes=fresh(f"{name}/axes", taken))


def _set_shape(value: Any, shape: tuple[int, ...]) -> None:
    dims = value.type.tensor_type.shape
    dims.ClearField("dim")
    for length in shape:
        dims.dim.add(dim_value=length)
