"""Environments: what they are keyed by, what uv is told, and that a half-built one is never used."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline import environments
from pipeline.errors import Interrupted, RecastError
from tests.pipeline.conftest import ROOT

SMALL = "# python: 3.11\n# size: 1 MB\niniconfig==2.3.0\n"


def lay(root: Path, text: str = SMALL) -> Path:
    (root / "envs").mkdir(exist_ok=True)
    (root / "envs" / "small.txt").write_text(text, encoding="utf-8")
    return root


def test_an_environment_is_built_once_and_holds_its_pins(tmp_path):
    said: list[str] = []
    built = environments.ensure(lay(tmp_path), "small", said.append)
    assert "building the environment 'small' (1 MB" in said[0]
    script = "import iniconfig, importlib.metadata as m; print(m.version('iniconfig'))"
    shown = subprocess.run([built.python, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "2.3.0"
    said.clear()
    assert environments.ensure(tmp_path, "small", said.append) == built and not said


def test_other_pins_are_another_environment(tmp_path):
    first = environments.find(lay(tmp_path), "small").directory
    second = environments.find(lay(tmp_path, SMALL + "# a comment\n"), "small").directory
    assert first != second and first.parent == second.parent


def test_what_is_preloaded_is_in_the_head_and_asks_for_no_other_environment(tmp_path):
    plain = environments.find(lay(tmp_path), "small")
    preloading = environments.find(
        lay(tmp_path, SMALL.replace("iniconfig", "# preload: json iniconfig\niniconfig", 1)), "small"
    )
    assert (plain.preload, preloading.preload) == ((), ("json", "iniconfig"))
    assert plain.directory == preloading.directory


def test_two_runs_at_once_build_one(tmp_path):
    lay(tmp_path)
    said: list[str] = []
    threads = [threading.Thread(target=environments.ensure, args=(tmp_path, "small", said.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("building the environment" in line for line in said) == 1
    assert environments.find(tmp_path, "small").is_built


def test_a_half_built_environment_is_not_used_and_goes(tmp_path):
    found = environments.find(lay(tmp_path), "small")
    left = found.directory.with_name(f"{found.directory.name}.building-1")
    (left / "bin").mkdir(parents=True)
    (left / "bin" / "python").touch()
    assert not found.is_built
    environments.ensure(tmp_path, "small", lambda text: None)
    assert found.is_built and not left.exists()


def test_a_pin_that_does_not_exist_is_one_clear_error(tmp_path):
    lay(tmp_path, "# python: 3.11\nno-such-package-of-recast==9.9.9\n")
    with pytest.raises(RecastError, match="could not be installed"):
        environments.ensure(tmp_path, "small", lambda text: None)
    assert not environments.find(tmp_path, "small").is_built
    assert not list((tmp_path / ".recast/envs").glob("*.building-*"))


def test_a_python_that_is_missing_is_one_clear_error(tmp_path):
    lay(tmp_path, SMALL.replace("3.11", "3.77"))
    with pytest.raises(RecastError, match=r"needs Python 3\.77"):
        environments.ensure(tmp_path, "small", lambda text: None)


def test_a_pin_file_must_name_its_python(tmp_path):
    with pytest.raises(RecastError, match="does not name its Python"):
        environments.find(lay(tmp_path, "iniconfig==2.3.0\n"), "small")


def test_prune_keeps_what_is_wanted(tmp_path):
    old = environments.ensure(lay(tmp_path), "small", lambda text: None)
    new = environments.find(lay(tmp_path, SMALL + "# newer\n"), "small")
    (new.directory / "bin").mkdir(parents=True)
    environments.prune(tmp_path, lambda text: None)
    assert not old.directory.exists() and new.directory.exists()


def test_uv_is_told_what_pip_is_told(tmp_path, monkeypatch):
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url = https://two.example/a https://two.example/b\n"
        "find-links = /wheels\ntrusted-host = one.example\ncert = /ca.pem\n"
    )
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_TRUSTED_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("HOME", str(tmp_path))
    options = environments.index_options({})
    told = " ".join(options.arguments)
    for expected in (
        "--find-links /wheels",
        "--default-index https://one.example/simple",
        "--index https://two.example/a --index https://two.example/b",
        "--index-strategy unsafe-best-match",
        "--allow-insecure-host one.example",
    ):
        assert expected in told
    assert options.variables == {"SSL_CERT_FILE": "/ca.pem"} and options.has_find_links
    own = environments.index_options({"UV_INDEX_URL": "x", "UV_EXTRA_INDEX_URL": "y", "UV_FIND_LINKS": "z"})
    assert not {"--find-links", "--default-index", "--index"} & set(own.arguments) and own.has_find_links


def test_the_device_is_cpu_until_chosen(tmp_path):
    assert environments.device(tmp_path) == "cpu"
    environments.set_device(tmp_path, "cuda")
    assert environments.device(tmp_path) == "cuda"
    (tmp_path / "device.txt").write_text("tpu\n")
    with pytest.raises(RecastError, match="says 'tpu', which is no device"):
        environments.device(tmp_path)


def test_a_gpu_asks_for_another_build_of_torch(tmp_path):
    lay(tmp_path, "# python: 3.11\ntorch==2.13.0\n")
    cpu = environments.find(tmp_path, "small")
    environments.set_device(tmp_path, "cuda")
    cuda = environments.find(tmp_path, "small")
    assert (cpu.torch_backend, cuda.torch_backend) == ("cpu", "auto") and cpu.directory != cuda.directory


def test_every_environment_of_this_repository_is_pinned():
    names = environments.names(ROOT)
    assert {"akida", "onnx", "torch"} <= set(names)
    for name in (*names, "recast", "dev"):
        lines = (ROOT / "envs" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert pins and all("==" in pin for pin in pins), name
        source = (ROOT / "envs" / f"{name}.in").read_text(encoding="utf-8").splitlines()
        for key in ("# python:", "# size:", "# preload:"):
            assert [line for line in lines if line.startswith(key)] == [line for line in source if line.startswith(key)]


def test_the_runner_needs_no_more_than_this(tmp_path):
    """`envs/install.py` runs before the pins are installed: uv and filelock must be all it imports."""
    script = "import sys; import pipeline.environments; print('pydantic' in sys.modules, 'ruamel' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


def test_waiting_for_another_build_can_be_given_up(tmp_path):
    environment = environments.find(lay(tmp_path), "small")
    environment.directory.parent.mkdir(parents=True)
    said: list[str] = []
    asked: list[int] = []

    def waits() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Interrupted("stopped")

    with FileLock(f"{environment.directory}.lock"), pytest.raises(Interrupted):
        environments.ensure(tmp_path, "small", said.append, waits=waits)
    assert said == ["waiting for another run that builds the environment 'small'"]
    assert not environment.is_built
