"""Choose scales, ranges and shape of the circuit on calibration samples, predict its cost, and measure its error.

Deterministic: the choice depends on the samples alone, and the settings are made canonical, so that the same SRS
gives the same keys. Predicted times are for the machine the prediction was fitted on (`cost`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from recast.stages.common.onnx_models import onnx_files, rewritten
from recast.stages.targets.ezkl.circuit import cost, settings
from recast.stages.targets.ezkl.circuit.circuit_search import Convolutions, Objective, Search
from recast.stages.targets.ezkl.circuit.network import forward, require_shape
from recast.stages.targets.ezkl.circuit.products import with_products
from recast.stages.targets.ezkl.circuit.settings import Settings
from recast.stages.targets.ezkl.keys import keys
from recast.stages.targets.ezkl.process.calls import Ezkl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT_SCALE = 7
"""of inputs that are no whole numbers: LeNet's and an MLP's scores are then wrong by about a tenth"""


class CalibrateParams(Params):
    """What the circuit is made small for, and the error it may have."""

    calibration: Literal["resources", "accuracy"] = Field(
        default="resources", description="what EZKL prefers where it may choose: few rows, or small errors"
    )
    scales: tuple[int, ...] | None = Field(
        default=None, min_length=1, description="scales EZKL may choose from; unset: those of quantize"
    )
    scale_rebase_multiplier: tuple[PositiveInt, ...] | None = Field(
        default=None, min_length=1, description="multipliers EZKL may choose from; unset: that of quantize"
    )
    optimize: Objective | None = Field(
        default="prove_time",
        description="what rows, columns, decomposition and convolutions, where not given, are chosen for; none leaves "
        "them to EZKL",
    )
    convolutions: Convolutions | None = Field(
        default=None,
        description="laid out term by term, or as products of matrices that are checked at a random point; unset: "
        "what serves the purpose",
    )
    max_logrows: int | None = Field(default=None, ge=6, le=26, description="rows at most, as a power of two")
    lookup_safety_margin: float = Field(
        default=2.0, ge=1, description="how much wider than on the samples the range of a lookup is made"
    )
    samples: PositiveInt = Field(default=20, description="calibration samples the ranges are found on")
    fidelity_samples: PositiveInt = Field(default=20, description="calibration samples the error is measured on")
    max_abs_error: float | None = Field(default=0.15, ge=0, description="largest error allowed in any output score")
    min_agreement: float | None = Field(
        default=0.95,
        ge=0,
        le=1,
        description="least share of what both networks say alike: of samples with the same class, for example",
    )
    timeout: float | None = Field(default=None, gt=0, description="seconds a call of EZKL may take; unset: generous")

    @property
    def has_choice(self) -> bool:
        """Whether EZKL may choose among scales or multipliers."""
        return self.scales is not None or self.scale_rebase_multiplier is not None


def run(params: CalibrateParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/ and the calibration samples -> network.onnx, settings.json, cost.json.

    Raises StageError if EZKL finds no settings, if the circuit does not fit this machine, and if its error
    exceeds the limits.
    """
    from recast.stages.common.dataset import read, read_contract
    from recast.stages.tasks import task

    x, _ = read(inputs["data"], "calibration")
    wanted = max(params.samples, params.fidelity_samples)
    if len(x) < wanted:
        raise StageError(
            f"there are {len(x)} calibration samples, and calibrate needs {wanted}",
            "raise data.calibration_samples",
            "lower calibrate.samples and calibrate.fidelity_samples",
        )
    reference = inputs["quantize"] / settings.NETWORK
    require_shape(reference, x.shape[1:])
    arguments: dict[str, Any] = json.loads((inputs["quantize"] / "run_arguments.json").read_text(encoding="utf-8"))
    arguments.setdefault("input_scale", _input_scale(params, x))
    networks = _networks(params, arguments, reference, inputs.scratch, x[:1])
    ezkl = Ezkl(inputs.scratch, params.resources.cpu)
    lay_out = partial(_laid_out, params, arguments, reference, x, ezkl)
    found = lay_out(networks, out)
    if found.network == "products" and "terms" in networks and not _near(params, found):
        found = _term_by_term(found, lay_out, reference, inputs.scratch / "terms", out)
    chosen, predicted, error = found.chosen, found.predicted, found.error
    agreement = task.of(read_contract(inputs["data"]).task).agreement(found.expected, found.actual)
    _check_fidelity(params, chosen, error, agreement)
    return {
        "logrows": chosen.logrows,
        "rows": chosen.rows,
        "input_scale": chosen.raw["run_args"]["input_scale"],
        "param_scale": chosen.raw["run_args"]["param_scale"],
        "decomp_base": chosen.raw["run_args"]["decomp_base"],
        "decomp_legs": chosen.raw["run_args"]["decomp_legs"],
        "num_inner_cols": chosen.inner_columns,
        "convolutions": found.network,
        "predicted_memory_bytes": predicted.memory,
        "predicted_key_bytes": predicted.key,
        # three digits: the rest depends on the processor
        "max_abs_error": float(f"{error:.3g}"),
        "agreement": agreement,
    }


@dataclass(frozen=True)
class LaidOut:
    """A circuit that was chosen, and what it gives."""

    network: Convolutions
    chosen: Settings
    predicted: cost.Cost
    expected: NDArray[np.float32]
    """(n, ...), of the network in onnxruntime"""
    actual: NDArray[np.float32]
    """the same of the circuit"""

    @property
    def error(self) -> float:
        """The largest of any output."""
        return float(abs(self.actual - self.expected).max())


def _laid_out(
    params: CalibrateParams,
    arguments: Mapping[str, Any],
    reference: Path,
    x: NDArray[np.float32],
    ezkl: Ezkl,
    networks: Mapping[Convolutions, Path],
    out: Path,
) -> LaidOut:
    """Choose among the forms of a network, write what is chosen to `out`, and run it on samples (n, *shape)."""
    network, chosen = Search(params, arguments, networks, x[: params.samples], ezkl).choose()
    predicted = cost.require_memory(chosen)
    progress(f"predicted: {predicted}")
    shutil.copyfile(networks[network], out / settings.NETWORK)
    chosen.write(out / settings.FILE)
    # what it costs is known before it is known whether it is good enough
    (out / "cost.json").write_text(json.dumps(vars(predicted), indent=2) + "\n", encoding="utf-8")
    outputs = _outputs(chosen, out, reference, x[: params.fidelity_samples], params.resources.cpu, ezkl)
    return LaidOut(network, chosen, predicted, *outputs)


def _near(params: CalibrateParams, found: LaidOut) -> bool:
    """Whether the circuit is within its limit, and leaves 20 dB of what the outputs tell of the samples."""
    # one sample alone has nothing to be told from
    common = found.expected.mean(axis=0) if len(found.expected) > 1 else 0
    told = float(((found.expected - common) ** 2).mean())
    lost = float(((found.actual - found.expected) ** 2).mean())
    return (params.max_abs_error is None or found.error <= params.max_abs_error) and lost <= told / 100


def _term_by_term(
    found: LaidOut,
    lay_out: Callable[[Mapping[Convolutions, Path], Path], LaidOut],
    reference: Path,
    other: Path,
    out: Path,
) -> LaidOut:
    """The circuit with its convolutions term by term, if that is much nearer to the network; else `found`.

    `other` is a folder for it that is not there; what is taken is written to `out`.
    Products are the same sums of the same numbers, but EZKL does not compute every graph as ONNX means it.
    """
    other.mkdir()
    progress("the circuit is far from the network: convolutions term by term, to compare")
    try:
        terms = lay_out({"terms": reference}, other)
    except StageError as error:
        progress(f"that cannot be compared: {error.message}")
        return found
    if terms.error >= found.error / 2:
        return found
    progress("EZKL computes the convolutions as products otherwise than ONNX means them, and term by term right")
    for path in other.iterdir():
        shutil.copyfile(path, out / path.name)
    return terms


def _input_scale(params: CalibrateParams, x: NDArray[np.float32]) -> int:
    """Whole numbers need no bits after the point; what comes of them then has few enough to need no scaling down."""
    # EZKL's own calibration does not keep two scales apart
    by_ezkl = params.optimize is None or params.has_choice
    return 0 if not by_ezkl and bool((x == x.round()).all()) else INPUT_SCALE


def _networks(
    params: CalibrateParams, arguments: Mapping[str, Any], reference: Path, scratch: Path, sample: NDArray[np.float32]
) -> dict[Convolutions, Path]:
    """The forms of the network that may be chosen, each in a file."""
    unchecked = bool(arguments["disable_freivalds"])
    if params.convolutions == "products" and unchecked:
        raise StageError(
            "convolutions are to be products, which are cheaper only where they are checked at a random point, and "
            "quantize.disable_freivalds has them checked term by term",
            "drop quantize.disable_freivalds, or set calibrate.convolutions to terms",
        )
    networks: dict[Convolutions, Path] = {"terms": reference}
    if params.convolutions == "terms" or unchecked or (params.convolutions is None and params.optimize is None):
        return networks
    network = onnx_files.read_model(reference)
    changed, count = with_products(network)
    if params.convolutions == "products" and not count:
        raise StageError(
            "the network has no convolution that can be a product: with constant kernels and without groups",
            "drop calibrate.convolutions",
        )
    if count:
        rewritten.check(network, changed, sample, "the network with its convolutions as products", params.resources.cpu)
        networks["products"] = scratch / "products.onnx"
        onnx_files.write_model(changed, networks["products"])
        if params.convolutions == "products":
            del networks["terms"]
    return networks


def _outputs(
    chosen: Settings, circuit: Path, reference: Path, x: NDArray[np.float32], threads: int, ezkl: Ezkl
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the network gives in onnxruntime for samples (n, *shape), and what the circuit gives: both (n, ...)."""
    compiled = ezkl.place / keys.COMPILED
    keys.compile_circuit(circuit, compiled, ezkl)
    actual = forward(ezkl, compiled, chosen, x, expected=len(x) * 0.3)
    expected = onnx_files.Session(reference, threads, "the network").run(x)
    return expected, actual.reshape(expected.shape)


def _check_fidelity(params: CalibrateParams, chosen: Settings, error: float, agreement: float | None) -> None:
    missed = []
    if params.max_abs_error is not None and error > params.max_abs_error:
        missed.append(f"errors of up to {error:.3g} in the scores, more than max_abs_error {params.max_abs_error:g}")
    if params.min_agreement is not None and agreement is not None and agreement < params.min_agreement:
        missed.append(f"agreement on {agreement:.1%}, less than min_agreement {params.min_agreement:g}")
    if missed:
        scale = f"{chosen.raw['run_args']['input_scale']} and {chosen.raw['run_args']['param_scale']}"
        raise StageError(
            f"scales {scale} (input and weights) give {' and '.join(missed)}, on {params.fidelity_samples} "
            "calibration samples",
            "raise quantize.input_scale and quantize.param_scale, or calibrate.scales (they hardly change the cost)",
            "raise calibrate.max_abs_error and verify.max_abs_error, where outputs are large numbers",
            "drop calibrate.convolutions" if params.convolutions == "products" else "",
        )


STAGE = Stage(params=CalibrateParams, inputs=("quantize", "data"), run=run)
