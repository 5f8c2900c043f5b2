"""Every command that the pages have their reader type is run: here, or by the test that is named."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lib.copied import ROOT
from tests.lib.pages import blocks, pages
from tests.lib.repository import call, commit, copy_repository, tag

PROGRAMS = ("recast", "dvc", "openssl")
HERE = tuple(
    f"docs/{name}.md"
    for name in (
        "daily_use", "running", "results", "parity", "recipes", "sharing", "dvc_commands", "releases", "serving",
    )
)  # fmt: skip
"""pages on the recipe digits; their commands are run in this order"""
ELSEWHERE = {
    r"docs/(start|own_data)\.md .*": "tests/pipeline/test_pages.py",
    r"examples/.*": "tests/pipeline/test_examples.py",
    r"docs/cluster\.md recast run .*": "tests/pipeline/execution/test_cluster.py",
    r"docs/sharing\.md recast run --share": "tests/pipeline/execution/test_shared_work.py",
    r"docs/repair\.md .*": "tests/pipeline/repair/test_repairing.py",
    r"docs/releases\.md recast rebuild .*": "tests/pipeline/release/test_release.py",
    r"docs/adding_a_stage\.md recast stage .*": "tests/pipeline/test_plugin_demo.py",
    r"docs/adding_a_stage\.md recast env build NAME": "tests/pipeline/processes/test_environments.py",
    r"docs/dvc_commands\.md dvc (exp|queue) .*": "tests/pipeline/dvc/test_dvc_experiments.py",
    r"docs/tutorials/.*": "tests/pipeline/recipes/test_tutorials.py",
    r"docs/targets/ezkl\.md .*": "tests/pipeline/recipes/test_tutorials.py",
    r"docs/running\.md recast run": "tests/pipeline/recipes/test_tutorials.py",
}
"""pages and commands -> the tests that run them; none is left out"""
ENDS = {
    "recast share": (0, 2),  # there is something to be mended
    "dvc checkout": (255,),  # recipes that never ran, as the page says
}
"""exit codes that are none of a failure"""
NEVER_RAN = "extends: digits\nstages: {train: {epochs: 1}}\ntargets: {akida: false, wasm: false}\n"
THEIRS = {
    "/mnt/team/recast": "recast",
    "/mnt/fast/dvc-cache": "dvc-cache",
    "../clone": "a clone",
    "git@example.com:team/recast.git": "a clone",
}
"""places of the reader's -> where they lie in the test's folder"""
ON_PAGE = {"docs/recipes.md": "digits_fast", "docs/dvc_commands.md": "shapes"}
"""page -> the recipe of its own that its commands name"""


class Typed(NamedTuple):
    """A command of a page."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page} {' '.join(self.words)}"


def typed(path: Path) -> Iterator[Typed]:
    """The commands of a page, in order, without comments."""
    name = path.relative_to(ROOT).as_posix()
    for block in blocks(path.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
            found = re.match(rf"(\$ )?(?:\./|\.venv/bin/)?((?:{'|'.join(PROGRAMS)}) .+)", line)
            if found and (found[1] or block.language == "sh"):
                yield Typed(name, tuple(shlex.split(found[2], comments=True)))


def of_another(one: Typed) -> str | None:
    return next((test for pattern, test in ELSEWHERE.items() if re.fullmatch(pattern, str(one))), None)


def test_each_command_is_run_here_or_by_a_test_that_is_named() -> None:
    every = [one for path in pages() for one in typed(path)]
    assert len(every) > 80
    for one in every:
        assert one.page in HERE or of_another(one), f"nobody runs: {one}"
    said = {str(one) for one in every}
    for pattern, test in ELSEWHERE.items():
        assert (ROOT / test).is_file(), test
        assert any(re.fullmatch(pattern, one) for one in said), pattern


@pytest.mark.slow
def test_the_commands_on_digits_do_as_they_are_typed(tmp_path: Path) -> None:
    place = tmp_path / "a clone"
    place.mkdir()
    copy_repository(place)
    call(place, "./recast", "run", "digits", "--target", "onnxruntime", "--target", "akida", DVC_NO_ANALYTICS="1")
    (place / "report.txt").unlink(missing_ok=True)
    seen, failed = set(), []
    for page in HERE:
        with recipe_of(page, place):
            commit(place, page)
            for one in typed(ROOT / page):
                if of_another(one) or (page, one.words) in seen:
                    continue
                seen.add((page, one.words))
                failed += run(one, place)
    assert not failed, "\n\n".join(failed)
    assert len(seen) > 30


@contextmanager
def recipe_of(page: str, place: Path) -> Iterator[None]:
    """The recipe that its commands name beside `digits`, which never ran: the one it shows, or else any."""
    if page not in ON_PAGE:
        yield
        return
    text, name = (ROOT / page).read_text(encoding="utf-8"), ON_PAGE[page]
    shown = (block.text for block in blocks(text) if block.text.startswith(f"# recast run {name}\n"))
    recipe = place / f"recipes/{name}.yaml"
    recipe.write_text(next(shown, NEVER_RAN), encoding="utf-8")
    call(place, "./recast", "sync")
    yield
    recipe.unlink()
    call(place, "./recast", "sync")


def run(one: Typed, place: Path) -> Iterator[str]:
    """Run a command there; what is wrong with how it ended, or with what it said."""
    program, *words = one.words
    for theirs, ours in THEIRS.items():
        words = [word.replace(theirs, str(place.parent / ours)) for word in words]
    at = {"recast": "./recast", "dvc": f"{place}/.venv/bin/dvc"}.get(program, program)
    if words[0] == "serve":
        serve(place, at, *words)
        return
    if words[0] == "artifacts":
        # the line before it in the block
        tag(place, "digits-akida@v1.0.0")
    if words[:2] == ["cache", "dir"] and not Path(words[-1]).exists():
        # the line before it in the block
        shutil.copytree(place / ".dvc/cache", words[-1])
    where = place
    if words[:2] == ["cache", "dir"] and "../clone/" in str(one):
        # the lines before it and after it
        where = place.parent / "other"
        call(place, "git", "worktree", "add", "--quiet", str(where))
    done = call(where, at, *words, check=False, DVC_NO_ANALYTICS="1")
    if words[0] == "artifacts":
        call(place, "git", "tag", "--delete", "digits-akida@v1.0.0")  # another page makes the same
    if where != place:
        again = call(where, at, "repro", "digits", DVC_NO_ANALYTICS="1").stdout
        if "Running stage 'digits-" in again:
            yield f"in a worktree: {again}"
    page = (ROOT / one.page).read_text(encoding="utf-8")
    if done.returncode not in ENDS.get(" ".join(one.words), (0,)):
        yield f"{one}: {done.returncode}\n{done.stdout[-600:]}\n{done.stderr[-600:]}"
    elif one.words[:2] == ("recast", "plan") and done.stdout.rstrip() not in page:
        yield f"{one}: the page shows another plan than\n{done.stdout}"


def serve(place: Path, *command: str) -> None:
    """Until it says that it answers, and Ctrl-C."""
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    with subprocess.Popen(
        command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as service:  # fmt: skip
        assert service.stdout is not None
        said = next((line for line in service.stdout if "answers on" in line), "")
        service.send_signal(signal.SIGINT)
    assert said and service.returncode in (0, 130, -signal.SIGINT), service.returncode
