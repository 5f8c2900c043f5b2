"""What came of foreign networks that were put through a target's stages: right, refused, wrong or crashed.

Shared by the suites of worst cases. `judge` runs one network in the environment of its stages; the outcomes of all of
them are shown by `show`, as a table and with each reason once, and `figures` is what --json prints.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["right", "lossy", "refused", "wrong", "crashed"]
KINDS: tuple[Kind, ...] = ("right", "lossy", "refused", "wrong", "crashed")
"""`lossy`: no layer is at fault, but integers lose more than a network should; `refused`: by a StageError, with a
reason; `wrong`: another function came out, and nothing refused it; `crashed`: any other exception"""


class WrongError(Exception):
    """The stages gave a result that is not the network's; the message says by how much."""


class LossyError(Exception):
    """The result is the network's as integers have it, and they lose much; the message says how much."""


@dataclass(frozen=True)
class Outcome:
    """What came of one network on one target."""

    target: str
    network: str
    kind: Kind
    reason: str = ""

    def as_json(self) -> dict[str, str]:
        """For a line of a worker process; `Outcome(**line)` is its inverse."""
        return asdict(self)


def judge(target: str, network: str, put_through: Callable[[], None]) -> Outcome:
    """Run the stages; a WrongError is wrong, a LossyError lossy, a StageError refused, any other exception crashed."""
    from recast.stages.base import StageError

    try:
        put_through()
    except WrongError as error:
        return Outcome(target, network, "wrong", str(error))
    except LossyError as error:
        return Outcome(target, network, "lossy", str(error))
    except StageError as error:
        return Outcome(target, network, "refused", error.message)
    except Exception as error:
        traceback.print_exc()
        return Outcome(target, network, "crashed", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    return Outcome(target, network, "right")


def general(reason: str) -> str:
    """A reason without the names and numbers of the one network it was given for."""
    text = reason.partition("; the operators it knows")[0]
    text = re.sub(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"", "…", text)
    text = re.sub(r"(?<![\w.])-?\d+(\.\d+)?(e[+-]?\d+)?(?!\w)", "#", text)
    text = re.sub(r"[(\[]#?(, ?#)*,?[)\]]", "(#)", text)
    return re.sub(r"\s+", " ", text).strip()[:160]


def counts(outcomes: Iterable[Outcome]) -> dict[str, dict[Kind, int]]:
    """Target -> how many of each kind."""
    found: dict[str, dict[Kind, int]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.target, dict.fromkeys(KINDS, 0))[outcome.kind] += 1
    return found


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What --json prints: the counts of each target."""
    return {target: dict(found) for target, found in counts(outcomes).items()}


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the counts, each reason of a refusal once, and every network that came out wrong or crashed."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(110, Console().width))
    table = Table("target", "networks", *KINDS)
    for target, found in counts(outcomes).items():
        table.add_row(target, str(sum(found.values())), *(str(found[kind]) for kind in KINDS))
    console.print(table)
    for target in counts(outcomes):
        refused = [one for one in outcomes if one.target == target and one.kind == "refused"]
        for reason, count in Counter(general(one.reason) for one in refused).most_common():
            console.print(f"{target} refused {count}: {reason}", markup=False, highlight=False)
    for one in outcomes:
        if one.kind in ("wrong", "crashed"):
            console.print(f"{one.target} {one.kind.upper()} {one.network}: {one.reason}", markup=False, highlight=False)


def failed(outcomes: Iterable[Outcome]) -> bool:
    """Whether any network came out wrong or crashed: the suite's exit code."""
    return any(one.kind in ("wrong", "crashed") for one in outcomes)
