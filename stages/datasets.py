"""Which datasets there are: Recast's own, and those that plugins name in entry points of the group `recast.sources`.

Such an entry point leads to the function that reads the dataset. It is in no `Plugin`, since `data` looks for it in its
own process, and all that `data` imports is in its key.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

GROUP = "recast.sources"
OWN = (
    "digits",
    "mnist",
    "fashion_mnist",
    "cifar10",
    "cifar10_images",
    "image_folder",
    "npz",
    "table",
    "wav_folder",
    "python",
)


class NamesDataset:
    """Marks a param whose value may be a dataset of a plugin, which is then in the stage's key."""


def names() -> tuple[str, ...]:
    """Every dataset, Recast's own first, then those of installed plugins, sorted."""
    return (*OWN, *sorted({point.name for point in entry_points(group=GROUP)}.difference(OWN)))


def reader(name: str) -> Any:
    """The function that reads the dataset, imported; KeyError if no installed plugin has one of that name."""
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    raise KeyError(name)
