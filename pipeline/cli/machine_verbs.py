"""Verbs on this machine and the team: environments, workers, sharing, what is written from the recipes."""

from __future__ import annotations

import argparse

from recast.pipeline.cli.entered import enter_root
from recast.pipeline.cli.terminal import say
from recast.pipeline.cli.verb import Add, Verb
from recast.pipeline.core.errors import Exit, RecastError
from recast.pipeline.core.layout import DEVICES, RECORD, launcher
from recast.stages.common.argument_types import amount, labelled, positive

SHELLS = ("bash", "zsh")
"""for which `recast completion` has a script"""


def add_arguments(add: Add) -> None:
    """The verbs with their arguments."""
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


def _share(options: argparse.Namespace) -> Exit:
    from recast.pipeline.sharing import checks

    root = enter_root()
    found = checks.checks(root)
    if options.fix:
        found = checks.fix(root, found)
    print(checks.as_json(found) if options.json else checks.as_text(found))
    return Exit.DONE if checks.is_sound(found) else Exit.BAD_INPUT


def _worker(options: argparse.Namespace) -> Exit:
    from recast.pipeline.execution import dask_worker
    from recast.pipeline.execution.scheduler import Machine, this_machine

    root = enter_root()
    here = this_machine()
    machine = Machine(options.cores or here.cores, options.memory or here.memory, here.gpus)
    labels = dict(options.resources)
    dask_worker.serve(root, options.address, options.worker_name, dask_worker.with_labels(machine, labels), say)
    return Exit.DONE


def _sync(options: argparse.Namespace) -> Exit:
    from recast.pipeline.dvc import dvcfile, plugin_lock, sync
    from recast.pipeline.planning.make_plan import make_plan
    from recast.pipeline.planning.schema import SCHEMA

    root = enter_root()
    plan = make_plan(root)
    if options.check:
        remedy = f"run '{launcher(root)} sync'"
        if not dvcfile.is_current(root, plan):
            raise RecastError("dvc.yaml does not match the recipes", f"{remedy} and commit dvc.yaml")
        plugin_lock.refuse_stale(root, plan.stages.values())
        if not plugin_lock.is_current(root, plan):
            raise RecastError(f"{RECORD} does not hold what the plugins provide", f"{remedy} and commit {RECORD}")
        if not sync.schema_is_current(root):
            raise RecastError(f"{SCHEMA} does not match the stages", f"{remedy} and commit {SCHEMA}")
        print("dvc.yaml and the schema match the recipes")
        return Exit.DONE
    sync.sync(root, plan, print)
    return Exit.DONE


def _env(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import environment_views
    from recast.pipeline.processes import environments

    root = enter_root()
    if options.action == "list":
        print(environment_views.as_json(root) if options.json else environment_views.as_text(root))
    elif options.action == "build":
        names = options.names or [one.name for one in environments.wanted(root)]
        for name in names:
            environments.find(root, name)  # a misspelt one is said before any is built
        for name in names:
            environments.ensure(root, name, say)
    elif options.action == "lock":
        from recast.pipeline.processes import package_lock

        package_lock.lock(root, say, upgrade=options.upgrade)
    elif options.action == "prune":
        environments.prune(root, say, everything=options.all)
    else:
        if options.chosen:
            environments.set_device(root, options.chosen)
        print(f"'device: auto' means {environments.device(root)} on this machine")
    return Exit.DONE


VERBS: dict[str, Verb] = {
    "share": _share,
    "worker": _worker,
    "sync": _sync,
    "env": _env,
}
