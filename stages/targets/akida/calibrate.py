"""Find the range of every activation on the calibration samples, and make the integer model from them, once.

BrainChip's tools calibrate on 1,024 samples. Where `data` wrote fewer, train samples are drawn to make as many.

Deterministic: samples are drawn by a seed, ranges are found with a fixed number of threads, and what quantizeml adds is
put in one order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, Stage
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida import quantizeml_steps
from recast.stages.targets.akida.hybrid import front, parts
from recast.stages.targets.akida.integers import Scheme, integer_model

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
    percentile: float = Field(
        default=100,
        gt=50,
        le=100,
        description="per cent of samples whose lowest, and whose highest, value a range holds: with 100 of all",
    )
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
    made, ranges = integer_model(model, x, contract, scheme, params.batch_size, params.resources.cpu, params.percentile)
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


STAGE = Stage(params=CalibrateParams, inputs=("quantize", "data"), run=run)
