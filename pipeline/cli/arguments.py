"""What the command line takes: every verb with its arguments and its help."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from recast.pipeline.cli import release_verbs
from recast.pipeline.core.address import FORM, TARGET_FORM, WITHIN_FORM
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import DEVICES, GUARD
from recast.stages.common.argument_types import amount, duration, labelled, natural, positive, share
from recast.stages.common.spelling import did_you_mean

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
PLACE = "RELEASE"
SHELLS = ("bash", "zsh")
"""for which `recast completion` has a script"""
_NO_STATUS = "do not ask DVC whether results are up to date (quicker; nothing is then called verified)"
_RECIPES = "a recipe's name: the file recipes/NAME.yaml; all recipes if none is named"

Verb = Callable[[argparse.Namespace], object]
if TYPE_CHECKING:
    _Group = argparse._SubParsersAction[Any]


class Add(Protocol):
    """Adds a verb with its one-line summary, and what to type for example."""

    def __call__(self, name: str, summary: str, *, example: str, more: str = "") -> argparse.ArgumentParser: ...


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
) -> tuple[argparse.ArgumentParser, _Group]:
    """The parser, and what holds its verbs; those of targets only with `registered`, with arguments where `in_full`."""
    parser = _Grouped(
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
                epilog=_example(example),
                formatter_class=_Wrapped,
            )
            added.set_defaults(verb=verbs[name])
            titles[name] = title
            return added

        return add

    _add_project(of("a project"))
    _add_looking(of("recipes"))
    _add_run(of("results"))
    _add_results(of("results"))
    release_verbs.add_arguments(of("releases"))
    if registered:
        for name in _add_registered(group, in_full, registered):
            titles[name] = "what targets add"
    _add_setup(of("this machine and the team"))
    _add_plumbing(of("plumbing, which other programs call"))
    return parser, group


def _example(*commands: str) -> str:
    return "\n".join(["example:", *(f"  {command}" for command in commands)])


class _Wrapped(argparse.HelpFormatter):
    """Wraps a description, and leaves an example as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example:") else super()._fill_text(text, width, indent)


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


class _Grouped(_Parser):
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


def _add_registered(group: _Group, in_full: Callable[[str], bool], call: Verb) -> list[str]:
    """The verbs that targets register; of those that are wanted in full, their own arguments as well. Their names."""
    from recast.stages.registry import VERBS, load_verb

    for name, entry in VERBS.items():
        if name in group.choices:
            raise RecastError(f"a plugin registers the verb '{name}', which is Recast's own", "uninstall that plugin")
        summary = entry.summary
        description = f"{summary[0].upper()}{summary[1:]}."
        added = group.add_parser(name, help=summary, description=description, formatter_class=_Wrapped)
        added.set_defaults(verb=call, name=name)
        if in_full(name):
            verb = load_verb(name)
            added.description = " ".join(filter(None, (added.description, verb.more)))
            added.epilog = _example(verb.example) if verb.example else None
            if verb.reads:
                metavar, more = TARGET_FORM, "for example digits/akida"
                if verb.several:
                    metavar, more = f"RECIPE[/TARGET]|{PLACE}", f"{more}, or digits, or the place of a release"
                added.add_argument("what", metavar=metavar, help=more)
            verb.arguments(added)
    return list(VERBS)


def _add_project(add: Add) -> None:
    init = add(
        "init",
        "make this git repository a project of recipes",
        example="recast init --yes",
        more="Makes or joins DVC, and writes recipes/, params.yaml, a first recipe with its model, and lines of "
        ".gitignore and .dvcignore. Overwrites nothing, and says what it wrote and what it left alone.",
    )
    init.add_argument("--yes", action="store_true", help="ask nothing: no CI workflow unless --ci is given")
    init.add_argument("--ci", action="store_true", help="write a workflow for GitHub Actions that checks the recipes")
    init.add_argument(
        "--subdir", action="store_true", help="make the project in this folder, below the top of the git repository"
    )

    new = add(
        "new",
        "write a recipe, checked before it is put in place",
        example="recast new points --model models.points_mlp:PointsMlp --data data/points.npz --target onnxruntime",
        more="Overwrites nothing.",
    )
    new.add_argument("name", metavar="NAME", help="what the recipe is called: the file is recipes/NAME.yaml")
    new.add_argument("--from", metavar="RECIPE", dest="base", help="extend this recipe; only what differs is written")
    new.add_argument(
        "--target",
        metavar="TARGET",
        action="append",
        default=[],
        dest="targets",
        help="a target it is made for, of those that `recast list` shows; give it again for several",
    )
    new.add_argument("--model", metavar="MODULE:CLASS", help="the nn.Module, for example models.net:Net")
    new.add_argument("--weights", metavar="FILE", help="weights of that model, in place of training")
    new.add_argument("--onnx", metavar="FILE", help="an ONNX file, or the folder that holds it, in place of a model")
    new.add_argument("--data", metavar="PATH", help="an npz file, or a folder of images; scikit-learn's digits if none")

    show = add("list", "show the recipes with their targets, and the targets there are", example="recast list")
    show.add_argument("--json", action="store_true", help="for tools")

    doctor = add(
        "doctor",
        "look at what running recipes needs here, and say how to mend it",
        example="recast doctor",
        more="Python, git, DVC, the remote, disk space, environments, and programs that targets want. Exits with 1 if "
        "something is wrong. Mends nothing.",
    )
    doctor.add_argument("--json", action="store_true", help="for tools")


def _add_looking(add: Add) -> None:
    check = add(
        "check",
        "check recipes and report every mistake with its place",
        example="recast check digits",
        more="Runs nothing.",
    )
    check.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)

    plan = add(
        "plan",
        "show the stages of recipes and which of them would run",
        example="recast plan digits",
        more="Runs nothing.",
    )
    plan.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)
    formats = ("text", "json", "mermaid")
    plan.add_argument(
        "--format", choices=formats, default="text", help="text for people, json for tools, mermaid to draw"
    )
    plan.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    plan.add_argument(
        "--no-status", action="store_true", help="leave out which stages would run (quicker: DVC is not asked)"
    )

    explain = add(
        "explain",
        "say for each stage that it is up to date, or why it is not",
        example="recast explain digits/train",
        more="Which param changed from what to what, which file, what was edited by hand, and whether it is cached.",
    )
    explain.add_argument("what", metavar=FORM, help="for example digits, digits/train or digits/akida/verify")
    explain.add_argument("--json", action="store_true", help="for tools")


def _add_results(add: Add) -> None:
    show = add(
        "show",
        "show results again: metrics, sizes, latency, limits that were missed, and the curves of training",
        example="recast show digits",
        more="Runs nothing. What is not up to date is said to be so.",
    )
    show.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)
    _add_status_and_json(show)

    compare = add(
        "compare",
        "compare the results of two recipes, or of git revisions, and what they were made with",
        example="recast compare HEAD~1 digits",
        more="A recipe and a revision: that recipe then and now. Two revisions: every recipe that has results in both.",
    )
    for name in ("first", "second"):
        compare.add_argument(name, metavar="RECIPE|REV", help="a recipe's name, or a git revision")
    _add_status_and_json(compare)

    report = add(
        "report",
        "write results as a page: one HTML file that needs no network",
        example="recast report digits --open",
        more="Runs nothing but the page's own code. What is not up to date, failed or was not run is said to be so.",
    )
    report.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)
    report.add_argument(
        "--compare",
        metavar="REV|RECIPE",
        help="show each recipe beside itself at a git revision, or beside a recipe",
    )
    report.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it, instead of report.html")
    report.add_argument(
        "--dvc-plots", action="store_true", help="also let `dvc plots show` draw without a network in this clone"
    )
    report.add_argument("--open", action="store_true", help="show it in the browser")
    report.add_argument("--no-status", action="store_true", help=_NO_STATUS)

    blame = add(
        "blame",
        "show where a target loses what the model computed",
        example="recast blame digits/akida",
        more="Each form of the model against the one before, layer by layer, from the last run of the target's verify.",
    )
    blame.add_argument("what", metavar=TARGET_FORM, help="for example digits/akida")
    blame.add_argument("--json", action="store_true", help="for tools")

    repair = add(
        "repair",
        "search for values by which a target meets its limits",
        example="recast repair digits/onnxruntime --max-drop 0.005",
        more="Tries what the target can do otherwise, cheapest first, in a copy of the project that shares DVC's "
        "cache; the target's own runtime decides. The recipe is left as it is, unless --write is given. Ends with 1 if "
        "nothing meets the limits. See docs/repair.md.",
    )
    repair.add_argument("what", metavar=TARGET_FORM, help="for example digits/onnxruntime")
    repair.add_argument(
        "--max-drop",
        type=share,
        metavar="SHARE",
        help="most that the metric may be worse than the float model's, for example 0.005; beside the recipe's limits",
    )
    repair.add_argument(
        "--min-agreement",
        type=share,
        metavar="SHARE",
        help="least agreement with the float model, in the place of the recipe's",
    )
    repair.add_argument(
        "--budget", type=duration, metavar="TIME", help="stop after that long, for example 90s, 10m or 2h"
    )
    repair.add_argument("--write", action="store_true", help="write the change into the recipe")
    repair.add_argument("--json", action="store_true", help="for tools")


def _add_status_and_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-status", action="store_true", help=_NO_STATUS)
    parser.add_argument("--json", action="store_true", help="for tools")


def _add_run(add: Add) -> None:
    run = add(
        "run",
        "run the stages that are not up to date, side by side, then show the results",
        example="recast run digits --target akida --target wasm",
        more="Leaves what `dvc repro` leaves: the same artifacts, dvc.lock and cache. Ctrl-C stops it and keeps what "
        "finished; a second one kills.",
    )
    run.add_argument("recipes", nargs="*", metavar="RECIPE", help=_RECIPES)
    for option, metavar, what in (
        ("target", "TARGET", "only what this target needs, for example akida"),
        ("stage", WITHIN_FORM, "only this stage and what it needs, for example train or akida/emit"),
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
    whether = run.add_mutually_exclusive_group()
    whether.add_argument("--force", action="store_true", help="run stages even if they are up to date")
    whether.add_argument(
        "--share",
        action="store_true",
        help="--pull and --push, and leave to other runs with the same remote what they run already: wait for it",
    )
    whether.add_argument(
        "--on",
        metavar="ADDRESS",
        default="",
        help="run the stages on workers: tcp://HOST:PORT of a Dask scheduler, or local:N for N of them here; does "
        "what --share does",
    )
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
    run.add_argument(
        "--push",
        action="store_true",
        help="send each result to the DVC remote, with its run-cache entry, once it is there",
    )
    run.add_argument("--timeout", type=amount, metavar="SECONDS", help="let a stage fail that takes longer than this")
    run.add_argument("--retries", type=natural, metavar="N", default=0, help="try a failed stage again up to N times")
    run.add_argument(
        "--cold", action="store_true", help="start each stage's process from nothing instead of from a warm one"
    )
    run.add_argument("--json", action="store_true", help="one JSON object a line for each event, for machines")


def _add_setup(add: Add) -> None:
    share = add(
        "share",
        "show whether results can be shared with the team, and what to mend",
        example="recast share --fix",
        more="See docs/sharing.md.",
    )
    share.add_argument("--json", action="store_true", help="for tools")
    share.add_argument("--fix", action="store_true", help="mend what can be mended without inventing anything")

    worker = add(
        "worker",
        "run stages for `recast run --on` of others, in this checkout",
        example="recast worker tcp://10.0.0.1:8786 --resource a100=2",
        more="Needs Dask, a DVC remote, and a checkout without edits at the commit of whoever is to use it. See "
        "docs/cluster.md.",
    )
    worker.add_argument("address", metavar="ADDRESS", help="of the scheduler that 'dask scheduler' has printed")
    worker.add_argument("--name", dest="worker_name", default="", help="what it is called (host and process otherwise)")
    worker.add_argument("--cores", type=positive, metavar="N", help="threads its stages may have (all of this machine)")
    worker.add_argument("--memory", type=amount, metavar="GIB", help="memory its stages may have (all of this machine)")
    worker.add_argument(
        "--resource",
        type=labelled,
        metavar="NAME=N",
        action="append",
        default=[],
        dest="resources",
        help="what else it has, for stages that ask for it in 'resources: {labels: ...}'; give it again for several",
    )

    sync = add(
        "sync",
        "write dvc.yaml and the recipes' JSON schema from the recipes",
        example="recast sync --check",
        more="`recast run` does this by itself.",
    )
    sync.add_argument(
        "--check", action="store_true", help="write nothing; exit 2 if dvc.yaml or the schema is out of date"
    )

    env = add("env", "show, build, lock or prune the environments stages run in", example="recast env build torch")
    actions = env.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="every environment, whether it is built, and where they lie")
    listing.add_argument("--json", action="store_true", help="for tools")
    build = actions.add_parser("build", help="build environments now instead of on first use")
    build.add_argument("names", nargs="*", metavar="NAME", help="for example torch; all if none is named")
    lock = actions.add_parser("lock", help="pin the packages of one's own that params.yaml and recipes ask for")
    lock.add_argument("--upgrade", action="store_true", help="take the newest versions, not those that are pinned")
    prune = actions.add_parser("prune", help="delete environments that no repository of yours needs any more")
    prune.add_argument("--all", action="store_true", help="all of them; they are built again when they are needed")
    device = actions.add_parser("device", help="show or choose what 'device: auto' means on this machine")
    device.add_argument("chosen", nargs="?", choices=DEVICES, help="cpu unless chosen")

    completion = add(
        "completion",
        "print what makes a shell complete verbs, options and recipes",
        example='eval "$(recast completion bash)"',
        more="Put that line into ~/.bashrc; with zsh, after compinit, into ~/.zshrc.",
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell")


def _add_plumbing(add: Add) -> None:
    stage = add(
        "stage",
        "run one stage now, whether or not it is up to date",
        example="recast stage digits akida/verify",
        more="This is the command dvc.yaml holds.",
    )
    stage.add_argument(
        "recipe", metavar="RECIPE", help=f"a recipe's name, or '{GUARD}' to check that dvc.yaml is current"
    )
    stage.add_argument(
        "stage",
        nargs="?",
        metavar=WITHIN_FORM,
        help="for example train or akida/verify; none gathers the recipe's results",
    )

    merge = add(
        "merge-lock",
        "merge two versions of dvc.lock stage by stage",
        example="recast merge-lock BASE OURS THEIRS",
        more="Git calls it; `recast share --fix` installs it.",
    )
    for name, what in (
        ("base", "the common ancestor"),
        ("ours", "our version, which the result replaces"),
        ("theirs", "theirs"),
    ):
        merge.add_argument(name, metavar=name.upper(), type=Path, help=what)

    schema = add(
        "schema", "write the JSON schema by which editors complete and check recipes", example="recast schema --stdout"
    )
    schema.add_argument("--stdout", action="store_true", help="print it instead of writing it into recipes/")
