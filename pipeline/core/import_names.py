"""What packages are imported as: known without them, so that an import can be judged before anything is built."""

from __future__ import annotations

from collections.abc import Iterable

IMPORTED_AS = {
    "absl-py": ("absl",),
    "cairo-lang": ("starkware", "services"),
    "google-pasta": ("pasta",),
    "googleapis-common-protos": ("google",),
    "grpcio": ("grpc",),
    "libclang": ("clang",),
    "lru-dict": ("lru",),
    "markdown-it-py": ("markdown_it",),
    "pillow": ("PIL",),
    "protobuf": ("google",),
    "py-evm": ("eth",),
    "pycryptodome": ("Crypto",),
    "pyyaml": ("yaml",),
    "scikit-learn": ("sklearn",),
    "setuptools": ("setuptools", "pkg_resources"),
    "torch": ("torch", "functorch", "torchgen"),
}
"""package -> what it is imported as, where that is more than its own name; a test looks into environments for others"""


def imported_as(names: Iterable[str]) -> frozenset[str]:
    """What the packages of these names, written plainly, are imported as."""
    return frozenset(top for name in names for top in IMPORTED_AS.get(name, (name.replace("-", "_"),)))
