"""Environments: what they are keyed by, what uv is told, and that a half-built one is never used."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from recast.pipeline.core.errors import EnvironmentNotBuilt, Interrupted, RecastError
from recast.pipeline.core.layout import environments_folder
from recast.pipeline.core.pins import pinned
from recast.pipeline.processes import environment_build, environment_use, environments, pin_solver
from recast.pipeline.processes.uv import find_uv, index_options
from tests.lib.drive import wait_until
from tests.lib.repository import ROOT
from tests.lib.small_environment import SMALL, Slow, folders, lay, quiet

pytestmark = pytest.mark.usefixtures("own_home")


def test_an_environment_is_built_once_and_holds_its_pins(tmp_path):
    said: list[str] = []
    built = environments.ensure(lay(tmp_path), "small", said.append)
    assert built.directory.parent == environments_folder() and " " in str(built.directory)
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
    left = found.directory.with_name(f"{found.directory.name}.building-0123abcd")
    (left / "bin").mkdir(parents=True)
    (left / "bin" / "python").touch()
    assert not found.is_built
    environments.ensure(tmp_path, "small", quiet)
    assert found.is_built and not left.exists()


def test_one_whose_python_has_gone_is_built_anew(tmp_path):
    found = environments.ensure(lay(tmp_path), "small", quiet)
    found.python.unlink()
    found.python.symlink_to(tmp_path / "no python")
    assert not found.is_built
    environments.ensure(tmp_path, "small", quiet)
    assert found.is_built and [path.name for path in folders()] == [found.directory.name]


def test_a_pin_that_does_not_exist_is_one_clear_error(tmp_path):
    lay(tmp_path, "# python: 3.11\nno-such-package-of-recast==9.9.9\n")
    with pytest.raises(RecastError, match="could not be installed"):
        environments.ensure(tmp_path, "small", quiet)
    assert not environments.find(tmp_path, "small").is_built
    assert not folders()


def test_another_file_than_the_known_ones_is_one_clear_error(tmp_path):
    pins = lay(tmp_path) / "envs/small.txt"
    listed = pins.parent / "hashes/small.txt"
    listed.parent.mkdir()
    listed.write_text(pin_solver.hashes("3.11", pinned(pins.read_text())))
    known = listed.read_text()
    listed.write_text(re.sub(r"sha256:\w{60}", "sha256:" + 60 * "0", known))
    with pytest.raises(EnvironmentNotBuilt, match="gives another file than PyPI has") as failure:
        environments.ensure(tmp_path, "small", quiet)
    assert "UV_NO_VERIFY_HASHES" in failure.value.remedy and not folders()
    listed.write_text(known)
    assert environments.ensure(tmp_path, "small", quiet).is_built


def test_a_python_that_is_missing_is_one_clear_error(tmp_path):
    lay(tmp_path, SMALL.replace("3.11", "3.77"))
    with pytest.raises(RecastError, match=r"needs Python 3\.77"):
        environments.ensure(tmp_path, "small", quiet)


def test_a_pin_file_must_name_its_python(tmp_path):
    with pytest.raises(RecastError, match="does not name its Python"):
        environments.find(lay(tmp_path, "iniconfig==2.3.0\n"), "small")


def test_a_second_repository_builds_none(tmp_path):
    first = environments.ensure(lay(tmp_path / "one"), "small", quiet)
    said: list[str] = []
    assert environments.ensure(lay(tmp_path / "the other"), "small", said.append).directory == first.directory
    assert said == []


def in_a_process(root: Path, code: str) -> subprocess.Popen[str]:
    script = f"from pathlib import Path; from recast.pipeline.processes import environments; root = Path({str(root)!r})"
    command = [sys.executable, "-c", f"{script}\n{code}"]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


USES = """
environments.ensure(root, "small", print)
import os, sys
print("has it", flush=True)
# as a verb's process takes the place of recast's
os.execv(sys.executable, [sys.executable, "-c", "input()"])
"""


def test_prune_leaves_what_somebody_needs(tmp_path):
    one, other = lay(tmp_path / "one"), lay(tmp_path / "other", SMALL + "# another\n")
    for root in (one, other):
        (root / "recipes").mkdir()
    wanted, of_other = (environments.ensure(root, "small", quiet).directory for root in (one, other))
    lay(one, SMALL + "# before\n")
    with in_a_process(one, USES) as process:
        assert process.stdout and any(line == "has it\n" for line in process.stdout)
        in_use = environments.find(one, "small").directory
        lay(one)
        left = environments_folder() / "small-0123456789ab.leaving-01234567"
        left.mkdir()
        environment_use.release_all()
        said: list[str] = []
        environments.prune(one, said.append)
        assert said == [f"left {in_use}, which a process uses"]
        assert set(folders()) == {wanted, of_other, in_use}
        process.communicate("\n")
    environments.prune(one, quiet)
    assert set(folders()) == {wanted, of_other}
    # the other no longer asks for it, but only its own prune knows that; gone, it needs nothing
    lay(other)
    environments.prune(one, quiet)
    assert set(folders()) == {wanted, of_other}
    shutil.rmtree(other)
    environments.prune(one, quiet)
    assert folders() == [wanted]
    environments.prune(one, quiet, everything=True)
    assert folders() == []


def test_the_experiment_of_a_repository_needs_what_the_repository_does(tmp_path):
    root = tmp_path / "one"
    copy = lay(root / ".dvc/tmp/exps/standalone/tmpabc")
    (root / "recipes").mkdir(parents=True)
    built = environments.ensure(copy, "small", quiet).directory
    shutil.rmtree(copy)
    environment_use.release_all()
    environments.prune(lay(tmp_path / "another", SMALL + "# another\n"), quiet)
    assert folders() == [built]


@pytest.mark.parametrize("linked", [True, False])
def test_prune_deletes_those_of_an_earlier_version(tmp_path, linked):
    old, elsewhere = lay(tmp_path) / ".recast/envs", tmp_path / "elsewhere"
    for place in (elsewhere, tmp_path / ".recast"):
        place.mkdir()
    (elsewhere / "kept").touch()
    if linked:
        old.symlink_to(elsewhere)
    else:
        (old / "torch-0123456789ab/bin").mkdir(parents=True)
    environments.prune(tmp_path, quiet)
    assert not old.exists() and (elsewhere / "kept").exists()


BUILDS = 'environments.ensure(root, "small", lambda text: print(text, flush=True))'


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_builder_that_is_stopped_leaves_no_process_and_the_next_builds(tmp_path, how):
    package = Slow(tmp_path / "a package")
    lay(tmp_path, package.pins)
    with in_a_process(tmp_path, BUILDS) as process:
        wait_until(lambda: package.process is not None, "uv builds the package")
        assert package.process in psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        process.wait()
    wait_until(lambda: package.process is None, "nothing of the build is left")
    assert not environments.find(tmp_path, "small").is_built
    if how == signal.SIGINT:
        assert not folders()
    package.breaks()
    with pytest.raises(EnvironmentNotBuilt, match="could not be installed"):
        environments.ensure(tmp_path, "small", quiet)
    assert not folders()


def test_one_without_bytecode_is_used_and_compiled_by_who_wants_it_so(tmp_path):
    lay(tmp_path)
    built = environments.ensure(tmp_path, "small", quiet, compiled=False)
    assert built.is_built and not built.is_compiled and not list(built.directory.rglob("*.pyc"))
    # somebody else is at it
    said: list[str] = []
    with FileLock(f"{built.directory}.lock"):
        assert environments.ensure(tmp_path, "small", said.append) == built and not said
    environments.ensure(tmp_path, "small", said.append)
    assert said == ["compiling the environment 'small', once"]
    assert built.is_compiled and list(built.directory.rglob("iniconfig/__pycache__/__init__.*.pyc"))


@pytest.mark.parametrize("beside", [True, False])
def test_who_waits_for_bytecode_does_not_wait_for_an_idle_machine(tmp_path, monkeypatch, beside):
    lay(tmp_path)
    built = environments.ensure(tmp_path, "small", quiet, compiled=False)
    called = tmp_path / "called"
    stand_in = tmp_path / "bin/nice"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\ntouch "{called}"\nshift 2\nexec "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(stand_in.parent), prepend=os.pathsep)
    groups = set()

    def look() -> None:
        """How far the sessions of what it has started make way for others, where Linux shares cores among sessions."""
        for child in psutil.Process().children():
            with suppress(OSError):
                groups.add(Path(f"/proc/{child.pid}/autogroup").read_text().split()[-1])

    if beside:
        environments.finish(built, quiet, look, beside=True)
    else:
        environments.ensure(tmp_path, "small", quiet, look)
    assert built.is_compiled and called.exists() is beside
    assert ("19" in groups) is (beside and Path("/proc/self/autogroup").exists())


def test_where_environments_lie(tmp_path, monkeypatch):
    monkeypatch.delenv("RECAST_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/a cache")
    assert environments_folder() == Path("/a cache/recast/envs")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the rule says to ignore such a one
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environments_folder() == tmp_path / ".cache/recast/envs"
    monkeypatch.setenv("RECAST_HOME", "relative")
    with pytest.raises(RecastError, match="no absolute path"):
        environments_folder()
    monkeypatch.delenv("RECAST_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    with pytest.raises(RecastError, match=r"there is no home folder.*set RECAST_HOME"):
        environments_folder()


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECAST_HOME", str(tmp_path / "file/home"))
    with pytest.raises(RecastError, match=r"environments are kept in .*file/home/envs: Not a dir.*set RECAST_HOME to"):
        environments.ensure(lay(tmp_path), "small", quiet)


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("error: failed to write: No space left on device (os error 28)", "free space there and in uv's cache"),
        ("error: failed to create directory `/x`: Read-only file system (os error 30)", "set UV_CACHE_DIR"),
        ("error: Failed to fetch: `http://x`", "check the network"),
    ],
)
def test_what_uv_says_leads_to_the_remedy(tmp_path, monkeypatch, says, remedy):
    fake = tmp_path / "uv"
    fake.write_text(f'#!/bin/sh\n[ "$1" = venv ] && exec {shlex.quote(find_uv())} "$@"\ncat "$0.says" >&2\nexit 2\n')
    fake.with_suffix(".says").write_text(f"{says}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(environment_build, "find_uv", lambda: str(fake))
    with pytest.raises(EnvironmentNotBuilt) as failure:
        environments.ensure(lay(tmp_path), "small", quiet)
    assert failure.value.tail == (says,) and remedy in failure.value.remedy
    assert (tmp_path / failure.value.log).read_text() == says + "\n"
    assert not folders()


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
    options = index_options({})
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
    own = index_options({"UV_INDEX_URL": "x", "UV_EXTRA_INDEX_URL": "y", "UV_FIND_LINKS": "z"})
    assert not {"--find-links", "--default-index", "--index"} & set(own.arguments) and own.has_find_links


def test_the_device_is_cpu_until_chosen(tmp_path):
    assert environments.device(tmp_path) == "cpu"
    environments.set_device(tmp_path, "cuda")
    assert environments.device(tmp_path) == "cuda"
    (tmp_path / "device.txt").write_text("tpu\n")
    with pytest.raises(RecastError, match="says 'tpu', which is no device"):
        environments.device(tmp_path)


def test_a_second_checkout_begins_with_the_choice_of_the_first(tmp_path):
    copy = tmp_path / ".dvc/tmp/exps/standalone/tmp1"
    for place in (tmp_path, copy):
        (place / "recipes").mkdir(parents=True)
        (place / "params.yaml").touch()
    (copy / ".git").mkdir()
    environments.set_device(tmp_path, "cuda")
    assert environments.device(copy) == "cuda" and (copy / "device.txt").read_text() == "cuda\n"
    environments.set_device(tmp_path, "cpu")
    assert environments.device(copy) == "cuda"  # and keeps it, as DVC has it in a key


def test_a_gpu_asks_for_another_build_of_torch(tmp_path):
    lay(tmp_path, "# python: 3.11\ntorch==2.13.0\n")
    cpu = environments.find(tmp_path, "small")
    environments.set_device(tmp_path, "cuda")
    cuda = environments.find(tmp_path, "small")
    assert (cpu.torch_backend, cuda.torch_backend) == ("cpu", "auto") and cpu.directory != cuda.directory


def test_every_environment_of_this_repository_is_pinned():
    names = environments.names(ROOT)
    assert {"akida", "onnx", "torch"} <= set(names)
    for name in (*names, "recast", "dask", "dev"):
        lines = (ROOT / "envs" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert pins and all("==" in pin for pin in pins), name
        # torch and torchvision: every index has builds of its own, one for each kind of device
        listed = (ROOT / "envs/hashes" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", "")
        known = {line.split(" ")[0] for line in pinned(listed) if "--hash=sha256:" in line}
        assert {pin.split(" ")[0] for pin in pins if not pin.startswith(("torch==", "torchvision=="))} == known, name
        source = (ROOT / "envs" / f"{name}.in").read_text(encoding="utf-8").splitlines()
        for key in ("# python:", "# size:", "# preload:"):
            assert [line for line in lines if line.startswith(key)] == [line for line in source if line.startswith(key)]


def test_the_runner_needs_no_more_than_this(tmp_path):
    """`envs/install.py` runs before the pins are installed: uv and filelock must be all it imports."""
    module = "recast.pipeline.processes.environments"
    script = f"import sys; import {module}; print('pydantic' in sys.modules, 'ruamel' in sys.modules)"
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
