"""The command line: verbs by their names, and the only module that exits.

Each verb imports what it needs: `recast run` with nothing to do must not pay for DVC, pydantic and the rest.
"""

from __future__ import annotations

import argparse
import atexit
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from recast.pipeline.cli import (
    arguments,
    looking_verbs,
    machine_verbs,
    plumbing_verbs,
    project_verbs,
    registered_verbs,
    release_verbs,
    result_verbs,
    run_verb,
)
from recast.pipeline.cli.terminal import print_error
from recast.pipeline.cli.verb import Verb
from recast.pipeline.core.errors import Exit, RecastError, RecipeError
from recast.pipeline.core.layout import (
    BUG_LOG,
    find_root,
)
from recast.pipeline.processes.tool_variables import SWITCHES
from recast.stages.plugin import PluginError


def main(given: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of `errors.Exit`."""
    signal.signal(signal.SIGTERM, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a locale that lacks a character of a name must not end a verb
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.update(SWITCHES)
    try:
        options = arguments.parse(sys.argv[1:] if given is None else list(given), _VERBS, registered_verbs.call)
        sys.exit(options.verb(options))
    except RecipeError as error:
        count = len(error.problems)
        _fail(f"{error}\nrecast: {count} problem{'s' if count > 1 else ''}, nothing was run", error.exit_code)
    except RecastError as error:
        _fail(f"recast: {error}", error.exit_code)
    except PluginError as error:
        _fail(f"recast: {error}", Exit.BAD_INPUT)
    except KeyboardInterrupt:
        _fail("recast: interrupted; what had finished is kept", Exit.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away; nothing is left to say
        sys.exit(Exit.DONE)
    except OSError as error:
        _keep_traceback()
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"recast: {place}{error.strerror}; see that it can be read and written, and has space", Exit.BAD_INPUT)
    except Exception as error:
        _fail(f"recast: a bug of Recast: {type(error).__name__}: {error}\n{_keep_traceback()}", Exit.BUG)
    finally:
        # DVC's import asks that colours be reset at the end: an escape on every terminal, even on one that has none
        if colorama := sys.modules.get("colorama.initialise"):
            atexit.unregister(colorama.reset_all)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(text: str, code: Exit) -> NoReturn:
    print_error(text)
    sys.exit(code)


def _keep_traceback() -> str:
    """Write the traceback where a report of the bug can take it from; says where that is."""
    try:
        path = find_root() / BUG_LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except (OSError, RecastError):
        return "please report it, with what you ran"
    return f"please report it, with what you ran and {path}"


def _completion(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import completion

    print(completion.script(options.shell, arguments.whole(_VERBS, registered_verbs.call)))
    return Exit.DONE


_VERBS: dict[str, Verb] = {
    **project_verbs.VERBS,
    **looking_verbs.VERBS,
    **run_verb.VERBS,
    **result_verbs.VERBS,
    **machine_verbs.VERBS,
    **plumbing_verbs.VERBS,
    **release_verbs.VERBS,
    "completion": _completion,
}
