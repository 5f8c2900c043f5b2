"""What EZKL's proofs cost: the settings of its tutorial against Recast's, on the same networks.

    .venv/bin/python benchmarks/ezkl.py [--small] [--repeats N] [--json]

Runs on what `recast run mnist_mlp_ezkl lenet_ezkl` has made. For each network both circuits are set up and proved in
turn, with as many threads as the machine has cores. The tutorial leaves the scale (2 or 7), the decomposition and the
rows to EZKL's calibration for `resources`; Recast's are those the recipe was calibrated to. Time is that of the call
(and its processor time, for machines on which something else runs), memory the most its process held, the error the
largest of a score on 100 test images, against onnxruntime.
LeNet takes about five minutes and 5 GB of memory; --small leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "src"))

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.targets.ezkl.process.calls import Ezkl

RECIPES = {"mlp": "mnist_mlp_ezkl", "lenet": "lenet_ezkl"}
FIGURES = (
    "setup_seconds",
    "prove_seconds",
    "prove_cpu_seconds",
    "peak_bytes",
    "key_bytes",
    "proof_bytes",
    "max_abs_error",
    "agreement",
)
SAMPLES = 100
Figures = dict[str, float]


def main() -> None:
    """Measure in the environment that has EZKL, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the MLP alone")
    parser.add_argument("--repeats", type=int, default=1, help="how often each is set up and proved; the best counts")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--measure", metavar="NETWORK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(ROOT / "artifacts" / RECIPES[options.measure], options.repeats)))
        return
    networks = ["mlp"] if options.small else list(RECIPES)
    for network in networks:
        if not (ROOT / "artifacts" / RECIPES[network] / "ezkl" / "calibrate").is_dir():
            sys.exit(f"run first: ./recast run {RECIPES[network]}")
    figures = {network: in_environment(network, options.repeats) for network in networks}
    show(figures)
    if options.json:
        print(json.dumps({key: round(value, 4) for key, value in summary(figures).items()}))


def summary(figures: dict[str, dict[str, Figures]]) -> dict[str, float]:
    """Ratios of ours over theirs, and our error."""
    found: dict[str, float] = {}
    for network, sides in figures.items():
        ours, theirs = sides["recast"], sides["tutorial"]
        found[f"{network}_setup_time"] = ours["setup_seconds"] / theirs["setup_seconds"]
        found[f"{network}_prove_time"] = ours["prove_seconds"] / theirs["prove_seconds"]
        found[f"{network}_prove_cpu_time"] = ours["prove_cpu_seconds"] / theirs["prove_cpu_seconds"]
        found[f"{network}_peak_memory"] = ours["peak_bytes"] / theirs["peak_bytes"]
        found[f"{network}_key_size"] = ours["key_bytes"] / theirs["key_bytes"]
        found[f"{network}_max_abs_error"] = ours["max_abs_error"]
        found[f"{network}_max_abs_error_tutorial"] = theirs["max_abs_error"]
    return found


def show(figures: dict[str, dict[str, Figures]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("network", "measured", "recast", "tutorial", "ratio")
    for network, sides in figures.items():
        for name in ("logrows", *FIGURES):
            ours, theirs = sides["recast"][name], sides["tutorial"][name]
            table.add_row(network, name, f"{ours:,.4g}", f"{theirs:,.4g}", f"{ours / theirs:.3f}" if theirs else "")
    Console(width=max(100, Console().width)).print(table)


def in_environment(network: str, repeats: int) -> dict[str, Figures]:
    """What `--measure` prints, run by the environment's Python."""
    from recast.pipeline.processes import environments

    python = environments.ensure(ROOT, "ezkl", lambda text: print(text, file=sys.stderr)).python
    command = [str(python), str(Path(__file__).resolve()), "--measure", network, "--repeats", str(repeats)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    found: dict[str, dict[str, Figures]] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(artifacts: Path, repeats: int) -> dict[str, Figures]:
    """Both circuits of one network, in turn."""
    from recast.stages.common import dataset
    from recast.stages.targets.ezkl.process.calls import Ezkl

    x, _ = dataset.read(artifacts / "data", "test")
    (ROOT / ".recast").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".recast") as folder:
        place = Path(folder)
        ezkl = Ezkl(place, os.cpu_count() or 1)
        circuits = {"recast": place / "recast", "tutorial": place / "tutorial"}
        for circuit in circuits.values():
            circuit.mkdir()
        for name in ("network.onnx", "settings.json"):
            shutil.copyfile(artifacts / "ezkl" / "calibrate" / name, circuits["recast"] / name)
        as_in_the_tutorial(artifacts, circuits["tutorial"], ezkl)
        reference = artifacts / "ezkl" / "quantize" / "network.onnx"
        found = {name: fidelity(circuit, reference, x[:SAMPLES], ezkl) for name, circuit in circuits.items()}
        for _ in range(repeats):
            for name, circuit in circuits.items():
                for figure, value in once(circuit, x[0], ezkl).items():
                    found[name][figure] = min(value, found[name].get(figure, value))
    return found


def as_in_the_tutorial(artifacts: Path, circuit: Path, ezkl: Ezkl) -> None:
    """Settings as EZKL's tutorial for LeNet has them made."""
    from recast.stages.common import dataset
    from recast.stages.targets.ezkl.circuit import settings
    from recast.stages.targets.ezkl.circuit.network import write_samples

    x, _ = dataset.read(artifacts / "data", "calibration")
    network, raw = circuit / settings.NETWORK, circuit / "raw.json"
    shutil.copyfile(artifacts / "ezkl" / "quantize" / settings.NETWORK, network)
    visibility = {"input_visibility": "private", "param_visibility": "fixed", "output_visibility": "public"}
    ezkl("gen_settings", model=str(network), output=str(raw), py_run_args=visibility)
    data = write_samples(x[:20], circuit / "calibration.json")
    arguments: dict[str, Any] = {"model": str(network), "settings": str(raw), "data": str(data)}
    ezkl("calibrate_settings", **arguments, target="resources", scales=[2, 7])
    # as EZKL wrote them: Recast's own would leave something out
    raw.replace(circuit / settings.FILE)


def fidelity(circuit: Path, reference: Path, x: NDArray[np.float32], ezkl: Ezkl) -> Figures:
    """Compile the circuit, and compare it with the network in onnxruntime."""
    import numpy as np

    from recast.stages.common.onnx_models import onnx_files
    from recast.stages.targets.ezkl.circuit import settings
    from recast.stages.targets.ezkl.circuit.network import forward
    from recast.stages.targets.ezkl.keys import keys

    keys.compile_circuit(circuit, circuit / keys.COMPILED, ezkl)
    found = settings.read(circuit / settings.FILE)
    actual = forward(ezkl, circuit / keys.COMPILED, found, x, expected=60)
    expected = onnx_files.Session(reference, 1).run(x)
    return {
        "logrows": found.logrows,
        "max_abs_error": float(np.abs(actual - expected).max()),
        "agreement": float((actual.argmax(1) == expected.argmax(1)).mean()),
    }


def once(circuit: Path, x: NDArray[np.float32], ezkl: Ezkl) -> Figures:
    """Set up and prove."""
    from recast.stages.targets.ezkl.circuit import settings
    from recast.stages.targets.ezkl.circuit.network import write_samples
    from recast.stages.targets.ezkl.keys import keys, srs
    from recast.stages.targets.ezkl.process.calls import Call, TimeLimits
    from recast.stages.targets.ezkl.proof import proof_file, prover

    store = ROOT / ".recast" / "local"
    logrows = settings.read(circuit / settings.FILE).logrows
    made = keys.Keys(circuit / keys.COMPILED, circuit / keys.PROVING_KEY, place_of(store, logrows))
    srs.insecure(store, logrows)
    setup = keys.setup(circuit, made, circuit / keys.VERIFICATION_KEY, ezkl)
    witness, written = circuit / "witness.json", circuit / "proof.json"
    prover.find_witness(ezkl, write_samples(x[None], circuit / "input.json"), made.compiled, witness)
    arguments = {
        "witness": str(witness),
        "model": str(made.compiled),
        "pk_path": str(made.proving),
        "proof_path": str(written),
        "srs_path": str(made.srs),
    }
    answer = ezkl.run([Call("prove", arguments)], "EZKL's prove", TimeLimits(200))
    key_bytes = made.proving.stat().st_size
    made.proving.unlink()  # two at once would fill the page cache, which is the other's
    return {
        "setup_seconds": setup,
        "prove_seconds": answer.seconds,
        "prove_cpu_seconds": answer.cpu_seconds,
        "peak_bytes": answer.peak_bytes,
        "key_bytes": key_bytes,
        "proof_bytes": len(proof_file.from_ezkl(written, "", True).content),
    }


def place_of(store: Path, logrows: int) -> Path:
    """Where the insecure SRS of that size lies, or will."""
    return store / "srs" / f"insecure-{logrows}.srs"


if __name__ == "__main__":
    main()
