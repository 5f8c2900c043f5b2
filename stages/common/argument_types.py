"""Types of a verb's numbers: what is no such number is an error of the command line, before anything runs."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

LABEL = r"[a-z][a-z0-9_-]{0,30}"
"""what else than cores, memory and GPUs a machine may have"""
MOST_COUNT = 2**31 - 1
MOST_AMOUNT = 1e9
"""seconds or GiB; as bytes it still is a number that the system takes"""
MOST_PORT = 65535


def natural(text: str) -> int:
    """A whole number, 0 or more."""
    return _whole(text, 0, MOST_COUNT, "a whole number, 0 or more")


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    return _whole(text, 1, MOST_COUNT, "a whole number, 1 or more")


def port(text: str) -> int:
    """Of a network address; 0 asks for a free one."""
    return _whole(text, 0, MOST_PORT, f"a whole number from 0 to {MOST_PORT}")


def amount(text: str) -> float:
    """A number above 0 that is no more than MOST_AMOUNT."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= MOST_AMOUNT:
        raise ArgumentTypeError(f"must be a number above 0 and at most {MOST_AMOUNT:g}, not {text!r}")
    return number


def labelled(text: str) -> tuple[str, float]:
    """`NAME=N`: what a machine has, and how much of it."""
    name, _, number = text.partition("=")
    if not re.fullmatch(LABEL, name):
        raise ArgumentTypeError(f"must be NAME=N with a name of small letters, digits, - and _, not {text!r}")
    return name, amount(number)


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ArgumentTypeError(f"must be a number from 0 to 1, such as 0.005, not {text!r}")
    return number


def duration(text: str) -> float:
    """Seconds, as `90s`, `10m` or `2h` says them."""
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    try:
        number = float(text[:-1]) * (seconds or 0.0)
    except ValueError:
        number = 0.0
    if not 0 < number <= MOST_AMOUNT:
        raise ArgumentTypeError(f"must be a time with its unit, such as 90s, 10m or 2h, not {text!r}")
    return number


def _whole(text: str, least: int, most: int, what: str) -> int:
    # int() would take blanks, signs and underscores as well
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ArgumentTypeError(f"must be {what}, not {text!r}")
    return int(text)
