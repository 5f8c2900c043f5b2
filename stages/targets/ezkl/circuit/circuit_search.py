"""The shape of a circuit: every combination that may be chosen is laid out, and the one that serves the purpose taken.

Laying out is quick, and gives the number of rows; what they cost is predicted (`cost`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from recast.stages.base import StageError, progress
from recast.stages.targets.ezkl.circuit import cost, settings
from recast.stages.targets.ezkl.circuit.network import witnesses, write_samples
from recast.stages.targets.ezkl.circuit.settings import Settings
from recast.stages.targets.ezkl.process.calls import Call, Ezkl, EzklError, TimeLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Objective = Literal["prove_time", "memory", "proof_size", "onchain"]
Convolutions = Literal["terms", "products"]
DECOMPOSITIONS = ((16384, 2), (512, 3), (128, 4))
"""(base, legs) that are tried: a smaller base allows fewer rows and needs more of them"""
INNER_COLUMNS = (1, 2)
"""more make gates of a higher degree, and every polynomial longer"""


class Choice(Protocol):
    """What is given, and what is to be chosen for; see `recast.stages.targets.ezkl.calibrate.CalibrateParams`."""

    calibration: Literal["resources", "accuracy"]
    scales: tuple[int, ...] | None
    scale_rebase_multiplier: tuple[int, ...] | None
    optimize: Objective | None
    max_logrows: int | None
    lookup_safety_margin: float
    timeout: float | None

    @property
    def has_choice(self) -> bool:
        """Whether EZKL may choose among scales or multipliers."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A circuit that could be chosen: its run arguments but for logrows, and its predicted cost."""

    convolutions: Convolutions
    arguments: Mapping[str, Any]
    cost: cost.Cost


OBJECTIVES: Mapping[Objective, Callable[[cost.Cost], float]] = {
    "prove_time": lambda one: one.prove,
    "memory": lambda one: one.memory,
    "proof_size": lambda one: one.polynomials,
    "onchain": lambda one: one.prove,
}


class Search:
    """Chooses among the forms of a network, each in a file."""

    def __init__(
        self,
        params: Choice,
        arguments: Mapping[str, Any],
        networks: Mapping[Convolutions, Path],
        samples: NDArray[np.float32],
        ezkl: Ezkl,
    ) -> None:
        """`arguments`: EZKL's run arguments, but for those to be chosen; `samples`: normalised, (n, *shape)."""
        self._params, self._arguments, self._networks = params, arguments, networks
        self._samples, self._ezkl = samples, ezkl
        self._file = ezkl.place / settings.FILE
        # the numbers are the same in every form
        self._first = next(iter(networks.values()))

    def choose(self) -> tuple[Convolutions, Settings]:
        """The form and the settings that serve the recipe's purpose best, canonical.

        Raises StageError if EZKL finds no settings, and if nothing serves the purpose.
        """
        params = self._params
        if params.optimize is None:
            return next(iter(self._networks)), self._by_ezkl(self._arguments, params.max_logrows)
        given = "decomp_base" in self._arguments
        tried: list[dict[str, int]] = (
            [{}] if given else [{"decomp_base": base, "decomp_legs": legs} for base, legs in DECOMPOSITIONS]
        )
        candidates: list[Candidate] = []
        refusals: list[EzklError] = []
        for index, decomposition in enumerate(tried, 1):
            progress("try decompositions", index, len(tried))
            try:
                candidates += self._candidates({**self._arguments, **decomposition})
            # numbers may be too large for one decomposition and not for another
            except EzklError as error:
                refusals.append(error)
        if not candidates:
            raise refusals[0]
        return self._best_of(candidates, params.optimize)

    def _best_of(self, candidates: list[Candidate], objective: Objective) -> tuple[Convolutions, Settings]:
        """The best that EZKL lays out with its number of rows, which is known of none before."""
        refused: EzklError | None = None
        while candidates:
            best = _best(candidates, objective)
            shape = f"k {best.cost.logrows}, {best.arguments['num_inner_cols']} inner columns, convolutions as"
            progress(f"chosen for {objective}: {shape} {best.convolutions}")
            arguments = {**best.arguments, "logrows": best.cost.logrows}
            try:
                return best.convolutions, self._laid_out(best.convolutions, arguments)
            except EzklError as error:
                if error.kind not in ("refused", "panic"):
                    raise
                refused = refused or self._no_settings(error, best.arguments, self._params.max_logrows)
                candidates = [one for one in candidates if one is not best]
        assert refused
        raise refused

    def _candidates(self, arguments: Mapping[str, Any]) -> list[Candidate]:
        """With one decomposition: every form, width and number of rows."""
        params = self._params
        # EZKL's calibration chooses where there is a choice; else only ranges are wanted
        if params.has_choice:
            found = self._by_ezkl(arguments, params.max_logrows).raw["run_args"]
            taken = ("input_scale", "param_scale", "scale_rebase_multiplier", "lookup_range")
            arguments = {**arguments, **{name: found[name] for name in taken}}
        else:
            arguments = {**arguments, "lookup_range": self._lookup_range(arguments)}
        given = self._arguments.get("num_inner_cols")
        candidates: list[Candidate] = []
        for convolutions, inner in product(self._networks, [given] if given else INNER_COLUMNS):
            shaped = {**arguments, "num_inner_cols": inner}
            try:
                laid_out = self._laid_out(convolutions, shaped)
            except EzklError as error:
                # EZKL panics at some shapes of products, and then lays out the network's own form
                if error.kind != "panic" or self._networks[convolutions] == self._first:
                    raise
                continue
            candidates += [
                Candidate(convolutions, shaped, cost.predict(laid_out, k))
                for k in _at_most(params.max_logrows, cost.possible_logrows(laid_out))
            ]
        return candidates

    def _laid_out(self, convolutions: Convolutions, arguments: Mapping[str, Any]) -> Settings:
        """The settings of one circuit; its numbers are known to fit."""
        self._ezkl.run([self._gen_settings(self._networks[convolutions], arguments)], "EZKL's gen_settings")
        return settings.read(self._file)

    def _gen_settings(self, network: Path, arguments: Mapping[str, Any]) -> Call:
        given = {"model": str(network), "output": str(self._file), "py_run_args": dict(arguments)}
        return Call("gen_settings", given)

    def _lookup_range(self, arguments: Mapping[str, Any]) -> list[int]:
        """Of the lookups on the samples, made wider by the margin."""
        compiled = self._ezkl.place / "ranges.compiled"
        paths = {"model": str(self._first), "compiled_circuit": str(compiled), "settings_path": str(self._file)}
        first = [self._gen_settings(self._first, arguments), Call("compile_circuit", paths)]
        try:
            found = witnesses(
                self._ezkl,
                compiled,
                self._samples,
                ("min_lookup_inputs", "max_lookup_inputs"),
                first,
                TimeLimits(timeout=self._params.timeout),
            )
        except EzklError as error:
            if error.kind != "refused":
                raise
            raise self._no_settings(error, arguments, None) from error
        margin = self._params.lookup_safety_margin
        return [floor(margin * min(int(low) for low, _ in found)), ceil(margin * max(int(high) for _, high in found))]

    def _by_ezkl(self, arguments: Mapping[str, Any], max_logrows: int | None) -> Settings:
        """What EZKL's own calibration chooses."""
        params = self._params
        asked = (arguments["input_scale"], arguments["param_scale"])
        scales = params.scales or sorted(set(asked))
        multipliers = params.scale_rebase_multiplier or [arguments["scale_rebase_multiplier"]]
        ranges = {
            "data": str(write_samples(self._samples, self._ezkl.place / "calibration.json")),
            "model": str(self._first),
            "settings": str(self._file),
            "target": params.calibration,
            "lookup_safety_margin": params.lookup_safety_margin,
            "scales": list(scales),
            "scale_rebase_multiplier": list(multipliers),
            "max_logrows": max_logrows,
        }
        try:
            self._ezkl.run(
                [self._gen_settings(self._first, arguments), Call("calibrate_settings", ranges)],
                "EZKL's calibrate_settings",
                TimeLimits(timeout=params.timeout),
                shown=f"calibrate on {len(self._samples)} samples",
            )
        except EzklError as error:
            if error.kind != "refused":
                raise
            raise self._no_settings(error, arguments, max_logrows) from error
        found = settings.read(self._file)
        got = (found.raw["run_args"]["input_scale"], found.raw["run_args"]["param_scale"])
        if params.scales is None and got != asked:
            raise StageError(
                f"quantize asks for scales {asked[0]} (input) and {asked[1]} (weights), and EZKL's calibration chose "
                f"{got[0]} and {got[1]}",
                "set calibrate.optimize and no list of multipliers, which keeps them; or set both scales of quantize "
                "to the same number, or name calibrate.scales to let EZKL choose",
            )
        return found

    def _no_settings(self, error: EzklError, arguments: Mapping[str, Any], max_logrows: int | None) -> EzklError:
        scales = list(self._params.scales or (arguments["input_scale"], arguments["param_scale"]))
        return EzklError(
            f"EZKL finds no settings with scales {scales}, max_logrows {max_logrows} and decomposition "
            f"{arguments.get('decomp_base', 'by default')}: {error.said}",
            "raise calibrate.max_logrows or quantize.decomp_legs, or lower the scales",
            error.kind,
            error.said,
        )


def _at_most(limit: int | None, possible: range) -> list[int]:
    """Those of `possible` within the limit, or the limit itself, at which EZKL splits the tables."""
    return [k for k in possible if limit is None or k <= limit] or [limit or possible[0]]


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
