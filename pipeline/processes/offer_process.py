"""The process that asks a target what can be tried to repair a model, in the environment that is named for it."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from recast.stages.base import EVENT_MARK, StageError
from recast.stages.repair import Made


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """The offer as JSON values, or what is wrong with what the run has made."""
    directories = {name: Path(path) for name, path in job["directories"].items()}
    try:
        offer = importlib.import_module(job["module"]).offer(Made(directories, job["params"]))
    except StageError as error:
        return {"error": error.message, "remedy": error.remedy}
    return {"offer": offer.model_dump(mode="json")}


if __name__ == "__main__":
    try:
        print(EVENT_MARK + json.dumps(answer(json.loads(sys.argv[1]))), flush=True)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
