"""The page at `/` on which a model can be tried: three files, and a policy by which it loads nothing else."""

from __future__ import annotations

from pathlib import Path

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_FOLDER = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/page.css": ("page.css", "text/css"),
}
"""path -> its file and what that is"""


def content(path: str) -> tuple[bytes, str]:
    """What is at the path, and its type."""
    name, kind = FILES[path]
    return (_FOLDER / name).read_bytes(), f"{kind}; charset=utf-8"
