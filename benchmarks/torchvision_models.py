"""torchvision's classification models through Recast: how many come out right, how many are refused, and why.

    .venv/bin/python benchmarks/torchvision_models.py [--all] [--model NAME ...] [--target NAME ...] [--json]

Each model has random weights (its BatchNorms the statistics of random images), 10 classes and small images, and goes
through a recipe of its own, from `train: {weights: ...}` to every target's `verify`, by `recast run` in a copy of this
repository. Without --all, the smallest model of most families; with it, all up to 150 million weights, the smallest
first. One is

    right     every form computes what the form before does: no layer is blamed (docs/parity.md)
    lossy     the same, but int8 itself costs more than a layer should: `recast blame` names the layer
    refused   a stage says what it cannot do, and what to do instead; each reason is printed once
    wrong     another function came out, or the scores differ by what no layer accounts for
    crashed   a stage broke off without saying what to do

No accuracy is looked at: random networks give nearly equal scores. Exits with 1 if any is wrong or crashed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "src"))

from benchmarks.outcomes import Kind, Outcome, failed, figures, show  # noqa: E402 - needs the path set above

TARGETS = ("onnxruntime", "c", "wasm", "akida")
SMALLEST = (
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t",
)  # fmt: skip
"""one of each family that has one below 30 million weights"""
SIDE = {"inception_v3": 96, "maxvit_t": 224}
"""pixels of an image's side where it is not 64, which is too small for what the model makes of it"""
MOST_WEIGHTS = 150e6
"""of a model that `--all` takes"""
ARGUMENTS = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
    "vit": {"image_size": 64},
}
LOSSY_DB = 20.0
"""what an int8 model's scores should keep; below it `recast blame` says so, whether or not one layer is at fault"""
CALIBRATION = {"akida": "calibrate: {samples: 32}, "}
"""where the target's own number is more than there are"""


def main() -> None:
    """Run the models, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--all", action="store_true", help="every model up to 150 million weights; compiling those takes 8 GB of memory"
    )
    parser.add_argument("--model", action="append", metavar="NAME", help="only this model; may be given again")
    parser.add_argument("--target", action="append", metavar="NAME", choices=TARGETS, help="only this target")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--make", nargs=2, metavar=("PLACE", "NAME"), help=argparse.SUPPRESS)
    parser.add_argument("--names", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_weights(Path(options.make[0]), options.make[1])
        return
    if options.names:
        print("\n".join(names_by_size()))
        return
    targets = options.target or list(TARGETS)
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as temporary:
        place = make_repository(Path(temporary) / "project")
        for name in options.model or (in_torch("--names") if options.all else SMALLEST):
            in_torch("--make", str(place), name)
            write_recipe(place, name, targets)
            began = time.monotonic()
            for outcome in run(place, name, targets):
                found.append(outcome)
                print(f"{name}/{outcome.target}: {outcome.kind} {outcome.reason}", file=sys.stderr, flush=True)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            forget(place, name)
    show(found)
    if options.json:
        print(json.dumps(figures(found)))
    sys.exit(failed(found))


# -- the project


def make_repository(place: Path) -> Path:
    """A copy of this repository without its recipes."""
    for name in ("src", "pipeline", "stages", "envs", ".dvc", "models", "recipes/targets"):
        ignore = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        shutil.copytree(ROOT / name, place / name, ignore=ignore, symlinks=True)
    for name in ("recast", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, place / name)
    (place / ".venv").symlink_to(Path(sys.prefix))
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    return place


def in_torch(*arguments: str) -> list[str]:
    """Run this script in the environment that has torchvision; the lines that it prints."""
    from recast.pipeline.processes import environments

    environment = environments.ensure(ROOT, "torch", lambda text: print(text, file=sys.stderr))
    command = [str(environment.python), str(Path(__file__).resolve()), *arguments]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def write_recipe(place: Path, name: str, targets: Sequence[str]) -> None:
    """One model, its weights, and the targets without limits on accuracy."""
    lines = [
        f"model: {{name: 'torchvision.models:{name}', args: {json.dumps(arguments(name))}}}",
        "stages:",
        f"  data: {{dataset: npz, path: data/{side(name)}.npz, mean: 0.5, std: 0.25}}",
        f"  train: {{weights: weights/{name}.safetensors}}",
        "  export: {opset: 18}",
        "  simplify: {}",
        "targets:",
        *(
            f"  {target}: {{{CALIBRATION.get(target, '')}verify: {{min_agreement: null, parity_samples: 16}}}}"
            for target in targets
        ),
    ]
    (place / "recipes" / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments(name: str) -> dict[str, Any]:
    """The constructor's arguments."""
    own = next((own for start, own in ARGUMENTS.items() if name.startswith(start)), {})
    return {"num_classes": 10, **own}


def side(name: str) -> int:
    """Pixels of the side of an image."""
    return SIDE.get(name, 64)


def names_by_size() -> list[str]:
    """torchvision's classification models, but for those too large; needs torch."""
    from recast.stages.common.torch_models.torchvision_import import import_torchvision

    models = import_torchvision("models")
    # of the model for ImageNet's 1000 classes; making each to count would take gigabytes
    counts = {
        name: models.get_model_weights(name).DEFAULT.meta["num_params"] for name in models.list_models(module=models)
    }
    return sorted((name for name in counts if counts[name] <= MOST_WEIGHTS), key=counts.__getitem__)


def make_weights(place: Path, name: str) -> None:
    """Write data/SIDE.npz and weights/NAME.safetensors; needs torch."""
    import numpy as np
    import torch

    from recast.stages.common.torch_models.torchvision_import import import_torchvision
    from recast.stages.common.torch_models.weights import write_weights

    for folder in ("data", "weights"):
        (place / folder).mkdir(exist_ok=True)
    random, size = np.random.default_rng(0), side(name)
    # patches of 8x8 pixels of one colour and some noise: what convolutions make of it differs from place to place
    coarse = random.integers(0, 200, (80, 3, size // 8, size // 8)).repeat(8, axis=2).repeat(8, axis=3)
    x = (coarse + random.integers(0, 56, (80, 3, size, size))).astype(np.uint8)
    np.savez(place / f"data/{size}.npz", x=x, y=np.arange(80) % 10)
    torch.manual_seed(0)
    model = import_torchvision("models").get_model(name, weights=None, **arguments(name))
    model.eval()  # heads for training alone may not fit small images
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        for batch in torch.as_tensor(x).float().div(255).sub(0.5).div(0.25).split(16) if norms else ():
            model(batch)
    write_weights(model, place / f"weights/{name}.safetensors")


# -- running


def run(place: Path, name: str, targets: Sequence[str]) -> list[Outcome]:
    """Run one recipe; what became of each target."""
    command = [str(place / "recast"), "run", name, "--json"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [event for event in events if event["event"] == "changed" and event["state"] == "failed"]
    if done.returncode not in (0, 1) or not events:
        return [Outcome(target, name, "crashed", done.stderr.strip() or "no event") for target in targets]
    # of the trunk, or of the target
    stages = {
        target: [one for one in failures if one["stage"].split("/")[1:-1] in ([], [target])] for target in targets
    }
    return [
        refusal(target, name, stages[target][0]) if stages[target] else compared(place, name, target)
        for target in targets
    ]


def forget(place: Path, name: str) -> None:
    """Delete what a model left: of all models it would be 100 GB."""
    for folder in (place / "artifacts", place / ".dvc/cache", place / ".recast"):
        shutil.rmtree(folder, ignore_errors=True)
    (place / f"weights/{name}.safetensors").unlink()
    (place / f"recipes/{name}.yaml").unlink()


def refusal(target: str, name: str, failure: dict[str, Any]) -> Outcome:
    """What became of a target of which a stage failed."""
    stage = failure["stage"].partition("/")[2]
    # behind the reason come the last lines of the log
    reason = (failure.get("error") or "it failed without a reason").splitlines()[0]
    # what a comparison finds is no refusal: something was made, and it is not right
    differs = stage.endswith("verify") or "differ" in reason or "wrong" in reason
    kind: Kind = "wrong" if differs else "refused" if failure.get("remedy") else "crashed"
    return Outcome(target, name, kind, f"{stage}: {reason}")


def compared(place: Path, name: str, target: str) -> Outcome:
    """What `verify` found of the forms of the model, whose reports are those `recast blame` shows."""
    report = json.loads((place / "artifacts" / name / target / "verify/parity.json").read_text(encoding="utf-8"))
    worst = min(conversion["output"]["sqnr_db"] for conversion in report["conversions"])
    for conversion in report["conversions"]:
        if conversion["blamed"] and conversion["kind"] != "int8":
            said = f"{conversion['from']} → {conversion['to']}: the error jumps at {conversion['blamed']}"
            return Outcome(target, name, "wrong", said)
        if conversion["blamed"] or (conversion["kind"] == "int8" and conversion["output"]["sqnr_db"] < LOSSY_DB):
            return Outcome(target, name, "lossy", f"{worst:.0f} dB")
    if unexplained := report.get("unexplained"):
        return Outcome(target, name, "wrong", " ".join(unexplained))
    return Outcome(target, name, "right", f"{worst:.0f} dB")


if __name__ == "__main__":
    main()
