"""Verbs that targets and plugins register: what they take, and how their process is come to."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.cli.entered import enter_root, enter_root_or_outside
from recast.pipeline.cli.terminal import note
from recast.pipeline.cli.verb import Verb, Wrapped, example_of
from recast.pipeline.core.address import TARGET_FORM
from recast.pipeline.core.errors import Exit, RecastError

if TYPE_CHECKING:
    from recast.pipeline.cli.verb import Group

PLACE = "RELEASE"


def add_arguments(group: Group, in_full: Callable[[str], bool], verb_call: Verb) -> list[str]:
    """The verbs that targets register; of those that are wanted in full, their own arguments as well. Their names."""
    from recast.stages.registry import VERBS, load_verb

    for name, entry in VERBS.items():
        if name in group.choices:
            raise RecastError(f"a plugin registers the verb '{name}', which is Recast's own", "uninstall that plugin")
        summary = entry.summary
        description = f"{summary[0].upper()}{summary[1:]}."
        added = group.add_parser(name, help=summary, description=description, formatter_class=Wrapped)
        added.set_defaults(verb=verb_call, name=name)
        if in_full(name):
            verb = load_verb(name)
            added.description = " ".join(filter(None, (added.description, verb.more)))
            added.epilog = example_of(verb.example) if verb.example else None
            if verb.reads:
                metavar, more = TARGET_FORM, "for example digits/akida"
                if verb.several:
                    metavar, more = f"RECIPE[/TARGET]|{PLACE}", f"{more}, or digits, or the place of a release"
                added.add_argument("what", metavar=metavar, help=more)
            verb.arguments(added)
    return list(VERBS)


def call(options: argparse.Namespace) -> Exit:
    """Become the process of a verb of `recast.stages.registry`: signals, exit code and terminal are then its own."""
    from recast.pipeline.processes import verb_call
    from recast.stages.registry import load_verb

    here = Path.cwd()
    released = None
    if load_verb(options.name).several:
        from recast.pipeline.release.served import is_release, served

        if is_release(here / options.what):
            root = enter_root_or_outside()
            released = served(root, here / options.what, note)
    if released is None:
        root = enter_root()
    becomes = verb_call.call(root, options.name, vars(options), lambda text: print(text, file=sys.stderr), released)
    os.chdir(here)  # files are named as the user sees them
    os.execve(becomes.program, becomes.arguments, becomes.variables)
