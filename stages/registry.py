"""The lists of what there is: stages, verbs beyond the runner's own, and what can be served or repaired."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recast.stages import limits
from recast.stages.base import Stage
from recast.stages.limits import Limits
from recast.stages.plugin import Browser, Entry, PluginError, VerbEntry
from recast.stages.providers import Provider, gathered, mend, provider
from recast.stages.verb import Verb

REGISTRY: dict[str, Entry] = gathered(lambda plugin: plugin.stages)

VERBS: dict[str, VerbEntry] = gathered(lambda plugin: plugin.verbs)
"""verb -> its module, whose `VERB` is a `recast.stages.verb.Verb`"""

PREDICTORS: dict[str, Entry] = gathered(lambda plugin: plugin.predictors)
"""registered `emit` stage -> the module whose `load` gives what `recast serve` asks: see `model`"""

BROWSERS: dict[str, Browser] = gathered(lambda plugin: plugin.browsers)
"""registered `emit` stage -> how what it emits runs in a browser"""

LIMITS: dict[str, Limits] = gathered(lambda plugin: plugin.limits)
"""target -> what its models may take and give, of those that say so"""

REPAIRS: dict[str, Entry] = gathered(lambda plugin: plugin.repairs)
"""registered `emit` stage -> the module whose `offer` says what `recast repair` can try: see `repair`"""

TRUNKS = (
    ("data", "train", "export", "simplify"),
    ("data", "import", "simplify"),
    ("inputs", "import", "simplify"),
)
"""The stages that come before any target's, in running order, in each way to the model that all targets share. A recipe
has the one that has most of the stages it speaks of; of several the first."""
TRUNK = tuple(name for name in REGISTRY if any(name in trunk for trunk in TRUNKS))
"""The stages of all of them. Reserved names: no target may bear them."""


def split(name: str) -> tuple[str | None, str]:
    """The target that a registered stage is of, None for the trunk's, and what the target calls it."""
    target, _, stage = name.rpartition(".")
    return target or None, stage


def full_name(target: str, stage: str) -> str:
    """What a target's stage is registered as, if it is."""
    return f"{target}.{stage}"


def of_targets(stage: str) -> list[str]:
    """Every registered stage that its target calls so."""
    return [name for name in REGISTRY if name not in TRUNK and split(name)[1] == stage]


def load(name: str) -> Stage[Any]:
    """Import the stage's module, which must not import its vendor's packages at the top; KeyError if unknown.

    Raises PluginError for one of a plugin that cannot be used.
    """
    with _named(f"the stage '{name}'", provider(lambda one: one.plugin.stages, name)):
        stage = importlib.import_module(REGISTRY[name].module).STAGE
        if not isinstance(stage, Stage):
            raise TypeError(f"{REGISTRY[name].module}.STAGE is not a Stage")
    return stage


def refusal(target: str, params: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """Why the target cannot hold the model that the params of a recipe's trunk stages tell of, and what to do.

    None where they tell of no reason.
    """
    return limits.refusal(target, LIMITS[target], LIMITS, params) if target in LIMITS else None


def load_verb(name: str) -> Verb:
    """Import the verb's module, which must not import its vendor's packages at the top; KeyError if unknown.

    Raises PluginError for one of a plugin that cannot be used.
    """
    with _named(f"the verb '{name}'", provider(lambda one: one.plugin.verbs, name)):
        verb = importlib.import_module(VERBS[name].module).VERB
        if not isinstance(verb, Verb):
            raise TypeError(f"{VERBS[name].module}.VERB is not a Verb")
    return verb


@contextmanager
def _named(what: str, owner: Provider | None) -> Iterator[None]:
    """Let what goes wrong in a plugin's module be said as the plugin's, and not as a bug of ours."""
    try:
        yield
    except Exception as error:
        if owner is None or owner.is_ours:
            raise
        why = f"the plugin {owner} cannot give {what}: {type(error).__name__}: {error}"
        raise PluginError(why, mend(owner.name)) from error
