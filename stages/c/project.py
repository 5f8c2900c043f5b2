"""The files of the emitted folder beside the generated C."""

from __future__ import annotations

ARTIFACT = "model.c"
SHIPS = (ARTIFACT, "model.h", "model_weights.c")

MAIN = """\
/* Reads samples from standard input, float32 in this machine's byte order, already normalised, and prints a line of
   scores for each. Samples beyond a whole batch of {batch} are filled up with zeros. */
#include <stdio.h>
#include <string.h>

#include "model.h"

#define BATCH {batch}
#define SAMPLE (MODEL_INPUT0_SIZE / BATCH)
#define SCORES (MODEL_OUTPUT0_SIZE / BATCH)

static float input[MODEL_INPUT0_SIZE];
static float output[MODEL_OUTPUT0_SIZE];

int main(void) {{
  size_t count;
  while ((count = fread(input, sizeof(float), MODEL_INPUT0_SIZE, stdin)) > 0) {{
    size_t sample, score;
    if (count % SAMPLE != 0) {{
      fprintf(stderr, "the input ends within a sample of %d values\\n", SAMPLE);
      return 1;
    }}
    memset(input + count, 0, (MODEL_INPUT0_SIZE - count) * sizeof(float));
    model_run(input, output);
    for (sample = 0; sample < count / SAMPLE; ++sample)
      for (score = 0; score < SCORES; ++score)
        printf("%.9g%c", (double)output[sample * SCORES + score], score + 1 < SCORES ? ' ' : '\\n');
  }}
  if (ferror(stdin)) {{
    fprintf(stderr, "cannot read the input\\n");
    return 1;
  }}
  return 0;
}}
"""

README = """\
# {dataset}, {scheme}, as C

| file | is |
|---|---|
| `model.c`, `model.h` | the model in C99: `model_run(input, output)`; no allocation, no library but libm |
| `model_weights.c` | its weights |
| `main.c` | an example: samples from standard input, scores to standard output |
| `input.json` | what the model takes: shape, layout, normalisation, and the names of its classes |
| `report.json` | kernels, memory, and the error against onnxruntime |

```sh
cc -std=c99 -O2 -o model main.c model.c model_weights.c -lm
./model < samples.f32
```

`model_run` takes float32 ({batch}, {shape}), normalised, and gives {classes} scores for each, in the order of
`classes` in `input.json`. A stored sample becomes its input as `(stored / {divisor:g} - mean) / std`, with mean {mean}
and std {std} per channel (the first axis). The wrong normalisation raises no error: it only gives wrong classes.
The function works in static memory: one call at a time.
"""
