"""dvc.yaml belongs to the user too: what Recast did not write in it stays, byte for byte."""

from __future__ import annotations

import io
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recast.pipeline.core.errors import RecastError, RecipeError
from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.dvcfile_parts import take_apart
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.partial_plan import make_sound_plan

OWN = """\
# what we measure, and where
vars:
- rows: 10   # small
- folder: "raw"

stages:

    # cleaning comes first
    prepare:   # ours since 2021
        cmd: >-
            python prepare.py
            --rows ${rows}
        deps: [prepare.py, "${folder}"]
        outs:
            - clean.csv: {cache: false}

    report:
        cmd: |
            # a comment of the script
            echo base-train:
            echo "  cmd: ./recast stage base train"
            # its last line
        outs: [report.txt]

# tables
metrics:
    - own/metrics.json   # by hand
    - artifacts/base/akida/quantize/metrics.json
params: [own.yaml]
plots:
    - own.csv: {x: step, y: loss}
    - artifacts/base/train/loss.csv:
        x: epoch
        y: loss
    - both: {y: {own.csv: loss, artifacts/base/train/loss.csv: loss}}
artifacts:
    best: {path: artifacts/base/akida/emit/model.fbz, type: model}
# the end
"""


def plain(text: str) -> Any:
    return YAML(typ="safe").load(text)


def sync(place: Path) -> str:
    dvcfile.write(place, make_plan(place))
    return (place / "dvc.yaml").read_text()


def is_current(place: Path) -> bool:
    return dvcfile.is_current(place, make_plan(place))


def without_ours(place: Path, text: str) -> str:
    """The text of a file that was OWN, without Recast's entries: in one piece each, indented as OWN is."""
    ours = take_apart(dvcfile.render(dvcfile.dvc_document(make_plan(place))), {})
    for section, indent in (("stages", "  "), ("metrics", "    "), ("plots", "    "), ("artifacts", "  ")):
        piece = textwrap.indent(ours.text_of(section), indent)
        assert piece and text.count(piece) == 1, section
        text = text.replace(piece, "")
    return text


def both(place: Path, own: str) -> dict[str, Any]:
    """What the user has and what Recast needs, as plain values."""
    ours, theirs = dvcfile.dvc_document(make_plan(place)), plain(own) or {}
    for section, value in ours.items():
        there = theirs.get(section)
        theirs[section] = {**(there or {}), **value} if isinstance(value, dict) else [*(there or []), *value]
    return theirs


def ordered(document: dict[str, Any]) -> dict[str, Any]:
    return {key: sorted(value, key=str) if isinstance(value, list) else value for key, value in document.items()}


def test_a_file_of_the_users_is_joined_and_left_as_it_was(write):
    place = write({"dvc.yaml": OWN})
    assert not is_current(place)
    text = sync(place)
    assert ordered(plain(text)) == ordered(both(place, OWN))
    assert without_ours(place, text) == OWN
    assert is_current(place) and not dvcfile.write(place, make_plan(place))


def test_what_is_recasts_changes_and_goes_while_the_rest_stands(write):
    place = write({"dvc.yaml": OWN, "recipes/mine.yaml": "extends: base\nstages:\n  train: {lr: 0.5}\n"})
    first = sync(place)
    assert "mine-train:" in first and "artifacts/mine/train/loss.csv" in first
    (place / "recipes/mine.yaml").unlink()
    base = place / "recipes/base.yaml"
    base.write_text(base.read_text().replace("  akida: {}\n", ""))
    assert not is_current(place)
    second = sync(place)
    assert "mine" not in second and "base-akida" not in second
    assert without_ours(place, second) == OWN
    assert ordered(plain(second)) == ordered(both(place, OWN))
    assert is_current(place)
    # as if it had never been
    (place / "dvc.yaml").write_text(OWN)
    assert sync(place) == second


def test_a_file_that_is_recasts_alone_is_the_same_whatever_it_was(write):
    place = write({})
    text = sync(place)
    assert text == dvcfile.render(dvcfile.dvc_document(make_plan(place)))
    (place / "recipes/mine.yaml").write_text("extends: base\nstages:\n  train: {lr: 0.5}\n")
    assert sync(place) != text
    (place / "recipes/mine.yaml").unlink()
    assert sync(place) == text
    (place / "dvc.yaml").write_text("")
    assert sync(place) == text


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_a_stage_and_comments_written_among_recasts_own_stay(write, first):
    place = write({})
    text = sync(place)
    mine = "  # mine\n  mine:\n    cmd: echo > mine\n\n    outs: [mine]\n"
    at = text.index("  guard:\n") if first else text.index("metrics:\n")
    (place / "dvc.yaml").write_text(text := text[:at] + mine + text[at:])
    assert is_current(place) and sync(place) == text
    (place / "recipes/mine2.yaml").write_text("extends: base\nstages:\n  train: {lr: 0.5}\n")
    after = sync(place)
    assert mine in after and "mine2-train:" in after and is_current(place)


def test_a_comment_in_the_midst_of_recasts_own_is_not_lost(write):
    place = write({})
    text = sync(place)
    text = text.replace("  base-train:\n", "  # look here\n  base-train:\n    # and here\n")
    (place / "dvc.yaml").write_text(text)
    assert is_current(place)
    base = place / "recipes/base.yaml"
    base.write_text(base.read_text().replace("  akida: {}\n", ""))
    after = sync(place)
    assert "# look here\n" in after and "# and here\n" in after and plain(after)["stages"]["base-train"]
    assert is_current(place) and sync(place) == after


def test_a_comment_in_recasts_own_does_not_become_a_part_of_a_text_of_the_users(write):
    place = write({"recipes/mine.yaml": "extends: base\nstages:\n  train: {lr: 0.5}\n"})
    text = sync(place)
    own = "  own:\n    cmd: |\n      echo\n"
    at = text.index("  mine:\n")
    inner = text[at:].replace("    deps:\n", "        # in it\n    deps:\n", 1)
    (place / "dvc.yaml").write_text(text[:at] + own + inner)
    before = plain(text[:at] + own + inner)["stages"]["own"]
    (place / "recipes/mine.yaml").unlink()
    after = sync(place)
    assert "# in it\n" in after and plain(after)["stages"]["own"] == before == {"cmd": "echo\n"}
    assert is_current(place)


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        ("stages: {mine: {cmd: echo, outs: [x]}}  # all of it\n", "# all of it"),
        ("{stages: {mine: {cmd: echo}}, vars: [{a: 1}]}  # so\n", "# so"),
        ("stages:\n  mine: {cmd: x}\n...\n", "  mine: {cmd: x}\n"),
        ('{"stages": {"mine": {"cmd": "echo"}}, "metrics": ["own.json"]}', "mine"),
        ("stages: {}  # none yet\nmetrics: []\nplots:\nparams: [own.yaml]\n", "# none yet"),
        ("# nothing but this\n", "# nothing but this"),
        ("---\nstages:\n  mine: {cmd: echo}", "---\nstages:\n  mine: {cmd: echo}\n"),
        ("vars: [a,\nb]\n", "vars:"),
        ("stages:\n  mine: &it\n    cmd: echo\n    outs: [x]\n  other:\n    <<: *it\n", "    <<: *it\n"),
        ("stages:\n  many:\n    foreach: [a, b]\n    do: {cmd: 'echo ${item}'}\n", "    foreach: [a, b]\n"),
        ("metrics:\n- own.json\n\n# the end", "- own.json\n"),
        ("stages:\n  mine:\n    cmd: |\n      echo\n      # last\nmetrics:\n- a.json\n", "      echo\n      # last\n"),
        ("\ufeffstages:\n  mine: {cmd: echo}\n", "  mine: {cmd: echo}\n"),
        ("'stages':\n  'mine':\n    cmd: echo\n", "  'mine':\n    cmd: echo\n"),
    ],
)
def test_other_styles_of_writing(own, kept, write):
    place = write({"dvc.yaml": own})
    text = sync(place)
    assert kept in text and ordered(plain(text)) == ordered({**both(place, own)})
    assert is_current(place) and sync(place) == text


def test_what_dvc_writes_anew_is_current(write):
    """`dvc stage add` reads and writes the whole file by ruamel.yaml, and breaks long titles."""
    place = write({"dvc.yaml": OWN})
    sync(place)
    yaml = YAML()
    yaml.default_flow_style = False
    document = yaml.load((place / "dvc.yaml").read_text())
    document["stages"]["added"] = {"cmd": "echo added", "outs": ["added.txt"]}
    written = io.StringIO()
    yaml.dump(document, written)
    (place / "dvc.yaml").write_text(written.getvalue())
    assert re.search(r"title: 'base/akida/verify: Relative error[^']*\n", written.getvalue())
    assert is_current(place) and sync(place) == written.getvalue()


def test_a_name_that_recast_needs_is_refused_with_its_place(write):
    own = "stages:\n  guard:\n    cmd: echo\n  base-train: {cmd: python train.py}\n  base-mine: {cmd: echo}\n"
    artifact = "artifacts:\n  base-akida: {path: own.fbz}\n"
    place = write({"dvc.yaml": own + artifact})
    for use in (sync, is_current):
        with pytest.raises(RecipeError) as caught:
            use(place)
        assert str(caught.value).splitlines() == [
            "dvc.yaml:2:3: a stage of your own bears the name 'guard', which Recast needs; rename yours",
            "dvc.yaml:4:3: a stage of your own bears the name 'base-train', which Recast needs for recipe 'base'; "
            "rename yours, or recipes/base.yaml",
            "dvc.yaml:7:3: an artifact of your own bears the name 'base-akida', which Recast needs for recipe 'base'; "
            "rename yours, or recipes/base.yaml",
        ]
    assert (place / "dvc.yaml").read_text() == own + artifact
    (place / "dvc.yaml").write_text("stages: {mine: {cmd: echo},\n         guard: {cmd: echo}}\n")
    with pytest.raises(RecipeError, match=r"^dvc.yaml:2:10: a stage of your own bears the name 'guard'"):
        sync(place)


def test_a_stage_that_only_begins_like_recasts_is_the_users(write):
    own = """\
stages:
  base-after:
    cmd: ./recast stage base train && echo
  again:
    cmd: ./recast stage base train
  gone-report:
    cmd: python report.py
"""
    gone = "  gone-train:\n    cmd: ./recast stage gone train\n    outs: [artifacts/gone/train]\n"
    gone += "  gone-c-emit:\n    deps: [x]\n    cmd: './recast stage gone\n      c/emit'\n"
    place = write({"dvc.yaml": own + gone})
    text = sync(place)
    assert text.startswith(own) and "gone-train" not in text and "gone-c" not in text


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("stages:\n  a: {cmd: [\n", "dvc.yaml cannot be read: line 3: "),
        ("stages:\n  a: {cmd: x}\n  a: {cmd: y}\n", "dvc.yaml cannot be read: line 3: "),
        ("- a\n", "dvc.yaml cannot be read: it is no mapping"),
        ("plots: {a: {x: b}}\n", "dvc.yaml: what stands in 'plots' is no list"),
        ("stages:\n  mine: {deps: [x]}\n", "dvc.yaml cannot be read: line 2: stage 'mine' has no command"),
        ("stages:\n  mine:\n    cmd: |+\n      echo\n\nvars: [a: 1]\n", "without changing yours"),
    ],
)
def test_a_file_that_cannot_be_joined_is_left_alone(own, message, write):
    place = write({"dvc.yaml": own})
    with pytest.raises(RecastError, match=re.escape(message)) as caught:
        sync(place)
    assert caught.value.remedy and (place / "dvc.yaml").read_text() == own
    (place / "dvc.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecastError, match="not UTF-8"):
        sync(place)


def test_a_merge_conflict_in_recasts_own_is_settled_by_sync(write):
    place = write({"dvc.yaml": "stages:\n  mine: {cmd: echo}\n"})
    text = sync(place)
    one = "  base-train:\n"
    conflict = "<<<<<<< HEAD\n    - envs/a.txt\n=======\n    - envs/b.txt\n>>>>>>> other\n"
    at = text.index("    deps:\n", text.index(one)) + len("    deps:\n")
    (place / "dvc.yaml").write_text(text[:at] + conflict + text[at:])
    assert not is_current(place) and sync(place) == text
    theirs = "<<<<<<< HEAD\n  mine: {cmd: echo}\n=======\n  mine: {cmd: other}\n>>>>>>> other\n"
    (place / "dvc.yaml").write_text(broken := text.replace("  mine: {cmd: echo}\n", theirs))
    with pytest.raises(RecastError, match=r"dvc.yaml:3: a merge conflict in what Recast did not write"):
        sync(place)
    assert (place / "dvc.yaml").read_text() == broken


def test_what_a_broken_recipe_has_stays_and_so_does_what_is_the_users(write):
    place = write({"dvc.yaml": OWN, "recipes/other.yaml": "extends: base\nstages:\n  train: {lr: 0.5}\n"})
    text = sync(place)
    text = text.replace("stages:\n", "stages:\n\n    other-report:\n        cmd: echo\n", 1)
    (place / "dvc.yaml").write_text(text)
    (place / "recipes/other.yaml").write_text("stage: {}\n")
    plan = make_sound_plan(place, ["base"])
    assert plan.broken == ("other",) and not dvcfile.write(place, plan)
    (place / "recipes/new.yaml").write_text("extends: base\nstages:\n  train: {lr: 0.25}\n")
    plan = make_sound_plan(place, ["base"])
    assert dvcfile.write(place, plan) and dvcfile.is_current(place, plan)
    before, after = plain(text), plain((place / "dvc.yaml").read_text())
    assert before["stages"].items() < after["stages"].items() and "new-train" in after["stages"]
    assert all(plot in after["plots"] for plot in before["plots"])
    assert "# cleaning comes first" in (place / "dvc.yaml").read_text()
