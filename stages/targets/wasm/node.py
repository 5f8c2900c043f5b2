"""Run the emitted model.js in Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.samples import Taken

SCRIPT = """\
import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [client, folder] = process.argv.slice(2);
const { load, TYPES } = await import(pathToFileURL(client));
const model = await load();
const { inputs, outputs } = model.contract;
const given = {};
for (const [index, { name, dtype }] of inputs.entries()) {
  const bytes = await readFile(`${folder}/input${index}.bin`);
  const { array } = TYPES[dtype];
  given[name] = new array(bytes.buffer, bytes.byteOffset, bytes.length / array.BYTES_PER_ELEMENT);
}
const made = model.predict(inputs.length > 1 ? given : given[inputs[0].name]);
for (const [index, { name }] of outputs.entries()) {
  const { buffer } = outputs.length > 1 ? made[name] : made;
  await writeFile(`${folder}/output${index}.bin`, new Uint8Array(buffer));
}
"""


def require() -> str:
    """Node's program; StageError if there is none on PATH."""
    program = shutil.which("node")
    if program is None:
        raise StageError("there is no 'node' on PATH", "install Node 18 or later, or drop node from verify.runtimes")
    return program


def predict(emitted: Path, x: Taken, scratch: Path) -> Any:
    """Samples as the model takes them (n, *shape) -> outputs (n, ...), by model.js; StageError if it throws.

    Of several inputs or outputs they are Samples.
    """
    import json

    import numpy as np

    contract = json.loads((emitted / "input.json").read_text(encoding="utf-8"))
    script = scratch / "predict.mjs"
    script.write_text(SCRIPT, encoding="utf-8")
    names = [one["name"] for one in contract["inputs"]]
    for index, value in enumerate(samples.named(x, names).values()):
        (scratch / f"input{index}.bin").write_bytes(np.ascontiguousarray(value).tobytes())
    command = [require(), str(script), str((emitted / "model.js").resolve()), str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "Error" in line), "no message")
        raise StageError(f"model.js fails in Node: {said}", "run emit again")
    return samples.of({
        one["name"]: np.fromfile(scratch / f"output{index}.bin", one["dtype"]).reshape(len(x), *one["shape"])
        for index, one in enumerate(contract["outputs"])
    })  # fmt: skip
