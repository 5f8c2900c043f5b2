"""Every command that the pages have their reader type is run: here, or by the test that is named."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lib.copied import ROOT
from tests.lib.pages import blocks, pages
from tests.lib.repository import call, commit, copy_repository

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
    r"docs/(targets|tutorials)/ezkl.*\.md .*": "tests/pipeline/recipes/test_recipes.py",
    r"docs/tutorials/pytorch_to_akida\.md .*": "tests/pipeline/recipes/test_recipes.py",
    r"docs/tutorials/zml\.md .*": "tests/pipeline/recipes/test_zml_recipe.py",
}
"""pages and commands -> the tests that run them, some of them on a smaller recipe"""
CANNOT = {
    "docs/running.md recast run": "every recipe: hours; each has a test of its own",
    "docs/recipes.md recast plan digits_fast --no-status": "of a recipe that the page shows; test_docs reads it",
    "docs/dvc_commands.md dvc status shapes": "shows what DVC says of a recipe of one's own",
    "docs/dvc_commands.md dvc cache dir --local ../clone/.dvc/cache": "of a second clone; test_dvc_experiments has one",
    "docs/tutorials/cairo.md recast run mnist_mlp_cairo": "needs MNIST and minutes; Cairo's own tests run its stages",
    "docs/tutorials/webassembly.md recast run cifar_wasm": "needs CIFAR-10; wasm's own tests run its stages",
    "docs/tutorials/webassembly.md recast run cifar_wasm_int8": "the same",
    "docs/sharing.md dvc artifacts get git@example.com:team/recast.git digits-akida": "names a host of the reader's",
}
ENDS = {
    "recast share": (0, 2),  # there is something to be mended
    "dvc checkout": (255,),  # recipes that never ran, as the page says
}
"""exit codes that are none of a failure"""
FOLDERS = ("/mnt/team/recast", "/mnt/fast/dvc-cache")
"""of the reader's: they lie in the test's folder"""


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
        ways = [one.page in HERE, of_another(one) is not None, str(one) in CANNOT]
        assert any(ways), f"nobody runs: {one}"
    said = {str(one) for one in every}
    assert not CANNOT.keys() - said, "the pages have these no more"
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
        commit(place, page)
        for one in typed(ROOT / page):
            if str(one) in CANNOT or of_another(one) or (page, one.words) in seen:
                continue
            seen.add((page, one.words))
            program, *words = one.words
            for folder in FOLDERS:
                words = [word.replace(folder, str(tmp_path / Path(folder).name)) for word in words]
            at = {"recast": "./recast", "dvc": ".venv/bin/dvc"}.get(program, program)
            if words[0] == "serve":
                serve(place, at, *words)
                continue
            done = call(place, at, *words, check=False, DVC_NO_ANALYTICS="1")
            if done.returncode not in ENDS.get(" ".join(one.words), (0,)):
                failed.append(f"{one}: {done.returncode}\n{done.stdout[-600:]}\n{done.stderr[-600:]}")
    assert not failed, "\n\n".join(failed)
    assert len(seen) > 30


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
