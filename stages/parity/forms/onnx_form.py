"""An ONNX model whose layers can be looked at: all activations of a run, and each layer run alone.

A layer alone is had in one run of the whole model, cut at every tensor that is looked at: whoever reads the tensor
reads a new input of the graph instead, which is given the reference's value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.common.onnx_models.onnx_subgraphs import reads, rename_reads
from recast.stages.common.samples import Taken
from recast.stages.parity.forms.form import Arrays, Form, Given, Names
from recast.stages.parity.metrics import difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

GIVEN = "::given"
"""ends the name of a graph input that stands for a tensor of the model"""


class OnnxForm(Form):
    """A float model, or one with quantize/dequantize pairs (QDQ), by the names its float tensors have.

    Of a tensor that is quantized and dequantized, the dequantized value is looked at, so that its rounding and its
    saturation count for the layer that made it. Every operator is run for itself, in float: what a runtime makes of
    quantize/dequantize pairs is the business of `recast.stages.parity.forms.fused_form`.
    """

    runs = "onnxruntime with its optimisation off: every operator for itself, integers simulated in float"
    mode: onnx_session.Mode = "as_written"

    def __init__(
        self,
        model: onnx_files.Model,
        threads: int,
        what: str,
        prepare: Callable[[Any], Any] | None = None,
        libraries: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        """`prepare` makes the model's inputs of normalised samples; `aliases`: what else a tensor is to be called."""
        self._model, self._threads, self.what = model, threads, what
        self._prepare, self._libraries = prepare, tuple(libraries)
        weights = {weight.name for weight in model.graph.initializer}
        self.inputs = [port.name for port in onnx_files.inputs_of(model)]
        self._ends = [str(value.name) for value in model.graph.output]
        self.output = self._ends[0]
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._places = self._dequantized()
        self._names = Names(aliases)
        self._seen: tuple[Taken, Arrays] | None = None
        self._order = [
            name
            for name in (*self.inputs, *self._makers)
            if name not in self._hidden and (name in self._ends or self._depends(name, weights))
        ]

    @property
    def outputs(self) -> list[str]:
        """What the model's outputs are called."""
        return [self._names.of(name) for name in self._ends]

    @property
    def tensors(self) -> list[str]:
        """Names of the tensors that can be looked at, in running order, the model's inputs first."""
        return [self._names.of(name) for name in self._order]

    @property
    def called(self) -> Mapping[str, str]:
        """What tensors are called, by their names in the model, as far as those differ."""
        return self._names.changed

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""
        self._names.rename(names)
        self.output = self._names.of(self._ends[0])

    def values(self, x: Taken) -> Arrays:
        """The outputs and every float tensor with a batch axis for normalised samples (N, *shape), in running order."""
        feeds = self._feeds(x)
        places = {self._place(name): name for name in self._order if self._place(name) not in self.inputs}
        if self._seen is None or self._seen[0] is not x:
            # asked for again while tensors are given other names
            self._seen = x, self._run(self._with_outputs(self._model, list(places)), feeds, list(places))
        found = {places[place]: value for place, value in self._seen[1].items() if place in places}
        given = {name: value for name, value in feeds.items() if self._place(name) == name}
        return {
            self._names.of(name): value
            for name, value in {**given, **found}.items()
            if name in self._ends or _is_activation(value, len(x))
        }

    def forget(self) -> None:
        """The values of the last samples."""
        self._seen = None

    def output_for(self, x: Taken) -> Any:
        """The output for normalised samples (N, *shape), or Samples of several, with no other tensor kept."""
        found = self._run(self._with_outputs(self._model, self._ends), self._feeds(x), self._ends)
        return samples.of({self._names.of(name): found[name] for name in self._ends})

    def alone(self, x: Taken, given: Given) -> Arrays:
        """Each tensor in `given` as its layer makes it of the given values of its inputs."""
        cut, feeds = self._cut(given)
        wanted = {self._place(name): called for name, called in self._known(given)}
        wanted = {place: called for place, called in wanted.items() if place in self._makers}
        found = self._run(self._with_outputs(cut, list(wanted)), {**self._feeds(x), **feeds}, list(wanted))
        return {wanted[place]: value for place, value in found.items()}

    def output_given(self, x: Taken, tensor: str, value: NDArray[Any]) -> Any:
        """The model's output, or Samples of several, when one tensor has this value instead of its own."""
        if self.outputs == [tensor]:
            return value
        cut, feeds = self._cut({tensor: value})
        # outputs alone are asked for: operators may be fused, which is many times as fast
        found = self._run(cut, {**self._feeds(x), **feeds}, self._ends, "reference")
        ends = {self._names.of(name): found[name] for name in self._ends}
        return samples.of({name: value if name == tensor else end for name, end in ends.items()})

    def _feeds(self, x: Taken) -> Arrays:
        """What the model's inputs are given for normalised samples."""
        return samples.named(self._prepare(x) if self._prepare else x, self.inputs, self.what)

    def inputs_of(self, tensor: str, shown: Collection[str]) -> tuple[list[str], list[str]]:
        """The nearest tensors in `shown` that the layer of `tensor` reads, and the layer's operations."""
        back = {self._place(name): called for name, called in self._known(shown)}
        own = next(place for place, called in back.items() if called == tensor)
        found: list[str] = []
        operations: list[str] = []
        pending, seen = [own], {own}
        while pending:
            node = self._makers.get(pending.pop())
            if node is None:
                continue
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Constant"):
                operations.append(str(node.op_type))
            for name in reads(node):
                place = self._place(name)
                if place in back and place != own:
                    found.append(back[place])
                elif name not in seen:
                    seen.add(name)
                    pending.append(name)
        return list(dict.fromkeys(found)), operations[::-1]

    def _known(self, names: Collection[str]) -> list[tuple[str, str]]:
        called = [(name, self._names.of(name)) for name in self._order]
        return [(name, shown) for name, shown in called if shown in names]

    def _place(self, name: str) -> str:
        return self._places.get(name, name)

    def _dequantized(self) -> dict[str, str]:
        """Float tensor -> what comes out when it is quantized and dequantized again."""
        places: dict[str, str] = {}
        self._hidden: set[str] = set()
        for node in self._model.graph.node:
            maker = self._makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
            if maker is not None and maker.op_type == "QuantizeLinear":
                places[maker.input[0]] = node.output[0]
                self._hidden |= {maker.output[0], node.output[0]}
        for graph_output in self._model.graph.output:
            # an output that others read as integers is what the model gives, before they round it
            places.pop(graph_output.name, None)
            if graph_output.name in self._hidden:  # the output itself: known by its own name, not its float source's
                self._hidden.discard(graph_output.name)
                source = next(name for name, place in places.items() if place == graph_output.name)
                del places[source]
                self._hidden.add(source)
        return places

    def _depends(self, name: str, weights: Collection[str]) -> bool:
        """Whether the tensor depends on a model's input: a dequantized weight does not."""
        if not hasattr(self, "_live"):
            self._live = set(self.inputs)
            for node in self._model.graph.node:
                if self._live.intersection(reads(node)):
                    self._live.update(node.output)
        return name in self._live

    def _cut(self, given: Given) -> tuple[onnx_files.Model, Arrays]:
        import numpy as np
        import onnx

        cut = type(self._model)()
        cut.CopyFrom(self._model)
        feeds: Arrays = {}
        replaced: dict[str, str] = {}
        for name, called in self._known(given):
            place = self._place(name)
            feed = place + GIVEN
            replaced[place] = feed
            if name != place:
                replaced[name] = feed
            feeds[feed] = np.ascontiguousarray(self.encode(called, given[called]))
            kind = onnx.helper.np_dtype_to_tensor_dtype(feeds[feed].dtype)
            cut.graph.input.append(onnx.helper.make_tensor_value_info(feed, kind, None))
        for node in cut.graph.node:
            # what makes the dequantized value reads the layer's own output
            own = self._places.keys() if node.op_type == "QuantizeLinear" else ()
            rename_reads(node, {name: feed for name, feed in replaced.items() if name not in own})
        return cut, feeds

    def held(self, given: Given) -> Arrays:
        """The values as `encode` makes them integers, where these are."""
        return {name: self.decode(name, self.encode(name, value)) for name, value in given.items()}

    def encode(self, tensor: str, value: NDArray[Any]) -> NDArray[Any]:
        """A reference value as this form holds it; overridden where tensors are integers."""
        return value

    def decode(self, tensor: str, value: NDArray[Any]) -> NDArray[Any]:
        """The float that a value of this form stands for."""
        return value

    def _with_outputs(self, model: onnx_files.Model, names: Sequence[str]) -> onnx_files.Model:
        import onnx

        watched = type(model)()
        watched.CopyFrom(model)
        del watched.graph.output[:]
        watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return watched

    def steps_apart(self, tensor: str, expected: NDArray[Any], made: NDArray[Any]) -> float | None:
        """By `step_of`."""
        step = self.step_of(tensor)
        return difference(expected, made).max_abs / step if step else None

    def step_of(self, tensor: str) -> float | None:
        """What one integer of a quantized tensor is worth; None if it is not quantized with one scale for all of it."""
        import onnx

        maker = self._makers.get(self._place(self._names.own(tensor)))
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        scale = next((weight for weight in self._model.graph.initializer if weight.name == maker.input[1]), None)
        values = onnx.numpy_helper.to_array(scale) if scale is not None else None
        return float(values.item()) if values is not None and values.size == 1 else None

    def _run(
        self, model: onnx_files.Model, feeds: Given, names: Sequence[str], mode: onnx_session.Mode | None = None
    ) -> Arrays:
        with self._refused():
            session = self._session(model, mode)
            accepted = {value.name for value in session.get_inputs()}
            feeds = {name: value for name, value in feeds.items() if name in accepted}
            return self._batched(session, feeds, names, self._fixed_batch(model))

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except StageError:
            raise
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise StageError(
                f"onnxruntime cannot run the layers of {self.what}: {onnx_files.first_line(error)}",
                "report it with the model",
            ) from error

    def _session(self, model: onnx_files.Model, mode: onnx_session.Mode | None = None) -> Any:
        chosen = mode or self.mode
        return onnx_session.start(model.SerializeToString(), self._threads, chosen, self._libraries, severity=4)

    def _fixed_batch(self, model: onnx_files.Model) -> int:
        """How many samples the model takes at once; 0 for any number."""
        shapes = [port.shape for port in onnx_files.inputs_of(model) if port.name in self.inputs]
        return onnx_files.fixed_batch(shapes, self.what) or 0

    def _batched(self, session: Any, feeds: Given, names: Sequence[str], size: int) -> Arrays:
        import numpy as np

        count = len(next(iter(feeds.values())))
        step = size or count
        short = -count % step  # a fixed batch takes nothing shorter: the last sample is repeated
        if short:
            feeds = {name: np.concatenate([value, value[-1:].repeat(short, axis=0)]) for name, value in feeds.items()}
        parts = [
            session.run(list(names), {name: value[start : start + step] for name, value in feeds.items()})
            for start in range(0, count, step)
        ]
        return {
            name: self.decode(self._shown(name), np.concatenate(values)[:count] if values[0].ndim else values[0])
            for name, values in zip(names, zip(*parts, strict=True), strict=True)
            # what has another first axis does not belong to samples
            if values[0].ndim and len(values[0]) == step
        }

    def _shown(self, place: str) -> str:
        name = next((name for name, other in self._places.items() if other == place), place)
        return self._names.of(name)


def _is_activation(value: NDArray[Any], count: int) -> bool:
    # of one axis are the sizes and scales that a graph computes with, of which there may be as many as samples
    return value.dtype.kind == "f" and value.ndim > 1 and len(value) == count
