"""DVC remotes on this machine alone: a folder, S3 by moto's server, and SSH by Debian's sshd."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lib.small_dvc import dvc


@dataclass(frozen=True)
class Remote:
    """Where a remote is, and what a clone has to know of it."""

    url: str
    shared: Mapping[str, str] = field(default_factory=dict)
    """options that are committed"""
    local: Mapping[str, str] = field(default_factory=dict)
    """options for .dvc/config.local"""

    def add(self, place: Path) -> None:
        """Make it the default remote of a repository."""
        dvc(place, "remote", "add", "--quiet", "--default", "shared", self.url)
        for option, value in self.shared.items():
            dvc(place, "remote", "modify", "shared", option, value)
        self.know(place)

    def know(self, place: Path) -> None:
        """Set what git does not carry."""
        for option, value in self.local.items():
            dvc(place, "remote", "modify", "--local", "shared", option, value)


@pytest.fixture(name="remote", params=["folder", "s3", pytest.param("ssh", marks=pytest.mark.slow)])
def each_kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """A remote of each kind; a test module imports it as `remote`."""
    with at(request.param, "127.0.0.1", tmp_path, monkeypatch) as found:
        yield found


@contextmanager
def at(kind: str, address: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """A remote of a kind, at this address of the machine if it is a server's, with its files below `place`."""
    if kind == "ssh":
        with ssh(place / "sshd", address=address) as found:
            yield found
    elif kind == "s3":
        with s3(monkeypatch, address) as found:
            yield found
    else:
        yield Remote(str(place / "a remote"))


@contextmanager
def s3(monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> Iterator[Remote]:
    """A bucket in moto's server at this address of the machine, which takes any credentials."""
    from moto.server import ThreadedMotoServer

    without_credentials(monkeypatch, address)
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        # what another server of this process held it would hold as well
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=30).close()
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"), timeout=30).close()
        keys = {"access_key_id": "any", "secret_access_key": "any"}
        yield Remote("s3://bucket/recast", {"endpointurl": endpoint, "region": "us-east-1"}, keys)
    finally:
        server.stop()


def without_credentials(monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> None:
    """Keep this machine's own AWS configuration, and proxies to that address, out of a test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, f"{os.devnull}/absent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, address)


@contextmanager
def ssh(place: Path, *, read_only: bool = False, address: str = "127.0.0.1") -> Iterator[Remote]:
    """A folder behind an sshd with its own key, port and configuration, at this address of the machine.

    Skips (fails in CI) where there is no sshd.
    """
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not sshd:
        reason = "no sshd on this machine: install Debian's openssh-server"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason)
        pytest.skip(reason)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its init script would make it
    place.mkdir()
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / key)], check=True)
    port = free_port(address)
    options = {
        "ListenAddress": f"{address}:{port}",
        "HostKey": place / "host",
        "AuthorizedKeysFile": place / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",  # the folder of a test may lie below one that others can write to
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "Subsystem": f"sftp internal-sftp{' -R' if read_only else ''}",
    }
    (place / "config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    with (place / "log").open("w") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(place / "config")], stderr=log)
    try:
        await_port(port, lambda: f"{server.poll()} {(place / 'log').read_text()}", address)
        folder = place / "remote"
        folder.mkdir()
        shared = {"port": str(port)}
        yield Remote(f"ssh://{address}{folder}", shared, {"user": getpass.getuser(), "keyfile": str(place / "user")})
    finally:
        server.terminate()
        server.wait(timeout=30)


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as taken:
        taken.bind((address, 0))
        return int(taken.getsockname()[1])


def await_port(port: int, why_not: object, address: str = "127.0.0.1") -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, port), timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, why_not() if callable(why_not) else why_not
            time.sleep(0.1)
