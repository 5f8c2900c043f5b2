"""The canary: every use of DVC's internals, by name; and what Repository promises, with the real DVC.

When DVC is upgraded, the cases that fail name what moved: read it, adapt the module of pipeline/ that uses it, and put
into the table what the failure shows.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dvc
import dvc.dependency.param
import dvc.dvcfile
import dvc.rwlock
import dvc_data.callbacks
import pytest
from dvc.repo import Repo
from dvc.utils.serialize import LOADERS

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Event, Message, State
from tests.lib import drive
from tests.lib.drive import copies, lay, run, stage, started, wait_until
from tests.lib.repository import ROOT

# all that know DVC's internals
MODULES = [
    path
    for path in sorted((ROOT / "pipeline").rglob("*.py"))
    if re.search(r"^\s*(from|import) dvc", path.read_text(), re.MULTILINE)
]

# what the modules take from DVC's modules -> its parameters, or what it is
IMPORTED: dict[str, str] = {
    "dvc.config:NoRemoteError": "class(RemoteConfigError)",
    "dvc.dependency.base:Dependency": "class(Output)",
    "dvc.dependency.param": "module",
    "dvc.dependency.param:MissingParamsError": "class(DvcException)",
    "dvc.dependency.param:ParamsDependency": "class(Dependency)",
    "dvc.dependency.param:load_path": "(fs_path, fs, **kwargs)",
    "dvc.exceptions:CacheLinkError": "class(DvcException)",
    "dvc.exceptions:CheckoutError": "class(DvcException)",
    "dvc.exceptions:DownloadError": "class(FileTransferError)",
    "dvc.exceptions:DvcException": "class(Exception)",
    "dvc.fs": "module",
    "dvc.fs:known_implementations": "dict",
    "dvc.fs:HTTPFileSystem": "class(FileSystem)",
    "dvc.ignore:DvcIgnoreFilter": "class(object)",
    "dvc.lock:LockError": "class(DvcException)",
    "dvc.output:Output": "class(object)",
    "dvc.progress": "module",
    "dvc.repo.reproduce:collect_stages": "(repo, targets, recursive=False, glob=False)",
    "dvc.repo.reproduce:get_active_graph": "(graph)",
    "dvc.repo.reproduce:plan_repro": "(graph, stages=None, pipeline=False, downstream=False)",
    "dvc.repo:Repo": "class(object)",
    "dvc.rwlock": "module",
    "dvc.rwlock:rwlock": "(tmp_dir, fs, cmd, read, write, hardlink)",
    "dvc.schema:COMPILED_LOCK_FILE_STAGE_SCHEMA": "Schema",
    "dvc.stage.cache:RunCacheNotFoundError": "class(DvcException)",
    "dvc.stage.cache:StageCache": "class(object)",
    "dvc.stage.cache:_can_hash": "(stage)",
    "dvc.stage.cache:_get_cache_hash": "(cache, key=False)",
    "dvc.stage.cache:_get_stage_hash": "(stage)",
    "dvc.stage.loader:StageLoader": "class(Mapping)",
    "dvc.stage.run:_make_cmd": "(executable, cmd)",
    "dvc.stage.serialize:to_lockfile": "(stage, **kwargs)",
    "dvc.stage.serialize:to_single_stage_lockfile": "(stage, **kwargs)",
    "dvc.utils:fix_env": "(env=None)",
    "dvc.utils.serialize:YAMLFileCorruptedError": "class(YAMLError)",
    "dvc.utils.serialize:parse_yaml": "(text, path, typ='safe')",
    "dvc_data.callbacks": "module",
    "dvc_data.fsutils:_localfs_info": "(path)",
    "dvc_data.hashfile.build:build": (
        "(odb, path, fs, name, upload=False, dry_run=False, ignore=None, "
        "callback=<fsspec.callbacks.NoOpCallback object>, checksum_jobs=None, **kwargs)"
    ),
    "dvc_data.hashfile.db.local:LocalHashFileDB": "class(HashFileDB)",
    "dvc_data.hashfile.hash:file_md5": (
        "(fname, fs=<dvc_objects.fs.local.LocalFileSystem object>, callback=None, name='md5', size=None)"
    ),
    "dvc_data.hashfile.hash_info:HashInfo": "class(object)",
    "dvc_data.hashfile.meta:Meta": "class(object)",
    "dvc_data.hashfile.obj:HashFile": "class(Object)",
    "dvc_data.hashfile.state:State": "class(StateBase)",
    "dvc_data.hashfile.state:StateNoop": "class(StateBase)",
    "dvc_data.hashfile.state:_checksum": "(info)",
    "dvc_data.hashfile.transfer:transfer": (
        "(src, dest, obj_ids, jobs=None, verify=False, hardlink=False, validate_status=None, src_index=None, "
        "dest_index=None, cache_odb=None, shallow=True, callback=<fsspec.callbacks.NoOpCallback object>)"
    ),
    "dvc_data.hashfile.tree:Tree": "class(HashFile)",
    "dvc_objects.errors:ObjectFormatError": "class(Exception)",
    "dvc_objects.fs.generic:test_links": "(links, from_fs, from_path, to_fs, to_path)",
}

# what it uses of DVC's objects, by the names it gives them -> the parameters, or the type
USED: dict[str, str] = {
    "bars.logger.setLevel": "(level)",
    "dep.changed_checksum": "()",
    "dep.def_path": "str",
    "dep.exists": "bool",
    "dep.fs_path": "str",
    "dep.get_hash": "()",
    "dep.hash_info.value": "dict",
    "dep.hash_name": "str",
    "dep.params": "list",
    "dep.protocol": "str",
    "dep.read_params": "(flatten=True, **kwargs)",
    "graph.successors": "(n)",
    "out._build": "(*args, no_progress_bar=False, **kwargs)",
    "out.cache.exists": "(oid)",
    "out.cache.hash_name": "str",
    "out.cache.oid_to_path": "(oid)",
    "out.can_push": "bool",
    "out.changed_cache": "(filter_info=None)",
    "out.changed_checksum": "()",
    "out.checkout": (
        "(force=False, progress_callback=<fsspec.callbacks.NoOpCallback object>, relink=False, filter_info=None, "
        "allow_missing=False, **kwargs)"
    ),
    "out.def_path": "str",
    "out.dvcignore": "DvcIgnoreFilter",
    "out.exists": "bool",
    "out.fs": "LocalFileSystem",
    "out.fs_path": "str",
    "out.get_obj": "(filter_info=None, **kwargs)",
    "out.hash_info.isdir": "bool",
    "out.hash_info.value": "str",
    "out.hash_name": "str",
    "out.is_in_repo": "bool",
    "out.is_metric": "bool",
    "out.is_plot": "bool",
    "out.meta": "Meta",
    "out.persist": "bool",
    "out.use_cache": "bool",
    "remote.fs.exists": "(path, callback=<fsspec.callbacks.NoOpCallback object>, batch_size=None)",
    "remote.fs.find": "(path, prefix=False, batch_size=None, **kwargs)",
    "remote.fs.fs.cat_file": "(path, start=None, end=None, **kwargs)",
    "remote.fs.get_file": "(from_info, to_info, callback=<fsspec.callbacks.NoOpCallback object>, **kwargs)",
    "remote.fs.join": "(*parts)",
    "remote.fs.name": "(path)",
    "remote.fs.pipe_file": "(path, value, **kwargs)",
    "remote.fs.protocol": "str",
    "remote.fs.remove": "(path, recursive=False, **kwargs)",
    "remote.fs.version_aware": "bool",
    "remote.name": "str",
    "remote.odb": "LocalHashFileDB",
    "remote.path": "str",
    "remote.worktree": "bool",
    "repo._lock_depth": "int",
    "repo._reset": "()",
    "repo.cache.legacy.path": "str",
    "repo.cache.local.cache_types": "list",
    "repo.cache.local.oid_to_path": "(oid)",
    "repo.cache.local.path": "str",
    "repo.checkout": (
        "(targets=None, with_deps=False, force=False, relink=False, recursive=False, allow_missing=False, **kwargs)"
    ),
    "repo.close": "()",
    "repo.cloud.get_remote": "(name=None, command='<command>')",
    "repo.cloud.get_remote_odb": "(name=None, command='<command>', hash_name='md5')",
    "repo.cloud.pull": "(objs, jobs=None, remote=None, odb=None)",
    "repo.cloud.push": "(objs, jobs=None, remote=None, odb=None)",
    "repo.config": "Config",
    "repo.dvcignore.walk": "(fs, path, **kwargs)",
    "repo.fetch": (
        "(targets=None, jobs=None, remote=None, all_branches=False, with_deps=False, all_tags=False, recursive=False, "
        "all_commits=False, run_cache=False, revs=None, workspace=True, max_size=None, types=None, config=None, "
        "onerror=None)"
    ),
    "repo.fs": "LocalFileSystem",
    "repo.index.graph": "DiGraph",
    "repo.index.stages": "list",
    "repo.lock._friendly": "bool",
    "repo.lock.lock": "()",
    "repo.lock.lockfile": "str",
    "repo.lock.unlock": "()",
    "repo.scm_context.track_file": "(paths=None)",
    "repo.stage_cache.cache_dir": "str",
    "repo.stage_cache.restore": "(stage, run_cache=True, pull=False, dry=False)",
    "repo.stage_cache.save": "(stage)",
    "repo.state": "State",
    "repo.tmp_dir": "str",
    "stage.addressing": "str",
    "stage.always_changed": "bool",
    "stage.changed": "(allow_missing=False, upstream=None)",
    "stage.changed_outs": "(allow_missing=False)",
    "stage.cmd.splitlines": "(keepends=False)",
    "stage.cmd_changed": "bool",
    "stage.commit": "(allow_missing=False, filter_info=None, **kwargs)",
    "stage.compute_md5": "()",
    "stage.deps": "list",
    "stage.dump": "(**kwargs)",
    "stage.frozen": "bool",
    "stage.get_used_objs": "(*args, **kwargs)",
    "stage.is_callback": "bool",
    "stage.is_data_source": "bool",
    "stage.md5": "NoneType",
    "stage.name": "str",
    "stage.outs": "list",
    "stage.outs_cached": "()",
    "stage.params": "list",
    "stage.path": "str",
    "stage.remove_outs": "(ignore_remove=False, force=False)",
    "stage.reproduce": "(interactive=False, **kwargs)",
    "stage.save_deps": "(allow_missing=False)",
    "stage.save_outs": "(allow_missing=False)",
    "stage.wdir": "str",
}

# it does in steps what these do in one, and passes over what they look up: their code, as a digest
TAKEN_APART: dict[str, str] = {
    "dvc.dependency.param:read_param_file": "710593e1b78d",
    "dvc.dvcfile:Lockfile.dump_stages": "be78a3c7bd28",
    "dvc.output:Output.commit": "5133dd9aa89e",
    "dvc.repo.pull:pull": "9fd5bca47ab8",
    "dvc.repo.reproduce:_reproduce": "c763611bd0ef",
    "dvc.repo.reproduce:_reproduce_stage": "32cb1baa118f",
    "dvc.repo.reproduce:reproduce": "290e8114b421",
    "dvc.repo:lock_repo": "77da8142ad03",
    "dvc.rwlock:rwlock": "e8e87c10cc64",
    "dvc.stage.cache:StageCache.pull": "30c08ec77084",
    "dvc.stage.cache:StageCache.push": "6d2f86f53233",
    "dvc.stage.cache:StageCache.restore": "c7e43f44087e",
    "dvc.stage.cache:StageCache.save": "49b8f5c04149",
    "dvc.stage.cache:StageCache.transfer": "b17b3e5ad4ab",
    "dvc.stage.cache:StageCache._load": "387d30ed4675",
    "dvc.stage.cache:StageCache._load_cache": "07e1929430a3",
    "dvc.stage.decorators:rwlocked": "2f9910ef188b",
    "dvc.stage.run:_run": "4ee9956e4314",
    "dvc.stage.run:cmd_run": "d2696e63976b",
    "dvc.stage.run:get_executable": "e6e3f9864745",
    "dvc.stage.run:prepare_kwargs": "b7f2672fdcd4",
    "dvc.stage.run:run_stage": "d4b66f275003",
    "dvc.stage:Stage.reproduce": "a4fd0ff85381",
    "dvc.stage:Stage.run": "d0e5527866ee",
    "dvc.stage:Stage.save": "277cc65d776c",
    "dvc_data.hashfile.db.local:LocalHashFileDB.check": "ec2a12485b3a",
    "dvc_data.hashfile.db:HashFileDB.check": "6b95cd05d6d1",
    "dvc_data.hashfile.db:HashFileDB.get": "a85d9055dbdc",
    "dvc_data.hashfile.state:State._get": "79b38d3fd0e7",
    "dvc_data.hashfile.state:State.save": "146dcffa4354",
    "dvc_data.hashfile.state:State.save_many": "bd4981cb3930",
}

# the names by which the module calls DVC's objects
_ROOTS = ("stage", "out", "dep", "graph", "remote", "repo", "bars")


def imported() -> set[str]:
    """Every name of DVC's modules that the module imports, or reaches through an imported module."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.ImportFrom) and re.match(r"dvc(_\w+)?(\.|$)", node.module or ""):
            found |= {f"{node.module}:{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {
                alias.name for alias in node.names if alias.name.split(".")[0] in ("dvc", "dvc_data", "dvc_objects")
            }
        if isinstance(node, ast.Attribute) and (names := _chain(node))[:1] == ["dvc"]:
            with contextlib.suppress(ImportError):
                if hasattr(importlib.import_module(".".join(names[:-1])), names[-1]):
                    found.add(f"{'.'.join(names[:-1])}:{names[-1]}")
    return {name for name in found if ":" not in name or not inspect.ismodule(_imported(name))}


def used() -> set[str]:
    """Every attribute that the module uses of what it has from DVC, such as `repo.lock.unlock`."""
    found = set()
    for node in _nodes():
        if isinstance(node, ast.Attribute) and (names := _chain(node)):
            shown = ".".join(names)
            shown = re.sub(r"^self\._repo\b", "repo", shown)
            shown = re.sub(r"^(self|step)\.stage\b", "stage", shown)
            if shown.split(".")[0] in _ROOTS and "." in shown:
                found.add(shown)
    # of `a.b.c` the whole, not `a.b`
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def _nodes() -> Iterator[ast.AST]:
    for module in MODULES:
        yield from ast.walk(ast.parse(module.read_text()))


def _chain(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*before, node.attr] if (before := _chain(node.value)) else []
    return [node.id] if isinstance(node, ast.Name) else []


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, path.split(".")):
        found = getattr(found, part)
    return found


def describe(thing: Any) -> str:
    """What a caller relies on: the parameters of what is called, a class's bases, the type of what is read."""
    if inspect.isclass(thing):
        return f"class({', '.join(base.__name__ for base in thing.__bases__)})"
    if not callable(thing) or not inspect.isroutine(thing):
        return type(thing).__name__
    parameters = inspect.signature(thing).parameters.values()
    shown = ", ".join(str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters)
    return f"({re.sub(r' at 0x[0-9a-f]+', '', shown)})"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One of each of DVC's objects, of a stage that has run."""
    place = tmp_path_factory.mktemp("live")
    root = lay(
        place / "repository", {"src": "x\n", "params.yaml": "a: 1\n"}, {"one": copies("one", ["src"], params=["a"])}
    )
    (root / ".dvc/config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {place / 'remote'}\n")
    drive.repro(root)
    with contextlib.chdir(root), contextlib.closing(Repo()) as repo:
        one = next(iter(repo.index.stages))
        yield {
            "repo": repo,
            "bars": dvc_data.callbacks,
            "stage": one,
            "out": one.outs[0],
            "dep": next(dep for dep in one.deps if dep.def_path == "params.yaml"),
            "graph": repo.index.graph,
            "remote": repo.cloud.get_remote(),
        }


def test_dvc_is_the_pinned_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pin = next(name for name in project["dependencies"] if name.startswith("dvc=="))
    assert pin == f"dvc=={dvc.__version__}"


def test_every_use_of_dvc_has_a_case_here():
    """A case of every use, and no case of what is used no more."""
    assert MODULES
    now, known = imported() | used(), set(IMPORTED) | set(USED)
    assert not now - known, "pipeline/ uses what has no row in the tables above"
    assert not known - now, "the tables above have rows for what pipeline/ does not use"


@pytest.mark.parametrize("name", sorted(IMPORTED))
def test_what_is_imported_is_what_it_was(name):
    try:
        now = describe(_imported(name))
    except (ImportError, AttributeError) as error:
        pytest.fail(f"DVC moved {name}, which pipeline/ imports: {error}")
    assert now == IMPORTED[name], f"DVC changed {name}, which pipeline/ calls"


@pytest.mark.parametrize("name", sorted(USED))
def test_what_is_used_of_dvcs_objects_is_what_it_was(name, live):
    first, *path = name.split(".")
    found = live[first]
    for part in path:
        assert hasattr(found, part), f"DVC moved {name}, which pipeline/ uses: no '{part}'"
        found = getattr(found, part)
    assert describe(found) == USED[name], f"DVC changed {name}, which pipeline/ uses"


@pytest.mark.parametrize("name", sorted(TAKEN_APART))
def test_what_is_done_in_steps_is_done_by_dvc_as_it_was(name):
    try:
        code = inspect.getsource(_imported(name))
    except (ImportError, AttributeError) as error:
        pytest.fail(f"DVC moved {name}, which pipeline/ takes apart: {error}")
    now = hashlib.sha256(code.encode()).hexdigest()[:12]
    assert now == TAKEN_APART[name], (
        f"DVC changed the code of {name}: see whether the modules of pipeline/ that use it must follow"
    )


@pytest.mark.parametrize(
    ("where", "name"),
    [("dvc.stage.decorators", "rwlock"), ("dvc.dependency.param", "load_path")],
    ids=["rwlock", "load_path"],
)
def test_what_is_replaced_while_a_run_goes_on_is_looked_up_when_it_is_called(where, name, live, monkeypatch):
    called = []
    place = dvc.rwlock if name == "rwlock" else dvc.dependency.param
    original = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *a, **k: called.append(name) or original(*a, **k))
    with live["repo"].lock:
        live["stage"].changed()
    assert called, f"{where} does not look up {name} any more when it is called, so replacing it has no effect"


# -- Repository


@contextlib.contextmanager
def opened(root: Path) -> Iterator[tuple[Repository, list[str]]]:
    said: list[str] = []
    with contextlib.chdir(root), contextlib.closing(Repository(root, said.append)) as repository:
        yield repository, said


@contextlib.contextmanager
def claimed(root: Path) -> Iterator[list[Step]]:
    with opened(root) as (repository, _):
        with repository.locked():
            steps = repository.steps(["dvc.yaml"])
            assert repository.locks.claim(steps)
        try:
            yield steps
        finally:
            with repository.locked():
                repository.locks.release()


def native(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {"src": "x\n", "params.yaml": "a: 1\nb: 2\n"}
    return lay(tmp_path, files, {"one": copies("one", ["src"], params=["a"]), "two": copies("two", ["one"])})


def test_what_a_run_uses_is_busy_for_other_commands_and_free_afterwards(root):
    with claimed(root):
        for arguments in (["repro"], ["status"]):
            refused = native(root, *arguments)
            assert refused.returncode != 0 and "is busy" in refused.stderr, refused
    assert not started(root)
    assert native(root, "repro").returncode == 0 and "up to date" in native(root, "status").stdout


def test_the_list_of_what_is_busy_stays_readable(root):
    with claimed(root):
        held = json.loads((root / ".dvc/tmp/rwlock").read_text())
        assert {Path(path).name for path in held["write"]} == {"one", "two"}
        assert {Path(path).name for path in held["read"]} == {"src", "params.yaml", "one"}
    assert not any(json.loads((root / ".dvc/tmp/rwlock").read_text()).values())
    assert not list((root / ".dvc/tmp").glob("*.new"))


def test_what_a_killed_process_claimed_is_free(root):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    entry = {"pid": int(gone.stdout), "cmd": "dvc repro"}
    (root / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {str(root / "one"): entry}, "read": {}}))
    assert run(root).named(State.DONE) == {"one", "two"}


def holding(code: str) -> list[str]:
    """A process that does this; in it `until_told` waits for a file `.dvc/tmp/go`."""
    wait = "def until_told():\n while not os.path.exists('.dvc/tmp/go'): time.sleep(0.02)"
    return [sys.executable, "-c", f"import os, time\nfrom dvc.repo import Repo\n{wait}\n{code}"]


def tells_when_it_waits(root: Path) -> Callable[[Event], None]:
    """What a run shows: as soon as it says that it waits for another, that one is let go."""

    def seen(event: Event) -> None:
        if isinstance(event, Message) and event.text.startswith("waiting for"):
            (root / ".dvc/tmp/go").touch()

    return seen


def test_a_run_waits_for_another_command_and_says_for_which(root):
    code = "with Repo().lock:\n print('held', flush=True)\n until_told()"
    with subprocess.Popen(holding(code), cwd=root, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        ours = run(root, seen=tells_when_it_waits(root))
    assert ours.named(State.DONE) == {"one", "two"}
    assert any(text.startswith("waiting for '") and f"(process {other.pid})" in text for text in ours.messages)


def test_a_run_waits_for_a_repro_on_the_same_files_and_does_not_do_again_what_that_did(tmp_path):
    wait = "while test ! -e .dvc/tmp/go; do sleep 0.05; done; echo x > one"
    # the run-cache does not know it: only dvc.lock says that it is done
    stages = {"one": stage("one", wait, ["src"], [{"one": {"cache": False}}])}
    root = lay(tmp_path, {"src": "x\n"}, stages)
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q"], cwd=root) as other:
        wait_until(lambda: started(root)["one"] == 1, "the stage began")
        ours = run(root, seen=tells_when_it_waits(root))
        assert other.wait(drive.PATIENCE) == 0
    assert f"waiting for 'dvc repro -q' (process {other.pid}), which uses the same files" in ours.messages
    assert ours.named(State.UP_TO_DATE) == {"one"} and started(root)["one"] == 1


def test_a_claim_that_waits_survives_a_command_that_holds_the_lock_for_long(root):
    code = (
        "from dvc.rwlock import rwlock\nrepo = Repo()\n"
        f"with repo.lock:\n claim = rwlock(repo.tmp_dir, repo.fs, 'x', [], ['{root}/one'], False); claim.__enter__()\n"
        "print('held', flush=True); until_told()\n"
        # longer than a command of DVC tries to have the lock
        "with repo.lock:\n time.sleep(5); claim.__exit__(None, None, None)"
    )
    with subprocess.Popen(holding(code), cwd=root, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        ours = run(root, seen=tells_when_it_waits(root))
    assert ours.named(State.DONE) == {"one", "two"}
    assert any("which uses the same files" in text for text in ours.messages)


def test_two_runs_at_once_do_everything_once(root):
    with drive.running(root) as one, drive.running(root) as two:
        assert (one.end(), two.end()) == (0, 0), (one.noise, two.noise)
    assert set(started(root).values()) == {1} and drive.status(root) == {}


def test_two_runs_of_different_stages_both_keep_what_they_did(tmp_path):
    stages = {f"s{i}": copies(f"s{i}", ["src"]) for i in range(10)}
    root = lay(tmp_path, {"src": "x\n"}, stages)
    names = sorted(stages)
    with drive.running(root, 2, *names[:5]) as one, drive.running(root, 2, *names[5:]) as two:
        assert (one.end(), two.end()) == (0, 0), (one.noise, two.noise)
    assert set(drive.locks(root)["dvc.lock"]["stages"]) == set(stages)
    assert drive.status(root) == {} and set(started(root).values()) == {1}


def test_dvc_yaml_is_parsed_no_more_often_for_many_targets(tmp_path, monkeypatch):
    names = [f"s{i}" for i in range(8)]
    root = lay(tmp_path, {"src": "x\n"}, {name: copies(name, ["src"]) for name in names})
    parsed: list[str] = []
    original = dvc.dvcfile.ProjectFile._load_yaml
    monkeypatch.setattr(
        dvc.dvcfile.ProjectFile, "_load_yaml", lambda self, **how: parsed.append(self.path) or original(self, **how)
    )
    counts = []
    for targets in (names[:1], names, [*names, "dvc.yaml"]):
        with opened(root) as (repository, _), repository.locked():
            found = [step.name for step in repository.steps(targets)]
        counts.append((sorted(found), parsed.count(str(root / "dvc.yaml"))))
        parsed.clear()
    assert counts == [(["s0"], 1), (names, 1), (names, 2)]


def test_a_params_file_is_parsed_once_and_an_edit_is_noticed(tmp_path, monkeypatch):
    stages = {f"s{i}": copies(f"s{i}", ["src"], params=["a"]) for i in range(5)}
    root = lay(tmp_path, {"src": "x\n", "params.yaml": "a: 1\n"}, stages)
    parsed = []
    load = LOADERS[".yaml"]

    def counted(path: str, **options: Any) -> Any:
        if path == str(root / "params.yaml"):  # DVC itself reads it by a relative one
            parsed.append(path)
        return load(path, **options)

    monkeypatch.setitem(LOADERS, ".yaml", counted)
    assert run(root).named(State.DONE) == set(stages) and len(parsed) == 1
    (root / "params.yaml").write_text("a: 2\n")
    assert run(root).named(State.DONE) == set(stages) and len(parsed) == 2
    assert drive.locks(root)["dvc.lock"]["stages"]["s0"]["params"] == {"params.yaml": {"a": 2}}


def test_what_is_edited_while_the_stage_runs_is_not_what_it_read(tmp_path):
    # what it has read when it is edited nobody knows, so its result is nobody's
    edits = "cat src > one; test -e .dvc/tmp/edited || echo edited > src; touch .dvc/tmp/edited"
    root = lay(tmp_path, {"src": "first\n"}, {"one": stage("one", edits, ["src"], ["one"])})
    ours = run(root)
    assert ours.named(State.DONE) == {"one"} and drive.started(root)["one"] == 2
    assert "one is run again: src was edited while it ran" in ours.messages
    assert (root / "one").read_text() == "edited\n"
    read = drive.locks(root)["dvc.lock"]["stages"]["one"]["deps"][0]["md5"]
    assert read == hashlib.md5(b"edited\n", usedforsecurity=False).hexdigest()
    assert len(list((root / ".dvc/cache/runs").glob("??/*/*"))) == 1
    assert drive.status(root) == {}


def test_an_edit_that_is_taken_back_while_the_stage_runs_is_seen(tmp_path):
    there_and_back = "test -e .dvc/tmp/edited || { echo x > src; cat src; echo first > src; }; cat src > one"
    command = f"{there_and_back}; touch .dvc/tmp/edited"
    root = lay(tmp_path, {"src": "first\n"}, {"one": stage("one", command, ["src"], ["one"])})
    run(root)
    assert drive.started(root)["one"] == 2 and drive.status(root) == {}


def test_a_file_in_a_folder_that_is_edited_while_the_stage_runs(tmp_path):
    command = "cat in/* > one; test -e .dvc/tmp/edited || echo x > in/new; touch .dvc/tmp/edited"
    root = lay(tmp_path, {"in/src": "first\n"}, {"one": stage("one", command, ["in"], ["one"])})
    run(root)
    assert drive.started(root)["one"] == 2 and drive.status(root) == {}
    assert (root / "one").read_text() == "x\nfirst\n"


def test_what_is_edited_each_time_that_the_stage_runs_is_an_error(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, {"one": stage("one", "cat src > one; echo x >> src", ["src"], ["one"])})
    ours = run(root)
    assert ours.named(State.FAILED) == {"one"} and drive.started(root)["one"] == 3
    assert str(ours.result.failed["one"]) == (
        "stage 'one' failed: src was edited while it ran, each of the 3 times that it ran; "
        "run it again when nothing writes to that"
    )
    assert not (root / "one").exists() and not list((root / ".dvc/cache/runs").glob("??/*/*"))


def test_what_dvc_refuses_is_said_without_a_traceback(tmp_path):
    root = lay(tmp_path, {"src": "x\n", "dvc.yaml": "stages:\n  one: {cmd: x, dep: [src]}\n"})
    with pytest.raises(RecastError, match=r"dvc: .*dvc\.yaml.* validation failed"):
        run(root)
    with pytest.raises(RecastError, match="nowhere"):
        run(lay(tmp_path / "other", {"src": "x\n"}, {"one": copies("one", ["src"])}), ["nowhere"])


def test_the_environment_of_a_command_is_what_dvc_gives_it(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, {"one": stage("one", "env | grep ^DVC_ | sort > one", ["src"], ["one"])})
    run(root)
    ours = (root / "one").read_text()
    assert f"DVC_ROOT={root}\n" in ours and "DVC_STAGE=one\n" in ours
    assert drive.repro(root, ["one"], force=True) and (root / "one").read_text() == ours
    assert os.environ.get("DVC_STAGE") is None


def test_an_empty_folder_that_a_kill_left_in_the_run_cache_is_no_obstacle(tmp_path):
    root = lay(tmp_path, {"src": "x\n"}, {"one": copies("one", ["src"])})
    run(root)
    (entry,) = (path for path in (root / ".dvc/cache/runs").rglob("*") if path.is_file())
    entry.unlink()
    (root / "dvc.lock").unlink()
    assert run(root).named(State.DONE) == {"one"} and started(root)["one"] == 2
    assert entry.parent.is_dir() and drive.status(root) == {}


def test_what_a_step_was_noted_to_read_is_not_what_the_lock_has_outputs_of(tmp_path):
    """A restore after that finds the result of what is there now, or none; never the recorded one of what was there."""
    root = lay(tmp_path / "one", {"src": "x\n"}, {"one": copies("one", ["src"])})
    run(root)
    (root / "src").write_text("y\n")
    with contextlib.chdir(root), contextlib.closing(Repository(root, lambda text: None)) as repository:
        (step,) = repository.steps(["one"])
        with repository.locked():
            repository.clear(step)
            repository.save_deps(step)
            assert not repository.restore(step)
    assert not (root / "one").exists()
