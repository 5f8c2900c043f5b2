"""The process that asks the DVC remote: `python -m pipeline.remote_probe ROOT` prints a JSON object per fact.

A process of its own, so that a remote that never answers can be given up.
"""

import json
import sys
from pathlib import Path

from pipeline import dvc_repository

if __name__ == "__main__":
    for fact in dvc_repository.ask_remote(Path(sys.argv[1])):
        print(json.dumps(fact), flush=True)
