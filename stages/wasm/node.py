"""Run the emitted model.js in Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCRIPT = """\
import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [client, given, scores] = process.argv.slice(2);
const { load } = await import(pathToFileURL(client));
const model = await load();
const bytes = await readFile(given);
const input = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
await writeFile(scores, new Uint8Array(model.predict(input).buffer));
"""


def require() -> str:
    """Node's program; StageError if there is none on PATH."""
    program = shutil.which("node")
    if program is None:
        raise StageError("there is no 'node' on PATH", "install Node 18 or later, or drop node from verify.runtimes")
    return program


def predict(emitted: Path, x: NDArray[Any], scratch: Path) -> NDArray[np.float32]:
    """Normalised samples, float32 (n, *shape) -> scores (n, classes), by model.js; StageError if it throws."""
    import numpy as np

    script, given, scores = (scratch / name for name in ("predict.mjs", "input.f32", "scores.f32"))
    script.write_text(SCRIPT, encoding="utf-8")
    given.write_bytes(np.ascontiguousarray(x, np.float32).tobytes())
    command = [require(), str(script), str((emitted / "model.js").resolve()), str(given), str(scores)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "Error" in line), "no message")
        raise StageError(f"model.js fails in Node: {said}", "run emit again")
    return np.fromfile(scores, np.float32).reshape(len(x), -1)
