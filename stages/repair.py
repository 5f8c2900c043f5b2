"""What a target can try to bring a model closer to its limits: what `recast repair RECIPE/TARGET` searches.

A target says it by a module with `offer(Made) -> Offer`, which is registered by the target's emit stage
(`Plugin.repairs`) and called in the environment named there. The runner knows neither the params nor what they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Values = dict[str, dict[str, Any]]
"""stage, as the target calls it -> param -> value"""


def merged(first: Values, second: Values) -> Values:
    """Both, the second's going before the first's."""
    return {stage: {**first.get(stage, {}), **second.get(stage, {})} for stage in {**first, **second}}


@dataclass(frozen=True)
class Made:
    """What a candidate's run has made."""

    directories: Mapping[str, Path]
    """stage -> its output directory, for the stages of the target and of the trunk it stands on; empty before the first
    run, when only limits and figures are wanted"""
    params: Mapping[str, Mapping[str, Any]]
    """stage -> its params as JSON values"""


class Plain(BaseModel):
    """Base of what an offer holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(Plain):
    """Other values of params."""

    says: str
    """what is then otherwise, for the table"""
    values: Values


class Setting(Plain):
    """Choices of which one at most is taken: they cost nothing at run time."""

    name: str
    choices: tuple[Choice, ...]
    covers: tuple[str, ...] = ()
    """names of settings that come behind it and are not tried where one of these choices is taken, as they are in it"""


class Figure(Plain):
    """A metric of one of the target's stages that the table shows beside accuracy, agreement and size."""

    title: str
    stage: str
    metric: str
    better: Literal["higher", "lower"]
    of: str = ""
    """a metric of the same stage, of which the first is a part: 3 of 5"""


class Limit(Plain):
    """What the recipe's `verify` asks of a candidate's metrics."""

    name: str
    metric: str
    """a metric as `verify` calls it; of a task's, NAME_emitted and, for a difference, NAME_float"""
    how: Literal["min", "max", "drop", "rise"]
    limit: float


class Offer(Plain):
    """What can be tried from where a candidate stands; in each list the cheapest comes first."""

    settings: tuple[Setting, ...] = ()
    ladder: tuple[Choice, ...] = ()
    """each goes further than the one before, and costs more at run time; the first that is enough is wanted"""
    obstacles: tuple[str, ...] = ()
    """what loses most and no choice here can mend, for the case that nothing is enough"""
    figures: tuple[Figure, ...] = ()
    limits: tuple[Limit, ...] = ()
    """of the recipe's `verify`"""
    without_limits: Values = {}
    """params by which `verify` measures and refuses nothing"""
    metric_better: Literal["higher", "lower"] = "higher"
    """of the metric that tables show"""
