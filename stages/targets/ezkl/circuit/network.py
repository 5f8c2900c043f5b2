"""The model as EZKL reads it, and samples and scores as EZKL exchanges them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.axis_nodes import fresh, taken_names
from recast.stages.common.onnx_models.onnx_subgraphs import reads
from recast.stages.targets.ezkl.circuit.settings import NETWORK, Settings
from recast.stages.targets.ezkl.process.calls import USUAL, Call, Ezkl, TimeLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIT = "give sizes in quantize.variables that are the data's, or leave them out"
ONE: Mapping[str, int] = {"batch_size": 1}
"""what EZKL assumes of axes by default: its own name for the batch, whatever the model calls it"""


def one_sample(model: onnx_files.Model, what: str, sizes: Mapping[str, int] = ONE) -> onnx_files.Model:
    """The model with its batch fixed to one sample and its named axes to their sizes, as a circuit needs them.

    Changed in place. StageError if it has more than one input or output, a fixed batch of more than one, an axis
    without a size, or none of a name that has one.
    """
    for port in (onnx_files.only_input(model, what), onnx_files.only_output(model, what)):
        if port.shape and port.shape[0] not in (None, 1):
            raise StageError(
                f"{what} takes batches of {port.shape[0]}",
                "set export.dynamic_batch to true",
                "name a file as import.path whose first axis is open, or 1",
            )
    _fix_named(model, what, sizes)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    # shapes inferred for any batch no longer hold
    del model.graph.value_info[:]
    onnx_files.check(model, what)
    return model


def with_strides(model: onnx_files.Model) -> onnx_files.Model:
    """The model with the strides ONNX has by default written down, without which EZKL takes no convolution or pool.

    Changed in place.
    """
    import onnx

    ranks = {value.name: len(value.dims) - 2 for value in model.graph.initializer}
    for node in model.graph.node:
        given = {entry.name: entry for entry in node.attribute}
        if node.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool") and "strides" not in given:
            rank = len(given["kernel_shape"].ints) if "kernel_shape" in given else ranks.get(node.input[1], 0)
            node.attribute.append(onnx.helper.make_attribute("strides", [1] * rank, attr_type=onnx.AttributeProto.INTS))
    return model


def with_dense_kernels(model: onnx_files.Model) -> onnx_files.Model:
    """The model with zeros in the kernels of dilated convolutions, which EZKL takes none of; where they are constants.

    Changed in place. It computes the same sums, of more terms.
    """
    import numpy as np
    import onnx

    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}
    taken = taken_names(model.graph)
    for node in model.graph.node:
        given = {entry.name: entry for entry in node.attribute}
        apart = list(given["dilations"].ints) if "dilations" in given else []
        if (
            node.op_type not in ("Conv", "ConvTranspose")
            or max(apart, default=1) == 1
            or node.input[1] not in constants
        ):
            continue
        kernels = constants[node.input[1]]
        sizes = [(size - 1) * step + 1 for size, step in zip(kernels.shape[2:], apart, strict=True)]
        dense = np.zeros((*kernels.shape[:2], *sizes), kernels.dtype)
        filled = [slice(None), slice(None), *(slice(None, None, step) for step in apart)]
        dense[tuple(filled)] = kernels
        node.input[1] = fresh(node.input[1], taken)
        model.graph.initializer.append(onnx.numpy_helper.from_array(dense, node.input[1]))
        node.attribute.remove(given["dilations"])
        if "kernel_shape" in given:
            del given["kernel_shape"].ints[:]
            given["kernel_shape"].ints.extend(sizes)
    drop_unread_weights(model)
    return model


def without_idle_bounds(model: onnx_files.Model) -> onnx_files.Model:
    """The model without bounds of Clips that no float passes, which EZKL cannot hold.

    Changed in place. Exporters write the largest float where there is no bound.
    """
    import numpy as np
    import onnx

    largest = float(np.finfo(np.float32).max)
    idle = {"min": lambda value: value <= -largest, "max": lambda value: value >= largest}
    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Clip":
            continue
        # attributes before operator set 11, inputs from there on
        kept = [entry for entry in node.attribute if not idle[entry.name](entry.f)]
        del node.attribute[:]
        node.attribute.extend(kept)
        for index, bound in zip((1, 2), ("min", "max"), strict=True):
            name = node.input[index] if index < len(node.input) else ""
            if name in constants and idle[bound](float(constants[name])):
                node.input[index] = ""
        while not node.input[-1]:
            del node.input[-1]
    drop_unread_weights(model)
    return model


def drop_unread_weights(model: onnx_files.Model) -> None:
    """Take out the weights that no node reads and that are no output."""
    read = {name for node in model.graph.node for name in reads(node)} | {value.name for value in model.graph.output}
    weights = [weight for weight in model.graph.initializer if weight.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)


def _fix_named(model: onnx_files.Model, what: str, sizes: Mapping[str, int]) -> None:
    shapes = [value.type.tensor_type.shape.dim for value in (*model.graph.input, *model.graph.output)]
    batch = {shape[0].dim_param for shape in shapes if shape} - {""}
    named = {axis.dim_param for shape in shapes for axis in shape} - {""}
    for name, size in sizes.items():
        if name in batch and size != 1:
            raise StageError(f"quantize.variables: '{name}' is the batch of {what}", "set it to 1, or leave it out")
        if name not in named and name not in ONE:
            known = f"it has: {', '.join(sorted(named))}" if named else "all its axes have a size: leave it out"
            raise StageError(f"quantize.variables: {what} has no axis '{name}'", known)
    known_sizes = {**sizes, **dict.fromkeys(batch, 1)}
    for shape in shapes:
        for axis in shape:
            if axis.dim_param in known_sizes:
                axis.dim_value = known_sizes[axis.dim_param]
    for axis in shapes[0][1:]:
        if axis.dim_param:
            raise StageError(
                f"{what} has an axis '{axis.dim_param}' of any size, and a circuit's are fixed",
                f"set quantize.variables to {{{axis.dim_param}: SIZE}}",
            )
        if not axis.HasField("dim_value"):
            raise StageError(f"{what} has an axis of any size that has no name", "export it with a fixed shape")


def require_shape(network: Path, shape: tuple[int, ...]) -> None:
    """StageError unless the network takes samples of that shape: EZKL would take a longer one for several."""
    takes = onnx_files.only_input(onnx_files.read_model(network), "the network").shape[1:]
    if takes != shape:
        raise StageError(f"the network takes samples of shape {takes}, and the data's have {shape}", FIT)


def output_shape(emitted: Path) -> tuple[int, ...]:
    """Of what the emitted network gives for a sample: a circuit has but a list of numbers."""
    network = onnx_files.read_model(emitted / NETWORK, "the emitted network")
    return tuple(int(length or 1) for length in onnx_files.only_output(network, "the emitted network").shape[1:])


def write_samples(x: NDArray[np.float32], path: Path) -> Path:
    """Normalised samples (n, *shape), one after another in one list: EZKL splits it by the input's size."""
    path.write_text(json.dumps({"input_data": [x.reshape(-1).tolist()]}), encoding="utf-8")
    return path


def forward(
    ezkl: Ezkl, compiled: Path, settings: Settings, x: NDArray[np.float32], expected: float
) -> NDArray[np.float32]:
    """Normalised samples (n, *shape) through the circuit's own arithmetic: outputs (n, numbers), flat.

    It computes witnesses, and proves nothing. `expected`: seconds it takes.
    """
    import numpy as np

    answers = witnesses(ezkl, compiled, x, ("outputs",), limits=TimeLimits(expected))
    return np.array([settings.scores(outputs[0]) for (outputs,) in answers], np.float32)


def witnesses(
    ezkl: Ezkl,
    compiled: Path,
    x: NDArray[np.float32],
    keep: tuple[str, ...],
    first: Sequence[Call] = (),
    limits: TimeLimits = USUAL,
) -> list[list[Any]]:
    """The entries `keep` of the witness of each of the normalised samples (n, *shape).

    The calls `first` come before, in the same process. Inputs and witnesses lie in files that are deleted.
    """
    calls: list[Call] = []
    place = ezkl.place
    for index, sample in enumerate(x):
        data = write_samples(sample, place / f"sample{index}.json")
        arguments = {"data": str(data), "model": str(compiled), "output": str(place / "witness.json")}
        calls.append(Call("gen_witness", arguments, keep))
    try:
        answers: list[Any] = ezkl.run(
            [*first, *calls],
            "EZKL's gen_witness",
            limits,
            shown=f"run the circuit on {len(x)} samples",
        ).values
    finally:
        for path in (place / "witness.json", *(Path(call.arguments["data"]) for call in calls)):
            path.unlink(missing_ok=True)
    return answers[len(first) :]
