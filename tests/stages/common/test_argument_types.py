# environment: onnx
from __future__ import annotations

import argparse

import pytest

from recast.stages.common import argument_types
from recast.stages.registry import load_verb

WORDS = {"prove": ["input.npz", "-o", "proof.json"], "serve": []}


def parsed(verb: str, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"recast {verb}")
    load_verb(verb).arguments(parser)
    return parser.parse_args([*WORDS[verb], *words])


@pytest.mark.parametrize("verb", ["prove", "serve"])
@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        *(("--threads", text, "a whole number, 1 or more") for text in ("0", "-1", "abc", "1.5", "", "1e3", "9" * 20)),
        *(
            (option, text, "a number above 0")
            for option in ("--timeout", "--memory")
            for text in ("0", "-5", "-1", "nan", "inf", "abc", "", "1e300")
        ),
    ],
)
def test_a_number_that_makes_no_sense_is_one_error_of_the_command_line(
    verb: str, option: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parsed(verb, option, text)
    said = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert [line for line in said if "error" in line] == [said[-1]]
    assert f"argument {option}" in said[-1] and message in said[-1] and said[-1].endswith(f"not {text!r}")


@pytest.mark.parametrize("verb", ["prove", "serve"])
def test_numbers_that_do_are_taken(verb: str) -> None:
    options = parsed(verb, "--threads", "3", "--timeout", "0.5", "--memory", "2e1")
    assert (options.threads, options.timeout, options.memory) == (3, 0.5, 20.0)
    assert parsed(verb).memory is None


def test_ports_and_counts_have_their_bounds() -> None:
    assert [argument_types.port(text) for text in ("0", "65535")] == [0, 65535]
    assert argument_types.natural("0") == 0
    for kind, text in (
        (argument_types.port, "65536"),
        (argument_types.natural, "-1"),
        (argument_types.natural, "x"),
        (argument_types.positive, "0"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=f"must be .* not '{text}'"):
            kind(text)


def test_shares_and_times_have_their_bounds_and_a_time_its_unit() -> None:
    assert [argument_types.share(text) for text in ("0", "0.005", "1")] == [0.0, 0.005, 1.0]
    assert [argument_types.duration(text) for text in ("90s", "10m", "1.5h")] == [90.0, 600.0, 5400.0]
    for kind, text in (
        *((argument_types.share, text) for text in ("-0.1", "1.1", "5%", "nan", "")),
        *((argument_types.duration, text) for text in ("10", "0s", "-1m", "nanm", "infs", "m", "", "1d")),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=f"must be .* not '{text}'"):
            kind(text)
