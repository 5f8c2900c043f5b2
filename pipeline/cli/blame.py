"""Where a target loses what the model computed: the report of `recast blame RECIPE/TARGET`.

It shows what `verify` compared and wrote (parity.json, see docs/parity.md): each form of the model against the one
before, then the layers of the conversion that matters, and which of them cost most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc.cpu_kind import beside
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes.stage_call import newest_report
from recast.stages.common.loss_ranking import own_db, ranked, title

TABLE = "error_by_layer.csv"
SHOWN = 10
"""layers in the ranking"""
BAR = 24
"""characters of the longest bar"""


@dataclass(frozen=True)
class Blame:
    """What the stage that verifies a target found; `conversions` as in parity.json."""

    target: str
    """`recipe/target`"""
    stage: str
    """what the target calls the stage"""
    report: str
    """the file that is shown, relative to the repository"""
    failed: bool
    """whether it is of a run of the stage that failed"""
    conversions: tuple[Mapping[str, Any], ...]
    plots: tuple[str, ...]
    forms: Mapping[str, str] = field(default_factory=dict)
    """how the values of each form came about, as in parity.json"""
    verify: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """the emitted model's scores against the float model's, on the samples that were compared by layer and on all"""
    unexplained: tuple[str, ...] = ()
    """sentences on what the comparison by layer does not account for"""
    cpu: str = ""
    """the kind of CPU it was measured on; empty if the report does not say"""
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """as `verify`, of each of several outputs on all samples; empty where there is one"""

    @property
    def blamed(self) -> Mapping[str, Any] | None:
        """The first conversion at which the error of a layer jumps."""
        return next((one for one in self.conversions if one["blamed"]), None)

    @property
    def shown(self) -> Mapping[str, Any] | None:
        """That whose layers matter: the blamed one, or else the one that loses most of those that show layers."""
        showing = [one for one in self.conversions if len(one["layers"]) > 1]
        return self.blamed or min(showing, key=lambda one: float(one["output"]["sqnr_db"]), default=None)


def verifying(plan: Plan, target: Address) -> PlannedStage:
    """The stage that verifies the target, which the plan has; RecastError if there is none."""
    for id in plan.ids(target):
        if plan.stages[id].stage.reports:
            return plan.stages[id]
    raise RecastError(
        f"target '{target.target}' of '{target.recipe}' verifies nothing", "add a stage that does to its set"
    )


def blame(root: Path, plan: Plan, target: Address) -> Blame:
    """The newest report of the stage that verifies the target, which the plan has, whether that succeeded or failed.

    Raises RecastError if there is none, or it cannot be read.
    """
    stage = verifying(plan, target)
    report = newest_report(root, stage)
    if not report:
        message = f"{stage.id} has written no {stage.stage.reports} yet"
        raise RecastError(message, f"run '{target.run_command(root)}' first")
    folder = report.removesuffix(f"/{stage.stage.reports}")
    try:
        found = json.loads((root / report).read_text(encoding="utf-8"))
        read = Blame(
            str(target),
            stage.name,
            report,
            folder != stage.out,
            tuple(found["conversions"]),
            (f"{folder}/{TABLE}",),
            # reports of earlier versions have none of these
            found.get("forms", {}),
            found.get("verify", {}),
            tuple(found.get("unexplained", ())),
            found.get("cpu", ""),
            found.get("outputs", {}),
        )
        as_text(read)  # what cannot be shown is no report
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecastError(
            f"cannot read {report}: {type(error).__name__}: {error}",
            f"run '{target.run_command(root)} --force' to write it anew",
        ) from error
    return read


def as_json(report: Blame, cpu: str = "") -> str:
    """The report as JSON: what parity.json says, what is blamed, and the ranking. `cpu`: the kind of this machine."""
    shown = report.shown
    document = {
        "target": report.target,
        "report": report.report,
        "plots": list(report.plots),
        "failed": report.failed,
        "blamed": None
        if report.blamed is None
        else {"layer": report.blamed["blamed"], "from": report.blamed["from"], "to": report.blamed["to"]},
        "ranking": [title(layer) for layer in ranked(shown)] if shown else [],
        "cpu": {"measured_on": report.cpu or None, "this_machine": cpu or None},
        "forms": report.forms,
        "verify": report.verify,
        "outputs": report.outputs,
        "unexplained": list(report.unexplained),
        "conversions": list(report.conversions),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(report: Blame, cpu: str = "") -> str:
    """The report as people read it. `cpu`: the kind of this machine."""
    parts = [_heading(report), *report.unexplained]
    parts += ["Each form of the model against the one before:", _conversion_table(report.conversions)]
    if report.verify:
        head = f"The emitted model against the float model, as {report.stage} measured them:"
        parts += [head, _verify_table(report.verify)]
    if report.outputs:
        parts += ["Of each output, on all of them:", _output_table(report.outputs)]
    shown = report.shown
    if shown is not None:
        parts += [f"Layers of {shown['from']} → {shown['to']}, in running order:", _layer_table(shown), _ranking(shown)]
    if report.forms:
        parts += ["What was run for each form:", _aligned(_runs(report.forms))]
    if report.cpu:
        parts.append(f"These figures were {beside(report.cpu, cpu)}.")
    hidden = [one["to"] for one in report.conversions if len(one["layers"]) < 2]
    if hidden:
        parts.append(f"Of {' and '.join(hidden)} the runtime shows the output only.")
    parts += [f"{one['from']} → {one['to']}: {one['note']}" for one in report.conversions if one["note"]]
    parts.append(f"Report: {report.report}\nTable for plots: {' '.join(report.plots)}")
    if not report.failed:
        # without the options DVC draws what it makes of the bare table as well
        parts[-1] += f"\nPlot: dvc plots show -t error_by_layer -x layer -y relative_error {' '.join(report.plots)}"
    return "\n\n".join(part for part in parts if part)


def _heading(report: Blame) -> str:
    state = f"{report.stage} {'failed' if report.failed else 'passed'}"
    conversion = report.blamed
    if conversion is None:
        return f"{report.target}: {state}. No layer's error jumps."
    layer = next(layer for layer in conversion["layers"] if title(layer) == conversion["blamed"])
    before = layer["before"]
    was = f"from {_db(before)} (largest error {_number(before, 'max_abs_error')}) " if before else ""
    now = f"{_db(layer['after'])} (largest error {_number(layer['after'], 'max_abs_error')})"
    own = f" Given the right input it has {_db(layer['alone'])}." if layer["alone"] else ""
    if layer["alone"] and (layer.get("alone_steps") or 0) >= 1:
        own = f"{own[:-1]}, and an integer is up to {layer['alone_steps']:.0f} steps off."
    return (
        f"{report.target}: {state}. The error jumps at {conversion['blamed']}, from the {conversion['from']} to the "
        f"{conversion['to']} model: SQNR falls {was}to {now}.{own}"
    )


def _conversion_table(conversions: Sequence[Mapping[str, Any]]) -> str:
    rows = [("conversion", "largest error", "SQNR", "cosine", "agreement", "samples", "blamed")]
    for conversion in conversions:
        output = conversion["output"]
        agreement = output["agreement"]
        rows.append(
            (
                f"{conversion['from']} → {conversion['to']}",
                _number(output, "max_abs_error"),
                _db(output),
                f"{output['cosine']:.6f}",
                "–" if agreement is None else f"{agreement:.2%}",
                str(conversion["samples"]),
                conversion["blamed"] or "–",
            )
        )
        remainder = conversion.get("remainder")
        # where only the output is shown, what was measured is what is compared
        if remainder and (len(conversion["layers"]) > 1 or remainder["sqnr_db"] < 200):
            numbers = (_number(remainder, "max_abs_error"), _db(remainder), f"{remainder['cosine']:.6f}")
            rows.append((f"its layers → {conversion['to']} as a whole", *numbers, "", str(conversion["samples"]), "–"))
    return _aligned(rows)


def _runs(forms: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is run, and for which forms."""
    grouped: dict[str, list[str]] = {}
    for name, runs in forms.items():
        grouped.setdefault(runs, []).append(name)
    return [(", ".join(names), runs) for runs, names in grouped.items()]


def _verify_table(verify: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [("samples", "largest error", "SQNR", "agreement", "at test sample")]
    called = {"compared": "compared by layer", "all": "all"}
    for key, says in called.items():
        of = verify[key]
        classes = "–" if of["agreement"] is None else f"{of['agreement']:.2%}"
        numbers = (_number(of, "max_abs_error"), _db(of), classes, str(of["worst_sample"]))
        rows.append((f"{says} ({of['samples']})", *numbers))
    return _aligned(rows)


def _output_table(outputs: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [("output", "largest error", "SQNR", "agreement")]
    for name, of in outputs.items():
        # whole numbers are the same or not
        errors = (_number(of, "max_abs_error"), _db(of)) if "sqnr_db" in of else ("–", "–")
        rows.append((name, *errors, "–" if of["agreement"] is None else f"{of['agreement']:.2%}"))
    return _aligned(rows)


def _layer_table(conversion: Mapping[str, Any]) -> str:
    largest = max((_relative(layer["after"]) for layer in conversion["layers"]), default=0.0)
    rows = [("layer", "SQNR", "alone", "largest error", "cosine", "relative error")]
    for layer in conversion["layers"]:
        after = layer["after"]
        mark = " ← jumps here" if title(layer) == conversion["blamed"] else ""
        numbers = (_db(after), _db(layer["alone"]), _number(after, "max_abs_error"), f"{after['cosine']:.6f}")
        rows.append((title(layer), *numbers, _bar(layer, largest) + mark))
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


def _ranking(conversion: Mapping[str, Any]) -> str:
    """The layers that cost most, by the output if only this layer is changed, or else by their own error."""
    layers = ranked(conversion)[:SHOWN]
    if not layers or not any(own_db(layer) < 200 for layer in layers):
        return ""
    if all(layer["output_if_only_this"] for layer in layers):
        rows = [("layer", "output's SQNR", "agreement")]
        for layer in layers:
            only = layer["output_if_only_this"]
            agreement = only["agreement"]
            rows.append((title(layer), _db(only), "–" if agreement is None else f"{agreement:.2%}"))
        return "What costs most: the output if this layer alone is quantized.\n\n" + _aligned(rows)
    lossy = [(title(layer), f"{own_db(layer):.1f} dB") for layer in layers if own_db(layer) < 200]
    own = [("layer", "alone"), *lossy]
    return "What costs most, by the layer's own SQNR:\n\n" + _aligned(own)


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
