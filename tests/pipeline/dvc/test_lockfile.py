"""dvc.lock is written as DVC writes it, and what it holds comes back."""

from __future__ import annotations

import copy
import random
import time
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml, load_yaml

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc.lockfile import parse_lock, read_lock, render_lock, write_lock

AWKWARD = [
    *("1e5", "0x1f", "0o17", "1_000", "", "null", "~", "yes", "true", "2020-01-01", "1:30", ".inf", "=", "<<"),
    *("a: b", "# c", "a #b", "- a", "?", "@x", "%x", "!x", "&a", "*a", "{a}", "[a", "a, b", "it's", '"q"', " x ", ": "),
    *("a\nb", "a\n", "\t", "\x07", "\ufeff", "é ü", "漢", "😀", "word " * 25, "word " * 13 + "x", "a" * 90),
    *(None, True, 1, 10**30, 2.5, 1e-7, 1e16, float("inf"), [], {}, [1, "a", None], {"k": None}, [[1, 2], ["a"]]),
    [{"a": 1, "b": [1]}, {}],
]


def entry(command: object, md5: str, params: object) -> dict[str, Any]:
    return {
        "cmd": command,
        "deps": [{"path": "a folder/in.txt", "hash": "md5", "md5": md5, "size": 3}],
        "params": {"params.yaml": {"stages.train": params}},
        "outs": [{"path": "artifacts/out", "hash": "md5", "md5": f"{md5}.dir", "size": 4, "nfiles": 1}],
    }


def test_the_text_is_byte_for_byte_what_dvc_writes_but_for_the_order(tmp_path):
    chance = random.Random(0)
    for number in range(300):
        picked = copy.deepcopy(chance.sample(AWKWARD, 6))
        params = {f"key {place} {value!s}"[:40]: value for place, value in enumerate(picked)}
        command = chance.choice(["./recast stage a b/c", ["true", "x " * 50], "x " * chance.randint(1, 60)])
        md5 = "".join(chance.choices("0123456789e", k=32))
        names = chance.sample(["b", "a", "long-name_2"], 2)
        lock = {"schema": "2.0", "stages": {name: copy.deepcopy(entry(command, md5, params)) for name in names}}
        in_order = {**lock, "stages": dict(sorted(lock["stages"].items()))}
        assert render_lock(lock) == dumps_yaml(copy.deepcopy(in_order)), number


@pytest.mark.parametrize("value", AWKWARD, ids=repr)
def test_dvc_reads_back_what_was_written(tmp_path, value):
    lock = {"schema": "2.0", "stages": {"a": entry("true", "0" * 32, {"key": value, "in a list": [value]})}}
    write_lock(tmp_path / "dvc.lock", lock)
    assert load_yaml(str(tmp_path / "dvc.lock")) == lock
    assert read_lock(tmp_path / "dvc.lock") == lock


@pytest.mark.parametrize(
    "md5", ["1e512345678901234567890123456789", "12345678901234567890123456789012", "0" * 32, "0e" + "1" * 30]
)
def test_an_md5_that_looks_like_a_number_stays_text(tmp_path, md5):
    lock = {"schema": "2.0", "stages": {"a": entry("true", md5, {})}}
    write_lock(tmp_path / "dvc.lock", lock)
    for read in (load_yaml(str(tmp_path / "dvc.lock")), read_lock(tmp_path / "dvc.lock")):
        assert read["stages"]["a"]["deps"][0]["md5"] == md5
        assert read["stages"]["a"]["outs"][0]["md5"] == f"{md5}.dir"


def test_entries_are_sorted_and_the_rest_keeps_its_order():
    text = render_lock({"schema": "2.0", "datasets": [{"name": "z"}], "stages": {"b": {"cmd": "b"}, "a": {"cmd": "a"}}})
    assert text == "schema: '2.0'\ndatasets:\n- name: z\nstages:\n  a:\n    cmd: a\n  b:\n    cmd: b\n"


def test_the_same_object_twice_is_written_twice():
    dep = {"path": "x", "md5": "1"}
    assert "&" not in render_lock({"stages": {"a": {"cmd": "a", "deps": [dep]}, "b": {"cmd": "b", "deps": [dep]}}})


def test_no_file_and_an_empty_one_are_locks_without_stages(tmp_path):
    assert read_lock(tmp_path / "dvc.lock") == {"schema": "2.0", "stages": {}}
    assert parse_lock("") == {"schema": "2.0", "stages": {}}
    assert parse_lock(render_lock(parse_lock(""))) == parse_lock("")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema: '2.0'\nstages:\n<<<<<<< HEAD\n  a:\n=======\n>>>>>>> other\n", "git's conflict markers"),
        ("- a\n", "not a mapping"),
        ("schema: '1.0'\nstages: {}\n", "schema is '1.0'"),
        ("train:\n  cmd: a\n", "schema is None"),
        ("schema: '2.0'\nstages: [a]\n", "'stages' is not a mapping"),
        ("schema: '2.0'\nstages: {a: {deps: []}}\n", "stage 'a'"),
        ("schema: '2.0'\nstages: {a: {cmd: a, outs: [x]}}\n", "without a path"),
        ("schema: '2.0'\nstages: {a: {cmd: a}, a: {cmd: b}}\n", "no YAML"),
        ("schema: [\n", "no YAML"),
    ],
)
def test_what_is_no_lock_is_refused_with_the_reason(tmp_path, text, said):
    path = tmp_path / "dvc.lock"
    path.write_text(text)
    with pytest.raises(RecastError, match=said) as raised:
        read_lock(path)
    assert "dvc.lock" in str(raised.value) and "git checkout --ours" in raised.value.remedy


def test_a_failed_write_leaves_the_old_file_and_a_good_one_its_mode(tmp_path):
    path = tmp_path / "dvc.lock"
    write_lock(path, {"schema": "2.0", "stages": {}})
    path.chmod(0o640)
    before = path.read_text()
    with pytest.raises(Exception, match="object"):
        write_lock(path, {"schema": "2.0", "stages": {"a": object()}})
    assert path.read_text() == before
    write_lock(path, {"schema": "2.0", "stages": {"a": {"cmd": "a"}}})
    assert path.stat().st_mode & 0o777 == 0o640 and list(tmp_path.iterdir()) == [path]


def test_five_hundred_stages_are_read_and_written_in_seconds(tmp_path: Path):
    deps = [{"path": f"artifacts/r/{n}", "hash": "md5", "md5": f"{n:032x}", "size": n} for n in range(8)]
    stages = {f"s{n:03}": {**entry("./recast stage r s", f"{n:032x}", {"lr": 1e-4}), "deps": deps} for n in range(500)}
    started = time.process_time()  # which a busy machine does not lengthen
    write_lock(tmp_path / "dvc.lock", {"schema": "2.0", "stages": stages})
    assert read_lock(tmp_path / "dvc.lock")["stages"] == stages
    assert time.process_time() - started < 10  # about one second
