"""Put index.html together: one file that holds the module, the clients' code and a few samples."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.common import samples
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


MOST_EDITED = 4096
"""values of a sample that page.js writes out; it says the same"""


def takes(contract: Contract) -> str:
    """On what the page runs the model, as a phrase for the README."""
    if len(contract.inputs) > 1:
        return "samples"
    shape = contract.shape
    if len(shape) == 3 and shape[0] in (1, 3):
        return "samples, or images of your own" if contract.stored_dtype == "uint8" else "samples"
    return "samples, which can be edited" if prod(shape) <= MOST_EDITED else "samples"


def write(
    clients: Path, contract: Mapping[str, Any], module: bytes, shown: list[dict[str, Any]], about: str, to: Path
) -> None:
    """Fill the template in `clients`; `shown` are those of `choose`, `about` is said at the foot of the page."""
    template = (clients / "index.html").read_text(encoding="utf-8")
    scripts = ("model.js", "answers.js", "pictures.js", "page.js")
    code = "\n".join((clients / name).read_text(encoding="utf-8") for name in scripts)
    embedded = {
        "contract": contract,
        "samples": shown,
        "about": about,
        "size": len(module),
        "module": base64.b64encode(module).decode("ascii"),
    }
    # no text may end the script element it stands in
    data = json.dumps(embedded, ensure_ascii=True).replace("<", "\\u003c")
    classes, task = contract["classes"], contract["task"]["name"]
    said = {"classification": f"{len(classes)} classes", "none": ""}.get(task, task)
    title = html.escape(": ".join(filter(None, (contract["dataset"], said))))
    for name, text in (("title", title), ("client", code), ("embedded", data)):
        template = template.replace("{{" + name + "}}", text)
    to.write_text(template, encoding="utf-8")


def choose(contract: Contract, stored: Taken, labels: NDArray[Any] | None, count: int) -> list[dict[str, Any]]:
    """Samples with their label, "" for none, and as `data` their values as base64, `count` at most.

    Of several inputs `data` is a list, with one for each. The first of each
    class, in their order, where every sample has one; else the first samples there are.
    """
    if labels is not None and contract.classes and labels.ndim == 1:
        first = {int(label): index for index, label in reversed(list(enumerate(labels)))}
        found = [(contract.classes[label], first[label]) for label in sorted(first)]
    elif labels is not None and labels.size == len(labels):
        found = [(f"true {label:.3g}", index) for index, label in enumerate(labels[:count].ravel().tolist())]
    else:
        found = [("", index) for index in range(min(count, len(stored)))]
    given = samples.named(stored, contract.names)
    arrays = [given[one.name].astype(one.stored_dtype, copy=False) for one in contract.inputs]
    chosen = []
    for label, index in found[:count]:
        data = [base64.b64encode(array[index].tobytes()).decode("ascii") for array in arrays]
        chosen.append({"label": label, "data": data if len(data) > 1 else data[0]})
    return chosen
