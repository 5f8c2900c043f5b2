"""Forms of a model that our compiler compiles: those before it, and one that shows its layers as compiled."""

from __future__ import annotations

import json
import tempfile
import traceback
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recast.stages.base import Inputs, progress
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.parity.forms.form import Arrays, Form, Given, NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.compilers.onnx_c.compile import Sources


def chain(inputs: Inputs, emitted: Form, threads: int) -> list[NamedForm]:
    """The forms from the simplified model on: for int8 the prepared and the quantized one, then what was emitted."""
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))["scheme"]
    if scheme == "float32":
        return [NamedForm("emitted", emitted, "float")]
    prepared, quantized = (
        OnnxForm(onnx_files.read_model(inputs[stage] / "model.onnx", what), threads, what)
        for stage, what in (("quantize", "the prepared model"), ("calibrate", "the quantized model"))
    )
    return [
        NamedForm("prepared", prepared, "float"),
        NamedForm("quantized", quantized, "int8"),
        NamedForm("emitted", emitted, "same"),
    ]


class Compiled(Protocol):
    """Sources, compiled and loaded."""

    def run(self, feeds: Given) -> Arrays:
        """Every output by its name, for inputs of the sources' own shapes."""


class CompiledForm(OnnxForm):
    """As `OnnxForm`, run by our compiler's C: compiled anew with every tensor that is looked at as an output.

    A tensor that is looked at is written out, so kernels that the emitted code fuses run one by one here.
    """

    def __init__(
        self,
        model: onnx_files.Model,
        threads: int,
        what: str,
        scratch: Path,
        prepare: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        """`scratch`: an existing folder. The other arguments are those of `OnnxForm`."""
        super().__init__(model, threads, what, prepare)
        self._scratch = scratch
        self._built: dict[tuple[bytes, ...], Compiled] = {}

    @abstractmethod
    def build(self, sources: Sources, scratch: Path) -> Compiled:
        """Compile the sources as the target does; `scratch`: an empty folder, which is deleted afterwards."""

    def first_wrong_layer(self, x: NDArray[Any], limit: float) -> str:
        """; and which tensor is the first that is computed otherwise than by onnxruntime for x, as a phrase.

        `limit`: of a tensor's largest error, relative to its largest value.
        """
        import numpy as np

        try:
            reference = OnnxForm(self._model, self._threads, "the model").values(x)
            found = self.values(x)
        except Exception as error:  # what is being explained must be said, whatever fails on the way
            traceback.print_exc()
            return f"; its layers cannot be compared: {onnx_files.first_line(error)}"
        for name, value in found.items():
            if name not in reference:
                continue  # what one of the two does not show is no evidence
            expected = reference[name]
            if value.shape != expected.shape:
                return f"; the first tensor that differs is {name}: {value.shape}, and onnxruntime's {expected.shape}"
            scale = float(np.abs(expected).max()) or 1.0
            if not float(np.abs(value - expected).max()) / scale <= limit:
                return f"; the first tensor that differs is {name}"
        return "; compiled to show every tensor, it computes all of them right for that sample"

    def _run(
        self, model: onnx_files.Model, feeds: Given, names: Sequence[str], mode: onnx_session.Mode | None = None
    ) -> Arrays:
        from recast.stages.compilers.onnx_c.compile import Options, generate

        batch = self._fixed_batch(self._model) or 1
        sources = generate(_with_shapes(model, feeds, batch), Options(batch=batch))
        taken = {port.name: feeds[port.name] for port in sources.inputs}
        return self._batched(_AsSession(self._compiled(sources)), taken, names, batch)

    def _compiled(self, sources: Sources) -> Compiled:
        """Built once: every tensor is asked for again, with other samples."""
        key = (*sources.files.values(), *sources.weights.values())
        if key not in self._built:
            progress("build with every layer's output")
            with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
                self._built[key] = self.build(sources, Path(folder))
        return self._built[key]


class _AsSession:
    """Compiled code, called as an onnxruntime session is."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled

    def run(self, names: Sequence[str], feeds: Given) -> list[NDArray[Any]]:
        made = self._compiled.run(feeds)
        return [made[name] for name in names]


def _with_shapes(model: onnx_files.Model, feeds: Given, batch: int) -> onnx_files.Model:
    """A copy whose inputs have the shapes of what they are fed, `batch` samples at once; the rest follows."""
    import onnx

    shaped = type(model)()
    shaped.CopyFrom(model)
    names = [output.name for output in shaped.graph.output]
    inputs = [value for value in shaped.graph.input if value.name in feeds]
    weights = {weight.name for weight in shaped.graph.initializer}
    read = {name for node in shaped.graph.node for name in node.input} | set(names)
    kept = [
        onnx.helper.make_tensor_value_info(
            value.name,
            onnx.helper.np_dtype_to_tensor_dtype(feeds[value.name].dtype),
            [batch, *feeds[value.name].shape[1:]],
        )
        for value in inputs
        if value.name in read and value.name not in weights
    ]
    del shaped.graph.input[:], shaped.graph.output[:], shaped.graph.value_info[:]
    shaped.graph.input.extend(kept)
    shaped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return shaped
