"""Find the range of every activation on the calibration samples, and make the integer model from them, once.

BrainChip's tools calibrate on 1,024 samples. Where `data` wrote fewer, train samples are drawn to make as many.

Deterministic: samples are drawn by a seed, ranges are found with a fixed number of threads, and what quantizeml adds is
put in one order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida import quantizeml_steps
from recast.stages.targets.akida.hybrid import front, parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


SAMPLES = 1024
"""as quantizeml has it"""


class CalibrateParams(Params):
    """On which samples ranges are found."""

    samples: int | None = Field(
        default=None,
        gt=0,
        description="calibration samples, from the first; unset: all, and train samples to make 1024, if there are",
    )
    seed: int = Field(default=0, ge=0, description="by which those train samples are drawn")
    batch_size: int = Field(default=64, gt=0, description="samples run at once")


def run(params: CalibrateParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/model.onnx, scheme.json and the calibration split -> model.onnx, the integer model; of a model in parts
    one in a folder for each on Akida, by what the float model hands it.

    It takes uint8 (N, *shape) as stored, or normalised float32, as the scheme says. Raises StageError for too
    few samples, NaN or infinity in samples or activations, and nodes that cannot be quantized.
    """
    from recast.stages.common import dataset

    contract, lowered = dataset.read_contract(inputs["data"]), inputs["quantize"]
    if not parts.are_in(lowered):
        return {
            **_calibrated(params, lowered, contract, partial(chosen_samples, params, inputs["data"], contract), out)
        }
    cut = parts.read(lowered)
    normalised = chosen_samples(params, inputs["data"], contract, "normalised")
    inner = front.values(lowered, cut, normalised, params.resources.cpu)
    found: list[dict[str, int]] = []
    for part in cut.akida:
        (read,) = part.reads
        (out / part.name).mkdir()

        def samples(takes: quantizeml_steps.Values, read: str = read) -> NDArray[Any]:
            return inner[read] if read in inner else chosen_samples(params, inputs["data"], contract, takes)

        of_part = cut.contract_of(part, contract)
        found.append(_calibrated(params, lowered / part.name, of_part, samples, out / part.name))
    return {
        "samples": found[0]["samples"],
        "ranges": sum(one["ranges"] for one in found),
        "layers": sum(one["layers"] for one in found),
    }


def _calibrated(
    params: CalibrateParams,
    lowered: Path,
    contract: Contract,
    samples: Callable[[quantizeml_steps.Values], NDArray[Any]],
    out: Path,
) -> dict[str, int]:
    """model.onnx of the lowered model in a folder; `samples`: stored or normalised ones of `contract`."""
    stated = json.loads((lowered / "scheme.json").read_text(encoding="utf-8"))
    model = onnx_files.read_model(lowered / "model.onnx")
    scheme = Scheme(stated["input"], stated["input_type"], stated["per_tensor_activations"], stated["last_output_bits"])
    x = layouts.apply(samples(scheme.input), layouts.read(stated["layout"]).start)
    made, ranges = integer_model(model, x, contract, scheme, params.batch_size, params.resources.cpu)
    onnx_files.check(made, "the integer model")
    onnx_files.write_model(made, out / "model.onnx")
    return {"samples": len(x), "ranges": len(ranges), "layers": len(made.graph.node)}


def chosen_samples(
    params: CalibrateParams, data: Path, contract: Contract, takes: quantizeml_steps.Values
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Samples (n, *shape), stored or normalised.

    Raises StageError for fewer than `samples`, for none, and for NaN or infinity.
    """
    import numpy as np

    from recast.stages.common import dataset, npz_files

    chosen = dataset.first(dataset.read_stored(data, "calibration")[0], params.samples, "calibrate.samples")
    if params.samples is None and len(chosen) < SAMPLES and (data / "train.npz").is_file():
        train = dataset.read_stored(data, "train")[0]
        wanted = min(SAMPLES - len(chosen), len(train))
        # sorted: the file is read from its beginning to its end, and ranges know no order
        drawn = np.sort(np.random.default_rng(params.seed).permutation(len(train))[:wanted])
        npz_files.fetch(train, drawn)
        chosen = np.concatenate([chosen, train[drawn]])
    normalised = dataset.taken(contract, chosen, "calibration")
    found: NDArray[Any] = chosen if takes == "stored" else normalised
    return found


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
) -> tuple[onnx_files.Model, quantizeml_steps.Ranges]:
    """The integer model, and the ranges on samples (N, *shape), stored or normalised as the scheme says, it rests on.

    Raises StageError as `activation_ranges` and `integer.make_integer`.
    """
    found = activation_ranges(lowered, samples, scheme.per_tensor_activations, batch_size, threads)
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
    lowered: onnx_files.Model, samples: NDArray[Any], per_tensor: bool, batch_size: int, threads: int
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Lowest and highest value of each float tensor over samples (N, *shape).

    Per channel, (channels,), for tensors with axes beyond batch and channel; otherwise (1,). As quantizeml's own
    min-max calibration, with a fixed number of threads. StageError for NaN or infinity.
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
            known = ranges.get(tensor, (low, high))
            ranges[tensor] = (np.minimum(known[0], low), np.maximum(known[1], high))
        done += count
        progress("calibrate", done, len(samples))
    return ranges


def _every_byte(contract: Contract) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The range of each channel of samples stored as uint8, float32 (channels,): all of it, so that nothing is lost."""
    import numpy as np

    return np.zeros(contract.shape[0], np.float32), np.full(contract.shape[0], 255, np.float32)


STAGE = Stage(params=CalibrateParams, inputs=("quantize", "data"), run=run)
