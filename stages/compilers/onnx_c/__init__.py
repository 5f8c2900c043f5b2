"""From an ONNX model to C, and from C to a freestanding WebAssembly module or a native library.

`compile.generate` reads the model into the IR of `graph`, runs `passes/`, lets `catalog` choose a kernel per node,
plans the memory and writes C; `build` compiles it. How to add a kernel: see `kernel`.
"""

from recast.stages.base import Source

KERNELS = Source("kernels", __name__, "csrc")
"""the C that `text` puts together"""
