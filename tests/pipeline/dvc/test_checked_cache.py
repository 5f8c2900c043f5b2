"""What is damaged in DVC's cache, its run-cache or its remote is never used silently: plain repositories, real DVC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from pathlib import Path

import pytest

from recast.pipeline.dvc.checked_cache import ASIDE, KNOWN
from recast.pipeline.dvc.explain import Explanation, as_text, explain_steps
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.execution.events import State
from tests.lib import drive
from tests.lib.damage import overwrite
from tests.lib.drive import copies, lay, run, stage, started

# a file, a folder of files, and what reads them
STAGES = {
    "one": copies("one", ["src"]),
    "folder": stage(
        "folder",
        "mkdir -p folder/in; echo x > folder/x; cat one > folder/in/y; echo y >> folder/in/y",
        ["one"],
        ["folder"],
    ),
    "end": stage("end", "cat folder/x folder/in/y > end", ["folder"], ["end"]),
}
END = "x\nx\none\ny\n"
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "a bit flipped": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a bit flipped inside": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 4]) + content[len(content) // 2 + 1 :]
    ),
}
# one of them each time, all of them where a test may take minutes
HOW = pytest.mark.parametrize(
    "how", [pytest.param(how, marks=() if how == "a bit flipped" else pytest.mark.slow) for how in DAMAGES]
)


def damage(path: Path, how: str) -> None:
    """Damage a file so that DVC would not look at it again."""
    overwrite(path, DAMAGES[how](path.read_bytes()))


def forget(root: Path) -> None:
    """Delete what the stages left in the workspace."""
    for name in ("one", "end"):
        (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / "folder", ignore_errors=True)


def objects(root: Path) -> list[Path]:
    return sorted(path for path in (root / ".dvc/cache/files").rglob("*") if path.is_file())


def objects_of(root: Path, name: str) -> list[Path]:
    """The objects of a stage's output, which is a file, or a folder with its list first."""
    oid = next(out["md5"] for out in drive.locks(root)["dvc.lock"]["stages"][name]["outs"])
    return drive.objects(root, oid)


def assert_whole(root: Path) -> None:
    assert (root / "end").read_text() == END
    drive.assert_cached(root)
    assert drive.status(root) == {}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    root = lay(tmp_path_factory.mktemp("ran") / "one", {"src": "x\n"}, STAGES)
    assert not run(root).result.failed
    return root


@pytest.fixture
def root(ran, tmp_path) -> Path:
    """A repository in which everything has run."""
    return Path(shutil.copytree(ran, tmp_path / "copy", symlinks=True))


@HOW
def test_no_damaged_object_is_checked_out(root, how):
    for object in objects(root):
        damage(object, how)
        forget(root)
        ours = run(root)
        assert_whole(root)
        assert len(ours.named(State.DONE)) == 1, "the stage whose result was damaged, and no other"
        assert sum("is damaged in DVC's cache; set aside as .recast/damaged/" in text for text in ours.messages) == 1
        assert any("was found: it is made again" in text for text in ours.messages)
    assert len(list((root / ASIDE).iterdir())) == len(objects(root))


@HOW
def test_where_the_workspace_is_intact_nothing_runs_and_the_cache_is_put_right(root, how):
    for object in objects(root):
        damage(object, how)
    ours = run(root)
    assert ours.named(State.UP_TO_DATE) == set(STAGES)
    assert sum("put back into DVC's cache" in text for text in ours.messages) == len(STAGES)
    assert_whole(root)
    assert set(started(root).values()) == {1}
    assert not run(root).messages


def test_all_objects_damaged_at_once_and_the_workspace_lost(root):
    for number, object in enumerate(objects(root)):
        damage(object, list(DAMAGES)[number % len(DAMAGES)])
    forget(root)
    assert run(root).named(State.DONE) == set(STAGES)
    assert_whole(root)


def test_what_dvc_has_checked_out_from_a_damaged_object_is_seen(root):
    (object,) = objects_of(root, "one")
    damage(object, "a bit flipped")
    forget(root)
    assert drive.repro(root) and (root / "one").read_text() != "x\none\n", "DVC has used it"
    ours = run(root)
    assert "one" in ours.named(State.DONE) and not any("intact" in text for text in ours.messages[:1])
    assert_whole(root)


@pytest.mark.parametrize(
    "links", ["symlink", *(pytest.param(other, marks=pytest.mark.slow) for other in ("hardlink", "copy"))]
)
def test_where_artifacts_are_links_a_damaged_object_is_damaged_there_too(tmp_path, links):
    root = lay(tmp_path, {"src": "x\n"}, STAGES)
    subprocess.run([sys.executable, "-m", "dvc", "config", "cache.type", links], cwd=root, check=True)
    run(root)
    for name in STAGES:
        for object in objects_of(root, name):
            damage(object, "a bit flipped")
            ours = run(root)
            assert_whole(root)
            assert any("is damaged in DVC's cache" in text for text in ours.messages), (name, object)
            drive.assert_cached(root)


def test_a_stage_that_runs_again_replaces_a_damaged_object_of_the_same_content(root):
    for object in objects(root):
        damage(object, "truncated")
    assert run(root, force=True).named(State.DONE) == set(STAGES)
    assert_whole(root)


@HOW
def test_a_damaged_entry_of_the_run_cache_is_not_followed(root, how):
    run(root)
    entries = sorted(path for path in (root / ".dvc/cache/runs").rglob("*") if path.is_file())
    assert len(entries) == len(STAGES)
    for entry in entries:
        damage(entry, how)
    (root / "dvc.lock").unlink()
    forget(root)
    ours = run(root)
    assert ours.named(State.DONE) == set(STAGES) and not ours.result.failed
    assert sum("an entry of the run-cache is damaged" in text for text in ours.messages) == len(STAGES)
    assert_whole(root)


def test_an_entry_that_names_another_result_or_another_place_is_not_followed(root):
    entries = [path for path in (root / ".dvc/cache/runs").rglob("*") if path.is_file()]
    (entry,) = (path for path in entries if "path: end" in path.read_text())
    entry.write_text(entry.read_text().replace("path: end", "path: src"))
    (root / "dvc.lock").unlink()
    forget(root)
    assert run(root).named(State.DONE) == {"end"}
    assert (root / "src").read_text() == "x\n"
    assert_whole(root)


def test_a_file_that_no_stage_makes_is_put_back_from_the_workspace_or_asked_for(root):
    subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "src"], cwd=root, check=True)
    run(root)
    (object,) = (path for path in objects(root) if path.read_text() == "x\n" and path.stat().st_size == 2)
    damage(object, "emptied")
    ours = run(root)
    assert any("put back into DVC's cache from what lies in src" in text for text in ours.messages)
    assert object.read_text() == "x\n" and set(started(root).values()) == {1}
    damage(object, "emptied")
    (root / "src").unlink()
    ours = run(root)
    assert any("no intact copy of src was found: no stage makes it" in text for text in ours.messages), ours.messages
    assert ours.result.failed


# -- the remote


@pytest.fixture
def pushed(root, tmp_path) -> Path:
    """The repository with a remote that holds everything."""
    remote = tmp_path / "remote"
    for arguments in (["remote", "add", "--quiet", "--default", "r", str(remote)], ["push", "--quiet", "--run-cache"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True)
    return root


def test_a_damaged_object_is_fetched_again_and_nothing_runs(pushed):
    for object in objects(pushed):
        damage(object, "truncated")
        forget(pushed)
        ours = run(pushed)
        assert not ours.named(State.DONE) and not ours.result.failed
        assert any("from the remote" in text for text in ours.messages)
        assert_whole(pushed)
    assert set(started(pushed).values()) == {1}


@HOW
@pytest.mark.parametrize(
    "lock", [pytest.param(True, id="by dvc.lock"), pytest.param(False, id="by the run-cache", marks=pytest.mark.slow)]
)
def test_what_is_damaged_in_the_remote_is_not_pulled_silently(pushed, tmp_path, how, lock):
    for object in objects_of(pushed, "folder"):
        damage(tmp_path / "remote" / object.relative_to(pushed / ".dvc/cache"), how)
    shutil.rmtree(pushed / ".dvc/cache")
    forget(pushed)
    if not lock:
        (pushed / "dvc.lock").unlink()
    ours = run(pushed, pull=True)
    assert ours.named(State.CACHED) | ours.named(State.UP_TO_DATE) == {"one", "end"}
    assert ours.named(State.DONE) == {"folder"}
    assert any("is damaged in" in text for text in ours.messages)
    assert_whole(pushed)


def test_a_list_of_files_that_is_damaged_everywhere_does_not_stop_a_pull(pushed, tmp_path):
    for object in objects_of(pushed, "folder"):
        damage(tmp_path / "remote" / object.relative_to(pushed / ".dvc/cache"), "truncated")
        damage(object, "truncated")
    (pushed / "folder/in/y").write_text("edited by hand\n")
    ours = run(pushed, pull=True)
    assert not ours.result.failed and ours.named(State.DONE) == {"folder"}
    assert_whole(pushed)


@pytest.mark.slow
def test_a_remote_that_does_not_answer_is_said_and_the_stage_runs(root, tmp_path):
    (tmp_path / "file").touch()
    arguments = ["remote", "add", "--quiet", "--default", "r", str(tmp_path / "file/in")]
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True)
    damage(objects_of(root, "end")[0], "emptied")
    forget(root)
    ours = run(root)
    assert ours.named(State.DONE) == {"end"}
    assert_whole(root)


# -- what is only asked


def judged(root: Path) -> list[Explanation]:
    with chdir(root), closing(Repository(root, lambda text: None)) as repository, repository.locked():
        return explain_steps(repository, repository.steps(["dvc.yaml"]))


@HOW
def test_explain_tells_what_is_damaged_and_changes_nothing(root, how):
    object = objects_of(root, "folder")[1]
    damage(object, how)
    damage(objects_of(root, "one")[0], how)
    forget(root)
    before = {path: path.read_bytes() for path in objects(root)}
    said = as_text(judged(root))
    assert "one is damaged in the cache" in said and "one would run" in said
    assert "folder/in/y is damaged in the cache" in said
    assert {path: path.read_bytes() for path in objects(root)} == before and not (root / ASIDE).exists()


def test_explain_says_that_an_intact_workspace_will_be_put_back(root):
    damage(objects_of(root, "one")[0], "a bit flipped")
    said = as_text(judged(root))
    assert "one is up to date" in said
    assert "one is damaged in the cache; a run puts back what lies in the workspace" in said


def test_a_workspace_file_that_was_written_to_with_its_times_kept_is_seen(root):
    damage(root / "one", "a bit flipped")
    assert run(root).named(State.CACHED) == {"one"}
    assert_whole(root)


# -- what it costs


@pytest.fixture
def hashed(monkeypatch) -> Iterator[list[str]]:
    """The objects that are read while the test goes on."""
    import recast.pipeline.dvc.checked_cache as module

    read: list[str] = []
    original = module.file_md5
    monkeypatch.setattr(module, "file_md5", lambda path, **options: read.append(path) or original(path, **options))
    yield read


def test_an_object_is_read_once_and_again_when_it_changed_or_is_used(root, hashed):
    run(root)
    assert len(hashed) in (0, len(objects(root)))  # a copied repository is looked at anew
    hashed.clear()
    run(root)
    assert not hashed
    (object,) = objects_of(root, "one")
    os.utime(object)
    run(root)
    assert hashed == [str(object)]
    hashed.clear()
    forget(root)
    run(root)
    assert sorted(hashed) == sorted(map(str, objects(root)))


def test_losing_what_is_known_costs_a_look(root, hashed):
    run(root)
    for text in ("", "{", '{"a": 1}', '{"a": [1, 2, 3]}', "[]"):
        (root / KNOWN).write_text(text)
        hashed.clear()
        assert run(root).named(State.UP_TO_DATE) == set(STAGES)
        assert len(hashed) == len(objects(root))
