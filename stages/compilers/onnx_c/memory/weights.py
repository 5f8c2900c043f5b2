"""Constants of the generated code: one array per C type, equal ones stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import C_TYPES, ITEM_SIZE
from recast.stages.compilers.onnx_c.memory.placement import ALIGNMENT
from recast.stages.compilers.onnx_c.syntax.expressions import number

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Weights:
    """Collects arrays in the order in which they are asked for."""

    def __init__(self) -> None:
        self._parts: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, array: NDArray[Any]) -> tuple[str, int]:
        """Store an array, row major and little-endian; its C type and its offset in elements, 64-byte aligned."""
        c_type = C_TYPES[str(array.dtype)]
        content = array.astype(array.dtype.newbyteorder("<")).tobytes()
        if (c_type, content) not in self._known:
            size = self._sizes.get(c_type, 0)
            self._known[c_type, content] = size // ITEM_SIZE[c_type]
            padded = content + bytes(-len(content) % ALIGNMENT)
            self._parts.setdefault(c_type, []).append(padded)
            self._sizes[c_type] = size + len(padded)
        return c_type, self._known[c_type, content]

    def packed(self) -> dict[str, bytes]:
        """C type -> the bytes of its array."""
        return {c_type: b"".join(parts) for c_type, parts in sorted(self._parts.items())}


def weights_c(weights: dict[str, bytes], prefix: str) -> bytes:
    """The constants as C99 arrays, eight to a line; every float is written so that it reads back exactly."""
    import numpy as np

    parts = ["/* Generated from an ONNX model; do not edit. */\n#include <stdint.h>\n"]
    for c_type, content in weights.items():
        values = np.frombuffer(
            content, np.dtype("float32" if c_type == "float" else c_type.removesuffix("_t")).newbyteorder("<")
        )
        if c_type == "float" and not np.isfinite(values).all():
            parts.append("#include <math.h>\n")
        if c_type == "float":
            texts = [number(v) if not np.isfinite(v) else f"{v:.9e}f" for v in values.tolist()]
        else:
            texts = [number(v, c_type) for v in values.tolist()]
        rows = [", ".join(texts[i : i + 8]) for i in range(0, len(texts), 8)]
        # a declaration first: some compilers warn of an external array without one
        parts.append(f"extern const {c_type} {prefix}_weights_{c_type}[{len(texts)}];\n")
        parts.append(
            f"const {c_type} {prefix}_weights_{c_type}[{len(texts)}] = {{\n{(',' + chr(10)).join(rows)}\n}};\n"
        )
    return "".join(parts).encode()
