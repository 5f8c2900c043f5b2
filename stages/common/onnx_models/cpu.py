"""The kind of CPU this process runs on, as far as kernels of 8-bit integers differ between kinds.

`python -m recast.stages.common.onnx_models.cpu` prints it: the runner asks an environment so.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from importlib import import_module

# the widest of those whose kernels onnxruntime has, by numpy's names
_X86_VECTORS = (
    ("AVX-512", ("AVX512F", "AVX512BW", "AVX512DQ", "AVX512VL")),
    ("AVX2", ("AVX2",)),
    ("AVX", ("AVX",)),
    ("SSE4.1", ("SSE41",)),
    ("SSE2", ("SSE2",)),
)


def kind() -> str:
    """For example `x86-64, AVX2 without VNNI` or `arm64, NEON with dot product`; equal on machines of one kind.

    What counts is what the process itself is told by the CPU. /proc/cpuinfo, which many libraries read, shows the
    host's under an emulator.
    """
    # np.show_runtime prints the same, but returns nothing
    found = import_module("numpy._core._multiarray_umath").__cpu_features__
    features = {name for name, there in found.items() if there}
    machine = {"AMD64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    exact = machine != "x86_64" or "AVX512VNNI" in features or not sums_saturate()
    return named(machine, features, exact)


def named(machine: str, features: Collection[str], exact: bool) -> str:
    """The kind, of the machine's name, numpy's names of its features, and whether sums of 8-bit products are exact."""
    if machine == "x86_64":
        vectors = next((name for name, needed in _X86_VECTORS if all(one in features for one in needed)), "no vectors")
        # numpy knows VNNI of AVX-512 only; that of AVX, on smaller processors, shows in what it computes
        fast = "AVX512VNNI" in features or (exact and "AVX2" in features)
        return f"x86-64, {vectors} {'with' if fast else 'without'} VNNI"
    if machine == "arm64":
        return f"arm64, NEON {'with' if 'ASIMDDP' in features else 'without'} dot product"
    return machine


def sums_saturate() -> bool:
    """Whether onnxruntime's products of uint8 and int8 go wrong here: without VNNI sums of pairs are cut at 16 bits."""
    import numpy as np
    import onnx

    from recast.stages.common.onnx_models import onnx_session

    node = onnx.helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    weights = onnx.numpy_helper.from_array(np.full((64, 16), 127, np.int8), "b")
    graph = onnx.helper.make_graph(
        [node],
        "sums",
        [onnx.helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, [1, 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [1, 16])],
        [weights],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = onnx_session.start(model.SerializeToString(), threads=1, mode="as_shipped")
    (sums,) = session.run(None, {"a": np.full((1, 64), 255, np.uint8)})
    return bool((sums != 64 * 255 * 127).any())


if __name__ == "__main__":
    print(kind())
