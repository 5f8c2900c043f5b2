"""What every target's `verify` does: compare the emitted artifact with the float ONNX model on test samples.

It compares every form of the model with the one before as well, layer by layer as far as each shows its layers, up to
the scores it measured, and writes parity.json and error_by_layer.csv before any limit is looked at: see `stages.hops`
and `stages.unexplained`.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages import cpu, hops, layer_names, onnx_files, unexplained
from stages.base import Inputs, Metrics, Params, Plot, StageError, progress, record_timing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFUSION = Plot(
    "confusion.csv", x="actual", y=("predicted",), template="confusion", title="Confusion of the emitted model"
)


class VerifyParams(Params):
    """How many samples to compare, and what the emitted artifact must reach."""

    samples: int | None = Field(default=None, gt=0, description="test samples, from the first; none takes all")
    batch_size: int = Field(default=256, gt=0, description="samples given to the runtime at once")
    min_accuracy: float | None = Field(default=None, ge=0, le=1, description="least accuracy, as a fraction")
    max_accuracy_drop: float | None = Field(
        default=None, ge=0, le=1, description="most the accuracy may fall below the float model's, as a fraction"
    )
    min_agreement: float | None = Field(
        default=0.95, ge=0, le=1, description="least fraction of samples on which both models choose the same class"
    )
    max_abs_error: float | None = Field(default=None, ge=0, description="largest error allowed in any output score")
    parity_samples: int = Field(
        default=64, gt=0, description="how many of them are compared layer by layer, at most, the worst included"
    )


def verify(
    params: VerifyParams,
    inputs: Inputs,
    out: Path,
    predict: Callable[[NDArray[Any]], NDArray[np.float32]],
    artifact: str,
    steps: Sequence[hops.Step] = (),
    runs: str = "the target's runtime, as a whole",
) -> Metrics:
    """Run simplify/model.onnx and the emitted artifact over the test split; metrics, confusion.csv, parity.json.

    `predict` takes samples as stored (n, *shape), as the contract in the emitted folder says, and gives
    scores (n, classes); it is called with at most `batch_size` samples. `artifact` is the emitted file.
    `steps`: the target's own forms of the model, from the simplified one on; without any, the emitted
    artifact is compared by its output alone, and `runs` says what gives that. Raises StageError naming
    every limit that was missed and the layer at which the error jumps, and for NaN in either model's outputs.
    """
    import numpy as np

    from stages import dataset

    contract = dataset.read_contract(inputs["data"])
    stored, labels = dataset.read_stored(inputs["data"], "test")
    x, _ = dataset.read(inputs["data"], "test")
    count = len(x) if params.samples is None else params.samples
    if count > len(x):
        raise StageError(f"verify.samples is {count}, but there are {len(x)} test samples", "lower verify.samples")
    stored, labels, x = stored[:count], labels[:count], x[:count]

    session = onnx_files.Session(inputs["simplify"] / "model.onnx", params.resources.cpu, "the float model")
    expected = session.run(x, params.batch_size)
    actual = _predict(params, stored, predict, artifact)
    kind = cpu.kind()
    where = _parity(params, inputs, out, x, (expected, actual), steps, runs, kind)
    for scores, what in ((expected, "the float model"), (actual, artifact)):
        _finite(scores, what)
        _check_shape(scores, count, len(contract.classes), what)

    chosen, chosen_float = actual.argmax(axis=1), expected.argmax(axis=1)
    with (out / CONFUSION.file).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("actual", "predicted"))
        rows.writerows(
            (contract.classes[label], contract.classes[choice]) for label, choice in zip(labels, chosen, strict=True)
        )
    metrics: Metrics = {
        "accuracy_float": float((chosen_float == labels).mean()),
        "accuracy_emitted": float((chosen == labels).mean()),
        "agreement": float((chosen == chosen_float).mean()),
        "max_abs_error": float(np.abs(actual - expected).max()),
        "size_bytes": (inputs["emit"] / artifact).stat().st_size,
        "samples": count,
        "cpu": kind,
    }
    missed = _missed(params, metrics)
    if missed:
        raise StageError(
            f"{artifact} misses {len(missed)} limit{'s' if len(missed) > 1 else ''}: {'; '.join(missed)}"
            + (f"; {where}" if where else ""),
            *_remedies(params, metrics, not steps or any(step.kind == "int8" for step in steps)),
        )
    return metrics


def _remedies(params: VerifyParams, metrics: Metrics, quantized: bool) -> tuple[str, ...]:
    """Of the float model if that misses the accuracy already; else of quantization, by what each target calls it."""
    if params.min_accuracy is not None and metrics["accuracy_float"] < params.min_accuracy:
        reached = f"the float model itself reaches {metrics['accuracy_float']:.6g}"
        return (f"use a better model, since {reached}", "lower verify.min_accuracy")
    if not quantized:
        return ("report it with the model, since nothing in it is quantized", "change the limit under verify")
    return (
        "raise calibrate.samples",
        "name the layers that lose most in quantize.nodes_to_exclude, which keeps them in float",
        "raise quantize.input_scale and quantize.param_scale",
        "set quantize.format to one with more bits",
        "change the limit under verify",
    )


def _parity(
    params: VerifyParams,
    inputs: Inputs,
    out: Path,
    x: NDArray[np.float32],
    scores: tuple[NDArray[Any], NDArray[Any]],
    steps: Sequence[hops.Step],
    runs: str,
    kind: str,
) -> str:
    """Write the comparison of each form with the one before; which layer it blames, and what it leaves open.

    `scores` (n, classes) of the float model and of the emitted one; `kind`: of CPU.
    """
    chain = [*hops.float_steps(inputs, params.resources.cpu), *steps]
    chosen = unexplained.choose(*scores, params.parity_samples)
    few, (expected, actual) = x[chosen], scores
    if not steps and chain:
        emitted = hops.OutputOnly(lambda taken: actual[chosen[: len(taken)]], chain[0].form.output, runs)
        chain.append(hops.Step("emitted", emitted, "int8"))
    export = inputs.directories.get("export")
    names = layer_names.of(export) if export is not None else {}
    progress("compare layers")
    found = hops.measure(chain, few, names, export, actual[chosen])
    # PyTorch's own samples are others
    count = max((hop.samples for hop in found if hop.before != "pytorch"), default=0)
    float_model = next((step.form for step in chain if step.name == "simplified"), None)
    of_layers = float_model.values(few[:count])[float_model.output] if float_model is not None and count else None
    compared, every = (unexplained.measured(*scores, of) for of in (chosen[:count], range(len(x))))
    float_remainder = hops.of_outputs(of_layers, expected[chosen[:count]]) if of_layers is not None else None
    open_ends = unexplained.remainders(found, compared, every, float_remainder)
    more = {
        "cpu": kind,
        "verify": {"compared": unexplained.as_json(compared), "all": unexplained.as_json(every)},
        "unexplained": [*unexplained.losses(found), *open_ends],
    }
    hops.write(out, found, more)
    return " ".join([hops.said(found), *open_ends])


def _predict(
    params: VerifyParams,
    stored: NDArray[Any],
    predict: Callable[[NDArray[Any]], NDArray[np.float32]],
    artifact: str,
) -> NDArray[np.float32]:
    import numpy as np

    predict(stored[:1])  # the first call also loads and compiles, which is not what a sample costs
    parts, seconds = [], 0.0
    for start in range(0, len(stored), params.batch_size):
        batch = stored[start : start + params.batch_size]
        began = time.perf_counter()
        parts.append(predict(batch))
        seconds += time.perf_counter() - began
        progress(artifact, start + len(batch), len(stored))
    record_timing("latency_per_sample", seconds / len(stored))
    return np.concatenate(parts)


def _finite(outputs: NDArray[np.float32], what: str) -> None:
    import numpy as np

    bad = ~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if bad.any():
        raise StageError(
            f"{what} gives NaN or infinity for {int(bad.sum())} of {len(outputs)} samples "
            f"(first: test sample {int(bad.argmax())})",
            "find the layer with 'recast blame', and mend the model's weights or its normalisation",
        )


def _check_shape(outputs: NDArray[np.float32], samples: int, classes: int, what: str) -> None:
    if outputs.shape != (samples, classes):
        raise StageError(
            f"{what} gives outputs of shape {outputs.shape}, not ({samples}, {classes}): one score per class",
            "use a model with one output per class of the dataset",
        )


def _missed(params: VerifyParams, metrics: Metrics) -> list[str]:
    """One phrase per limit that was missed: the measured value, and the limit."""
    drop = metrics["accuracy_float"] - metrics["accuracy_emitted"]
    least = (
        ("accuracy", metrics["accuracy_emitted"], "min_accuracy", params.min_accuracy),
        ("agreement", metrics["agreement"], "min_agreement", params.min_agreement),
    )
    # accuracies are counts over samples: a difference of two may miss a limit by rounding alone
    most = (
        ("accuracy drop", round(drop, 12), "max_accuracy_drop", params.max_accuracy_drop),
        ("largest error", metrics["max_abs_error"], "max_abs_error", params.max_abs_error),
    )
    return [
        f"{name} {value:.6g} is below {limit_name} {limit:g}"
        for name, value, limit_name, limit in least
        if limit is not None and value < limit
    ] + [
        f"{name} {value:.6g} is above {limit_name} {limit:g}"
        for name, value, limit_name, limit in most
        if limit is not None and value > limit
    ]
