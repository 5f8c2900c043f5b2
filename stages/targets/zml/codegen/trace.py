"""From a PyTorch model to structs: one per module, its `forward` read by torch.fx.

A module that is not one of PyTorch's layers is traced on its own, with the modules it calls left as calls,
so that the structs nest as the modules do. Every call is also carried out, with a batch of 2 and of 3,
which gives all shapes and shows where the batch size is.
"""

from __future__ import annotations

import inspect
import operator
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from recast.stages.base import StageError
from recast.stages.parity import activations
from recast.stages.targets.zml.codegen import functions, modules, operations, zig_text
from recast.stages.targets.zml.codegen.calls import BatchDependent, Call, UnsupportedError, Value
from recast.stages.targets.zml.codegen.runtime_functions import HELPERS
from recast.stages.targets.zml.codegen.structs import Layer, Struct

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

RESERVED = ("self", "store", "input", "zml", "init", "forward", *HELPERS)
"""names a local constant may not take in model.zig"""
TITLE = "title"
"""where a node's name is kept"""

Example: TypeAlias = tuple[Any, Any]
"""what a node gives with the one batch and with the other"""


@dataclass(frozen=True)
class Traced:
    """The structs, and the tensors they read, by qualified name."""

    root: Struct
    tensors: dict[str, torch.Tensor]


def trace(model: nn.Module, samples: torch.Tensor) -> Traced:
    """Structs for the model, in eval mode, that takes `samples` (at least 3).

    Raises StageError, naming the layer, for code that torch.fx cannot follow and for what has no
    counterpart here.
    """
    import torch

    tracing = _Tracing()
    root = tracing.struct("", type(model).__name__, type(model).__name__)
    root.inputs = ("0",)
    with torch.no_grad():
        tracing.module(model, root, [(samples[:2], samples[:3])], {})
    return Traced(root, tracing.tensors)


@dataclass
class _Tracing:
    """What is known of the whole model."""

    names: set[str] = field(default_factory=lambda: {"Model"})
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    layers: Mapping[type, Any] = field(default_factory=modules.modules)
    calls: Mapping[Any, Any] = field(default_factory=functions.functions)
    methods: Mapping[Any, Any] = field(default_factory=functions.methods)

    def struct(self, path: str, kind: str, name: str = "") -> Struct:
        """A new one, with a type name of its own; the model's own may be called Model."""
        taken = self.names if path else ()
        name = zig_text.type_name(name or path, taken)
        self.names.add(name)
        return Struct(name, path, kind)

    def child(self, struct: Struct, module: nn.Module, target: str) -> Struct:
        """The struct of the module at `target` below `struct`, made with those in between when new."""
        for part in target.split("."):
            module = module.get_submodule(part)
            if part not in struct.children:
                path = f"{struct.path}.{part}" if struct.path else part
                struct.children[part] = self.struct(path, type(module).__name__)
            struct = struct.children[part]
        return struct

    def read(self, struct: Struct, module: nn.Module, name: str) -> torch.Tensor:
        """The parameter or buffer `name` below the module, noted as one the structs read."""
        import torch

        tensor = operator.attrgetter(name)(module)
        if not isinstance(tensor, torch.Tensor) or tensor.dtype is not torch.float32:
            what = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise _refusal(struct, f"'{name}' is {what}", "float32 parameters and buffers")
        self.tensors[f"{struct.path}.{name}" if struct.path else name] = tensor
        return tensor

    def module(
        self, module: nn.Module, struct: Struct, args: Sequence[Example], kwargs: Mapping[str, Example]
    ) -> Example:
        """Write the struct's forward, from one call of the module; what the call gives."""
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        if type(module) in self.layers:
            results = _run(module, args, kwargs)
            layer = self._leaf(module, struct, given, results)
        elif type(module).__module__.startswith("torch.nn.") and type(module).__name__ != "Sequential":
            raise _refusal(struct, "there is no such layer here", modules.supported())
        else:
            results = _run(module, args, kwargs)
            layer = self._container(module, struct, given)
        if struct.layer is not None and struct.layer != layer:
            message = f"the zml target writes one forward per layer, and {_shown(struct)} is called with several shapes"
            raise StageError(message, "give the model one module per shape")
        struct.layer = layer
        return results

    def _leaf(self, module: nn.Module, struct: Struct, given: Mapping[str, Example], results: Example) -> Layer:
        taken = {*RESERVED}
        parameters: list[str] = []
        lines: list[str] = []
        arguments: list[Any] = []
        with _naming(struct):
            call = Call(_value("", _first(results)), taken, lines)
            for example in given.values():
                if not _is_tensor(example):
                    arguments.append(_plain(example))
                    continue
                parameters.append("input" if not parameters else f"input_{len(parameters) + 1}")
                value = _value("", example)
                name = call.let("x" if len(parameters) == 1 else f"x_{len(parameters)}", _tagged(parameters[-1], value))
                arguments.append(_value(name, example))
            try:
                expression = (
                    self.layers[type(module)](call, module, **dict(zip(given, arguments, strict=True)))
                    if len(given) > 1
                    else self.layers[type(module)](call, module, *arguments)
                )
            except TypeError as error:
                traceback.print_exc()
                raise UnsupportedError(f"called with {', '.join(given)}") from error
        for name in call.tensors:
            self.read(struct, module, name)
        return Layer([*call.lines, f"return {expression};"], call.tensors, parameters, tuple(call.helpers))

    def _container(self, module: nn.Module, struct: Struct, given: Mapping[str, Example]) -> Layer:
        forward = _Forward(self, module, struct, given)
        for node in _graph(module, struct, given).nodes:
            forward.write(node)
        return forward.layer()


class _Forward:
    """Writes one module's `forward`, node by node."""

    def __init__(self, tracing: _Tracing, module: nn.Module, struct: Struct, given: Mapping[str, Example]) -> None:
        self._tracing, self._module, self._struct, self._given = tracing, module, struct, given
        self._taken = {*RESERVED}
        self._lines: list[str] = []
        self._parameters: list[str] = []
        self._tensors: dict[str, tuple[str, ...]] = {}
        self._helpers: list[str] = []
        self._examples: dict[fx.Node, Example] = {}
        self._values: dict[fx.Node, Value] = {}
        self._returned = ""

    def layer(self) -> Layer:
        """After all nodes."""
        body = [*self._lines, f"return {self._returned};"]
        return Layer(body, self._tensors, self._parameters, tuple(dict.fromkeys(self._helpers)))

    def write(self, node: fx.Node) -> None:
        """Add what the node computes."""
        match node.op:
            case "placeholder":
                self._placeholder(node)
            case "get_attr":
                name = str(node.target)
                tensor = self._tracing.read(self._struct, self._module, name)
                with _naming(self._struct):
                    value = _value(f"self.{zig_text.field(name)}", (tensor, tensor))
                    self._tensors[name] = value.axes
                self._examples[node], self._values[node] = (tensor, tensor), value
            case "call_module":
                self._module_call(node)
            case "output":
                result = node.args[0]
                if isinstance(result, (list, tuple)) and len(result) == 1:
                    result = result[0]
                if result not in self._values:
                    raise _refusal(self._struct, "it does not return one tensor", "a forward that returns one tensor")
                self._returned = self._values[result].name
            case _:
                self._function_call(node)

    def _let(self, node: fx.Node, expression: str, example: Example) -> None:
        """A constant for the node, unless the expression is the name of one."""
        self._examples[node] = example
        name = expression
        if name not in self._taken:
            name = zig_text.local(node.meta.get(TITLE, node.name), self._taken)
            self._taken.add(name)
            self._lines.append(f"const {name} = {expression};")
        self._values[node] = _value(name, _first(example))

    def _placeholder(self, node: fx.Node) -> None:
        example = self._given.get(str(node.target))
        if example is None or not _is_tensor(example):
            if node.users:
                raise _refusal(self._struct, f"its argument '{node.target}' is no tensor", "tensors as arguments")
            return
        parameter = zig_text.local(f"input_{len(self._parameters) + 1}" if self._parameters else "input", ())
        self._taken.add(parameter)
        self._parameters.append(parameter)
        with _naming(self._struct):
            tagged = _tagged(parameter, _value("", example))
        self._let(node, tagged, example)
        if not node.users:  # Zig refuses an unused constant, and an unused parameter
            self._lines[-1] = f"_ = {parameter};"

    def _module_call(self, node: fx.Node) -> None:
        target = str(node.target)
        module = self._module.get_submodule(target)
        struct = self._tracing.child(self._struct, self._module, target)
        args = [self._example(one) for one in node.args]
        kwargs = {key: self._example(one) for key, one in node.kwargs.items()}
        example = self._tracing.module(module, struct, args, kwargs)
        keys = {index: str(index) for index in range(len(args))}
        order = inspect.signature(module.forward).bind(*keys.values(), **{key: key for key in kwargs}).arguments
        given = {key: self._values[one] for key, one in self._tensor_arguments(node).items()}
        struct.inputs = [key for key in order.values() if key in given]
        path = ".".join(zig_text.field(part) for part in target.split("."))
        names = ", ".join(given[key].name for key in struct.inputs)
        self._let(node, f"self.{path}.forward({names})", example)

    def _tensor_arguments(self, node: fx.Node) -> dict[str, fx.Node]:
        """What the activations call an argument -> the node, for those that are tensors."""
        named = {**{str(index): one for index, one in enumerate(node.args)}, **node.kwargs}
        return {key: one for key, one in named.items() if _is_node(one) and one in self._values}

    def _function_call(self, node: fx.Node) -> None:
        from torch.fx.node import map_arg

        example = _carry_out(node, self._side(node, 0)), _carry_out(node, self._side(node, 1))
        source = node.args[0] if node.args else None
        if node.target is operator.getitem and _is_node(source) and isinstance(self._examples[source][0], tuple):
            if not _is_tensor(example):
                self._examples[node] = example
            elif source in self._values and node.args[1] == 0:
                self._examples[node], self._values[node] = example, self._values[source]
            elif _kind(source) in functions.PARTS:
                self._part(node, source, example)
            else:
                raise _refusal(self._struct, f"it uses {source}[{node.args[1]}]", "the first output of a layer")
            return
        if not _is_tensor(example):
            self._examples[node] = example
            return
        kind = _kind(node)
        operation = (self._tracing.methods if node.op == "call_method" else self._tracing.calls).get(node.target)
        if operation is None:
            raise _refusal(self._struct, f"there is no {kind} here", functions.supported())

        def written(one: fx.Node) -> Any:
            return self._values[one] if one in self._values else _plain(self._examples[one])

        with _naming(self._struct, kind):
            call = Call(_value("", example), self._taken)
            try:
                expression = operation(call, *map_arg(node.args, written), **map_arg(node.kwargs, written))
            except TypeError as error:
                traceback.print_exc()
                raise UnsupportedError(f"its arguments {node.args}, {dict(node.kwargs)}") from error
        self._lines += call.lines
        self._helpers += call.helpers
        self._let(node, expression, example)

    def _part(self, node: fx.Node, source: fx.Node, example: Example) -> None:
        """One of the tensors that chunk, split or unbind gives."""
        kind, index = _kind(source), int(node.args[1])
        place = 1 if kind == "unbind" else 2
        dim = source.kwargs.get("dim", source.args[place] if len(source.args) > place else 0)
        several = self._examples[source][0]
        with _naming(self._struct, kind):
            lengths = [1 if kind == "unbind" else one.shape[dim] for one in several]
            call = Call(_value("", example), self._taken)
            whole = self._values[source.args[0]]
            expression = operations.part(call, whole, kind, index % len(lengths), lengths, dim)
        self._let(node, expression, example)

    def _side(self, node: fx.Node, which: int) -> tuple[Any, Any]:
        """The node's arguments as they are with one of the batches."""
        from torch.fx.node import map_arg

        return tuple(map_arg(part, lambda one: self._examples[one][which]) for part in (node.args, node.kwargs))

    def _example(self, argument: Any) -> Example:
        from torch.fx.node import map_arg

        one, other = (map_arg(argument, lambda node, which=which: self._examples[node][which]) for which in (0, 1))
        return one, other


def _graph(module: nn.Module, struct: Struct, given: Mapping[str, Example]) -> fx.Graph:
    """The module's forward, modules it calls left as calls, checks of arguments dropped.

    Functions bear the names that the activations give them.
    """
    import torch
    from torch import fx

    class Tracer(fx.Tracer):  # type: ignore[misc]  # torch is not installed where mypy runs
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return True

    parameters = inspect.signature(module.forward).parameters.values()
    # what is no tensor is a constant of this call, and may decide which way the code goes
    fixed = {one.name: one.default for one in parameters if one.name not in given and one.default is not one.empty}
    fixed |= {name: example[0] for name, example in given.items() if not _is_tensor(example)}
    try:
        graph = Tracer().trace(module, concrete_args=fixed or None)
    except Exception as error:  # tracing runs the model's code on stand-ins, at which it may raise anything
        traceback.print_exc()
        said = (str(error).splitlines() or [""])[0]
        raise StageError(
            f"torch.fx cannot trace {_shown(struct)}: {type(error).__name__}: {said}",
            "write its forward without Python control flow that depends on tensors",
        ) from error
    taken = {name for name, _ in module.named_children()}
    for node in graph.nodes:
        if node.op in ("call_function", "call_method"):
            node.meta[TITLE] = activations.numbered(activations.function_kind(node), taken)
            taken.add(node.meta[TITLE])
    for node in reversed(graph.nodes):
        check = node.target is torch._assert or getattr(node.target, "__name__", "") == "_assert_is_none"
        if check or (not node.users and node.op not in ("placeholder", "output")):
            kind = _kind(node)
            if (kind.endswith("_") and not kind.startswith("_")) or node.kwargs.get("inplace"):
                raise _refusal(struct, f"it calls {kind} for what it overwrites", "the result of a call")
            graph.erase_node(node)
    return graph


@contextmanager
def _naming(struct: Struct, function: str = "") -> Iterator[None]:
    try:
        yield
    except UnsupportedError as error:
        what = f"{function}: {error}" if function else str(error)
        remedy = functions.supported() if function else modules.supported()
        raise _refusal(struct, what, remedy) from error


def _refusal(struct: Struct, why: str, supported: str) -> StageError:
    return StageError(f"the zml target cannot write {_shown(struct)}: {why}", f"supported: {supported}")


def _shown(struct: Struct) -> str:
    return f"layer '{struct.path}' ({struct.kind})" if struct.path else f"the model's own code ({struct.kind}.forward)"


def _kind(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _run(module: nn.Module, args: Sequence[Example], kwargs: Mapping[str, Example]) -> Example:
    one, other = (
        module(*(arg[which] for arg in args), **{key: arg[which] for key, arg in kwargs.items()}) for which in (0, 1)
    )
    return one, other


def _carry_out(node: fx.Node, arguments: tuple[Any, Any]) -> Any:
    args, kwargs = arguments
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)


def _value(name: str, example: Example) -> Value:
    one, other = example
    if not one.is_floating_point() and one.dtype.itemsize not in (4, 8):
        raise UnsupportedError(f"a tensor of {one.dtype}")
    return Value(name, tuple(one.shape), tuple(other.shape), one.is_floating_point())


def _tagged(name: str, value: Value) -> str:
    return f"{name}.withTags({zig_text.tags(value.axes)})"


def _first(example: Example) -> Example:
    """Of a layer that gives several tensors, the first."""
    return (example[0][0], example[1][0]) if isinstance(example[0], tuple) else example


def _is_tensor(example: Example) -> bool:
    import torch

    return isinstance(example[0], torch.Tensor)


def _is_node(value: object) -> bool:
    from torch import fx

    return isinstance(value, fx.Node)


def _plain(example: Example) -> Any:
    return example[0] if example[0] == example[1] else BatchDependent
