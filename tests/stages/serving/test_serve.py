# environment: serve
"""The service as a user has it: its process, real requests on the loopback, and a model that misbehaves on demand."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from tests.lib.service import Service, kill_worker, serving, start, wait_until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


SAMPLE = [[0, 1, 2], [3, 4, 5.5]]
NAMED = [{"class": "a", "probability": 1.0}, {"class": "b", "probability": 0.0}]
ANSWER = {"output": [15.5, -15.5], "classes": NAMED}


def test_one_sample_and_several(service: Service) -> None:
    assert service.predict(SAMPLE) == (200, ANSWER)
    several = {"output": [[15.5, -15.5]] * 2, "classes": [NAMED] * 2}
    assert service.predict([SAMPLE, SAMPLE], values="stored") == (200, several)


def test_what_a_model_adds_to_its_scores_is_answered_too(service: Service) -> None:
    assert service.predict([[5, 0, 0], [0, 0, 0]]) == (200, {"output": None, "proof": {"of": 1}})


def test_a_tensor_proto_within_json_and_alone(service: Service) -> None:
    tensor = base64.b64encode(numpy_helper.from_array(np.float32([SAMPLE])).SerializeToString())
    expected = {"output": [[15.5, -15.5]], "classes": [NAMED]}
    assert service.predict(tensor.decode()) == (200, expected)
    assert service.send("POST", "/predict", tensor, "text/plain")[:2] == (200, expected)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"nonsense", 400, "not JSON"),
        (b"[" * 5000, 400, "not JSON"),
        (b"[]", 400, "no 'input'"),
        (b'{"input": 3}', 400, "neither a list"),
        (b'{"input": [[1], [2, 3]]}', 400, "ragged"),
        (b'{"input": [NaN]}', 400, "NaN"),
        (b'{"input": "nonsense"}', 400, "no base64 TensorProto"),
        (b'{"input": [1], "vales": "stored"}', 400, "'vales'"),
        (b'{"input": [1], "values": "raw"}', 400, "'values' is 'raw'"),
        (b'{"input": [1]}', 422, "the input has shape [1], and the model takes [2, 3]"),
        (b'{"input": [[[[1]]]]}', 422, "shape [1, 1, 1, 1]"),
    ],
)
def test_a_bad_request_is_told_what_to_mend(service: Service, body: bytes, status: int, message: str) -> None:
    code, said, _ = service.send("POST", "/predict", body)
    assert code == status and message in said["error"] and said["remedy"]


def test_a_body_that_is_too_large_is_refused_and_the_service_lives_on(service: Service) -> None:
    code, said, _ = service.send("POST", "/predict", b"1" * (2**20 + 1))
    assert code == 413 and "larger than 1048576 bytes" in said["error"]
    assert service.predict(SAMPLE)[0] == 200


def test_a_body_without_a_length_is_limited_too(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("POST", "/predict", (b"1" * 2**16 for _ in range(20)), encode_chunked=True)
    assert connection.getresponse().status == 413


def test_it_says_what_it_takes_and_that_it_is_well(service: Service) -> None:
    assert service.send("GET", "/health")[:2] == (200, {"status": "ready"})
    code, model, _ = service.send("GET", "/model")
    assert code == 200 and model["shape"] == [2, 3] and model["classes"] == ["a", "b"]


def test_its_documentation_needs_no_other_network(service: Service) -> None:
    code, page, _ = service.send("GET", "/docs")
    assert code == 200 and "swagger" in page.lower() and "http://" not in page and "https://" not in page
    _, described, _ = service.send("GET", "/openapi.json")
    operation = described["paths"]["/predict"]["post"]
    assert {"application/json", "text/plain", "image/png", "image/jpeg"} == set(operation["requestBody"]["content"])
    assert {"200", "400", "404", "408", "413", "415", "421", "422", "500", "503", "504"} == set(operation["responses"])


@pytest.mark.parametrize(
    ("kind", "message"), [(2, "the model failed"), (3, "the model failed"), (4, "NaN or infinity")]
)
def test_a_model_that_fails_takes_only_its_own_request_with_it(service: Service, kind: int, message: str) -> None:
    code, said = service.predict([[kind, 0, 0], [0, 0, 0]])
    assert code == 500 and message in said["error"] and "secret" not in json.dumps(said)
    assert service.predict(SAMPLE)[0] == 200


def test_a_request_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with serving(tmp_path, timeout=0.5) as service:
        code, said = service.predict([[1, 0, 0], [0, 0, 0]])
        assert code == 504 and "--timeout" in said["remedy"]
        # a new process has to load the model first
        assert any(service.predict(SAMPLE)[0] == 200 for _ in range(60))


def test_more_requests_than_may_wait_are_turned_away(tmp_path: Path) -> None:
    with serving(tmp_path, queue=1) as service:
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(service.predict([[1, 0, 0], [0, 0, 0]])[0])) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [200, 200, 503, 503]


def test_a_process_killed_again_and_again_comes_back(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        for _ in range(5):
            kill_worker(service)
            wait_until(lambda: service.send("GET", "/health")[0] == 200)
        assert service.predict(SAMPLE) == (200, ANSWER)


def test_who_asks_while_none_is_there_waits_for_the_next(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        kill_worker(service)
        assert service.predict(SAMPLE)[0] == 200


def test_a_request_whose_process_is_killed_may_be_sent_again(tmp_path: Path) -> None:
    with serving(tmp_path) as service:

        def kill_at_work() -> None:
            wait_until((tmp_path / "at work").exists)
            kill_worker(service)

        threading.Thread(target=kill_at_work).start()
        code, said, headers = service.send("POST", "/predict", b'{"input": [[6, 0, 0], [0, 0, 0]]}')
        assert code == 503 and "killed by signal 9" in said["error"] and "again" in said["remedy"]
        assert headers["Retry-After"]
        assert service.predict(SAMPLE)[0] == 200


def test_while_no_process_can_be_started_all_are_told_why(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        hindrance = tmp_path / "unreadable"
        hindrance.touch()
        kill_worker(service)
        wait_until(lambda: "no such weights" in service.send("GET", "/health")[1].get("reason", ""))
        code, said, headers = service.send("GET", "/health")
        assert code == 503 and said["status"] == "no process of the model" and int(headers["Retry-After"]) >= 1
        code, said, headers = service.send("POST", "/predict", json.dumps({"input": SAMPLE}).encode())
        assert code == 503 and "no such weights" in said["error"] and headers["Retry-After"]
        hindrance.unlink()
        wait_until(lambda: service.send("GET", "/health")[0] == 200)
        assert service.predict(SAMPLE)[0] == 200


def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        service.process.send_signal(signal.SIGINT)
        out, err = service.process.communicate(timeout=20)
        assert service.process.returncode == 0 and "stopped" in out and "Traceback" not in err
        assert "noise of a tool" in err and "at work" not in err


def test_a_model_that_cannot_be_loaded_is_said_and_nothing_listens(tmp_path: Path) -> None:
    process = start(tmp_path, "broken")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "answers" not in out and "recast: RuntimeError: no such weights" in err


def test_a_bound_of_memory_that_a_model_would_not_keep_to_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, memory=1.0)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "cannot keep to a bound of memory; leave out --memory" in err


def test_a_port_that_is_taken_is_refused(tmp_path: Path, service: Service) -> None:
    process = start(tmp_path, port=service.port)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {service.port}" in err and "--port" in err and "Traceback" not in err
