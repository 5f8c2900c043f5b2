"""Bring what people train into the patterns that Akida takes, where that changes nothing of what is computed.

Only what Akida refuses is rewritten (`obstacles`), one node after another, until nothing is left that a rule knows. The
result is compared with the model as it was on random samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files, rewritten
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.graph import Graph, sized
from recast.stages.targets.akida.lowering import ends, kernels, norms, pools, signals, transposed

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 2
RULES: tuple[Callable[[Graph], str], ...] = (
    *(
        norms.alone,
        pools.round_down,
        pools.averages,
        pools.padded_at_the_start,
        pools.own_convolution,
        pools.read_by_a_sum,
    ),
    *(kernels.square, transposed.doubling, pools.ending_in_an_average),
)
"""each rewrites the first node it can, and says what it did"""
MOST = 1000
"""rewritings of one model"""


@dataclass(frozen=True)
class Lowered:
    """A model that computes the same on a sample laid out otherwise."""

    model: onnx_files.Model
    layout: layouts.Layout
    done: tuple[str, ...]
    """what was rewritten, in words"""


def lower(model: onnx_files.Model, shape: tuple[int, ...], names: Mapping[str, str], threads: int) -> Lowered:
    """The model for samples of `shape`, rewritten; `names`: tensor -> layer. The model itself, if nothing needs it.

    Raises StageError if the rewritten model computes something else.
    """
    made = sized(model, shape)
    graph = Graph(made, names)
    done: list[str] = []
    output = str(made.graph.output[0].name)
    start: tuple[layouts.Step, ...] = ends.cut_start(graph)
    finish: tuple[layouts.Step, ...] = ()
    is_signal = signals.lift(Graph(made, names))
    if is_signal:
        done.append(f"signals of shape {shape} as maps of height 1")
        start = (*start, ("reshape", (shape[0], 1, shape[1])))
        gives = tuple(Graph(made, names).shapes.get(made.graph.output[0].name, ()))
        if len(gives) == 4:
            finish = (("reshape", gives[1:]), ("reshape", (gives[1], gives[3])))
    cut = ends.cut_finish(Graph(made, names))
    finish = (*cut, *finish[1:]) if cut else finish
    wanted = Graph(made, names).shapes[made.graph.output[0].name][1:]
    for _ in range(MOST):
        said = next(filter(None, (rule(Graph(made, names, signals=is_signal)) for rule in RULES)), "")
        if not said:
            break
        done.append(said)
    shapes = Graph(made, names).shapes
    takes, gives = (tuple(shapes[port.name][1:]) for port in (made.graph.input[0], made.graph.output[0]))
    if gives != wanted:
        # a layer that was put behind the last gives its values in fewer axes
        finish = (("reshape", gives), ("reshape", wanted), *finish)
    if not done and not start and not finish:
        return Lowered(model, layouts.Layout(shape, output=output), ())
    layout = layouts.Layout(takes, layouts.short(start), (*finish[:1], *layouts.short(finish[1:])), is_signal, output)
    _state_shapes(made, takes, gives)
    _check(model, made, layout, shape, threads)
    return Lowered(made, layout, tuple(done))


def _state_shapes(model: onnx_files.Model, takes: tuple[int, ...], gives: tuple[int, ...]) -> None:
    """For any number of samples."""
    del model.graph.value_info[:]
    for port, lengths in ((model.graph.input[0], takes), (model.graph.output[0], gives)):
        port.type.tensor_type.shape.ClearField("dim")
        port.type.tensor_type.shape.dim.add().dim_param = "batch"
        for length in lengths:
            port.type.tensor_type.shape.dim.add().dim_value = length


def _check(
    before: onnx_files.Model, after: onnx_files.Model, layout: layouts.Layout, shape: tuple[int, ...], threads: int
) -> None:
    """StageError where the rewritten model, with its layout, computes something else on random samples."""
    import numpy as np

    what = "the model as rewritten for Akida"
    onnx_files.check(after, what)
    x = np.random.default_rng(0).normal(0, 1, (SAMPLES, *shape)).astype(np.float32)
    expected = onnx_files.Session(before, threads).run(x)
    taken = np.ascontiguousarray(layouts.apply(x, layout.start))
    actual: NDArray[Any] = layouts.apply(onnx_files.Session(after, threads, what).run(taken), layout.finish)
    if actual.shape == expected.shape:
        error = float(np.abs(actual - expected).max(initial=0.0))
        if error <= rewritten.TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
            return
        found = f"a value differs by {error:.3g}"
    else:
        found = f"its outputs have shape {actual.shape}, not {expected.shape}"
    raise StageError(f"{what} computes something else: {found}", "this is a fault of Recast: report it with the model")
