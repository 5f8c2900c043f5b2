"""An ONNX model whose layers can be looked at: all activations of a run, and each layer run alone.

A layer alone is had in one run of the whole model, cut at every tensor that is looked at: whoever reads the tensor
reads a new input of the graph instead, which is given the reference's value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stages import onnx_files, onnx_session
from stages.base import StageError
from stages.onnx_subgraphs import reads, rename_reads

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]
Given = Mapping[str, "NDArray[Any]"]
GIVEN = "::given"
"""ends the name of a graph input that stands for a tensor of the model"""


class OnnxForm:
    """A float model, or one with quantize/dequantize pairs (QDQ), by the names its float tensors have.

    Of a tensor that is quantized and dequantized, the dequantized value is looked at, so that its rounding and its
    saturation count for the layer that made it. Every operator is run for itself, in float: what a runtime makes of
    quantize/dequantize pairs is the business of `stages.fused_form`.
    """

    runs = "onnxruntime with its optimisation off: every operator for itself, integers simulated in float"
    """how the values that are compared come about, for reports"""
    mode: onnx_session.Mode = "as_written"

    def __init__(
        self,
        model: onnx_files.Model,
        threads: int,
        what: str,
        prepare: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        libraries: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        """`prepare` makes the model's input of normalised samples; `aliases`: what else a tensor is to be called."""
        self._model, self._threads, self.what = model, threads, what
        self._prepare, self._libraries = prepare, tuple(libraries)
        weights = {weight.name for weight in model.graph.initializer}
        self.input = next(value.name for value in model.graph.input if value.name not in weights)
        self._end = str(model.graph.output[0].name)
        self.output = self._end
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._places = self._dequantized()
        self._called = dict(aliases or {})
        self._order = [
            name
            for name in (self.input, *self._makers)
            if name not in self._hidden and (name == self._end or self._depends(name, weights))
        ]

    @property
    def tensors(self) -> list[str]:
        """Names of the tensors that can be looked at, in running order, the model's input first."""
        return [self._called.get(name, name) for name in self._order]

    @property
    def called(self) -> Mapping[str, str]:
        """What tensors are called, by their names in the model, as far as those differ."""
        return {name: called for name, called in self._called.items() if name != called}

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""
        original = {called: name for name, called in self._called.items()}
        self._called |= {original.get(name, name): called for name, called in names.items()}
        self.output = self._called.get(self._end, self._end)

    def values(self, x: NDArray[Any]) -> Arrays:
        """Every float tensor with a batch axis for normalised samples (N, *shape), in running order."""
        x = self._prepare(x) if self._prepare else x
        places = {self._place(name): name for name in self._order if self._place(name) != self.input}
        found = self._run(self._with_outputs(self._model, list(places)), {self.input: x}, list(places))
        values = {self._called.get(places[place], places[place]): value for place, value in found.items()}
        if self._place(self.input) == self.input:
            values = {self._called.get(self.input, self.input): x, **values}
        return {name: value for name, value in values.items() if _is_activation(value, len(x))}

    def alone(self, x: NDArray[Any], given: Given) -> Arrays:
        """Each tensor in `given` as its layer makes it of the given values of its inputs."""
        x = self._prepare(x) if self._prepare else x
        cut, feeds = self._cut(given)
        wanted = {self._place(name): called for name, called in self._known(given)}
        wanted = {place: called for place, called in wanted.items() if place in self._makers}
        found = self._run(self._with_outputs(cut, list(wanted)), {self.input: x, **feeds}, list(wanted))
        return {wanted[place]: value for place, value in found.items()}

    def output_given(self, x: NDArray[Any], tensor: str, value: NDArray[Any]) -> NDArray[Any]:
        """The model's output when one tensor has this value instead of its own."""
        x = self._prepare(x) if self._prepare else x
        if tensor == self.output:
            return value
        cut, feeds = self._cut({tensor: value})
        return self._run(cut, {self.input: x, **feeds}, [self._end])[self._end]

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
        called = [(name, self._called.get(name, name)) for name in self._order]
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
            if graph_output.name in self._hidden:  # the output itself: known by its own name, not its float source's
                self._hidden.discard(graph_output.name)
                source = next(name for name, place in places.items() if place == graph_output.name)
                del places[source]
                self._hidden.add(source)
        return places

    def _depends(self, name: str, weights: Collection[str]) -> bool:
        """Whether the tensor depends on the model's input: a dequantized weight does not."""
        if not hasattr(self, "_live"):
            self._live = {self.input}
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

    def step_of(self, tensor: str) -> float | None:
        """What one integer of a quantized tensor is worth; None if it is not quantized with one scale for all of it."""
        import onnx

        own = next((name for name, called in self._called.items() if called == tensor), tensor)
        maker = self._makers.get(self._place(own))
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        scale = next((weight for weight in self._model.graph.initializer if weight.name == maker.input[1]), None)
        values = onnx.numpy_helper.to_array(scale) if scale is not None else None
        return float(values.item()) if values is not None and values.size == 1 else None

    def _run(self, model: onnx_files.Model, feeds: Given, names: Sequence[str]) -> Arrays:
        with self._refused():
            session = self._session(model)
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

    def _session(self, model: onnx_files.Model) -> Any:
        return onnx_session.start(model.SerializeToString(), self._threads, self.mode, self._libraries, severity=4)

    def _fixed_batch(self, model: onnx_files.Model) -> int:
        """How many samples the model takes at once; 0 for any number."""
        fixed = next((one for one in model.graph.input if one.name == self.input), None)
        dims = fixed.type.tensor_type.shape.dim if fixed is not None else []
        return int(dims[0].dim_value) if len(dims) and dims[0].HasField("dim_value") else 0

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
        return self._called.get(name, name)


def _is_activation(value: NDArray[Any], samples: int) -> bool:
    return value.dtype.kind == "f" and value.ndim > 1 and len(value) == samples
