"""The int8 forms that the onnxruntime target can make, side by side in one run: time, error and size.

    .venv/bin/python benchmarks/onnxruntime_int8.py [--rounds 12] [--runs 20] [--data-root downloads ...] [--json]

Four models: CIFAR-10 ResNet-20 (with its pretrained weights if a data root has them, else random ones), the MNIST CNN,
a MobileNet-like block and LeNet; random weights for those three. Of each the float model and five int8 forms, made by
the target's own stages. One thread, batch 1. In every round each form has its turn; a time is the fastest of all
rounds, and ratios are those of the fastest: what the machine disturbed least. The signal to noise ratio is that of the
scores against the float model's, on the calibration samples.

Where there is qemu-x86_64 (Debian: qemu-user), the scores are computed once more on an emulated processor with AVX2 and
without VNNI, and compared: "same" means that not one bit differs. Its times would mean nothing.

Environments are built if they are not there. With --json the last line is one JSON object: model -> form -> ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from rich.console import Console
from rich.table import Table

from recast.pipeline.processes import environments

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
PROCESSOR = "Haswell"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="how often each form of a model has its turn")
    parser.add_argument("--runs", type=int, default=20, help="inferences in a turn")
    parser.add_argument("--data-root", action="append", default=[], help="where cifar10-resnet20/ may lie")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as folder:
        weights = script([], "torch", "webassembly/exported.py", folder, *options.data_root)
        measured = json.loads(script([], "onnx", "int8_forms.py", folder, str(options.rounds), str(options.runs)))
        same = without_vnni(folder)
    show(measured, same, weights)
    if options.json:
        ratios = {
            model: {form: round(each["ms"] / forms["float"]["ms"], 3) for form, each in forms.items()}
            for model, forms in measured.items()
        }
        print(json.dumps(ratios))


def script(before: list[str], environment: str, name: str, *arguments: str) -> str:
    """The last line that a script of this folder prints, run by an environment's Python."""
    python = str(environments.ensure(ROOT, environment, lambda text: print(text, flush=True)).python)
    command = [*before, python, str(HERE / name), *arguments]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def without_vnni(folder: str) -> dict[str, bool]:
    """MODEL.FORM -> whether its scores are those of this processor; nothing without the emulator."""
    emulator = shutil.which("qemu-x86_64")
    if platform.machine() != "x86_64" or emulator is None:
        return {}
    same: dict[str, bool] = json.loads(script([emulator, "-cpu", PROCESSOR], "onnx", "int8_forms.py", folder))
    return same


def show(measured: dict[str, dict[str, Any]], same: dict[str, bool], weights: str) -> None:
    """Print a table for each model."""
    for model, forms in measured.items():
        title = f"{model} ({weights} weights)" if model == "resnet20" else model
        table = Table(title, "fastest, ms", "ratio", "SNR, dB", "bytes", "without VNNI")
        for form, each in forms.items():
            name = f"{model}.{form}"
            # float kernels differ in the last digits
            told = "" if form == "float" else {None: "not looked at", True: "same", False: "differs"}[same.get(name)]
            ratio = f"{each['ms'] / forms['float']['ms']:.2f}"
            snr = f"{each['snr']:.1f}" if each["snr"] is not None else ""
            table.add_row(form, f"{each['ms']:.3f}", ratio, snr, f"{each['bytes']:,}", told)
        Console(width=max(100, Console().width)).print(table)


if __name__ == "__main__":
    main()
