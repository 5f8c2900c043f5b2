"""Run the emitted folder: every layer on its sampled activations, and the whole model on samples."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.parity.forms.form import Arrays, Given
from recast.stages.targets.zml.project import WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LINE = re.compile(r"layer (\S+): (?:error (\S+)|(shape .*?)) (agrees|DIFFERS)")


@dataclass(frozen=True)
class LayerResult:
    """What the test said of one layer: its largest error, or how its shape is wrong."""

    name: str
    error: float
    fault: str
    agrees: bool


def test_layers(program: Path, emitted: Path) -> list[LayerResult]:
    """Run the emitted test, in the emitted folder; results in the order the layers finish.

    Raises StageError if the program stops before its end, naming the layer it was at, and the first that differed.
    """
    done = subprocess.run([str(program)], cwd=emitted, capture_output=True, text=True, errors="replace", check=False)
    sys.stderr.write(done.stderr)
    results = [
        LayerResult(name, float(error or "inf"), fault or "", verdict == "agrees")
        for name, error, fault, verdict in _LINE.findall(done.stderr)
    ]
    if not re.search(r"^\d+ of \d+ layers differ$", done.stderr, re.MULTILINE):
        # a shape that is wrong stops whatever reads it
        wrong = next((f"; layer {one.name} differs before that" for one in results if not one.agrees), "")
        raise StageError(f"the emitted test stopped: {_stopped(done.stderr)}{wrong}", "see the log")
    return results


def predictor(program: Path, emitted: Path, scratch: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Samples as stored (n, *shape) -> outputs (n, ...), with the contract in the emitted folder."""
    from recast.stages.common.dataset import read_contract

    contract = read_contract(emitted)
    score = scorer(program, emitted, scratch)
    return lambda stored: score(contract.normalise(stored))


def scorer(program: Path, emitted: Path, scratch: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model's input (n, *shape) -> outputs (n, ...), by the contract; StageError if the program stops."""
    import numpy as np

    from recast.stages.common.dataset import read_contract

    scores = scratch / "scores.f32"
    shape = [length or 1 for length in read_contract(emitted).outputs[0].shape]

    def score(x: NDArray[Any]) -> NDArray[np.float32]:
        _start(program, "predict", emitted, _written(scratch / "input.safetensors", {"input": x}), scores)
        return np.fromfile(scores, np.float32).reshape(len(x), *shape)

    return score


def observer(program: Path, emitted: Path, scratch: Path) -> Callable[[NDArray[Any], Given], Arrays]:
    """The model's input (n, *shape), and what to put in place of results -> every float result with a batch axis.

    Results go by the names `instrument` gives them, in the order they are made. StageError if the
    program stops.
    """
    from safetensors.numpy import load_file

    results = scratch / "results.safetensors"

    def observe(x: NDArray[Any], given: Given) -> Arrays:
        files = [_written(scratch / "input.safetensors", {"input": x}), results]
        if given:
            files.append(_written(scratch / "given.safetensors", given))
        _start(program, "layers", emitted, *files)
        return dict(load_file(results))

    return observe


def _written(path: Path, tensors: Given) -> Path:
    import numpy as np
    from safetensors.numpy import save

    # tokens stay whole numbers, which an embedding asks for
    kinds = {name: np.int64 if value.dtype.kind in "iu" else np.float32 for name, value in tensors.items()}
    path.write_bytes(save({name: np.ascontiguousarray(value, kinds[name]) for name, value in tensors.items()}))
    return path


def _start(program: Path, verb: str, emitted: Path, *files: Path) -> None:
    command = [str(part) for part in (program, verb, emitted / WEIGHTS, *files)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise StageError(f"the emitted model stopped: {_stopped(done.stderr)}", "see the log")


def _stopped(output: str) -> str:
    """What a program that panicked said, with the layer it was at."""
    at = re.findall(r"layer (\S+): (?!error|shape)", output)
    said = re.search(r"panic: (.+)|^error: (.+)", output, re.MULTILINE)
    message = next((part for part in said.groups() if part), "") if said else "no message"
    return f"layer {at[-1]}: {message}" if at else message
