"""Ten networks that Akida does not take as a whole, or not every one: what `quantize.hybrid` brings there of them.

    .venv/bin/python benchmarks/akida_hybrid.py [--network NAME ...] [--onnx2akida PYTHON] [--keep FOLDER] [--json]

The networks are those of `zoo.py`, of random weights, whose recipes are as in `networks.py`, with the target akida and
`quantize: {hybrid: true}`. Of each: how many of the float graph's nodes go to Akida and with how many of its
multiplications, in how many parts, how many bytes of a sample go to or from Akida, how many layers of Akida run in
hardware on SixNodesIPv2, and how near the emitted folder comes to the float model on the test samples. It is calibrated
on the first 64 calibration samples.

With --onnx2akida, a Python that has BrainChip's onnx2akida beside akida, cnn2snn and quantizeml, the same simplified
graph goes through its `convert` with the same calibration samples (akida_hybrid_peer.py), and is run on the same test
samples. Its share of nodes is that of its own report, which counts nodes of the graph as quantizeml has lowered it.
Without it, that half of the table is left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "src"))

from benchmarks.networks import NETWORKS, PARAMS, in_torch, run, write_recipe  # noqa: E402 - needs the path set above
from benchmarks.torchvision_models import make_repository  # noqa: E402 - as above

CHOSEN = (
    *("UNet", "PointNet", "KeywordSpotting", "SuperResolution", "Denoiser"),
    *("VisionTransformer", "ConvNeXtBlock", "SpeechCrnn", "Ecg", "MobileNetV3Block"),
)
HYBRID = "quantize: {hybrid: true}, calibrate: {samples: 64}, "


def main() -> None:
    """Run both, print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", metavar="NAME", choices=NETWORKS, help="only this one")
    parser.add_argument("--onnx2akida", metavar="PYTHON", help="a Python that has onnx2akida")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the copy with its artifacts there")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    names = options.network or list(CHOSEN)
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as temporary:
        place = make_repository(options.keep or Path(temporary) / "project")
        found = by_recast(place, names)
        for name in names if options.onnx2akida else ():
            if (place / f"artifacts/{name}/simplify/model.onnx").is_file():
                found[name]["onnx2akida"] = by_peer(place, name, options.onnx2akida)
    show(found, bool(options.onnx2akida))
    if options.json:
        print(json.dumps(found))


def by_recast(place: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Network -> what `emit` and `verify` measured, or why it was refused."""
    import shutil

    shutil.copy(ROOT / "benchmarks/zoo.py", place / "models/zoo.py")
    in_torch(place, names)
    for name in names:
        write_recipe(place, name, ["akida"])
        path = place / f"recipes/{name}.yaml"
        said = path.read_text(encoding="utf-8").replace(PARAMS["akida"], HYBRID)
        path.write_text(said, encoding="utf-8")
    found: dict[str, dict[str, Any]] = {}
    for outcome in run(place, {name: ["akida"] for name in names}):
        folder = place / "artifacts" / outcome.network / "akida"
        said: dict[str, Any] = {"outcome": outcome.kind}
        if not (folder / "verify/metrics.json").is_file():
            found[outcome.network] = {"recast": {**said, "refused": outcome.reason}}
            continue
        emitted, verified = (json.loads((folder / stage / "metrics.json").read_text()) for stage in ("emit", "verify"))
        whole = "parts" not in emitted
        said |= {
            "parts": emitted.get("parts", 1),
            "akida_parts": emitted.get("akida_parts", 1),
            "nodes_share": 1.0 if whole else nodes_share(emitted),
            "macs_share": emitted.get("macs_share_on_akida", 1.0),
            "transfer_bytes": emitted.get("transfer_bytes", 0),
            "layers_in_hardware": emitted["layers_in_hardware"],
            "layers_in_software": emitted["layers_in_software"],
            "sqnr_db": verified["sqnr_db"],
            "cosine": verified["cosine"],
            "agreement": verified["agreement"],
        }
        found[outcome.network] = {"recast": said}
    return found


def nodes_share(emitted: dict[str, Any]) -> float:
    """Of the float graph's nodes, those on Akida."""
    on_akida: int = emitted["nodes_on_akida"]
    return on_akida / (on_akida + int(emitted["nodes_in_onnx"]))


def by_peer(place: Path, name: str, python: str) -> dict[str, Any]:
    """What onnx2akida made of it, or why it ended."""
    artifacts = place / "artifacts" / name
    script = str(Path(__file__).with_name("akida_hybrid_peer.py"))
    given = [str(artifacts / "simplify/model.onnx"), str(artifacts / "data")]
    done = subprocess.run([python, script, *given], capture_output=True, text=True)
    if done.returncode:
        return {"failed": next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason")}
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def show(found: dict[str, dict[str, Any]], with_peer: bool) -> None:
    """A row for each network."""
    peer = " | nodes | parts | transfer | in hardware | SQNR" if with_peer else ""
    print(f"| network | nodes | MACs | parts | transfer | in hardware | SQNR{peer} |")
    print("|---" * (12 if with_peer else 7) + "|")
    for name, one in found.items():
        print(f"| {name} | {' | '.join(ours(one['recast']) + (theirs(one.get('onnx2akida')) if with_peer else []))} |")
    if not with_peer:
        print("onnx2akida: not compared; name a Python that has it with --onnx2akida")


def ours(one: dict[str, Any]) -> list[str]:
    """Cells."""
    if "refused" in one:
        return ["refused", *[""] * 5]
    return [
        *(f"{100 * one[share]:.0f} %" for share in ("nodes_share", "macs_share")),
        str(one["parts"]),
        f"{one['transfer_bytes']:,}",
        f"{one['layers_in_hardware']} of {one['layers_in_hardware'] + one['layers_in_software']}",
        f"{one['sqnr_db']:.1f} dB",
    ]


def theirs(one: dict[str, Any] | None) -> list[str]:
    """Cells."""
    if one is None or "failed" in one:
        return ["failed" if one else "", *[""] * 4]
    sqnr = f"{one['sqnr_db']:.1f} dB" if one.get("sqnr_db") is not None else f"fails: {one['why']}"
    layers = f"{one['layers_in_hardware']} of {one['layers']}"
    return [f"{one['nodes_share']:.0%}", str(one["akida_parts"]), f"{one['transfer_bytes']:,}", layers, sqnr]


if __name__ == "__main__":
    main()
