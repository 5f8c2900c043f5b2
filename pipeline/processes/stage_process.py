"""The process that runs one stage inside its environment.

It reads one job as a line of JSON from standard input and ends when the stage does, or when its
parent goes away. It imports only what the environment holds: `stages` and the standard library.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import sys
import threading
import traceback
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

from recast.stages.base import Inputs, ProjectCode, StageError, emit_event

MEMORY_REMEDIES = ("lower the stage's batch_size or its number of samples", "close other programs")


def main() -> int:
    """Run the job; 0 if the stage succeeded, 1 if it failed."""
    job = json.loads(sys.stdin.readline())
    imported = _watch_imports(job["root"])
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        _write_metrics(Path(job["out"]), _run(job))
        if held := {path: before for path, before in imported.items() if _modified(path) != before}:
            emit_event({"held": held})
    except StageError as error:
        emit_event({"error": error.message, "remedies": error.remedies})
        return 1
    except MemoryError:
        emit_event({"error": "the machine ran out of memory", "remedies": MEMORY_REMEDIES})
        return 1
    except Exception as error:
        emit_event({"traceback": traceback.format_exc()})
        where = _last_line_of(error, Path(job["root"]))
        emit_event({"error": f"{type(error).__name__}: {error}{where}", "remedies": []})
        return 1
    return 0


def _watch_imports(root: str) -> dict[str, int]:
    """The repository's Python files that are imported from now on -> when they were last modified then.

    Python reads such a file, or what it has compiled of it, once and whole: what is edited later is another's. A file
    that is read again, and is another by then, is no longer in it.
    """
    found: dict[str, int] = {}
    changed: set[str] = set()
    real = os.path.realpath(root)

    def note(event: str, given: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(given[0], str) or not given[0].endswith((".py", ".pyc")):
            return
        try:
            path = os.path.realpath(source_from_cache(given[0]) if given[0].endswith(".pyc") else given[0])
        except ValueError:  # not where Python puts what it has compiled
            return
        path = path.replace(real, root, 1)
        if not path.startswith(f"{root}{os.sep}") or path in changed:
            return
        modified = _modified(path)
        if found.setdefault(path, modified) != modified:
            changed.add(path)
            del found[path]

    sys.addaudithook(note)
    return found


def _modified(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def _write_metrics(out: Path, metrics: dict[str, Any]) -> None:
    bad = [name for name, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)]
    if bad:
        raise StageError(f"measured a NaN or an infinity: {', '.join(bad)}", "check the training and the data")
    text = json.dumps(metrics, indent=2, sort_keys=True, allow_nan=False)
    (out / "metrics.json").write_text(text + "\n", encoding="utf-8")


def _run(job: dict[str, Any]) -> dict[str, Any]:
    # here and not in the process's variables, since one that is warm is forked for stages of any plugin
    sys.path[:0] = job["import_from"]
    os.environ["PYTHONPATH"] = os.pathsep.join([*job["import_from"], os.environ["PYTHONPATH"]])
    stage = importlib.import_module(job["module"]).STAGE
    params = stage.params.model_validate_json(json.dumps(job["params"]), strict=True)
    inputs = Inputs(
        directories={name: Path(path) for name, path in job["directories"].items()},
        files={name: Path(path) for name, path in job["files"].items()},
        sources=stage.source_paths,
        data_roots=tuple(Path(path) for path in job["data_roots"]),
        scratch=Path(job["scratch"]),
        device=job["device"],
        project=_project(**job["project"]),
    )
    metrics: dict[str, Any] = stage.run(params, inputs, Path(job["out"]))
    return metrics


def _project(root: str, import_roots: list[str], model_packages: list[str]) -> ProjectCode:
    return ProjectCode(Path(root), tuple(import_roots), tuple(model_packages))


def _leave_with_parent() -> None:
    """End at once, with all it has started, when standard input closes: the runner is gone, even by SIGKILL."""
    sys.stdin.read()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _last_line_of(error: Exception, root: Path) -> str:
    """Where in the repository an unforeseen error came from, the user's own model first."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(root)]
    frames = [frame for frame in frames if ".recast" not in Path(frame.filename).relative_to(root).parts]
    if not frames:
        return ""
    return f" ({Path(frames[-1].filename).relative_to(root).as_posix()}:{frames[-1].lineno})"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # vendors' exit hooks have been seen to hang or crash after the work is done
    os._exit(code)
