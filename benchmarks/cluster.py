"""`recast run --on` against the least time that the work can take, with stages that sleep.

    .venv/bin/python benchmarks/cluster.py [--workers 1 2 4] [--seconds 5] [--targets 4] [--json]

Lays a repository whose recipe has so many targets of three stages each, one after the other, every one of which
sleeps for so many seconds; a scheduler of Dask's, and so many workers, each a process with a clone of its own; a
remote in a folder. For each number of workers it measures the makespan, from the start of the first stage to the end
of the last, and divides it by the bound max(critical path, work / workers). The overhead of a stage is what one
worker takes beyond the work, for each stage. Sleeping costs no core, so the machine's cores bound what Recast itself
does and not the work. Then, in a folder and on S3 (by moto's server, in this process), how long it takes to claim a
stage and to give it back. With --json the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("src", ".")]

from recast.pipeline.sharing.claims import Claims, Store  # noqa: E402 - needs the path set above
from tests.lib import napping  # noqa: E402

CHAIN = 3
"""stages of a target, one after the other"""
CLAIMS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="how many workers to measure with")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each stage sleeps")
    parser.add_argument("--targets", type=int, default=4, help="targets of the recipe, of three stages each")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    table = Table("workers", "makespan", "bound", "ratio", "overhead a stage")
    count, work = options.targets * CHAIN, options.targets * CHAIN * options.seconds
    with tempfile.TemporaryDirectory(prefix="recast-cluster-") as temporary:
        for workers in options.workers:
            makespan = measure(Path(temporary) / str(workers), workers, options.targets, options.seconds)
            bound = max(CHAIN * options.seconds, work / workers)
            figures[f"makespan_over_bound_{workers}"] = makespan / bound
            # a worker of one core does one after the other, so what is beyond the bound is divided among its own
            overhead = (makespan - bound) * workers / count
            figures[f"overhead_seconds_{workers}"] = overhead
            table.add_row(
                str(workers), f"{makespan:.1f} s", f"{bound:.1f} s", f"{makespan / bound:.2f}", f"{overhead:.2f} s"
            )
        console = Console(width=100)
        console.print(table)
        claims = Table("claims in", "to claim", "to give back")
        for name, take, give in (*measure_claims_in(Path(temporary) / "claims"), *measure_claims_on_s3()):
            figures[f"claim_seconds_{name}"] = take
            claims.add_row(name, f"{1000 * take:.1f} ms", f"{1000 * give:.1f} ms")
        console.print(claims)
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def measure(place: Path, workers: int, targets: int, seconds: float) -> float:
    """Seconds from the start of the first stage to the end of the last."""
    names = ("first", "second", "third")
    chains = {
        f"t{target}": {
            name: f"{{seconds: {seconds}, says: {10 * target + number}}}" for number, name in enumerate(names)
        }
        for target in range(targets)
    }
    driver = napping.lay(place / "driver", chains, str(place / "remote"))
    (driver / "device.txt").write_text("cpu\n")
    clones = [napping.clone(driver, place / f"clone{number}") for number in range(workers)]
    with napping.scheduler() as address, napping.workers(clones, address):
        said = napping.call(driver, "run", "--on", address, "--json").stdout
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    ours = [event for event in events if event.get("stage", "").startswith("naps/")]
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in ours if "state" in event]
    done = [event for event in ours if event.get("state") == "done"]
    assert len(done) == targets * CHAIN, said
    return max(times) - min(times)


def measure_claims_in(place: Path) -> Iterator[tuple[str, float, float]]:
    """Median seconds to claim and to give back, in a folder."""
    from dvc.fs import LocalFileSystem

    yield "folder", *_claimed(Store(LocalFileSystem(), str(place)))


def measure_claims_on_s3() -> Iterator[tuple[str, float, float]]:
    """The same on S3, by moto's server in this process."""
    import pytest
    from dvc_s3 import S3FileSystem

    from tests.lib import remotes

    with pytest.MonkeyPatch.context() as patch, _quiet(), remotes.s3(patch) as remote:
        fs = S3FileSystem(
            endpointurl=remote.shared["endpointurl"],
            region="us-east-1",
            access_key_id="any",
            secret_access_key="any",
        )
        yield "s3", *_claimed(Store(fs, "bucket/claims"))


@contextmanager
def _quiet() -> Iterator[None]:
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    yield


def _claimed(store: Store) -> tuple[float, float]:
    claims = Claims(store)
    takes, gives = [], []
    try:
        for number in range(CLAIMS + 1):
            key = f"{number:064x}"
            started = time.perf_counter()
            assert claims.take(key, "work") == ""
            taken = time.perf_counter()
            claims.give_back(key)
            takes.append(taken - started)
            gives.append(time.perf_counter() - taken)
    finally:
        claims.close()
    # the first connects
    return statistics.median(takes[1:]), statistics.median(gives[1:])


if __name__ == "__main__":
    main()
