# environment: akida
"""What akida says of a layer that stays in software is put into words of the user's model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recast.stages.targets.akida.hardware_limits import PHRASES, Limit, limits


def test_every_phrase_is_one_of_akidas_own() -> None:
    """A phrase that akida words otherwise after an update would no longer be found."""
    import akida

    library = (Path(akida.__file__).parent / "libakida.so.2").read_bytes().decode("latin-1")
    phrases = [one for phrase, _ in PHRASES for one in phrase.split("|")]
    assert len(phrases) > 50
    assert [one for one in phrases if not re.search(one, library)] == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Kernel size must be 1, 3, 5 or 7.", ["its kernel is of a size that hardware does not have"]),
        (
            "The maximum number of filters is 2048 (got 4096).",
            ["it has more filters than hardware takes (2048 at most, not 4096)"],
        ),
        (
            "The maximum input channel value is 2048 (got 4096). Input shift exceeds memory. "
            "Maximum size is 768 bytes. (got 1536 bytes).",
            [
                "what it reads is larger than hardware takes (2048 at most, not 4096)",
                "what it reads is larger than hardware takes (768 bytes at most, not 1536)",
            ],
        ),
        (
            "Input dimensions are too large to fit in a FNP. The maximum value is 2048.",
            ["what it reads is larger than hardware takes (2048 at most)"],
        ),
        ("The CNP cannot support both pooling and stride.", ["it has both a stride and a pool behind it"]),
        (
            "A layer mapped on HRC supports 1 outbound only.",
            ["more than one layer reads what it gives, and it is the input's convolution"],
        ),
    ],
)
def test_akidas_phrases(said: str, why: list[str]) -> None:
    assert [limit.why for limit in limits(said)] == why
    assert all(limit.change for limit in limits(said))


def test_a_phrase_that_is_not_known_is_quoted() -> None:
    assert limits("Kernel size must be 3. The flux is low.") == [
        *limits("Kernel size must be 3."),
        Limit("akida says of it: 'The flux is low.'", "see what akida says of it"),
    ]
