"""The integer model of a lowered one: the range of every activation on samples, and what quantizeml makes of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError, progress
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.akida import quantizeml_steps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


@dataclass(frozen=True)
class Scheme:
    """How a lowered model becomes integers, as `quantize` fixed it."""

    input: quantizeml_steps.Values
    input_type: quantizeml_steps.IntegerType
    per_tensor_activations: bool
    last_output_bits: int | None = None


def integer_model(
    lowered: onnx_files.Model,
    samples: NDArray[Any],
    contract: Contract,
    scheme: Scheme,
    batch_size: int,
    threads: int,
    percentile: float = 100,
) -> tuple[onnx_files.Model, quantizeml_steps.Ranges]:
    """The integer model, and the ranges on samples (N, *shape), stored or normalised as the scheme says, it rests on.

    Raises StageError as `activation_ranges` and `integer.make_integer`.
    """
    found = activation_ranges(lowered, samples, scheme.per_tensor_activations, batch_size, threads, percentile)
    if scheme.input == "stored":
        # every stored value is an integer from 0 to 255 already: the whole range, so that nothing is lost
        found[onnx_files.only_input(lowered, "the lowered model").name] = _every_byte(contract)
    made = quantizeml_steps.make_integer(
        lowered, found, scheme.input_type, scheme.per_tensor_activations, scheme.last_output_bits
    )
    if scheme.input == "stored":
        quantizeml_steps.take_stored(made)
    return made, found


def activation_ranges(
    lowered: onnx_files.Model,
    samples: NDArray[Any],
    per_tensor: bool,
    batch_size: int,
    threads: int,
    percentile: float = 100,
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Lowest and highest value of each float tensor over samples (N, *shape).

    Per channel, (channels,), for tensors with axes beyond batch and channel; otherwise (1,). Over all samples as
    quantizeml's own min-max calibration, with a fixed number of threads; else the bounds that hold `percentile` per
    cent of the samples' lowest values, and of their highest. StageError for NaN or infinity.
    """
    import numpy as np
    import onnx
    from onnxruntime_extensions import get_library_path

    name = onnx_files.only_input(lowered, "the lowered model").name
    watched = type(lowered)()
    watched.CopyFrom(lowered)
    del watched.graph.output[:]
    tensors = [output for node in lowered.graph.node for output in node.output if output]
    watched.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors)
    with foreign("onnxruntime cannot load the lowered model", "report it with the model"):
        session = onnx_session.start(watched.SerializeToString(), threads, "as_written", [get_library_path()])

    ranges: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    each: dict[str, list[NDArray[np.float32]]] = {}
    """lowest and highest values by sample, (2, samples, channels or 1)"""
    done = 0
    for few, count in onnx_files.split(samples, batch_size):
        # here, so that stored samples are never held as floats all at once
        batch = few.astype(np.float32, copy=False)
        with foreign("onnxruntime cannot run the lowered model on several samples", "give it a batch of any size"):
            made = session.run(tensors, {name: batch})
        for tensor, values in zip([name, *tensors], [batch, *made], strict=True):
            if values.ndim < 2 or values.dtype != np.float32:
                continue
            per_channel = values.ndim > 2 and not per_tensor
            flat = values.swapaxes(0, 1).reshape(values.shape[1] if per_channel else 1, -1)
            low, high = flat.min(axis=1), flat.max(axis=1)
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                raise StageError(
                    f"activation {tensor!r} holds NaN or infinity on the calibration samples",
                    "check the model's weights, and that the data is normalised as in training",
                )
            if percentile < 100:
                by_sample = values.reshape(len(values), len(low), -1)
                each.setdefault(tensor, []).append(np.stack([by_sample.min(axis=2), by_sample.max(axis=2)]))
            known = ranges.get(tensor, (low, high))
            ranges[tensor] = (np.minimum(known[0], low), np.maximum(known[1], high))
        done += count
        progress("calibrate", done, len(samples))
    for tensor, found in each.items():
        lows, highs = np.concatenate(found, axis=1)
        ranges[tensor] = (
            np.percentile(lows, 100 - percentile, axis=0).astype(np.float32),
            np.percentile(highs, percentile, axis=0).astype(np.float32),
        )
    return ranges


def _every_byte(contract: Contract) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The range of each channel of samples stored as uint8, float32 (channels,): all of it, so that nothing is lost."""
    import numpy as np

    return np.zeros(contract.shape[0], np.float32), np.full(contract.shape[0], 255, np.float32)
