"""Numbers and values as the page writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DASH = "–"


def number(value: Any) -> str:
    """Four digits, thousands apart; words and flags as they are; a dash for nothing."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if not isinstance(value, float):
        return str(value)
    # more than four digits would have an exponent
    return number(round(value)) if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share of one in percent."""
    return DASH if value is None else f"{100 * value:.2f}\u00a0%"


def metric(target: Mapping[str, Any], of: str) -> str:
    """The metric that tables show, of the float model or the emitted one."""
    value = target["metrics"].get(f"{target['metric']}_{of}")
    return percent(value) if target["is_share"] else number(value)


def size(value: int | None) -> str:
    """Bytes in kB or MB of 1000."""
    if value is None:
        return DASH
    return f"{value / 1e6:.2f}\u00a0MB" if value >= 1e6 else f"{value / 1e3:.1f}\u00a0kB"


def duration(seconds: float | None) -> str:
    """Seconds with three digits, in the unit that fits."""
    if seconds is None:
        return DASH
    if seconds >= 60:
        return f"{int(seconds // 60)}\u00a0min {seconds % 60:.0f}\u00a0s"
    if seconds >= 1:
        return f"{seconds:.3g}\u00a0s"
    return f"{seconds * 1e3:.3g}\u00a0ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g}\u00a0µs"


def plain(value: Any) -> str:
    """A value of a recipe as YAML would have it on one line."""
    return str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def slug(text: str) -> str:
    """A name for classes and anchors: what is no letter or digit becomes a dash."""
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in text.lower())


def db(numbers: Mapping[str, Any] | None) -> str:
    """The signal-to-noise ratio of a difference; where values are equal, that they are."""
    if numbers is None:
        return DASH
    return "equal" if numbers["sqnr_db"] >= 200 else f"{numbers['sqnr_db']:.1f}\u00a0dB"


FILTERS = {
    "number": number,
    "percent": percent,
    "metric": metric,
    "size": size,
    "duration": duration,
    "plain": plain,
    "slug": slug,
    "db": db,
}
