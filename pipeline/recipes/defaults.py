"""params.yaml: which of its keys are Recast's; the others are the user's, for stages of their own in dvc.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from recast.pipeline.core.errors import Problem
from recast.pipeline.core.layout import ARTIFACTS, DEFAULTS
from recast.pipeline.recipes.document import Document, read_document
from recast.pipeline.recipes.own_packages import MODEL_PACKAGES, REQUIREMENTS, model_packages
from recast.pipeline.recipes.value_words import shortened, shown
from recast.stages.base import ProjectCode, inside_repository

IMPORT_ROOTS = "import_roots"
KEYS = ("data_root", IMPORT_ROOTS, MODEL_PACKAGES, REQUIREMENTS, "stages", "targets")
CODE_KEYS = (IMPORT_ROOTS, MODEL_PACKAGES)
"""those that say which code a model is, and DVC tracks for the stages that import it"""
_SLIP = 0.8
"""difflib's ratio, above which a key is one of ours misspelt: `stage`, and neither `state` nor `data`"""
_NO_DATA = (".dvc", ".git", ".recast", ".venv", "dist-packages", "site-packages")
"""folders that hold programs, or what decides what is run; a download would come among them"""
_NO_CODE = (*_NO_DATA, ARTIFACTS)
"""folders that hold what tools put there, and no code of the project's own"""


def read_defaults(root: Path, problems: list[Problem]) -> Document | None:
    """What params.yaml says to Recast; None, with the reasons added to `problems`, if it cannot be used.

    A key that is nearly one of Recast's is read as well: nobody else would miss it.
    """
    document = read_document(root, DEFAULTS, problems, _concerns)
    if document is not None:
        document.refuse_unknown((), KEYS, problems)
    return document


def _concerns(key: str) -> bool:
    plain = key.casefold().replace("-", "").replace("_", "").replace(" ", "")
    return bool(difflib.get_close_matches(plain, [known.replace("_", "") for known in KEYS], n=1, cutoff=_SLIP))


def check_data_root(document: Document, problems: list[Problem]) -> None:
    """Add a problem if downloads may not go where params.yaml has them go."""
    places = document.values.get("data_root", "downloads")
    places = places if isinstance(places, list) else [places]
    if not places or not all(isinstance(place, str) and place for place in places):
        message = "'data_root' must be a folder or a list of folders"
        problems.append(document.problem(("data_root",), message, "for example 'downloads'"))
    elif any(part in _NO_DATA for place in places for part in Path(place).parts):
        message = f"'data_root' may not lie in {' or '.join(_NO_DATA)}: what is there may be run"
        problems.append(document.problem(("data_root",), message, "for example 'downloads'"))


def project_code(root: Path, document: Document, problems: list[Problem]) -> ProjectCode:
    """What params.yaml says of the project's code; problems for folders that nothing may be imported from."""
    packages = model_packages(document, problems)
    said = document.values.get(IMPORT_ROOTS, [])
    if not isinstance(said, list) or not all(isinstance(place, str) for place in said):
        message = f"'{IMPORT_ROOTS}' must be a list of folders, not {shown(said)}"
        remedy = f"write '{IMPORT_ROOTS}: [{said if isinstance(said, str) else 'src'}]'"
        problems.append(document.problem((IMPORT_ROOTS,), message, remedy))
        return ProjectCode(root, model_packages=packages)
    places: dict[str, None] = {}
    for number, place in enumerate(said):
        if wrong := no_import_root(root, place):
            problems.append(document.problem((IMPORT_ROOTS, number), *wrong))
        else:
            places[inside_repository(place)] = None
    # packages beside recipes/, as models/, are found in any project
    return ProjectCode(root, (*places, *([] if "." in places else ["."])), packages)


def no_import_root(root: Path, place: str) -> tuple[str, str] | None:
    """What is wrong with a folder to import from, and the remedy."""
    named = f"the import root '{shortened(place)}'"
    try:
        path = root / inside_repository(place)
    except ValueError as error:
        return f"{named} {error}", f"for example '{IMPORT_ROOTS}: [src]'"
    try:
        whole, here = path.resolve(), root.resolve()
        if not whole.is_relative_to(here):
            return f"{named} is a link that leads outside the repository", "copy the code in"
        if any(part in _NO_CODE for part in (*path.relative_to(root).parts, *whole.relative_to(here).parts)):
            return f"{named} may not lie in {', '.join(_NO_CODE)}: there is no code of the project's", "name another"
        if not path.is_dir():
            what = "is no folder" if path.exists() else "is not there"
            return f"{named} {what}", "name a folder that holds packages, or drop it"
    except (OSError, RuntimeError) as error:  # a name longer than the system takes; a link that leads to itself
        return f"{named} cannot be looked at: {getattr(error, 'strerror', None) or error}", "mend the path"
    return None


def code_settings(document: Document) -> Mapping[str, object]:
    """What of params.yaml decides where a model's code comes from: dotted key -> value."""
    return {key: document.values[key] for key in CODE_KEYS if key in document.values}
