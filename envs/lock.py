"""Rewrites the pin files: `python envs/lock.py [--hashes] [NAME ...]` compiles envs/NAME.in into envs/NAME.txt.

A pin file is a full lock of every package for one Python on Linux x86-64, the platform Recast is
tested on; a marker stays where a package is not for every machine of that kind. Run it to upgrade;
commit both files; the stages of that environment then re-run. envs/hashes/NAME.txt says of each pin which files it
may be, as PyPI has them; `--hashes` rewrites these alone, after a package got a file more.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from recast.pipeline.core.errors import RecastError  # noqa: E402 - needs the path set above
from recast.pipeline.core.pins import HASHES  # noqa: E402
from recast.pipeline.processes.pin_solver import hashes, solve  # noqa: E402

# CUDA comes with the build of torch that the user's device asks for, not with the pins
LEFT_OUT = re.compile(r"^(nvidia-|cuda-|triton)")
# of these each index has builds of its own, one for each kind of device
OF_A_DEVICE = re.compile(r"^(torch|torchvision)==")
HEADER = re.compile(r"^#\s*(\w+):\s*(.+)$", re.MULTILINE)


def lock(name: str) -> None:
    source = HERE / f"{name}.in"
    header = dict(HEADER.findall(source.read_text(encoding="utf-8")))
    try:
        # what a package asks for and our use of it does not need
        exclude = header.get("exclude", "").split()
        solved = solve(header["python"], [f"-r {source}"], exclude=exclude)
    except RecastError as error:
        sys.exit(f"{name}: {error.message}")
    lines = [pin for pin in solved if not LEFT_OUT.match(pin)]
    head = [f"# {key}: {header[key]}" for key in ("python", "size", "preload") if key in header]
    note = f"# Every package, pinned by `python envs/lock.py {name}` from {name}.in: edit that, not this."
    (HERE / f"{name}.txt").write_text("\n".join([*head, note, *lines]) + "\n", encoding="utf-8")
    print(f"envs/{name}.txt: {len(lines)} packages")


def lock_hashes(name: str) -> None:
    pins = HERE / f"{name}.txt"
    text = pins.read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if line and not line.startswith("#") and not OF_A_DEVICE.match(line)]
    try:
        found = hashes(dict(HEADER.findall(text))["python"], kept)
    except RecastError as error:
        sys.exit(f"{name}: {error.message}")
    note = f"# The files that the pins of {name}.txt may be, by `python envs/lock.py --hashes {name}`."
    path = HERE / HASHES / f"{name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{note}\n{found}", encoding="utf-8")
    print(f"{path.relative_to(HERE.parent)}: {len(kept)} packages")


if __name__ == "__main__":
    only_hashes = sys.argv[1:2] == ["--hashes"]
    for chosen in sys.argv[1 + only_hashes :] or sorted(path.stem for path in HERE.glob("*.in")):
        if not only_hashes:
            lock(chosen)
        lock_hashes(chosen)
