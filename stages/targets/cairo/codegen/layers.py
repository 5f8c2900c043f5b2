"""Writes the layers of a program: every node's Cairo, and which weights are passed as call data."""

from __future__ import annotations

from recast.stages.base import StageError
from recast.stages.targets.cairo.codegen import code_size
from recast.stages.targets.cairo.codegen.emission import Emission, Written
from recast.stages.targets.cairo.ir.intervals import Interval
from recast.stages.targets.cairo.ir.program import Node, Program
from recast.stages.targets.cairo.ir.view import View
from recast.stages.targets.cairo.ops.registry import OPERATIONS
from recast.stages.targets.cairo.ops.weighted import Weighted
from recast.stages.targets.cairo.syntax.layer import Layer, row_elements

LONGEST_INPUT_ROW = 64
"""cells; an input row is a row of the image if that is not longer"""


def write_layers(program: Program, bounds: dict[str, Interval], bytecode_limit: int) -> Emission:
    """Every node's Cairo; weights of the largest layers go into the call data until the limit is kept.

    Raises StageError if it is not kept even so.
    """
    in_call_data: frozenset[str] = frozenset()
    while True:
        emission = _written(program, bounds, in_call_data)
        size = code_size.of_program([one.layer for one in emission.written], emission.input_rows)
        if size <= bytecode_limit:
            return emission
        sizes = {one.nodes[0]: code_size.of_layer(one.layer) for one in emission.written}
        literal = [one.nodes[0] for one in emission.written if one.layer.crate and not one.layer.call_data]
        if not literal:
            largest = max(sizes, key=lambda name: sizes[name])
            raise StageError(
                f"the program has about {size} felts of bytecode even with its weights in the call data, most in "
                f"{largest}, and the limit is {bytecode_limit}",
                "use a smaller model, or raise emit.bytecode_limit",
            )
        in_call_data |= {max(literal, key=lambda name: sizes[name])}


def _written(program: Program, bounds: dict[str, Interval], in_call_data: frozenset[str]) -> Emission:
    import numpy as np

    shape = program.shapes[program.input]
    size = program.size(program.input)
    most = shape[-1] if len(shape) > 1 and shape[-1] <= LONGEST_INPUT_ROW else LONGEST_INPUT_ROW
    emission = Emission(program, bounds, row_elements(np.arange(size), most))
    width = len(emission.input_rows[0])
    emission.views[program.input] = View.of_rows("t0", width, emission.input_rows, size)
    weighted, skipped = 0, set[str]()
    for node in program.nodes:
        if node.output in skipped:
            continue
        operation = OPERATIONS[node.op]
        moved = getattr(operation, "moved", None)
        if moved is not None:  # only a new order of elements
            emission.views[node.output] = moved(node, program, [emission.views[name] for name in node.inputs])
            continue
        relu = _fused(program, node)
        weighted += bool(node.constants)
        number = len(emission.written) + 1
        layer = Layer(
            name=f"{_snake(node.op)}_{number}",
            crate=f"layer{weighted}" if node.constants else "",
            inputs={name: emission.views[name] for name in node.inputs},
            bounds=bounds,
            activation="relu" if relu else "",
            call_data=node.name in in_call_data,
        )
        operation.write(node, program, layer)
        output = relu.output if relu else node.output
        array = f"t{number}"
        emission.views[output] = layer.output(array, program.size(output))
        takes = tuple(dict.fromkeys(array for name in node.inputs for array in emission.views[name].arrays))
        nodes = (node.name, relu.name) if relu else (node.name,)
        emission.written.append(Written(layer, takes, array, nodes))
        if relu:
            skipped.add(relu.output)
    return emission


def _snake(op: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in op).lstrip("_")


def _fused(program: Program, node: Node) -> Node | None:
    """The Relu behind a weighted node, if nothing else reads that node."""
    readers = program.readers(node.output)
    linear = isinstance(OPERATIONS[node.op], Weighted) and node.output != program.output
    return readers[0] if linear and len(readers) == 1 and readers[0].op == "Relu" else None
