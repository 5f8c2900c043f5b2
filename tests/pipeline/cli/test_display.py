"""What a run shows on a terminal, in a log, and to machines."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from datetime import UTC, datetime

import pytest
from rich.console import Console, Group

from recast.pipeline.cli import display
from recast.pipeline.cli.display import Display, JsonDisplay, LiveDisplay, PlainDisplay, make_display
from recast.pipeline.cli.run_text import FINAL, Tally
from recast.pipeline.execution.events import Building, Changed, Ended, Event, Message, Planned, Progress, State

LOG = ".recast/logs/digits.akida.verify/20260301T120003.000000.log"
STAGES = ("digits/data", "digits/train", "digits/akida/emit", "digits/akida/verify", "digits/wasm/emit")
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
FAILED = Changed(
    "digits/akida/emit",
    State.FAILED,
    3.14,
    LOG,
    "scale [red]0.0[/red] of [conv1]\n  | conv1: 0",
    "set calibrate.samples",
)
WITH_FAILURE: tuple[Event, ...] = (
    Planned(STAGES),
    Changed("digits/data", State.UP_TO_DATE),
    Message("waits for process 4711 [of] another run"),
    Changed("digits/train", State.RUNNING, log=LOG),
    Progress("digits/train", "epoch 3/10  loss [0.25]", 3, 10),
    Changed("digits/train", State.DONE, 38.2, LOG),
    Changed("digits/akida/emit", State.RUNNING, log=LOG),
    FAILED,
    Changed("digits/akida/verify", State.SKIPPED, because="digits/akida/emit"),
    Changed("digits/wasm/emit", State.CACHED),
    Ended(65.0),
)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def noon() -> datetime:
    return datetime(2026, 3, 1, 12, 0, 3, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain(stream: io.StringIO, clock: Clock) -> PlainDisplay:
    return PlainDisplay(stream, clock=clock, now=noon)


def live(clock: Clock, width: int = 80, height: int = 24, stream: io.StringIO | None = None) -> LiveDisplay:
    file = stream or io.StringIO()
    return LiveDisplay(terminal(file, width, height), clock=clock)


def terminal(file: io.StringIO, width: int = 80, height: int = 24) -> Console:
    return Console(file=file, force_terminal=True, width=width, height=height, color_system="truecolor", _environ={})


class WithoutRegion(LiveDisplay):
    """The region has tests of its own."""

    def region(self) -> Group:
        return Group()


def feed(shown: Display, events: tuple[Event, ...]) -> None:
    with shown:
        for event in events:
            shown.show(event)


def kept(clock: Clock, events: tuple[Event, ...], width: int = 80) -> list[str]:
    """The lines that stay above the region, without their colours, then what follows the region's end."""
    file = io.StringIO()
    feed(WithoutRegion(terminal(file, width), clock=clock), events)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "")
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def region(shown: LiveDisplay, width: int = 80, height: int = 24) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, height=height, color_system=None).print(shown.region())
    return [line.rstrip() for line in file.getvalue().splitlines()]


# what every display counts


def test_the_tally_counts_states_and_forgets_a_failure_that_is_tried_again():
    tally = Tally()
    for event in WITH_FAILURE[:-1]:
        tally.take(event)
    assert tally.failed == [FAILED]
    assert tally.skipped == {"digits/akida/emit": ["digits/akida/verify"]}
    assert (tally.finished, tally.total) == (5, 5)
    assert tally.parts(FINAL) == ["1 done", "1 cached", "1 up to date", "1 failed", "1 skipped"]
    tally.take(Changed("digits/akida/emit", State.RUNNING))
    assert tally.failed == []
    assert tally.parts((State.RUNNING, State.FAILED)) == ["1 running"]


# plain lines


def test_plain_lines_tell_a_whole_run(clock):
    stream = io.StringIO()
    feed(plain(stream, clock), WITH_FAILURE)
    at = "[12:00:03] "
    assert stream.getvalue().splitlines() == [
        f"{at}5 stages planned",
        f"{at}waits for process 4711 [of] another run",
        f"{at}digits/train: running (log {LOG})",
        f"{at}digits/train: done in 38.2 s",
        f"{at}digits/akida/emit: running (log {LOG})",
        f"{at}digits/akida/emit: failed after 3.1 s: scale [red]0.0[/red] of [conv1]",
        "      | conv1: 0",
        "    set calibrate.samples",
        f"    log: {LOG}",
        f"{at}digits/akida/verify: skipped, because digits/akida/emit failed",
        f"{at}digits/wasm/emit: cached",
        f"{at}1 stage up to date",
        f"{at}1 stage failed:",
        "  digits/akida/emit: scale [red]0.0[/red] of [conv1]",
        "        | conv1: 0",
        "      set calibrate.samples",
        f"      log: {LOG}",
        "      1 stage skipped because of it: digits/akida/verify",
        f"{at}5 stages in 1 min 5 s: 1 done, 1 cached, 1 up to date, 1 failed, 1 skipped",
    ]


def test_plain_progress_is_a_line_a_stage_every_ten_seconds(clock):
    stream = io.StringIO()
    shown = plain(stream, clock)
    with shown:
        for stage in ("a/train", "b/train"):
            shown.show(Changed(stage, State.RUNNING))
        for second in range(31):
            clock.seconds = 1000.0 + second
            shown.show(Progress("a/train", f"second {second}", second, 30))
            if second == 12:
                shown.show(Progress("b/train", "its own gap"))
    progress = [line.partition("] ")[2] for line in stream.getvalue().splitlines()[2:]]
    assert progress == [
        "a/train: second 10 (10/30)",
        "b/train: its own gap",
        "a/train: second 20 (20/30)",
        "a/train: second 30 (30/30)",
    ]


def test_every_plain_line_is_flushed_at_once(clock):
    class Watched(io.StringIO):
        flushed = ""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    stream = Watched()
    with plain(stream, clock) as shown:
        shown.show(Changed("a/train", State.RUNNING, log=LOG))
        assert stream.flushed == f"[12:00:03] a/train: running (log {LOG})\n"


def test_a_stage_run_alone_has_no_sums(clock):
    events = (
        Changed("a/train", State.RUNNING, log=LOG),
        Progress("a/train", "epoch 1/2"),
        Changed("a/train", State.DONE, 2.0),
    )
    stream = io.StringIO()
    feed(plain(stream, clock), events)
    assert len(stream.getvalue().splitlines()) == 2
    assert kept(clock, events) == ["✓ a/train: done in 2.0 s"]


def test_up_to_date_stages_and_those_the_stop_skipped_are_only_counted(clock):
    names = tuple(f"recipe{number}/train" for number in range(500))
    events = (
        Planned(names),
        *(Changed(name, State.UP_TO_DATE) for name in names[:300]),
        *(Changed(name, State.SKIPPED) for name in names[300:]),
        Ended(1.0, interrupted=True),
    )
    stream = io.StringIO()
    feed(plain(stream, clock), events)
    sums = "interrupted after 1.0 s, 500 stages: 300 up to date, 200 skipped"
    at = "[12:00:03] "
    assert stream.getvalue().splitlines() == [f"{at}500 stages planned", f"{at}300 stages up to date", f"{at}{sums}"]
    assert kept(clock, events) == [sums]


@pytest.mark.parametrize("kind", ["plain", "live"])
def test_what_others_say_cannot_command_the_terminal(clock, kind):
    error = "\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07 back\x08\rthe\x9b2J next\x1b"
    events = (Changed("a/emit", State.FAILED, 1.0, error=error, remedy="\x1b[2Jlook"),)
    if kind == "live":
        assert kept(clock, events) == [
            "✗ a/emit: failed after 1.0 s: red bell back",
            "    the2J next",
            "    look",
        ]
        return
    stream = io.StringIO()
    feed(plain(stream, clock), events)
    assert stream.getvalue() == "[12:00:03] a/emit: failed after 1.0 s: red bell back\n    the2J next\n    look\n"


def test_many_stages_behind_a_failure_are_named_in_short(clock):
    stream = io.StringIO()
    skipped = tuple(Changed(f"a/t{number}/emit", State.SKIPPED, because="a/train") for number in range(40))
    planned = Planned(("a/train", *(event.stage for event in skipped)))
    feed(plain(stream, clock), (planned, Changed("a/train", State.FAILED, error="no"), *skipped, Ended(2.0)))
    assert "      40 stages skipped because of it: a/t0/emit, a/t1/emit, a/t2/emit and 37 more\n" in stream.getvalue()


# JSON lines


def test_json_lines_hold_every_event_and_only_what_is_set():
    stream = io.StringIO()
    feed(JsonDisplay(stream, now=noon), WITH_FAILURE)
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(said) == len(WITH_FAILURE)
    assert {one["time"] for one in said} == {"2026-03-01T12:00:03.000Z"}
    for one in said:
        del one["time"]
    assert said[0] == {"event": "planned", "stages": list(STAGES)}
    assert said[1] == {"event": "changed", "stage": "digits/data", "state": "up to date"}
    assert said[2] == {"event": "message", "text": "waits for process 4711 [of] another run"}
    progress = {"stage": "digits/train", "text": "epoch 3/10  loss [0.25]", "done": 3, "total": 10}
    assert said[4] == {"event": "progress", **progress}
    assert said[7] == {
        "event": "changed",
        "stage": FAILED.stage,
        "state": "failed",
        "seconds": 3.14,
        "log": LOG,
        "error": FAILED.error,
        "remedy": FAILED.remedy,
    }
    counts = {"done": 1, "cached": 1, "up to date": 1, "failed": 1, "skipped": 1}
    assert said[-1] == {"event": "ended", "seconds": 65.0, "interrupted": False, "counts": counts}


def test_json_keeps_a_zero_and_every_count():
    stream = io.StringIO()
    feed(
        JsonDisplay(stream, now=noon),
        (Progress("a/train", "begins", 0, 10), Changed("a/train", State.DONE, 0.0), Ended(0.0)),
    )
    progress, done, ended = (json.loads(line) for line in stream.getvalue().splitlines())
    assert progress["done"] == 0
    assert done["seconds"] == 0.0
    assert ended["counts"] == {"done": 1, "cached": 0, "up to date": 0, "failed": 0, "skipped": 0}


# the terminal: what stays


def test_what_stays_on_a_terminal(clock):
    assert kept(clock, WITH_FAILURE, 100) == [
        "waits for process 4711 [of] another run",
        "✓ digits/train: done in 38.2 s",
        "✗ digits/akida/emit: failed after 3.1 s: scale [red]0.0[/red] of [conv1]",
        "      | conv1: 0",
        "    set calibrate.samples",
        f"    log: {LOG}",
        "– digits/akida/verify: skipped, because digits/akida/emit failed",
        "✓ digits/wasm/emit: cached",
        "✗ 1 stage failed:",
        "  digits/akida/emit: scale [red]0.0[/red] of [conv1]",
        "        | conv1: 0",
        "      set calibrate.samples",
        f"      log: {LOG}",
        "      1 stage skipped because of it: digits/akida/verify",
        "5 stages in 1 min 5 s: 1 done, 1 cached, 1 up to date, 1 failed, 1 skipped",
    ]


def test_an_environment_that_is_built_is_shown_until_it_is(clock):
    building = Building("akida", "building the environment 'akida' (2.4 GB)")
    built = Building("akida", "built the environment 'akida' in 5 s")
    ended = Building("akida", ended=True)
    stream = io.StringIO()
    plain = PlainDisplay(stream, clock=clock, now=noon)
    for event in (building, built, ended):
        plain.show(event)
    assert stream.getvalue() == f"[12:00:03] {building.text}\n[12:00:03] {built.text}\n"
    stream = io.StringIO()
    machines = JsonDisplay(stream, now=noon)
    machines.show(building)
    said = json.loads(stream.getvalue())
    assert said == {
        "event": "building",
        "time": "2026-03-01T12:00:03.000Z",
        "environment": "akida",
        "text": building.text,
        "ended": False,
    }
    live = LiveDisplay(Console(file=io.StringIO(), width=100, height=20, force_terminal=True), clock=clock)
    live.show(building)
    clock.seconds += 42
    assert "environment akida  0:42  being built" in "".join(map(str, live.region().renderables))
    live.show(built)
    live.show(ended)
    assert not live.region().renderables


def test_a_long_error_wraps_and_a_path_stays_in_one_piece(clock):
    error = "the accuracy of the emitted artifact, 0.912, is below the limit of 0.985 " + "x" * 70
    path = ".recast/logs/" + "d" * 80 + ".log"
    lines = kept(clock, (Changed("digits/akida/verify", State.FAILED, 1.0, path, error),), 60)
    assert f"    log: {path}" in lines
    wrapped = lines[: lines.index(f"    log: {path}")]
    assert len(wrapped) > 2 and max(map(len, wrapped)) <= 60
    assert all(line.startswith("  ") for line in wrapped[1:])
    assert "".join("".join(wrapped).split()).endswith("0.985" + "x" * 70)


def test_a_second_try_says_why(clock):
    events = (
        Changed("a/train", State.RUNNING, log=LOG),
        Changed("a/train", State.RUNNING, log=LOG, because="its worker was lost"),
    )
    assert kept(clock, events) == ["↻ a/train: running again, because its worker was lost"]
    stream = io.StringIO()
    feed(plain(stream, clock), events)
    assert stream.getvalue().endswith(f"a/train: running again, because its worker was lost (log {LOG})\n")


@pytest.mark.parametrize(("raised", "word"), [(KeyboardInterrupt, "interrupted"), (ValueError, "stopped")])
def test_an_exception_leaves_a_sane_terminal_and_the_sums(clock, raised, word):
    stream, before = io.StringIO(), set(threading.enumerate())
    with pytest.raises(raised), live(clock, stream=stream) as shown:
        for event in WITH_FAILURE[:5]:
            shown.show(event)
        clock.seconds += 42
        raise raised
    written = stream.getvalue()
    assert written.index(HIDE_CURSOR) < written.index(SHOW_CURSOR)
    assert written.count(SHOW_CURSOR) == written.count(HIDE_CURSOR) == 1
    # nothing of the region is written after the terminal is back, only the sums
    after = written[written.index(SHOW_CURSOR) :]
    assert "running" not in after
    assert after.endswith(f"{word} after 42.0 s, 1 of 5 stages: 1 up to date\n")
    for drawing in set(threading.enumerate()) - before:
        drawing.join(10)
        assert not drawing.is_alive()


def test_the_region_is_gone_when_the_sums_are_shown(clock):
    stream = io.StringIO()
    shown = live(clock, stream=stream)
    with shown:
        for event in WITH_FAILURE:
            shown.show(event)
        assert stream.getvalue().count(SHOW_CURSOR) == 1, "what draws has ended"
    after = stream.getvalue().rpartition(SHOW_CURSOR)[2]
    # the region's two lines are wiped, then the sums
    assert "\x1b[2K" in after.partition("1 stage failed")[0]
    assert after.count("5 stages in") == 1


# the terminal: what changes


def test_the_region_shows_what_runs_and_the_counts(clock):
    shown = live(clock, width=110)
    names = tuple(f"digits/stage{number}" for number in range(25))
    for event in (
        Planned(("digits/train", "digits/akida/calibrate", *names)),
        Changed(names[0], State.UP_TO_DATE),
        Changed("digits/train", State.RUNNING),
        Progress("digits/train", "epoch 5/10  loss [0.25]", 5, 10),
    ):
        shown.show(event)
    clock.seconds += 42
    shown.show(Changed("digits/akida/calibrate", State.RUNNING))
    clock.seconds += 3700
    first, second, footer = region(shown, 110)
    assert first[1:] == " digits/train            1:02:22  ━━━━━━────── 5/10  epoch 5/10  loss [0.25]"
    assert second[1:] == " digits/akida/calibrate  1:01:40"
    assert footer == "1 of 27 · 2 running · 24 waiting · 1 up to date · 1:02:22"


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_no_width_cuts_a_stage_name_or_a_count(clock, width):
    shown = live(clock, width=width, height=50)
    names = [f"a_recipe_with_a_long_name/target{number}/calibrate" for number in range(5)]
    shown.tally.take(Planned((*STAGES, *names)))
    for event in WITH_FAILURE[1:-1]:
        shown.tally.take(event)
    for name in names:
        shown.show(Changed(name, State.RUNNING))
        shown.show(Progress(name, "through the layers, one by one, " * 9, 59_999, 60_000))
    lines = region(shown, width, 50)
    assert max(map(len, lines)) <= width
    whole = "".join("".join(lines).split())
    for name in names:
        assert name in whole
    footer = " · ".join(lines[-5:]).partition(" of 10 · ")[2]
    for part in ("5 running", "1 done", "1 cached", "1 up to date", "1 failed", "1 skipped", "0:00"):
        assert part in footer.split(" · ")


def test_a_full_region_keeps_its_footer_and_counts_the_rest(clock):
    shown = live(clock, width=80, height=24)
    names = tuple(f"recipe{number}/train" for number in range(500))
    shown.show(Planned(names))
    for name in names[:64]:
        shown.show(Changed(name, State.RUNNING))
    lines = region(shown)
    assert len(lines) < 24
    rows = [line for line in lines if "/train" in line]
    assert lines[-2] == f"  … and {64 - len(rows)} more running"
    assert lines[-1] == "0 of 500 · 64 running · 436 waiting · 0:00"


def test_the_region_is_drawn_without_events():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, height=24, _environ={})
    with LiveDisplay(console) as shown:
        shown.show(Changed("digits/train", State.RUNNING))
        until = time.monotonic() + 60
        while "digits/train" not in stream.getvalue() and time.monotonic() < until:
            time.sleep(0.02)
        assert "digits/train" in stream.getvalue()


def test_events_of_500_stages_are_cheap_and_progress_draws_nothing(clock):
    stream = io.StringIO()
    names = tuple(f"recipe{number}/train" for number in range(500))
    started, computed = time.monotonic(), time.process_time()
    with live(clock, stream=stream) as shown:
        shown.show(Planned(names))
        for name in names:
            shown.show(Changed(name, State.UP_TO_DATE))
        shown.show(Changed("big/train", State.RUNNING))
        for step in range(20_000):
            shown.show(Progress("big/train", f"step {step}", step, 20_000))
        took = time.monotonic() - started
    # 20,501 events: a redraw each would take a minute and write megabytes
    assert time.process_time() - computed < 5
    assert len(stream.getvalue()) < 2_000 + 500 * (took * display.REFRESHES_PER_SECOND + 2)


# which display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_display_follows_the_stream_and_the_flag(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    # rich takes it for "a terminal", which a log file is not
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert type(make_display(io.StringIO(), json=False)) is PlainDisplay
    assert type(make_display(Terminal(), json=False)) is LiveDisplay
    assert type(make_display(Terminal(), json=True)) is JsonDisplay
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_display(Terminal(), json=False)) is PlainDisplay


def test_a_locale_without_our_characters_does_not_end_a_run():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with make_display(stream, json=False) as shown:
        shown.show(Changed("a/emit", State.FAILED, error="Größe ≠ 3"))
    assert raw.getvalue().endswith(b"a/emit: failed: Gr??e ? 3\n")


def test_no_color_is_respected(monkeypatch, clock):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    feed(make_display(stream, json=False), WITH_FAILURE)
    colours = [code for code in re.findall(r"\x1b\[([0-9;]*)m", stream.getvalue()) if re.search(r"\b[349]\d", code)]
    assert "failed" in stream.getvalue() and colours == []
