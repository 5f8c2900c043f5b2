"""SSH remotes that are noticed to be gone: a cable is pulled, a machine sleeps, a firewall forgets the connection.

DVC waits half an hour for an answer. Here an idle connection is asked every few seconds whether it is still there, as
`ServerAliveInterval` of OpenSSH does, and is given up after some silence. What is slow and alive is waited for.
"""

from __future__ import annotations

from typing import Any

import dvc_ssh  # type: ignore[import-untyped]

INTERVAL_SECONDS = 10
SILENCES = 3
"""questions without an answer after which the connection is given up"""
CONNECT_SECONDS = 30


class SSHFileSystem(dvc_ssh.SSHFileSystem):  # type: ignore[misc]
    """DVC's, with what asyncssh needs to look whether the other side is there."""

    def _prepare_credentials(self, **config: Any) -> dict[str, Any]:
        asked = {"keepalive_interval": INTERVAL_SECONDS, "keepalive_count_max": SILENCES}
        return {**asked, "connect_timeout": CONNECT_SECONDS, **super()._prepare_credentials(**config)}
