"""Find the parts of a model that Akida takes: the largest first, as far as some tries tell.

What is tried are regions that read one tensor and give one (`regions`), those with most multiplications first. One that
is refused is cut where it is known to be at fault; where nothing is known of that, by a node at either end.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError, progress
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.akida import obstacles, prepared
from recast.stages.targets.akida.graph import Graph, sized
from recast.stages.targets.akida.hybrid import parts as parts_of
from recast.stages.targets.akida.hybrid.parts import Parts
from recast.stages.targets.akida.hybrid.regions import Cuttable, Region, Tensor
from recast.stages.targets.akida.inputs import Wanted
from recast.stages.targets.akida.lowering import lower
from recast.stages.targets.akida.prepared import Prepared

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

MOST_TRIES = 32
"""of a model"""
MOST_PARTS = 4
"""on Akida"""
LEAST_SHARE = 0.05
"""of the model's multiplications: a part with fewer is not worth the transfer"""
SAMPLES = 3
"""more than one, so that the axis of the batch shows"""


@dataclass
class Cut:
    """A model cut into parts, and what Akida's were made ready as."""

    graph: Cuttable
    parts: Parts | None
    akida: dict[str, Prepared] = field(default_factory=dict)
    """part -> how it is made ready"""
    tries: int = 0

    def write(self, out: Path, stated: Mapping[str, Any]) -> None:
        """parts.json, the remainder, what the parts on Akida read (`front.onnx`), and a folder for each of these.

        `stated`: of the recipe, for scheme.json.
        """
        assert self.parts is not None
        self.parts.write(out)
        for part in self.parts.onnx:
            onnx_files.write_model(parts_of.extracted(self.graph, part.reads, part.gives), out / part.file)
        inner = [part.reads[0] for part in self.parts.akida if part.reads[0] != self.parts.input]
        if inner:
            front = parts_of.extracted(self.graph, [self.parts.input], list(dict.fromkeys(inner)))
            onnx_files.write_model(front, out / parts_of.FRONT)
        for part in self.parts.akida:
            folder = out / part.name
            folder.mkdir()
            made = self.akida[part.name]
            made.write(folder, {**stated, **({} if part.gives == (self.parts.output,) else {"last_output_bits": None})})

    def metrics(self) -> dict[str, Any]:
        """Of `quantize`: counts over all parts on Akida, and the input of the one that reads the model's."""
        assert self.parts is not None
        each = [self.akida[part.name].metrics() for part in self.parts.akida]
        first = next((part for part in self.parts.akida if part.reads[0] == self.parts.input), None)
        of_first = self.akida[first.name].metrics() if first else {"input": "normalised", "input_type": "float32"}
        return {
            "nodes": sum(one["nodes"] for one in each),
            "rewritten": sum(one["rewritten"] for one in each),
            "input": of_first["input"],
            "input_type": of_first["input_type"],
            "inputs_tried": sum(one["inputs_tried"] for one in each),
            **self.parts.metrics(),
            "cuts_tried": self.tries,
        }


def search(
    model: onnx_files.Model,
    contract: Contract,
    names: Mapping[str, str],
    wanted: Wanted,
    threads: int,
    scratch: Path,
    reason: str,
    most_tries: int = MOST_TRIES,
) -> Cut:
    """The model in parts; without any on Akida if none of those tried is taken.

    `reason`: why the whole is not taken. Raises StageError for a model that takes a fixed number of samples.
    """
    tensors = _tensors(model, contract, threads)
    graph = Cuttable(model, tensors)
    called = Graph(model, names).called
    total = graph.macs(graph.live)
    cut = Cut(graph, None)
    found: list[tuple[Region, Prepared]] = []
    tried: set[Region] = set()
    heap: list[tuple[int, int, int, int, Region]] = []

    def push(within: Collection[int]) -> None:
        for region in graph.largest(within):
            macs = graph.macs(region.nodes)
            if region not in tried and macs > 0 and macs >= LEAST_SHARE * total:
                tried.add(region)
                heapq.heappush(heap, (-macs, -len(region.nodes), min(region.nodes), len(tried), region))

    push(graph.live)
    while heap and cut.tries < most_tries and len(found) < MOST_PARTS:
        *_, region = heapq.heappop(heap)
        taken = {index for one, _ in found for index in one.nodes}
        if taken & region.nodes:
            push(region.nodes - taken)
            continue
        if len(region.nodes) == len(graph.live):
            culprits = _at_fault(graph, region, names, threads)  # the whole: it is known to be refused
            _push_without(push, region, culprits)
            continue
        cut.tries += 1
        progress(f"try {len(region.nodes)} of {len(graph.live)} nodes", cut.tries, most_tries)
        of = _wanted(graph, region, wanted)
        try:
            made = prepared.prepare(
                parts_of.extracted(graph, [region.reads], [region.gives]),
                _contract(graph, region, contract),
                names,
                of,
                threads,
                scratch,
            )
        except StageError:
            _push_without(push, region, _at_fault(graph, region, names, threads))
            continue
        try:
            cut.parts = parts_of.arrange(graph, [*(one for one, _ in found), region], called, reason)
        except StageError:
            continue
        found.append((region, made))
    if cut.parts is not None:
        for part in cut.parts.akida:
            cut.akida[part.name] = next(made for region, made in found if region.gives in part.gives)
    return cut


def none_found(error: StageError, cut: Cut) -> StageError:
    """The refusal of a model of which Akida takes no part."""
    return StageError(
        f"{error.message}; nor does it take a part of the model that holds {LEAST_SHARE:.0%} of its multiplications "
        f"({cut.tries} tried)",
        *error.remedies,
    )


def _push_without(push: Callable[[Collection[int]], None], region: Region, culprits: Collection[int]) -> None:
    nodes = sorted(region.nodes)
    if culprits:
        push(region.nodes - set(culprits))
    elif len(nodes) > 1:
        push(region.nodes - {nodes[-1]})
        push(region.nodes - {nodes[0]})


def _at_fault(graph: Cuttable, region: Region, names: Mapping[str, str], threads: int) -> set[int]:
    """The nodes of a region that are known to be at fault, once it is rewritten for Akida; empty if none is."""
    model = parts_of.extracted(graph, [region.reads], [region.gives])
    shape = graph.tensors[region.reads].shape
    try:
        made = lower.lower(model, shape, names, threads)
        looked_at = Graph(sized(made.model, made.layout.takes), names, signals=made.layout.signals)
    except StageError:
        looked_at = Graph(sized(model, shape), names)
    found = [node for node, _ in obstacles.faulty(looked_at)]
    places = {graph.makers[name] for node in found for name in node.output if name in graph.makers}
    return places & region.nodes


def _wanted(graph: Cuttable, region: Region, wanted: Wanted) -> Wanted:
    """What the recipe says, as far as it concerns a part: of inputs the first, of the last output the last."""
    return replace(
        wanted,
        input=wanted.input if region.reads == graph.input else "auto",
        input_type=wanted.input_type if region.reads == graph.input else "auto",
        last_output_bits=wanted.last_output_bits if region.gives == graph.output else None,
    )


def _contract(graph: Cuttable, region: Region, contract: Contract) -> Contract:
    alone = Parts(graph.input, graph.output, (), {region.reads: graph.tensors[region.reads].shape}, "")
    part = parts_of.Part("model", "akida", (region.reads,), (region.gives,), (), 0)
    return alone.contract_of(part, contract)


def _tensors(model: onnx_files.Model, contract: Contract, threads: int) -> dict[str, Tensor]:
    """The tensors that hold a value for each sample, as a run on some samples shows them."""
    import numpy as np
    import onnx

    port = onnx_files.only_input(model, "the simplified model")
    if port.shape[:1] != (None,):
        raise StageError(
            "a model that takes a fixed number of samples cannot be cut into parts",
            "export it with a batch of any size",
            "set quantize.hybrid to false",
        )
    watched = type(model)()
    watched.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    # whole numbers may choose rows of a table: zero is always one
    spread = 1.0 if contract.only.is_float else 0.0
    given = np.random.default_rng(0).normal(0, spread, (SAMPLES, *contract.shape))
    x = given.astype(onnx_files.dtype_of(port))
    with foreign("onnxruntime cannot run the simplified model", "report it with the model"):
        session = onnx_session.start(watched.SerializeToString(), threads, "as_written", severity=4)
        made: Sequence[Any] = session.run(names, {port.name: x})
    return {
        name: Tensor(tuple(value.shape[1:]), onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
        for name, value in zip([port.name, *names], [x, *made], strict=True)
        if getattr(value, "ndim", 0) and len(value) == SAMPLES
    }
