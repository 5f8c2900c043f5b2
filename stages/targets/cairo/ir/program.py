"""The model as this target holds it between its stages: operations on raw integers, one sample at a time.

`program.json` lists formats, tensors and nodes, `weights.npz` holds the integers.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.targets.cairo.ir.fixed_point import Format, format_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROGRAM, WEIGHTS = "program.json", "weights.npz"


@dataclass(frozen=True)
class Node:
    """One operation. `constants` are int64: weights with the format's fraction bits, biases with twice as many."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]
    constants: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Program:
    """Nodes in running order. Shapes are those of one sample, without the batch axis."""

    format: Format
    nodes: tuple[Node, ...]
    shapes: Mapping[str, tuple[int, ...]]
    input: str
    output: str

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.inputs]

    def size(self, tensor: str) -> int:
        """Elements of one sample of a tensor."""
        count = 1
        for axis in self.shapes[tensor]:
            count *= axis
        return count


def write(program: Program, folder: Path) -> None:
    """Write both files; the same program gives the same bytes."""
    import numpy as np

    nodes, arrays = [], {}
    for index, node in enumerate(program.nodes):
        arrays.update({f"{index}.{name}": value for name, value in node.constants.items()})
        nodes.append(
            {
                "name": node.name,
                "op": node.op,
                "inputs": list(node.inputs),
                "output": node.output,
                "attributes": dict(node.attributes),
                "constants": sorted(node.constants),
            }
        )
    content = {
        "format": program.format.name,
        "input": program.input,
        "output": program.output,
        "shapes": {name: list(shape) for name, shape in program.shapes.items()},
        "nodes": nodes,
    }
    (folder / PROGRAM).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    np.savez(folder / WEIGHTS, allow_pickle=False, **arrays)


def read(folder: Path) -> Program:
    """What `write` wrote; StageError if it is missing or damaged."""
    import numpy as np

    try:
        content = json.loads((folder / PROGRAM).read_text(encoding="utf-8"))
        with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
            nodes = tuple(
                Node(
                    name=node["name"],
                    op=node["op"],
                    inputs=tuple(node["inputs"]),
                    output=node["output"],
                    attributes=node["attributes"],
                    constants={name: arrays[f"{index}.{name}"] for name in node["constants"]},
                )
                for index, node in enumerate(content["nodes"])
            )
        shapes = {name: tuple(shape) for name, shape in content["shapes"].items()}
        return Program(format_of(content["format"]), nodes, shapes, content["input"], content["output"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise StageError(f"cannot read the program in {folder.name}/: {error}", "run quantize again") from error
