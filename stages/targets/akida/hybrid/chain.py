"""The emitted folder of a model in parts, run as a whole: akida's software backend, and onnxruntime for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import runtime
from recast.stages.targets.akida.hybrid import parts as parts_of
from recast.stages.targets.akida.hybrid.parts import Part, Parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


@dataclass(frozen=True)
class OnAkida:
    """A part on Akida as it was emitted."""

    model: runtime.AkidaModel
    input: runtime.AkidaInput
    gives: tuple[int, ...]
    """shape of what it gives for a sample, once its channels come first"""

    def run(self, stored: NDArray[Any], normalised: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it gives for samples, of which it takes one or the other."""
        return runtime.given(self.model, self.input, self.gives, stored, normalised)

    def as_json(self) -> dict[str, Any]:
        """For parts.json."""
        from dataclasses import asdict

        return {"takes": asdict(self.input), "shape": self.gives}


class Chain:
    """The parts of an emitted folder, loaded."""

    def __init__(self, emitted: Path, threads: int) -> None:
        """`threads`: of onnxruntime; akida takes as many as it likes. StageError if the folder is damaged."""
        from recast.stages.common.dataset import read_contract

        self.contract: Contract = read_contract(emitted)
        raw = parts_of.read_json(emitted)
        self.parts: Parts = parts_of.of_json(raw, emitted)
        self.akida: dict[str, OnAkida] = {}
        self._sessions: dict[str, onnx_files.Session] = {}
        for part, said in zip(self.parts.parts, raw["parts"], strict=True):
            if part.kind == "onnx":
                self._sessions[part.name] = onnx_files.Session(emitted / part.file, threads, part.file)
                continue
            try:
                akida_input, gives = runtime.input_stated(said["takes"]), tuple(map(int, said["shape"]))
            except (ValueError, KeyError, TypeError) as error:
                raise StageError(f"cannot read {emitted.name}/{parts_of.PARTS}: {error!r}", "run emit again") from error
            self.akida[part.name] = OnAkida(runtime.load(emitted / part.file), akida_input, gives)

    @property
    def takes_stored(self) -> bool:
        """Whether a part takes samples as they are stored."""
        return any(one.input.values == "stored" for one in self.akida.values())

    def values(self, stored: NDArray[Any], normalised: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every tensor that parts hand on, by its name in the user's model, and the output."""
        return parts_of.run(
            self.parts, normalised, {part.name: self._runner(part, stored) for part in self.parts.parts}
        )

    def taken(self, stored: NDArray[Any], normalised: NDArray[Any]) -> list[tuple[NDArray[Any], runtime.AkidaModel]]:
        """What each part on Akida takes of samples, as akida takes it, and its model."""
        values = self.values(stored, normalised)
        return [
            (one.input.prepare(stored, values[part.reads[0]]), one.model)
            for part in self.parts.akida
            for one in [self.akida[part.name]]
        ]

    def predict(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Samples as stored (n, *shape) -> outputs (n, ...) as the ONNX model orders them."""
        found: NDArray[np.float32] = self.values(stored, self.contract.normalise(stored))[self.parts.output]
        return found

    def _runner(self, part: Part, stored: NDArray[Any]) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        if part.kind == "onnx":
            session = self._sessions[part.name]
            return lambda given: samples.named(session.run(samples.of(given)), session.outputs)
        one, (read,), (gives,) = self.akida[part.name], part.reads, part.gives
        # stored samples are taken by a part that reads the model's input alone
        return lambda given: {gives: one.run(stored, given[read])}


def predictor(emitted: Path, threads: int) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Samples as stored (n, *shape) -> outputs (n, ...), by the emitted folder, of parts or a whole."""
    return Chain(emitted, threads).predict if parts_of.are_in(emitted) else runtime.predictor(emitted)
