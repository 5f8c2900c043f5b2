"""Why stages run, said exactly, of real DVC repositories; and the verdicts are what a run then does."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import dvc.dvcfile
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.explain import Explanation, Reason, Verdict, as_json, as_text, explain, explain_steps, wanted
from recast.pipeline.dvc.lockfile import read_lock
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.planning.make_plan import make_plan
from tests.lib import drive
from tests.lib.drive import copies
from tests.lib.repository import call
from tests.pipeline.dvc.test_dvc_behaviour import edit, prepare

# every command leaves its name in ran.log
DVC_YAML = """\
stages:
  data:
    cmd: mkdir -p out/data; cp raw.txt out/data/raw.txt; cp -r images out/data; echo data >> ran.log
    deps: [raw.txt, images]
    outs: [out/data]
  train:
    cmd: mkdir -p out/train; cat out/data/raw.txt code.py params.yaml > out/train/model.txt; echo train >> ran.log
    deps: [out/data, code.py]
    params: [train]
    outs: [out/train]
  report:
    cmd: wc -c out/train/model.txt > report.txt; echo report >> ran.log
    deps: [out/train]
    outs: [report.txt]
"""
FILES = {
    "dvc.yaml": DVC_YAML,
    "params.yaml": "train: {lr: 0.1, adam: {eps: 1.0e-8}}\n",
    "raw.txt": "raw\n",
    "images/one.txt": "one\n",
    "code.py": "print(1)\n",
}


def lay(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def reproduce(place: Path) -> set[str]:
    """Names of the stages whose command DVC ran."""
    (place / "ran.log").unlink(missing_ok=True)
    repo = Repo(str(place))
    repo.reproduce()
    repo.close()
    log = place / "ran.log"
    return set(log.read_text().split()) if log.exists() else set()


def judged(place: Path) -> list[Explanation]:
    """All stages explained, with nothing changed by that."""
    before = everything(place)
    repository = Repository(place, lambda text: pytest.fail(text))
    with repository.locked():
        found = explain_steps(repository, repository.steps([]))
    repository.close()
    assert everything(place) == before
    return found


def everything(place: Path) -> dict[str, bytes]:
    paths = [path for path in place.rglob("*") if path.is_file() and ".dvc/tmp" not in path.as_posix()]
    return {str(path): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which everything has run."""
    place = tmp_path_factory.mktemp("ready")
    lay(place, FILES)
    Repo.init(str(place), no_scm=True).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert reproduce(place) == {"data", "train", "report"}
    return place


@pytest.fixture
def place(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(ready, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    yield tmp_path / "copy"


def change(path: str, old: str, new: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        text = (place / path).read_text()
        assert old in text
        (place / path).write_text(text.replace(old, new))

    return make


def delete(*paths: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        for path in paths:
            if (place / path).is_dir():
                shutil.rmtree(place / path)
            else:
                (place / path).unlink()

    return make


def edit_output(place: Path) -> None:
    (place / "out/data/raw.txt").write_text("mine")
    (place / "out/data/notes.txt").write_text("mine")
    (place / "out/data/images/one.txt").unlink()


def lose(path: str) -> Callable[[Path], None]:
    """Take what dvc.lock records of an output from the cache; of a folder its list."""

    def make(place: Path) -> None:
        lock = YAML(typ="safe").load((place / "dvc.lock").read_text())
        (oid,) = [out["md5"] for entry in lock["stages"].values() for out in entry["outs"] if out["path"] == path]
        (place / ".dvc/cache/files/md5" / oid[:2] / oid[2:]).unlink()

    return make


def back_and_forth(place: Path) -> None:
    change("params.yaml", "0.1", "0.2")(place)
    assert reproduce(place) == {"train", "report"}
    change("params.yaml", "0.2", "0.1")(place)


def both(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        for one in changes:
            one(place)

    return make


UP_TO_DATE = {
    "data": "data is up to date with 2 files",
    "train": "train is up to date with 2 params, 1 file, data",
    "report": "report is up to date with train",
}
HINT = "(a stage that follows runs only if what it reads comes out different)"
FOLLOWED_BY_ALL = f"train follows data\nreport follows data\n{HINT}"
FOLLOWED_BY_REPORT = f"report follows train\n{HINT}\n{UP_TO_DATE['data']}"
CASES = {
    "nothing": (lambda place: None, "\n".join(UP_TO_DATE.values())),
    "a param changed": (
        change("params.yaml", "lr: 0.1", "lr: 0.2"),
        f"train would run\n    train.lr was 0.1, is 0.2 (params.yaml)\n{FOLLOWED_BY_REPORT}",
    ),
    "a nested param changed, one added, one removed": (
        change("params.yaml", "{lr: 0.1, adam: {eps: 1.0e-8}}", "{epochs: 3, adam: {eps: 2.0e-8}}"),
        "train would run\n    train.epochs is new: 3 (params.yaml)\n"
        "    train.adam.eps was 1e-08, is 2e-08 (params.yaml)\n"
        f"    train.lr is gone, was 0.1 (params.yaml)\n{FOLLOWED_BY_REPORT}",
    ),
    "a file that only one stage reads": (
        change("code.py", "1", "2"),
        f"train would run\n    code.py was edited\n{FOLLOWED_BY_REPORT}",
    ),
    "files of a folder": (
        lambda place: lay(place, {"images/one.txt": "two", "images/two.txt": "two"}),
        "data would run\n    images/ was edited (which of its files is unknown: the cache has no list of them)\n"
        f"{FOLLOWED_BY_ALL}",
    ),
    "a new dependency": (
        both(
            lambda place: lay(place, {"more.txt": "more"}),
            change("dvc.yaml", "deps: [raw.txt,", "deps: [more.txt, raw.txt,"),
        ),
        f"data would run\n    more.txt is new\n{FOLLOWED_BY_ALL}",
    ),
    "a dependency swapped for another": (
        both(lambda place: lay(place, {"new.py": "new"}), change("dvc.yaml", "data, code.py]", "data, new.py]")),
        f"train would run\n    new.py is new\n    code.py is no longer read\n{FOLLOWED_BY_REPORT}",
    ),
    "a dropped dependency alone, which DVC overlooks": (
        change("dvc.yaml", "[out/data, code.py]", "[out/data]"),
        "\n".join({**UP_TO_DATE, "train": "train is up to date with 2 params, data"}.values()),
    ),
    "a dropped mapping of params, which DVC overlooks": (
        change("dvc.yaml", "    params: [train]\n", ""),
        f"{UP_TO_DATE['data']}\ntrain is up to date with 1 file, data\n"
        "    but DVC overlooks what is gone altogether; 'recast run --force' would not:\n"
        "    train.lr is gone, was 0.1 (params.yaml)\n    train.adam.eps is gone, was 1e-08 (params.yaml)\n"
        f"{UP_TO_DATE['report']}",
    ),
    "the command": (
        change("dvc.yaml", "wc -c", "wc -l"),
        "report would run\n"
        '    its command was "wc -c out/train/model.txt > report.txt; echo report >> ran.log",'
        ' is "wc -l out/train/model.txt > report.txt; echo report >> ran.log"\n'
        f"{UP_TO_DATE['data']}\n{UP_TO_DATE['train']}",
    ),
    "a stage that always runs": (
        change("dvc.yaml", "    deps: [out/train]\n", "    deps: [out/train]\n    always_changed: true\n"),
        "report would run\n    it always runs: DVC is told so, or it neither reads nor writes anything\n"
        f"{UP_TO_DATE['data']}\n{UP_TO_DATE['train']}",
    ),
    "all outputs missing": (
        delete("out", "report.txt"),
        "data would be restored from the cache, not run\n    its output out/data is missing\n"
        "train would be restored from the cache, not run\n    its output out/train is missing\n"
        "report would be restored from the cache, not run\n    its output report.txt is missing",
    ),
    "an output edited by hand": (
        edit_output,
        "data would be restored from the cache, not run\n    its output out/data was edited by hand: changed raw.txt;"
        f" added notes.txt; deleted images/one.txt\n{UP_TO_DATE['train']}\n{UP_TO_DATE['report']}",
    ),
    "an output that is one file edited by hand": (
        lambda place: lay(place, {"report.txt": "mine"}),
        "report would be restored from the cache, not run\n    its output report.txt was edited by hand\n"
        f"{UP_TO_DATE['data']}\n{UP_TO_DATE['train']}",
    ),
    "an output that is new": (
        change("dvc.yaml", "outs: [report.txt]", "outs: [report.txt, ran.log]"),
        "report would run\n    its output ran.log is not recorded in dvc.lock\n"
        f"{UP_TO_DATE['data']}\n{UP_TO_DATE['train']}",
    ),
    "an output that the cache lacks": (
        lose("report.txt"),
        "report would run\n    its output report.txt is not (or not whole) in the cache\n"
        f"{UP_TO_DATE['data']}\n{UP_TO_DATE['train']}",
    ),
    "an edited output whose list the cache lacks": (
        both(edit_output, lose("out/data")),
        "data would run\n    its output out/data was edited by hand (which of its files is unknown: the cache"
        f" has no list of them)\n    its output out/data is not (or not whole) in the cache\n{FOLLOWED_BY_ALL}",
    ),
    "a value that was there before": (
        back_and_forth,
        "train would be restored from the cache, not run\n    train.lr was 0.2, is 0.1 (params.yaml)\n"
        "report would be restored from the cache, not run\n"
        "    train comes back from the cache with another output than last time: changed model.txt\n"
        f"{UP_TO_DATE['data']}",
    ),
    "no dvc.lock": (
        delete("dvc.lock"),
        "data would be restored from the cache, not run\n    dvc.lock has no entry for it, as if it had never run\n"
        "train would be restored from the cache, not run\n    dvc.lock has no entry for it, as if it had never run\n"
        "report would be restored from the cache, not run\n    dvc.lock has no entry for it, as if it had never run",
    ),
    "no dvc.lock, and a result lost from the cache": (
        both(lose("report.txt"), delete("dvc.lock")),
        "data would be restored from the cache, not run\n    dvc.lock has no entry for it, as if it had never run\n"
        "train would be restored from the cache, not run\n    dvc.lock has no entry for it, as if it had never run\n"
        "report would run\n    dvc.lock has no entry for it, as if it had never run\n"
        "    the cache knows the result, but some of its files are gone",
    ),
    "nothing ever ran": (
        delete("dvc.lock", "out", "report.txt", ".dvc/cache"),
        "data would run\n    dvc.lock has no entry for it, as if it had never run\n"
        "train would run\n    dvc.lock has no entry for it, as if it had never run\n"
        "    depends on data, which runs first\n"
        "report would run\n    dvc.lock has no entry for it, as if it had never run\n"
        "    depends on train, which runs first",
    ),
    "two edits, one downstream of the other": (
        both(change("raw.txt", "raw", "RAW"), change("params.yaml", "0.1", "0.2")),
        "data would run\n    raw.txt was edited\n"
        "train would run\n    train.lr was 0.1, is 0.2 (params.yaml)\n    depends on data, which runs first\n"
        f"report follows train\n{HINT}",
    ),
}
# a run would fail on these
BROKEN = {
    "a dependency that is missing": (
        delete("raw.txt"),
        f"data would run\n    raw.txt is missing, and the stage cannot run without it\n{FOLLOWED_BY_ALL}",
    ),
    "a params file that is missing": (
        delete("params.yaml"),
        "train would run\n    params.yaml is missing, and the stage cannot run without it\n" + FOLLOWED_BY_REPORT,
    ),
}


@pytest.mark.parametrize("case", CASES | BROKEN)
def test_what_is_said(place, case):
    make, said = (CASES | BROKEN)[case]
    make(place)
    assert as_text(judged(place)) == said


@pytest.mark.parametrize("case", CASES)
def test_a_run_then_does_what_was_said(place, case):
    CASES[case][0](place)
    said = {one.stage: one.verdict for one in judged(place)}
    ran = reproduce(place)
    run = {stage for stage, verdict in said.items() if verdict is Verdict.RUN}
    follows = {stage for stage, verdict in said.items() if verdict is Verdict.FOLLOWS}
    assert run <= ran <= run | follows
    if case != "a stage that always runs":
        assert {one.verdict for one in judged(place)} == {Verdict.UP_TO_DATE}


def test_an_input_made_anew_by_itself(place):
    change("raw.txt", "raw", "RAW")(place)
    repo = Repo(str(place))
    repo.reproduce("data", single_item=True)
    repo.close()
    assert as_text(judged(place)) == (
        "train would run\n    data has another output than last time: changed raw.txt\n"
        f"report follows train\n{HINT}\n{UP_TO_DATE['data']}"
    )


def test_as_json_holds_values_as_they_are(place):
    change("params.yaml", "{lr: 0.1, adam: {eps: 1.0e-8}}", "{lr: 0.2, epochs: [1, 2]}")(place)
    said = {one["stage"]: one for one in json.loads(as_json(judged(place)))}
    assert said["report"]["verdict"] == "follows" and said["data"]["verdict"] == "up to date"
    assert said["train"]["reasons"] == [
        {
            "kind": "param",
            "subject": "params.yaml:train.lr",
            "text": "train.lr was 0.1, is 0.2 (params.yaml)",
            "before": 0.1,
            "after": 0.2,
        },
        {
            "kind": "param",
            "subject": "params.yaml:train.epochs",
            "text": "train.epochs is new: [1, 2] (params.yaml)",
            "after": [1, 2],
        },
        {
            "kind": "param",
            "subject": "params.yaml:train.adam.eps",
            "text": "train.adam.eps is gone, was 1e-08 (params.yaml)",
            "before": 1e-8,
        },
    ]


# -- recipes: what a plan adds to the words

SOURCES = {
    "device.txt": "cpu\n",
    "stages/trunk/train.py": "from recast.stages import loss\n",
    "stages/loss.py": "weight = 1\n",
    "models/__init__.py": "# models\n",
    "envs/torch.txt": "torch==1\n",
    "weights.safetensors": "weights",
    "recipes/base.yaml": """\
model: models.net:Net
stages:
  data: {dataset: digits}
  train: {weights: weights.safetensors}
  export: {opset: 18}
targets:
  onnxruntime: {}
""",
}


@pytest.fixture
def recipes(write, monkeypatch) -> Path:
    """A repository of recipes as if everything had run: its outputs were laid there and committed."""
    root: Path = write(SOURCES)
    for name in ("onnx", "recast"):
        lay(root, {f"envs/{name}.txt": "# python: 3.11\n"})
    plan = make_plan(root)
    dvcfile.write(root, plan)
    for stage in plan.stages.values():
        lay(root, {f"{stage.out}/metrics.json": f'"{stage.id}"'})
    lay(root, {"artifacts/base/summary.json": "{}"})
    dvcfile.pass_guard(root, plan)
    monkeypatch.chdir(root)
    repo = Repo.init(str(root), no_scm=True)
    repo.commit(force=True)
    repo.close()
    return root


def explained(root: Path, what: str = "base") -> list[Explanation]:
    plan = make_plan(root)
    dvcfile.write(root, plan)
    repository = Repository(root, lambda text: pytest.fail(text))
    try:
        return explain(repository, plan, wanted(plan, what)[1])
    finally:
        repository.close()


ALL = ["data", "train", "export", "simplify"] + [
    f"onnxruntime/{name}" for name in ("quantize", "calibrate", "emit", "verify")
]


def test_everything_that_is_up_to_date_takes_one_line(recipes):
    found = explained(recipes)
    assert {one.stage for one in found} == {*(f"base/{name}" for name in ALL), "base", "guard"}
    assert {one.verdict for one in found} == {Verdict.UP_TO_DATE}
    assert as_text(explained(recipes, "base/train")) == ("base/train is up to date with 4 params, 8 files, base/data")


@pytest.mark.parametrize(
    ("file", "text", "kind", "said"),
    [
        ("models/layers.py", "class Block: ...  # new", "model", "the model's code models/layers.py was edited"),
        ("stages/loss.py", "# new", "code", "the stage's code stages/loss.py was edited"),
        (
            "stages/trunk/train.py",
            "from recast.stages import loss\n\n",
            "code",
            "the stage's code stages/trunk/train.py was edited",
        ),
        ("envs/torch.txt", "torch==2", "environment", "the environment's pin file envs/torch.txt was edited"),
        ("device.txt", "cuda\n", "device", "the device was cpu, is cuda (device.txt)"),
        ("weights.safetensors", "more", "data", "the data weights.safetensors was edited"),
    ],
)
def test_a_file_is_called_by_what_it_is_to_the_stage(recipes, file, text, kind, said):
    lay(recipes, {file: text})
    (train,) = explained(recipes, "base/train")
    assert train.verdict is Verdict.RUN
    found = {reason.kind: reason.text for reason in train.reasons}
    assert found[kind] == said
    assert len(found) == len(train.reasons)


def test_code_that_is_no_longer_imported_is_named(recipes):
    lay(recipes, {"stages/trunk/train.py": "# alone\n"})
    assert as_text(explained(recipes, "base/train")) == (
        "base/train would run\n"
        "    the stage's code stages/trunk/train.py was edited\n"
        "    the stage's code stages/loss.py is no longer read"
    )


def test_the_answer_comes_first_and_the_guard_last(recipes):
    lay(recipes, {"recipes/base.yaml": SOURCES["recipes/base.yaml"].replace("opset: 18", "opset: 17")})
    assert as_text(explained(recipes)).splitlines() == [
        "base/export would run",
        "    stages.export.opset was 18, is 17 (recipes/base.yaml)",
        "base/simplify follows base/export",
        *(f"base/onnxruntime/{name} follows base/export" for name in ("quantize", "calibrate", "emit", "verify")),
        "base follows base/export",
        "guard would run",
        "    recipes/ was edited; it only checks that dvc.yaml still matches",
        HINT,
        "base/data is up to date with 2 params, 1 file",
        "base/train is up to date with 4 params, 8 files, base/data",
    ]


def test_the_kind_of_cpu_a_result_was_measured_on_is_said(recipes):
    """Of what is there, and of what would be restored; and how it compares with this machine's."""
    plan = make_plan(recipes)
    verify = plan.stages["base/onnxruntime/verify"]
    lay(recipes, {f"{verify.out}/metrics.json": '{"cpu": "x86-64, AVX2 without VNNI"}'})
    repo = Repo(str(recipes))
    repo.commit(force=True)
    repo.close()
    (there,) = explained(recipes, "base/onnxruntime/verify")
    assert (there.verdict, there.cpu) == (Verdict.UP_TO_DATE, "x86-64, AVX2 without VNNI")
    assert {one.cpu for one in explained(recipes, "base/onnxruntime") if one.stage != there.stage} == {""}
    shutil.rmtree(recipes / verify.out)
    (gone,) = explained(recipes, "base/onnxruntime/verify")
    assert (gone.verdict, gone.cpu) == (Verdict.RESTORED, there.cpu)
    assert as_text([there], there.cpu).splitlines()[1] == (
        "    measured on x86-64, AVX2 without VNNI, as this machine is"
    )
    assert as_text([gone], "x86-64, AVX-512 with VNNI").splitlines()[-1] == (
        "    what would be restored was measured on x86-64, AVX2 without VNNI, and this machine is x86-64, AVX-512 "
        "with VNNI: see 'Kinds of CPU' in docs/parity.md"
    )
    assert as_text([there]).endswith("; what this machine is, no environment is built to tell")
    (plain,) = json.loads(as_json([there], "arm64, NEON with dot product"))
    assert plain["cpu"] == {"measured_on": there.cpu, "this_machine": "arm64, NEON with dot product"}


def test_several_stages_that_run_first_take_one_line():
    first, second = (Reason("upstream", name, f"depends on {name}, which runs first") for name in ("a", "b"))
    edited = Reason("code", "c.py", "the stage's code c.py was edited")
    elsewhere = Reason("upstream", "z", "depends on z, which runs first: it was edited")
    shown = [
        Explanation("a", Verdict.RUN, (edited,)),
        Explanation("b", Verdict.RUN, (edited,)),
        Explanation("c", Verdict.RUN, (edited, first, elsewhere, second)),
        Explanation("d", Verdict.FOLLOWS, (first, second)),
    ]
    assert as_text(shown[2:]).splitlines()[2:5] == [f"    {one.text}" for one in (first, elsewhere, second)]
    assert as_text(shown).splitlines()[4:] == [
        "c would run",
        "    the stage's code c.py was edited",
        "    depends on z, which runs first: it was edited",
        "    depends on a, b, which run first",
        "d follows a, b",
        HINT,
    ]


def test_no_stage_waits_for_the_guard(recipes):
    delete("dvc.lock", "artifacts")(recipes)
    lay(recipes, {"recipes/base.yaml": SOURCES["recipes/base.yaml"] + "# a remark\n"})
    said = {one.stage: one.verdict for one in explained(recipes)}
    assert said.pop("guard") is Verdict.RUN
    assert set(said.values()) == {Verdict.RESTORED}


def test_one_stage_that_follows_names_the_cause(recipes):
    lay(recipes, {"recipes/base.yaml": SOURCES["recipes/base.yaml"].replace("opset: 18", "opset: 17")})
    assert as_text(explained(recipes, "base/onnxruntime/verify")) == (
        "base/onnxruntime/verify follows\n"
        "    depends on base/export, which runs first: stages.export.opset was 18, is 17 (recipes/base.yaml)\n"
        f"{HINT}"
    )


@pytest.mark.parametrize(
    ("what", "ids"),
    [
        ("base", [*(f"base/{name}" for name in ALL), "base", "guard"]),
        ("base/train", ["base/train"]),
        ("base/onnxruntime/verify", ["base/onnxruntime/verify"]),
        ("base/onnxruntime", [f"base/{name}" for name in ALL[4:]]),
    ],
)
def test_what_is_asked_for(write, what, ids):
    plan = make_plan(write(SOURCES))
    assert wanted(plan, what) == ("base", tuple(ids))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("bse", "no recipe named 'bse' in recipes/; did you mean 'base'?"),
        ("base/trian", "the trunk of recipe 'base' has no stage 'trian'; did you mean 'train'?"),
        ("base/onnxrutime/verify", "recipe 'base' has no target 'onnxrutime'; did you mean 'onnxruntime'?"),
        ("base/onnxruntime/very", "target 'onnxruntime' of recipe 'base' has no stage 'very'; did you mean 'verify'?"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(write, what, said):
    with pytest.raises(RecastError) as refused:
        wanted(make_plan(write(SOURCES)), what)
    assert str(refused.value) == said


def test_a_recipe_that_really_ran(tmp_path):
    place = prepare(tmp_path / "a b")

    def verdicts() -> dict[str, str]:
        said = json.loads(call(place, "./recast", "explain", "tiny", "--json").stdout)
        return {one["stage"]: one["verdict"] for one in said}

    assert set(verdicts().values()) == {"would run"}
    call(place, "./recast", "run", "tiny")
    assert set(verdicts().values()) == {"up to date"}
    edit(place, "epochs: 2", "epochs: 3")
    said = call(place, "./recast", "explain", "tiny").stdout
    assert said.startswith(
        "tiny/train would run\n    stages.train.epochs was 2, is 3 (recipes/tiny.yaml)\ntiny/export follows"
    )
    shutil.rmtree(place / "artifacts")
    edit(place, "epochs: 3", "epochs: 2")
    restored = {stage for stage, verdict in verdicts().items() if verdict == "would be restored"}
    assert restored == {"guard", "tiny", *(f"tiny/{name}" for name in ALL)}
    # of the stage that measures, beside what this machine is
    said = json.loads(call(place, "./recast", "explain", "tiny", "--json").stdout)
    kinds = {one["stage"]: one["cpu"] for one in said if "cpu" in one}
    assert list(kinds) == ["tiny/onnxruntime/verify"]
    assert kinds["tiny/onnxruntime/verify"]["measured_on"] == kinds["tiny/onnxruntime/verify"]["this_machine"] != ""


def test_however_many_stages_are_explained_no_file_is_parsed_for_each(tmp_path, monkeypatch):
    parsed: Counter[str] = Counter()

    def counting(cls: Any, name: str) -> None:
        original = getattr(cls, name)
        monkeypatch.setattr(cls, name, lambda self, *a, **k: parsed.update([name]) or original(self, *a, **k))

    counting(dvc.dvcfile.FileMixin, "_load_yaml")
    monkeypatch.setattr(
        "recast.pipeline.dvc.session.read_lock", lambda path: parsed.update(["lock"]) or read_lock(path)
    )
    stages = {f"s{i}": copies(f"s{i}", ["src"], params=["a"]) for i in range(12)}
    root = drive.lay(tmp_path, {"src": "x\n", "params.yaml": "a: 1\n"}, stages)
    drive.run(root)
    parsed.clear()
    repository = Repository(root, lambda text: pytest.fail(text))
    with chdir(root), closing(repository), repository.locked():
        found = explain_steps(repository, repository.steps(sorted(stages)))
    assert [one.verdict for one in found] == [Verdict.UP_TO_DATE] * 12
    assert parsed == {"_load_yaml": 2, "lock": 1}
