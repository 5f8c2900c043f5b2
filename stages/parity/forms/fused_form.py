"""An int8 ONNX model as onnxruntime runs it: with default options, its layers fused into integer kernels.

Asking a session for an inner tensor stops the fusion of the layers around it. So the model is cut behind every
activation that is quantized and dequantized, and the pieces are run with the options its user has: a piece quantizes
the floats it is given, as the whole model does at that place, and dequantizes what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.onnx_subgraphs import reads
from recast.stages.common.samples import Taken
from recast.stages.parity.forms.form import Arrays, Given
from recast.stages.parity.forms.onnx_form import GIVEN, OnnxForm

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUANTIZED, _MADE = "::quantized", "::made"
_PROBED = 3
"""samples that tell which tensors have a batch axis"""


@dataclass(frozen=True)
class _Piece:
    """Layers that read nothing of the other pieces but what is given to both; `session` runs them."""

    session: Any
    outputs: Mapping[str, str]
    """tensor -> the output of the session that is its value"""
    reads: Mapping[str, frozenset[str]]
    """tensor -> inputs of the session that it is made from"""


class FusedForm(OnnxForm):
    """The activations that are quantized and dequantized, and the output, as the model's user has them.

    What lies between them exists in no fused kernel and is not shown. The output is that of the pieces, one after the
    other. That the whole model gives the same is not taken for granted: `comparison` compares the two.
    """

    runs = "onnxruntime with default options, as its user runs it; for its layers, cut behind every quantized tensor"
    mode = "as_shipped"

    def __init__(self, *args: Any, **options: Any) -> None:
        """As `OnnxForm`."""
        super().__init__(*args, **options)
        self._order = [name for name in self._order if name in self._places or name in (*self.inputs, *self._ends)]
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._cuts: dict[tuple[str, ...], list[_Piece]] = {}

    def values(self, x: Taken) -> Arrays:
        """Every quantized activation with a batch axis, and the outputs, for normalised samples (N, *shape)."""
        taken = self._look(x)
        made = [name for name in self._order if self._is_made(name)]
        with self._refused():
            chain = _Chain(self._pieces(made), self._shapes)
            found = self._batched(chain, taken, made, self._fixed_batch(self._model))
        found = {**taken, **found}
        return {self._names.of(name): found[name] for name in self._order}

    def alone(self, x: Taken, given: Given) -> Arrays:
        """Each tensor in `given` as its layer makes it of the given values of its inputs."""
        taken = self._look(x)
        known = dict(self._known(given))
        made = [name for name in known if self._is_made(name)]
        feeds = {f"{name}{GIVEN}": given[known[name]] for name in made if name not in self._ends}
        taken |= {name: given[known[name]] for name in taken if name in known and not self._is_made(name)}
        with self._refused():
            apart = _Apart(self._pieces(made))
            found = self._batched(apart, {**taken, **feeds}, made, self._fixed_batch(self._model))
        return {known[name]: value for name, value in found.items()}

    def _is_made(self, name: str) -> bool:
        """Whether the model makes the tensor: its inputs only where they are quantized."""
        return name not in self.inputs or name in self._places

    def _look(self, x: Taken) -> Arrays:
        """The model's inputs for normalised samples; once, find which tensors have a batch axis, and their shapes."""
        if not self._shapes:
            shown = super().values(x[:_PROBED])
            self._shapes = {name: shown[called].shape[1:] for name, called in self._known(shown)}
            self._order = [name for name in self._order if name in self._shapes]
        return self._feeds(x)

    def _pieces(self, made: Sequence[str]) -> list[_Piece]:
        """The model in pieces that make these tensors, in the order they run; each cut is behind one of the tensors."""
        key = tuple(made)
        if key not in self._cuts:
            cut, outputs = self._cut_apart(made)
            self._cuts[key] = [
                _Piece(
                    self._session(part),
                    {name: outputs[name] for name in made if outputs[name] in shown},
                    {name: _reach(part, outputs[name]) for name in made if outputs[name] in shown},
                )
                for part in _apart(cut, list(outputs.values()))
                for shown in [{value.name for value in part.graph.output}]
            ]
        return self._cuts[key]

    def _cut_apart(self, made: Sequence[str]) -> tuple[onnx_files.Model, dict[str, str]]:
        """The model with its readers of each tensor reading a graph input; tensor -> the graph output that gives it.

        Whether onnxruntime fuses a layer depends on how many read its input and its output. So what reads a quantized
        tensor stays as it is, and what is quantized anew to be looked at is dequantized once for each reader there was.
        """
        import onnx

        cut = type(self._model)()
        cut.CopyFrom(self._model)
        outputs = {name: name for name in made}
        nodes = {name: node for node in cut.graph.node for name in node.output}
        batch = self._fixed_batch(self._model) or "batch"
        for name in made:
            if name not in self._places:
                continue
            dequantize = nodes[self._place(name)]
            quantize = nodes[dequantize.input[0]]
            readers = sum(list(reads(node)).count(self._place(name)) for node in cut.graph.node)
            again = type(quantize)()
            again.CopyFrom(quantize)
            again.name, again.output[0] = f"{name}{_QUANTIZED}", f"{name}{_QUANTIZED}"
            quantize.input[0] = f"{name}{GIVEN}"
            shape = [batch, *self._shapes[name]]
            kind = onnx.TensorProto.FLOAT
            cut.graph.input.append(onnx.helper.make_tensor_value_info(quantize.input[0], kind, shape))
            added = [again]
            for index in range(max(1, readers)):
                one = type(dequantize)()
                one.CopyFrom(dequantize)
                one.name = one.output[0] = f"{name}{_MADE}{index}"
                one.input[0] = again.output[0]
                added.append(one)
            outputs[name] = f"{name}{_MADE}0"
            cut.graph.node.extend(added)
            cut.graph.output.extend(onnx.ValueInfoProto(name=one.output[0]) for one in added[1:])
        return cut, outputs


def _apart(model: onnx_files.Model, wanted: Sequence[str]) -> list[onnx_files.Model]:
    """The parts of a graph that share no tensor but weights, in running order: those that give something wanted."""
    # branches name tensors of their own, which may be called alike
    shared = {value.name for value in model.graph.input} | {name for node in model.graph.node for name in node.output}
    shared -= {"", *(weight.name for weight in model.graph.initializer)}
    group: dict[str, str] = {}

    def root(name: str) -> str:
        while group.setdefault(name, name) != name:
            name = group[name]
        return name

    for node in model.graph.node:
        tensors = [name for name in (*reads(node), *node.output) if name in shared]
        for name in tensors[1:]:
            group[root(name)] = root(tensors[0])
    parts = []
    for start in dict.fromkeys(root(name) for name in wanted):
        part = type(model)()
        part.CopyFrom(model)
        part.graph.ClearField("value_info")
        own = {name for name in group if root(name) == start}
        nodes = [node for node in model.graph.node if own.intersection(node.output)]
        read = {name for node in nodes for name in reads(node)}
        for field, kept in (
            (part.graph.node, nodes),
            (part.graph.initializer, [one for one in model.graph.initializer if one.name in read]),
            (part.graph.input, [one for one in model.graph.input if one.name in read]),
            (part.graph.output, [one for one in model.graph.output if one.name in own]),
        ):
            del field[:]
            field.extend(kept)
        parts.append(part)
    return parts


def _reach(model: onnx_files.Model, output: str) -> frozenset[str]:
    """The inputs of the model that the output is made from."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found, pending = {output}, [output]
    while pending:
        node = makers.get(pending.pop())
        fresh = [name for name in reads(node) if name not in found] if node is not None else []
        found.update(fresh)
        pending += fresh
    return frozenset(value.name for value in model.graph.input if value.name in found)


class _Apart:
    """Pieces, called as one session is: all of them on what is given."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self._pieces = pieces

    def run(self, names: Sequence[str], feeds: Given) -> list[NDArray[Any]]:
        found: Arrays = {}
        for piece in self._pieces:
            found |= _run(piece, list(piece.outputs), feeds)
        return [found[name] for name in names]


class _Chain:
    """Pieces, called as one session is: each on what those before it have made."""

    def __init__(self, pieces: Sequence[_Piece], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._pieces, self._shapes = pieces, shapes

    def run(self, names: Sequence[str], feeds: Given) -> list[NDArray[Any]]:
        import numpy as np

        count = len(next(iter(feeds.values())))
        # what nobody has made yet, and no tensor that is asked for is made from
        nothing = {f"{name}{GIVEN}": np.zeros((count, *shape), np.float32) for name, shape in self._shapes.items()}
        found: Arrays = {}
        for name in names:
            if name in found:
                continue
            known = {**feeds, **{f"{one}{GIVEN}": value for one, value in found.items()}}
            piece = next(one for one in self._pieces if name in one.outputs)
            ready = [one for one in piece.outputs if one not in found and piece.reads[one] <= known.keys()]
            found |= _run(piece, ready, {**nothing, **known})
        return [found[name] for name in names]


def _run(piece: _Piece, names: Sequence[str], feeds: Given) -> Arrays:
    taken = {value.name: feeds[value.name] for value in piece.session.get_inputs()}
    return dict(zip(names, piece.session.run([piece.outputs[name] for name in names], taken), strict=True))
