"""The completion scripts, run by the shells they are for."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recast.pipeline.cli.main import main
from tests.lib.repository import Write

PATIENCE = 30.0


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(["completion", shell])
    assert not left.value.code
    return capsys.readouterr().out


def completed(place: Path, source: str, *words: str) -> set[str]:
    """What bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f"{source}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; "
    code += "_shtab_recast; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(["bash", "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_bash_completes_verbs_options_and_recipes(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    place = write({})
    source = script("bash", capsys)
    assert {"init", "new", "run", "prove", "serve"} <= completed(place, source, "recast", "")
    assert completed(place, source, "recast", "comp") == {"compare", "completion"}
    assert completed(place, source, "recast", "compl") == {"completion"}
    assert {"--target", "--dry"} <= completed(place, source, "recast", "run", "--")
    assert completed(place / "recipes", source, "recast", "run", "b") == {"base"}
    assert completed(place, source, "recast", "run", "base", "b") == {"base"}
    assert completed(place, source, "recast", "explain", "b") == {"base"}
    assert completed(place, source, "recast", "env", "bu") == {"build"}


@pytest.mark.slow  # so that CI runs it where zsh is sure to be there
def test_zsh_completes_verbs_options_and_recipes(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    zsh = shutil.which("zsh")
    if not zsh:
        assert not os.environ.get("CI"), "zsh is not installed"
        pytest.skip("zsh is not installed")
    place = write({"recipes/other.yaml": "extends: base\n"})
    (place / "recast.zsh").write_text(script("zsh", capsys))
    with typing(zsh, place / "recipes") as offers:
        offers("autoload -Uz compinit; compinit -u -D; eval \"$(cat ../recast.zsh)\"; echo set''up\n", "setup")
        offers("recast compl\t", "recast completion ")
        offers("recast run --targ\t", "recast run --target ")
        offers("recast run oth\t", "recast run other ")
        offers("recast run other ba\t", "recast run other base ")
        offers("recast new fresh --from oth\t", "--from other ")
        offers("recast explain ba\t", "recast explain base ")


@contextmanager
def typing(shell: str, place: Path) -> Iterator[Callable[[str, str], None]]:
    """A shell on a terminal; what it yields types a text into an empty line, and waits until the other is shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [shell, "-f", "-i"],
        cwd=place,
        env={**os.environ, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)

    def offers(typed: str, expected: str) -> None:
        os.write(ours, f"\x15{typed}".encode())  # Ctrl-U empties the line
        said = ""
        deadline = time.monotonic() + PATIENCE
        while expected not in said:
            assert time.monotonic() < deadline, f"{typed!r} was answered with {said!r}"
            if select.select([ours], [], [], 0.1)[0]:
                said += os.read(ours, 4096).decode(errors="replace")

    try:
        yield offers
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["completion", "fish"])
    assert left.value.code == 2 and "there is no 'fish'" in capsys.readouterr().err
