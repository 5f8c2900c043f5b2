"""Where a target loses what the model computed: the report of `recast blame RECIPE/TARGET`.

It shows what `verify` compared and wrote (parity.json, see docs/parity.md): each form of the model against the one
before, then the layers of the step that matters, and which of them cost most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.cpu_kind import beside
from pipeline.errors import RecastError
from pipeline.plan import Plan, PlannedStage
from pipeline.stage_process import FAILED
from stages.spelling import did_you_mean

VERIFY = "verify"
REPORT = "parity.json"
TABLE = "error_by_layer.csv"
SHOWN = 10
"""layers in the ranking"""
BAR = 24
"""characters of the longest bar"""


@dataclass(frozen=True)
class Blame:
    """What `verify` found of one target; `hops` as in parity.json."""

    target: str
    """`recipe/target`"""
    folder: str
    """where the report lies, relative to the repository"""
    failed: bool
    """whether it is of a run of `verify` that failed"""
    hops: tuple[Mapping[str, Any], ...]
    plots: tuple[str, ...]
    forms: Mapping[str, str] = field(default_factory=dict)
    """how the values of each form came about, as in parity.json"""
    verify: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """the emitted model's scores against the float model's, on the samples that were compared by layer and on all"""
    unexplained: tuple[str, ...] = ()
    """sentences on what the comparison by layer does not account for"""
    cpu: str = ""
    """the kind of CPU it was measured on; empty if the report does not say"""

    @property
    def blamed(self) -> Mapping[str, Any] | None:
        """The first hop at which the error of a layer jumps."""
        return next((hop for hop in self.hops if hop["blamed"]), None)

    @property
    def shown(self) -> Mapping[str, Any] | None:
        """The hop whose layers matter: the blamed one, or else the one that loses most of those that show layers."""
        showing = [hop for hop in self.hops if len(hop["layers"]) > 1]
        return self.blamed or min(showing, key=lambda hop: float(hop["output"]["sqnr_db"]), default=None)


def blame(root: Path, plan: Plan, recipe: str, target: str) -> Blame:
    """The newest report of the target's `verify`, whether that succeeded or failed.

    Raises RecastError if there is no such recipe or target, or no report to read.
    """
    stage = _verify(plan, recipe, target)
    places = [place for place in (stage.out, f"{FAILED}/{stage.dvc_name}") if (root / place / REPORT).is_file()]
    if not places:
        raise RecastError(
            f"{stage.id} has written no {REPORT} yet", f"run './recast run {recipe} --target {target}' first"
        )
    folder = max(places, key=lambda place: (root / place / REPORT).stat().st_mtime_ns)
    try:
        found = json.loads((root / folder / REPORT).read_text(encoding="utf-8"))
        read = Blame(
            f"{recipe}/{target}",
            folder,
            folder != stage.out,
            tuple(found["hops"]),
            (f"{folder}/{TABLE}",),
            # reports of earlier versions have none of these
            found.get("forms", {}),
            found.get("verify", {}),
            tuple(found.get("unexplained", ())),
            found.get("cpu", ""),
        )
        as_text(read)  # what cannot be shown is no report
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecastError(
            f"cannot read {folder}/{REPORT}: {type(error).__name__}: {error}",
            f"run './recast run {recipe} --target {target} --force' to write it anew",
        ) from error
    return read


def as_json(report: Blame, cpu: str = "") -> str:
    """The report as JSON: what parity.json says, what is blamed, and the ranking. `cpu`: the kind of this machine."""
    shown = report.shown
    document = {
        "target": report.target,
        "report": f"{report.folder}/{REPORT}",
        "plots": list(report.plots),
        "failed": report.failed,
        "blamed": None
        if report.blamed is None
        else {"layer": report.blamed["blamed"], "from": report.blamed["from"], "to": report.blamed["to"]},
        "ranking": [_title(layer) for layer in _ranked(shown)] if shown else [],
        "cpu": {"measured_on": report.cpu or None, "this_machine": cpu or None},
        "forms": report.forms,
        "verify": report.verify,
        "unexplained": list(report.unexplained),
        "hops": list(report.hops),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(report: Blame, cpu: str = "") -> str:
    """The report as people read it. `cpu`: the kind of this machine."""
    parts = [_heading(report), *report.unexplained]
    parts += ["Each form of the model against the one before:", _hop_table(report.hops)]
    if report.verify:
        parts += ["The emitted model against the float model, as verify measured them:", _verify_table(report.verify)]
    shown = report.shown
    if shown is not None:
        step = f"{shown['from']} → {shown['to']}"
        parts += [f"Layers of {step}, in running order:", _layer_table(shown), _ranking(shown)]
    if report.forms:
        parts += ["What was run for each form:", _aligned(_runs(report.forms))]
    if report.cpu:
        parts.append(f"These figures were {beside(report.cpu, cpu)}.")
    hidden = [hop["to"] for hop in report.hops if len(hop["layers"]) < 2]
    if hidden:
        parts.append(f"Of {' and '.join(hidden)} the runtime shows the output only.")
    parts += [f"{hop['from']} → {hop['to']}: {hop['note']}" for hop in report.hops if hop["note"]]
    parts.append(f"Report: {report.folder}/{REPORT}\nTable for plots: {' '.join(report.plots)}")
    if not report.failed:
        # without the options DVC draws what it makes of the bare table as well
        parts[-1] += f"\nPlot: dvc plots show -t error_by_layer -x layer -y relative_error {' '.join(report.plots)}"
    return "\n\n".join(part for part in parts if part)


def _verify(plan: Plan, recipe: str, target: str) -> PlannedStage:
    if recipe not in plan.recipes:
        raise RecastError(f"no recipe named '{recipe}'", did_you_mean(recipe, plan.recipes))
    targets = plan.recipes[recipe].targets
    if target not in targets:
        raise RecastError(f"recipe '{recipe}' has no target '{target}'", did_you_mean(target, targets))
    if VERIFY not in targets[target]:
        raise RecastError(f"target '{target}' of '{recipe}' has no {VERIFY} stage", "add one to its stage set")
    return plan.stages[targets[target][VERIFY]]


def _heading(report: Blame) -> str:
    state = "verify failed" if report.failed else "verify passed"
    hop = report.blamed
    if hop is None:
        return f"{report.target}: {state}. No layer's error jumps."
    layer = next(layer for layer in hop["layers"] if _title(layer) == hop["blamed"])
    before = layer["before"]
    was = f"from {_db(before)} (largest error {_number(before, 'max_abs_error')}) " if before else ""
    now = f"{_db(layer['after'])} (largest error {_number(layer['after'], 'max_abs_error')})"
    own = f" Given the right input it has {_db(layer['alone'])}." if layer["alone"] else ""
    if layer["alone"] and (layer.get("alone_steps") or 0) >= 1:
        own = f"{own[:-1]}, and an integer is up to {layer['alone_steps']:.0f} steps off."
    return (
        f"{report.target}: {state}. The error jumps at {hop['blamed']}, from the {hop['from']} to the {hop['to']} "
        f"model: SQNR falls {was}to {now}.{own}"
    )


def _hop_table(hops: Sequence[Mapping[str, Any]]) -> str:
    rows = [("step", "largest error", "SQNR", "cosine", "same class", "samples", "blamed")]
    for hop in hops:
        output = hop["output"]
        agreement = output["agreement"]
        rows.append(
            (
                f"{hop['from']} → {hop['to']}",
                _number(output, "max_abs_error"),
                _db(output),
                f"{output['cosine']:.6f}",
                "–" if agreement is None else f"{agreement:.2%}",
                str(hop["samples"]),
                hop["blamed"] or "–",
            )
        )
        remainder = hop.get("remainder")
        # where only the output is shown, what was measured is what is compared
        if remainder and (len(hop["layers"]) > 1 or remainder["sqnr_db"] < 200):
            numbers = (_number(remainder, "max_abs_error"), _db(remainder), f"{remainder['cosine']:.6f}")
            rows.append((f"its layers → {hop['to']} as a whole", *numbers, "", str(hop["samples"]), "–"))
    return _aligned(rows)


def _runs(forms: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is run, and for which forms."""
    grouped: dict[str, list[str]] = {}
    for name, runs in forms.items():
        grouped.setdefault(runs, []).append(name)
    return [(", ".join(names), runs) for runs, names in grouped.items()]


def _verify_table(verify: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [("samples", "largest error", "SQNR", "same class", "at test sample")]
    called = {"compared": "compared by layer", "all": "all"}
    for key, title in called.items():
        of = verify[key]
        classes = "–" if of["agreement"] is None else f"{of['agreement']:.2%}"
        numbers = (_number(of, "max_abs_error"), _db(of), classes, str(of["worst_sample"]))
        rows.append((f"{title} ({of['samples']})", *numbers))
    return _aligned(rows)


def _layer_table(hop: Mapping[str, Any]) -> str:
    largest = max((_relative(layer["after"]) for layer in hop["layers"]), default=0.0)
    rows = [("layer", "SQNR", "alone", "largest error", "cosine", "relative error")]
    for layer in hop["layers"]:
        after = layer["after"]
        mark = " ← jumps here" if _title(layer) == hop["blamed"] else ""
        numbers = (_db(after), _db(layer["alone"]), _number(after, "max_abs_error"), f"{after['cosine']:.6f}")
        rows.append((_title(layer), *numbers, _bar(layer, largest) + mark))
    return _aligned(rows) + "\n\n  █ of the layer alone, ░ of all layers so far"


def _bar(layer: Mapping[str, Any], largest: float) -> str:
    """The layer's relative error as a bar: its own part, and with that of the layers before; then as a number."""
    so_far = _relative(layer["after"])
    alone = min(_relative(layer["alone"]), so_far) if layer["alone"] else 0.0
    # above the spacing of float32 all is shown, be it a sliver
    width = max(1, round(BAR * so_far / largest)) if so_far > 1e-7 else 0
    own = round(BAR * alone / largest) if width else 0
    return f"{'█' * min(own, width)}{'░' * (width - own)} {_percent(so_far)}".lstrip()


def _relative(numbers: Mapping[str, Any]) -> float:
    """The relative error that an SQNR stands for; none where the values are equal."""
    db = float(numbers["sqnr_db"])
    return 0.0 if db >= 200 else 10 ** (-db / 20)


def _percent(fraction: float) -> str:
    return f"{fraction:.2g}" if fraction < 1e-4 else f"{100 * fraction:.3g} %"


def _ranking(hop: Mapping[str, Any]) -> str:
    """The layers that cost most, by the output if only this layer is changed, or else by their own error."""
    layers = _ranked(hop)[:SHOWN]
    if not layers or not any(_own_db(layer) < 200 for layer in layers):
        return ""
    if all(layer["output_if_only_this"] for layer in layers):
        rows = [("layer", "output's SQNR", "same class")]
        for layer in layers:
            only = layer["output_if_only_this"]
            agreement = only["agreement"]
            rows.append((_title(layer), _db(only), "–" if agreement is None else f"{agreement:.2%}"))
        return "What costs most: the output if this layer alone is quantized.\n\n" + _aligned(rows)
    lossy = [(_title(layer), f"{_own_db(layer):.1f} dB") for layer in layers if _own_db(layer) < 200]
    own = [("layer", "alone"), *lossy]
    return "What costs most, by the layer's own SQNR:\n\n" + _aligned(own)


def _ranked(hop: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    layers: list[Mapping[str, Any]] = list(hop["layers"])
    if all(layer["output_if_only_this"] for layer in layers):
        return sorted(layers, key=lambda layer: _cost(layer["output_if_only_this"]))
    return sorted(layers, key=_own_db)


def _cost(only: Mapping[str, Any]) -> tuple[float, float]:
    agreement = only["agreement"]
    return (1.0 if agreement is None else float(agreement), float(only["sqnr_db"]))


def _own_db(layer: Mapping[str, Any]) -> float:
    """Of the layer alone; where it cannot be run alone, what it has behind it, if that is less than before."""
    if layer["alone"]:
        return float(layer["alone"]["sqnr_db"])
    before = layer["before"]
    after = float(layer["after"]["sqnr_db"])
    return after if before is None or after < float(before["sqnr_db"]) else 200.0


def _title(layer: Mapping[str, Any]) -> str:
    return " + ".join([*layer["covers"], layer["layer"]])


def _db(numbers: Mapping[str, Any] | None) -> str:
    if numbers is None:
        return "–"
    return "exact" if numbers["sqnr_db"] >= 200 else f"{numbers['sqnr_db']:.1f} dB"


def _number(numbers: Mapping[str, Any], key: str) -> str:
    return f"{numbers[key]:.3g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, numbers to the right, the last as it is."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *middle, last = row
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True))]
        lines.append("  " + "  ".join([*cells, last]).rstrip())
    return "\n".join(lines)
