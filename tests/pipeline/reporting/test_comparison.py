"""Results of two recipes, or of revisions, side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.reporting.comparison import Comparison, as_json, compare
from recast.pipeline.reporting.facts import gather
from tests.lib.as_if_run import lay_as_if_run
from tests.lib.repository import commit, git, lay_sound, tag

RECIPES = {"recipes/more.yaml": "extends: base\nstages:\n  train: {epochs: 5}\n"}


def measured(accuracy: float) -> dict[str, object]:
    return {"metric": "accuracy", "is_share": True, "accuracy_emitted": accuracy, "agreement": 1.0}


def run_as_if(root: Path, recipe: str, accuracy: float) -> None:
    """As a run would leave it: what akida's last stage measured, and the summary."""
    metrics = measured(accuracy)
    (root / f"artifacts/{recipe}/akida/verify/metrics.json").write_text(json.dumps(metrics))
    summary = {"recipe": recipe, "trunk": {}, "targets": {"akida": {"artifact": "model.fbz", "verify": metrics}}}
    (root / f"artifacts/{recipe}/summary.json").write_text(json.dumps(summary))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes that have run, twice, with a commit after each."""
    import contextlib

    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("ran")
    root = lay_as_if_run(lambda files: lay_sound(folder, files), RECIPES)
    git(root, "init", "--quiet")
    (root / ".gitignore").write_text("artifacts/\n")
    for accuracy, name in ((0.5, "first"), (0.75, "second")):
        run_as_if(root, "base", accuracy)
        run_as_if(root, "more", accuracy / 2)
        with contextlib.chdir(root), contextlib.closing(Repo(str(root))) as repo:
            repo.commit(force=True)
        commit(root, name)
        tag(root, name)
    return root


@pytest.fixture
def place(ran: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(ran, tmp_path / "place", symlinks=True))


def compared(root: Path, first: str, second: str) -> tuple[Comparison, ...]:
    plan = make_plan(root)
    facts = {one.name: one for one in gather(root, plan, [n for n in (first, second) if n in plan.recipes], None)}
    return compare(root, plan, first, second, facts)


def accuracies(one: Comparison) -> tuple[object, object, float | None]:
    (row,) = [row for row in one.rows if row.name == "accuracy_emitted"]
    return row.before, row.after, row.change


def test_a_recipe_then_and_now(ran: Path) -> None:
    (found,) = compared(ran, "first", "base")
    assert accuracies(found) == (0.5, 0.75, 0.25)
    assert (found.before.label, found.after.label) == ("base at first", "base")
    assert found.differences == () and found.files == ()
    (turned,) = compared(ran, "base", "first")
    assert accuracies(turned) == (0.75, 0.5, -0.25)


def test_two_recipes_with_what_they_were_made_with(ran: Path) -> None:
    (found,) = compared(ran, "base", "more")
    assert accuracies(found) == (0.75, 0.375, -0.375)
    assert [str(each) for each in found.differences] == ["train.epochs was 3, is 5"]
    assert found.files is None
    assert found.before.stale, "DVC was not asked"


def test_two_revisions_show_every_recipe_of_both(ran: Path) -> None:
    found = compared(ran, "first", "second")
    assert [(one.before.label, accuracies(one)) for one in found] == [
        ("base at first", (0.5, 0.75, 0.25)),
        ("more at first", (0.25, 0.375, 0.125)),
    ]
    document = as_json(found)
    assert json.loads(json.dumps(document)) == document
    (row,) = [row for row in document[0]["rows"] if row["name"] == "accuracy_emitted"]
    assert row == {"stage": "akida/verify", "name": "accuracy_emitted", "before": 0.5, "after": 0.75, "change": 0.25}


def test_what_a_shared_stage_was_made_with_counts_for_whoever_shares_it(place: Path) -> None:
    lock = place / "dvc.lock"
    assert "dataset: digits" in lock.read_text()
    lock.write_text(lock.read_text().replace("dataset: digits", "dataset: mnist"))
    (found,) = compared(place, "first", "more")
    (changed,) = [each for each in found.differences if each.key.startswith("data.")]
    assert (changed.before, changed.after) == ("digits", "mnist")


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("bose", "'bose' is neither a recipe in recipes/ nor a git revision; did you mean 'base'"),
        ("--output=x", "'--output=x' is neither a recipe"),
    ],
)
def test_a_name_that_is_neither(ran: Path, first: str, message: str) -> None:
    with pytest.raises(RecastError) as caught:
        compared(ran, first, "base")
    assert str(caught.value).startswith(message)


def test_results_that_the_cache_has_lost(place: Path) -> None:
    for path in (place / ".dvc/cache/files/md5").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(RecastError, match="results of 'base' in first are not in DVC's cache, or damaged; fetch them"):
        compared(place, "first", "base")


def test_a_revision_without_results(place: Path) -> None:
    git(place, "rm", "--quiet", "--cached", "dvc.lock")
    commit(place, "none")
    (place / ".gitignore").write_text("artifacts/\ndvc.lock\n")
    git(place, "rm", "--quiet", "--cached", "--ignore-unmatch", "dvc.lock")
    commit(place, "none at all")
    with pytest.raises(RecastError, match=r"HEAD has no dvc\.lock; name a revision in which the recipe had run"):
        compared(place, "HEAD", "base")
