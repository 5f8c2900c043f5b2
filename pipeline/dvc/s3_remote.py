"""S3 remotes that fall silent are given up, where DVC would wait for ever: it sets no timeout unless it is configured.

s3fs asks again what came to nothing, five times with a pause; what botocore repeats of itself on top of that multiplies
how long a server that is not there is waited for, and is left out.
"""

from __future__ import annotations

from typing import Any

import dvc_s3  # type: ignore[import-untyped]

READ_SECONDS = 20
"""of silence, in the middle of an answer too; what is slow and comes is waited for"""
CONNECT_SECONDS = 10


class S3FileSystem(dvc_s3.S3FileSystem):  # type: ignore[misc]
    """DVC's, with an end to waiting, unless `read_timeout` and `connect_timeout` of its configuration say another."""

    def _prepare_credentials(self, **config: Any) -> dict[str, Any]:
        bounds = {"read_timeout": READ_SECONDS, "connect_timeout": CONNECT_SECONDS}
        made: dict[str, Any] = super()._prepare_credentials(**{**bounds, **config})
        made["config_kwargs"].setdefault("retries", {"max_attempts": 0})
        return made
