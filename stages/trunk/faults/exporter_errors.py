"""Why one of PyTorch's exporters refused a model, in words of the model: the operator, the layer and the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recast.stages.common.torch_models import user_code
from recast.stages.common.vendor_errors import first_line
from recast.stages.trunk.faults import model_calls

if TYPE_CHECKING:
    from torch import nn

Exporter: TypeAlias = Literal["dynamo", "torchscript"]
_NO_FORM = (
    re.compile(r"No ONNX function found for <OpOverload\(op='\w+\.(\w+)'"),
    re.compile(r"Exporting the operator '(?:aten::)?(\w+)' to ONNX"),
    re.compile(r"ONNX export of operator (?:aten::)?(\w+)"),
)
_TRANSLATING = re.compile(r"target=torch\.ops\.aten\.(\w+)")
_ADDED = re.compile(r"added in version (\d+)")


def explained(
    error: BaseException, model: nn.Module, x: Any, other: Exporter, opset: int
) -> tuple[str, tuple[str, ...]]:
    """What stood in the way when the model was exported with x (N, *shape), and remedies.

    `other`: the other exporter, and the opset at which it would be asked.
    """
    chain = list(_chain(error))
    said = [str(one) for one in chain]
    operator = next((found[1] for text in said for form in _NO_FORM if (found := form.search(text))), "")
    reason = ""
    if not operator and (translating := next((found for text in said if (found := _TRANSLATING.search(text))), None)):
        operator, reason = translating[1], f": {first_line(said[-1])}"
    if operator:
        place = model_calls.calling(model, x, operator)
        added = next((found[1] for text in said if (found := _ADDED.search(text))), "")
        where = f" in {place}" if place else ""
        remedies = ["use another operation there"]
        if added:
            remedies.insert(0, f"set export.opset to {added} or later")
        elif _knows(other, operator, opset):
            remedies.append(_switch(other, opset))
        return f"it cannot write '{operator}'{where}{reason}", tuple(remedies)
    line = next((place for place in map(user_code.place_of, reversed(chain)) if place), "")
    # the exporters' own errors speak of themselves; what made them speaks of the model
    words = first_line(said[-1])
    mend = (f"mend {line}",) if line else ()
    return f"{words} ({line})" if line else words, (*mend, _switch(other, opset))


def _switch(other: Exporter, opset: int) -> str:
    return f"set export.exporter to {other}" + (f" and export.opset to {opset}" if other == "dynamo" else "")


def _knows(exporter: Exporter, operator: str, opset: int) -> bool:
    """Whether the exporter has a form of the ATen operator; true where PyTorch does not say."""
    try:
        if exporter == "dynamo":
            import torch
            from torch.onnx._internal.exporter._registration import ONNXRegistry

            return bool(ONNXRegistry.from_torchlib(opset).is_registered(getattr(torch.ops.aten, operator).default))
        from torch.onnx._internal.torchscript_exporter import registration

        group = registration.registry.get_function_group(f"aten::{operator.lstrip('_')}")
        return group is not None and group.get(opset) is not None
    except (ImportError, AttributeError):  # these are PyTorch's internals
        return True


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, as far as that was not set aside."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
