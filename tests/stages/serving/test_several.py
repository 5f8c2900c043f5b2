# environment: serve
"""Several targets behind one service; the page, the pictures and the numbers that it has besides answers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.lib.service import Service, serving, start
from tests.lib.wasm import browser

# takes pictures of 2 x 3 pixels; `FLIP` has the two classes the other way round
PICTURES = """
import numpy as np
from recast.stages.serving.model import ServedModel
from tests.lib.contracts import contract as contract_of

def load(emitted, means):
    def predict(x):
        dark = (x < 0).mean((1, 2, 3))
        return np.stack([dark, 1 - dark], 1)[:, ::FLIP].astype(np.float32)

    contract = contract_of("p", (1, 2, 3), "uint8", 255.0, (0.5,), (0.5,), ("dark", "<b>light"))
    return ServedModel(contract, "normalised", predict)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("several")
    (place / "one.py").write_text(PICTURES.replace("FLIP", "1"))
    (place / "other.py").write_text(PICTURES.replace("FLIP", "-1"))
    with serving(place, module="one", beside={"same": "one", "other": "other"}) as running:
        yield running


def picture(value: int, form: str = "PNG") -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.full((20, 30), value, np.uint8)).save(made, form)
    return made.getvalue()


def test_a_picture_is_answered_with_names(service: Service) -> None:
    code, said, _ = service.send("POST", "/predict", picture(0), "image/png")
    assert (code, said["output"]) == (200, [1.0, 0.0])
    assert said["classes"][0] == {"class": "dark", "probability": 1.0}
    code, said, _ = service.send("POST", "/predict", picture(255, "JPEG"), "image/jpeg")
    assert (code, said["classes"][0]["class"]) == (200, "<b>light")


def test_a_target_is_named_or_it_is_the_first(service: Service) -> None:
    answer = service.send("POST", "/predict?target=other", picture(0), "image/png")
    assert answer[0] == 200 and answer[1]["output"] == [0.0, 1.0]
    code, said, _ = service.send("POST", "/predict?target=%3Cb%3E", picture(0), "image/png")
    assert code == 404 and "t, same, other" in said["remedy"]


def test_all_are_compared_on_the_same_samples(service: Service) -> None:
    code, said, _ = service.send("POST", "/compare", picture(0), "image/png")
    assert code == 200 and list(said["targets"]) == ["t", "same", "other"] and said["agree"] is False
    assert said["targets"]["t"] == said["targets"]["same"] != said["targets"]["other"]
    code, said, _ = service.send("POST", "/compare", b"nonsense", "image/png")
    assert code == 400 and "no PNG image" in said["error"]


def test_a_damaged_picture_takes_nothing_with_it(service: Service) -> None:
    for body in (b"", picture(0)[:40], b"\x89PNG\r\n\x1a\n" + b"\0" * 100):
        assert service.send("POST", "/predict", body, "image/png")[0] == 400
    assert service.send("POST", "/predict", picture(0), "image/png")[0] == 200


def test_the_page_loads_nothing_but_its_own_files(service: Service) -> None:
    code, page, headers = service.send("GET", "/")
    assert code == 200 and headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert named and not any("//" in one for one in named) and "<script>" not in page and "style=" not in page
    for path in filter(lambda one: not one.startswith("data:"), named):
        assert service.send("GET", f"/{path}")[0] == 200, path
    assert service.send("GET", "/page/../../serve.py")[0] == 404


def test_what_it_counts_is_what_was_asked(service: Service) -> None:
    def counted(name: str) -> float:
        text = service.send("GET", "/metrics")[1]
        return float(next((line.split()[-1] for line in text.splitlines() if line.startswith(name)), 0))

    right = 'recast_requests_total{status="200",target="same"}'
    wrong = 'recast_requests_total{status="400",target="same"}'
    before = counted(right), counted(wrong), counted('recast_samples_total{target="same"}')
    rows = [[[[0, 0, 0], [0, 0, 0]]]] * 3
    body = json.dumps({"input": rows, "values": "stored"}).encode()
    assert service.send("POST", "/predict?target=same", body)[0] == 200
    assert service.send("POST", "/predict?target=same", b"no")[0] == 400
    after = counted(right), counted(wrong), counted('recast_samples_total{target="same"}')
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 3]
    assert counted('recast_ready{target="same"}') == 1 and counted('recast_requests_now{target="same"}') == 0
    assert counted('recast_request_seconds_count{target="same"}') >= 2
    # whatever clients ask for, no series is made of it
    service.send("POST", "/predict?target=nobody", b"{}")
    assert "nobody" not in service.send("GET", "/metrics")[1]


@pytest.mark.slow
def test_a_picture_is_chosen_in_a_browser_and_every_target_answers(service: Service, tmp_path: Path) -> None:
    (tmp_path / "light.png").write_bytes(picture(255))
    with browser.chromium(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{service.port}/")
        page.wait("!document.getElementById('image').hidden")
        page.choose("#file", tmp_path / "light.png")
        page.wait("document.querySelectorAll('article').length === 3")
        assert page.js("[...document.querySelectorAll('article')].map(one => one.querySelector('h2').textContent)") == [
            "t",
            "same",
            "other",
        ]
        # a name of a class is text, whatever it says
        assert page.js("document.querySelector('article th').textContent") == "<b>light"
        assert page.js("document.querySelectorAll('article b').length") == 0
        place = f"asked for http://127.0.0.1:{service.port}/"
        assert not [line for line in page.console if not line.startswith((place, "asked for data:", "asked for blob:"))]


def test_a_model_without_pictures_refuses_them(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        code, said, _ = running.send("POST", "/predict", picture(0), "image/png")
        assert code == 415 and "takes no images" in said["error"]
        assert running.send("GET", "/model")[1]["images"] is False


def test_targets_that_take_different_samples_are_not_served_together(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(PICTURES.replace("FLIP", "1"))
    process = start(tmp_path, beside={"one": "one"})
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "take different samples (t: float32 [2, 3], one: float32 [1, 2, 3])" in said
