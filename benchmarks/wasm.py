"""Our WebAssembly modules against onnxruntime-web and native onnxruntime, side by side in one run.

    .venv/bin/python benchmarks/wasm.py [--rounds 12] [--runs 40] [--cold 5] [--data-root downloads ...] [--json]

Four models: CIFAR-10 ResNet-20 (with its pretrained weights if a data root has them, else random ones), the MNIST
CNN, a MobileNet-like block and LeNet; random weights for those three. Seven forms of each: our module with SIMD, the
same without Winograd, one without SIMD, one from the int8 model; onnxruntime-web's fp32 and int8; native onnxruntime.
One thread each, batch 1. In every round each form of a model runs in turn, `--runs` times; the table shows the median
and the fastest of all rounds, and ratios are those of the fastest: what the machine disturbed least. Ours are called
through the emitted client, onnxruntime-web through its `session.run`.

A cold start is a fresh Node process: read the files, load the runtime, instantiate, infer once. Bytes are what a
browser downloads, uncompressed: for us module and client, for onnxruntime-web its script, its loader, its wasm and the
model. The SIMD128 peak is a loop of multiplications and additions in registers, measured in the same Node.

Needs Node and npm: onnxruntime-web is fetched into .recast/ the first time. Environments are built if they are not
there. With --json the last line is one JSON object; each ratio is ours over onnxruntime-web's fp32, on ResNet-20.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from rich.console import Console
from rich.table import Table

from recast.pipeline.processes import environments

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent / "webassembly"
ORT_WEB = "1.30.0"
FORMS = ("SIMD", "no Winograd", "no SIMD", "int8", "onnxruntime-web", "onnxruntime-web int8", "native onnxruntime")
STARTED = ("SIMD", "no SIMD", "int8", "onnxruntime-web")
SIZED = (*STARTED, "onnxruntime-web int8")
MODELS = ("resnet20", "mnist_cnn", "mobilenet", "lenet")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="how often each form of a model has its turn")
    parser.add_argument("--runs", type=int, default=40, help="inferences in a turn")
    parser.add_argument("--cold", type=int, default=5, help="cold starts of each")
    parser.add_argument("--data-root", action="append", default=[], help="where cifar10-resnet20/ may lie")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    ort_web = fetch_ort_web()
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as temporary:
        place = Path(temporary)
        variants, weights, work = make_models(place, options.data_root)
        times, outputs = measure(place, variants, ort_web, options.rounds, options.runs)
        cold = {form: cold_starts(place, variants["resnet20", form], ort_web, options.cold) for form in STARTED}
        sizes = {form: download(variants["resnet20", form], ort_web) for form in SIZED}
        errors = {name: largest_error(place, name, outputs) for name in MODELS}
        peak = simd_peak(place)
    show(times, cold, sizes, errors, weights)
    show_peak(times, work, peak)
    if options.json:
        print(json.dumps(figures(times, cold, sizes, errors) | node_tests()))


def figures(
    times: dict[tuple[str, str], list[float]],
    cold: dict[str, list[float]],
    sizes: dict[str, int],
    errors: dict[str, float],
) -> dict[str, float]:
    """What --json prints."""
    fastest = {form: min(times["resnet20", form]) for form in FORMS}
    values = {
        "resnet20_fp32": fastest["SIMD"] / fastest["onnxruntime-web"],
        "resnet20_int8": fastest["int8"] / fastest["onnxruntime-web"],
        "cold_start": min(cold["SIMD"]) / min(cold["onnxruntime-web"]),
        "bytes": sizes["SIMD"] / sizes["onnxruntime-web"],
    }
    return {name: round(value, 4) for name, value in values.items()} | {"max_abs_error": max(errors.values())}


# -- what is measured


def fetch_ort_web() -> Path:
    """The folder with onnxruntime-web's files, fetched by npm if it is not there."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        sys.exit("benchmarks/wasm.py needs Node and npm (Debian: apt-get install nodejs npm)")
    place = ROOT / ".recast" / f"onnxruntime-web-{ORT_WEB}"
    files = place / "node_modules" / "onnxruntime-web" / "dist"
    if not files.is_dir():
        print(f"fetching onnxruntime-web {ORT_WEB} into {place.relative_to(ROOT)}", flush=True)
        command = [npm, "install", "--prefix", str(place), "--ignore-scripts", f"onnxruntime-web@{ORT_WEB}"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            shutil.rmtree(place, ignore_errors=True)
            sys.exit(f"npm could not fetch onnxruntime-web {ORT_WEB}:\n{result.stderr}")
    return files


def python(environment: str) -> str:
    """The interpreter of one of Recast's environments, which is built if need be."""
    return str(environments.ensure(ROOT, environment, lambda text: print(text, flush=True)).python)


def script(environment: str, name: str, *arguments: str) -> str:
    """The last line that a script of benchmarks/webassembly prints."""
    command = [python(environment), str(HERE / name), *arguments]
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{name} failed:\n{result.stderr}")
    return result.stdout.strip().splitlines()[-1]


def make_models(
    place: Path, data_roots: list[str]
) -> tuple[dict[tuple[str, str], dict[str, Any]], str, dict[str, float]]:
    """(model, form) -> what models.mjs and native.py load; which weights ResNet-20 has; model -> operations."""
    print("making the models", flush=True)
    weights = script("torch", "exported.py", str(place), *data_roots)
    shapes = json.loads(script("onnx", "int8_models.py", str(place)))
    work = json.loads(script("wasm", "compiled.py", str(place)))
    suffix = {"SIMD": "wasm", "no Winograd": "direct.wasm", "no SIMD": "nosimd.wasm", "int8": "int8.wasm"}
    variants = {}
    for name in MODELS:
        for form in FORMS:
            kind = "module" if form in suffix else "onnxruntime-web" if "web" in form else "native"
            file = f"{name}.{suffix.get(form, 'int8.onnx' if 'int8' in form else 'onnx')}"
            variants[name, form] = {
                "name": f"{name}/{form.replace(' ', '-')}",
                "kind": kind,
                "path": str(place / file),
                "input": str(place / f"{name}.input.bin"),
                "shape": shapes[name],
                "contract": str(place / f"{name}.contract.json"),
            }
    return variants, weights, work


# -- measuring


@contextmanager
def worker(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, list[float]]]]:
    """A process that times models on request, and its models' outputs."""
    environment = {**os.environ, **ONE_THREAD}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, json.loads(line_of(process))["outputs"]
    finally:
        process.kill()
        process.wait()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{process.args} ended")
    return line


def ask(process: subprocess.Popen[str], name: str, runs: int) -> list[float]:
    """Milliseconds of each of the runs of one model."""
    assert process.stdin
    process.stdin.write(f"{name} {runs}\n")
    process.stdin.flush()
    times: list[float] = json.loads(line_of(process))
    return times


def measure(
    place: Path, variants: dict[tuple[str, str], dict[str, Any]], ort_web: Path, rounds: int, runs: int
) -> tuple[dict[tuple[str, str], list[float]], dict[str, list[float]]]:
    """(model, form) -> milliseconds of every run, and the output of every form by its name."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in variants}
    in_node = [variant for variant in variants.values() if variant["kind"] != "native"]
    natively = [variant for variant in variants.values() if variant["kind"] == "native"]
    (place / "node.json").write_text(json.dumps(in_node))
    (place / "native.json").write_text(json.dumps(natively))
    commands = {
        "node": ["node", str(HERE / "latency.mjs"), str(place / "node.json"), str(ort_web)],
        "native": [python("onnx"), str(HERE / "native.py"), str(place / "native.json")],
    }
    print("measuring", flush=True)
    with ExitStack() as stack:
        workers = {kind: stack.enter_context(worker(command)) for kind, command in commands.items()}
        for turn in range(rounds):
            for name in MODELS:
                # each form comes first in turn: what runs after another finds the caches as that left them
                for form in FORMS[turn % len(FORMS) :] + FORMS[: turn % len(FORMS)]:
                    variant = variants[name, form]
                    process, _ = workers["native" if variant["kind"] == "native" else "node"]
                    times[name, form] += ask(process, variant["name"], runs)
        outputs = {name: values for _, found in workers.values() for name, values in found.items()}
    return times, outputs


def cold_starts(place: Path, variant: dict[str, Any], ort_web: Path, count: int) -> list[float]:
    """Milliseconds from the start of a script to the first output, in processes of their own."""
    (place / "variant.json").write_text(json.dumps(variant))
    command = ["node", str(HERE / "cold_start.mjs"), str(place / "variant.json"), str(ort_web)]
    return [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(count)]


def download(variant: dict[str, Any], ort_web: Path) -> int:
    """Bytes a browser needs."""
    size = Path(variant["path"]).stat().st_size
    if variant["kind"] == "module":
        return size + (ROOT / "stages/targets/wasm/clients/model.js").stat().st_size
    needed = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    return size + sum((ort_web / file).stat().st_size for file in needed)


def largest_error(place: Path, name: str, outputs: dict[str, list[float]]) -> float:
    """Largest difference of our fp32 modules' outputs from PyTorch's."""
    import array

    wanted = array.array("f", (place / f"{name}.output.bin").read_bytes())
    ours = [outputs[f"{name}/{form}"] for form in ("SIMD", "no-SIMD")]
    return max(abs(a - b) for values in ours for a, b in zip(values, wanted, strict=True))


def simd_peak(place: Path) -> float:
    """GFLOP/s of SIMD128 here, in Node."""
    module = place / "peak.wasm"
    flags = ["-target", "wasm32-freestanding", "-nostdlib", "-O3", "-msimd128", "-Wl,--no-entry"]
    zig = [python("wasm"), "-m", "ziglang", "cc"]
    subprocess.run([*zig, *flags, "-o", str(module), str(HERE / "peak.c")], check=True)
    printed = subprocess.run(
        ["node", str(HERE / "peak.mjs"), str(module)], capture_output=True, text=True, check=True
    ).stdout
    return float(printed)


def node_tests() -> dict[str, int]:
    """How many of the ONNX project's node tests our modules pass and fail."""
    command = [python("wasm"), "-m", "tests.lib.onnx_c.node_tests", "--json"]
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if not result.stdout.strip():
        sys.exit(f"the node tests did not run:\n{result.stderr}")
    counts: dict[str, int] = json.loads(result.stdout.strip().splitlines()[-1])
    return {key: counts[key] for key in ("node_tests_passed", "node_tests_failed")}


# -- what is shown


def show(
    times: dict[tuple[str, str], list[float]],
    cold: dict[str, list[float]],
    sizes: dict[str, int],
    errors: dict[str, float],
    weights: str,
) -> None:
    """Print the tables."""
    console = Console(width=max(110, Console().width))
    table = Table("milliseconds, median / fastest (ratio of the fastest)", *MODELS)
    for form in FORMS:
        cells = []
        for name in MODELS:
            taken, theirs = times[name, form], min(times[name, "onnxruntime-web"])
            cells.append(f"{statistics.median(taken):.3f} / {min(taken):.3f} ({min(taken) / theirs:.2f})")
        table.add_row(form, *cells)
    console.print(table)
    first = Table(f"ResNet-20 ({weights} weights)", "cold start, ms, median / fastest", "bytes to download")
    for form in SIZED:
        taken = cold.get(form)
        start = f"{statistics.median(taken):.1f} / {min(taken):.1f}" if taken else "–"
        first.add_row(form, start, f"{sizes[form]:,}")
    console.print(first)
    console.print("largest error against PyTorch: " + ", ".join(f"{name} {errors[name]:.1e}" for name in MODELS))


def show_peak(times: dict[tuple[str, str], list[float]], work: dict[str, float], peak: float) -> None:
    """Print what share of the SIMD128 peak the fp32 modules reach."""
    title = f"of the SIMD128 peak, {peak:.1f} GFLOP/s"
    table = Table(title, "MFLOP", "GFLOP/s without Winograd", "share", "with it", "in direct operations")
    for name in MODELS:
        direct, winograd = (work[name] / min(times[name, form]) / 1e6 for form in ("no Winograd", "SIMD"))
        shares = (f"{rate / peak:.0%}" for rate in (direct, winograd))
        table.add_row(name, f"{work[name] / 1e6:.1f}", f"{direct:.1f}", next(shares), f"{winograd:.1f}", next(shares))
    Console(width=max(110, Console().width)).print(table)
    print("Operations are those of the direct convolution: Winograd's needs fewer, and may pass the peak in them.")


if __name__ == "__main__":
    main()
