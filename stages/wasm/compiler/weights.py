"""Constants of the generated code: one array per C type, equal ones stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.wasm.compiler.graph import C_TYPES, ITEM_SIZE
from stages.wasm.compiler.plan import ALIGNMENT

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
