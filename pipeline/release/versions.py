"""Versions of releases: annotated git tags NAME@VERSION of DVC's artifacts, read and written by `gto` itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.pipeline.core.address import Address, recipe_of, split
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.git import git

if TYPE_CHECKING:
    from gto.registry import GitRegistry


@dataclass(frozen=True)
class Version:
    """A version that was registered."""

    name: str
    """of the artifact in dvc.yaml: RECIPE-TARGET, behind the project's folder and a colon where it has one"""
    version: str
    commit: str
    created: datetime
    author: str
    tag: str
    is_latest: bool
    """whether no version of that name is greater, by semantic versioning"""

    def as_json(self) -> dict[str, Any]:
        """For tools."""
        return {**self.__dict__, "created": self.created.isoformat()}


def versions(root: Path, what: str | None = None) -> list[Version]:
    """Every version, or those of RECIPE/TARGET, by name, the latest first. It need not be a target any more."""
    from gto.versions import SemVer

    wanted = _name(root, _address(what)) if what else None
    found = []
    with _registry(root) as registry:
        for artifact in _state(registry).get_artifacts().values():
            if wanted not in (None, artifact.artifact):
                continue
            active = [one for one in artifact.get_versions() if one.is_registered and one.is_active]
            active.sort(key=lambda one: SemVer(one.version), reverse=True)
            for one in active:
                event = one.registrations[-1]
                commit, is_latest = one.commit_hexsha, one is active[0]
                author, tag = event.author or "", event.tag
                found.append(Version(artifact.artifact, one.version, commit, event.created_at, author, tag, is_latest))
    return sorted(found, key=lambda one: one.name)


def refuse_taken(root: Path, what: str, version: str) -> None:
    """RecastError if the version of RECIPE/TARGET is registered already, or another one for this commit."""
    here = git(root, "rev-parse", "HEAD").strip()
    for one in versions(root, what):
        if one.version == version:
            raise RecastError(f"{one.tag} is there already, for commit {one.commit[:12]}", "name another version")
        if one.commit == here:
            raise RecastError(f"this commit is {one.tag} already", "leave out --tag, or commit what is new")


def register(root: Path, address: Address, version: str) -> str:
    """Register the version for the current commit; the tag."""
    from gto.exceptions import GTOException
    from scmrepo.exceptions import SCMError

    try:
        with _registry(root) as registry:
            # not `registry.register`, which parses the dvc.yaml of every tag before it writes this one
            return str(
                registry.version_manager.register(
                    _name(root, address),
                    version,
                    git(root, "rev-parse", "HEAD").strip(),
                    f"{address} {version}",
                    simple=True,
                )
            )
    except (GTOException, SCMError) as error:
        raise RecastError(f"the version could not be registered: {error}", "see that git has a user.name") from error


@contextmanager
def _registry(root: Path) -> Iterator[GitRegistry]:
    from gto.registry import GitRegistry

    with GitRegistry.from_url(git(root, "rev-parse", "--show-toplevel").rstrip("\n")) as registry:
        yield registry


def _state(registry: GitRegistry) -> Any:
    """What the tags say, without the dvc.yaml of each."""
    from gto.base import BaseRegistryState

    state = registry.artifact_manager.update_state(BaseRegistryState())
    return registry.version_manager.update_state(state)


def _name(root: Path, address: Address) -> str:
    folder = git(root, "rev-parse", "--show-prefix").strip().rstrip("/")
    return f"{folder}:{address.dvc_name}" if folder else address.dvc_name


def _address(what: str) -> Address:
    recipe, target = split(what)
    if not target:
        raise RecastError(f"'{recipe_of(what)}' names no target", "write RECIPE/TARGET")
    return Address(recipe, target)
