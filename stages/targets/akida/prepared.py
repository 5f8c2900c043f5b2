"""A float model made ready to be quantized for Akida: rewritten, lowered, its input chosen; or a part of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError, progress
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import obstacles
from recast.stages.targets.akida.inputs import Kind, Wanted, attempt, choose, obstacle, taken_contract
from recast.stages.targets.akida.lowering import lower

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract
    from recast.stages.targets.akida.layout import Layout

# in order of preference where they bring equally many layers into hardware: as stored, nothing is left to prepare
KINDS = (Kind("stored", "uint8"), Kind("normalised", "uint8"), Kind("normalised", "int8"))


class Unsuited(StageError):
    """The recipe wants an input that the model cannot take, whatever its layers are."""


@dataclass(frozen=True)
class Prepared:
    """A lowered model, and how it is to be quantized."""

    model: onnx_files.Model
    scheme: Mapping[str, Any] = field(default_factory=dict)

    def write(self, out: Path, more: Mapping[str, Any]) -> None:
        """model.onnx and scheme.json; `more`: what else the latter says, first."""
        onnx_files.write_model(self.model, out / "model.onnx")
        scheme = {**more, **self.scheme}
        (out / "scheme.json").write_text(json.dumps(scheme, indent=2) + "\n", encoding="utf-8")

    def metrics(self) -> dict[str, Any]:
        """Of `quantize`."""
        return {
            "nodes": len(self.scheme["layers"]),
            "rewritten": len(self.scheme["rewritten"]),
            "input": self.scheme["input"],
            "input_type": self.scheme["input_type"],
            "inputs_tried": len(self.scheme["inputs_tried"]),
        }


def prepare(
    model: onnx_files.Model, contract: Contract, names: Mapping[str, str], wanted: Wanted, threads: int, scratch: Path
) -> Prepared:
    """The model, which has one input and one output, for samples of `contract`; `names`: tensor -> layer.

    Raises StageError naming the nodes that cannot be quantized or converted, and Unsuited.
    """
    progress("rewrite what Akida has not")
    made = lower.lower(model, contract.shape, names, threads)
    stored_as_taken = not made.layout.start
    contract = taken_contract(contract, made.layout)
    kinds = [
        kind
        for kind in KINDS
        if wanted.input in ("auto", kind.values)
        and wanted.input_type in ("auto", kind.type)
        and not (kind.values == "stored" and (obstacle(contract) or not stored_as_taken))
    ]
    tried = attempt(kinds, made.model, contract, wanted, threads, scratch)
    if not tried:
        raise _impossible(wanted, contract, made.layout)
    try:
        chosen = choose(tried)
    except StageError as error:
        raise obstacles.explained(error, made.model, made.layout, names) from error
    left = kinds[kinds.index(chosen.kind) + 1 :] if chosen.is_enough else []
    scheme = {
        "input": chosen.kind.values,
        "input_type": chosen.kind.type,
        "layers": [node.name for node in chosen.lowered.graph.node],
        "layout": made.layout.as_json(),
        "rewritten": made.done,
        "inputs_tried": [{**one.as_json(), "chosen": one is chosen} for one in tried],
        "inputs_not_tried": [{"input": kind.values, "input_type": kind.type} for kind in left],
    }
    return Prepared(chosen.lowered, scheme)


def _impossible(wanted: Wanted, contract: Contract, layout: Layout) -> Unsuited:
    """Why no kind of input is left to try: only choices of the recipe leave none."""
    if wanted.input == "stored" and wanted.input_type == "int8":
        return Unsuited("stored samples are uint8, not int8", "set quantize.input_type to auto")
    why = "the model does not start with a convolution"
    if wanted.input == "stored" and layout.start:
        why = "the axes of a sample are laid out anew in front of the first layer"
        return Unsuited(f"the emitted model cannot take stored samples: {why}", "set quantize.input to auto")
    if wanted.input == "stored":
        why = obstacle(contract) or f"{why} the normalisation can be folded into"
        return Unsuited(f"the emitted model cannot take stored samples: {why}", "set quantize.input to auto")
    return Unsuited(
        f"the first layer cannot read uint8: {why} of images of 1 or 3 channels", "set quantize.input_type to auto"
    )
