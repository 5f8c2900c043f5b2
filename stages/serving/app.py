"""The HTTP service over pools of processes, each of which answers for one model."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.serving import bodies, counted, hosts, images, messages, named, pages
from recast.stages.serving.body_process import Bodies, Failed
from recast.stages.serving.model import Answer
from recast.stages.serving.pool import Absent, Busy, Lost, Pool, TooLong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

RETRY_AFTER_S = "1"
NAMED = 2**16
"""scores of a request up to which classes are named: milliseconds, in which the service answers nobody else"""
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
                        "description": "One sample or several: nested lists of numbers, or a base64 ONNX TensorProto; "
                        "of a model with several inputs, one of these for each, by its name.",
                        "anyOf": [
                            {"type": "array", "items": {}},
                            {"type": "string", "format": "byte"},
                            {"type": "object", "additionalProperties": {}},
                        ],
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
        "image/png": {"schema": {"type": "string", "format": "binary"}},
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
    },
}
_EXAMPLE = {"output": [0.1, 7.2], "classes": [{"class": "b", "probability": 0.999}]}
_COMPARED = {"targets": {"onnxruntime": _EXAMPLE, "wasm": _EXAMPLE}, "agree": True}
_FAULT = {"application/json": {"example": {"error": "what is wrong", "remedy": "how to mend it"}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"description": description, "content": _FAULT}
    for code, description in {
        400: "The body is not what it is said to be: JSON of the right form, a base64 TensorProto, or an image.",
        404: "There is no such target.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The body is said to be none of these, or is an image and the model takes none.",
        421: "The host that was asked for is not this one.",
        422: "The model does not take this input: its shape, or its values.",
        500: "The model failed.",
        503: "Too many requests wait already, or no process of the model is there just now.",
        504: "The model took too long.",
    }.items()
}


@dataclass(frozen=True)
class Requests:
    """Which requests are taken."""

    max_body: int
    """bytes"""
    body_s: float
    """until a body is there"""
    hosts: Sequence[str]
    """names under which it may be asked, besides localhost"""


def make_app(pools: dict[str, Pool], name: str, taken: Requests, on_ready: Callable[[], None]) -> Asgi:
    """The ASGI application: POST /predict and /compare, GET /model, /health, /metrics, a page at / and one at /docs.

    `pools`: target -> its processes, the first asked unless a request names another. `name` is shown as its title;
    `on_ready` is called when signals are handled and requests will be. It starts no process of a model and ends those
    of the pools.
    """
    from fastapi_offline import FastAPIOffline

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        on_ready()
        yield
        for pool in pools.values():
            await pool.close()
        large.close()

    large = Bodies()
    # the pages' scripts come from the package, since a service may stand where no other network is
    app = FastAPIOffline(
        title=name,
        description="A model that Recast emitted. Scores are in the order of the classes that `/model` names.",
        version="1",
        lifespan=lifespan,
    )
    _add_routes(app, _Service(pools, name, large))
    return _limited(app, taken)


class _Service:
    """What answers requests: pools by target, the reader of bodies, and what is counted."""

    def __init__(self, pools: dict[str, Pool], name: str, large: Bodies) -> None:
        self.pools, self.name, self.large = pools, name, large
        self.counted = counted.Counted(pools)
        self.first = next(iter(pools))

    async def predict(self, request: Request) -> Response:
        """One target's answer."""
        target = request.query_params.get("target", self.first)
        if target not in self.pools:
            known = ", ".join(self.pools)
            return _fault(404, f"no target {target[: bodies.CUT]!a} is served here", f"ask one of: {known}")
        started = time.monotonic()
        answer = await self._ask(target, _kind(request), await request.body())
        samples = answer.samples if answer.status == 200 else 0
        self.counted.answered(target, answer.status, time.monotonic() - started, samples)
        return _said(answer.text, answer.status, answer.headers)

    async def compare(self, request: Request) -> Response:
        """Every target's answer to the same samples, each with what it would have been answered alone."""
        kind, body = _kind(request), await request.body()

        async def one(target: str) -> _Answer:
            started = time.monotonic()
            answer = await self._ask(target, kind, body)
            seconds = time.monotonic() - started
            self.counted.answered(target, answer.status, seconds, answer.samples if answer.status == 200 else 0)
            return answer

        answers = dict(zip(self.pools, await asyncio.gather(*map(one, self.pools)), strict=True))
        chosen = [answer.chosen for answer in answers.values() if answer.status == 200]
        parts = [bodies.as_json(target) + b":" + answer.text for target, answer in answers.items()]
        agree = None if len(chosen) < 2 or None in chosen else all(one == chosen[0] for one in chosen)
        text = b'{"targets":{' + b",".join(parts) + b'},"agree":' + bodies.as_json(agree) + b"}"
        # what every one refuses is refused; else there is something to compare
        statuses = {answer.status for answer in answers.values()}
        first = next(iter(answers.values()))
        return (
            _said(first.text, first.status, first.headers)
            if len(statuses) == 1 and 200 not in statuses
            else _said(text)
        )

    def model(self) -> Response:
        """What the first target takes, which every other takes as well, and what there is."""
        model = self.pools[self.first].model
        more = {"name": self.name, "targets": list(self.pools), "images": images.takes_images(model)}
        return _json({**model, **more})

    def health(self) -> Response:
        """Whether every target can answer."""
        for pool in self.pools.values():
            if not pool.is_ready:
                absence = pool.absence()
                why = {"status": "no process of the model", "reason": str(absence)}
                return _json(why, 503, _retry_after(absence))
        return _json({"status": "ready"})

    async def _ask(self, target: str, kind: str, body: bytes) -> _Answer:
        pool, large = self.pools[target], self.large
        if kind not in bodies.KINDS:
            said = ascii(kind[: bodies.CUT]) if kind else "nothing"
            return _refused(415, f"the body is said to be {said}", bodies.FORMS)
        if kind in images.KINDS and not images.takes_images(pool.model):
            return _refused(415, "the model takes no images", bodies.FORM)
        try:
            async with pool.place():
                try:
                    samples, values = await large.read(kind, body, pool.model.get("shape", ()))
                except StageError as error:
                    return _refused(400, error.message, error.remedy)
                single = messages.is_one_sample(pool.model, samples)
                try:
                    batch = messages.each(samples, lambda one: one[None]) if single else samples
                    answer = await pool.answer(batch, values)
                except StageError as error:
                    return _refused(422, error.message, error.remedy)
                try:
                    return await self._answered(pool, answer, single)
                except ValueError:
                    return _refused(500, "the model gives NaN or infinity for this input", "check the model's weights")
        except Busy:
            return _refused(
                503, "too many requests wait already", "send it again later", {"Retry-After": RETRY_AFTER_S}
            )
        except Absent as absence:
            remedy = "send it again later; another process is started"
            return _refused(503, str(absence), remedy, _retry_after(absence))
        except TooLong:
            return _refused(504, "the model took too long", "send fewer samples, or raise --timeout of recast serve")
        except Lost:
            # why is for the owner of the service, who sees it printed
            return _refused(500, "the model failed", "ask whoever runs the service to see what recast serve printed")
        except Failed:
            return _refused(500, "the process that reads large bodies ended", "send fewer samples")

    async def _answered(self, pool: Pool, answer: Answer, single: bool) -> _Answer:
        """Raises ValueError for NaN and infinity, Failed besides."""
        scores, more = answer.scores, dict(answer.more)
        if scores is None:
            return _Answer(200, await self.large.answer(None, more), {}, 1)
        chosen = None
        # of several outputs none is known to be the one that chooses a class
        if not isinstance(scores, Mapping) and scores.size <= NAMED:
            classes = named.named(pool.model, scores)
            if classes is not None:
                more = {"classes": classes[0] if single else classes, **more}
                chosen = [one[0]["class"] for one in classes]
        samples = min(map(len, scores.values())) if isinstance(scores, Mapping) else len(scores)
        shown = messages.each(scores, lambda one: one[0]) if single else scores
        return _Answer(200, await self.large.answer(shown, more), {}, samples, chosen)


@dataclass(frozen=True)
class _Answer:
    status: int
    text: bytes
    """JSON"""
    headers: dict[str, str] = field(default_factory=dict)
    samples: int = 0
    chosen: list[str] | None = None
    """the likeliest class of each sample, where there are any"""


def _refused(status: int, error: str, remedy: str, headers: dict[str, str] | None = None) -> _Answer:
    return _Answer(status, bodies.as_json({"error": error, "remedy": remedy}), headers or {})


def _kind(request: Request) -> str:
    return str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _add_routes(app: FastAPI, service: _Service) -> None:
    from fastapi import Request
    from starlette.responses import Response as Plain

    async def predict(request: Request) -> Response:
        return await service.predict(request)

    async def compare(request: Request) -> Response:
        return await service.compare(request)

    async def model() -> Response:
        return service.model()

    async def health() -> Response:
        return service.health()

    async def metrics() -> Response:
        return Plain(service.counted.text(), 200, None, counted.KIND)

    async def page(request: Request) -> Response:
        content, kind = pages.content(request.url.path)
        return Plain(content, 200, pages.HEADERS, kind)

    # annotations are text in this module, and Request is no name of it
    for route in (predict, compare, page):
        route.__annotations__["request"] = Request
    asked: dict[str, Any] = {"openapi_extra": {"requestBody": _BODY}, "response_model": None}
    app.post(
        "/predict",
        summary="Scores for one sample or several",
        description='Answers `{"output": [...], "classes": [...]}`: one list of scores, or one per sample if several '
        "were sent, and where the task has classes the likeliest with their probabilities. A target that proves what "
        "it computes adds the `proof`, and takes one sample at a time. `?target=` names another than the first.",
        response_description="One score per class for each sample.",
        responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}, **_REFUSALS},
        **asked,
    )(predict)
    app.post(
        "/compare",
        summary="The same samples, answered by every target",
        description='Answers `{"targets": {"TARGET": {...}}, "agree": ...}`: of each target what /predict would '
        "answer, and whether all choose the same classes; null where they choose none.",
        responses={200: {"content": {"application/json": {"example": _COMPARED}}}, **_REFUSALS},
        **asked,
    )(compare)
    app.get("/model", summary="What the model takes, and its classes", response_model=None)(model)
    app.get("/health", summary="Whether the model can answer", response_model=None)(health)
    app.get("/metrics", summary="What the service counts, for Prometheus", response_model=None)(metrics)
    for path in pages.FILES:
        app.get(path, include_in_schema=False, response_model=None)(page)


def _retry_after(absence: Absent) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(absence.retry_after_s))}


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return _said(bodies.as_json(content), status, headers)


def _said(text: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import Response

    return Response(text, status, headers, "application/json")


def _fault(status: int, error: str, remedy: str, headers: dict[str, str] | None = None) -> Response:
    return _json({"error": error, "remedy": remedy}, status, headers)


def _limited(app: Asgi, taken: Requests) -> Asgi:
    """The application, given only what was sent to it, in time, in a body that is not too large."""

    async def limited(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(taken.body_s):
                body = await _body(scope, receive, taken.max_body)
        except TimeoutError:
            slow = f"the body took longer than {taken.body_s:g} s"
            # what else comes of it would be waited for without a bound
            refusal = _fault(408, slow, "send it at once, or raise --body-timeout", {"Connection": "close"})
            await refusal(scope, receive, send)
            return
        except ClientGone:
            return
        if body is None:
            large = f"the body is larger than {taken.max_body} bytes"
            refusal = _fault(413, large, "send fewer samples, or raise --max-body", {"Connection": "close"})
            await refusal(scope, receive, send)
            return
        if misled := hosts.refusal(scope["headers"], taken.hosts):
            await _fault(421, *misled)(scope, receive, send)
            return
        read = False

        async def replay() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await app(scope, replay, send)

    return limited


class ClientGone(Exception):
    """Nobody waits for an answer any more."""


async def _body(scope: Message, receive: Receive, most: int) -> bytes | None:
    """The body; None if it has more than `most` bytes, whatever its length is said to be."""
    said = dict(scope["headers"]).get(b"content-length", b"0")
    refused = not said.isdigit() or int(said) > most
    body, read_bytes, more = bytearray(), 0, True
    # many clients look for an answer only when all is sent, so a body not much too large is still taken in
    while more and read_bytes <= DRAINED * most:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part, more = message.get("body", b""), message.get("more_body", False)
        read_bytes += len(part)
        refused = refused or read_bytes > most
        if not refused:
            body += part
    return None if refused else bytes(body)
