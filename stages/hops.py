"""Compare each form of a model with the one before: PyTorch, exported, simplified, prepared, quantized, emitted.

`verify` runs this and writes parity.json and error_by_layer.csv, which `recast blame` shows. What the numbers mean is
said in `stages.parity`; docs/parity.md shows how they are read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages import layer_names, onnx_files, tensor_matching
from stages.base import Inputs, Plot, StageError
from stages.onnx_form import Arrays, Given, OnnxForm
from stages.parity import EXACT_DB, LARGEST, RIGHT_DB, Difference, Kind, LayerError, difference, first_jump, ranked, rms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages import activations

REPORT = "parity.json"
ERRORS = Plot(
    "error_by_layer.csv",
    x="layer",
    y=("relative_error", "relative_error_alone"),
    template="error_by_layer",  # .dvc/plots/error_by_layer.json
    title="Relative error by layer, of the hop that loses most",
)
MOST_BYTES = 512 * 2**20
"""of one form's activations at once; fewer samples are compared if they would be more"""
MOST_LAYERS_ALONE_IN_INT8 = 100
ROUNDING = 2.0**-23
"""relative spacing of float32"""


class Form(Protocol):
    """One form of the model, whose activations can be had as floats under the exported model's tensor names."""

    output: str
    runs: str
    """how the values that are compared come about: what is run, and what is simulated"""

    @property
    def tensors(self) -> list[str]:
        """What can be looked at, in running order."""

    def values(self, x: NDArray[Any]) -> Arrays:
        """Activations for normalised samples (N, *shape)."""

    def alone(self, x: NDArray[Any], given: Given) -> Arrays | None:
        """Each tensor in `given`, made from the given values of its inputs; None if the runtime cannot do that."""

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """Tensors in `shown` that the layer of `tensor` reads, and its operations."""

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""


@dataclass(frozen=True)
class Step:
    """A form of the model, what it is called in reports, and what may have changed since the form before."""

    name: str
    form: Form
    kind: Kind
    samples: int | None = None
    """the most samples the form can be compared on; None for any number"""


@dataclass(frozen=True)
class Hop:
    """Two neighbouring forms compared."""

    before: str
    after: str
    kind: Kind
    samples: int
    output: Difference
    agreement: float | None
    """fraction of samples with the same class; None if the output is no table of scores"""
    layers: list[LayerError]
    blamed: LayerError | None
    note: str = ""
    only: dict[str, tuple[Difference, float | None]] = field(default_factory=dict)
    """tensor -> the output's difference and agreement when this layer alone is as in the later form"""
    runs: tuple[str, str] = ("", "")
    """how the values of the two forms come about"""
    remainder: Difference | None = None
    """of the scores that `verify` measured, from the output of the layers as they are shown; None if none were given"""

    @property
    def accounted(self) -> bool:
        """Whether the layers shown give what the whole gave, but for rounding."""
        return self.remainder is None or self.remainder.sqnr_db >= RIGHT_DB


class Recorded:
    """PyTorch's activations on the reference samples, as `export` recorded them, by the ONNX tensors' names."""

    runs = "PyTorch, as export recorded it"

    def __init__(self, values: Arrays, output: str, folded: Mapping[str, tuple[str, ...]]) -> None:
        """`values` in running order, the input first; `folded`: tensor -> layers right before it that have none."""
        self._values, self.output, self.folded = values, output, folded

    @property
    def tensors(self) -> list[str]:
        """Names of the tensors that are recorded."""
        return list(self._values)

    def values(self, x: NDArray[Any]) -> Arrays:
        """What was recorded: it is for the recorded samples only."""
        return self._values

    def alone(self, x: NDArray[Any], given: Given) -> Arrays | None:
        """A record cannot be run."""
        return None

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """Not known."""
        return [], []

    def rename(self, names: Mapping[str, str]) -> None:
        """A record is the first form."""
        raise NotImplementedError


class OutputOnly:
    """A runtime that shows nothing but the model's output."""

    def __init__(self, predict: Callable[[NDArray[Any]], NDArray[Any]], output: str, runs: str) -> None:
        """`predict` takes normalised samples (N, *shape); `runs` says what it runs."""
        self._predict, self.output, self.runs = predict, output, runs

    @property
    def tensors(self) -> list[str]:
        """The output alone."""
        return [self.output]

    def values(self, x: NDArray[Any]) -> Arrays:
        """The output."""
        return {self.output: self._predict(x)}

    def alone(self, x: NDArray[Any], given: Given) -> Arrays | None:
        """Not possible."""
        return None

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """Everything that is shown lies before the output."""
        return [one for one in shown if one != tensor][-1:], []

    def rename(self, names: Mapping[str, str]) -> None:
        """The output is the only tensor."""


def recorded(export: Path) -> tuple[Recorded, NDArray[Any]] | None:
    """PyTorch's activations and the samples they are of; None if `export` wrote none, as an imported model's."""
    from stages import activations

    path = export / "activations.safetensors"
    if not path.is_file():
        return None
    sampled = activations.read(path)
    names = layer_names.read(export / layer_names.FILE)
    model = onnx_files.read_model(export / "model.onnx")
    x = sampled.tensors[f"{activations.MODEL}.in.0"]
    outputs = {tensor: sampled.tensors.get(f"{layer}.out.0") for tensor, layer in names.items()}
    values = {tensor: value for tensor, value in outputs.items() if value is not None}
    taken = onnx_files.only_input(model, "the exported model").name
    output = onnx_files.only_output(model, "the exported model").name
    values = {taken: x, **values, output: sampled.tensors[f"{activations.MODEL}.out.0"]}
    return Recorded(values, output, _folded(sampled, names)), x


def _folded(sampled: activations.Sampled, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Tensor -> the layers right before its own that no tensor stands for: the exporter has fused them with it."""
    from stages import activations

    tensors = {layer: tensor for tensor, layer in names.items()}
    all_names = [layer.name for layer in sampled.layers]
    folded: dict[str, tuple[str, ...]] = {}
    waiting: list[str] = []
    for name in all_names:
        if name in tensors:
            folded[tensors[name]] = tuple(waiting)
            waiting = []
            continue
        block = name == activations.MODEL or any(other.startswith(f"{name}.") for other in all_names)
        before, after = (sampled.tensors.get(f"{name}.{part}.0") for part in ("in", "out"))
        # Dropout, and whatever else changes nothing, is not there to be fused
        idle = (
            before is not None and after is not None and before.shape == after.shape and bool((before == after).all())
        )
        if not block and not idle:
            waiting.append(name)
    return folded


def float_steps(inputs: Inputs, threads: int) -> list[Step]:
    """The exported and the simplified model, as far as the stage reads them."""
    steps = []
    for name, stage in (("exported", "export"), ("simplified", "simplify")):
        path = inputs.directories.get(stage)
        if path is not None and (path / "model.onnx").is_file():
            form = OnnxForm(onnx_files.read_model(path / "model.onnx"), threads, f"the {name} model")
            steps.append(Step(name, form, "float"))
    return steps


def compare(
    before: Step,
    after: Step,
    x: NDArray[Any],
    names: Mapping[str, str],
    folded: Mapping[str, tuple[str, ...]] | None = None,
    scores: NDArray[Any] | None = None,
) -> Hop:
    """Compare two forms on samples (N, *shape); `names`: tensor -> layer. Layers are those that both show.

    `folded`: tensor -> layers that the form before has folded into the one that gives it. `scores`: what the later form
    was measured to give for the samples, as a whole and without a look at its layers.
    """
    reference = before.form.values(x)
    output = before.form.output
    if after.form.output != output:
        after.form.rename({after.form.output: output})
    _inherit_names(before.form, after.form)
    alone: Arrays | None = None
    noise: Arrays = {}
    note = ""
    try:
        if after.kind == "float":
            tensor_matching.rename(reference, x, before.form, after.form, after.name)
    except StageError as error:  # as below
        note = error.message
    candidate = after.form.values(x)
    common = [name for name in candidate if name in reference and reference[name].shape == candidate[name].shape]
    given = {name: reference[name] for name in common}
    try:
        alone = after.form.alone(x, given)
        if after.kind == "float" and alone is not None:
            noise = after.form.alone(x, {name: _rounded(value) for name, value in given.items()}) or {}
    except StageError as error:  # the comparison end to end is worth having without
        alone, note = None, error.message
    expected = {**reference, **(_of_held(before.form, after.form, x, given) if alone is not None else {})}
    layers = []
    for name in common:
        sources, operations = after.form.inputs_of(name, common)
        inputs = [one for one in sources if one != name]
        least = 1e-4 * max((rms(reference[one]) for one in inputs), default=0.0)
        ends = [difference(reference[one], candidate[one]) for one in inputs]
        own = alone.get(name) if alone is not None else None
        if own is None and not inputs and alone is not None:
            # the input, which no layer makes: it is shown if it was prepared in another way
            own = candidate[name]
            if (own == reference[name]).all():
                continue
        own = own if own is not None and own.shape == reference[name].shape else None
        layers.append(
            LayerError(
                layer=names.get(name, name),
                tensor=name,
                operation="+".join(dict.fromkeys(operations)) or "input",
                covers=_covered(name, before, common, names, folded or {}),
                inputs=tuple(inputs),
                before=min(ends, key=lambda one: one.sqnr_db) if ends else None,
                after=difference(reference[name], candidate[name], least),
                alone=difference(expected[name], own, least) if own is not None else None,
                noise_db=difference(own, noise[name], least).sqnr_db if own is not None and name in noise else None,
                steps=_steps(after, name, expected[name], own) if own is not None else None,
            )
        )
    joined = candidate[output]
    remainder = of_outputs(joined, scores) if scores is not None else None
    # where layers are shown, the output may be that of a stand-in that shows them
    emitted = scores if scores is not None and len(layers) > 1 else joined
    end = of_outputs(reference[output], emitted)
    only = _one_at_a_time(before, x, reference, (expected, alone), layers) if after.kind == "int8" and alone else {}
    return Hop(
        before=before.name,
        after=after.name,
        kind=after.kind,
        samples=len(x),
        output=end,
        agreement=agreement(reference[output], emitted) if output in common else None,
        layers=layers,
        # the output alone says that there is an error, not where
        blamed=first_jump(layers, after.kind, end) if len(layers) > 1 else None,
        note=note,
        only=only,
        runs=(before.form.runs, after.form.runs),
        remainder=remainder,
    )


def affordable(form: Form, x: NDArray[Any]) -> int:
    """How many of the samples to compare, so that one form's activations stay below MOST_BYTES."""
    each = sum(value.nbytes for value in form.values(x[:1]).values())
    return max(1, min(len(x), MOST_BYTES // max(each, 1)))


def measure(
    steps: Sequence[Step],
    x: NDArray[Any],
    names: Mapping[str, str],
    export: Path | None = None,
    scores: NDArray[Any] | None = None,
) -> list[Hop]:
    """Each form against the one before; PyTorch's record, if `export` has one, against the first.

    `scores`: of x, as measured of the last form.
    """
    hops: list[Hop] = []
    record = recorded(export) if export is not None else None
    if record is not None:
        hops.append(compare(Step("pytorch", record[0], "float"), steps[0], record[1], names, record[0].folded))
    count = affordable(steps[0].form, x)
    for before, after in pairwise(steps):
        folded = {layer.tensor: layer.covers for layer in hops[-1].layers} if hops else {}
        few = min(count, before.samples or count, after.samples or count)
        measured = scores[:few] if scores is not None and after is steps[-1] else None
        hops.append(compare(before, after, x[:few], names, folded, measured))
    return hops


def write(out: Path, hops: Sequence[Hop], more: Mapping[str, Any] | None = None) -> None:
    """Write parity.json and error_by_layer.csv; `more`: what else parity.json is to hold."""
    forms = {name: runs for hop in hops for name, runs in zip((hop.before, hop.after), hop.runs, strict=True)}
    report = {"forms": forms, **(more or {}), "hops": [_as_json(hop) for hop in hops]}
    (out / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = _worst(hops)
    with (out / ERRORS.file).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        columns = ["layer", "hop", "relative_error", "relative_error_alone", "sqnr_db", "sqnr_alone_db"]
        rows.writerow([*columns, "max_abs_error", "cosine"])
        for layer in shown.layers if shown is not None else []:
            own = layer.alone
            rows.writerow(
                [
                    layer.title,
                    f"{shown.before} → {shown.after}" if shown is not None else "",
                    _short(layer.after.relative),
                    _short(own.relative) if own else "",
                    _short(layer.after.sqnr_db),
                    _short(own.sqnr_db) if own else "",
                    _short(layer.after.max_abs),
                    _short(layer.after.cosine),
                ]
            )


def said(hops: Sequence[Hop]) -> str:
    """One sentence for a limit that was missed: the first layer at which the error jumps, or that there is none."""
    for hop in hops:
        if hop.blamed is not None:
            layer = hop.blamed
            before = layer.before
            was = f"from {before.sqnr_db:.1f} dB (largest error {before.max_abs:.3g}) before it " if before else ""
            own = f"; given the right input it has {layer.alone.sqnr_db:.1f} dB" if layer.alone else ""
            return (
                f"the error jumps at layer {layer.title} ({hop.before} → {hop.after}): SQNR falls {was}"
                f"to {layer.after.sqnr_db:.1f} dB (largest error {layer.after.max_abs:.3g}) after it{own}"
            )
    losing = min(hops, key=lambda hop: hop.output.sqnr_db, default=None)
    if losing is None:
        return ""
    kept = f"from {losing.before} to {losing.after} the output keeps {losing.output.sqnr_db:.1f} dB"
    if len(losing.layers) < 2:
        return f"{kept}; the {losing.after} model does not show its layers"
    if not losing.accounted:
        return f"{kept}, which its layers do not account for"
    return f"no single layer is at fault: {kept}, and most is lost at {most_lost(losing)}"


def most_lost(hop: Hop) -> str:
    """The three layers that lose most, with what they keep, as a phrase."""
    return ", ".join(
        f"{layer.title} ({(layer.alone or layer.after).sqnr_db:.1f} dB)" for layer in ranked(hop.layers)[:3]
    )


def _worst(hops: Sequence[Hop]) -> Hop | None:
    """The hop that is blamed, or else the one whose output loses most, of those that show layers."""
    showing = [hop for hop in hops if len(hop.layers) > 1]
    blamed = next((hop for hop in showing if hop.blamed is not None), None)
    return blamed or min(showing, key=lambda hop: hop.output.sqnr_db, default=None)


def _of_held(before: Form, after: Form, x: NDArray[Any], given: Given) -> Arrays:
    """What the earlier form's layers make of the inputs as the later one can hold them; empty if it holds them all.

    Integers round and cut what they are given; that counts for the layer that made it, not for the one that reads it.
    """
    if not isinstance(after, OnnxForm):
        return {}
    held = {name: after.decode(name, after.encode(name, value)) for name, value in given.items()}
    if all(held[name] is given[name] for name in held):
        return {}
    return before.alone(x, held) or {}


def _inherit_names(before: Form, after: Form) -> None:
    """A tensor that bears one name in the files of both forms is called in the later one as it is in the earlier."""
    if not isinstance(before, OnnxForm):
        return
    renamed = after.called.values() if isinstance(after, OnnxForm) else ()
    shown = after.tensors
    after.rename(
        {
            name: called
            for name, called in before.called.items()
            if name in shown and name not in renamed and called not in shown
        }
    )


def _covered(
    tensor: str, before: Step, common: Sequence[str], names: Mapping[str, str], folded: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Layers between the tensor and its inputs that the later form does not show, nor maybe the earlier one."""
    order = before.form.tensors
    hidden: set[str] = set()
    pending = [tensor] if tensor in order else []
    shown = {*common, tensor}
    while pending:
        sources, _ = before.form.inputs_of(pending.pop(), order)
        fresh = [one for one in sources if one not in shown and one not in hidden]
        hidden.update(fresh)
        pending += fresh
    # a tensor without a layer, in a model that has them, is a step inside one
    layers = [
        [*folded.get(one, ()), names.get(one, one)] for one in order if one in hidden and (one in names or not names)
    ]
    return tuple(dict.fromkeys([*(layer for part in layers for layer in part), *folded.get(tensor, ())]))


def _one_at_a_time(
    before: Step, x: NDArray[Any], reference: Arrays, made: tuple[Arrays, Arrays], layers: Sequence[LayerError]
) -> dict[str, tuple[Difference, float | None]]:
    """What each layer costs the output: the earlier form, with this layer's own error and no other.

    `made`: what each layer of the earlier form makes of the given inputs, and what that of the later form does.
    """
    form = before.form
    expected, alone = made
    if not isinstance(form, OnnxForm) or len(layers) > MOST_LAYERS_ALONE_IN_INT8:
        return {}
    output = reference[form.output]
    costs = {}
    for layer in layers:
        value = alone.get(layer.tensor)
        if value is None or value.shape != reference[layer.tensor].shape:
            continue
        value = reference[layer.tensor] + (value - expected[layer.tensor])
        end = form.output_given(x, layer.tensor, value.astype(reference[layer.tensor].dtype))
        costs[layer.tensor] = difference(output, end), agreement(output, end)
    return costs


def _rounded(value: NDArray[Any]) -> NDArray[Any]:
    """Every element off by the spacing of float32, up and down in turn."""
    import numpy as np

    signs = np.where(np.arange(value.size) % 2, 1 + ROUNDING, 1 - ROUNDING).reshape(value.shape)
    return (value * signs).astype(value.dtype)


def of_outputs(reference: NDArray[Any], candidate: NDArray[Any]) -> Difference:
    """Of the outputs, hopeless if they have not even one shape."""
    if reference.shape != candidate.shape:
        return Difference(LARGEST, 10 ** (EXACT_DB / 20), -EXACT_DB, 0.0)
    return difference(reference, candidate)


def _steps(after: Step, tensor: str, expected: NDArray[Any], own: NDArray[Any]) -> float | None:
    """The largest difference of the same integers on another runtime, in steps; None for floats."""
    step = after.form.step_of(tensor) if after.kind == "same" and isinstance(after.form, OnnxForm) else None
    return difference(expected, own).max_abs / step if step else None


def agreement(reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
    """Fraction of samples with the same class; None if these are no tables of scores of one shape."""
    if reference.ndim != 2 or reference.shape != candidate.shape:
        return None
    return float((reference.argmax(axis=1) == candidate.argmax(axis=1)).mean())


def _as_json(hop: Hop) -> dict[str, Any]:
    layers = []
    for layer in hop.layers:
        cost = hop.only.get(layer.tensor)
        layers.append(
            {
                "layer": layer.layer,
                "tensor": layer.tensor,
                "operation": layer.operation,
                "covers": list(layer.covers),
                "before": numbers(layer.before),
                "after": numbers(layer.after),
                "alone": numbers(layer.alone),
                "alone_steps": None if layer.steps is None else _short(layer.steps),
                "output_if_only_this": {**(numbers(cost[0]) or {}), "agreement": cost[1]} if cost else None,
            }
        )
    return {
        "from": hop.before,
        "to": hop.after,
        "kind": hop.kind,
        "samples": hop.samples,
        "output": {**(numbers(hop.output) or {}), "agreement": hop.agreement},
        "blamed": hop.blamed.title if hop.blamed else None,
        "remainder": numbers(hop.remainder),
        "note": hop.note,
        "layers": layers,
    }


def numbers(of: Difference | None) -> dict[str, float] | None:
    """A difference for parity.json."""
    if of is None:
        return None
    return {
        "max_abs_error": _short(of.max_abs),
        "relative_error": _short(of.relative),
        "sqnr_db": _short(of.sqnr_db),
        "cosine": float(f"{of.cosine:.7g}"),
    }


def _short(value: float) -> float:
    """Four digits: the rest depends on the processor."""
    return float(f"{value:.4g}")
