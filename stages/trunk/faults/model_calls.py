"""What a PyTorch model calls when it runs: which functions, in which layer, at which line of the user's code."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.common import samples
from recast.stages.common.torch_models import signature, user_code

if TYPE_CHECKING:
    import torch
    from torch import nn

READS = {
    **dict.fromkeys(("__bool__", "is_nonzero", "__contains__", "equal", "allclose"), "branches on"),
    **dict.fromkeys(("item", "tolist", "numpy", "__array__"), "takes out of its tensor"),
    **dict.fromkeys(("__int__", "__index__", "__float__", "__complex__"), "makes a number of Python of"),
}
"""methods by which a value leaves its tensor, and what a model does with it then"""


@dataclass(frozen=True)
class Place:
    """Where in a model: the layer, "" for the model's own forward, its class, and the line of the user's code."""

    layer: str
    kind: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        at = f" at {user_code.shown(self.file)}:{self.line}" if self.file else ""
        return f"layer '{self.layer}' ({self.kind}){at}" if self.layer else f"{self.kind}.forward{at}"


@dataclass(frozen=True)
class Call:
    """A function of PyTorch's that was called, where, and the first tensor that it gave, if any."""

    function: str
    place: Place
    output: torch.Tensor | None = None

    def __str__(self) -> str:
        return f"{self.function} in {self.place}"


@contextmanager
def running_layers(model: nn.Module) -> Iterator[list[tuple[str, str]]]:
    """Name and class of the layers that are running, outermost first; of those that were when an error was raised."""
    stack = [("", type(model).__name__)]
    handles = []
    for name, layer in model.named_modules():
        if name:
            entry = (name, type(layer).__name__)
            with suppress(RuntimeError):  # a scripted layer takes no hooks in some forms
                handles.append(layer.register_forward_pre_hook(lambda *_, entry=entry: stack.append(entry)))
                handles.append(
                    layer.register_forward_hook(lambda *_: (stack.pop() if len(stack) > 1 else None, None)[1])
                )
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def calls(model: nn.Module, x: Any) -> list[Call]:
    """The functions that the model calls for x (N, *shape), in order, with copies of what they give."""
    import torch
    from torch.overrides import TorchFunctionMode

    found: list[Call] = []
    with running_layers(model) as layers:

        class Recorder(TorchFunctionMode):  # type: ignore[misc]
            def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                made = function(*args, **(kwargs or {}))
                first = made[0] if isinstance(made, tuple) and made else made
                if isinstance(first, torch.Tensor):
                    found.append(Call(_name(function), _place(layers), first.detach().clone()))
                return made

        with Recorder(), torch.no_grad():
            signature.run(model, x)
    return found


def first_difference(
    before: Sequence[Call], after: Sequence[Call], differ: Callable[[torch.Tensor, torch.Tensor], bool]
) -> Call | None:
    """The first call of `after` that is another than in `before`, or gives what differs; None if there is none."""
    for one, other in zip(before, after, strict=False):
        if one.function != other.function:
            return other
        if one.output is not None and other.output is not None and differ(one.output, other.output):
            return other
    return None


def reads(model: nn.Module, x: Any) -> list[Call]:
    """Where the user's code takes values out of tensors that it computed from x (N, *shape).

    Sizes of tensors do not count, nor do values of weights, nor checks that can only raise, which exporters leave out.
    """
    import torch

    found: list[Call] = []
    with running_layers(model) as layers:

        class Tracked(torch.Tensor):  # type: ignore[misc]
            @classmethod
            def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if _name(function) in READS and user_code.is_called_by_user(sys._getframe(1)):
                    found.append(Call(_name(function), _place(layers)))
                return super().__torch_function__(function, types, args, kwargs or {})

        with torch.no_grad(), suppress(Exception):  # what a model does with a subclass is no fault of its own
            signature.call(model, samples.each(x, lambda one: one.clone().as_subclass(Tracked)))
    return [call for call in found if call.place.file and not _only_checks(call.place.file, call.place.line)]


def calling(model: nn.Module, x: Any, operator: str) -> Place | None:
    """Where the model, run on x (N, *shape), first calls the ATen operator, such as `linalg_svd`; None if nowhere."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[Place] = []
    with running_layers(model) as layers:

        class Functions(TorchFunctionMode):  # type: ignore[misc]
            def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if _is(_name(function), operator):
                    found.append(_place(layers))
                return function(*args, **(kwargs or {}))

        class Operators(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if _is(str(function._schema.name).rpartition("::")[2], operator):
                    found.append(_place(layers))
                return function(*args, **(kwargs or {}))

        with Functions(), Operators(), torch.no_grad(), suppress(Exception):
            signature.call(model, samples.each(x, lambda one: one.clone()))
    return found[0] if found else None


def _is(name: str, operator: str) -> bool:
    """Whether both are one, but for what PyTorch adds to the names of an operator's other forms."""
    name, operator = (text.strip("_").removesuffix("_functional") for text in (name, operator))
    return name == operator or name.endswith(f"_{operator}")


def _place(layers: Sequence[tuple[str, str]]) -> Place:
    return Place(*layers[-1], *user_code.place_now(sys._getframe(2)))


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", function))


@cache
def _statements(file: str) -> list[tuple[int, int]]:
    """First and last line of each statement that can only raise: an assert, or an `if` whose body is a raise."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return []
    found = [(node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and not node.orelse and all(isinstance(one, ast.Raise) for one in node.body):
            found.append((node.test.lineno, node.test.end_lineno or node.test.lineno))
    return found


def _only_checks(file: str, line: int) -> bool:
    return any(first <= line <= last for first, last in _statements(file))
