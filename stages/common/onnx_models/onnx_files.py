"""Read, check, write and run ONNX files. A file may come from anywhere: nothing in it is trusted."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_session, onnx_shapes
from recast.stages.common.onnx_models.onnx_model import Model as Model
from recast.stages.common.onnx_models.onnx_model import opset as opset
from recast.stages.common.samples import Taken
from recast.stages.common.vendor_errors import first_line as first_line
from recast.stages.common.vendor_errors import foreign

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

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

    Shape inference misjudges some operators (see `onnx_shapes`): where it finds that shapes do not fit, a model
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


def inputs_of(model: Model) -> list[Port]:
    """The model's inputs; weights that IR 3 lists as inputs do not count."""
    weights = {weight.name for weight in model.graph.initializer}
    return [_port(value) for value in model.graph.input if value.name not in weights]


def outputs_of(model: Model) -> list[Port]:
    """The model's outputs."""
    return [_port(value) for value in model.graph.output]


def axis_names(model: Model, port: str) -> list[str | None]:
    """What the axes of an input of any length are called; None for others."""
    value = next(value for value in model.graph.input if value.name == port)
    return [axis.dim_param or None for axis in value.type.tensor_type.shape.dim]


def only_input(model: Model, what: str) -> Port:
    """The model's single input; StageError if there is not exactly one."""
    return _single(inputs_of(model), "input", what)


def only_output(model: Model, what: str) -> Port:
    """The model's single output; StageError if there is not exactly one."""
    return _single(outputs_of(model), "output", what)


def require_one_each(model: Model, target: str) -> None:
    """StageError unless the model has one input and one output: of a target that can give it no more."""
    for ports, kind in ((inputs_of(model), "input"), (outputs_of(model), "output")):
        if len(ports) != 1:
            names = ", ".join(port.name for port in ports) or "none"
            raise StageError(
                f"the model has {len(ports)} {kind}s ({names}), and this target runs models that have one: {target} "
                "takes one input and gives one output",
                f"give the model one {kind}",
                f"choose the target onnxruntime, which takes several {kind}s, as c and wasm do",
            )


def dtype_of(port: Port) -> str:
    """NumPy's name of the port's type; StageError for one that NumPy has none for."""
    import onnx

    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(port.element_type))
    except KeyError as error:
        raise StageError(f"'{port.name}' is of no type of numbers", "give the model tensors of numbers") from error


def described(contract: Contract, model: Model, what: str) -> Contract:
    """The contract, with the outputs that the model gives, and where there are several tensors its names of inputs."""
    from recast.stages.common.dataset import Output

    outputs = tuple(Output(one.name, one.shape[1:], dtype_of(one)) for one in outputs_of(model))
    inputs = contract.inputs
    if len(inputs) > 1 or len(outputs) > 1:
        called = samples.named_as(contract.names, [one.name for one in inputs_of(model)], what)
        inputs = tuple(replace(one, tensor=called[one.name]) for one in inputs if one.name in called)
    return replace(contract, inputs=inputs, outputs=outputs)


class Session:
    """A model in onnxruntime on the CPU, with a fixed number of threads since it changes float sums."""

    def __init__(
        self, model: Model | Path, threads: int, what: str = "the model", mode: onnx_session.Mode = "reference"
    ) -> None:
        """Load a model from a file or from memory; StageError if onnxruntime cannot.

        With the usual mode it is what others are compared with: see `recast.stages.common.onnx_models.onnx_session`.
        """
        source = model if isinstance(model, Path) else model.SerializeToString()
        with foreign(
            f"onnxruntime cannot load {what}",
            "make it anew; if it is one of your own, use operators and types that onnxruntime has on the CPU",
        ):
            self._session = onnx_session.start(source, threads, mode)
        self._what = what
        inputs = self._session.get_inputs()
        if not inputs:
            raise StageError(f"{what} has no inputs", "give the model an input")
        self.inputs = [str(value.name) for value in inputs]
        self.outputs = [str(value.name) for value in self._session.get_outputs()]
        self._fixed_batch = fixed_batch([value.shape for value in inputs], what)

    def run(self, x: Taken, batch_size: int = 256) -> Any:
        """The output for samples (N, *shape): (N, *output shape), or Samples of several outputs.

        A fixed batch overrides `batch_size`.
        """
        return samples.joined([outputs for _, outputs in self.batches(x, batch_size)])

    def batches(self, x: Taken, batch_size: int = 256) -> Iterator[tuple[int, Any]]:
        """As `run`, batch by batch: how many samples are done, and the outputs of this batch."""
        done = 0
        for batch, count in split(x, batch_size, self._fixed_batch):
            given = samples.named(batch, self.inputs, self._what)
            with foreign(
                f"{self._what} fails on {len(batch)} samples of shape {samples.shapes(x)}, "
                f"{', '.join(sorted({str(one.dtype) for one in given.values()}))}",
                "mend what it names: the shapes inside a model must follow from those of its input",
            ):
                made = dict(zip(self.outputs, self._session.run(None, given), strict=True))
            for name, value in made.items():
                if not getattr(value, "ndim", 0):
                    raise StageError(
                        f"output '{name}' of {self._what} is {'one number' if hasattr(value, 'ndim') else 'no tensor'}",
                        "export it with outputs whose first axis is the batch",
                    )
            done += count
            yield done, samples.of({name: value[:count] for name, value in made.items()})


def fixed_batch(shapes: Iterable[Sequence[Any]], what: str) -> int | None:
    """How many samples inputs of these shapes take at once; None for any number. StageError where they differ."""
    found = {shape[0] for shape in shapes if len(shape) and isinstance(shape[0], int) and shape[0]}
    if len(found) > 1:
        raise StageError(
            f"the inputs of {what} begin with axes of lengths {', '.join(map(str, sorted(found)))}",
            "export it with the batch as the first axis of every input",
        )
    return next(iter(found), None)


def split(x: Taken, batch_size: int, fixed: int | None = None) -> Iterator[tuple[Any, int]]:
    """Batches of x and how many samples of each count.

    A model with a `fixed` batch takes nothing shorter: the last sample is repeated to fill the last batch.
    """
    size = fixed or batch_size
    for start in range(0, len(x), size):
        batch = x[start : start + size]
        count = len(batch)
        if fixed and count < size:
            batch = batch[[*range(count), *[count - 1] * (size - count)]]
        yield batch, count


def _single(ports: list[Port], kind: str, what: str) -> Port:
    if len(ports) != 1:
        names = ", ".join(port.name for port in ports) or "none"
        raise StageError(
            f"{what} has {len(ports)} {kind}s ({names}), and this target runs models that have one",
            f"give the model one {kind}",
            f"choose the target onnxruntime, which takes several {kind}s, as c and wasm do" if len(ports) > 1 else "",
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
