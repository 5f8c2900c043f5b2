"""Two users of a group with one cache, each with another umask: each finds what the other has made, and can mend it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recast.pipeline.execution.events import State
from tests.lib import drive, machines
from tests.lib.damage import overwrite
from tests.lib.repeated import times
from tests.lib.tally import Tally

SEED = 19
TIMES = times(4)
USERS, GROUP = (54321, 54322), 54320
UMASKS = (0o077, 0o022, 0o002, 0o027)
STAGES = {
    "one": drive.copies("one", ["in.txt"]),
    "folder": drive.stage("folder", "mkdir -p folder/in; cp one folder/x; cp one folder/in/y", ["one"], ["folder"]),
    "end": drive.stage("end", "cat folder/x folder/in/y > end", ["folder"], ["end"]),
}


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can look into: pytest's own are its user's."""
    place = Path(tempfile.mkdtemp(prefix="recast-users-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.fault("two users of a group with one cache and other umasks, what is in it damaged at times")
def test_one_cache_of_two_users(public: Path, tally: Tally) -> None:
    chance = random.Random(SEED)
    cache = public / "cache"
    cache.mkdir()
    os.chown(cache, 0, GROUP)
    cache.chmod(0o2775)
    places = [laid(public / f"clone {user}", user, cache) for user in USERS]
    for number in range(TIMES):
        for place in places:
            (place / "in.txt").write_text(f"{number}\n")
        order = chance.sample(range(2), 2)
        first, second = (run(places[one], USERS[one], chance.choice(UMASKS)) for one in order)
        loss = None
        if "done" not in first or "failed" in first or f"'{State.CACHED}'" not in second or "'running'" in second:
            loss = f"the first: {first}; the second: {second}"
        if chance.random() < 0.5:
            for path in (path for path in sorted((cache / "files").rglob("*")) if path.is_file()):
                overwrite(path, path.read_bytes()[:-1] + b"?")
            for name in ("one", "end", "folder"):
                path = places[order[1]] / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            mended = run(places[order[1]], USERS[order[1]], chance.choice(UMASKS))
            if "set aside" not in mended or "failed" in mended:
                loss = loss or f"with a damaged cache: {mended}"
        if any((place / "end").read_text() != f"{number}\none\n" * 2 for place in places):
            loss = loss or "another result"
        tally.count(loss)
    assert not tally.losses, tally.losses[:3]


def laid(place: Path, user: int, cache: Path) -> Path:
    drive.lay(place, {"in.txt": "", "home/.keep": ""}, STAGES)
    (place / ".dvc/config").write_text(f"[cache]\n    dir = {cache}\n    shared = group\n    type = reflink,copy\n")
    subprocess.run(["chown", "--recursive", f"{user}:{user}", str(place)], check=True)
    return place


def run(place: Path, user: int, mask: int) -> str:
    """What the user's run says, who has no entry in /etc/passwd, as in a container."""
    variables = {name: value for name, value in os.environ.items() if name not in ("LOGNAME", "USER", "USERNAME")}
    variables |= {"HOME": str(place / "home"), "DVC_SITE_CACHE_DIR": str(place / "home/db")}
    variables |= {"PYTHONPATH": os.pathsep.join([str(drive.ROOT / "src"), str(drive.ROOT)])}
    command = [*machines.as_user(user, GROUP, mask, Path(sys.executable)), *drive.command(place, 2)]
    done = subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True)
    return f"{done.stdout.replace(chr(34), chr(39))}{done.stderr}"
