"""What a model may not do if a graph is to compute its scores: found by running it, and said of its layers.

A graph computes the same operations for every input, and each sample's scores from that sample alone.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.torch_models import signature
from recast.stages.trunk.faults import batch_mixing, model_calls

if TYPE_CHECKING:
    import torch
    from torch import nn

    from recast.stages.trunk.faults.model_calls import Call

RANDOM = (
    "dropout",
    "rand",
    "bernoulli",
    "normal",
    "multinomial",
    "rrelu",
    "gumbel",
    "poisson",
    "uniform",
    "exponential",
)
"""parts of the names of PyTorch's functions that draw random numbers"""
LARGEST = 1e-3
"""of the largest score: beyond rounding, which differs with the size of a batch"""
SETS_MODE = "let train() and eval() of the model set its layers' mode, as nn.Module does"
INPUT_ALONE = "let the scores depend on nothing but the input: no counters, clocks or random numbers"
SAMPLE_AXES = "compute along the axes of a sample only: the first axis is the batch"
BRANCHES = frozenset(function for function, does in model_calls.READS.items() if does == "branches on")
"""reads that no exporter can follow, whatever is done with the value"""


def refuse(model: nn.Module, x: Any, name: str) -> None:
    """StageError if the model, in evaluation, gives other scores when called again, or when other samples are beside.

    x: two samples or more, (N, *shape) of each input; `name`: the model's, for the message. What the model raises of
    itself for a batch of another size is no matter here.
    """
    import torch

    with torch.no_grad(), _own_errors():
        first = signature.run(model, x)
        if _any_differs(first, signature.run(model, x)):
            raise _unrepeatable(model, x, name)
        for index in range(len(x)):
            twice = [index, index]
            if _any_differs(first[index : index + 1], signature.run(model, x[twice])[:1]):
                raise _mixed(model, x, index, name)
        alone = samples.parts(signature.run(model, x[:1]))
        for of, value in samples.parts(first).items():
            if alone[of].shape != (1, *value.shape[1:]):
                raise StageError(
                    f"{name} gives {of or 'scores'} of shape {tuple(alone[of].shape)} for one sample, and "
                    f"{tuple(value.shape)} for {len(x)}",
                    "squeeze axes by their number: a batch of one sample has a first axis of length 1 as well",
                )


def refuse_infinite(model: nn.Module, x: Any, name: str) -> None:
    """StageError if the model, in evaluation, gives NaN or infinity for x, float32 (N, *shape)."""
    import torch

    with torch.no_grad():
        outputs = signature.run(model, x)
    if all(value.isfinite().all() for value in samples.parts(outputs).values()):
        return
    made = model_calls.calls(model, x)
    at = next((call for call in made if call.output is not None and not call.output.isfinite().all()), None)
    raise StageError(
        f"{name} gives NaN or infinity" + (f", first from {at}" if at else ""),
        "keep what goes into it where it is defined, for example with clamp",
        "lower train.lr",
    )


def refuse_reads(
    model: nn.Module, x: Any, name: str, functions: Collection[str] = frozenset(model_calls.READS)
) -> None:
    """StageError if the model, run on x (N, *shape), takes values out of tensors by these functions: no graph can."""
    found = [call for call in model_calls.reads(model, x) if call.function in functions]
    if not found:
        return
    read = found[0]
    what = model_calls.READS[read.function]
    raise StageError(
        f"{name} {what} a value that it computes from its input, in {read.place}; an exported graph computes the same "
        "operations for every input",
        "choose between values with torch.where, and compute with tensors only",
    )


@contextmanager
def _own_errors() -> Iterator[None]:
    """Only errors of ours are raised."""
    try:
        yield
    except StageError:
        raise
    except Exception:
        traceback.print_exc()


def _unrepeatable(model: nn.Module, x: Any, name: str) -> StageError:
    import torch

    says = f"{name} gives other scores each time it is called, also in evaluation"
    trains = [(path, type(layer).__name__) for path, layer in model.named_modules() if layer.training]
    stays = next((one for one in trains if "Dropout" in one[1] or "BatchNorm" in one[1]), None)
    if stays is not None:
        return StageError(f"{says}: layer '{stays[0]}' ({stays[1]}) is in training after eval()", SETS_MODE)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    at = _first_difference(model, x, x, _differ)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, state[key])]
    if changed:
        return StageError(
            f"{says}: it changes its buffer '{changed[0]}' with each call", "change it only while self.training is true"
        )
    if at is None:
        return StageError(says, INPUT_ALONE)
    if not any(word in at.function for word in RANDOM):
        return StageError(f"{says}: {at} gives another value", INPUT_ALONE)
    return StageError(
        f"{says}: {at} draws random numbers",
        "pass it training=self.training, or use the layer, such as nn.Dropout, which does"
        if "dropout" in at.function or at.function == "rrelu"
        else "draw them only while self.training is true",
    )


def _mixed(model: nn.Module, x: Any, index: int, name: str) -> StageError:
    pairs = [x[[index, other]] for other in range(len(x)) if other != index]
    found = (_first_difference(model, x[[index, index]], pair, _mixes) for pair in pairs)
    at = next((call for call in found if call is not None), None)
    if at is not None and at.output is not None and at.output.ndim == 0:
        refuse_reads(model, x, name)  # what it takes over the whole batch, it takes to decide by
    says = f"{name} gives a sample other scores when other samples are beside it in the batch"
    if at is None:
        return _by_layers(model, x, name) or StageError(says, SAMPLE_AXES)
    if at.function == "batch_norm":
        layer = dict(model.named_modules()).get(at.place.layer) if at.place.layer else None
        if layer is not None and layer.training:
            why, remedy = (
                "is in training after eval()",
                "let eval() of the model set its layers' mode, as nn.Module does",
            )
        elif layer is not None:
            why = "has no running statistics, and normalises by those of the batch"
            remedy = "make it with track_running_stats=True, which is the default"
        else:
            why, remedy = "normalises by the batch", "give it running statistics, and training=self.training"
        return StageError(f"{says}: {at.place if layer is not None else at} {why}", remedy)
    return StageError(f"{says}: {at} is the first to mix them", SAMPLE_AXES)


def _by_layers(model: nn.Module, x: Any, name: str) -> StageError | None:
    """The refusal that names the layer which mixes, where no call of its shows it: an LSTM's are not seen."""
    try:
        batch_mixing.check_torch(model, samples.each(x, lambda one: one.numpy()), name)
    except StageError as error:
        return error
    except Exception:  # as in `_first_difference`
        return None
    return None


def _first_difference(
    model: nn.Module, x: Any, other: Any, differ: Callable[[torch.Tensor, torch.Tensor], bool]
) -> Call | None:
    try:
        return model_calls.first_difference(model_calls.calls(model, x), model_calls.calls(model, other), differ)
    except Exception:  # what a model cannot do while it is watched is no fault of its own
        return None


def _any_differs(one: Any, other: Any) -> bool:
    """Whether an output does."""
    others = samples.parts(other)
    return any(_differ(value, others[name]) for name, value in samples.parts(one).items())


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    if one.shape != other.shape or not (one.is_floating_point() and other.is_floating_point()):
        return one.shape != other.shape or not torch.equal(one, other)
    one, other = one.double(), other.double()
    finite = one[one.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return not torch.allclose(one, other, rtol=0, atol=LARGEST * max(largest, 1e-9), equal_nan=True)


def _mixes(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the first sample's part differs, wherever the axis of two samples is by now."""
    if not _differ(one, other):
        return False
    if one.shape != other.shape:
        return True
    halves = (axis for axis, length in enumerate(one.shape) if length and length % 2 == 0)
    return all(
        _differ(one.narrow(axis, 0, one.shape[axis] // 2), other.narrow(axis, 0, one.shape[axis] // 2))
        for axis in halves
    )
