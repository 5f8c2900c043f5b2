"""The files of the emitted folder beside the generated C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recast.stages.compilers.onnx_c.graph import C_TYPES

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

ARTIFACT = "model.c"
SHIPS = (ARTIFACT, "model.h", "model_weights.c")

MAIN = """\
/* Reads samples from standard input, {takes}, and prints {prints}.
   Samples beyond a whole batch of {batch} are filled up with zeros. */
#include <stdio.h>
#include <string.h>

#include "model.h"

#define BATCH {batch}
#define SAMPLE ({sample})

{arrays}

/* Values of the next sample that could be read, into place `at` of the batch. */
static size_t read_sample(size_t at) {{
  size_t count = 0;
{reads}
  return count;
}}

int main(void) {{
  for (;;) {{
    size_t samples = 0, count = 0, sample, value;
{clears}
    while (samples < BATCH && (count = read_sample(samples)) == SAMPLE) ++samples;
    if (ferror(stdin)) {{
      fprintf(stderr, "cannot read the input\\n");
      return 1;
    }}
    if (count > 0 && count < SAMPLE) {{
      fprintf(stderr, "the input ends within a sample of %d values\\n", SAMPLE);
      return 1;
    }}
    if (samples == 0) return 0;
    model_run({arguments});
    for (sample = 0; sample < samples; ++sample) {{
{prints_each}
    }}
  }}
}}
"""
READ = """\
  if (count == {before})
    count += fread({name} + at * ({size}), sizeof {name}[0], {size}, stdin);"""
PRINT = """\
      for (value = 0; value < {size}; ++value)
        printf("{format}%c", ({type}){name}[sample * ({size}) + value], value + 1 < {size} ? ' ' : '\\n');"""

README = """\
# {dataset}, {scheme}, as C

| file | is |
|---|---|
| `model.c`, `model.h` | the model in C99: `model_run({arguments})`; no allocation, no library but libm |
| `model_weights.c` | its weights |
| `main.c` | an example: samples from standard input, outputs to standard output |
| `input.json` | what the model takes and gives: {contract_holds} |
| `report.json` | kernels, memory, and the error against onnxruntime |

```sh
cc -std=c99 -O2 -o model main.c model.c model_weights.c -lm
./model < samples.bin
```

{signature}

The function works in static memory: one call at a time.
"""
SINGLE = """\
`model_run` takes {takes} {given}, {prepared}, and gives {gives} {made}: {meaning}.
{preparation}{bounds}"""
SEVERAL = """\
Arguments are the inputs, then the outputs, each a pointer, in this order; N is {batch}:

{table}

{bounds}
`samples.bin` holds one sample after another, and of each its inputs, one after another, as `model_run` takes them. For
each sample `main.c` prints a line for each output.

The wrong normalisation raises no error: it only gives wrong outputs."""


def readme(fields: Mapping[str, str], contract: Contract, scheme: str, batch: int) -> str:
    """README.md; `fields` are those of `EmitInputs.readme`."""
    signature = (SINGLE if contract.is_single else SEVERAL).format(**fields, batch=batch)
    return README.format(
        **fields, signature=signature.replace("\n\n\n", "\n\n"), scheme=scheme, arguments=_arguments(contract)
    )


def _names(kind: str, ports: Sequence[object]) -> list[str]:
    return [kind] if len(ports) == 1 else [f"{kind}{index}" for index in range(len(ports))]


def _arguments(contract: Contract) -> str:
    return ", ".join((*_names("input", contract.inputs), *_names("output", contract.outputs)))


def main_c(batch: int, contract: Contract) -> str:
    """main.c for a model of this contract, whose inputs and outputs are in the order of the arguments."""
    inputs, outputs = _names("input", contract.inputs), _names("output", contract.outputs)
    taken, made = (
        [f"MODEL_{kind}{index}_SIZE / BATCH" for index in range(len(ports))]
        for kind, ports in (("INPUT", inputs), ("OUTPUT", outputs))
    )
    dtypes = [one.dtype for one in contract.inputs], [one.dtype for one in contract.outputs]
    arrays = [
        f"static {C_TYPES[dtype]} {name}[MODEL_{kind}{index}_SIZE];"
        for kind, of, names in (("INPUT", dtypes[0], inputs), ("OUTPUT", dtypes[1], outputs))
        for index, (dtype, name) in enumerate(zip(of, names, strict=True))
    ]
    before = [" + ".join(["0", *(f"({size})" for size in taken[:index])]) for index in range(len(taken))]
    types = ", ".join(dtypes[0])
    prepared = "already normalised" if any(one.is_float for one in contract.inputs) else "as they are stored"
    return MAIN.format(
        batch=batch,
        takes=f"{types} in this machine's byte order, {prepared}"
        if len(taken) == 1
        else f"of each {types} in this\n   machine's byte order, floats already normalised",
        prints="a line of outputs for each" if len(made) == 1 else "for each a line of each output",
        sample=" + ".join(taken),
        arrays="\n".join(arrays),
        reads="\n".join(
            READ.format(name=name, size=size, before=count)
            for name, size, count in zip(inputs, taken, before, strict=True)
        ),
        clears="\n".join(f"    memset({name}, 0, sizeof {name});" for name in inputs),
        arguments=_arguments(contract),
        prints_each="\n".join(
            PRINT.format(name=name, size=size, **_printed(dtype))
            for name, size, dtype in zip(outputs, made, dtypes[1], strict=True)
        ),
    )


def _printed(dtype: str) -> dict[str, str]:
    if dtype.startswith("float"):
        return {"format": "%.9g", "type": "double"}
    if dtype.startswith("u") or dtype == "bool":
        return {"format": "%llu", "type": "unsigned long long"}
    return {"format": "%lld", "type": "long long"}
