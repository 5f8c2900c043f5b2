"""The limits of a recipe's `verify` as an offer states them, and `verify` without them."""

from __future__ import annotations

import json
from typing import Any

from recast.stages.base import StageError
from recast.stages.parity.verify import OF_OUTPUTS, OF_TASKS, VerifyParams, metric_limits
from recast.stages.repair import Limit, Made, Offer, Values

VERIFY = "verify"


def with_limits(offer: Offer, made: Made) -> Offer:
    """The offer, with what the recipe asks of a candidate. Raises StageError for a target whose set has no `verify`."""
    params = _params(made)
    task = params.task.load()
    better = next((one.better for one in task.all_metrics if one.name == task.shown), "higher")
    return offer.model_copy(
        update={"limits": of(params), "without_limits": without(params), "metric_better": better},
    )


def _params(made: Made) -> VerifyParams:
    if VERIFY not in made.params:
        raise StageError(f"the target has no stage '{VERIFY}'", "name it so in the target's stage set")
    # a target's own may have more params
    given = {name: value for name, value in made.params[VERIFY].items() if name in VerifyParams.model_fields}
    return VerifyParams.model_validate_json(json.dumps(given))


def of(params: VerifyParams) -> tuple[Limit, ...]:
    """Every limit that is set, of the task's metrics and of the outputs."""
    task = params.task.load()
    found = [_limit(name, metric, how, limit) for name, (metric, how), limit in metric_limits(params, task)]
    for name in OF_OUTPUTS:
        if (limit := getattr(params, name)) is not None:
            how = "min" if name.startswith("min_") else "max"
            found.append(_limit(name, name.removeprefix("min_"), how, limit))
    return tuple(found)


def _limit(name: str, metric: str, how: str, limit: float) -> Limit:
    return Limit.model_validate({"name": name, "metric": metric, "how": how, "limit": limit})


def without(params: VerifyParams) -> Values:
    """Values by which `verify` sets no limit."""
    said: dict[str, Any] = {
        name: None for name in (*OF_TASKS, *OF_OUTPUTS) if getattr(params, name) is not None or name == "min_agreement"
    }
    return {VERIFY: said | ({"limits": {}} if params.limits else {})}
