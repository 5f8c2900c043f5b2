"""What the command line takes: every verb with its arguments and its help."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from pipeline.layout import GUARD
from stages.argument_types import amount, natural, positive
from stages.spelling import did_you_mean

_DESCRIPTION = """\
Recast trains a PyTorch model once and recasts it for every target, with proof that what came out
still computes the same function. Recipes in recipes/*.yaml say how; DVC remembers what is done.
"""
_EPILOG = """\
a first session:
  recast check             are all recipes sound?
  recast plan digits       what are its stages, and which would run?
  recast run digits        run what has changed, then show the results
  recast explain digits    why would a stage run again?
  dvc repro digits         the same as `recast run`, by DVC, one stage at a time

exit codes: 0 done, 1 a stage failed, 2 a recipe or the command is wrong, 3 a bug of Recast, 130 interrupted
"""
_RECIPES = "a recipe's name: the file recipes/NAME.yaml; all recipes if none is named"
DEVICES = ("cpu", "cuda", "mps")

Verb = Callable[[argparse.Namespace], object]
if TYPE_CHECKING:
    _Group = argparse._SubParsersAction[Any]


class Add(Protocol):
    """Adds a verb with its one-line summary."""

    def __call__(self, name: str, summary: str, more: str = "") -> argparse.ArgumentParser: ...


def parse(arguments: list[str], verbs: Mapping[str, Verb], registered: Verb) -> argparse.Namespace:
    """The command line as a namespace whose `verb` is what to call; leaves with code 2 if it is wrong.

    `registered` is what to call for a verb of `stages.registry.VERBS`, whose name is then in `name`.
    """
    parser = _Parser(
        prog="recast", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(name: str, summary: str, more: str = "") -> argparse.ArgumentParser:
        added = group.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}".strip())
        added.set_defaults(verb=verbs[name])
        return added

    _add_looking(add)
    _add_run(add)
    _add_sharing(add)
    _add_workshop(add)
    # the registry costs an import of pydantic, which the runner's own verbs need not pay
    if not (arguments and arguments[0] in verbs):
        _add_registered(group, arguments, registered)
    options, rest = parser.parse_known_args(arguments)
    if rest:
        asked = group.choices[next(word for word in arguments if word in group.choices)]
        known = (option for option in asked._option_string_actions if option.startswith("--"))
        meant = f"; {did_you_mean(rest[0].partition('=')[0], known)}" if rest[0].startswith("-") else ""
        asked.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
    return options


class _Parser(argparse.ArgumentParser):
    """Says of a misspelt verb or choice what was meant."""

    def error(self, message: str) -> NoReturn:
        if found := _CHOICE.search(message):
            choices = re.findall(r"'([^']*)'", found["choices"])
            message = (
                f"{message[: found.start()]}there is no '{found['wrong']}'; {did_you_mean(found['wrong'], choices)}"
            )
        super().error(message)


_CHOICE = re.compile(r"invalid choice: '(?P<wrong>.*)' \(choose from (?P<choices>.*)\)", re.DOTALL)


def _add_registered(group: _Group, arguments: list[str], call: Verb) -> None:
    """The verbs that targets register; of the one that is asked for, its own arguments as well."""
    from stages.registry import VERBS, load_verb

    for name, entry in VERBS.items():
        summary = entry.summary
        added = group.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        added.set_defaults(verb=call, name=name)
        if name in arguments:
            verb = load_verb(name)
            added.description = " ".join(filter(None, (added.description, verb.more)))
            if verb.reads:
                added.add_argument("what", metavar="RECIPE/TARGET", help="for example digits/akida")
            verb.arguments(added)


def _add_looking(add: Add) -> None:
    check = add("check", "check recipes and report every mistake with its place", "Runs nothing.")
    check.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)

    plan = add("plan", "show the stages of recipes and which of them would run", "Runs nothing.")
    plan.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)
    formats = ("text", "json", "mermaid")
    plan.add_argument(
        "--format", choices=formats, default="text", help="text for people, json for tools, mermaid to draw"
    )
    plan.add_argument(
        "--no-status", action="store_true", help="leave out which stages would run (quicker: DVC is not asked)"
    )

    explain = add(
        "explain",
        "say for each stage that it is up to date, or why it is not",
        "Which param changed from what to what, which file, what was edited by hand, and whether the cache has it.",
    )
    explain.add_argument(
        "what", metavar="RECIPE[/STAGE]", help="for example digits, digits/train or digits/akida/verify"
    )
    explain.add_argument("--json", action="store_true", help="for tools")

    blame = add(
        "blame",
        "show where a target loses what the model computed",
        "Each form of the model against the one before, layer by layer, from the last run of the target's verify.",
    )
    blame.add_argument("what", metavar="RECIPE/TARGET", help="for example digits/akida")
    blame.add_argument("--json", action="store_true", help="for tools")


def _add_run(add: Add) -> None:
    run = add(
        "run",
        "run the stages that are not up to date, side by side, then show the results",
        "Leaves what `dvc repro` leaves: the same artifacts, dvc.lock and cache. Ctrl-C stops it and keeps what "
        "finished; a second one kills.",
    )
    run.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)
    for option, metavar, what in (
        ("target", "TARGET", "only what this target needs, for example akida"),
        ("stage", "[TARGET/]STAGE", "only this stage and what it needs, for example train or akida/emit"),
    ):
        help = f"{what}; give it again for several"
        run.add_argument(f"--{option}", metavar=metavar, action="append", default=[], dest=f"{option}s", help=help)
    run.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        default=len(os.sched_getaffinity(0)),
        help="stages at once, as far as their 'resources' fit this machine (%(default)s unless chosen); "
        "never changes how many threads a stage gets",
    )
    run.add_argument("--force", action="store_true", help="run stages even if they are up to date")
    run.add_argument("--dry", action="store_true", help="show what would run, run nothing")
    failing = run.add_mutually_exclusive_group()
    failing.add_argument(
        "--keep-going",
        action="store_true",
        default=True,
        help="after a failure run everything that does not need the failed stage (the default)",
    )
    failing.add_argument(
        "--fail-fast", action="store_false", dest="keep_going", help="after a failure start nothing more"
    )
    run.add_argument(
        "--pull", action="store_true", help="fetch results that this machine lacks from the DVC remote before running"
    )
    run.add_argument("--timeout", type=amount, metavar="SECONDS", help="let a stage fail that takes longer than this")
    run.add_argument("--retries", type=natural, metavar="N", default=0, help="try a failed stage again up to N times")
    run.add_argument(
        "--cold", action="store_true", help="start each stage's process from nothing instead of from a warm one"
    )
    run.add_argument("--json", action="store_true", help="one JSON object a line for each event, for machines")

    stage = add("stage", "run one stage now, whether or not it is up to date", "This is the command dvc.yaml holds.")
    stage.add_argument(
        "recipe", metavar="RECIPE", help=f"a recipe's name, or '{GUARD}' to check that dvc.yaml is current"
    )
    stage.add_argument(
        "stage",
        nargs="?",
        metavar="[TARGET/]STAGE",
        help="for example train or akida/verify; none gathers the recipe's results",
    )


def _add_sharing(add: Add) -> None:
    share = add("share", "show whether results can be shared with the team, and what to mend", "See docs/sharing.md.")
    share.add_argument("--fix", action="store_true", help="mend what can be mended without inventing anything")

    merge = add(
        "merge-lock", "merge two versions of dvc.lock stage by stage", "Git calls it; `recast share --fix` installs it."
    )
    for name, what in (
        ("base", "the common ancestor"),
        ("ours", "our version, which the result replaces"),
        ("theirs", "theirs"),
    ):
        merge.add_argument(name, metavar=name.upper(), type=Path, help=what)


def _add_workshop(add: Add) -> None:
    sync = add(
        "sync", "write dvc.yaml and the recipes' JSON schema from the recipes", "`recast run` does this by itself."
    )
    sync.add_argument(
        "--check", action="store_true", help="write nothing; exit 2 if dvc.yaml or the schema is out of date"
    )

    schema = add("schema", "write the JSON schema by which editors complete and check recipes")
    schema.add_argument("--stdout", action="store_true", help="print it instead of writing it into recipes/")

    env = add("env", "show, build or prune the environments stages run in")
    actions = env.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    actions.add_parser("list", help="every environment, and whether it is built")
    build = actions.add_parser("build", help="build environments now instead of on first use")
    build.add_argument("names", nargs="*", metavar="NAME", help="for example torch; all if none is named")
    actions.add_parser("prune", help="delete environments that no pin file asks for any more")
    device = actions.add_parser("device", help="show or choose what 'device: auto' means on this machine")
    device.add_argument("chosen", nargs="?", choices=DEVICES, help="cpu unless chosen")
