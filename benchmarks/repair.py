"""Networks on which int8 loses by default: how many `recast repair` brings within a drop of 0.5 points, at what cost.

    .venv/bin/python benchmarks/repair.py [--network NAME ...] [--nncf PYTHON] [--json]

Of twelve networks (lossy_networks.py) each goes through a recipe of its own: `import`, and the target onnxruntime. An
evaluation is one candidate that is quantized and scored on the test split; the float model's score is known beforehand.
With --nncf, a Python that has NNCF and onnxruntime, NNCF's `quantize_with_accuracy_control` does the same with the same
calibration and test samples (repair_nncf.py), and what it makes is scored by onnxruntime as Recast's is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "src"))

from benchmarks.torchvision_models import make_repository  # noqa: E402 - needs the path set above

MAX_DROP = 0.005
RECIPE = """\
stages:
  data: {{dataset: npz, path: data/{name}.npz, mean: 0.0, std: 1.0{layout}}}
  import: {{path: data/{name}.onnx}}
  simplify: {{}}
targets:
  onnxruntime:
    verify: {{min_agreement: null, max_accuracy_drop: 0.005}}
"""


def main() -> None:
    """Run the networks, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", metavar="NAME", help="only this one; may be given again")
    parser.add_argument("--nncf", metavar="PYTHON", help="a Python that has NNCF and onnxruntime")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as temporary:
        place = make_repository(Path(temporary) / "project")
        made = in_environment("lossy_networks.py", str(place / "data"))
        found: dict[str, dict[str, Any]] = {}
        for name in options.network or made:
            layout = ", layout: ncl" if name == "signals" else ""
            (place / f"recipes/{name}.yaml").write_text(RECIPE.format(name=name, layout=layout), encoding="utf-8")
        for name in options.network or made:
            found[name] = {"float": made[name], "recast": repaired(place, name)}
            if options.nncf:
                found[name]["nncf"] = by_nncf(place, name, options.nncf)
            print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    show(found)
    if options.json:
        print(json.dumps(found))


def in_environment(script: str, *arguments: str) -> dict[str, float]:
    """Run a script of this folder where scikit-learn and onnx are; its last line."""
    from recast.pipeline.processes import environments

    python = environments.ensure(ROOT, "torch", lambda text: print(text, file=sys.stderr)).python
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name(script)), *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def repaired(place: Path, name: str) -> dict[str, Any]:
    """What `recast repair` came to."""
    began = time.monotonic()
    done = subprocess.run(
        [str(place / "recast"), "repair", f"{name}/onnxruntime", "--json"], cwd=place, stdout=subprocess.PIPE, text=True
    )
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"recast repair {name}/onnxruntime ended with {done.returncode}")
    report = json.loads(done.stdout)
    tried, chosen = report["candidates"], report["chosen"]
    taken = None if chosen is None else tried[chosen]
    return {
        "default_drop": drop(tried[0]),
        "drop": None if taken is None else drop(taken),
        "meets": taken is not None,
        "says": None if taken is None else taken["says"],
        "int8": None if taken is None else taken["figures"]["nodes in int8"],
        "evaluations": len(tried),
        "seconds": round(time.monotonic() - began, 1),
        "stages_seconds": round(sum(one["seconds"] for one in tried), 1),
    }


def drop(candidate: dict[str, Any]) -> float | None:
    """By how much its accuracy is below the float model's."""
    metrics = candidate["metrics"]
    return round(metrics["accuracy_float"] - metrics["accuracy_emitted"], 6) if metrics else None


def by_nncf(place: Path, name: str, python: str) -> dict[str, Any]:
    """What NNCF came to."""
    script = str(Path(__file__).with_name("repair_nncf.py"))
    given = [str(place / f"data/{name}.onnx"), str(place / "data"), str(MAX_DROP)]
    done = subprocess.run([python, script, *given], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"failed": done.returncode, "meets": False}
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def show(found: dict[str, dict[str, Any]]) -> None:
    """A row for each network, and how many of them meet the limit."""
    print("network          float   default    recast  evaluations    s  int8      nncf  evaluations    s  int8")
    for name, one in found.items():
        ours, peer = one["recast"], one.get("nncf", {})
        cells = [f"{name:16}", percent(one["float"]), percent(ours["default_drop"]), percent(ours["drop"])]
        cells += [f"{ours['evaluations']:12}", f"{ours['seconds']:6.0f}", f"{ours['int8'] or '–':>8}"]
        if peer and "failed" not in peer:
            cells += [
                percent(peer["drop"]),
                f"{peer['evaluations']:12}",
                f"{peer['seconds']:6.0f}",
                f"{peer['int8']:>8}",
            ]
        elif peer:
            cells += ["  failed"]
        print(" ".join(cells))
    default = sum((one["recast"]["default_drop"] or 0) <= MAX_DROP for one in found.values())
    repaired = sum(one["recast"]["meets"] for one in found.values())
    said = f"within {MAX_DROP:.1%}, of {len(found)}: {default} by default, {repaired} repaired"
    peers = [one["nncf"]["meets"] for one in found.values() if "nncf" in one]
    print(f"{said}, {sum(peers)} by NNCF" if peers else said)


def percent(value: float | None) -> str:
    """A share."""
    return "       –" if value is None else f"{100 * value:6.2f} %"


if __name__ == "__main__":
    main()
