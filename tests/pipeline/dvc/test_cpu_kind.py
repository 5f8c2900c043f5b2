"""On which kind of CPU a result was measured, and what this machine is."""

from __future__ import annotations

import pytest

from recast.pipeline.dvc import cpu_kind
from recast.pipeline.processes import environments
from tests.lib.repository import ROOT


def test_this_machine_is_asked_by_an_environment_that_is_built():
    environment = environments.ensure(ROOT, "onnx", lambda text: None)
    assert environment.is_built
    kind = cpu_kind.of_this_machine(ROOT, ["onnx"])
    assert kind.startswith(("x86-64, ", "arm64, "))
    assert cpu_kind.of_this_machine(ROOT, []) == ""


def test_an_environment_that_is_not_built_or_cannot_tell_says_nothing(write, tmp_path, monkeypatch):
    monkeypatch.setenv("RECAST_HOME", str(tmp_path / "home"))
    root = write({"envs/onnx.txt": "# python: 3.11\n"})
    assert cpu_kind.of_this_machine(root, ["onnx"]) == ""
    python = environments.find(root, "onnx").python
    python.parent.mkdir(parents=True)
    (python.parent.parent / "pyvenv.cfg").touch()
    python.write_text("#!/bin/sh\necho x86-64; exit 1\n")
    python.chmod(0o755)
    assert cpu_kind.of_this_machine(root, ["onnx"]) == ""


@pytest.mark.parametrize(
    ("content", "kind"),
    [('{"cpu": "arm64"}', "arm64"), ('{"cpu": 3}', ""), ("{}", ""), ("[]", ""), ("{", ""), (b"\xff", "")],
)
def test_what_does_not_record_a_kind_has_none(tmp_path, content, kind):
    assert cpu_kind.in_metrics(content) == kind
    assert cpu_kind.of_output(tmp_path) == ""
    (tmp_path / "metrics.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cpu_kind.of_output(tmp_path) == kind
