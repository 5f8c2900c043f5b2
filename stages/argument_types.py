"""Types of a verb's numbers: what is no such number is an error of the command line, before anything runs."""

from __future__ import annotations

from argparse import ArgumentTypeError

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


def _whole(text: str, least: int, most: int, what: str) -> int:
    # int() would take blanks, signs and underscores as well
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ArgumentTypeError(f"must be {what}, not {text!r}")
    return int(text)
