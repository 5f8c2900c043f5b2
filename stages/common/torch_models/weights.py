"""Read and write a model's weights without ever running code from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError

if TYPE_CHECKING:
    import torch
    from torch import nn

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""keys under which training scripts commonly keep the state dict of a checkpoint"""
PREFIXES = ("module.", "_orig_mod.")
"""what nn.DataParallel and torch.compile put before every name"""


def write_weights(model: nn.Module, path: Path) -> None:
    """Write the model's state dict as safetensors; tensors that share memory are written once each by name."""
    from safetensors.torch import save

    # clones: safetensors refuses tensors that share memory (tied weights); its save_file would make the
    # file unreadable to others, whatever the umask
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    path.write_bytes(save(state))


def load_weights(model: nn.Module, path: Path, shown: str) -> None:
    """Copy the weights in `path` into the model; every name and shape must match.

    A tied weight may be given under any of its names. `shown` names the file in messages. Raises
    StageError for a file that is no state dict, is damaged, holds pickled objects, has missing,
    unexpected or differently shaped weights, or values that are not finite.
    """
    given = _read(path, shown)
    expected = dict(model.state_dict())
    # two names of one storage are one weight
    present = {expected[name].data_ptr() for name in given if name in expected}
    missing = [
        name
        for name, value in expected.items()
        # a BatchNorm's step count is absent from old checkpoints and unused in inference
        if name not in given and value.data_ptr() not in present and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in given if name not in expected]
    misshapen = [
        f"{name} {tuple(value.shape)} in the file, {tuple(expected[name].shape)} in the model"
        for name, value in given.items()
        if name in expected and value.shape != expected[name].shape
    ]
    faults = [
        f"{what} {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape:", misshapen))
        if names
    ]
    if faults:
        raise StageError(
            f"{shown} does not fit {type(model).__name__}: {'; '.join(faults)}",
            "name the model these weights were trained with, with the same `args`",
        )
    broken = [name for name, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise StageError(f"{shown} holds NaN or infinity in {_some(broken)}", "use another checkpoint")
    # with the versions of the layers, which some look at when they load, and which no file of tensors brings
    state = model.state_dict()
    for name in [name for name in state if name not in given]:
        del state[name]
    state.update(given)
    model.load_state_dict(state, strict=False)


def _read(path: Path, shown: str) -> dict[str, torch.Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content: Any
    if path.suffix == ".safetensors":
        try:
            content = load_file(path)
        except (SafetensorError, OSError) as error:
            raise StageError(f"cannot read {shown}: {error}", "the file is damaged: fetch or save it again") from error
    else:
        try:
            # weights_only: a checkpoint may not run code
            content = torch.load(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise StageError(
                f"cannot read {shown}: {error.strerror}", "set train.weights to a file that is there"
            ) from error
        # damage shows in whatever the unpickler stumbles over
        except Exception as error:
            raise StageError(
                f"{shown} is not a plain state dict: it is damaged, or holds pickled Python objects, which could run "
                "code when loaded",
                "save it again with torch.save(model.state_dict(), ...) or safetensors",
            ) from error
    while isinstance(content, Mapping) and (
        inner := [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    ):
        content = content[inner[0]]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(v, torch.Tensor) for v in content.values())
    ):
        held = (
            f"the keys {_some([str(key) for key in content])}"
            if isinstance(content, Mapping)
            else type(content).__name__
        )
        raise StageError(
            f"{shown} holds no state dict but {held}", f"give a state dict, bare or under one of {', '.join(WRAPPERS)}"
        )
    state = {str(name): value for name, value in content.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
