"""The script by which a shell completes what is typed of `recast`."""

from __future__ import annotations

import argparse

import shtab

_RECIPE = {"bash": "_recast_recipes", "zsh": "_recast_recipes"}
_PREAMBLE = {
    # the nearest folder above that holds recipes, as the verbs look for it
    "bash": """\
_recast_recipes() {
  local folder=$PWD names
  while [[ ! -d $folder/recipes && -n $folder ]]; do folder=${folder%/*}; done
  names=$(cd "$folder/recipes" 2>/dev/null && for file in *.yaml; do [[ -f $file ]] && echo "${file%.yaml}"; done)
  compgen -W "$names" -- "$1"
}
""",
    "zsh": """\
_recast_recipes() {
  local folder=$PWD
  while [[ ! -d $folder/recipes && -n $folder ]]; do folder=${folder%/*}; done
  local -a names=($folder/recipes/*.yaml(N:t:r))
  compadd -a names
}
""",
}


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for bash or zsh, with every verb and option that the parser takes, and the names of recipes."""
    for action in _actions(parser):
        if str(action.metavar).startswith("RECIPE"):
            action.complete = _RECIPE  # type: ignore[attr-defined]
        elif action.metavar in ("FILE", "PATH", "FOLDER", "INPUT", "PROOF"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    made = str(shtab.complete(parser, shell, preamble=_PREAMBLE[shell]))
    # shtab has zsh complete only the first of several names
    return made.replace('"(*)::', '"*:') if shell == "zsh" else made


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found += _actions(inner)
    return found
