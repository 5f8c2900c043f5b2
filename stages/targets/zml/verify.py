"""Check the emitted Zig, execute every layer and the whole model, and compare with PyTorch and the float model.

ZML itself is built with Bazel from the network, so the emitted code is executed on a stand-in for the calls
of ZML it makes (`standin/`), on the CPU in float32. What that does not show is whether ZML's own types
agree: `zml_checkout` adds it. The level reached is in the metrics: `executed`, or `types` and what checked them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import Inputs, Metrics, RepositoryPath, Source, Stage, StageError, progress
from recast.stages.common import shipped_size
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity import activations, layer_names
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast.stages.targets.zml import form, runtime
from recast.stages.targets.zml.check import checkout, toolchain
from recast.stages.targets.zml.project import ACTIVATIONS, MODEL, SHIPS, TEST, WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYERS = "layers.csv"
STAND_IN = Source("stand_in", __package__, "standin")
"""the Zig that stands in for ZML"""


class ZmlVerifyParams(VerifyParams):
    """Whether to check types against ZML itself."""

    zml_checkout: RepositoryPath | None = Field(
        default=None, description="folder of a ZML checkout, to check the emitted code's types against"
    )


def run(params: ZmlVerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, layers.csv and what `parity.verify` writes.

    Raises StageError for Zig that is malformed or does not compile, and, after all files are written, naming the
    first layer that differs from PyTorch and where the error jumps.
    """
    emitted = inputs["emit"]
    if params.zml_checkout:
        checkout.require(inputs.files["zml_checkout"])
    progress("check the syntax")
    toolchain.check_syntax([emitted / MODEL, emitted / TEST])
    progress("compile")
    program = toolchain.build(emitted, inputs.sources["stand_in"], inputs.scratch)
    progress("test every layer")
    results = runtime.test_layers(program, emitted)
    _write(results, out / LAYERS)
    predict = runtime.predictor(program, emitted, inputs.scratch)
    try:
        metrics: dict[str, Any] = verify(params, inputs, out, predict, WEIGHTS, _forms(params, inputs, program))
    except StageError as error:
        _check(results, emitted, f"; {error.message}")
        raise
    _check(results, emitted)
    metrics["size_bytes"] = shipped_size.size(emitted, SHIPS)
    checked = {"checked": "executed"}
    if params.zml_checkout:
        progress("check the types against ZML")
        by = checkout.check_types(emitted, inputs.files["zml_checkout"], inputs.scratch)
        checked = {"checked": "types", "types_checked_by": by}
    return {
        **metrics,
        **checked,
        "layers": len(results),
        "max_layer_error": max(layer.error for layer in results),
    }


def _forms(params: ZmlVerifyParams, inputs: Inputs, program: Path) -> list[NamedForm]:
    """The Zig as the last form of the model."""
    from recast.stages.common import dataset

    simplified = onnx_files.read_model(inputs["simplify"] / "model.onnx", "the float model")
    graph = OnnxForm(simplified, params.resources.cpu, "the float model")
    contract, emitted = dataset.read_contract(inputs["data"]), dataset.read_contract(inputs["emit"])

    def prepare(x: NDArray[Any]) -> NDArray[Any]:
        # by the emitted folder's own account of its input, which is a part of it that may be wrong
        return x if emitted == contract else emitted.normalise(contract.stored(x))

    observe = runtime.observer(program, inputs["emit"], inputs.scratch)
    x, _ = dataset.read(inputs["data"], "test")
    sampled = activations.read(inputs["emit"] / ACTIVATIONS)
    exported = inputs["export"] / ACTIVATIONS
    folded = form.folded(sampled, activations.read(exported).layers) if exported.is_file() else set()
    results = form.shown(list(observe(prepare(x[:1]), {})), sampled.layers, folded)
    names = layer_names.of(inputs["export"])
    return [NamedForm("emitted", form.ZigForm(observe, prepare, graph, names, results), "float")]


def _write(results: list[runtime.LayerResult], path: Path) -> None:
    rows = [f"{layer.name},{layer.error:.3g}" for layer in results]
    path.write_text("\n".join(["layer,max_abs_error", *rows]) + "\n", encoding="utf-8")


def _check(results: list[runtime.LayerResult], emitted: Path, missed: str = "") -> None:
    if not results:
        raise StageError("no layer was sampled", "raise emit.max_layers and emit.max_megabytes")
    wrong = [layer for layer in results if not layer.agrees]
    if not wrong:
        return
    first = wrong[0]
    tolerance = _tolerance(emitted)
    fault = first.fault or f"its largest error is {first.error:.3g}, the tolerance {tolerance}"
    inside = "; the layers inside it agree" if _has_layers_inside(first.name, results) else ""
    others = f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else ""
    raise StageError(
        f"layer {first.name} differs from PyTorch: {fault}{inside}{others}{missed}",
        "see the log for every layer; raise emit.tolerance only if the error is one of rounding",
    )


def _has_layers_inside(name: str, results: list[runtime.LayerResult]) -> bool:
    return any(name == "__model__" != other.name or other.name.startswith(f"{name}.") for other in results)


def _tolerance(emitted: Path) -> str:
    """As the emitted test states it."""
    text = (emitted / TEST).read_text(encoding="utf-8")
    return text.partition("const tolerance: f32 = ")[2].partition(";")[0]


STAGE = Stage(
    params=ZmlVerifyParams,
    inputs=("emit", "simplify", "export", "data"),
    run=run,
    sources=(STAND_IN,),
    plots=plots,
    reports=REPORT,
)
