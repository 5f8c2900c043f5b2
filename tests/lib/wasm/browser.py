"""Drives a headless Chromium by the DevTools protocol over its pipe: no package is needed for that.

Source of the protocol: chromedevtools.github.io/devtools-protocol; messages end with a zero byte.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
"""seconds after which the browser is taken to hang"""


def program(name: str, *others: str) -> str:
    """The program on PATH under one of the names. With CI set, a missing one is a failure and no skip."""
    found = next((path for each in (name, *others) if (path := shutil.which(each))), None)
    if found is None:
        message = f"there is no {name} on PATH"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


class Page:
    """One tab."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._count, self._pending = to, back, 0, b""
        self._session: str | None = None
        self.console: list[str] = []
        """errors the page threw, and what was asked of the network"""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method."""
        answer = self.send(method, **params)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a method: its result, or an error."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                return answer
            self._note(answer)

    def open(self, place: Path | str) -> None:
        """Load a file or a URL, and wait until it stands in place of the page before."""
        self.js("window.before = true")
        self.call("Page.navigate", url=place if isinstance(place, str) else place.resolve().as_uri())
        self.wait("!window.before && document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of the expression, awaited if it is a promise."""
        made = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The first true value of the expression."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            made = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
            # between two pages there is nothing to evaluate in
            value = made.get("result", {}).get("result", {}).get("value")
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"{expression} did not come true; the page says {self.js('document.body.innerText')}")

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in a file input, as a user does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file.resolve())])

    def screenshot(self, file: Path, width: int, height: int, scheme: str = "light") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            content = os.read(self._back, 1 << 20)
            assert content, "the browser has ended"
            self._pending += content
        first, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.console.append(params["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.console.append(f"asked for {url}")


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A tab of a fresh browser whose profile is the folder."""
    path = program("chromium", "chromium-browser", "google-chrome")
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()

    def at_three_and_four() -> None:
        # the browser reads from 3 and writes to 4; by way of high numbers, since the ends may be 3 and 4 themselves
        os.dup2(to_read, 98)
        os.dup2(back_write, 99)
        os.dup2(98, 3)
        os.dup2(99, 4)

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command = [path, *options, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command, preexec_fn=at_three_and_four, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(back_write)
    try:
        yield Page(to_write, back_read)
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(back_read)
