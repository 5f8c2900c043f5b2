"""Forty kinds of networks that people ship to devices, through every target: right, refused with a reason, or wrong.

    .venv/bin/python benchmarks/networks.py [--network NAME ...] [--target NAME ...] [--keep FOLDER] [--json]

The networks are those of `zoo.py`: small, of random weights (their BatchNorms with the statistics of random data), with
data as arrays: images, signals, tables, tokens and masks; one input or several, one output or several. Each has a
recipe, from `train: {weights: ...}` to every target's `verify`, run by `recast run` in a copy of this repository. A
target that `recast check` refuses is taken out of the recipe and counted as refused. One is

    right     every form computes what the form before does: no layer is blamed (docs/parity.md)
    lossy     the same, but int8 or fixed point costs more than 20 dB leave: `recast blame` names the layer
    refused   `recast check` or a stage says what it cannot do, and what to do instead; each reason is printed once
    wrong     another function came out, or the outputs differ by what no layer accounts for
    crashed   a stage broke off without saying what to do

Exits with 1 if any is wrong or crashed. ezkl is left out unless it is named: a proof of each takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "src"))

from benchmarks.outcomes import Outcome, failed, figures, show  # noqa: E402 - needs the path set above
from benchmarks.torchvision_models import compared, make_repository, refusal  # noqa: E402 - as above

TARGETS = ("onnxruntime", "c", "wasm", "akida", "cairo", "zml", "ezkl")
USUAL = TARGETS[:-1]
COUNT = 96
"""samples of each"""
IMAGE = {"x": ("image", (3, 32, 32))}
GREY = {"x": ("image", (1, 32, 32))}
TABLE = {"x": ("float", (8,))}

NETWORKS: dict[str, tuple[str, dict[str, tuple[str, tuple[int, ...]]]]] = {
    "KeywordSpotting": ("classification 12", {"x": ("float", (1, 49, 10))}),
    "VisualWakeWords": ("classification 2", {"x": ("image", (3, 48, 48))}),
    "ResNet8": ("classification 10", IMAGE),
    "AnomalyDetection": ("reconstruction", {"x": ("float", (128,))}),
    "DetectionHead": ("detection", IMAGE),
    "ClassAndBox": ("classification 5", {"image": ("image", (3, 32, 32))}),
    "UNet": ("segmentation 3", IMAGE),
    "AgeRegression": ("regression 1", IMAGE),
    "FaceEmbedding": ("embedding 8", IMAGE),
    "VisionTransformer": ("classification 10", IMAGE),
    "SuperResolution": ("none", {"x": ("image", (1, 16, 16))}),
    "StyleTransfer": ("none", IMAGE),
    "Depth": ("none", IMAGE),
    "Keypoints": ("none", IMAGE),
    "Denoiser": ("reconstruction", GREY),
    "MobileNetV3Block": ("classification 10", IMAGE),
    "ConvNeXtBlock": ("classification 10", IMAGE),
    "ShuffleNetUnit": ("classification 10", IMAGE),
    "Mixer": ("classification 10", IMAGE),
    "MultiLabel": ("multilabel 6", IMAGE),
    "SiameseImages": ("none", {"left": ("image", (1, 32, 32)), "right": ("image", (1, 32, 32))}),
    "VariationalEncoder": ("none", GREY),
    "Video": ("classification 4", {"x": ("float", (1, 4, 12, 12))}),
    "TabularRegression": ("regression 2", TABLE),
    "BinaryTable": ("binary", TABLE),
    "Recommender": ("none", {"user": ("ids 30", (1,)), "item": ("ids 50", (1,))}),
    "ClickThrough": ("none", {"numbers": ("float", (5,)), "ids": ("ids 40", (3,))}),
    "ActorCritic": ("none", {"state": ("float", (6,))}),
    "GraphNetwork": ("classification 3", {"nodes": ("float", (7, 4)), "edges": ("float", (7, 7))}),
    "PointNet": ("classification 5", {"points": ("float", (3, 32))}),
    "Ecg": ("classification 5", {"x": ("float", (1, 128))}),
    "Causal": ("classification 3", {"x": ("float", (2, 40))}),
    "AudioAutoencoder": ("reconstruction", {"x": ("float", (1, 64))}),
    "LstmActivity": ("classification 5", {"x": ("float", (6, 20))}),
    "GruForecast": ("regression 4", {"x": ("float", (2, 16))}),
    "SpeechCrnn": ("none", {"x": ("float", (1, 16, 20))}),
    "Forecast": ("none", {"x": ("float", (24,))}),
    "TextMean": ("classification 4", {"tokens": ("ids 60", (12,))}),
    "TextTransformer": ("none", {"tokens": ("ids 60", (10,)), "mask": ("mask", (10,))}),
    "TextLstm": ("none", {"tokens": ("ids 60", (9,))}),
}
"""class of zoo.py -> task, with how many classes or numbers it has, and inputs: what they hold, and a sample's shape.

A classifier whose scores, of random weights, lie so near each other that int8's rounding chooses another class has the
task none: its scores are compared, not its classes."""


def main() -> None:
    """Run the networks, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", action="append", metavar="NAME", choices=NETWORKS, help="only this one; again for more"
    )
    parser.add_argument("--target", action="append", metavar="NAME", choices=TARGETS, help="only this target")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the copy with its artifacts there")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--make", nargs="+", metavar="ARGUMENT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(Path(options.make[0]), options.make[1:])
        return
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as temporary:
        found = outcomes(
            options.keep or Path(temporary) / "project",
            options.network or list(NETWORKS),
            options.target or list(USUAL),
        )
    show(found)
    if options.json:
        print(json.dumps(figures(found)))
    sys.exit(failed(found))


def outcomes(place: Path, names: Sequence[str], targets: Sequence[str]) -> list[Outcome]:
    """What became of each network on each target, in a copy of this repository at `place`, which must not exist."""
    make_repository(place)
    shutil.copy(ROOT / "benchmarks/zoo.py", place / "models/zoo.py")
    in_torch(place, names)
    wanted = {name: list(targets) for name in names}
    for name in names:
        write_recipe(place, name, wanted[name])
    found = refused_when_read(place, wanted)
    for one in found:
        wanted[one.network].remove(one.target)
    for name in names:
        write_recipe(place, name, wanted[name])
    return [*found, *run(place, {name: left for name, left in wanted.items() if left})]


def write_recipe(place: Path, name: str, targets: Sequence[str]) -> None:
    """One network, its weights, and the targets without limits; none is written where there is no target."""
    path = place / "recipes" / f"{name}.yaml"
    if not targets:
        path.unlink(missing_ok=True)
        return
    task, inputs = NETWORKS[name]
    several = json.dumps({one: preparation(*what) for one, what in inputs.items()})
    data = f"inputs: {several}" if len(inputs) > 1 or "x" not in inputs else plain(preparation(*inputs["x"]))
    lines = [
        f"model: models.zoo:{name}",
        f"task: {task.split()[0]}",
        "stages:",
        f"  data: {{{', '.join(filter(None, ['dataset: npz', f'path: data/{name}.npz', data]))}}}",
        f"  train: {{weights: weights/{name}.safetensors}}",
        "  export: {opset: 18}",
        "  simplify: {}",
        "targets:",
        *(f"  {target}: {{{PARAMS.get(target, '')}verify: {{min_agreement: null}}}}" for target in targets),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


PARAMS = {
    "akida": "calibrate: {samples: 16}, ",
    "cairo": "calibrate: {samples: 16}, ",
    "ezkl": "calibrate: {max_abs_error: null, min_agreement: null}, emit: {insecure_srs: true, evm: false}, ",
}
"""where the target's own number is more than there are; no limits, an SRS that needs no network, and no contract"""


def preparation(kind: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """What `data` says of an input that holds this."""
    if kind == "image":
        return {"mean": 0.5, "std": 0.25}
    # two axes would be a grey image's
    return {"layout": "ncl"} if len(shape) == 2 else {}


def plain(said: dict[str, Any]) -> str:
    """The same beside the other params of `data`."""
    return ", ".join(f"{key}: {value}" for key, value in said.items())


# -- weights and data, in the environment that has torch


def in_torch(place: Path, names: Sequence[str]) -> None:
    """Make data/NAME.npz and weights/NAME.safetensors."""
    from recast.pipeline.processes import environments

    environment = environments.ensure(ROOT, "torch", lambda text: print(text, file=sys.stderr))
    command = [str(environment.python), str(Path(__file__).resolve()), "--make", str(place), *names]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    subprocess.run(command, env=variables, check=True)


def make(place: Path, names: Sequence[str]) -> None:
    """Needs torch."""
    import numpy as np
    import torch

    from benchmarks import zoo
    from recast.stages.common.torch_models.weights import write_weights

    for folder in ("data", "weights"):
        (place / folder).mkdir()
    for name in names:
        task, inputs = NETWORKS[name]
        random = np.random.default_rng(sorted(NETWORKS).index(name))
        arrays = {one: drawn(random, *what) for one, what in inputs.items()}
        labels = labelled(random, task, arrays)
        np.savez(place / f"data/{name}.npz", **arrays, **({"y": labels} if labels is not None else {}))
        torch.manual_seed(0)
        model = getattr(zoo, name)()
        taken = [given(arrays[one], kind) for one, (kind, _) in inputs.items()]
        with torch.no_grad():
            model.train()
            for _ in range(40):  # the running statistics of its BatchNorms
                model(*taken)
        write_weights(model.eval(), place / f"weights/{name}.safetensors")


def drawn(random: Any, kind: str, shape: tuple[int, ...]) -> Any:
    """Samples (COUNT, *shape) as they are stored."""
    import numpy as np

    if kind == "image":  # patches of one colour and some noise: what convolutions make of it differs by place
        size = (COUNT, shape[0], -(-shape[1] // 4), -(-shape[2] // 4))
        coarse = random.integers(0, 200, size).repeat(4, axis=2).repeat(4, axis=3)[:, :, : shape[1], : shape[2]]
        return (coarse + random.integers(0, 56, (COUNT, *shape))).astype(np.uint8)
    if kind.startswith("ids"):
        return random.integers(0, int(kind.split()[1]), (COUNT, *shape))
    if kind == "mask":  # as many at the front as the text is long
        lengths = random.integers(1, shape[0] + 1, COUNT)
        return np.arange(shape[0])[None] < lengths[:, None]
    return random.normal(size=(COUNT, *shape)).astype(np.float32)


def labelled(random: Any, task: str, arrays: dict[str, Any]) -> Any:
    """Labels that the task takes, drawn regardless of the samples; None for none."""
    import numpy as np

    name, _, count = task.partition(" ")
    number = int(count or 1)
    if name in ("classification", "embedding"):
        return np.arange(COUNT) % number
    if name == "binary":
        return np.arange(COUNT) % 2
    if name == "multilabel":
        return random.integers(0, 2, (COUNT, number))
    if name == "regression":
        return random.normal(size=(COUNT, number)).astype(np.float32)
    if name == "segmentation":
        return random.integers(0, number, (COUNT, *arrays["x"].shape[2:]))
    return None


def given(array: Any, kind: str) -> Any:
    """The stored samples as the model takes them."""
    import torch

    return torch.as_tensor(array).float().div(255).sub(0.5).div(0.25) if kind == "image" else torch.as_tensor(array)


# -- running


def refused_when_read(place: Path, wanted: dict[str, list[str]]) -> list[Outcome]:
    """What `recast check` says that a target cannot hold."""
    done = subprocess.run([str(place / "recast"), "check"], cwd=place, capture_output=True, text=True)
    said = re.findall(r"recipes/(\w+)\.yaml:\d+:\d+: (the target (\w+) holds .*)", done.stderr)
    found = [Outcome(target, name, "refused", f"check: {reason}") for name, reason, target in said]
    other = [line for line in done.stderr.splitlines() if ".yaml:" in line and " holds " not in line]
    if other:
        raise RuntimeError("a recipe is wrong: " + "; ".join(other))
    return [one for one in found if one.target in wanted[one.network]]


def run(place: Path, wanted: dict[str, list[str]]) -> list[Outcome]:
    """Run the recipes in one go, so that processes stay warm; what became of each."""
    if not wanted:  # each is refused when it is read, and without a name all recipes would be run
        return []
    command = [str(place / "recast"), "run", *wanted, "--json"]
    failures: dict[str, dict[str, Any]] = {}
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "changed" and event["state"] in ("failed", "done"):
                print(f"{event['stage']}: {event['state']} {event.get('error') or ''}", file=sys.stderr, flush=True)
            if event["event"] == "changed" and event["state"] == "failed":
                failures[event["stage"]] = event
    if process.returncode not in (0, 1):
        raise RuntimeError(f"recast run ended with {process.returncode}")
    found = []
    for name, targets in wanted.items():
        for target in targets:
            # of the trunk, or of the target
            mine = [one for stage, one in failures.items() if stage.split("/")[:-1] in ([name], [name, target])]
            found.append(refusal(target, name, mine[0]) if mine else compared(place, name, target))
    return found


if __name__ == "__main__":
    main()
