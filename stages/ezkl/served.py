"""Proofs on request, for `recast serve`: what is answered are the scores a proof states, and the proof."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.ezkl import keys, proof, proving, samples
from stages.serving.model import Answer, Means, ServedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load(emitted: Path, means: Means) -> ServedModel:
    """The circuit of the emitted folder. One sample at a time; StageError if its keys cannot be had.

    Neither the input nor the witness outlives the request.
    """
    import numpy as np

    from stages.dataset import read_contract

    keys.require_circuit(emitted, emitted.parent.name)
    black_and_white = samples.is_black_and_white(emitted)

    def prove(stored: NDArray[Any]) -> Answer:
        (sample,) = stored
        if black_and_white:
            sample = samples.black_and_white(sample, False, "the input")
        made = proving.prove(emitted, means.local, sample, threads=means.threads, memory_gib=means.memory_gib)
        scores = None if made.scores is None else np.array([made.scores], np.float32)
        return Answer(scores, {"proof": {"format": proof.FORMAT, **asdict(made.proof)}})

    return ServedModel(read_contract(emitted), "stored", prove, at_once=1, keeps_to_memory=True)
