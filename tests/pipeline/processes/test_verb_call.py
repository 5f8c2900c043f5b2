"""Verbs that targets register: how they are found, what they are told, and how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from recast.pipeline.cli.main import main
from recast.pipeline.core.errors import RecastError
from recast.pipeline.processes import environments, verb_call
from recast.stages import registry
from recast.stages.registry import Entry, VerbEntry
from tests.lib.repository import ROOT, Write

VERB = """
import os
from recast.stages.base import StageError, progress
from recast.stages.verb import Verb

def arguments(parser):
    parser.add_argument("text")
    parser.add_argument("--loud", action="store_true")

def run(options, artifacts):
    progress("at work", 1, 2)
    if options["text"] == "refuse":
        raise StageError("it will not do", "try another")
    if options["text"] == "crash":
        raise RuntimeError("unforeseen")
    said = options["text"].upper() if options["loud"] else options["text"]
    print(said, os.getcwd())
    if artifacts:
        print(artifacts.recipe, artifacts.target, *sorted(artifacts.directories), artifacts.params["emit"]["device"])
        print(artifacts.predictor.module, artifacts.local.name, artifacts.directories["emit"].is_dir())

VERB = Verb(arguments, run, reads=READS)
"""


@pytest.fixture
def root(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small repository in which base/akida has been emitted, and the verbs `shout` and `whisper`."""
    made = write(
        {
            "artifacts/base/akida/emit/model.fbz": "",
            "artifacts/base/data/input.json": "",
            "shout.py": VERB.replace("READS", '("emit",)'),
            "whisper.py": VERB.replace("READS", "()"),
        }
    )
    monkeypatch.chdir(made)
    monkeypatch.syspath_prepend(str(made))
    monkeypatch.setitem(registry.VERBS, "shout", VerbEntry("shout", "onnx", "say it"))
    monkeypatch.setitem(registry.VERBS, "whisper", VerbEntry("whisper", "onnx", "say it softly"))
    monkeypatch.setitem(registry.PREDICTORS, "akida.emit", Entry("a_predictor", "akida"))
    here = SimpleNamespace(python=Path(sys.executable))
    monkeypatch.setattr(environments, "ensure", lambda root, name, say: here)
    yield made
    for module in ("shout", "whisper"):
        sys.modules.pop(module, None)


def ask(root: Path, name: str, **options: object) -> subprocess.CompletedProcess[str]:
    call = verb_call.call(root, name, {"verb": print, "name": name, "loud": False, **options}, print)
    variables = {**call.variables, "PYTHONPATH": f"{ROOT / 'src'}:{root}"}
    return subprocess.run([call.program, *call.arguments[1:]], env=variables, cwd="/", capture_output=True, text=True)


def test_a_verb_is_told_what_the_run_made(root: Path) -> None:
    done = ask(root, "shout", what="base/akida", text="hello", loud=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines() == [
        "HELLO /",
        "base akida data emit SixNodesIPv2",
        "a_predictor local True",
    ]


def test_a_verb_that_reads_nothing_takes_no_target(root: Path) -> None:
    assert ask(root, "whisper", text="hello").stdout == "hello /\n"


def test_what_a_verb_refuses_is_said_in_one_line(root: Path) -> None:
    done = ask(root, "whisper", text="refuse")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "recast: it will not do; try another\n")


def test_a_bug_in_a_verb_leaves_its_traceback_in_a_file(root: Path) -> None:
    done = ask(root, "whisper", text="crash")
    assert done.returncode == 3 and "a bug of Recast: RuntimeError: unforeseen" in done.stderr
    assert "Traceback" not in done.stderr
    assert "RuntimeError: unforeseen" in (root / ".recast/logs/bug.log").read_text()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("bas/akida", "no recipe named 'bas' in recipes/; did you mean 'base'?"),
        ("base", "'base' names no target; for example: base/akida, base/onnxruntime"),
        ("base/akid", "recipe 'base' has no target 'akid'; did you mean 'base/akida'?"),
        (
            "base/onnxruntime",
            "base/onnxruntime/emit has made nothing yet; run 'recast run base --target onnxruntime'",
        ),
    ],
)
def test_what_is_not_there_is_refused(root: Path, what: str, message: str) -> None:
    with pytest.raises(RecastError) as refused:
        verb_call.call(root, "shout", {"what": what, "text": ""}, print)
    assert message in str(refused.value)


def test_help_names_registered_verbs_and_their_arguments(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["--help"], ("serve", "shout", "say it softly", "explain")),
        (["shout", "--help"], ("RECIPE/TARGET", "--loud")),
    ):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        said = capsys.readouterr().out
        assert left.value.code == 0 and all(text in said for text in expected)
    with pytest.raises(SystemExit):
        main(["whisper", "--help"])
    assert "RECIPE/TARGET" not in capsys.readouterr().out


def test_every_registered_verb_and_predictor_can_be_planned_with_nothing_installed() -> None:
    """Their modules are imported by the command line, in .venv, and their environments have pins."""
    assert registry.VERBS and registry.PREDICTORS
    for name, entry in registry.VERBS.items():
        registry.load_verb(name)
        assert entry.environment in environments.names(ROOT)
    for stage, predictor in registry.PREDICTORS.items():
        assert registry.load(stage).emits
        assert predictor.environment in environments.names(ROOT)
        assert (ROOT / "src" / f"{predictor.module.replace('.', '/')}.py").is_file()


def test_the_runners_own_verbs_do_not_pay_for_the_registry() -> None:
    code = "import sys; from recast.pipeline.cli import arguments; from recast.pipeline.cli.main import _VERBS; "
    code += "arguments.parse(['run', 'x'], _VERBS, print); sys.exit('recast.stages.registry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_verb_that_takes_several_is_told_of_each_target_that_was_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.PREDICTORS, "onnxruntime.emit", Entry("another", "onnx"))
    text = VERB.replace("READS", '("emit",), several=True').replace(
        "    if artifacts:\n", "    print(*(one.target for one in artifacts.beside))\n    if artifacts:\n"
    )
    (root / "shout.py").write_text(text)
    alone = ask(root, "shout", what="base", text="a")
    assert alone.returncode == 0 and alone.stdout.splitlines()[1:3] == ["", "base akida data emit SixNodesIPv2"]
    (root / "artifacts/base/onnxruntime/emit").mkdir(parents=True)
    assert ask(root, "shout", what="base", text="a").stdout.splitlines()[1] == "onnxruntime"
    assert ask(root, "shout", what="base/akida", text="a").stdout.splitlines()[1] == ""
    monkeypatch.setattr(registry, "PREDICTORS", {})
    monkeypatch.setattr(verb_call, "PREDICTORS", {})
    with pytest.raises(RecastError, match="no target of 'base' that can be served has been made"):
        ask(root, "shout", what="base", text="a")


def test_of_a_release_a_verb_is_told_what_its_manifest_says(root: Path, tmp_path: Path) -> None:
    stages = {"r/data": {"params": {"a": 1}}, "r/akida/emit": {"params": {"device": "d"}}}
    manifest = {"recipe": "r", "target": "akida", "emitted_by": "akida.emit", "stages": stages}
    released = verb_call.released_artifacts(root, tmp_path, manifest, print)
    assert released["params"] == {"data": {"a": 1}, "emit": {"device": "d"}}
    assert released["predictor"]["module"] == "a_predictor" and released["directories"] == {"emit": str(tmp_path)}
    call = verb_call.call(root, "shout", {"what": "x.tar", "text": "a", "loud": False}, print, released)
    assert '"recipe": "r"' in call.arguments[-1]
    assert (
        verb_call.released_artifacts(root, tmp_path, {**manifest, "emitted_by": "no.emit"}, print)["predictor"] is None
    )
