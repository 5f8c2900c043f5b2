"""Proofs on request, for `recast serve`: what is answered are the scores a proof states, and the proof."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.serving.model import Answer, Means, ServedModel
from recast.stages.targets.ezkl.circuit.network import output_shape
from recast.stages.targets.ezkl.keys import keys
from recast.stages.targets.ezkl.proof import proof_file, samples
from recast.stages.targets.ezkl.proof.prover import Prover

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load(emitted: Path, means: Means) -> ServedModel:
    """The circuit of the emitted folder. One sample at a time; StageError if its keys cannot be had.

    Neither the input nor the witness outlives the request.
    """
    import numpy as np

    from recast.stages.common.dataset import read_contract

    keys.require_circuit(emitted, emitted.parent.name)
    prover = Prover(emitted, means.local, means.threads, memory_gib=means.memory_gib)
    black_and_white, shape = samples.is_black_and_white(emitted), output_shape(emitted)

    def prove(stored: NDArray[Any]) -> Answer:
        (sample,) = stored
        if black_and_white:
            sample = samples.black_and_white(sample, False, "the input")
        made = prover.prove(sample)
        scores = None if made.scores is None else np.array(made.scores, np.float32).reshape(1, *shape)
        return Answer(scores, {"proof": {"format": proof_file.FORMAT, **asdict(made.proof)}})

    return ServedModel(read_contract(emitted), "stored", prove, at_once=1, keeps_to_memory=True)
