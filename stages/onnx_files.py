"""Read, check, write and run ONNX files. A file may come from anywhere: nothing in it is trusted."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from stages import onnx_session
from stages.base import StageError
from stages.foreign import first_line as first_line
from stages.foreign import foreign

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Model: TypeAlias = Any
"""An `onnx.ModelProto`; onnx is not installed where the planner and mypy run."""

FLOAT = 1  # onnx.TensorProto.FLOAT
_EXTERNAL = 1  # onnx.TensorProto.EXTERNAL
_LIMIT = 2**31  # protobuf's own limit on one message


@dataclass(frozen=True)
class Port:
    """The model's input or output: `shape` has None for an axis of any length, batch first."""

    name: str
    shape: tuple[int | None, ...]
    element_type: int


MADE_AGAIN = "run the recipe again, which makes it anew"
"""of a file that a stage has written"""
EXPORT_AGAIN = "export it again"
"""of a file that a user brings"""


def read_model(path: Path, what: str = "", remedy: str = MADE_AGAIN) -> Model:
    """The checked model in `path`, its external data (which must lie beside it) embedded; `remedy` for a bad file.

    Raises StageError if the file is missing, empty, damaged, invalid ONNX, or points outside its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    what = what or path.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StageError(f"cannot read {what}: {error.strerror or error}", remedy) from error
    if not content:
        raise StageError(f"{what} is empty", remedy)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise StageError(f"{what} is not an ONNX file, or it is damaged", remedy) from error
    _embed_external_data(model, path.parent, what)
    check(model, what, remedy)
    return model


def check(model: Model, what: str, remedy: str = "report it with the model") -> None:
    """StageError with that remedy unless the onnx checker accepts the model, and its shapes fit each other.

    Shape inference misjudges some operators (see `stages.onnx_shapes`): where it finds that shapes do not fit, a model
    that onnxruntime loads is let through.
    """
    import onnx

    if not model.graph.node:
        raise StageError(f"{what} holds no graph: it is damaged, or no ONNX file", remedy)
    try:
        onnx.checker.check_model(model, full_check=True)
    # the checker raises several unrelated types, ValueError and RuntimeError among them
    except Exception as error:
        if not _shapes_alone(model) or not _loads(model):
            raise StageError(f"{what} is not valid ONNX: {first_line(error)}", remedy) from error


def _shapes_alone(model: Model) -> bool:
    """Whether the checker has nothing against the model but its shapes."""
    import onnx

    try:
        onnx.checker.check_model(model)
    except Exception:  # as above
        return False
    return True


def _loads(model: Model) -> bool:
    """Whether onnxruntime loads the model, as it is or with the padding written out that inference misjudges."""
    import importlib.util

    from stages import onnx_shapes

    if importlib.util.find_spec("onnxruntime") is None:  # no stage of that environment runs a model by it
        return False
    stated = type(model)()
    stated.CopyFrom(model)
    onnx_shapes.state(stated)
    try:
        Session(stated, 1)
    except StageError:
        return False
    return True


def write_model(model: Model, path: Path) -> None:
    """Write the model, weights inside; the same model gives the same bytes. StageError above 2 GiB."""
    if model.ByteSize() >= _LIMIT:
        raise StageError("the model is larger than 2 GiB, which one ONNX file cannot hold", "use a smaller model")
    path.write_bytes(model.SerializeToString(deterministic=True))


def has_external_data(model: Model) -> bool:
    """Whether some weight of the model lies in another file."""
    return any(tensor.data_location == _EXTERNAL for tensor in _tensors(model))


def opset(model: Model) -> int:
    """The version of the standard operator set the model uses; 0 if it uses none."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def drop_unused_domains(model: Model) -> None:
    """Remove from the model's imports every operator set that no node of it uses."""
    used = {"" if node.domain == "ai.onnx" else node.domain for node in _nodes(model)}
    kept = [entry for entry in model.opset_import if ("" if entry.domain == "ai.onnx" else entry.domain) in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def with_constant_weights(model: Model) -> Model:
    """The model, changed in place: weights are no longer listed as inputs, which could be given other values.

    Before IR version 4 all must be listed, so that one becomes 4, which holds every operator set.
    """
    weights = {weight.name for weight in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    if len(kept) != len(model.graph.input):
        model.ir_version = max(4, model.ir_version)
        del model.graph.input[:]
        model.graph.input.extend(kept)
    return model


def list_weights(model: Model, ir_version: int) -> None:
    """Undo `with_constant_weights`: the model gets a version below 4, in which every weight is listed as an input."""
    import onnx

    model.ir_version = ir_version
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in model.graph.initializer
    )


def add_weight(model: Model, tensor: Any) -> None:
    """Add a weight, an `onnx.TensorProto`; before IR version 4 every one is listed as an input as well."""
    import onnx

    model.graph.initializer.append(tensor)
    if model.ir_version < 4:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def only_input(model: Model, what: str) -> Port:
    """The model's single input (weights that IR 3 lists as inputs do not count); StageError if not one."""
    weights = {weight.name for weight in model.graph.initializer}
    ports = [_port(value) for value in model.graph.input if value.name not in weights]
    return _single(ports, "input", what)


def only_output(model: Model, what: str) -> Port:
    """The model's single output; StageError if there is not exactly one."""
    return _single([_port(value) for value in model.graph.output], "output", what)


class Session:
    """A model in onnxruntime on the CPU, with a fixed number of threads since it changes float sums."""

    def __init__(
        self, model: Model | Path, threads: int, what: str = "the model", mode: onnx_session.Mode = "reference"
    ) -> None:
        """Load a model with one input, from a file or from memory; StageError if onnxruntime cannot.

        With the usual mode it is what others are compared with: see `stages.onnx_session`.
        """
        source = model if isinstance(model, Path) else model.SerializeToString()
        with foreign(
            f"onnxruntime cannot load {what}",
            "make it anew; if it is one of your own, use operators and types that onnxruntime has on the CPU",
        ):
            self._session = onnx_session.start(source, threads, mode)
        self._what = what
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise StageError(
                f"{what} has {len(inputs)} inputs: {', '.join(value.name for value in inputs)}; it needs one",
                "give the model one input",
            )
        self._input = inputs[0].name
        first_axis = inputs[0].shape[0] if inputs[0].shape else None
        self._fixed_batch = first_axis if isinstance(first_axis, int) else None

    def run(self, x: NDArray[Any], batch_size: int = 256) -> NDArray[np.float32]:
        """The first output for samples (N, *shape): (N, *output shape). A fixed batch overrides `batch_size`."""
        import numpy as np

        return np.concatenate([outputs for _, outputs in self.batches(x, batch_size)])

    def batches(self, x: NDArray[Any], batch_size: int = 256) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """As `run`, batch by batch: how many samples are done, and the outputs of this batch."""
        done = 0
        for batch, count in split(x, batch_size, self._fixed_batch):
            with foreign(
                f"{self._what} fails on {len(batch)} samples of shape {x.shape[1:]}, {x.dtype}",
                "mend what it names: the shapes inside a model must follow from those of its input",
            ):
                outputs = self._session.run(None, {self._input: batch})[0]
            done += count
            yield done, outputs[:count]


def split(x: NDArray[Any], batch_size: int, fixed: int | None = None) -> Iterator[tuple[NDArray[Any], int]]:
    """Batches of x and how many samples of each count.

    A model with a `fixed` batch takes nothing shorter: the last sample is repeated to fill the last batch.
    """
    import numpy as np

    size = fixed or batch_size
    for start in range(0, len(x), size):
        batch = x[start : start + size]
        count = len(batch)
        if fixed and count < size:
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
        yield batch, count


def _single(ports: list[Port], kind: str, what: str) -> Port:
    if len(ports) != 1:
        names = ", ".join(port.name for port in ports) or "none"
        raise StageError(
            f"{what} has {len(ports)} {kind}s ({names}); it needs exactly one", f"give the model one {kind}"
        )
    return ports[0]


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    axes = (axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim)
    return Port(value.name, tuple(axes), int(tensor.elem_type))


def _tensors(model: Model) -> Iterator[Any]:
    """Every tensor of the model: weights, sparse ones, and those in attributes of nodes, subgraphs and functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)
    for training in model.training_info:
        yield from _graph_tensors(training.initialization)
        yield from _graph_tensors(training.algorithm)


def _nodes(model: Model) -> Iterator[Any]:
    """Every node of the model: those of subgraphs and functions too."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)


def _embed_external_data(model: Model, folder: Path, what: str) -> None:
    for tensor in _tensors(model):
        if tensor.data_location != _EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = _beside(folder, entries.get("location", ""), tensor.name, what)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
            size = path.stat().st_size
            length = size - offset if length < 0 else length
            if offset < 0 or offset + length > size:
                raise StageError(
                    f"weight {tensor.name!r} of {what} lies beyond the end of {path.name}: the file is cut short",
                    "export it again",
                )
            with path.open("rb") as file:
                file.seek(offset)
                tensor.raw_data = file.read(length)
        except (OSError, ValueError) as error:
            raise StageError(
                f"cannot read weight {tensor.name!r} of {what}: {first_line(error)}", "put the file beside the model"
            ) from error
        del tensor.external_data[:]
        tensor.ClearField("data_location")


def _beside(folder: Path, location: str, weight: str, what: str) -> Path:
    """The external file, if it is a plain file inside the model's own folder; otherwise StageError."""
    refusal = f"weight {weight!r} of {what} points to {location!r}, "
    remedy = "keep external data in files beside the model, or save the model as one file"
    parts = PurePosixPath(location).parts
    if not location or location.startswith(("/", "~")) or "\\" in location or ":" in location or ".." in parts:
        raise StageError(refusal + "outside the model's folder", remedy)
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise StageError(refusal + "which is a symbolic link", remedy)
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise StageError(refusal + "which cannot be read", "put the file beside the model") from error
    if not regular:
        raise StageError(refusal + "which is not a plain file", remedy)
    return path
