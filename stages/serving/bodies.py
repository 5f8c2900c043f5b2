"""What the body of a request says, and what it is answered with, as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.serving import images, tensors
from recast.stages.serving.messages import Arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORM = '{"input": [...]} as application/json, or a base64 TensorProto as text/plain'
FORMS = f"{FORM}, or an image as image/png or image/jpeg"
OF_SEVERAL = '{"input": {"NAME": [...], ...}}, with nested lists or a base64 TensorProto for each input of the model'
KINDS = ("application/json", "text/plain", *images.KINDS)
CUT = 60
"""characters of what was sent that an answer repeats"""


def read(kind: str, body: bytes, shape: Sequence[int] = ()) -> tuple[Arrays, str]:
    """The samples, float32 or int64 of any shape, and whether they are stored or normalised; `kind` is one of KINDS.

    Of several inputs they are arrays by name.

    `shape` is that of a sample, which an image is brought to. Raises StageError for whatever else it is.
    """
    if kind in images.KINDS:
        return images.read(kind, body, shape), "stored"
    if kind == "text/plain":
        return tensors.from_base64(_text(body)), "normalised"
    try:
        said = json.loads(_text(body))
    except (ValueError, RecursionError) as error:
        raise StageError("the body is not JSON", f"send {FORM}") from error
    if not isinstance(said, dict) or "input" not in said:
        raise StageError("the body has no 'input'", f"send {FORM}")
    if unknown := sorted(set(said) - {"input", "values"}):
        raise StageError(f"the body has {_shown(unknown[0])}, which is not known", "send 'input' and 'values' only")
    values = said.get("values", "normalised")
    if values not in ("normalised", "stored"):
        raise StageError(f"'values' is {_shown(values)}", "say 'normalised' or 'stored'")
    given = said["input"]
    if isinstance(given, dict):
        if not given:
            raise StageError("'input' holds no input", f"send {OF_SEVERAL}")
        return {name: _array(one, f"'input' of {_shown(name)}") for name, one in given.items()}, values
    return _array(given, "'input'"), values


def _array(given: Any, what: str) -> NDArray[Any]:
    if isinstance(given, str):
        return tensors.from_base64(given, what)
    if isinstance(given, list):
        return tensors.from_lists(given, what)
    raise StageError(f"{what} is neither a list nor a base64 TensorProto", f"send {FORM}")


def answer(scores: Arrays | None, more: dict[str, Any]) -> bytes:
    """The answer as JSON. Raises ValueError for NaN and infinity, which JSON cannot say."""
    if isinstance(scores, Mapping):
        return as_json({"output": {name: one.tolist() for name, one in scores.items()}, **more})
    return as_json({"output": None if scores is None else scores.tolist(), **more})


def as_json(content: Any) -> bytes:
    """JSON of ASCII alone: half a surrogate pair, which JSON can hold and UTF-8 cannot, is escaped as it came."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StageError(f"the body is not UTF-8: byte {error.start} is no part of it", f"send {FORM}") from error


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= CUT else f"{text[:CUT]}..."
