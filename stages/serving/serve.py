"""`recast serve RECIPE/TARGET`: a small HTTP service over the emitted module."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from stages import argument_types
from stages.base import StageError
from stages.serving.app import make_app
from stages.serving.pool import Pool
from stages.verb import Artifacts, Verb

MIB = 2**20


def add_arguments(parser: ArgumentParser) -> None:
    """Where it listens, and its limits."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine only)")
    parser.add_argument(
        "--port", type=argument_types.port, default=8000, help="port to listen on (%(default)s); 0 takes a free one"
    )
    parser.add_argument(
        "--workers", type=argument_types.positive, default=1, metavar="N", help="processes that answer (%(default)s)"
    )
    parser.add_argument(
        "--queue",
        type=argument_types.natural,
        default=32,
        metavar="N",
        help="requests that may wait (%(default)s); more get 503",
    )
    parser.add_argument(
        "--timeout",
        type=argument_types.amount,
        default=30.0,
        metavar="SECONDS",
        help="time for a request (%(default)g); then 504",
    )
    parser.add_argument(
        "--max-body",
        type=argument_types.positive,
        default=16,
        metavar="MIB",
        help="largest body of a request (%(default)s); then 413",
    )
    parser.add_argument(
        "--memory",
        type=argument_types.amount,
        metavar="GIB",
        help="memory an answer may take, of a target that proves (all)",
    )
    parser.add_argument(
        "--threads", type=argument_types.positive, default=1, metavar="N", help="threads of each process (%(default)s)"
    )


def run(options: Mapping[str, Any], artifacts: Artifacts | None) -> None:
    """Serve until interrupted. Raises StageError if the target cannot be served or the port is taken."""
    assert artifacts
    name = f"{artifacts.recipe}/{artifacts.target}"
    if artifacts.predictor is None:
        raise StageError(f"{name} has nothing that could be served", "choose a target with a runtime on this machine")
    command = [str(artifacts.predictor.python), "-m", "stages.serving.answering", artifacts.predictor.module]
    means = {"threads": options["threads"], "memory_gib": options["memory"], "local": str(artifacts.local)}
    command += [str(artifacts.directories["emit"]), json.dumps(means)]
    pool = Pool(command, options["workers"], options["queue"], options["timeout"])
    with _listen(options["host"], options["port"]) as listening:
        try:
            asyncio.run(_serve(pool, name, options["max_body"] * MIB, listening))
        except KeyboardInterrupt:
            print("stopped", flush=True)


async def _serve(pool: Pool, name: str, max_body: int, listening: socket.socket) -> None:
    import uvicorn

    host, port = listening.getsockname()[:2]
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def on_ready() -> None:
        print(f"{name} answers on {place} (how: {place}/docs); Ctrl-C stops it", flush=True)

    await pool.start()
    config = uvicorn.Config(make_app(pool, name, max_body, on_ready), log_level="warning")
    await uvicorn.Server(config).serve(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise StageError(
            f"cannot listen on {host} port {port}: {os.strerror(error.errno) if error.errno else error}",
            "choose another with --host and --port",
        ) from error


VERB = Verb(
    add_arguments,
    run,
    reads=("emit",),
    more='Takes JSON or a base64 TensorProto and answers {"output": [...]}; /docs shows how, /health whether it is up.',
)
