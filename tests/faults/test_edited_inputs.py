"""What a stage reads is edited while it is read: no result is ever noted under a key that it does not belong to."""

from __future__ import annotations

import hashlib
import random
import subprocess
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.faults.test_killed_runs import RUN, laid
from tests.lib import drive
from tests.lib.repeated import times
from tests.lib.repository import call
from tests.lib.tally import Tally

SEED = 19
TIMES = times(12)
# reads its input in two parts, with time between them
STAGES = {
    "slow": drive.stage("slow", "head -n 1 in.txt > slow; sleep 0.4; tail -n 1 in.txt >> slow", ["in.txt"], ["slow"]),
    "end": drive.copies("end", ["slow"]),
}
EDIT = 'EDITED = "meanwhile"\n'
MOST_S = 2.5
"""the latest moment of an edit, from the start of a run"""


@pytest.mark.slow
@pytest.mark.fault("what a stage reads edited at a random moment of a run: no result under another's key")
def test_an_input_that_is_edited_while_it_is_read(tmp_path: Path, tally: Tally) -> None:
    chance, as_it_ran = random.Random(SEED), 0
    place = drive.lay(tmp_path / "clone", {"in.txt": "0\n0\n"}, STAGES)
    results = {md5("0\n0\n"): md5("0\n0\n")}
    for number in range(1, TIMES + 1):
        with drive.running(place, 2) as run:
            if chance.random() < 0.7:  # while it reads
                run.until(lambda event: event.get("stage") == "slow" and event.get("state") == "running")
                time.sleep(chance.uniform(0, 0.6))
            else:
                time.sleep(chance.uniform(0, MOST_S))
            text = f"{number}\n{number}\n"
            (place / "in.txt").write_text(text)
            results[md5(text)] = md5(text)
            as_it_ran += run.process.poll() is None
            code = run.end()
        loss = None if code in (0, 1) else f"it ended with {code}: {run.events}"
        loss = loss or wrong(place, results)
        last = drive.run(place)
        if not loss and (last.result.failed or (place / "end").read_text() != f"{text}end\n"):
            loss = f"the next run gives {(place / 'end').read_text()!r} of {text!r}: {last.events}"
        tally.count(loss or wrong(place, results))
        drive.assert_cached(place)
        # so that the next one has something to run
        (place / "in.txt").write_text(f"{number}\nanew\n")
        results[md5(f"{number}\nanew\n")] = md5(f"{number}\nanew\n")
    assert not tally.losses, tally.losses[:3]
    assert as_it_ran > TIMES / 2  # or the moments are no test


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def wrong(place: Path, results: dict[str, str]) -> str | None:
    """A result of the slow stage, in the run-cache or dvc.lock, that is not of what it is said to have read."""
    entries = [YAML(typ="safe").load(path.read_text()) for path in (place / ".dvc/cache/runs").glob("??/*/*")]
    entries += [lock for name, lock in drive.locks(place)["dvc.lock"]["stages"].items() if name == "slow"]
    for entry in entries:
        if entry["outs"][0]["path"] == "slow" and entry["outs"][0]["md5"] != results[entry["deps"][0]["md5"]]:
            return f"{entry['outs'][0]['md5']} is noted as what is made of {entry['deps'][0]['md5']}"
    return None


@pytest.mark.slow
def test_code_that_is_edited_once_it_was_imported_is_what_the_result_is_of(tmp_path: Path) -> None:
    """People edit models while they train. What has been imported is what is run, and recorded."""
    place = laid(tmp_path / "clone")
    model, before = place / "models/digits_cnn.py", (place / "models/digits_cnn.py").read_text()
    with subprocess.Popen(RUN, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        drive.wait_until(lambda: "[progress] epoch" in logged(place), "an epoch of the training", 240)
        model.write_text(before + EDIT)
        said, _ = run.communicate()
    assert run.returncode == 0 and "edited while it ran" not in said, said
    assert noted_of(place, "digits-train")["models/digits_cnn.py"] == md5(before)
    # export has begun after that
    assert noted_of(place, "digits-export")["models/digits_cnn.py"] == md5(before + EDIT)
    again = call(place, *RUN)
    assert "digits/train: done in" in again.stdout and "digits/data: running" not in again.stdout


def logged(place: Path) -> str:
    return "".join(path.read_text() for path in (place / ".recast/logs").glob("digits-train/*"))


def noted_of(place: Path, stage: str) -> dict[str, str]:
    return {dep["path"]: dep["md5"] for dep in drive.locks(place)["dvc.lock"]["stages"][stage]["deps"]}
