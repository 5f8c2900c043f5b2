# environment: ezkl
"""The download of the public SRS, from a stand-in on the loopback.

EZKL's address is fixed, https://kzg.ezkl.xyz, but it goes through a proxy that is named and trusts the authority in
SSL_CERT_FILE. The hashes it expects are those of the ceremony's files, so no other file can pass: what is seen here is
that one that differs is refused, and that nothing of it stays.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from recast.stages.base import StageError
from recast.stages.targets.ezkl.keys import srs
from recast.stages.targets.ezkl.process.calls import Ezkl

HOST = "kzg.ezkl.xyz"
EXTENSIONS = f"subjectAltName=DNS:{HOST}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
SIGN = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and leaf.pem and leaf.key of the host, signed by it."""
    if shutil.which("openssl") is None:
        pytest.skip("the stand-in's certificate is made by openssl, which is not installed")
    place = tmp_path_factory.mktemp("authority")
    (place / "extensions").write_text(EXTENSIONS)
    for command in (
        ("req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=stand-in"),
        ("req", *KEY, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", f"/CN={HOST}"),
        ("x509", "-req", *SIGN, "-in", "leaf.csr", "-out", "leaf.pem", "-days", "2", "-extfile", "extensions"),
    ):
        subprocess.run(["openssl", *command], cwd=place, check=True, capture_output=True)
    return place


@pytest.fixture
def asked(authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What EZKL asks of a proxy that is the host itself, and serves the SRS whose secret is public."""
    served = srs.locate(srs.insecure(tmp_path / "served", 6), tmp_path / "served", Ezkl(tmp_path, 1))
    body = served.read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "leaf.pem", authority / "leaf.key")
    lines: list[str] = []

    def answer(connection: socket.socket) -> None:
        lines.append(connection.recv(4096).decode().splitlines()[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                lines.append(secure.recv(4096).decode().splitlines()[0])
                secure.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
                secure.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        except OSError:  # it hangs up on a host it does not know
            lines.append("hung up")

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # it is closed
                return
            with closing(connection):
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        for name in ("NO_PROXY", "no_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield lines
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def test_a_download_that_is_not_the_ceremonys_is_refused(
    authority: Path, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    with pytest.raises(StageError, match=r"cannot download the public SRS for k 6: .*may have been tampered") as caught:
        srs.public(tmp_path / "store", 6, Ezkl(tmp_path, 1))
    assert "another file than the ceremony's" in caught.value.remedy
    assert asked == [f"CONNECT {HOST}:443 HTTP/1.1", "GET /kzg6.srs HTTP/1.1"]
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_host_that_nobody_vouches_for_is_not_asked(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"cannot download the public SRS for k 6: .*error sending request"):
        srs.public(tmp_path / "store", 6, Ezkl(tmp_path, 1))
    assert asked == [f"CONNECT {HOST}:443 HTTP/1.1", "hung up"]
