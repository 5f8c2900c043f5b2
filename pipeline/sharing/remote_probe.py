"""The process that asks the DVC remote.

`python -m recast.pipeline.sharing.remote_probe ROOT` prints a JSON object per fact.

A process of its own, so that a remote that never answers can be given up.
"""

import json
import sys
from pathlib import Path

from recast.pipeline.sharing import remote

if __name__ == "__main__":
    for fact in remote.ask_remote(Path(sys.argv[1])):
        print(json.dumps(fact), flush=True)
