"""How much memory stages take for data of growing size, beside the pages of files, which the system may drop.

    python benchmarks/data_memory.py [--megabytes 32 128 512] [--kind npz] [--json]

Run it in the `torch` environment. For each size it writes data of that size to disk, grey images of 64x64 pixels, and
runs `data`, `train`, `calibrate` and `verify` (onnxruntime, int8), each in a process of its own. Shown is the peak of
the process's anonymous memory (RssAnon of proc(5), looked at every few milliseconds) less that before the stage began,
with its imports done, in MiB. A tenth of the samples calibrates, a third is for test. With --kind python the samples
come from a sequence that is read one by one; with images, from a folder of PNG files. With --json the last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402

SIDE, MIB = 64, 2**20
STAGES = ("data", "train", "export", "quantize", "calibrate", "emit", "verify")
SHOWN = ("data", "train", "calibrate", "verify")
NETS = """\
import numpy as np
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 2)
        )

    def forward(self, x):
        return self.layers(x)


class Images:
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        if number >= self.count:
            raise IndexError
        return np.random.default_rng(number).integers(0, 256, (1, 64, 64)).astype(np.uint8), number % 2


def samples(path):
    return Images(int(path.read_text()))
"""


def write(root: Path, kind: str, megabytes: int) -> None:
    """The data and the model, in the folder of a project."""
    count = megabytes * MIB // SIDE**2
    (root / "nets.py").write_text(NETS)
    if kind == "python":
        (root / "own").write_text(str(count))
        return
    random = np.random.default_rng(0)
    if kind == "images":
        from PIL import Image

        for number in range(count):
            path = root / f"own/{number % 2}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)).save(path, compress_level=0)
        return
    from recast.stages.common import npz_files

    def images(part: slice) -> Any:
        return random.integers(0, 256, (part.stop - part.start, 1, SIDE, SIDE)).astype(np.uint8)

    labels = np.arange(count) % 2
    x, y = npz_files.Written(count, images), npz_files.Written(count, lambda part: labels[part])
    npz_files.write(root / "own", {"x": x, "y": y})


def run_stage(root: Path, name: str, kind: str) -> float:
    """Run one stage, after those before it; the peak of its memory in MiB."""
    import torch  # noqa: F401  what a warm worker has imported

    from recast.stages.base import Inputs, ModelReference, ProjectCode
    from recast.stages.common.onnx_models import onnx_session  # noqa: F401
    from recast.stages.targets.onnxruntime import calibrate, emit, quantize, verify
    from recast.stages.trunk import data, export, train

    sys.path.insert(0, str(root))
    stage: Any = {
        **{"data": data, "train": train, "export": export},
        **{"quantize": quantize, "calibrate": calibrate, "emit": emit, "verify": verify},
    }[name].STAGE
    model = ModelReference(name="nets:Net")
    given: dict[str, dict[str, Any]] = {
        "data": {"npz": {"dataset": "npz", "path": "own"}, "images": {"dataset": "image_folder", "path": "own"}}.get(
            kind, {"dataset": "python", "path": "own", "function": "nets:samples"}
        ),
        "train": {"model": model, "epochs": 1, "batch_size": 64, "resources": {"cpu": 1}},
        "export": {"model": model},
        "verify": {"min_agreement": 0},
    }
    if name == "data":
        given["data"] |= {"test_fraction": 0.33, "calibration_samples": int((root / "calibration").read_text())}
    out, scratch = root / name, root / f"{name}.scratch"
    out.mkdir()
    scratch.mkdir()
    directories = {key: root / key for key in stage.inputs}
    files = {"path": root / "own"} if name == "data" else {}
    inputs = Inputs(directories, files, sources=stage.source_paths, scratch=scratch, project=ProjectCode(root))
    params, before, peak, stopped = stage.params(**given.get(name, {})), held(), held(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stopped.wait(0.003):
            peak = max(peak, held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    stage.run(params, inputs, out)
    stopped.set()
    watcher.join()
    if name == "export":  # the simplifier is of another environment
        shutil.copytree(out, root / "simplify")
    return (peak - before) / MIB


def held() -> int:
    """Bytes of this process's memory that are no page of a file."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not say RssAnon")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[32, 128, 512], help="sizes of the data")
    parser.add_argument("--kind", choices=("npz", "python", "images"), default="npz", help="where samples come from")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--stage", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        name, folder = options.stage
        print(f"peak {run_stage(Path(folder), name, options.kind)}")
        return
    rows: dict[int, dict[str, float]] = {}
    print(f"| MiB of data | {' | '.join(SHOWN)} |\n|---|{'---|' * len(SHOWN)}")
    for megabytes in options.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), options.kind, megabytes)
            (Path(folder) / "calibration").write_text(str(megabytes * MIB // SIDE**2 // 10))
            rows[megabytes] = {name: measured(name, folder, options.kind) for name in STAGES}
        print(f"| {megabytes} | {' | '.join(f'{rows[megabytes][name]:.0f}' for name in SHOWN)} |", flush=True)
    if options.json:
        print(json.dumps({"kind": options.kind, "time": time.time(), "peak_mib": rows}))


def measured(name: str, folder: str, kind: str) -> float:
    command = [sys.executable, __file__, "--stage", name, folder, "--kind", kind]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return float(done.stdout.rpartition("peak ")[2])


if __name__ == "__main__":
    main()
