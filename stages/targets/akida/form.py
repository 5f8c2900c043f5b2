"""The layers of an integer model, as ONNX and as an `akida.Model`, as floats under the float model's tensor names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.forms.form import Arrays, Form, Given, Names
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.metrics import LARGEST
from recast.stages.targets.akida import layer_alone, quantizeml_steps, runtime
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.layout import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract

STORED_INPUT = "input as stored"
"""what the model's input is called where it takes stored samples: not what the float model's input holds"""


def scales(model: onnx_files.Model) -> dict[str, NDArray[Any]]:
    """Tensor -> scale, float64 (channels,) or (1,): an integer is its float times the scale, as quantizeml notes it."""
    import onnx

    return {
        node.output[0]: onnx.numpy_helper.to_array(attribute.t)
        for node in model.graph.node
        if node.domain == quantizeml_steps.BRAINCHIP
        for attribute in node.attribute
        if attribute.name == "scale"
    }


class LoweredForm(OnnxForm):
    """The lowered float graph, which may take stored samples instead of normalised ones."""

    runs = "quantizeml's float graph in onnxruntime, its optimisation off"

    def __init__(
        self,
        model: onnx_files.Model,
        threads: int,
        what: str,
        contract: Contract,
        takes: str,
        start: Sequence[Step] = (),
    ) -> None:
        """`takes`: "stored" or "normalised", as the scheme says; `start`: what is done to the axes of samples first."""
        from onnxruntime_extensions import get_library_path

        self._contract, self._stored, self._start = contract, takes == "stored", tuple(start)
        weights = {weight.name for weight in model.graph.initializer}
        name = next(value.name for value in model.graph.input if value.name not in weights)
        super().__init__(
            model,
            threads,
            what,
            prepare=self._as_taken,
            libraries=[get_library_path()],
            aliases={name: STORED_INPUT} if self._stored else {},
        )

    def _as_taken(self, x: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        taken = self._contract.stored(x).astype(np.float32) if self._stored else x
        return np.ascontiguousarray(layouts.apply(taken, self._start))


class IntegerForm(LoweredForm):
    """The integer graph of quantizeml: its integers divided by their scales."""

    runs = "quantizeml's integer graph in onnxruntime, its optimisation off"

    def __init__(
        self,
        model: onnx_files.Model,
        threads: int,
        what: str,
        contract: Contract,
        takes: str,
        start: Sequence[Step] = (),
    ) -> None:
        """As `LoweredForm`."""
        self._scales = scales(model)
        kinds = {info.name: info.type.tensor_type.elem_type for info in model.graph.value_info}
        self._kinds = {name: kinds[name] for name in self._scales if name in kinds}
        super().__init__(model, threads, what, contract, takes, start)
        last = self._makers[self._ends[0]]
        if last.op_type == "Dequantizer":
            # what it dequantizes is known as a float by its scale already
            self._order.remove(self._ends[0])
            self._ends = [str(last.input[0])]
            self.output = self._ends[0]

    def _as_taken(self, x: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        return np.ascontiguousarray(layouts.apply(self._contract.stored(x) if self._stored else x, self._start))

    def encode(self, tensor: str, value: NDArray[Any]) -> NDArray[Any]:
        """Rounded and saturated to the tensor's integers."""
        import numpy as np
        import onnx

        own = self._names.own(tensor)
        if own not in self._kinds:
            return value
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self._kinds[own])
        limits = np.iinfo(dtype)
        scaled = np.round(value * _along_channels(self._scales[own], value))
        integers: NDArray[Any] = np.clip(scaled, limits.min, limits.max).astype(dtype)
        return integers

    def decode(self, tensor: str, value: NDArray[Any]) -> NDArray[Any]:
        """Divided by the scale."""
        import numpy as np

        own = self._names.own(tensor)
        if own not in self._scales or value.dtype.kind == "f":
            return value
        floats: NDArray[Any] = (value / _along_channels(self._scales[own], value)).astype(np.float32)
        return floats

    def steps_apart(self, tensor: str, expected: NDArray[Any], made: NDArray[Any]) -> float | None:
        """By the scale, which may be one for each channel."""
        scale = self._scales.get(self._names.own(tensor))
        return _most_steps(scale, expected, made) if scale is not None else None


class AkidaForm(Form):
    """An `akida.Model`: the activations of its layers, each from the model cut off behind it.

    Akida computes in integers, so a model cut off gives the very numbers that the whole one has there, and a layer in
    a model of its own what it makes of the reference's integers.
    """

    runs = "akida's software backend, no chip: the emitted model, and for each layer the model cut off behind it"

    def __init__(
        self,
        model: runtime.AkidaModel,
        akida_input: runtime.AkidaInput,
        contract: Contract,
        emitted: Contract,
        scales: Mapping[str, NDArray[Any]],
        tensors: Mapping[str, str],
        output: str,
    ) -> None:
        """`contract`: of the samples; `emitted`: as the emitted folder has it; `tensors`: akida layer -> the integer
        model's tensor, which has the same name in `scales`."""
        self._model, self._input = model, akida_input
        self._gives = runtime.shape_given(akida_input, emitted)
        self._contract, self._emitted = contract, emitted
        self._scales, self._own, self._names = scales, tensors, Names()
        self.output = output

    @property
    def tensors(self) -> list[str]:
        """The tensors of the layers, the model's output last."""
        shown = [self._tensor(layer) for layer in self._model.layers[:-1]]
        return [*(name for name in shown if name and name != self.output), self.output]

    def _tensor(self, layer: Any) -> str:
        """What the layer's output is called; empty for a layer that the integer model has not."""
        return self._names.of(self._own.get(layer.name, ""))

    def values(self, x: NDArray[Any]) -> Arrays:
        """Each layer's output with the channels first, as in ONNX."""
        taken = self._taken(x)
        described = self._model.to_dict()
        found: Arrays = {}
        for layer in self._model.layers[:-1]:
            tensor = self._tensor(layer)
            if not tensor or tensor == self.output:
                continue
            found[tensor] = self._floats(layer, layer_alone.up_to(described, layer).forward(taken))
        found[self.output] = runtime.in_order(self._model.predict(taken), self._gives)
        return found

    def _taken(self, x: NDArray[Any]) -> NDArray[Any]:
        stored = self._contract.stored(x)
        return self._input.prepare(stored, self._emitted.normalise(stored))

    def alone(self, x: NDArray[Any], given: Given) -> Arrays:
        """Each tensor in `given` as its layer, in a model of its own, makes it of the given values of its inputs.

        Left out are layers that read what is not given, or that akida does not take by themselves.
        """
        import numpy as np

        described = self._model.to_dict()
        found: Arrays = {}
        for layers in self._groups():
            first, last = layers[0], layers[-1]
            tensor = self.output if last is self._model.layers[-1] else self._tensor(last)
            read = [self._read(one) for one in first.inbounds]
            if not read and tensor in given:  # it reads the model's input
                taken = self._taken(x)
                found[tensor] = (
                    # of one layer: the dequantizer behind it is no tensor of the integer model's
                    runtime.in_order(self._model.predict(taken), self._gives).astype(np.float32)
                    if tensor == self.output
                    else self._floats(last, layer_alone.up_to(described, last).forward(taken))
                )
            if not read or tensor not in given or any(self._tensor(one) not in given for one in read):
                continue
            integers = [self._integers(one, given[self._tensor(one)]) for one in read]
            try:
                value = layer_alone.forward(described, [layer.name for layer in layers], integers)
            # akida's core raises several unrelated types
            except Exception:
                continue
            if tensor == self.output:
                found[tensor] = runtime.in_order(value, self._gives).astype(np.float32)
            else:
                found[tensor] = self._floats(last, value)
        return found

    def _groups(self) -> list[list[Any]]:
        """The layers one by one, those without a tensor of their own but at the end left out."""
        *inner, last = self._model.layers
        groups = [[layer] for layer in inner if self._tensor(layer) not in ("", self.output)]
        # what makes the output, and the dequantizer behind it
        return [*groups, [layer for layer in last.inbounds if self._tensor(layer) == self.output] + [last]]

    def _read(self, layer: Any) -> Any:
        """The layer that makes what this one gives: an InputData behind a quantizer hands on what it is given."""
        handed_on = runtime.layer_type(layer) == "InputData" and layer.inbounds
        return layer.inbounds[0] if handed_on else layer

    def _integers(self, layer: Any, value: NDArray[Any]) -> NDArray[Any]:
        """A layer's output (N, C, ...) -> the integers that it stands for, (N, height, width, C)."""
        import numpy as np

        scaled = np.round(value * _along_channels(self._scale(layer), value))
        signed = runtime.layer_type(layer) != "Quantizer" or scaled.min(initial=0) < 0
        limits = np.iinfo(np.int8 if signed else np.uint8)
        integers = np.clip(scaled, limits.min, limits.max).astype(limits.dtype)
        return integers.reshape(len(value), 1, 1, -1) if value.ndim == 2 else np.moveaxis(integers, 1, -1)

    def _floats(self, layer: Any, value: NDArray[Any]) -> NDArray[Any]:
        """A layer's integers as akida gives them -> floats (N, C, ...) as in ONNX."""
        import numpy as np

        # akida gives NHWC, and a table of scores as (N, 1, 1, C)
        value = np.moveaxis(value, -1, 1)
        value = value.reshape(value.shape[:2]) if value.shape[2:] == (1, 1) else value
        floats: NDArray[Any] = (value / _along_channels(self._scale(layer), value)).astype(np.float32)
        return floats

    def _scale(self, layer: Any) -> NDArray[Any]:
        return self._scales[self._own[layer.name]]

    def held(self, given: Given) -> Arrays:
        """Rounded and cut to the integers that layers hand on; the scores, which are floats, as they are."""
        makers = {self._tensor(layer): layer for layer in self._model.layers}
        return {
            name: value
            if name == self.output or name not in makers
            else self._floats(makers[name], self._integers(makers[name], value))
            for name, value in given.items()
        }

    def steps_apart(self, tensor: str, expected: NDArray[Any], made: NDArray[Any]) -> float | None:
        """By the scale, which may be one for each channel; None where the integer model notes none."""
        scales = [self._scale(one) for one in self._model.layers if self._tensor(one) == tensor]
        return _most_steps(scales[0], expected, made) if scales else None

    @property
    def called(self) -> Mapping[str, str]:
        """What tensors are called, by their names in the integer model, as far as those differ."""
        return self._names.changed

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those of the layer, and its type."""
        layers = {self._tensor(layer): layer for layer in self._model.layers}
        layer = self._model.layers[-1] if tensor == self.output else layers[tensor]
        before = [self._tensor(self._read(one)) for one in layer.inbounds]
        if tensor == self.output and self._tensor(layer) != tensor:
            # the dequantizer behind the last layer is no layer of the float model
            before = [self._tensor(self._read(one)) for last in layer.inbounds for one in last.inbounds]
        return [one for one in before if one in shown and one != tensor], [runtime.layer_type(layer)]

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""
        self._names.rename({name: called for name, called in names.items() if name != self.output})
        self.output = names.get(self.output, self.output)


def _most_steps(scale: NDArray[Any], expected: NDArray[Any], made: NDArray[Any]) -> float:
    """The largest difference of two tensors (N, C, ...), each channel's in steps of its own."""
    import numpy as np

    apart = np.abs(made.astype(np.float64) - expected) * _along_channels(scale, expected)
    return float(np.nan_to_num(apart, nan=LARGEST, posinf=LARGEST).max(initial=0.0))


def _along_channels(scale: NDArray[Any], value: NDArray[Any]) -> NDArray[Any]:
    return scale.reshape(1, -1, *(1,) * (value.ndim - 2))
