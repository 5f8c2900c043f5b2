"""Sample what every layer of a PyTorch model takes and gives, and keep it as safetensors.

Layers are the model's modules by qualified name, and the functions its code calls between them
(`F.relu(x)`, `x + y`), which `torch.fx` finds where it can trace the model. The keys:

| key | is |
|---|---|
| `layer1.0.conv.in.0`, `.in.1`, `.in.mask` | inputs, positional by number, keyword by name |
| `layer1.0.conv.out.0` | the output, or the first of a tuple; `.out.logits` of a dict, `.out.0.1` inside a nested one |
| `layer1.0.conv#1.in.0` | the second call of the same module, `#2` the third |
| `__model__.in.0`, `__model__.out.0` | the whole model |
| `relu.out.0`, `layer1.0.add_1.out.0` | a function or method called in the `forward` of the model, or of `layer1.0` |

A module registered under two names goes by the first. A function called again, or named as a module is, has a number:
`add_1` is the second `+` there.

The same model, inputs and limits give the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from recast.stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import fx, nn

MODEL = "__model__"
"""the name the whole model goes by"""
MAX_LAYERS = 1000
MAX_BYTES = 256 * 2**20
Kept: TypeAlias = "dict[str, torch.Tensor]"
_RECORD = "recast"  # one key only: safetensors writes several in no fixed order


@dataclass(frozen=True)
class Layer:
    """One call of a module or a function; `kind` is the module's class or the function's name."""

    name: str
    kind: str
    function: bool = False


@dataclass(frozen=True)
class Activations:
    """What was sampled. `tensors` are CPU copies that share no memory, in the order the layers finished."""

    tensors: dict[str, torch.Tensor]
    layers: tuple[Layer, ...]
    """the sampled layers, in the order they finished: a block after what is inside it"""
    left_out: dict[str, str] = field(default_factory=dict)
    """layer -> why it was not sampled"""
    modules_only: str = ""
    """why functions are missing: what kept torch.fx from tracing the model; empty if it could"""


def collect(
    model: nn.Module,
    inputs: torch.Tensor | Sequence[Any],
    *,
    max_layers: int = MAX_LAYERS,
    max_bytes: int = MAX_BYTES,
) -> Activations:
    """Run the model, in eval mode, on `inputs` (one tensor, or its positional arguments) and sample every layer.

    At most `max_layers` calls are kept and `max_bytes` of tensors, beside the whole model's own; modules
    come before functions, and of each the first to be reached. The model is left as it was, hooks and
    training modes included, whatever its code raises, which is passed on.
    """
    import torch

    arguments = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    budget = _Budget(max_layers, max_bytes)
    names = {module: name or MODEL for name, module in model.named_modules()}
    with _evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = _Modules(names, budget)
        with modules.watching():
            expected = model(*_copied(arguments))
        functions, reason = _functions(model, arguments, expected, names, budget)
    order = _merged(modules.calls, functions)
    tensors = {key: tensor for _, kept in order for key, tensor in kept.items()}
    return Activations(tensors, tuple(layer for layer, _ in order), budget.left_out, reason)


def save(path: Path, activations: Activations) -> None:
    """Write safetensors, with layers, what was left out and why in its metadata."""
    from safetensors.torch import save

    record = {
        "layers": [dataclasses.asdict(layer) for layer in activations.layers],
        "left_out": activations.left_out,
        "modules_only": activations.modules_only,
    }
    # not save_file, which would make the file unreadable to others, whatever the umask
    path.write_bytes(save(activations.tensors, {_RECORD: json.dumps(record)}))


@dataclass(frozen=True)
class Sampled:
    """What `save` wrote, for environments without torch."""

    tensors: dict[str, NDArray[np.generic]]
    layers: tuple[Layer, ...]
    left_out: dict[str, str]
    modules_only: str


def read(path: Path) -> Sampled:
    """Read what `save` wrote; StageError if it is missing or damaged. Needs no torch."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            record = json.loads(file.metadata()[_RECORD])
            layers = tuple(Layer(**layer) for layer in record["layers"])
            calls = {layer.name: index for index, layer in enumerate(layers)}
            keys = sorted(file.keys(), key=lambda key: calls[_layer_of(key)])
            tensors = {key: file.get_tensor(key) for key in keys}
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise StageError(
            f"cannot read the activations {path.name}: {error}", "run the recipe again, which makes it anew"
        ) from error
    return Sampled(tensors, layers, record["left_out"], record["modules_only"])


def _layer_of(key: str) -> str:
    """`a.conv#1.out.0` -> `a.conv#1`. The last `.in.` or `.out.` divides: modules may bear these names too."""
    return key[: max(key.rfind(".in."), key.rfind(".out."))]


def function_kind(node: fx.Node) -> str:
    """What a call of a function or method in a graph of torch.fx is called, without a number."""
    import operator

    kind = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "function")
    # `+=` is `iadd`, and `add` to whoever reads the table
    return kind.strip("_").removeprefix("i" if node.target in (operator.iadd, operator.imul) else "")


def numbered(name: str, taken: Collection[str]) -> str:
    """The name, or with the first number that makes it another than those taken: `add`, `add_1`."""
    number = 0
    while (f"{name}_{number}" if number else name) in taken:
        number += 1
    return f"{name}_{number}" if number else name


class _Budget:
    """How much may still be kept, and what was not."""

    def __init__(self, layers: int, size: int) -> None:
        self.layers, self.size = layers, size
        self.left_out: dict[str, str] = {}

    def copy(self, name: str, values: Mapping[str, torch.Tensor]) -> Kept | None:
        """Copies of the tensors on the CPU, or None with the reason noted."""
        import torch

        if name in self.left_out:
            return None
        if any(value.layout != torch.strided or value.is_quantized or value.is_complex() for value in values.values()):
            self._refuse(name, "its tensors are sparse, quantized or complex, which safetensors does not hold")
            return None
        size = sum(_bytes(value) for value in values.values())
        if size > self.size and name != MODEL:
            self._refuse(name, f"{size} bytes more would pass max_bytes")
            return None
        self.size -= size if name != MODEL else 0
        return {key: _clone(value) for key, value in values.items()}

    def take_layer(self, name: str) -> None:
        """Count one more layer, or note that it is one too many."""
        if name == MODEL:
            return
        if self.layers < 1:
            self.left_out[name] = "more layers than max_layers"
        else:
            self.layers -= 1

    def give_back(self, kept: Mapping[str, torch.Tensor]) -> None:
        """The copies were dropped after all."""
        self.size += sum(_bytes(value) for value in kept.values())

    def _refuse(self, name: str, why: str) -> None:
        self.left_out[name] = why
        self.layers += 1


class _Modules:
    """Hooks on every module. A value is copied before the next layer can change it in place."""

    def __init__(self, names: Mapping[nn.Module, str], budget: _Budget) -> None:
        self._names, self._budget = names, budget
        self._numbers: Counter[str] = Counter()
        self._open: list[tuple[nn.Module, str, Kept | None]] = []
        self.calls: list[tuple[Layer, Kept | None]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The hooks are there inside the block only."""
        handles = []
        try:
            for module in self._names:
                handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
                handles.append(module.register_forward_hook(self._after, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = _numbered(self._names[module], self._numbers)
        self._budget.take_layer(name)
        values = dict(_flat(f"{name}.in", [*args])) | dict(_flat(f"{name}.in", kwargs))
        self._open.append((module, name, self._budget.copy(name, values)))

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        # a call that failed, and whose error the model's code caught, has no output
        while self._open[-1][0] is not module:
            self._open.pop()
        _, name, kept = self._open.pop()
        given = self._budget.copy(name, dict(_flat(f"{name}.out", _listed(output)))) if kept is not None else None
        if kept is not None and given is None:
            self._budget.give_back(kept)
        both = {**kept, **given} if kept is not None and given is not None else None
        self.calls.append((Layer(name, type(module).__name__), both))


def _functions(
    model: nn.Module,
    arguments: tuple[Any, ...],
    expected: Any,
    names: Mapping[nn.Module, str],
    budget: _Budget,
) -> tuple[dict[str, list[tuple[str, Layer, Kept]]], str]:
    """Module call -> the functions behind it ("" before the first) with their scopes, and why there are none."""
    import operator

    import torch
    from torch import fx

    tracer = fx.Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # tracing runs the model's code on stand-ins, at which it may raise anything
        return {}, f"torch.fx cannot trace the model: {_first_line(error)}"
    scopes = {node: _scope(node) for node in graph.nodes}
    calls = [node for node in graph.nodes if node.op in ("call_function", "call_method")]
    taken = set(names.values())
    titles: dict[fx.Node, Layer] = {}
    for node in calls:
        kind = function_kind(node)
        name = numbered(f"{scopes[node]}.{kind}" if scopes[node] else kind, taken)
        taken.add(name)
        titles[node] = Layer(name, kind, function=True)

    found: dict[str, list[tuple[str, Layer, Kept]]] = {}
    numbers: Counter[str] = Counter()
    spent = budget.layers, budget.size, dict(budget.left_out)

    class Sampler(fx.Interpreter):  # type: ignore[misc]  # torch is not installed where mypy runs
        behind = ""

        def run_node(self, n: fx.Node) -> Any:
            if n.op == "call_module":
                self.behind = _numbered(names[tracer.root.get_submodule(str(n.target))], numbers)
            if n not in titles:
                return super().run_node(n)
            layer = titles[n]
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            before = dict(_flat(f"{layer.name}.in", [*args])) | dict(_flat(f"{layer.name}.in", kwargs))
            if not before or (n.target is operator.getitem and not isinstance(args[0], torch.Tensor)):
                return super().run_node(n)
            # what the function is given may be what it overwrites: keep it, and decide when the output is known
            budget.take_layer(layer.name)
            kept = budget.copy(layer.name, before)
            output = super().run_node(n)
            after = dict(_flat(f"{layer.name}.out", _listed(output)))
            if kept is None:
                return output
            given = budget.copy(layer.name, after) if after else None
            if given is None:
                budget.give_back(kept)
                budget.layers += 0 if after else 1  # a size or a shape, which is no layer
                return output
            found.setdefault(self.behind, []).append((scopes[n], layer, {**kept, **given}))
            return output

    try:
        torch.manual_seed(0)
        actual = Sampler(tracer.root, graph=graph).run(*_copied(arguments))
        first, second = dict(_flat("", _listed(expected))), dict(_flat("", _listed(actual)))
        same = first.keys() == second.keys() and all(
            first[key].shape == second[key].shape and torch.equal(first[key], second[key]) for key in first
        )
        reason = "" if same else "what torch.fx traced computes something else than the model"
    except Exception as error:  # whatever the model's code raises when it is run node by node
        reason = f"torch.fx cannot run what it traced: {_first_line(error)}"
    if reason:
        budget.layers, budget.size, budget.left_out = spent
        return {}, reason
    return found, ""


def _merged(
    calls: Sequence[tuple[Layer, Kept | None]], functions: Mapping[str, Sequence[tuple[str, Layer, Kept]]]
) -> list[tuple[Layer, Kept]]:
    """Modules and functions in the order they finish, those that were not kept left out."""
    order: list[tuple[Layer, Kept]] = [(layer, kept) for _, layer, kept in functions.get("", ())]
    waiting: list[tuple[str, Layer, Kept]] = []
    behind = ""
    for call, kept in calls:
        # a block around the last leaf ends before a function of the code around the block
        while waiting and (_around(call.name, waiting[0][0]) or not _around(call.name, behind)):
            order.append(waiting.pop(0)[1:])
        if kept is not None:
            order.append((call, kept))
        if call.name in functions:
            behind = call.name
            waiting = [*waiting, *functions[call.name]]
    return order


def _around(name: str, inner: str) -> bool:
    """Whether the module `name` is the module `inner`, or holds it."""
    name = name.partition("#")[0]
    return name == MODEL or inner == name or inner.startswith(f"{name}.")


def _scope(node: Any) -> str:
    """The qualified name of the module in whose `forward` the node is called."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    # inside a leaf the last entry is the leaf itself, but a leaf is a call_module node
    return str(stack[-1][0]) if stack else ""


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _numbered(name: str, numbers: Counter[str]) -> str:
    number = numbers[name]
    numbers[name] += 1
    return f"{name}#{number}" if number else name


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested sequences, mappings and dataclasses, with its path joined by dots."""
    import torch

    if isinstance(value, torch.Tensor):
        yield prefix, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _flat(f"{prefix}.{index}", inner)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield from _flat(f"{prefix}.{one.name}", getattr(value, one.name))


def _listed(output: Any) -> Any:
    """A single tensor is the first of one, so that it is `out.0`."""
    import torch

    return [output] if isinstance(output, torch.Tensor) else output


def _copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copies of the tensors: a model may overwrite its input."""
    import torch

    return tuple(one.clone() if isinstance(one, torch.Tensor) else one for one in arguments)


def _clone(value: torch.Tensor) -> torch.Tensor:
    import torch

    return value.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _bytes(value: torch.Tensor) -> int:
    return int(value.numel() * value.element_size())


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
