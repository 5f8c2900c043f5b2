# environment: torch
from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recast.stages.base import StageError
from recast.stages.trunk.training import pretrained

CONTENT = b"weights of a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "net/weights.pth"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Where a server of the file's own gives it."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/weights.pth").write_bytes(CONTENT)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/weights.pth"
        server.shutdown()


def held(root: Path, content: bytes = CONTENT) -> Path:
    (root / NAME).parent.mkdir(parents=True)
    (root / NAME).write_bytes(content)
    return root


def refused(url: str | None, sha256: str, roots: list[Path]) -> str:
    with pytest.raises(StageError) as caught:
        pretrained.find(NAME, url, sha256, roots)
    return f"{caught.value.message} | {caught.value.remedy}"


def test_the_first_root_that_holds_the_file_is_read(tmp_path: Path) -> None:
    second = held(tmp_path / "second")
    assert pretrained.find(NAME, None, SHA256.upper(), [tmp_path / "first", second]) == second / NAME


def test_a_file_that_no_root_holds_is_downloaded_into_the_first(tmp_path: Path, url: str) -> None:
    roots = [tmp_path / "first", tmp_path / "second"]
    found = pretrained.find(NAME, url, SHA256, roots)
    assert found == roots[0] / NAME and found.read_bytes() == CONTENT
    (tmp_path / "served/weights.pth").unlink()
    assert pretrained.find(NAME, url, SHA256, roots) == found


def test_another_file_is_refused_and_not_kept(tmp_path: Path, url: str) -> None:
    assert f"has SHA-256 {SHA256}; the recipe expects {'0' * 64} | correct train.url" in refused(
        url, "0" * 64, [tmp_path / "first"]
    )
    assert not [path for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert "the recipe expects" in refused(url, SHA256, [held(tmp_path / "damaged", b"else")])


def test_a_file_that_is_nowhere_is_refused(tmp_path: Path, url: str) -> None:
    assert f"{NAME} is in no data root ({tmp_path}) | put it below one" in refused(None, SHA256, [tmp_path])
    gone = url.replace("weights", "none")
    assert f"its download from {gone} failed: HTTP Error 404" in refused(gone, SHA256, [tmp_path / "first"])
