"""Builds the site of the documentation: `python docs/site/build.py [FOLDER]`, as `make docs` does.

Its pages are the Markdown of the repository, which is read on GitHub as well, and those of the reference, which are
written from the code. Sphinx makes them into a site, in an environment of its own; a link that leads nowhere ends the
build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.site import reference  # noqa: E402 - needs the path set above
from recast.pipeline.core.errors import RecastError  # noqa: E402
from recast.pipeline.processes import environments  # noqa: E402

HERE = ROOT / "docs/site"
OUT = ROOT / "build/docs"
FIRST = "README.md"
"""the page that the site begins with"""
PAGES = (FIRST, "CONTRIBUTING.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/README.md")
LINK = re.compile(r"(?<![`!])\[(?P<text>[^\]\n]*)\]\((?P<to>[^()\s]+)\)")


def build(out: Path) -> Path:
    """Build the site as `html` in `out`; its first page. Raises RecastError with what Sphinx says."""
    environment = environments.ensure(ROOT, "docs", print)
    pages, doctrees, html = (out / name for name in ("pages", "doctrees", "html"))
    for before in (pages, doctrees, html):
        shutil.rmtree(before, ignore_errors=True)
    lay_pages(pages)
    command = [environment.python, "-P", "-m", "sphinx", "-W", "--keep-going", "--quiet", "-b", "html"]
    command += ["-c", HERE, "-d", doctrees, pages, html]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RecastError(f"the site cannot be built:\n{done.stderr.strip()}", "mend the pages that are named")
    return Path(shutil.copy(html / "README.html", html / "index.html"))


def lay_pages(place: Path) -> None:
    """Lay the pages with the files they link to, the reference, and the order of all."""
    found = {path for pattern in PAGES for path in ROOT.glob(pattern) if HERE not in path.parents}
    for page in sorted(found):
        to = place / page.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        text = LINK.sub(lambda link, page=page: _laid(page, link, place), page.read_text(encoding="utf-8"))
        to.write_text(text, encoding="utf-8")
    with (place / FIRST).open("a", encoding="utf-8") as first:
        first.write((HERE / "nav.md").read_text(encoding="utf-8"))
    (place / "docs/reference").mkdir()
    for name, text in reference.pages().items():
        (place / "docs/reference" / name).write_text(text, encoding="utf-8")


def _laid(page: Path, link: re.Match[str], place: Path) -> str:
    """The link as the site has it: a file that is no page is laid beside it, a folder is its README or no link."""
    to = (page.parent / link["to"].partition("#")[0]).resolve()
    if ":" in link["to"] or link["to"].startswith("#") or not to.is_relative_to(ROOT):
        return link[0]
    if to.is_dir():
        return f"[{link['text']}]({link['to']}/README.md)" if (to / "README.md").is_file() else link["text"]
    if to.is_file() and to.suffix != ".md":
        copy = place / to.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(to, copy)
    return link[0]


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1]).resolve() if sys.argv[1:] else OUT))
    except RecastError as error:
        sys.exit(f"recast: {error}")
