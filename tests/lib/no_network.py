"""Runs a command where no network is, and tells what it tried to reach.

    unshare --map-root-user --net --mount python outgoing.py REPORT COMMAND ...

In a network namespace of its own every address of the Internet is made this machine's, so that each attempt becomes a
packet on the loopback, is seen there, and is refused at once. Names are asked of a server that does not exist. REPORT
is JSON: a list of what was tried, in the order it was first seen. Needs `unshare` and `mount` (util-linux), `ip`
(iproute2), and a kernel that lets this user make such a namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

NAMESERVER = "192.0.2.53"
_ALL = 0x0003  # ETH_P_ALL of linux/if_ether.h
_PACKET, _STATISTICS = 263, 6  # SOL_PACKET, PACKET_STATISTICS of linux/if_packet.h
SETTLE_SECONDS = 20.0
"""how long what the command left running may go on"""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_UNSHARE = ["unshare", "--map-root-user", "--net", "--mount"]


def why_not() -> str:
    """Why this machine cannot do it; nothing if it can."""
    for tool in ("unshare", "mount", "ip"):
        if not shutil.which(tool):
            return f"there is no {tool}"
    done = subprocess.run([*_UNSHARE, "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    return f"no network namespace can be made: {done.stderr.strip()}" if done.returncode else ""


def watch(
    command: Sequence[str], cwd: Path, variables: Mapping[str, str]
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """What the command, or any process it started, tried to reach beyond this machine; and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        call = [*_UNSHARE, sys.executable, str(Path(__file__).resolve()), str(report), *command]
        done = subprocess.run(call, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert report.exists(), done.stderr
        tried: list[str] = json.loads(report.read_text())
    return tried, done


def _main(report: str, command: list[str]) -> int:
    _isolate()
    watching = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
    watching.bind(("lo", _ALL))
    watching.settimeout(0.2)
    tried: dict[str, None] = {}
    ended = threading.Event()
    listener = threading.Thread(target=_listen, args=(watching, tried, ended))
    listener.start()
    # what is left running behind the command, as DVC's analytics are, becomes a child of this process
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    code = subprocess.run(command).returncode
    _settle()
    ended.set()
    listener.join()
    _, dropped = struct.unpack("II", watching.getsockopt(_PACKET, _STATISTICS, 8))
    if dropped:
        sys.exit(f"{dropped} packets were not looked at")
    Path(report).write_text(json.dumps(list(tried)))
    return code


def _isolate() -> None:
    """Every address is on the loopback; names are asked of one server by its address, not of a daemon by a socket."""
    families = ["-4", "-6"] if Path("/proc/net/if_inet6").exists() else ["-4"]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for family in families:
        subprocess.run(["ip", family, "route", "add", "local", "default", "dev", "lo"], check=True)
    folder = Path(tempfile.mkdtemp())
    for name, text in (
        ("resolv.conf", f"nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n"),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ):
        (folder / name).write_text(text)
        place = Path("/etc", name).resolve()
        if place.exists():
            subprocess.run(["mount", "--bind", str(folder / name), str(place)], check=True)
    for daemon in ("/run/nscd", "/run/systemd/resolve"):
        if Path(daemon).is_dir():
            subprocess.run(["mount", "-t", "tmpfs", "none", daemon], check=True)


def _settle() -> None:
    """Wait for what was left running, and end what goes on for too long."""
    until = time.monotonic() + SETTLE_SECONDS
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    with contextlib.suppress(ChildProcessError):
        while True:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.05)
            if time.monotonic() > until:
                for child in children.read_text().split():  # theirs are this process's next
                    os.kill(int(child), signal.SIGKILL)


def _listen(watching: socket.socket, tried: dict[str, None], ended: threading.Event) -> None:
    while True:
        last = ended.is_set()  # a packet is in the queue before the call that sends it returns
        try:
            packet = watching.recv(2**16)
        except TimeoutError:
            if last:
                return
            continue
        if found := _attempt(packet):
            tried[found] = None


def _attempt(packet: bytes) -> str:
    """What a packet tries to reach, if it begins something and goes beyond this machine."""
    if packet[0] >> 4 == 4:
        protocol, goal, rest = packet[9], packet[16:20], packet[4 * (packet[0] & 15) :]
    else:
        protocol, goal, rest = packet[6], packet[24:40], packet[40:]
    address = ipaddress.ip_address(goal)
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return ""
    port = int.from_bytes(rest[2:4], "big")
    if port == 53:
        name = _question(rest[20:] if protocol == socket.IPPROTO_TCP else rest[8:])
        return f"looked up {name}" if name else ""
    if address.is_loopback:
        return ""
    if protocol == socket.IPPROTO_TCP:
        begins = rest[13] & 0x12 == 0x02  # SYN without ACK
        return f"connected to {address} port {port}" if begins else ""
    return f"sent to {address} port {port}"


def _question(query: bytes) -> str:
    """The name a DNS query asks for."""
    labels, at = [], 12
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode(errors="replace"))
        at += 1 + query[at]
    return ".".join(labels)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))
