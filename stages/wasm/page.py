"""Put index.html together: one file that holds the module, the clients' code and a few samples."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.dataset import Contract


def write(
    clients: Path, contract: Mapping[str, Any], module: bytes, samples: list[dict[str, str]], about: str, to: Path
) -> None:
    """Fill the template in `clients`; `samples` are those of `choose`, `about` is said at the foot of the page."""
    template = (clients / "index.html").read_text(encoding="utf-8")
    code = "\n".join((clients / name).read_text(encoding="utf-8") for name in ("model.js", "page.js"))
    embedded = {
        "contract": contract,
        "samples": samples,
        "about": about,
        "size": len(module),
        "module": base64.b64encode(module).decode("ascii"),
    }
    # no text may end the script element it stands in
    data = json.dumps(embedded, ensure_ascii=True).replace("<", "\\u003c")
    title = html.escape(f"{contract['dataset']}: {len(contract['classes'])} classes")
    for name, text in (("title", title), ("client", code), ("embedded", data)):
        template = template.replace("{{" + name + "}}", text)
    to.write_text(template, encoding="utf-8")


def choose(contract: Contract, stored: NDArray[Any], labels: NDArray[np.int64], count: int) -> list[dict[str, str]]:
    """The first sample of each class, in their order, `count` at most: its label, and its values as base64."""
    first = {int(label): index for index, label in reversed(list(enumerate(labels)))}
    return [
        {"label": contract.classes[label], "data": base64.b64encode(stored[first[label]].tobytes()).decode("ascii")}
        for label in sorted(first)[:count]
    ]
