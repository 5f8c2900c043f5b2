"""What `recast share` finds, and what it mends, on a small repository with the real DVC and git."""

from __future__ import annotations

import errno
import http.server
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.sharing import checks, remote
from recast.pipeline.sharing.checks import Check, State
from recast.pipeline.sharing.remote import Settings
from tests.lib import remotes
from tests.lib import small_dvc as small
from tests.lib.repository import git
from tests.lib.small_dvc import attempt, dvc, run, save


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Committed, with a folder as default remote and nothing run."""
    place = small.lay(tmp_path / "a b")
    (tmp_path / "remote").mkdir()
    dvc(place, "remote", "add", "--quiet", "--default", "shared", str(tmp_path / "remote"))
    save(place, "remote")
    return place


def checked(place: Path, *, seconds: float = checks.REMOTE_SECONDS) -> dict[str, Check]:
    return {check.name: check for check in checks.checks(place, seconds=seconds)}


def check(place: Path, name: str, *, seconds: float = checks.REMOTE_SECONDS) -> Check:
    return checked(place, seconds=seconds)[name]


def remote_at(place: Path, url: str) -> None:
    dvc(place, "remote", "add", "--quiet", "--force", "--default", "shared", url)


# -- the default remote


def test_a_repository_made_for_sharing_is_all_ok_once_pushed(repository):
    run(repository)
    before = checked(repository)
    assert before["results"].state is before["run-cache"].state is State.WARNING
    dvc(repository, "push", "--quiet", "--run-cache")
    found = checks.checks(repository)
    assert {check.state for check in found} == {State.OK} and checks.is_sound(found), checks.as_text(found)
    assert [check.name for check in found] == [
        *("default remote", "remote", "results", "run-cache", "damage", "cache links", "merge driver")
    ]
    assert not list((repository.parent / "remote").glob(".recast*")), "the attempt to write left something"
    assert checks.as_text(found).count("\n") == len(found) - 1


def test_without_a_default_remote_the_remedy_is_the_command_that_adds_one(tmp_path):
    place = small.lay(tmp_path / "clone")
    found = checks.checks(place)
    assert found[0].state is State.PROBLEM and "dvc remote add --default" in found[0].remedy
    assert [check.name for check in found] == ["default remote", "cache links", "merge driver"]
    assert not checks.is_sound(found) and not found[0].fixable


def test_a_remote_that_only_this_machine_knows_is_a_warning(repository):
    dvc(repository, "remote", "add", "--quiet", "--local", "--default", "mine", str(repository.parent / "mine"))
    found = check(repository, "default remote")
    assert found.state is State.WARNING and "this machine only (local)" in found.found


def test_configuration_that_is_not_committed_is_a_warning(repository):
    remote_at(repository, str(repository.parent / "other"))
    found = check(repository, "default remote")
    assert found.state is State.WARNING and "not committed" in found.found


def test_a_secret_in_the_committed_configuration_is_a_problem_and_not_shown(repository):
    remote_at(repository, "ssh://me:hunter2@127.0.0.1:9/x")
    shown = checks.as_text(checks.checks(repository))
    assert "a password in the URL" in shown and "hunter2" not in shown
    remote_at(repository, "s3://bucket/x")
    dvc(repository, "remote", "modify", "shared", "secret_access_key", "hunter2")
    settings = remote.settings(repository)
    assert settings.secrets == ("secret_access_key",)


def test_outside_a_dvc_repository_the_reason_is_said(tmp_path):
    with pytest.raises(RecastError, match="not inside of a DVC repository"):
        checks.checks(tmp_path)


def test_a_default_remote_that_is_configured_nowhere_is_said(repository):
    dvc(repository, "config", "core.remote", "absent")
    with pytest.raises(RecastError, match="'absent'"):
        checks.checks(repository)


def test_two_machines_that_ask_at_the_same_moment_are_not_in_each_others_way(repository, monkeypatch):
    """Each writes the same file and removes it, to see whether that can be done; SFTP minds that it has gone."""
    from dvc.fs import LocalFileSystem

    own = LocalFileSystem.remove

    def after_another(self: Any, path: Any) -> None:
        own(self, path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(LocalFileSystem, "remove", after_another)
    facts: dict[str, Any] = {}
    for fact in remote.ask_remote(repository):
        facts |= fact
    assert facts["writable"] is True and "error" not in facts


# -- reaching it


def test_a_folder_that_is_not_there_is_a_warning_and_not_made(repository):
    (repository.parent / "remote").rmdir()
    found = check(repository, "remote")
    assert found.state is State.WARNING and "mounted" in found.remedy
    assert not (repository.parent / "remote").exists()


def test_a_missing_plugin_is_named_with_its_installation(repository):
    remote_at(repository, "gs://bucket/x")
    found = check(repository, "remote")
    assert found.state is State.PROBLEM and "pip install dvc-gs" in found.remedy


def test_missing_credentials_are_readable(repository, monkeypatch):
    remotes.without_credentials(monkeypatch)
    remote_at(repository, "s3://bucket/x")
    dvc(repository, "remote", "modify", "shared", "endpointurl", f"http://127.0.0.1:{remotes.free_port()}")
    found = check(repository, "remote")
    assert found.state is State.PROBLEM and "Unable to locate credentials" in found.found
    assert "Traceback" not in found.found and "credentials" in found.remedy


def test_a_bucket_that_is_not_there_is_a_problem(repository, monkeypatch):
    with remotes.s3(monkeypatch) as remote:
        remote_at(repository, "s3://another/x")
        for option, value in {**remote.shared, **remote.local}.items():
            dvc(repository, "remote", "modify", "shared", option, value)
        found = check(repository, "remote")
    assert found.state is State.PROBLEM and "bucket" in found.found.lower()


def test_a_server_that_refuses_is_a_problem(repository):
    remote_at(repository, f"ssh://127.0.0.1:{remotes.free_port()}/x")
    found = check(repository, "remote")
    assert found.state is State.PROBLEM and "cannot be reached" in found.found


def test_a_server_that_never_answers_is_given_up(repository):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote_at(repository, f"ssh://127.0.0.1:{silent.getsockname()[1]}/x")
        started = time.monotonic()
        found = check(repository, "remote", seconds=4)
        assert time.monotonic() - started < 120, "it would not answer for ever"
    assert found.state is State.PROBLEM and "does not answer" in found.found


@pytest.fixture
def http_url(repository: Path) -> Iterator[str]:
    def handler(*arguments: Any) -> http.server.SimpleHTTPRequestHandler:
        return Quiet(*arguments, directory=str(repository.parent / "remote"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_http_remote_can_be_read_but_has_no_run_cache(repository, http_url):
    run(repository)
    dvc(repository, "push", "--quiet")
    remote_at(repository, http_url)
    found = checked(repository)
    assert found["remote"].state is found["results"].state is State.OK
    assert found["run-cache"].state is State.WARNING and "HTTP" in found["run-cache"].found


def settings(**changes: Any) -> Settings:
    given = {
        "remote": "shared",
        "remote_levels": frozenset({"repo"}),
        "url": "s3://bucket/x",
        "secrets": (),
        "link_types": ("reflink", "copy"),
        "link_types_level": "",
        "shared": "",
        "cache": Path(".dvc/cache"),
    }
    return Settings(**{**given, **changes})


@pytest.mark.parametrize(
    ("facts", "ended", "said"),
    [
        (
            {"exists": True, "writable": False, "refusal": "AccessDenied"},
            False,
            "can be read, not written: AccessDenied",
        ),
        ({"exists": True, "writable": True}, False, "what the remote holds is not known: it took too long"),
        ({"exists": True, "error": "no such bucket"}, True, "answers, but: no such bucket"),
        ({}, False, "does not answer"),
        ({"error": "403 Forbidden"}, True, "check your credentials"),
    ],
)
def test_what_the_remote_said_is_put_into_words(facts, ended, said):
    assert said in checks.as_text(checks.remote_checks(settings(), facts, ended))


# -- what it holds


def test_what_the_remote_lacks_is_named_by_stage(repository):
    small.edit(repository, apart="9\n")
    run(repository)
    dvc(repository, "push", "--quiet", "first", "second")
    found = checked(repository)
    assert "the outputs of apart" in found["results"].found and "dvc push --run-cache" in found["results"].remedy
    assert "the run-cache entries of apart, first, second" in found["run-cache"].found


def test_a_file_inside_an_output_folder_is_missed_too(repository):
    run(repository)
    dvc(repository, "push", "--quiet", "--run-cache")
    files = [path for path in (repository.parent / "remote/files").rglob("*") if path.is_file() and not path.suffix]
    for path in files:
        if path.read_text() == "x\n":
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
            path.unlink()
    assert "the outputs of first" in check(repository, "results").found


def test_what_is_damaged_here_or_there_is_named_and_left_where_it_is(repository):
    run(repository)
    dvc(repository, "push", "--quiet", "--run-cache")
    assert check(repository, "damage").state is State.OK
    for place, said in ((".dvc/cache", "this machine's cache: the outputs of first"), ("../remote", "the remote: /")):
        (object,) = (
            path
            for path in (repository / place / "files").rglob("*")
            if path.is_file() and not path.suffix and path.read_text() == "x\n"
        )
        before = object.stat()
        object.chmod(stat.S_IRUSR | stat.S_IWUSR)
        object.write_text("y\n")
        object.chmod(before.st_mode & 0o777)
        os.utime(object, ns=(before.st_atime_ns, before.st_mtime_ns))
        found = check(repository, "damage")
        assert (found.state, object.read_text()) == (State.PROBLEM, "y\n")
        assert said in checks.as_text([found for found in checks.checks(repository) if found.name == "damage"])


def test_what_is_neither_here_nor_there_has_another_remedy(repository, tmp_path):
    run(repository)
    save(repository, "run")
    other = small.clone(repository, tmp_path / "other")
    found = check(other, "results")
    assert "nor are they here" in found.found and "where they were made" in found.remedy


def test_an_edited_command_does_not_make_its_recorded_result_look_absent(repository):
    run(repository)
    dvc(repository, "push", "--quiet", "--run-cache")
    path = repository / "dvc.yaml"
    path.write_text(path.read_text().replace("echo apart", "echo  apart"))
    assert check(repository, "run-cache").state is State.OK


# -- cache links


def test_hard_links_in_a_group_s_cache_are_a_problem_that_fix_mends(repository):
    dvc(repository, "config", "cache.type", "hardlink,symlink")
    dvc(repository, "config", "--local", "cache.shared", "group")
    found = checks.checks(repository)
    (links,) = [check for check in found if check.name == "cache links"]
    assert links.state is State.PROBLEM and links.fixable and "--project cache.type" in links.remedy
    after = {check.name: check for check in checks.fix(repository, found)}
    assert after["cache links"].fixed and after["cache links"].state is State.OK
    assert dvc(repository, "config", "--project", "cache.type").strip() == "reflink,symlink,copy"
    assert "fixed    cache links: " in checks.as_text(after.values())


def test_a_type_set_outside_the_repository_s_configuration_is_overridden_locally(repository):
    dvc(repository, "config", "--local", "cache.type", "hardlink")
    dvc(repository, "config", "cache.shared", "group")
    checks.fix(repository, checks.checks(repository))
    assert dvc(repository, "config", "--local", "cache.type").strip() == "reflink,symlink,copy"
    assert "type =" not in (repository / ".dvc/config").read_text()


def test_the_link_that_really_works_is_shown(repository):
    dvc(repository, "config", "cache.type", "symlink,copy")
    found = check(repository, "cache links")
    assert found.state is State.OK and found.found.startswith("symlink (configured: symlink, copy)")
    assert not attempt(repository, "git", "status", "--porcelain", "--", ":!.dvc/config").stdout


def test_a_cache_that_cannot_be_written_is_a_problem(repository, tmp_path):
    (tmp_path / "file").write_text("")
    dvc(repository, "cache", "dir", "--local", str(tmp_path / "file/cache"))
    found = check(repository, "cache links")
    assert found.state is State.PROBLEM and "cannot be written" in found.found


# -- the merge driver


def test_fix_installs_the_merge_driver_once(tmp_path):
    place = small.lay(tmp_path / "a b")
    git(place, "config", "--remove-section", "merge.recast-lock")
    git(place, "rm", "--quiet", ".gitattributes")
    (place / ".gitattributes").write_text("*.png binary")  # no line end
    save(place, "another")
    found = checks.checks(place)
    assert found[-1].state is State.PROBLEM and found[-1].fixable and ".gitattributes" in found[-1].found
    after = checks.fix(place, found)
    assert after[-1].fixed and after[-1].state is State.WARNING and after[-1].remedy == "commit .gitattributes"
    save(place, "attributes")
    assert checks.fix(place, checks.checks(place)) == checks.checks(place)
    assert check(place, "merge driver").state is State.OK
    assert (place / ".gitattributes").read_text() == f"*.png binary\n{checks.ATTRIBUTE_LINE}\n"
    assert attempt(place, "git", "config", "merge.recast-lock.driver").stdout == "./recast merge-lock %O %A %B\n"


def test_a_fresh_clone_has_the_attribute_and_needs_the_driver(repository, tmp_path):
    git(tmp_path, "clone", "--quiet", str(repository), str(tmp_path / "clone"))
    found = check(tmp_path / "clone", "merge driver")
    assert found.state is State.PROBLEM and "this clone's git does not know the driver" in found.found


def test_in_a_subdirectory_the_driver_is_called_from_the_top(tmp_path):
    place = small.lay(tmp_path / "clone")
    (place / "sub dir").mkdir()
    # a project without a launcher of its own calls the installed command, wherever it lies
    assert checks.driver_command(place / "sub dir") == "recast merge-lock %O %A %B"
    shutil.copy(place / "recast", place / "sub dir/recast")
    assert checks.driver_command(place / "sub dir") == "'./sub dir/recast' merge-lock %O %A %B"


def test_this_repository_carries_the_attribute():
    assert checks.ATTRIBUTE_LINE in (Path(__file__).parents[3] / checks.ATTRIBUTES).read_text().splitlines()
