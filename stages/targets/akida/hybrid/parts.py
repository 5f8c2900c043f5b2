"""The parts of a model of which Akida runs some and onnxruntime the rest, and how they follow one another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.onnx_subgraphs import reads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract
    from recast.stages.targets.akida.hybrid.regions import Cuttable, Region

PARTS = "parts.json"
SCHEME = "scheme.json"
"""in the folder of a part on Akida, as `quantize` writes it of a whole model"""
FRONT = "front.onnx"
"""the float graph as far as parts on Akida read it"""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Part:
    """A part, which reads tensors of the user's model and gives others."""

    name: str
    """of its file, and of its folder in quantize/ and calibrate/"""
    kind: Literal["akida", "onnx"]
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    nodes: tuple[str, ...]
    """of the user's model, in running order: layer and operation"""
    macs: int
    """multiplications of one sample, as the float graph has them"""

    @property
    def file(self) -> str:
        """What it is emitted as."""
        return f"{self.name}.{'fbz' if self.kind == 'akida' else 'onnx'}"


@dataclass(frozen=True)
class Parts:
    """The parts in running order."""

    input: str
    output: str
    parts: tuple[Part, ...]
    shapes: Mapping[str, tuple[int, ...]]
    """of one sample of the tensors that parts read and give, but for the batch"""
    reason: str
    """why Akida does not take the model as a whole"""

    @property
    def akida(self) -> list[Part]:
        """Those on Akida."""
        return [one for one in self.parts if one.kind == "akida"]

    @property
    def onnx(self) -> list[Part]:
        """The remainder."""
        return [one for one in self.parts if one.kind == "onnx"]

    @property
    def transfers(self) -> list[tuple[str, str, str, int]]:
        """(tensor, part that gives it, part that reads it, bytes of one sample as float32), wherever Akida is one."""
        makers = {name: part for part in self.parts for name in part.gives}
        return [
            (name, makers[name].name, part.name, self.bytes_of(name))
            for part in self.parts
            for name in part.reads
            if name in makers and "akida" in (part.kind, makers[name].kind)
        ]

    def bytes_of(self, tensor: str) -> int:
        """Of one sample as float32, which is how parts hand it on."""
        import math

        return FLOAT_BYTES * math.prod(self.shapes[tensor])

    def metrics(self) -> dict[str, int | float]:
        """Of the cut."""
        on_akida, total = (sum(one.macs for one in of) for of in (self.akida, self.parts))
        return {
            "parts": len(self.parts),
            "akida_parts": len(self.akida),
            "nodes_on_akida": sum(len(one.nodes) for one in self.akida),
            "nodes_in_onnx": sum(len(one.nodes) for one in self.onnx),
            "macs_share_on_akida": round(on_akida / total, 6) if total else 0.0,
            "transfers": len(self.transfers),
            "transfer_bytes": sum(size for *_, size in self.transfers),
        }

    def as_json(self) -> dict[str, Any]:
        """For parts.json."""
        return {
            "input": self.input,
            "output": self.output,
            "reason": self.reason,
            "shapes": self.shapes,
            "parts": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "file": one.file,
                    "reads": one.reads,
                    "gives": one.gives,
                    "nodes": one.nodes,
                    "macs": one.macs,
                }
                for one in self.parts
            ],
        }

    def write(self, directory: Path, more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """parts.json; `more`: part -> what else is said of it."""
        raw = self.as_json()
        for one in raw["parts"]:
            one.update((more or {}).get(one["name"], {}))
        (directory / PARTS).write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")

    def contract_of(self, part: Part, contract: Contract) -> Contract:
        """Of the samples of a part on Akida: the model's own where it reads its input, else floats as they are."""
        from recast.stages.common.dataset import Contract as Made
        from recast.stages.common.dataset import Input

        (read,) = part.reads
        if read == self.input:
            return contract
        return Made(contract.dataset, (Input(read, self.shapes[read], "float32"),), task={"name": "none"})


def are_in(directory: Path) -> bool:
    """Whether the folder of a stage holds parts, and no whole model."""
    return (directory / PARTS).is_file()


def read(directory: Path) -> Parts:
    """What `write` wrote; StageError if it is damaged."""
    return of_json(read_json(directory), directory)


def read_json(directory: Path) -> Any:
    """parts.json as it stands; StageError if it cannot be read."""
    try:
        return json.loads((directory / PARTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"cannot read {directory.name}/{PARTS}: {error}", onnx_files.MADE_AGAIN) from error


_KINDS: Mapping[str, Literal["akida", "onnx"]] = {"akida": "akida", "onnx": "onnx"}


def of_json(raw: Any, directory: Path) -> Parts:
    """The parts that parts.json states; StageError if it is damaged."""
    try:
        found = tuple(
            Part(
                _plain_name(one["name"]),
                _KINDS[one["kind"]],
                tuple(map(str, one["reads"])),
                tuple(map(str, one["gives"])),
                tuple(map(str, one["nodes"])),
                int(one["macs"]),
            )
            for one in raw["parts"]
        )
        shapes = {str(name): tuple(map(int, shape)) for name, shape in raw["shapes"].items()}
        return Parts(str(raw["input"]), str(raw["output"]), found, shapes, str(raw["reason"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"cannot read {directory.name}/{PARTS}: {error!r}", onnx_files.MADE_AGAIN) from error


def _plain_name(name: Any) -> str:
    # a damaged file names no path outside its folder
    if not isinstance(name, str) or not name.replace("_", "").isalnum():
        raise ValueError(f"{name!r} names no part")
    return name


def run(
    parts: Parts, given: NDArray[Any], runs: Mapping[str, Callable[[dict[str, Any]], Mapping[str, Any]]]
) -> dict[str, Any]:
    """Every tensor that a part reads or gives, for normalised samples; `runs`: part -> what it makes of what it reads.

    A part is given what it reads, by name, and gives what it gives.
    """
    values: dict[str, Any] = {parts.input: given}
    for part in parts.parts:
        values.update(runs[part.name]({name: values[name] for name in part.reads}))
    return values


def arrange(graph: Cuttable, regions: Sequence[Region], called: Callable[[Any], str], reason: str) -> Parts:
    """The parts: these regions on Akida, and all else in as few parts of ONNX as can be; `called`: of a node.

    A node of the remainder runs as early as it can: in the part before the first region if it needs none of them.
    """
    owner = {index: number for number, region in enumerate(regions) for index in region.nodes}
    after: dict[int, int] = {}
    """live node -> the round of the remainder in which it runs, or of a region that before which it runs"""

    def earliest(name: str) -> int:
        if name == graph.input:
            return 0
        maker = graph.makers[name]
        return after[maker] + (1 if maker in owner else 0)

    for index in graph.live:
        if index in owner:
            read = regions[owner[index]].reads
            # a region behind another one, with nothing between, still runs after it
            after[index] = earliest(read)
        else:
            after[index] = max((earliest(name) for name in graph.read_by(index)), default=0)
    rounds = sorted(set(after.values()))
    groups: list[tuple[Literal["akida", "onnx"], list[int]]] = []
    for one in rounds:
        rest = [index for index in graph.live if index not in owner and after[index] == one]
        groups += [("onnx", rest)] if rest else []
        of_round = [sorted(region.nodes) for region in regions if after[min(region.nodes)] == one]
        groups += [("akida", nodes) for nodes in sorted(of_round)]
    most = max((nodes for kind, nodes in groups if kind == "akida"), key=graph.macs, default=[])
    counts = {"akida": 1, "onnx": 0}
    parts: list[Part] = []
    for kind, nodes in groups:
        if nodes is most:
            name = "model"
        else:
            counts[kind] += 1
            name = f"{'model' if kind == 'akida' else 'remainder'}_{counts[kind]}"
        made = [name for index in nodes for name in graph.nodes[index].output if name]
        needed = {one for index in nodes for one in graph.read_by(index)} - set(made)
        others = {one for index in graph.live if index not in set(nodes) for one in graph.read_by(index)}
        gives = tuple(one for one in made if one in others or one == graph.output)
        order = [graph.input, *graph.makers]
        parts.append(
            Part(
                name,
                kind,
                tuple(one for one in order if one in needed),
                gives,
                tuple(called(graph.nodes[index]) for index in nodes),
                graph.macs(nodes),
            )
        )
    used = {name for part in parts for name in (*part.reads, *part.gives)}
    if lost := sorted(used - set(graph.tensors)):
        raise StageError(
            f"the model cannot be cut there: {lost[0]!r}, which parts would hand on, has no value for each sample",
            "compute it of shapes that are fixed",
        )
    shapes = {name: tensor.shape for name, tensor in graph.tensors.items() if name in used}
    return Parts(graph.input, graph.output, tuple(parts), shapes, reason)


def extracted(graph: Cuttable, read: Sequence[str], gives: Sequence[str]) -> onnx_files.Model:
    """What makes the tensors `gives` of the tensors `read`, as a model for any number of samples."""
    import onnx

    model = graph.model
    wanted: set[str] = set()
    pending = list(gives)
    while pending:
        name = pending.pop()
        if name in wanted or name in read:
            continue
        wanted.add(name)
        if name in graph.makers:
            pending += [one for one in reads(graph.nodes[graph.makers[name]]) if one]
    nodes = [node for node in model.graph.node if wanted.intersection(node.output)]
    needed = {name for node in nodes for name in reads(node)}
    made = type(model)()
    made.CopyFrom(model)
    for name in ("node", "initializer", "sparse_initializer", "input", "output", "value_info"):
        made.graph.ClearField(name)
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(one for one in model.graph.initializer if one.name in needed)
    made.graph.sparse_initializer.extend(one for one in model.graph.sparse_initializer if one.values.name in needed)
    for ports, names in ((made.graph.input, read), (made.graph.output, gives)):
        of = [(name, graph.tensors[name]) for name in names]
        ports.extend(onnx.helper.make_tensor_value_info(name, one.kind, ["batch", *one.shape]) for name, one in of)
    onnx_files.drop_unused_domains(made)
    return made
