"""Random classifiers through a target's stages: right, or refused in words for users, and nothing else."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.trunk import import_onnx, simplify
from recast.stages.trunk.rewrites import folding
from tests.lib.contracts import contract as contract_of
from tests.lib.onnx_models import Workplace
from tests.lib.random_classifiers import OPSETS, RandomClassifier

SAMPLES = 37
"""of each split, the same ones, so that they lie in the ranges that calibrate finds; no batch divides their number"""
TARGET_STAGES = ("quantize", "calibrate", "emit", "verify")
UNFIT = re.compile(
    r"\b\w+(?:Error|Exception)\b|Traceback|\x1b|site-packages|\[ONNXRuntimeError\]|\.(?:cc|cpp|rs|py)\b|\w::\w|0x[0-9a-f]{6}"
)
"""what a message to a user does not hold: names of exceptions and functions, colours, places in sources"""


@dataclass(frozen=True)
class Target:
    """How the chain runs a target."""

    name: str
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limit: float = 0.0
    """largest error of a score, relative to the largest score, that passes as right"""
    opsets: tuple[int, ...] = OPSETS
    prepared_by: str = ""
    """the target whose quantize and calibrate it uses, if not its own"""
    square: bool = False
    """models are stacks of convolutions with square windows"""
    operations: frozenset[str] | None = None
    """those of which four of five models are made; all, if it knows most"""


@dataclass(frozen=True)
class Outcome:
    """`refused` is the message and its remedy, empty if the model went through; `stage` is the last one that ran."""

    stage: str
    refused: str = ""
    error: float = 0.0


def through(target: Target, seed: int, root: Path, last: str = "verify", with_tool: bool = False) -> Outcome:
    """Import, simplify and the target's stages, to `last`.

    `with_tool`: simplified by onnxsim or onnxslim, which only the `onnx` environment has.

    Raises AssertionError for a score that is wrong and for a message unfit for users; other exceptions as they come.
    """
    given = RandomClassifier(
        seed, target.opsets, target.operations if seed % 5 else None, target.square and seed % 5 > 0
    )
    _write_data(given, root / "data", stored_as_bytes=seed % 3 == 0)
    work = Workplace(root)
    model = root / "given.onnx"
    model.write_bytes(given.model().SerializeToString())
    stage = "import"
    try:
        work.run(import_onnx.STAGE, "export", {"path": model}, path=model.name)
        stage = "simplify"
        if with_tool:
            work.run(simplify.STAGE, "simplify", tool=("onnxsim", "onnxslim")[seed % 2])
        else:
            _simplify_as_onnxruntime(root)
        for stage in TARGET_STAGES[: TARGET_STAGES.index(last) + 1]:
            by = target.prepared_by if target.prepared_by and stage in ("quantize", "calibrate") else target.name
            module = importlib.import_module(f"recast.stages.targets.{by}.{stage}")
            metrics = work.run(module.STAGE, stage, **target.params.get(stage, {}))
    except StageError as error:
        said = f"{error.message} | {error.remedy}"
        assert not UNFIT.search(said), f"{stage}: not for users: {said}"
        assert error.message.strip() and error.remedy.strip(), f"{stage}: no remedy: {said}"
        assert stage != "verify" or "computes something else" not in said, f"a right layer is blamed: {said}"
        return Outcome(stage, said)
    if stage != "verify":
        return Outcome(stage)
    largest = _largest_score(root)
    error = metrics["max_abs_error"] / (largest or 1.0)
    assert error <= target.limit, f"wrong: a score is off by {error:.3g} of the largest, {largest:.3g}"
    return Outcome(stage, error=error)


def _write_data(given: RandomClassifier, folder: Path, stored_as_bytes: bool) -> None:
    folder.mkdir(parents=True)
    classes = tuple(str(label) for label in range(given.classes))
    if stored_as_bytes:
        contract = contract_of("random", given.shape, "uint8", 255.0, (0.5,), (0.25,), classes)
    else:
        contract = contract_of("random", given.shape, "float32", 1.0, (0.0,), (1.0,), classes)
    contract.write(folder)
    x = given.samples(SAMPLES)
    stored = (x * 60 + 128).clip(0, 255).astype(np.uint8) if stored_as_bytes else x
    for split in ("train", "test", "calibration"):
        np.savez(folder / f"{split}.npz", x=stored, y=np.arange(SAMPLES) % given.classes)


def _simplify_as_onnxruntime(root: Path) -> None:
    """Where no simplifier is installed: onnxruntime's basic optimisation folds constants as well."""
    import onnxruntime

    (root / "simplify").mkdir()
    model = onnx_files.with_constant_weights(onnx_files.read_model(root / "export" / "model.onnx"))
    folding.fold(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(root / "simplify" / "model.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = onnx_files.read_model(root / "simplify" / "model.onnx")
    folding.fold(made)
    onnx_files.drop_unused_domains(made)
    onnx_files.write_model(made, root / "simplify" / "model.onnx")


def _largest_score(root: Path) -> float:
    from recast.stages.common import dataset

    x, _ = dataset.read(root / "data", "test")
    return float(np.abs(onnx_files.Session(root / "simplify" / "model.onnx", threads=1).run(x)).max())
