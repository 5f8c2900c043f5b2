"""The HTTP service over a pool of processes that answer for one model."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from stages.base import StageError
from stages.serving import tensors
from stages.serving.pool import Absent, Busy, Lost, Pool, TooLong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import JSONResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

RETRY_AFTER_S = "1"
DRAINED = 4
"""how many times the largest body is read of one that is larger, before its sender is cut off"""
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["input"],
                "additionalProperties": False,
                "properties": {
                    "input": {
                        "description": "One sample or several: nested lists of numbers, or a base64 ONNX TensorProto.",
                        "anyOf": [{"type": "array", "items": {}}, {"type": "string", "format": "byte"}],
                    },
                    "values": {
                        "description": "Whether the samples are as the data's normalisation makes them, or as stored.",
                        "enum": ["normalised", "stored"],
                        "default": "normalised",
                    },
                },
            }
        },
        "text/plain": {"schema": {"type": "string", "description": "A base64 ONNX TensorProto, normalised."}},
    },
}
_FAULT = {"application/json": {"example": {"error": "what is wrong", "remedy": "how to mend it"}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"description": description, "content": _FAULT}
    for code, description in {
        400: "The body is neither JSON of the right form nor a base64 TensorProto.",
        413: "The body is too large.",
        422: "The model does not take this input: its shape, or its values.",
        500: "The model failed.",
        503: "Too many requests wait already, or no process of the model is there just now.",
        504: "The model took too long.",
    }.items()
}


def make_app(pool: Pool, name: str, max_body: int, on_ready: Callable[[], None]) -> Asgi:
    """The ASGI application: POST /predict, GET /model, GET /health and the documentation below /docs.

    `name` is shown as its title; `max_body` is in bytes; `on_ready` is called when signals are handled and requests
    will be. It starts no process and ends those of the pool.
    """
    from fastapi_offline import FastAPIOffline

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        on_ready()
        yield
        await pool.close()

    # the pages' scripts come from the package, since a service may stand where no other network is
    app = FastAPIOffline(
        title=name,
        description="A model that Recast emitted. Scores are in the order of the classes that `/model` names.",
        version="1",
        lifespan=lifespan,
    )
    _add_routes(app, pool)
    return _limited(app, max_body)


def _add_routes(app: FastAPI, pool: Pool) -> None:
    from fastapi import Request

    async def predict(request: Request) -> JSONResponse:
        return await _predict(pool, request)

    async def model() -> dict[str, Any]:
        return pool.model

    async def health() -> JSONResponse:
        if pool.is_ready:
            return _json({"status": "ready"})
        absence = pool.absence()
        return _json({"status": "no process of the model", "reason": str(absence)}, 503, _retry_after(absence))

    # annotations are text in this module, and Request is no name of it
    predict.__annotations__["request"] = Request
    app.post(
        "/predict",
        summary="Scores for one sample or several",
        description='Answers `{"output": [...]}`: one list of scores, or one per sample if several were sent. A '
        "target that proves what it computes adds the `proof`, and takes one sample at a time.",
        response_description="One score per class for each sample.",
        responses={200: {"content": {"application/json": {"example": {"output": [0.1, 7.2]}}}}, **_REFUSALS},
        openapi_extra={"requestBody": _BODY},
        response_model=None,
    )(predict)
    app.get("/model", summary="What the model takes, and its classes")(model)
    app.get("/health", summary="Whether the model can answer", response_model=None)(health)


async def _predict(pool: Pool, request: Request) -> JSONResponse:
    try:
        samples, values = _read(request.headers.get("content-type", ""), await request.body())
    except StageError as error:
        return _fault(400, error.message, error.remedy)
    single = samples.ndim == len(pool.model["shape"])
    try:
        answer = await pool.answer(samples[None] if single else samples, values)
    except StageError as error:
        return _fault(422, error.message, error.remedy)
    except Busy:
        return _fault(503, "too many requests wait already", "send it again later", {"Retry-After": RETRY_AFTER_S})
    except Absent as absence:
        return _fault(503, str(absence), "send it again later; another process is started", _retry_after(absence))
    except TooLong:
        return _fault(504, "the model took too long", "send fewer samples, or raise --timeout of recast serve")
    except Lost:
        # why is for the owner of the service, who sees it printed
        return _fault(500, "the model failed", "ask whoever runs the service to see what recast serve printed")
    scores = answer.scores
    try:
        output = None if scores is None else (scores[0] if single else scores).tolist()
        return _json({"output": output, **answer.more})
    except ValueError:
        return _fault(500, "the model gives NaN or infinity for this input", "check the model's weights")


def _read(content_type: str, body: bytes) -> tuple[Any, str]:
    """The samples, float32 of any shape, and whether they are stored or normalised. Raises StageError."""
    kind = content_type.partition(";")[0].strip().lower()
    form = '{"input": [...]}, or a base64 TensorProto as text/plain'
    try:
        if kind == "text/plain":
            return tensors.from_base64(body.decode("ascii")), "normalised"
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StageError("the body is not JSON" if kind != "text/plain" else "the body is not text", form) from error
    if not isinstance(said, dict) or "input" not in said:
        raise StageError("the body has no 'input'", f"send {form}")
    if unknown := sorted(set(said) - {"input", "values"}):
        raise StageError(f"the body has '{unknown[0]}', which is not known", "send 'input' and 'values' only")
    values = said.get("values", "normalised")
    if values not in ("normalised", "stored"):
        raise StageError(f"'values' is {values!r}", "say 'normalised' or 'stored'")
    if isinstance(said["input"], str):
        return tensors.from_base64(said["input"]), values
    if isinstance(said["input"], list):
        return tensors.from_lists(said["input"]), values
    raise StageError("'input' is neither a list nor a base64 TensorProto", f"send {form}")


def _retry_after(absence: Absent) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(absence.retry_after_s))}


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    from starlette.responses import JSONResponse

    return JSONResponse(content, status, headers)


def _fault(status: int, error: str, remedy: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return _json({"error": error, "remedy": remedy}, status, headers)


def _limited(app: Asgi, most: int) -> Asgi:
    """The application, which is never given a body of more than `most` bytes, whatever its length is said to be."""

    async def limited(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        refusal = _fault(413, f"the body is larger than {most} bytes", "send fewer samples, or raise --max-body")
        refused = not said.isdigit() or int(said) > most
        body, read_bytes, more = bytearray(), 0, True
        # many clients look for an answer only when all is sent, so a body not much too large is still taken in
        while more and read_bytes <= DRAINED * most:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client went away
            part, more = message.get("body", b""), message.get("more_body", False)
            read_bytes += len(part)
            refused = refused or read_bytes > most
            if not refused:
                body += part
        if refused:
            await refusal(scope, receive, send)
            return
        read = False

        async def replay() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await app(scope, replay, send)

    return limited
