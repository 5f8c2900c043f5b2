"""`recast release` and what belongs to it: what each verb takes, what it does, and what it says of that."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.pipeline.cli.entered import enter_root, enter_root_or_outside
from recast.pipeline.cli.terminal import note
from recast.pipeline.cli.verb import Add, Verb
from recast.pipeline.core.address import TARGET_FORM
from recast.pipeline.core.errors import Exit, RecastError
from recast.stages.common.argument_types import amount

if TYPE_CHECKING:
    from recast.pipeline.release.verify import Checked

_PLACE = "an archive, as its name ends with .tar, .tar.gz or .tgz, or else a folder"
_GIB = 2**30


def add_arguments(add: Add) -> None:
    """The verbs with their arguments."""
    made = add(
        "release",
        "put all that others need of a target into one archive",
        example="recast release digits/akida -o digits-akida.tar",
        more="The emitted folder, metrics, licences, model card, manifest, bill of materials and provenance; the same "
        "bytes each time. Refuses what is not up to date or was not verified. See docs/releases.md.",
    )
    made.add_argument("what", metavar=TARGET_FORM, help="for example digits/akida")
    made.add_argument("-o", "--output", metavar="PLACE", required=True, type=Path, help=_PLACE)
    made.add_argument("--key", metavar="PEM", type=Path, help="sign it with this private key (OpenSSF model signing)")
    made.add_argument("--version", metavar="VERSION", default="", dest="released", help="for example v1.2.0")
    made.add_argument(
        "--tag", action="store_true", help="register the version as an annotated git tag, RECIPE-TARGET@VERSION"
    )
    made.add_argument("--licence", metavar="SPDX", default="", help="of the model, for example Apache-2.0")
    made.add_argument("--json", action="store_true", help="for tools")

    verified = add(
        "verify-release",
        "check every byte of a release, and its signature",
        example="recast verify-release digits-akida.tar --key public.pem",
        more="Names what was changed, added or removed.",
    )
    _add_path(verified)
    verified.add_argument("--key", metavar="PEM", type=Path, help="the public key of whom it must be signed by")
    verified.add_argument("--no-signature", action="store_true", help="leave a signature unlooked at")
    verified.add_argument("--json", action="store_true", help="for tools")

    again = add(
        "rebuild",
        "make a release anew from its commit and compare it byte by byte",
        example="recast rebuild digits-akida.tar --check",
        more="In a temporary checkout of the commit that the release names, with every stage run. Names the first "
        "stage and file that differ.",
    )
    _add_path(again)
    again.add_argument("--check", action="store_true", required=True, help="compare, and keep nothing")
    again.add_argument("--json", action="store_true", help="for tools")

    listed = add(
        "releases",
        "list the versions that were released",
        example="recast releases digits/akida",
        more="They are git tags NAME@VERSION of DVC's artifacts, as `gto` reads and writes them.",
    )
    listed.add_argument("what", metavar=TARGET_FORM, nargs="?", help="of this target alone")
    listed.add_argument("--json", action="store_true", help="for tools")


def _add_path(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PLACE", type=Path, help="the release: an archive or a folder")
    parser.add_argument(
        "--max-size", metavar="GIB", type=amount, default=8.0, help="what an archive may hold (%(default)g GiB)"
    )


def _release(root: Path, here: Path, options: Namespace) -> str:
    """Make the release; what to print."""
    from recast.pipeline.release import versions
    from recast.pipeline.release.make import Wish, release

    if options.tag and not options.released:
        raise RecastError("--tag registers a version, and none is given", "add --version, for example v1.0.0")
    to = here / options.output
    wish = Wish(options.what, to, options.key and here / options.key, options.released, options.licence)
    if options.tag:
        versions.refuse_taken(root, options.what, options.released)
    made = release(root, wish, note, refuse_dirty=options.tag)
    tag = versions.register(root, made.subject.address, options.released) if options.tag else ""
    git = made.subject.git
    if options.json:
        content = {
            "path": str(to),
            "files": made.files,
            "commit": git.commit,
            "changes": list(git.changes),
            "signed": made.is_signed,
            "packages": made.packages,
            "packages_without_known_licence": made.unknown_licences,
            "tag": tag or None,
        }
        return json.dumps(content, indent=2)
    lines = [f"{options.output}: {made.files} files of {made.subject.address}, commit {git.commit[:12]}"]
    if git.is_dirty:
        shown = ", ".join(git.changes[:3]) + (", ..." if len(git.changes) > 3 else "")
        lines.append(f"  not of that commit alone, so it cannot be rebuilt: {shown}; commit these and release again")
    lines.append(f"  {'signed' if made.is_signed else 'not signed: --key signs it'}")
    lines.append(f"  licences: {made.packages} packages, {made.unknown_licences} of them unknown")
    if tag:
        lines.append(f"  tagged {tag}; 'git push origin {tag}' shares it")
    return "\n".join(lines)


def _verify(root: Path, here: Path, options: Namespace) -> str:
    """Check the release; what to print."""
    from recast.pipeline.release.verify import opened, verify

    path = here / options.path
    key = options.key and here / options.key
    with opened(path, int(options.max_size * _GIB)) as folder:
        checked = verify(root, folder, key, note, without_signature=options.no_signature)
    manifest = checked.manifest
    if options.json:
        return json.dumps(_as_json(checked), indent=2)
    if checked.signature_checked:
        signature = "signed by that key"
    else:
        unsigned = "not signed: anyone may have written it"
        signature = "signed; by whom was not looked at" if checked.is_signed else unsigned
    name = f"{manifest['recipe']}/{manifest['target']}" + (f" {manifest['version']}" if manifest.get("version") else "")
    return f"{options.path}: all {checked.files} files of {name} are as they were released; {signature}"


def _as_json(checked: Checked) -> dict[str, Any]:
    return {
        "recipe": checked.manifest["recipe"],
        "target": checked.manifest["target"],
        "version": checked.manifest.get("version"),
        "files": checked.files,
        "signed": checked.is_signed,
        "signature_checked": checked.signature_checked,
    }


def _rebuild(root: Path, here: Path, options: Namespace) -> str:
    """Make it again and compare; what to print. RecastError names what differs."""
    from recast.pipeline.release.rebuild import rebuild
    from recast.pipeline.release.verify import opened

    with opened(here / options.path, int(options.max_size * _GIB)) as folder:
        compared = rebuild(root, folder, note)
    if options.json:
        return json.dumps({"same": True, "files": compared.files, "stages": list(compared.stages)}, indent=2)
    return (
        f"{options.path}: made anew from commit {compared.commit[:12]}, {len(compared.stages)} stages run, "
        f"and all {compared.files} files are the same, byte by byte"
    )


def _releases(root: Path, here: Path, options: Namespace) -> str:
    """The versions; what to print."""
    from recast.pipeline.release import versions

    found = versions.versions(root, options.what)
    if options.json:
        return json.dumps([one.as_json() for one in found], indent=2)
    if not found:
        return "no version is registered; 'recast release RECIPE/TARGET -o PLACE --version v1.0.0 --tag' registers one"
    width = max(len(one.name) for one in found)
    return "\n".join(
        f"{one.name:<{width}}  {one.version:<10}  {one.created:%Y-%m-%d %H:%M}  {one.commit[:12]}"
        + ("  latest" if one.is_latest else "")
        for one in found
    )


def _printing(answer: Callable[[Path, Path, Namespace], str], enter: Callable[[], Path] = enter_root) -> Verb:
    """A verb that prints what this says; it is given the root, entered, and the folder it was called in."""

    def call(options: Namespace) -> Exit:
        here = Path.cwd()
        print(answer(enter(), here, options))
        return Exit.DONE

    return call


VERBS: dict[str, Verb] = {
    "release": _printing(_release),
    "verify-release": _printing(_verify, enter_root_or_outside),
    "rebuild": _printing(_rebuild),
    "releases": _printing(_releases),
}
