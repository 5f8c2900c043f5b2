"""What a kernel is, and how to add one.

A kernel is a subclass of `Kernel`, one instance of which stands in the lists of `catalog`. For each node the first
candidate that matches is taken; the generic ones stand last. A kernel says

- `matches(node, graph, options)`: whether it computes this node, its epilogue included (`node.epilogue`: activations
  and residuals that passes merged into it). All shapes and constants are known, layouts are not yet.
- `needs(node, graph)`: the layout each input and output must have in memory, and the zeros that must lie around an
  input (`Need`). The compiler converts where a neighbour has another layout, makes the border as wide as the widest
  need, and passes the pointer of the first element inside the border. Two consumers may need different borders: read
  the strides, do not derive them from your own need.
- `emit(call)`: the body of a C function over the arguments `x0, x1, ...` (the node's inputs that are there, then the
  operands of its epilogue), `y0, ...` (outputs), `w0, ...` (`call.weights(array)`: packed constants in the data
  segment), `s0, ...` (`call.scratch(c_type, elements)`: memory for this call only, content undefined) and `p0, ...`
  (`call.prepared(c_type, elements)`: memory that the statements given to `call.prepare` fill once, before the first
  inference: what follows from the constants need not be downloaded). The text must depend on nothing but shapes and
  attributes: functions with equal text are emitted once. `call.include("a.h")` puts a file of `kernels/`, and those it
  includes, before the functions, once per module; it must be guarded by `#ifndef`, be C99, keep its functions `static`,
  and begin its names with `rc_`. SIMD goes below `#if defined(__wasm_simd128__)` beside a plain C twin.

`kernels/base.h` is always there: fixed-width integers, `RC_INLINE`, `RC_INDEPENDENT` (the next loop's iterations are
independent), `rc_exp`, `rc_erf` and others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Layout, Node, Tensor
from recast.stages.compilers.onnx_c.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Need:
    """How a tensor must lie in memory: `layout` None is any; `border` as in `Tensor.border`, at least so wide."""

    layout: Layout | None = None
    border: tuple[int, ...] = ()


_STACK_ELEMENTS = 512  # 2 KiB; beyond that, memory is no slower than the stack

ANY = Need()
PLAIN = Need("plain")
CHANNELS_LAST = Need("channels_last")


@dataclass(frozen=True)
class Needs:
    """One `Need` for each of `Node.inputs` (an absent one too), `Node.outputs` and the operands of the epilogue."""

    inputs: tuple[Need, ...]
    outputs: tuple[Need, ...]
    operands: tuple[Need, ...] = ()


@dataclass
class Call:
    """One node while its C is written: names of arguments, and what the function asks for."""

    node: Node
    graph: Graph
    options: Options
    constants: list[NDArray[Any]] = field(default_factory=list)
    scratches: list[tuple[str, int]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    lasting: list[tuple[str, int]] = field(default_factory=list)
    preparation: list[str] = field(default_factory=list)
    macs: int = 0
    """multiply-accumulates of the node, for the report"""

    @property
    def reads(self) -> list[str]:
        """The tensors passed as `x0, x1, ...`: each once, in the order of the node's inputs and operands."""
        return list(dict.fromkeys(self.node.reads))

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def argument(self, name: str) -> str:
        """The C argument of a tensor the node reads or writes."""
        reads = self.reads
        return f"x{reads.index(name)}" if name in reads else f"y{self.outputs.index(name)}"

    @property
    def outputs(self) -> list[str]:
        """The tensors passed as `y0, ...`; an output nobody named is left out."""
        return [name for name in self.node.outputs if name]

    def weights(self, array: NDArray[Any]) -> str:
        """The argument for constants packed as the kernel wants them, 64-byte aligned; dtypes of `C_TYPES`."""
        self.constants.append(array)
        return f"w{len(self.constants) - 1}"

    def scratch(self, c_type: str, elements: int) -> str:
        """The argument for memory of this call, 64-byte aligned, its content undefined."""
        self.scratches.append((c_type, elements))
        return f"s{len(self.scratches) - 1}"

    def prepared(self, c_type: str, elements: int) -> str:
        """The argument for memory that `prepare` fills once and that is only read afterwards, 64-byte aligned."""
        self.lasting.append((c_type, elements))
        return f"p{len(self.lasting) - 1}"

    def prepare(self, statement: str) -> None:
        """C over `w0, ...` and `p0, ...` that runs once, before the first inference."""
        self.preparation.append(statement)

    def accumulators(self, count: int) -> str:
        """The declaration of a float array `acc`: on the stack, which is small, or in scratch if it is long."""
        if count <= _STACK_ELEMENTS:
            return f"float acc[{count}];\n"
        return f"float *restrict acc = {self.scratch('float', count)};\n"

    def include(self, header: str) -> None:
        """Put a file of `kernels/` before the functions, with those of `kernels/` that it includes before it."""
        if header not in self.includes:
            self.includes.append(header)


class Kernel:
    """Base of kernels: one way to compute some operators."""

    name = ""
    ops: tuple[str, ...] = ()
    in_place = False
    """whether an output of equal geometry may lie where an input lies that nothing reads later"""

    renames = False
    """whether the output is the input's memory under another shape wherever the plan can arrange it"""

    def matches(self, node: Node, graph: Graph, options: Options) -> bool:
        """Whether this kernel computes the node."""
        return node.op in self.ops and not self.refusal(node, graph)

    def needs(self, node: Node, graph: Graph) -> Needs:
        """Any layout, unless a kernel says otherwise."""
        return Needs((ANY,) * len(node.inputs), (ANY,) * len(node.outputs), (ANY,) * len(node.epilogue))

    def emit(self, call: Call) -> str:
        """The body of the C function, without braces."""
        raise NotImplementedError

    def refusal(self, node: Node, graph: Graph) -> str:
        """Why a node of one of `ops` is not supported, for the message; "" if it is."""
        return ""
