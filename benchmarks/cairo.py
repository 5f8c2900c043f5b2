"""What an inference costs in Cairo, and how fast the project's Cairo VM is beside StarkWare's, in one run.

    .venv/bin/python benchmarks/cairo.py [--samples 3] [--repeats 3] [--json]

Emits Giza's MLP (196-10-10, 14x14 images) and LeNet-5 (28x28) in FP16x16, compiles both with StarkWare's compilers,
runs random images on the project's VM, and compares every output with the mirror in integers. The weights are random,
as PyTorch initialises a layer: steps depend on a network's shape, and only through how many sums fit into one felt on
its weights. Steps and memory cells are shown for each layer, with the steps for each multiply-accumulate; the MLP is
run on both VMs in turns, and the fastest of the repeats is shown. It runs in the `cairo` environment, which it builds
if need be. With --json the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "src"))

BYTECODE_LIMIT = 180_000
FORMAT = "FP16x16"


@dataclass(frozen=True)
class Network:
    """A chain of nodes (operation, attributes, shape of its weights), and what the model's input ranges over."""

    title: str
    shape: tuple[int, ...]
    low: float
    high: float
    nodes: tuple[tuple[str, dict[str, Any], tuple[int, ...]], ...]


def dense(outputs: int, inputs: int) -> tuple[str, dict[str, Any], tuple[int, ...]]:
    return "Gemm", {"transB": 1}, (outputs, inputs)


POOL: tuple[str, dict[str, Any], tuple[int, ...]] = ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, ())
RELU: tuple[str, dict[str, Any], tuple[int, ...]] = ("Relu", {}, ())
FLATTEN: tuple[str, dict[str, Any], tuple[int, ...]] = ("Flatten", {"axis": 1}, ())
MLP = Network(
    "MLP 196-10-10", (1, 14, 14), 0.0, 1.0,
    (FLATTEN, dense(10, 196), RELU, dense(10, 10), ("LogSoftmax", {"axis": 1}, ())),
)  # fmt: skip
LENET = Network(
    # MNIST normalised with mean 0.1307 and standard deviation 0.3081
    "LeNet-5", (1, 28, 28), -0.1307 / 0.3081, (1 - 0.1307) / 0.3081,
    (
        ("Conv", {"pads": [2, 2, 2, 2]}, (6, 1, 5, 5)), RELU, POOL,
        ("Conv", {}, (16, 6, 5, 5)), RELU, POOL, FLATTEN,
        dense(120, 400), RELU, dense(84, 120), RELU, dense(10, 84),
    ),
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=3, help="random images run on the VM and compared")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the MLP on each VM; the fastest is shown")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    if importlib.util.find_spec("starkware") is None:
        start_again_in_the_environment()
    from recast.stages.targets.cairo.run import fast_vm

    figures: dict[str, Any] = {}
    exact = True
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as temporary:
        place = Path(temporary)
        vm = fast_vm.build(ROOT / "stages/targets/cairo/run/csrc", place / "vm")
        for key, network in (("mlp", MLP), ("lenet", LENET)):
            measured, equal = measure(network, vm, place / key, options.samples, options.repeats, network is MLP)
            exact &= equal
            figures |= {f"{key}_{name}": value for name, value in measured.items()}
    figures["bit_exact"] = exact
    print(
        f"\nevery output of both on {options.samples} images is the mirror's, bit for bit: {'yes' if exact else 'NO'}"
    )
    if options.json:
        print(json.dumps(figures))


def start_again_in_the_environment() -> None:
    from recast.pipeline.processes import environments

    environment = environments.ensure(ROOT, "cairo", lambda text: print(text, flush=True))
    os.execv(environment.python, [str(environment.python), str(Path(__file__)), *sys.argv[1:]])


def measure(
    network: Network, vm: Path, place: Path, samples: int, repeats: int, beside_starkware: bool
) -> tuple[dict[str, Any], bool]:
    """Print the network's table; its figures, and whether the VM and the mirror agree on every output."""
    import numpy as np

    from recast.stages.targets.cairo.codegen import input_text, layers, workspace_text
    from recast.stages.targets.cairo.ir.fixed_point import parse_format
    from recast.stages.targets.cairo.passes import interpreter, onnx_import, range_analysis
    from recast.stages.targets.cairo.run import fast_vm, profile, reference_vm, toolchain
    from recast.stages.targets.cairo.syntax.casm import signed

    fmt = parse_format(FORMAT)
    program = onnx_import.read(onnx_model(network), fmt)
    bounds = range_analysis.run(program, int(fmt.raw(network.low)), int(fmt.raw(network.high)))
    emission = layers.write_layers(program, bounds, BYTECODE_LIMIT)
    for path, text in {**workspace_text.files(emission), "src/input.cairo": input_text.text([0])}.items():
        (place / "workspace" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "workspace" / path).write_text(text, encoding="utf-8")
    casm = toolchain.compile_workspace(place / "workspace", place / "build")
    images = np.random.default_rng(1).uniform(network.low, network.high, (samples, *network.shape))
    raw = fmt.raw(images)
    calls = [[*image.ravel().tolist(), *emission.call_data()] for image in raw]
    executions = fast_vm.run_each(vm, casm, calls)
    expected = interpreter.run(program, raw)[program.output].reshape(samples, -1).tolist()
    exact = [[signed(felt) for felt in one.result] for one in executions] == expected
    worst = max(executions, key=lambda one: one.steps)
    print(f"\n{network.title}, {FORMAT}, random weights: {casm.bytecode_felts} felts of bytecode")
    per_product = print_layers(profile.by_layer(casm, worst), multiplications(network, program))
    runs: dict[str, Callable[[], object]] = {"ours": lambda: fast_vm.run(vm, casm, calls[0])}
    if beside_starkware:
        runs["StarkWare's"] = lambda: reference_vm.run(casm, calls[0])
        exact &= reference_vm.run(casm, calls[0]) == executions[0]
    times = fastest(runs, repeats)
    print("seconds on the VM: " + ", ".join(f"{name} {taken:.3f}" for name, taken in times.items()), end="")
    figures: dict[str, Any] = {
        "steps": worst.steps,
        "steps_per_mac": round(per_product, 3),
        "bytecode_felts": casm.bytecode_felts,
        "range_checks": worst.range_checks,
        "memory_cells": worst.memory_cells,
        "weights_in_call_data": len(emission.call_data()),
        "vm_seconds": round(times["ours"], 4),
    }
    if beside_starkware:
        figures["vm_speedup"] = round(times["StarkWare's"] / times["ours"], 1)
        print(f" ({figures['vm_speedup']} times as long)", end="")
    print()
    return figures, exact


def onnx_model(network: Network) -> Any:
    """The network with random weights, as PyTorch initialises them: uniform within 1 / sqrt(fan-in)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for index, (operation, attributes, shape) in enumerate(network.nodes):
        names = [last]
        for part, size in (("weight", shape), ("bias", shape[:1])) if shape else ():
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            values = rng.uniform(-bound, bound, size).astype(np.float32)
            names.append(f"{part}{index}")
            weights.append(numpy_helper.from_array(values, names[-1]))
        last = f"t{index}"
        nodes.append(helper.make_node(operation, names, [last], f"{operation.lower()}{index}", **attributes))
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *network.shape]),
        helper.make_tensor_value_info(last, TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def multiplications(network: Network, program: Any) -> list[int]:
    """Multiply-accumulates of each node that has weights, in running order: outputs times weights of one output."""
    shapes = [shape for _, _, shape in network.nodes if shape]
    outputs = [program.size(node.output) for node in program.nodes if "weight" in node.constants]
    return [count * math.prod(shape[1:]) for count, shape in zip(outputs, shapes, strict=True)]


def print_layers(costs: Mapping[str, tuple[int, int]], products: Sequence[int]) -> float:
    """The table of layers; all steps over all multiply-accumulates. The layers with weights are those of `products`."""
    left = list(products)
    rows = [(name, *cost, left.pop(0) if is_weighted(name) else 0) for name, cost in costs.items()]
    assert not left, "a layer with weights is not in the profile"
    total, cells = (sum(column) for column in zip(*costs.values(), strict=True))
    rows.append(("all", total, cells, sum(products)))
    print(f"{'layer':<24} {'steps':>9} {'cells':>9} {'products':>9} {'steps each':>10}")
    for name, steps, new, macs in rows:
        print(f"{name:<24} {steps:>9} {new:>9} {macs or '':>9} {f'{steps / macs:.2f}' if macs else '':>10}")
    return total / sum(products)


def is_weighted(layer: str) -> bool:
    return layer.startswith(("gemm", "conv"))


def fastest(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: min(taken) for name, taken in times.items()}


if __name__ == "__main__":
    main()
