"""Whether a request is meant for this service, as its headers say.

A page of somebody else's may have its name resolve to this machine (DNS rebinding), and is then, for a browser, of the
same origin as the service; only the `Host` it sends gives it away. So names must be known. An address as such is no
name that anyone could point elsewhere; but a page may lie at one, and then is of another origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit


def refusal(headers: Sequence[tuple[bytes, bytes]], allowed: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with where the request was sent, and how to mend it; None if nothing is.

    `allowed` are names besides localhost: `model.lan`, or `*.lan` for all below it.
    """
    said = [value.decode("latin-1") for name, value in headers if name == b"host"]
    host = _name(f"//{said[0]}") if len(said) == 1 else None
    if host is None or not (_is_address(host) or _is_known(host, allowed)):
        shown = ascii(host[:100]) if host else "none, or none that could be"
        remedy = "ask by an address, or allow the name: recast serve --allowed-host NAME"
        return f"the host that was asked for is not known here: {shown}", remedy
    # what a page may send without asking first bears its origin
    for origin in (value.decode("latin-1") for name, value in headers if name == b"origin"):
        sender = _name(origin)
        if sender is None or not (sender == host or _is_known(sender, allowed)):
            return (
                f"a page of another origin may not ask: {origin[:100]!a}",
                "ask from a program, or allow the page's host: recast serve --allowed-host NAME",
            )
    return None


def is_pattern(text: str) -> bool:
    """Whether it is a name as `allowed` has them."""
    name = text.removeprefix("*.")
    return _name(f"//{name}") == name.lower() and "*" not in name


def _name(url: str) -> str | None:
    """The host of a URL, in small letters and without a port."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read for its check
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.hostname


def _is_known(host: str, allowed: Sequence[str]) -> bool:
    host = host.rstrip(".")
    if host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost"):
        return True
    return any(
        host.endswith(name[1:].lower()) if name.startswith("*.") else host == name.lower().rstrip(".")
        for name in allowed
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
