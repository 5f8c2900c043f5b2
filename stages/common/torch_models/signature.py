"""How a PyTorch model of several inputs is called, and what its outputs are called.

Inputs go to the parameters of `forward` that bear their names, or where none does, in the order of the data. One input
is the first parameter. Outputs are named by the keys of a dict, the fields of a named tuple, or their places.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import samples

if TYPE_CHECKING:
    import torch
    from torch import nn

OUTPUT = "output"
"""of a model with one; with several, which bear no names, `output_0`, `output_1`, ..."""
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def order(model: nn.Module, names: list[str]) -> list[str]:
    """The inputs in the order in which `forward` takes them. Raises StageError if it cannot take just these."""
    if len(names) == 1:
        return names
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # a scripted model has no signature to read
        return names
    known = [one.name for one in parameters if one.kind in _POSITIONAL]
    needed = [one.name for one in parameters if one.kind in _POSITIONAL and one.default is inspect.Parameter.empty]
    given = sorted(names, key=known.index) if set(names) <= set(known) else names
    takes, kind = ", ".join(known) or "nothing", type(model).__name__
    any_number = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    unnamed = not set(names) & set(known)
    if not any_number and not len(needed) <= len(names) <= len(known):
        raise StageError(
            f"{kind}.forward takes {len(needed)} tensors ({takes}), and the data have {len(names)} inputs "
            f"({', '.join(names)})",
            "give forward a parameter for each input, by its name",
            "name the inputs of the model, and no others, under data.inputs",
        )
    if not unnamed and given != known[: len(given)]:
        raise StageError(
            f"{kind}.forward takes {takes}, and the inputs of the data are {', '.join(names)}",
            "name the parameters of forward as the inputs are named, those without data last",
        )
    return given


def arguments(model: nn.Module, x: Any) -> tuple[torch.Tensor, ...]:
    """The tensors of x, of one input or of several, as `forward` takes them."""
    if not isinstance(x, samples.Samples):
        return (x,)
    return tuple(x.arrays[name] for name in order(model, list(x.arrays)))


def call(model: nn.Module, x: Any) -> Any:
    """What the model returns for x, as it returns it."""
    return model(*arguments(model, x))


def outputs(made: Any) -> Any:
    """The tensor of an only output, or Samples of several. Raises StageError for what holds anything but tensors."""
    import torch

    if isinstance(made, torch.Tensor):
        return made
    found = dict(_flat(OUTPUT, made))
    wrong = [one for one in found.values() if not isinstance(one, torch.Tensor) or not one.ndim]
    if not found or wrong:
        first = wrong[0] if wrong else made
        kind = type(first).__name__
        of = "one number" if isinstance(first, torch.Tensor) else "nothing" if first is None else f"a {kind}"
        raise StageError(
            f"the model returns {of}{'' if first is made else ' among its outputs'}",
            "return a tensor, or a tuple or a dict of tensors, the batch first in each",
        )
    counts = {name: len(one) for name, one in found.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {tuple(one.shape)}" for name, one in found.items())
        raise StageError(f"the model returns outputs of shapes {said}", "keep the batch as the first axis of each")
    return samples.of(found)


def run(model: nn.Module, x: Any) -> Any:
    """The outputs for copies of x: a model may write into its input."""
    return outputs(call(model, samples.each(x, lambda one: one.clone())))


def tensors(x: Any) -> Any:
    """Copies of arrays as tensors."""
    import torch

    return samples.each(x, lambda one: torch.from_numpy(one.copy()))


def _flat(name: str, made: Any) -> Iterator[tuple[str, Any]]:
    """Everything in nested tuples, lists and dicts, in the order in which exporters take it, each with a name."""
    if isinstance(made, tuple) and hasattr(made, "_fields"):
        made = dict(zip(made._fields, made, strict=True))
    if isinstance(made, Mapping):
        for key, inner in made.items():
            yield from _flat(str(key) if name == OUTPUT else f"{name}_{key}", inner)
    elif isinstance(made, (list, tuple)):
        for place, inner in enumerate(made):
            yield from _flat(f"{name}_{place}", inner)
    else:
        yield name, made
