"""params.yaml is the user's too: keys of their own pass, whatever they hold; a slip in one of Recast's does not."""

from __future__ import annotations

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.stage_sections import sections
from tests.lib.repository import SOUND

OWN = """\
lr: 3
data: {path: raw, since: 2021-01-01, size: 1_000}   # for stages of our own
train: &train {epochs: 012}
again: {<<: *train}
state: [a, b]
dataset: x
seeds: 0
2: two
tagged: !mine x
"""


def test_the_users_own_keys_are_left_alone(write):
    plan = make_plan(write({}))
    place = write({"params.yaml": OWN + SOUND["params.yaml"]})
    assert make_plan(place) == plan
    found = sections(place, plan.stages["base/train"])
    assert found and found["params.yaml", "stages.train"] == {"seed": 0, "device": "auto"}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("stage", "stages"),
        ("target", "targets"),
        ("Stages", "stages"),
        ("dataroot", "data_root"),
        ("tragets", "targets"),
        ("import-root", "import_roots"),
    ],
)
def test_a_slip_in_a_key_of_recasts_is_an_error(key, meant, write):
    place = write({"params.yaml": f"lr: 3\n{key}: {{}}\n"})
    with pytest.raises(RecipeError, match=rf"^params.yaml:2:1: unknown key '{key}'; did you mean '{meant}'\?$"):
        make_plan(place)


def test_what_is_recasts_is_still_read_as_strictly(write):
    place = write({"params.yaml": "lr: 012\nstages:\n  train: {seed: 012}\n"})
    with pytest.raises(RecipeError, match=r"^params.yaml:3:17: '012' is not the same number"):
        make_plan(place)
