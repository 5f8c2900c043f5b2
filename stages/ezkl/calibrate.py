"""Choose scales, ranges and shape of the circuit on calibration samples, predict its cost, and measure its error.

Deterministic: EZKL's choice depends on the samples alone, and the settings are made canonical, so that the same SRS
gives the same keys. Predicted times are for the machine the prediction was fitted on (`stages.ezkl.cost`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from stages import onnx_files
from stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from stages.ezkl import cost, settings
from stages.ezkl.calls import Call, Ezkl, EzklError
from stages.ezkl.network import forward, require_shape, write_samples
from stages.ezkl.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Objective = Literal["prove_time", "memory", "proof_size", "onchain"]
DECOMPOSITIONS = ((16384, 2), (512, 3), (128, 4))
"""(base, legs) that are tried: a smaller base allows fewer rows and needs more of them"""


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
        description="what max_logrows and the decomposition, where not given, are chosen for; none leaves them to EZKL",
    )
    max_logrows: int | None = Field(default=None, ge=6, le=26, description="rows at most, as a power of two")
    lookup_safety_margin: float = Field(
        default=2.0, ge=1, description="how much wider than on the samples the range of a lookup is made"
    )
    samples: PositiveInt = Field(default=20, description="calibration samples the ranges are found on")
    fidelity_samples: PositiveInt = Field(default=20, description="calibration samples the error is measured on")
    max_abs_error: float | None = Field(default=0.15, ge=0, description="largest error allowed in any output score")
    min_agreement: float | None = Field(
        default=0.95, ge=0, le=1, description="least fraction of samples on which both models choose the same class"
    )
    timeout: float | None = Field(default=None, gt=0, description="seconds a call of EZKL may take; unset: generous")


@dataclass(frozen=True)
class Candidate:
    """A circuit that could be chosen: its decomposition, and its predicted cost."""

    decomposition: Mapping[str, int]
    cost: cost.Cost


OBJECTIVES: Mapping[Objective, Callable[[cost.Cost], float]] = {
    "prove_time": lambda one: one.prove,
    "memory": lambda one: one.memory,
    # a proof has an element for each column
    "proof_size": lambda one: one.blocks,
    "onchain": lambda one: one.prove,
}


def run(params: CalibrateParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/ and the calibration samples -> network.onnx, settings.json, cost.json.

    Raises StageError if EZKL finds no settings, if the circuit does not fit this machine, and if its error
    exceeds the limits.
    """
    from stages.dataset import read

    x, _ = read(inputs["data"], "calibration")
    wanted = max(params.samples, params.fidelity_samples)
    if len(x) < wanted:
        raise StageError(
            f"there are {len(x)} calibration samples, and calibrate needs {wanted}",
            "raise data.calibration_samples, or lower calibrate.samples and calibrate.fidelity_samples",
        )
    network = inputs["quantize"] / settings.NETWORK
    require_shape(network, x.shape[1:])
    arguments: dict[str, Any] = json.loads((inputs["quantize"] / "run_arguments.json").read_text(encoding="utf-8"))
    search = _Search(params, arguments, network, x[: params.samples], inputs.scratch)
    chosen = search.choose()
    predicted = cost.require_memory(chosen, cost.machine_memory())
    progress(f"predicted: {predicted}")
    shutil.copyfile(network, out / settings.NETWORK)
    chosen.write(out / settings.FILE)
    # what it costs is known before it is known whether it is good enough
    (out / "cost.json").write_text(json.dumps(vars(predicted), indent=2) + "\n", encoding="utf-8")
    error, agreement = _fidelity(params, chosen, out, x[: params.fidelity_samples], inputs.scratch)
    _check_fidelity(params, chosen, error, agreement)
    return {
        "logrows": chosen.logrows,
        "rows": chosen.rows,
        "input_scale": chosen.raw["run_args"]["input_scale"],
        "param_scale": chosen.raw["run_args"]["param_scale"],
        "decomp_base": chosen.raw["run_args"]["decomp_base"],
        "decomp_legs": chosen.raw["run_args"]["decomp_legs"],
        "predicted_memory_bytes": predicted.memory,
        "predicted_key_bytes": predicted.key,
        # three digits: the rest depends on the processor
        "max_abs_error": float(f"{error:.3g}"),
        "agreement": agreement,
    }


class _Search:
    """Calls EZKL's calibration, with one decomposition or another."""

    def __init__(
        self,
        params: CalibrateParams,
        arguments: Mapping[str, Any],
        network: Path,
        samples: NDArray[np.float32],
        scratch: Path,
    ) -> None:
        self._params, self._arguments, self._network, self._scratch = params, arguments, network, scratch
        self._ezkl = Ezkl(scratch, params.resources.cpu)
        self._data = write_samples(samples, scratch / "calibration.json")

    def choose(self) -> Settings:
        """The settings that serve the recipe's purpose best, canonical."""
        params = self._params
        if params.optimize is None:
            return self._calibrated({}, params.max_logrows)
        given = "decomp_base" in self._arguments
        tried: list[dict[str, int]] = (
            [{}] if given else [{"decomp_base": base, "decomp_legs": legs} for base, legs in DECOMPOSITIONS]
        )
        candidates: list[Candidate] = []
        refusals: list[EzklError] = []
        for index, decomposition in enumerate(tried, 1):
            progress("try decompositions", index, len(tried))
            try:
                found = self._calibrated(decomposition, params.max_logrows)
            # numbers may be too large for one decomposition and not for another
            except EzklError as error:
                refusals.append(error)
                continue
            widths = [found.logrows] if params.max_logrows else cost.possible_logrows(found)
            candidates += [Candidate(decomposition, cost.predict(found, k)) for k in widths]
        if not candidates:
            raise refusals[0]
        best = _best(candidates, params.optimize)
        progress(f"chosen for {params.optimize}: k {best.cost.logrows}")
        return self._calibrated(best.decomposition, best.cost.logrows)

    def _calibrated(self, decomposition: Mapping[str, int], max_logrows: int | None) -> Settings:
        params, file = self._params, self._scratch / settings.FILE
        scales = params.scales or sorted({self._arguments["input_scale"], self._arguments["param_scale"]})
        multipliers = params.scale_rebase_multiplier or [self._arguments["scale_rebase_multiplier"]]
        ranges = {
            "data": str(self._data),
            "model": str(self._network),
            "settings": str(file),
            "target": params.calibration,
            "lookup_safety_margin": params.lookup_safety_margin,
            "scales": list(scales),
            "scale_rebase_multiplier": list(multipliers),
            "max_logrows": max_logrows,
        }
        arguments = {**self._arguments, **decomposition}
        first = Call("gen_settings", {"model": str(self._network), "output": str(file), "py_run_args": arguments})
        try:
            self._ezkl.run(
                [first, Call("calibrate_settings", ranges)],
                "EZKL's calibrate_settings",
                expected=10,
                timeout=params.timeout,
                shown=f"calibrate on {params.samples} samples",
            )
        except EzklError as error:
            if error.kind != "refused":
                raise
            raise EzklError(
                f"EZKL finds no settings with scales {list(scales)}, max_logrows {max_logrows} and decomposition "
                f"{arguments.get('decomp_base', 'by default')}: {error.said}",
                "raise calibrate.max_logrows or quantize.decomp_legs, or lower the scales",
                error.kind,
                error.said,
            ) from error
        found = settings.read(file)
        asked = (self._arguments["input_scale"], self._arguments["param_scale"])
        got = (found.raw["run_args"]["input_scale"], found.raw["run_args"]["param_scale"])
        if params.scales is None and got != asked:
            raise StageError(
                f"quantize asks for scales {asked[0]} (input) and {asked[1]} (weights), and EZKL's calibration chose "
                f"{got[0]} and {got[1]}",
                "set both scales of quantize to the same number, or name calibrate.scales to let EZKL choose",
            )
        return found


def _best(candidates: list[Candidate], objective: Objective) -> Candidate:
    if objective == "onchain":
        deployable = [one for one in candidates if one.cost.code <= cost.EIP_170_BYTES]
        if not deployable:
            least = min(one.cost.code for one in candidates)
            raise StageError(
                f"no circuit of this model has a verifier that fits on a chain: the smallest has about {least} bytes, "
                f"and EIP-170 allows {cost.EIP_170_BYTES}",
                "raise calibrate.max_logrows, or optimize for something else",
            )
        candidates = deployable
    measure = OBJECTIVES[objective]
    return min(candidates, key=lambda one: (measure(one.cost), one.cost.prove, one.cost.logrows))


def _fidelity(
    params: CalibrateParams, chosen: Settings, out: Path, x: NDArray[np.float32], scratch: Path
) -> tuple[float, float]:
    """Largest error of a score, and the share of samples with the same class, against onnxruntime."""
    import numpy as np

    ezkl = Ezkl(scratch, params.resources.cpu)
    compiled = scratch / "model.compiled"
    ezkl(
        "compile_circuit",
        model=str(out / settings.NETWORK),
        compiled_circuit=str(compiled),
        settings_path=str(out / settings.FILE),
    )
    actual = forward(ezkl, compiled, chosen, x, scratch, expected=len(x) * 0.3)
    session = onnx_files.Session(out / settings.NETWORK, params.resources.cpu, "the network")
    expected = session.run(x)
    return float(np.abs(actual - expected).max()), float((actual.argmax(1) == expected.argmax(1)).mean())


def _check_fidelity(params: CalibrateParams, chosen: Settings, error: float, agreement: float) -> None:
    missed = []
    if params.max_abs_error is not None and error > params.max_abs_error:
        missed.append(f"errors of up to {error:.3g} in the scores, more than max_abs_error {params.max_abs_error:g}")
    if params.min_agreement is not None and agreement < params.min_agreement:
        missed.append(f"the same class on {agreement:.1%} of samples, less than min_agreement {params.min_agreement:g}")
    if missed:
        scale = f"{chosen.raw['run_args']['input_scale']} and {chosen.raw['run_args']['param_scale']}"
        raise StageError(
            f"scales {scale} (input and weights) give {' and '.join(missed)}, on {params.fidelity_samples} "
            "calibration samples",
            "raise quantize.input_scale and quantize.param_scale, or calibrate.scales (they hardly change the cost)",
        )


STAGE = Stage(params=CalibrateParams, inputs=("quantize", "data"), run=run)
