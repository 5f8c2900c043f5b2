"""ONNX's backend node tests through Recast's stages: how many come out right, how many are refused, and why.

    .venv/bin/python benchmarks/onnx_node_tests.py [--every N] [--only TEXT] [--json]

Each test becomes a classifier of one sample at a time: its first input, flattened, is the sample, every other one is a
weight; its first output, as float32 and flattened, is the scores. It goes through `import`, `simplify`,
and then int8 by the stages of onnxruntime (without `min_agreement`: one sample is no share) and float32 by those of c,
whose code is compiled and run. One is

    right     c: equal to onnxruntime on the imported network to 1e-3; int8: above 10 dB of signal to noise
    lossy     int8 keeps less than that, though no layer is to blame (docs/parity.md)
    refused   a stage says what it cannot do, or the test has no such input or output; each reason is printed once
    wrong     anything else that came out
    crashed   an exception that is no stage's error

Exits with 1 if any is wrong or crashed. All of them take an hour or more on two cores: --every 10 runs a tenth.
Environments are built if they are not there. With --json the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from benchmarks import outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("onnxruntime", "c")
LARGEST_ERROR = 1e-3
LEAST_DB = 10.0
MOST_SCORES = 5000


def main() -> None:
    """Run the tests and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="run one in so many")
    parser.add_argument("--only", default="", help="run tests whose name holds this")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        environment, place = options.worker
        run = onnx_stages if environment == "onnx" else c_stages
        for outcome in run(Path(place), options.every, options.only):
            print(json.dumps({"outcome": outcome.as_json()}), flush=True)
        return
    found: list[outcomes.Outcome] = []
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as place:
        for environment in ("onnx", "wasm"):
            for outcome in worker(environment, place, options.every, options.only):
                found.append(outcome)
                if outcome.kind in ("wrong", "crashed"):
                    print(f"{outcome.target} {outcome.kind} {outcome.network}: {outcome.reason}", flush=True)
    outcomes.show(found)
    if options.json:
        print(json.dumps(outcomes.figures(found)))
    sys.exit(outcomes.failed(found))


def worker(environment: str, place: str, every: int, only: str) -> Iterator[outcomes.Outcome]:
    """What comes of the tests in one of Recast's environments."""
    from recast.pipeline.processes import environments

    python = environments.ensure(ROOT, environment, lambda text: print(text, file=sys.stderr, flush=True)).python
    command = [str(python), __file__, "--worker", environment, place, "--every", str(every), "--only", only]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        (Path(place) / f"{environment}.log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"outcome"'):  # the stages' own events stand between
                yield outcomes.Outcome(**json.loads(line)["outcome"])
    if process.returncode:
        sys.exit(f"the worker in {environment} ended with {process.returncode}; the end of its log:\n" + tail(log.name))


def tail(path: str) -> str:
    return "\n".join(Path(path).read_text(errors="replace").splitlines()[-20:])


# -- networks


@dataclass(frozen=True)
class Network:
    """A test as a classifier: `x` float32 (1, features) -> scores (1, classes)."""

    name: str
    model: Any
    x: NDArray[Any]
    classes: int


def tests(every: int, only: str) -> list[Any]:
    """ONNX's node tests, in the order of their names."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, over values the tests choose on purpose
        cases = [case for case in collect_testcases(None) if case.model is not None and only in case.name]
    return sorted(cases, key=lambda case: str(case.name))[::every]


def network(case: Any) -> Network:
    """The test as a network; StageError, as a recipe's author would find out, for one that is none."""
    import numpy as np
    import onnx

    from recast.stages.base import StageError

    given, made = case.data_sets[0]
    arrays = [np.asarray(value) if isinstance(value, np.ndarray | np.generic) else None for value in (*given, *made)]
    x, y = (arrays[0], arrays[len(given)]) if given and made else (None, None)
    if x is None or y is None or any(array is None for array in arrays):
        raise StageError("no tensor, but a sequence, a map or an optional value, goes in or comes out")
    if x.dtype != np.float32 or not x.size:
        raise StageError("the first input is no float32, or empty")
    if not y.size or y.size > MOST_SCORES:
        raise StageError(f"the first output is empty, or has more than {MOST_SCORES} numbers")
    if y.dtype.kind not in "fiub" or y.dtype.itemsize > 8:
        raise StageError(f"the first output is {y.dtype}")
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    # what is put around the node is of ONNX's own domain, and weights are no inputs from IR version 4 on
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", 18))
    model.ir_version = max(4, model.ir_version)
    for value, array in zip(graph.input[1:], arrays[1 : len(given)], strict=True):
        graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    first, last = graph.input[0].name, graph.output[0].name
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array(x.shape, np.int64), "recast_shape"),
            onnx.numpy_helper.from_array(np.array([1, -1]), "recast_scores_shape"),
        ]
    )
    node, port = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph.node.insert(0, node("Reshape", ["recast_sample", "recast_shape"], [first], "recast_input"))
    graph.node.append(node("Cast", [last], ["recast_float"], "recast_cast", to=onnx.TensorProto.FLOAT))
    graph.node.append(node("Reshape", ["recast_float", "recast_scores_shape"], ["recast_scores"], "recast_flatten"))
    graph.input.append(port("recast_sample", onnx.TensorProto.FLOAT, [1, x.size]))
    graph.output.append(port("recast_scores", onnx.TensorProto.FLOAT, [1, y.size]))
    return Network(case.name, model, x.reshape(1, -1), y.size)


# -- stages


def stage(name: str, folder: Path, target: str = "", files: dict[str, Path] | None = None, **params: Any) -> Any:
    """Run a registered stage below the network's folder, where its inputs lie beside it or in the trunk."""
    from recast.stages import registry
    from recast.stages.base import Inputs

    loaded = registry.load(name)
    out = folder / target / name.rpartition(".")[2]
    out = out.with_name("export") if name == "import" else out
    scratch = out.with_name(f"{out.name}.scratch")
    for made in (out, scratch):
        made.mkdir(parents=True)
    places = {one: folder / target / one if (folder / target / one).is_dir() else folder / one for one in loaded.inputs}
    loaded.run(
        loaded.params(**params), Inputs(places, files=files or {}, sources=loaded.source_paths, scratch=scratch), out
    )
    return out


def onnx_stages(place: Path, every: int, only: str) -> Iterator[outcomes.Outcome]:
    """The trunk, all of onnxruntime, and what of c needs no compiler; a refusal by the trunk is one of both targets."""
    for case in tests(every, only):
        folder = place / case.name
        trunk = outcomes.judge("", case.name, lambda case=case, folder=folder: into(folder, network(case)))
        if trunk.kind != "right":
            for target in TARGETS:
                yield outcomes.Outcome(target, case.name, trunk.kind, trunk.reason)
            continue
        yield outcomes.judge("onnxruntime", case.name, lambda folder=folder: by_onnxruntime(folder))
        prepared = outcomes.judge("c", case.name, lambda folder=folder: prepare_c(folder))
        if prepared.kind != "right":
            yield prepared


def into(folder: Path, made: Network) -> None:
    """The data and the trunk."""
    import numpy as np
    import onnx

    from recast.stages.common.dataset import Contract, Input

    data = folder / "data"
    data.mkdir(parents=True)
    classes = tuple(f"class {number}" for number in range(made.classes))
    Contract("node test", (Input("x", made.x.shape[1:], "float32"),), classes).write(data)
    for split in ("test", "calibration"):
        np.savez(data / f"{split}.npz", x=made.x, y=np.zeros(len(made.x), np.int64))
    onnx.save(made.model, folder / "model.onnx")
    stage("import", folder, files={"path": folder / "model.onnx"}, path="model.onnx")
    stage("simplify", folder)


def by_onnxruntime(folder: Path) -> None:
    """quantize, calibrate, emit and verify; what came out against the float network."""
    from recast.stages.base import StageError
    from recast.stages.common import reference
    from recast.stages.common.onnx_models import onnx_files
    from recast.stages.parity.metrics import difference

    for name in ("quantize", "calibrate", "emit"):
        stage(f"onnxruntime.{name}", folder, "onnxruntime")
    try:
        verified = stage("onnxruntime.verify", folder, "onnxruntime", min_agreement=None)
    except StageError as error:
        if "computes something else" in error.message:  # what a comparison finds is no refusal
            raise outcomes.WrongError(error.message) from error
        raise
    x, expected = reference.read(folder / "export/reference.safetensors")
    found = onnx_files.Session(folder / "onnxruntime/emit/model.onnx", 1).run(x)
    kept = difference(expected, found).sqnr_db
    if kept >= LEAST_DB:
        return
    report = json.loads((verified / "parity.json").read_text(encoding="utf-8"))
    blamed = [conversion["blamed"] for conversion in report["conversions"] if conversion["blamed"]]
    if blamed:
        raise outcomes.WrongError(f"int8 keeps {kept:.1f} dB, and {blamed[0]} is to blame")
    raise outcomes.LossyError(f"int8 keeps {kept:.1f} dB")


def prepare_c(folder: Path) -> None:
    """What of c runs in the environment of onnxruntime."""
    stage("wasm.quantize", folder, "c")
    stage("wasm.calibrate", folder, "c")
    (folder / "c.ready").touch()


def c_stages(place: Path, every: int, only: str) -> Iterator[outcomes.Outcome]:
    """emit and verify of c for what the other worker prepared."""
    for ready in sorted(place.glob("*/c.ready")):
        folder = ready.parent
        yield outcomes.judge("c", folder.name, lambda folder=folder: in_c(folder))


def in_c(folder: Path) -> None:
    """emit and verify; what the compiled code gives against the float network."""
    import numpy as np

    from recast.stages.common import reference
    from recast.stages.targets.c import runtime

    x, expected = reference.read(folder / "export/reference.safetensors")
    emitted = stage("c.emit", folder, "c", batch=len(x))
    stage("c.verify", folder, "c", min_agreement=None)
    scratch = folder / "c/scores"
    scratch.mkdir()
    found = runtime.scorer(emitted, scratch)(x)
    error = float(np.abs(found - expected).max()) / (float(np.abs(expected).max()) or 1.0)
    if not error <= LARGEST_ERROR:
        raise outcomes.WrongError(f"off by {error:.2g} of the largest score")


if __name__ == "__main__":
    main()
