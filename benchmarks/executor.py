"""`recast run` against `dvc repro` on the same stages, side by side in one run.

    .venv/bin/python benchmarks/executor.py [--quick] [--repeats 5] [--json]

Makes repositories of 10, 100 and 500 trivial shell stages (chains of five that read ten source files
and a params file; one dvc.yaml, fifty for the 500) and a recipe that needs them all, and measures the
whole commands `recast run` and `dvc repro` in turns: with nothing to do (fastest of the repeats), and
from nothing (once). On the same repositories `recast plan` with status against `dvc status`, nothing to
do (the faster of two), and the time from the edit of one value in the params file that every stage
reads to the start of the first stage's command, `recast run` against `dvc repro` (fastest of the
repeats; each is killed when it comes to that). Then 500 MB restored from the cache, which `recast run`
hashes first and DVC does not. Then five targets' worth of independent work (chains of four stages that compute)
by two jobs, against the bound max(critical path, work / cores), both measured in that same run. Last
the `digits` recipe with cold and with warm workers, if its environments can be built. `--quick` leaves
out the 500 stages and the digits recipe. With --json the last line is one JSON object; each ratio is
our time over the other's, but for `warm_speedup`, which is cold over warm.

`dvc repro` with 500 stages in one file takes the better part of an hour from nothing, for it writes
its lock anew for every stage; hence the fifty files, which is the better case for it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
NOTHING = '''\
"""Reads a file and makes an empty result."""

from __future__ import annotations

from pathlib import Path

from recast.stages.base import Inputs, Metrics, Params, RepositoryPath, Stage


class NothingParams(Params):
    """The file that everything else leads to."""

    file: RepositoryPath


def run(params: NothingParams, inputs: Inputs, out: Path) -> Metrics:
    return {}


STAGE = Stage(params=NothingParams, run=run)
'''
# what tells that a stage's command has begun, where DVC does not look
STARTED = ".dvc/tmp/started"
MARK = f'echo >> "$DVC_ROOT/{STARTED}"'
SETTINGS = "settings: {{rate: {rate}, depth: 3}}\n"
# what a stage of the parallel work does: arithmetic for about a second, without a second thread
WORK = "x = 0\nfor i in range({count}):\n    x = (x * 31 + i) % 1000003\nopen({out!r}, 'w').write(str(x))\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the 500 stages and the digits recipe")
    parser.add_argument(
        "--repeats", type=int, default=5, help="how often each command with nothing to do, and each edit, is run"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    rows: list[tuple[str, str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="recast benchmark ") as temporary:
        place = Path(temporary)
        seconds_a_stage = {}
        for stages, files in ((10, 1), (100, 1), (500, 50)):
            if options.quick and stages > 100:
                continue
            first, anew, nothing = measure_trivial(place / str(stages), stages, files, options.repeats)
            if stages > 10:
                plan = measure_plan(place / str(stages), min(options.repeats, 2))
                edit = measure_edit(place / str(stages), options.repeats)
                figures[f"plan_{stages}"], figures[f"edit_{stages}"] = plan[0] / plan[1], edit[0] / edit[1]
            figures[f"first_{stages}"], figures[f"noop_{stages}"] = first[0] / first[1], nothing[0] / nothing[1]
            rows.append(row(f"first run of {stages} stages, 2 jobs", *first))
            rows.append(row(f"nothing to do, {stages} stages", *nothing))
            rows.append(row(f"nothing to do, {stages} stages, nothing remembered", *anew))
            if stages > 10:
                rows.append(row(f"plan of {stages} stages with status, against dvc status", *plan))
                rows.append(row(f"from an edit to the first start, {stages} stages", *edit))
            seconds_a_stage[stages] = first[0] / stages
        restored, checked, by_dvc = measure_restore(place / "restored", options.repeats)
        figures["restore_500_mb"] = restored / by_dvc
        figures["hash_share_of_restore"] = checked / restored
        rows.append(row(f"500 MB restored from the cache, {checked:.2f} s of it hashed first", restored, by_dvc))
        parts = where_the_time_goes(place / "100")
        makespan, bound, one_by_one = measure_makespan(place / "work")
        figures["makespan_over_bound"] = makespan / bound
        rows.append(
            ("five chains of four, 2 jobs", f"{makespan:.1f} s", f"{bound:.1f} s (bound)", f"{makespan / bound:.2f}")
        )
        rows.append(row("the same against dvc repro", makespan, one_by_one))
        if not options.quick:
            cold, warm = measure_digits(place / "digits")
            figures["warm_speedup"] = cold / warm
            rows.append(
                ("digits, warm against cold workers", f"{warm:.1f} s", f"{cold:.1f} s (cold)", f"{warm / cold:.2f}")
            )
    show(rows, parts, seconds_a_stage)
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def row(what: str, ours: float, theirs: float) -> tuple[str, str, str, str]:
    """What was measured, our seconds, those of `dvc repro`, the ratio."""
    return what, f"{ours:.2f} s", f"{theirs:.2f} s", f"{ours / theirs:.3f}"


def show(rows: Sequence[Sequence[str]], parts: Sequence[tuple[str, float]], seconds_a_stage: dict[int, float]) -> None:
    """Print the tables."""
    console = Console(width=max(100, Console().width))
    table = Table("measured", "recast run", "dvc repro", "ratio")
    for line in rows:
        table.add_row(*line)
    console.print(table)
    growth = ", ".join(f"{1000 * value:.0f} ms of {stages}" for stages, value in seconds_a_stage.items())
    console.print(f"a stage of a first run, by the number of stages: {growth}")
    rest = Table("where a first run of 100 stages goes (profiled, so slower)", "seconds")
    for name, seconds in parts:
        rest.add_row(name, f"{seconds:.2f}")
    console.print(rest)


# -- the repositories


def make_repository(place: Path, recipe_reads: str) -> None:
    """A repository with one recipe that reads one file; its only stage does nothing."""
    for name in ("src", "pipeline", "stages", "envs", ".dvc", "models"):
        ignore = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        shutil.copytree(ROOT / name, place / name, ignore=ignore, symlinks=True)
    for name in ("recast", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, place / name)
    (place / ".venv").symlink_to(Path(sys.prefix))
    (place / "stages/nothing.py").write_text(NOTHING)
    registered = place / "stages/builtin.py"
    entry = '    "nothing.touch": Entry("recast.stages.nothing", "nothing"),\n'
    registered.write_text(registered.read_text().replace("    # targets\n", f"    # targets\n{entry}"))
    pins = [line for line in (place / "envs/recast.txt").read_text().splitlines() if line.startswith(PYDANTIC)]
    (place / "envs/nothing.txt").write_text("# python: 3.11\n" + "\n".join(pins) + "\n")
    (place / "params.yaml").write_text("data_root: downloads\n")
    (place / "recipes/targets").mkdir(parents=True)
    (place / "recipes/targets/nothing.yaml").write_text("stages:\n  touch: {}\n")
    (place / "recipes/bench.yaml").write_text(
        "model: models.digits_cnn:DigitsCnn\nstages: {data: {dataset: digits}}\n"
        f"targets:\n  nothing:\n    touch: {{file: {recipe_reads}}}\n"
    )
    call(place, "git", "init", "--quiet")
    call(place, "./recast", "env", "build", "nothing")


PYDANTIC = ("annotated-types==", "pydantic==", "pydantic-core==", "typing-extensions==", "typing-inspection==")


def make_trivial(place: Path, count: int, files: int) -> None:
    """`count` shell stages in `files` dvc.yaml files, and one more that reads the last of every chain."""
    make_repository(place, "work/joined.txt")
    work = place / "work"
    (work / "code").mkdir(parents=True)
    for number in range(10):
        (work / f"code/part{number}.py").write_text(f"# part {number}\n" * 20)
    (work / "params.yaml").write_text(SETTINGS.format(rate=0.1))
    up = "" if files == 1 else "../"
    ends = []
    for file in range(files):
        folder = work if files == 1 else work / f"part{file:02d}"
        folder.mkdir(exist_ok=True)
        lines = ["stages:"]
        for number in range(count // files):
            own = [f"out{number - 1}"] if number % 5 else []
            deps = [*own, *(f"{up}code/part{source}.py" for source in range(10))]
            lines += [
                f"  s{number:03d}:",
                f"    cmd: {MARK}; mkdir -p out{number} && echo {file}-{number} > out{number}/result.txt",
            ]
            lines += ["    deps:", *(f"    - {dep}" for dep in deps)]
            lines += ["    params:", f"    - {up}params.yaml:", "      - settings", "    outs:", f"    - out{number}"]
            if number % 5 == 4 or number == count // files - 1:
                ends.append(f"out{number}" if files == 1 else f"part{file:02d}/out{number}")
        (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    join = "\n".join(["  join:", "    cmd: echo joined > joined.txt", "    deps:", *(f"    - {end}" for end in ends)])
    with (work / "dvc.yaml").open("a") as file:
        file.write(("" if files == 1 else "stages:\n") + join + "\n    outs:\n    - joined.txt\n")
    call(place, "./recast", "sync")


def forget(place: Path) -> None:
    """Back to nothing: no lock, cache, output or memory."""
    for path in [*place.rglob("dvc.lock"), place / ".dvc/cache", place / ".dvc/tmp", place / "artifacts"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in [*(place / "work").rglob("out*"), place / "work/joined.txt"]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(place / ".recast/up_to_date", ignore_errors=True)


# -- the measurements

RECAST = ("./recast", "run", "bench", "--jobs", "2")
REPRO = (".venv/bin/dvc", "repro", "--quiet", "bench")


def call(place: Path, *command: str) -> str:
    """Run a command of the benchmark; a failure ends it with the command's output."""
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=variables())
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def variables() -> dict[str, str]:
    """Nothing activated, no analytics: DVC would start a process for them."""
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return {**kept, "DVC_NO_ANALYTICS": "1"}


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


Pair = tuple[float, float]


def measure_trivial(place: Path, count: int, files: int, repeats: int) -> tuple[Pair, Pair, Pair]:
    """Seconds (ours, theirs) of a first run, and with nothing to do: without and with our memory of the last time."""
    make_trivial(place, count, files)
    theirs_first = seconds(lambda: call(place, *REPRO))
    forget(place)
    ours_first = seconds(lambda: call(place, *RECAST))
    call(place, *REPRO)  # both leave the other nothing to do; from here on both are warm
    call(place, *RECAST)
    ours, theirs, anew = [], [], []
    for _ in range(repeats):
        ours.append(seconds(lambda: call(place, *RECAST)))
        theirs.append(seconds(lambda: call(place, *REPRO)))
        shutil.rmtree(place / ".recast/up_to_date")
        anew.append(seconds(lambda: call(place, *RECAST)))
    return (ours_first, theirs_first), (min(anew), min(theirs)), (min(ours), min(theirs))


def measure_plan(place: Path, repeats: int) -> Pair:
    """Seconds of `recast plan` and of `dvc status`, where everything is up to date."""
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(seconds(lambda: call(place, "./recast", "plan")))
        theirs.append(seconds(lambda: call(place, ".venv/bin/dvc", "status")))
    return min(ours), min(theirs)


def measure_edit(place: Path, repeats: int) -> Pair:
    """Seconds from the edit of one value to the start of the first stage's command, by `recast run` and `dvc repro`."""
    found: dict[tuple[str, ...], list[float]] = {RECAST: [], REPRO: []}
    for number in range(repeats):
        for command, times in found.items():
            call(place, *RECAST)  # everything is up to date again, and remembered
            times.append(until_first_start(place, command, rate=0.2 + number + len(command) / 10))
            (place / "work/params.yaml").write_text(SETTINGS.format(rate=0.1))
    call(place, *RECAST)
    return min(found[RECAST]), min(found[REPRO])


def until_first_start(place: Path, command: Sequence[str], rate: float) -> float:
    """Write the rate and run the command until a stage's command has begun; kill it then."""
    mark = place / STARTED
    mark.unlink(missing_ok=True)
    started = time.perf_counter()
    (place / "work/params.yaml").write_text(SETTINGS.format(rate=rate))
    process = subprocess.Popen(
        command,
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=variables(),
        start_new_session=True,
    )
    try:
        while not mark.exists():
            if process.poll() is not None:
                sys.exit(f"{' '.join(command)} ended with {process.returncode}, and had started nothing")
            time.sleep(0.001)
        return time.perf_counter() - started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure_restore(place: Path, repeats: int) -> tuple[float, float, float]:
    """Seconds of `recast run` that restores 500 MB, what hashing those takes, and seconds of `dvc repro`, unhashed."""
    make_repository(place, "work/joined.txt")
    work = place / "work"
    work.mkdir()
    write = "import os; os.mkdir('large'); [open(f'large/{i}', 'wb').write(os.urandom(10**7)) for i in range(50)]"
    (work / "write.py").write_text(write)
    commands = {"large": f"{shlex.quote(sys.executable)} write.py", "join": "echo joined > joined.txt"}
    deps, outs = {"large": "write.py", "join": "large"}, {"large": "large", "join": "joined.txt"}
    lines = ["stages:"]
    for name, command in commands.items():
        lines += [
            f"  {name}:",
            f"    cmd: {json.dumps(command)}",
            f"    deps: [{deps[name]}]",
            f"    outs: [{outs[name]}]",
        ]
    (work / "dvc.yaml").write_text("\n".join(lines) + "\n")
    call(place, "./recast", "sync")
    call(place, *RECAST)
    ours, theirs, hashing = [], [], []
    objects = [path for path in (place / ".dvc/cache/files").rglob("*") if path.is_file()]
    for _ in range(repeats):
        shutil.rmtree(work / "large")
        ours.append(seconds(lambda: call(place, *RECAST)))
        shutil.rmtree(work / "large")
        theirs.append(seconds(lambda: call(place, *REPRO)))
        hashing.append(seconds(lambda: [hashlib.md5(path.read_bytes(), usedforsecurity=False) for path in objects]))
    return min(ours), min(hashing), min(theirs)


def measure_makespan(place: Path) -> tuple[float, float, float]:
    """Seconds of five chains by two jobs, the least that two cores could take, and seconds of `dvc repro`."""
    make_repository(place, "work/joined.txt")
    work = place / "work"
    work.mkdir()
    lines = ["stages:"]
    for chain in range(5):
        for link in range(4):
            name = f"c{chain}s{link}"
            # chains and links of different length, as targets' are
            code = WORK.format(count=4_000_000 * (1 + (chain + 2 * link) % 4), out=f"{name}.txt")
            (work / f"{name}.py").write_text(code)
            deps = [f"    - {name}.py", *([f"    - c{chain}s{link - 1}.txt"] if link else [])]
            command = json.dumps(f"{shlex.quote(sys.executable)} {name}.py")
            lines += [f"  {name}:", f"    cmd: {command}", "    deps:", *deps]
            lines += ["    outs:", f"    - {name}.txt"]
    lines += [
        "  join:",
        "    cmd: echo joined > joined.txt",
        "    deps:",
        *(f"    - c{chain}s3.txt" for chain in range(5)),
    ]
    lines += ["    outs:", "    - joined.txt"]
    (work / "dvc.yaml").write_text("\n".join(lines) + "\n")
    call(place, "./recast", "sync")
    one_by_one = seconds(lambda: call(place, *REPRO))
    forget(place)
    for path in work.glob("*.txt"):
        path.unlink()
    started = time.perf_counter()
    said = [json.loads(line) for line in call(place, *RECAST, "--json").splitlines()]
    makespan = time.perf_counter() - started
    took = {
        event["stage"].rpartition(":")[2]: event["seconds"]
        for event in said
        if event["event"] == "changed" and event["state"] == "done"
    }
    chains = [sum(took[f"c{chain}s{link}"] for link in range(4)) for chain in range(5)]
    bound = max(max(chains), sum(chains) / 2)
    return makespan, bound, one_by_one


def measure_digits(place: Path) -> tuple[float, float]:
    """Seconds of the digits recipe, run by force with cold and with warm workers; the better of two each."""
    place.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name, follow_symlinks=False)
    (place / ".venv").symlink_to(Path(sys.prefix))
    call(place, "git", "init", "--quiet")
    call(place, "./recast", "env", "build", "torch", "onnx", "akida")
    cold, warm = [], []
    for _ in range(2):
        cold.append(seconds(lambda: call(place, "./recast", "run", "digits", "--force", "--cold")))
        warm.append(seconds(lambda: call(place, "./recast", "run", "digits", "--force")))
    return min(cold), min(warm)


def where_the_time_goes(place: Path) -> list[tuple[str, float]]:
    """Seconds of the parts of a first run of 100 stages, by the profiler."""
    forget(place)
    profile = place / "profile"
    program = (
        "import cProfile, sys; sys.path.insert(0, 'src'); sys.argv = ['recast', 'run', 'bench', '--jobs', '2'];"
        "from recast.pipeline.cli.main import main;"
        " cProfile.run('try:\\n main()\\nexcept SystemExit: pass', sys.orig_argv[-1])"
    )
    call(place, ".venv/bin/python", "-c", program, str(profile))
    import pstats

    stats: dict[tuple[str, int, str], Any] = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    # none of these calls another of them
    named = {
        "reading recipes": ("pipeline/planning/partial_plan.py", "make_sound_plan"),
        "reading dvc.yaml and dvc.lock, making the graph": ("pipeline/dvc/repository.py", "steps"),
        "looking at what changed": ("pipeline/dvc/repository.py", "is_changed"),
        "asking the run-cache": ("pipeline/dvc/repository.py", "restore"),
        "hashing what stages read": ("pipeline/dvc/repository.py", "save_deps"),
        "hashing what they made": ("dvc/stage/__init__.py", "save_outs"),
        "moving it into the cache": ("dvc/stage/__init__.py", "commit"),
        "writing run-cache entries": ("dvc/stage/cache.py", "save"),
        "writing dvc.lock": ("pipeline/dvc/repository.py", "write_locks"),
        "evidence for the next time": ("pipeline/dvc/step_looks.py", "add_evidence"),
    }
    parts = dict.fromkeys(named, 0.0)
    for (file, _, function), (_, _, _, cumulative, _) in stats.items():
        for title, (module, name) in named.items():
            if file.endswith(module) and function == name:
                parts[title] += cumulative
    total = max(cumulative for (_, _, _, cumulative, _) in stats.values())
    return [*parts.items(), ("imports, and waiting for the stages", total - sum(parts.values())), ("all", total)]


if __name__ == "__main__":
    main()
