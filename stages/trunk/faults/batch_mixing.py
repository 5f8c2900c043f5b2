"""Refuse a model that gives a sample other scores in a batch than alone.

Every stage compares models in batches of its own size, and who runs the emitted file takes another one: a model that
mixes the samples of a batch has no scores of its own. Seen in an LSTM that takes axis 0 for time, in normalisation by
the batch's statistics, in a softmax or a mean over axis 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from recast.stages.common.onnx_models import onnx_files

SAMPLES = 8
FLOAT_LIMIT = 1e-3
"""largest difference of a score, relative to the largest score: sums in another order make 1e-6"""
INT8_LIMIT = 5e-2
"""where values are quantized a difference of rounding may become a step"""
REMEDY = (
    "keep the samples apart: batch_first=True for an LSTM or attention, a BatchNorm's running statistics, no sum, mean "
    "or softmax over axis 0"
)

Scores = Callable[[Any], Any]
"""outputs, of samples of every input"""
Layers = Callable[[Any], Mapping[str, "NDArray[Any]"]]


def check(run: Scores, x: Taken, what: str, layers: Layers, remedy: str = REMEDY, int8: bool = False) -> None:
    """Run samples (N, *shape) together, in reverse order and one by one.

    `layers` gives activations by a layer's name, in running order, to say where samples first meet. Raises StageError
    for scores of a sample that depend on the others, and for scores that differ between two runs of the same samples.
    """
    few = x[:SAMPLES]
    together = run(few)
    limit = INT8_LIMIT if int8 else FLOAT_LIMIT
    if _worst(run(few), together) > limit:
        raise StageError(
            f"{what} gives other scores when it runs again on the same samples: something in it is random",
            "make it repeat itself: nothing random, such as dropout or noise, may be active outside training",
        )
    places = range(len(few))
    backwards = [*reversed(places)]
    alone = samples.joined([run(few[[place]]) for place in places])
    error = max(_worst(alone, together), _worst(run(few[backwards])[backwards], together))
    if error <= limit:
        return
    raise StageError(
        f"{what} mixes the samples of a batch: a sample's scores differ by {error:.2g} of the largest score between a "
        f"run alone and one among {len(few)}{_first(layers, few, limit)}",
        remedy,
    )


def check_onnx(model: onnx_files.Model, session: onnx_files.Session, x: Taken, what: str, threads: int) -> None:
    """`check` of an ONNX model in onnxruntime; one with a fixed batch of 1 has nothing to mix."""
    from recast.stages.common.onnx_models import onnx_files
    from recast.stages.parity.forms.onnx_form import OnnxForm

    if onnx_files.fixed_batch([port.shape for port in onnx_files.inputs_of(model)], what) == 1:
        return
    makers = {name: node for node in model.graph.node for name in node.output}

    def layers(few: Taken) -> dict[str, NDArray[Any]]:
        values = OnnxForm(model, threads, what).values(few)
        return {
            f"{(makers[name].name or name)!r} ({makers[name].op_type})": value
            for name, value in values.items()
            if name in makers
        }

    int8 = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    check(session.run, x, what, layers, f"{REMEDY}; or export the model for a batch of 1", int8)


def check_torch(model: nn.Module, x: Taken, what: str) -> None:
    """`check` of a PyTorch model in evaluation mode, on the CPU."""
    import torch

    from recast.stages.common.torch_models import signature
    from recast.stages.parity import activations

    def run(few: Taken) -> Any:
        with torch.inference_mode():
            return samples.each(signature.run(model, signature.tensors(few)), lambda one: one.numpy())

    def layers(few: Taken) -> dict[str, NDArray[Any]]:
        sampled = activations.collect(model, signature.arguments(model, signature.tensors(few)))
        kinds = {layer.name: layer.kind for layer in sampled.layers}
        outputs = {name: sampled.tensors.get(f"{name}.out.0") for name in kinds if name != activations.MODEL}
        return {f"{name} ({kinds[name]})": value.numpy() for name, value in outputs.items() if value is not None}

    check(run, x, what, layers)


def _worst(made: Any, expected: Any) -> float:
    """The largest difference of an output, relative to the largest value of that output."""
    import numpy as np

    others = samples.parts(made)
    return max(
        _largest(others[name], value) / (float(np.abs(value).max(initial=0.0)) or 1.0)
        for name, value in samples.parts(expected).items()
    )


def _largest(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest difference; infinite for other shapes, and where only one of two values is NaN."""
    import numpy as np

    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind != "f":
        a, b = a.astype(np.float64), b.astype(np.float64)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.nan_to_num(np.where(equal, 0, np.abs(a - b)), nan=np.inf).max(initial=0.0))


def _first(layers: Layers, x: Taken, limit: float) -> str:
    """; and the first layer whose output for a sample depends on the others, as a phrase; empty if none is seen."""
    import numpy as np

    try:
        together, alone = layers(x), [layers(x[[place]]) for place in range(len(x))]
    except StageError:  # the scores say enough
        return ""
    for name, value in together.items():
        parts = [one.get(name) for one in alone]
        if value.shape[:1] != (len(x),) or any(part is None or part.shape != (1, *value.shape[1:]) for part in parts):
            continue
        scale = float(np.abs(value).max(initial=0.0)) or 1.0
        if _largest(np.concatenate([part for part in parts if part is not None]), value) > limit * scale:
            return f"; the first layer that does is {name}"
    return ""
