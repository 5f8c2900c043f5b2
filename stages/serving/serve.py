"""`recast serve RECIPE[/TARGET]`, or a release: a small HTTP service over what was emitted."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping
from typing import Any

from recast.stages.base import StageError
from recast.stages.common import argument_types
from recast.stages.serving.app import Requests, make_app
from recast.stages.serving.hosts import is_pattern
from recast.stages.serving.pool import Pool
from recast.stages.verb import Artifacts, Verb

MIB = 2**20


def add_arguments(parser: ArgumentParser) -> None:
    """Where it listens, and its limits."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine only)")
    parser.add_argument(
        "--port", type=argument_types.port, default=8000, help="port to listen on (%(default)s); 0 takes a free one"
    )
    parser.add_argument(
        "--allowed-host",
        type=_host_name,
        action="append",
        default=[],
        metavar="NAME",
        help="name under which it may be asked, besides localhost and addresses; *.NAME for all below it",
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
        "--head-timeout",
        type=argument_types.amount,
        default=10.0,
        metavar="SECONDS",
        help="time for the head of a request to arrive (%(default)g); then the connection ends",
    )
    parser.add_argument(
        "--body-timeout",
        type=argument_types.amount,
        default=30.0,
        metavar="SECONDS",
        help="time for a body to arrive, and for an answer to be taken (%(default)g)",
    )
    parser.add_argument(
        "--connections",
        type=argument_types.positive,
        default=64,
        metavar="N",
        help="connections at a time (%(default)s); one more ends the one that has been idle longest",
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


def _host_name(text: str) -> str:
    if not is_pattern(text):
        raise ArgumentTypeError(f"must be a name as `model.lan`, or `*.lan`, not {text!r}")
    return text


def run(options: Mapping[str, Any], artifacts: Artifacts | None) -> None:
    """Serve until interrupted. Raises StageError if the target cannot be served or the port is taken."""
    assert artifacts
    served = (artifacts, *artifacts.beside)
    name = artifacts.recipe if artifacts.beside else artifacts.address
    pools = {one.target: _pool(one, options) for one in served}
    with _listen(options["host"], options["port"]) as listening:
        try:
            asyncio.run(_serve(pools, name, options, listening))
        except KeyboardInterrupt:
            print("stopped", flush=True)


def _pool(artifacts: Artifacts, options: Mapping[str, Any]) -> Pool:
    """The processes of one target, not started yet."""
    if artifacts.predictor is None:
        wrong = f"{artifacts.address} has nothing that could be served"
        raise StageError(wrong, "choose a target with a runtime on this machine")
    command = [str(artifacts.predictor.python), "-m", "recast.stages.serving.model_process", artifacts.predictor.module]
    means = {"threads": options["threads"], "memory_gib": options["memory"], "local": str(artifacts.local)}
    command += [str(artifacts.directories["emit"]), json.dumps(means)]
    return Pool(command, options["workers"], options["queue"], options["timeout"])


async def _start(pools: Mapping[str, Pool]) -> None:
    """Start the processes of all. StageError, and none left, if one cannot load its model, or takes other samples."""
    try:
        for pool in pools.values():
            await pool.start()
        takes = {target: _taken(pool.model) for target, pool in pools.items()}
        if len(set(takes.values())) > 1:
            said = ", ".join(f"{target}: {samples}" for target, samples in takes.items())
            raise StageError(f"the targets take different samples ({said})", "serve one of them")
    except BaseException:
        for pool in pools.values():
            await pool.close()
        raise


def _taken(model: Mapping[str, Any]) -> str:
    """What samples a model takes, of several inputs by their names."""
    if "shape" in model:
        return f"{model['dtype']} {list(model['shape'])}"
    return " and ".join(f"{one['name']} {one['dtype']} {list(one['shape'])}" for one in model["inputs"])


async def _serve(pools: dict[str, Pool], name: str, options: Mapping[str, Any], listening: socket.socket) -> None:
    import uvicorn

    from recast.stages.serving.connections import Bounds

    host, port = listening.getsockname()[:2]
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def on_ready() -> None:
        print(f"{name} answers on {place} (how: {place}/docs); Ctrl-C stops it", flush=True)

    taken = Requests(options["max_body"] * MIB, options["body_timeout"], (options["host"], *options["allowed_host"]))
    bounds = Bounds(options["head_timeout"], options["body_timeout"], options["connections"])
    await _start(pools)
    config = uvicorn.Config(
        make_app(pools, name, taken, on_ready), http=bounds.protocol, ws="none", log_level="warning"
    )
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
    example="recast serve digits/akida",
    several=True,
    more="Of RECIPE alone every target that can be served and has been made, or what lies in a release. Takes JSON, a "
    'base64 TensorProto or an image, and answers {"output": [...]}; / is a page to try it, /docs shows how to ask.',
)
