# environment: serve
"""Clients that are slow, that lie, or that a page elsewhere sent: real sockets, and a service that answers others."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import TensorProto

from tests.lib.service import Service, serving

SAMPLE = [[0, 1, 2], [3, 4, 5.5]]
TIME_S = 0.5
MOST = 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    bounds = {
        "head_timeout": TIME_S,
        "body_timeout": TIME_S,
        "connections": MOST,
        "allowed_host": ["model.lan", "*.in"],
    }
    with serving(tmp_path_factory.mktemp("service"), max_body=16, **bounds) as running:
        yield running


def opened(service: Service, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=60)
    connection.sendall(said)
    return connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the service ends the connection."""
    said = b""
    try:
        while part := connection.recv(2**16):
            said += part
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", b""),
        (b"GET /health HT", b"408"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"408"),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", b"408"),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", b"408"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he", b"408"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2**17, b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    ],
)
def test_what_does_not_arrive_in_time_is_cut_off(service: Service, said: bytes, answer: bytes) -> None:
    begun = time.monotonic()
    answered = rest(opened(service, said))
    assert time.monotonic() - begun < TIME_S + 5
    assert answer in answered and (not answer or b'"remedy":' in answered)


def test_a_byte_now_and_then_is_not_in_time(service: Service) -> None:
    for head in (b"", b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"):
        connection, begun = opened(service, head), time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - begun < 10:
                connection.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - begun < TIME_S + 5


@pytest.mark.slow
def test_a_client_that_takes_no_answer_is_cut_off(service: Service) -> None:
    # more than what the system keeps for a receiver
    body = json.dumps({"input": [SAMPLE] * 500_000}, separators=(",", ":")).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", service.port))
    with connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        begun = connection.recv(2048)
        assert begun.startswith(b"HTTP/1.1 200")
        time.sleep(TIME_S + 2)
        length = int(begun.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert len(rest(connection)) < length / 2


def test_many_slow_clients_hold_up_nobody(service: Service) -> None:
    idle = [opened(service, b"GET / HTTP/1.1\r\n") for _ in range(120)]
    begun = time.monotonic()
    assert service.predict(SAMPLE)[0] == 200 and time.monotonic() - begun < 2
    for connection in idle:
        connection.settimeout(TIME_S + 2)
        rest(connection)


def test_connections_that_are_all_at_work_are_no_more_than_allowed(tmp_path: Path) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    with serving(tmp_path, connections=3) as service:
        at_work = [opened(service, head) for _ in range(3)]
        time.sleep(0.2)
        assert b"503" in rest(opened(service)) and service.process.poll() is None
        at_work.pop().close()
        time.sleep(0.2)
        assert service.send("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "10.1.2.3"}, 200),
        ({"Host": "Model.LAN"}, 200),
        ({"Host": "a.in"}, 200),
        ({"Host": "model.lan.evil.com"}, 421),
        ({"Host": "evil.com"}, 421),
        ({"Host": "localhost.evil.com"}, 421),
        ({"Host": "evil.com:80@localhost"}, 421),
        ({"Host": "\xff\ud7ff".encode("utf-8", "replace").decode("latin-1")}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "model.lan", "Origin": "https://model.lan"}, 200),
        ({"Host": "10.1.2.3", "Origin": "http://10.1.2.3:8000"}, 200),
        ({"Host": "localhost", "Origin": "http://evil.com"}, 421),
        ({"Host": "localhost", "Origin": "http://6.6.6.6"}, 421),
        ({"Host": "localhost", "Origin": "null"}, 421),
    ],
)
def test_the_host_is_checked(service: Service, headers: dict[str, str], status: int) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answered = rest(opened(service, f"GET /model HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode("latin-1")))
    assert answered.startswith(f"HTTP/1.1 {status}".encode()), answered
    assert status == 200 or (b"--allowed-host" in answered and b"shape" not in answered)


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "text/html", "multipart/form-data", "\xff"])
def test_a_body_that_is_said_to_be_something_else_is_refused(service: Service, kind: str) -> None:
    code, said, _ = service.send("POST", "/predict", b'{"input": [1]}', kind)
    assert code == 415 and "application/json" in said["remedy"]


def test_json_may_say_its_encoding(service: Service) -> None:
    body = json.dumps({"input": SAMPLE}).encode()
    assert service.send("POST", "/predict", body, "Application/JSON; charset=utf-8")[0] == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (rb'{"\ud800":1}', "no 'input'"),
        (rb'{"\ud800":1,"input":[1]}', r"'\ud800'"),
        (rb'{"input":[1],"values":"\ud800"}', r"'\ud800'"),
        (rb'{"input":"\ud800"}', "no base64 TensorProto"),
        (rb'{"input":["\ud800"]}', "something other than numbers"),
        (b'{"input":[1],"' + b"k" * 10_000 + b'":1}', "k..."),
        (b'\xff{"input":[1]}', "not UTF-8: byte 0"),
        ('{"input":[1]}'.encode("utf-16"), "not UTF-8"),
        (b'{"input":[' + b"9" * 5000 + b"]}", "not JSON"),
        (b'{"input":[1' + b"0" * 400 + b"]}", "numbers"),
        (b'{"input":' + b"[" * 900 + b"]" * 900 + b"}", "'input'"),
    ],
)
def test_text_that_is_no_request_is_a_400(service: Service, body: bytes, message: str) -> None:
    code, said, _ = service.send("POST", "/predict", body)
    assert code == 400 and message in said["error"] and len(said["error"]) < 300


def test_a_tensor_whose_shape_lies_is_a_400(service: Service) -> None:
    for dims in ([10**9, 10**9], [2**62, 4], [-1], [2] * 100):
        for kind in (TensorProto.FLOAT, TensorProto.INT4, TensorProto.STRING):
            tensor = base64.b64encode(TensorProto(dims=dims, data_type=kind, raw_data=b"\0\0").SerializeToString())
            assert service.send("POST", "/predict", tensor, "text/plain")[0] in (400, 422)


def test_others_are_answered_while_a_large_body_is_read(service: Service) -> None:
    body = b'{"input":[' + b",".join([b"[[0,1,2],[3,4,5]]"] * 300_000) + b"]}"
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    answers: list[bytes] = []

    def send_much() -> None:
        # not parsed: that would hold up the one that measures
        answers.append(rest(opened(service, head.encode() + b"\r\nConnection: close\r\n\r\n" + body)))

    sender = threading.Thread(target=send_much)
    started = time.monotonic()
    sender.start()
    waits = []
    while sender.is_alive():
        begun = time.monotonic()
        assert service.send("GET", "/health")[0] == 200
        waits.append(time.monotonic() - begun)
        time.sleep(0.01)
    assert answers[0].startswith(b"HTTP/1.1 200") and answers[0].count(b"],") == 300_000 - 1
    assert max(waits) < (time.monotonic() - started) / 3, waits


def test_a_large_body_that_is_bad_is_a_400_as_well(service: Service) -> None:
    code, said, _ = service.send("POST", "/predict", b'{"input":[' + b"[1]," * 2**18 + b"[1,2]]}")
    assert code == 400 and "ragged" in said["error"]
    assert service.predict([SAMPLE] * 20_000)[0] == 200
