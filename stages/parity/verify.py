"""What every target's `verify` does: compare the emitted artifact with the float ONNX model on test samples.

How good either is, and what it means that both say the same, the recipe's task tells. It compares every form of the
model with the one before as well, layer by layer as far as each shows its layers, up to the outputs it measured, and
writes parity.json and error_by_layer.csv before any limit is looked at: see `comparison`, `report` and `unexplained`.
What both answered lies in answers.npz, and how long they took goes to the runner: see `answers` and `latency`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, FiniteFloat, model_validator

from recast.stages.base import Inputs, Metrics, Params, Plot, StageError, progress, record_timing
from recast.stages.common import samples
from recast.stages.common.onnx_models import cpu, onnx_files
from recast.stages.common.samples import Taken
from recast.stages.parity import answers, comparison, latency, layer_names, report, unexplained
from recast.stages.parity.forms.form import NamedForm, OutputOnly
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.metrics import of_outputs
from recast.stages.tasks.task import AllOutputs, Task, TaskReference, alike

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


class VerifyParams(Params):
    """How many samples to compare, and what the emitted artifact must reach."""

    task: TaskReference = Field(default=TaskReference(), description="what the model is for")
    samples: int | None = Field(default=None, gt=0, description="test samples, from the first; none takes all")
    batch_size: int = Field(default=256, gt=0, description="samples given to the runtime at once")
    min_accuracy: float | None = Field(default=None, ge=0, le=1, description="least accuracy, as a fraction")
    max_accuracy_drop: float | None = Field(
        default=None, ge=0, le=1, description="most the accuracy may fall below the float model's, as a fraction"
    )
    min_auc: float | None = Field(default=None, ge=0, le=1, description="least area under the ROC curve")
    min_f1: float | None = Field(default=None, ge=0, le=1, description="least F1")
    min_iou: float | None = Field(default=None, ge=0, le=1, description="least intersection over union")
    max_iou_drop: float | None = Field(default=None, ge=0, le=1, description="most it may fall below the float model's")
    max_mae: float | None = Field(default=None, ge=0, description="largest mean absolute error")
    max_rmse: float | None = Field(default=None, ge=0, description="largest root mean square error")
    min_r2: float | None = Field(default=None, le=1, description="least coefficient of determination, R²")
    limits: dict[str, FiniteFloat] = Field(
        default={},
        description="limits of other metrics: min_NAME, max_NAME, and max_NAME_drop or max_NAME_rise against the float "
        "model's",
    )
    min_agreement: float | None = Field(
        default=0.95,
        ge=0,
        le=1,
        description="least share of what both models say alike: of samples with the same class, for example",
    )
    min_cosine: float | None = Field(
        default=None, ge=-1, le=1, description="least cosine between the outputs of both models"
    )
    min_sqnr_db: float | None = Field(
        default=None, description="least signal-to-noise ratio of the emitted model's outputs, in dB"
    )
    max_abs_error: float | None = Field(default=None, ge=0, description="largest error allowed in any output")
    parity_samples: int = Field(
        default=64, gt=0, description="how many of them are compared layer by layer, at most, the worst included"
    )

    @model_validator(mode="after")
    def _of_the_task(self) -> VerifyParams:
        known = self.task.load().limits()
        named = [name for name in OF_TASKS if getattr(self, name) is not None]
        twice = [name for name in self.limits if name in OF_TASKS or name in OF_OUTPUTS]
        if twice:
            raise ValueError(f"limits holds {twice[0]}, which is a param: write '{twice[0]}: …' beside `limits`")
        for name in (*named, *self.limits):
            if name not in known:
                instead = ", ".join((*known, *OF_OUTPUTS))
                holds = "" if name in named else "limits: "
                raise ValueError(f"{holds}{name} is no limit of the task {self.task.name}, which has {instead}")
        return self


OF_TASKS = (
    *("min_accuracy", "max_accuracy_drop", "min_auc", "min_f1", "min_iou", "max_iou_drop"),
    *("max_mae", "max_rmse", "min_r2"),
)
"""limits of metrics of Recast's tasks that have a param of their own"""
OF_OUTPUTS = ("min_agreement", "min_cosine", "min_sqnr_db", "max_abs_error")
"""limits that every task has"""


def plots(params: VerifyParams) -> tuple[Plot, ...]:
    """The tables that `verify` writes."""
    return (*params.task.load().plots, report.ERRORS)


def verify(
    params: VerifyParams,
    inputs: Inputs,
    out: Path,
    predict: Callable[[Any], Taken],
    artifact: str,
    forms: Sequence[NamedForm] = (),
    runs: str = "the target's runtime, as a whole",
) -> Metrics:
    """Run simplify/model.onnx and the emitted artifact over the test split; metrics, tables of the task, parity.json.

    `predict` takes samples as stored (n, *shape), as the contract in the emitted folder says, and gives outputs
    (n, ...); of several inputs and outputs they are Samples. It is called with at most `batch_size` samples. `artifact`
    is the emitted file. `forms`: the target's own forms of the model, from the simplified one on; without any, the
    emitted artifact is compared by its output alone, and `runs` says what gives that. Raises StageError naming every
    limit that was missed and the layer at which the error jumps, for a layer of a conversion that must not change the
    function and does, and for NaN in either model's outputs.
    """
    from recast.stages.common import dataset

    contract = dataset.read_contract(inputs["data"])
    task = params.task.load()
    stored, labels = dataset.read_samples(inputs["data"], "test")
    x = dataset.taken_one_by_one(contract, stored, "test")
    count = len(x) if params.samples is None else params.samples
    if count > len(x):
        raise StageError(f"verify.samples is {count}, but there are {len(x)} test samples", "lower verify.samples")
    if count < len(x):
        stored = stored[:count]
        x = dataset.taken_one_by_one(contract, stored, "test")
    truth = None if labels is None else labels[:count]

    session = onnx_files.Session(inputs["simplify"] / "model.onnx", params.resources.cpu, "the float model")
    expected = session.run(x, params.batch_size)
    actual = _predict(params, stored, predict, artifact)
    kind = cpu.kind()
    by_output = _by_output(task, expected, actual)
    conversions, where = _parity(params, inputs, out, x, (expected, actual), forms, runs, kind, by_output)
    for outputs, what in ((expected, "the float model"), (actual, artifact)):
        _finite(outputs, what)
        _check_shape(task.judged(outputs), task, contract, truth, what)
    made, wanted = samples.parts(actual), samples.parts(expected)
    if {name: one.shape for name, one in made.items()} != {name: one.shape for name, one in wanted.items()}:
        raise StageError(
            f"{artifact} gives outputs of shape {_shapes(actual)}, and the float model {_shapes(expected)}",
            "run emit again",
            "report it with the model",
        )

    task.write(out, task.judged(actual), truth, x, contract)
    answers.write(out, expected, actual)
    of_float, of_emitted = (
        _scores(task.scored(contract, inputs.project), outputs, truth, x) for outputs in (expected, actual)
    )
    difference = of_outputs(expected, actual)
    metrics: Metrics = {
        "metric": task.shown if task.shown in of_float else None,
        "is_share": any(one.name == task.shown and one.is_share for one in task.all_metrics),
        **{f"{name}_float": value for name, value in of_float.items()},
        **{f"{name}_emitted": value for name, value in of_emitted.items()},
        "agreement": task.agreements(expected, actual),  # their shapes are one
        "cosine": round(difference.cosine, 7),
        "sqnr_db": float(f"{difference.sqnr_db:.4g}"),
        "max_abs_error": difference.max_abs,
        "size_bytes": (inputs["emit"] / artifact).stat().st_size,
        "samples": count,
        "cpu": kind,
    }
    missed = _missed(params, task, metrics, by_output)
    if missed:
        raise StageError(
            f"{artifact} misses {len(missed)} limit{'s' if len(missed) > 1 else ''}: {'; '.join(missed)}"
            + (f"; {where}" if where else ""),
            *_remedies(params, task, metrics, not forms or any(form.kind == "int8" for form in forms)),
        )
    _require_the_same(conversions, forms)

    def reference(one: Taken) -> Any:
        return session.run(contract.normalise(one), 1)

    latency.report(latency.measure(predict, reference, stored[: latency.MOST_RUNS], params.resources.cpu))
    return metrics


def _scores(scorer: AllOutputs, outputs: Taken, truth: NDArray[Any] | None, x: Taken) -> dict[str, float]:
    from recast.stages.common.dataset import parts_of

    for part in parts_of(x):
        scorer.update(outputs[part], None if truth is None else truth[part], x[part])
    return scorer.metrics()


def float_forms(inputs: Inputs, threads: int) -> list[NamedForm]:
    """The exported and the simplified model, as far as the stage reads them."""
    forms = []
    for name, stage in (("exported", "export"), ("simplified", "simplify")):
        path = inputs.directories.get(stage)
        if path is not None and (path / "model.onnx").is_file():
            form = OnnxForm(onnx_files.read_model(path / "model.onnx"), threads, f"the {name} model")
            forms.append(NamedForm(name, form, "float"))
    return forms


def _require_the_same(conversions: Sequence[comparison.Conversion], forms: Sequence[NamedForm]) -> None:
    """StageError for a layer whose integers another runtime computes otherwise, whatever the limits let pass."""
    may_differ = {form.name for form in forms if form.may_differ}
    for one in conversions:
        if one.kind == "same" and one.blamed is not None and one.after not in may_differ:
            raise StageError(
                f"the {one.after} model computes something else than the {one.before} model it was made from, though "
                f"no limit is missed: {report.jump(one)}",
                "run emit again, in case its files were changed",
                f"change layer {one.blamed.title} in the model, or report it with the model",
            )


def _remedies(params: VerifyParams, task: Task, metrics: Metrics, quantized: bool) -> tuple[str, ...]:
    """Of the float model if that misses a limit already; else of quantization, by what each target calls it."""
    for name, (metric, how), limit in metric_limits(params, task):
        reached = metrics.get(f"{metric}_float")
        if reached is not None and ((how == "min" and reached < limit) or (how == "max" and reached > limit)):
            where = name if name in OF_TASKS else f"limits.{name}"
            change = "lower" if how == "min" else "raise"
            return (
                f"use a better model, since the float model itself reaches {reached:.6g}",
                f"{change} verify.{where}",
            )
    if not quantized:
        return ("report it with the model, since nothing in it is quantized", "change the limit under verify")
    return (
        "raise calibrate.samples",
        "name the layers that lose most in quantize.nodes_to_exclude, which keeps them in float",
        "raise quantize.input_scale and quantize.param_scale",
        "set quantize.format to one with more bits",
        "change the limit under verify",
    )


def metric_limits(params: VerifyParams, task: Task) -> list[tuple[str, tuple[str, str], float]]:
    """Every limit of a metric of the task that the recipe sets."""
    known = task.limits()
    given = {name: getattr(params, name) for name in OF_TASKS} | params.limits
    return [(name, known[name], float(limit)) for name, limit in given.items() if limit is not None and name in known]


def _parity(
    params: VerifyParams,
    inputs: Inputs,
    out: Path,
    x: Taken,
    scores: tuple[Taken, Taken],
    forms: Sequence[NamedForm],
    runs: str,
    kind: str,
    by_output: Mapping[str, Any],
) -> tuple[list[comparison.Conversion], str]:
    """Write the comparison of each form with the one before; give it, and what it blames and leaves open in words.

    `scores` (n, ...) of the float model and of the emitted one; `kind`: of CPU; `by_output`: see `_by_output`.
    """
    agree = params.task.load().agreements
    chain = [*float_forms(inputs, params.resources.cpu), *forms]
    chosen = unexplained.choose(*scores, params.parity_samples)
    few, (expected, actual) = x[chosen], scores
    if not forms and chain:
        emitted = OutputOnly(lambda taken: actual[chosen[: len(taken)]], chain[0].form.outputs, runs)
        chain.append(NamedForm("emitted", emitted, "int8"))
    export = inputs.directories.get("export")
    names = layer_names.of(export) if export is not None else {}
    progress("compare layers")
    found = comparison.measure(chain, few, names, export, actual[chosen], agree)
    # PyTorch's own samples are others
    count = max((one.samples for one in found.conversions if one.before != "pytorch"), default=0)
    of_layers = found.outputs.get("simplified")
    compared, every = (unexplained.measured(*scores, of, agree) for of in (chosen[:count], range(len(x))))
    float_remainder = of_outputs(of_layers, expected[chosen[: len(of_layers)]]) if of_layers is not None else None
    open_ends = unexplained.remainders(found.conversions, compared, every, float_remainder)
    more = {
        "cpu": kind,
        "verify": {"compared": unexplained.as_json(compared), "all": unexplained.as_json(every)},
        **({"outputs": by_output} if by_output else {}),
        "unexplained": [*unexplained.losses(found.conversions), *open_ends],
    }
    report.write(out, found.conversions, more)
    return found.conversions, " ".join([report.said(found.conversions), *open_ends])


def _by_output(task: Task, expected: Taken, actual: Taken) -> dict[str, Any]:
    """What `verify` measured of each of several outputs; empty where there is one."""
    made, wanted = samples.parts(actual), samples.parts(expected)
    if len(wanted) < 2:
        return {}
    judged = task.judged(expected)
    found: dict[str, Any] = {}
    for name, value in wanted.items():
        agreement = None
        if name in made and made[name].shape == value.shape:
            agreement = (task.agreement if value is judged else alike)(value, made[name])
        # whole numbers have no distance
        errors = report.numbers(of_outputs(value, made[name])) if name in made and value.dtype.kind == "f" else None
        found[name] = {**(errors or {}), "agreement": agreement}
    return found


def _shapes(outputs: Taken) -> str:
    return ", ".join(f"{name} {one.shape}".strip() for name, one in samples.parts(outputs).items())


def _predict(params: VerifyParams, stored: Taken, predict: Callable[[Any], Taken], artifact: str) -> Any:
    predict(stored[:1])  # the first call also loads and compiles, which is not what a sample costs
    outputs, seconds = list[Taken](), 0.0
    for start in range(0, len(stored), params.batch_size):
        batch = stored[start : start + params.batch_size]
        began = time.perf_counter()
        outputs.append(predict(batch))
        seconds += time.perf_counter() - began
        progress(artifact, start + len(batch), len(stored))
    record_timing("latency_per_sample", seconds / len(stored))
    return samples.joined(outputs)


def _finite(outputs: Taken, what: str) -> None:
    import numpy as np

    finite = [np.isfinite(one).reshape(len(one), -1).all(axis=1) for one in samples.parts(outputs).values()]
    bad = ~np.all(finite, axis=0)
    if bad.any():
        raise StageError(
            f"{what} gives NaN or infinity for {int(bad.sum())} of {len(outputs)} samples "
            f"(first: test sample {int(bad.argmax())})",
            "find the layer with 'recast blame', and mend the model's weights or its normalisation",
        )


def _check_shape(outputs: NDArray[Any], task: Task, contract: Contract, truth: NDArray[Any] | None, what: str) -> None:
    needed = task.misfit(outputs.shape, contract, () if truth is None else truth.shape[1:])
    if needed:
        raise StageError(f"{what} gives outputs of shape {outputs.shape}; {needed}", task.mend_outputs)


def _missed(params: VerifyParams, task: Task, metrics: Metrics, by_output: Mapping[str, Any]) -> list[str]:
    """One phrase per limit that was missed: the measured value, and the limit; unmeasured is missed as well."""
    found = []
    for name, (metric, how), limit in metric_limits(params, task):
        if f"{metric}_emitted" not in metrics:
            found.append(f"{metric} cannot be measured on these samples, and {name} is {limit:g}")
            continue
        emitted, of_float = float(metrics[f"{metric}_emitted"]), float(metrics[f"{metric}_float"])
        worse = of_float - emitted if how == "drop" else emitted - of_float
        # metrics are often counts over samples: a difference of two may miss a limit by rounding alone
        value = emitted if how in ("min", "max") else round(worse, 12)
        said = metric if how in ("min", "max") else f"{metric} {how}"
        if (how == "min" and not value >= limit) or (how != "min" and not value <= limit):
            found.append(f"{said} {value:.6g} is {'below' if how == 'min' else 'above'} {name} {limit:g}")
    for name, reached, least in (
        ("min_agreement", metrics["agreement"], params.min_agreement),
        ("min_cosine", metrics["cosine"], params.min_cosine),
        ("min_sqnr_db", metrics["sqnr_db"], params.min_sqnr_db),
    ):
        if least is not None and not reached >= least:
            said = name.removeprefix("min_")
            of = {output: each[said] for output, each in by_output.items() if each.get(said) is not None}
            where = f" of the output '{min(of, key=of.__getitem__)}'" if of else ""
            found.append(f"{said} {reached:.6g}{where} is below {name} {least:g}")
    largest = params.max_abs_error
    if largest is not None and not metrics["max_abs_error"] <= largest:
        found.append(f"largest error {metrics['max_abs_error']:.6g} is above max_abs_error {largest:g}")
    return found
