"""What the command line takes: every verb with its arguments and its help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from recast.pipeline.cli import (
    looking_verbs,
    machine_verbs,
    plumbing_verbs,
    project_verbs,
    registered_verbs,
    release_verbs,
    result_verbs,
    run_verb,
)
from recast.pipeline.cli.verb import Add, Verb, Wrapped, example_of
from recast.stages.common.spelling import did_you_mean

if TYPE_CHECKING:
    from recast.pipeline.cli.verb import Group

_DESCRIPTION = """\
Recast trains a PyTorch model once and recasts it for every target, with proof that what came out
still computes the same function. Recipes in recipes/*.yaml say how; DVC remembers what is done.
"""
_EPILOG = """\
a first session:
  recast init              make this git repository a project, with a first recipe
  recast check             are all recipes sound?
  recast plan digits       what are its stages, and which would run?
  recast run digits        run what has changed, then show the results
  recast explain digits    why would a stage run again?
  dvc repro digits         the same as `recast run`, by DVC, one stage at a time

`recast VERB --help` shows the arguments of a verb, and an example.

exit codes: 0 done, 1 a stage failed or doctor found a problem, 2 a recipe or the command is wrong, 3 a bug of Recast,
130 interrupted
"""


def parse(arguments: list[str], verbs: Mapping[str, Verb], registered: Verb) -> argparse.Namespace:
    """The command line as a namespace whose `verb` is what to call; leaves with code 2 if it is wrong.

    `registered` is what to call for a verb of `recast.stages.registry.VERBS`, whose name is then in `name`.
    """
    # the registry costs an import of pydantic, which the runner's own verbs need not pay
    own = bool(arguments) and (arguments[0] in verbs or arguments[0] == "--version")
    parser, group = _parser(verbs, None if own else registered, arguments.__contains__)
    options, rest = parser.parse_known_args(arguments)
    if rest:
        asked = group.choices[next(word for word in arguments if word in group.choices)]
        known = (option for option in asked._option_string_actions if option.startswith("--"))
        meant = f"; {did_you_mean(rest[0].partition('=')[0], known)}" if rest[0].startswith("-") else ""
        asked.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
    return options


def whole(verbs: Mapping[str, Verb], registered: Verb) -> argparse.ArgumentParser:
    """The parser with every verb and all arguments of each, those of targets too, as a completion needs it."""
    return _parser(verbs, registered, lambda name: True)[0]


def _parser(
    verbs: Mapping[str, Verb], registered: Verb | None, in_full: Callable[[str], bool]
) -> tuple[argparse.ArgumentParser, Group]:
    """The parser, and what holds its verbs; those of targets only with `registered`, with arguments where `in_full`."""
    parser = Grouped(
        prog="recast", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=_Version, help="show which Recast this is, and exit")
    group = parser.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=_Parser)
    titles = parser.titles

    def of(title: str) -> Add:
        def add(name: str, summary: str, *, example: str, more: str = "") -> argparse.ArgumentParser:
            added = group.add_parser(
                name,
                help=summary,
                description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(),
                epilog=example_of(example),
                formatter_class=Wrapped,
            )
            added.set_defaults(verb=verbs[name])
            titles[name] = title
            return added

        return add

    project_verbs.add_arguments(of("a project"))
    looking_verbs.add_arguments(of("recipes"))
    run_verb.add_arguments(of("results"))
    result_verbs.add_arguments(of("results"))
    release_verbs.add_arguments(of("releases"))
    if registered:
        for name in registered_verbs.add_arguments(group, in_full, registered):
            titles[name] = "what targets add"
    machine_verbs.add_arguments(of("this machine and the team"))
    plumbing_verbs.add_arguments(of("plumbing, which other programs call"))
    return parser, group


class _Version(argparse.Action):
    """Shows the version: it is looked up when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from recast.pipeline.core.version import described

        print(described())
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Says of a misspelt verb or choice what was meant."""

    def error(self, message: str) -> NoReturn:
        if found := _CHOICE.search(message):
            choices = re.findall(r"'([^']*)'", found["choices"])
            message = (
                f"{message[: found.start()]}there is no '{found['wrong']}'; {did_you_mean(found['wrong'], choices)}"
            )
        super().error(message)


class Grouped(_Parser):
    """Shows its verbs in groups."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.titles: dict[str, str] = {}
        """verb -> the heading it is shown under"""

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        verbs = next(action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        for title in dict.fromkeys(self.titles.values()):
            formatter.start_section(title)
            formatter.add_arguments(one for one in verbs._get_subactions() if self.titles[one.dest] == title)
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments(action for action in self._actions if action.option_strings)
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


_CHOICE = re.compile(r"invalid choice: '(?P<wrong>.*)' \(choose from (?P<choices>.*)\)", re.DOTALL)
