"""Verbs that targets register: how they are found, what they are told, and how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import environments, target_verb
from pipeline.cli import main
from pipeline.errors import RecastError
from stages import registry
from stages.registry import Entry, VerbEntry
from tests.pipeline.conftest import ROOT, Write

VERB = """
import os
from stages.base import StageError, progress
from stages.verb import Verb

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
    call = target_verb.call(root, name, {"verb": print, "name": name, "loud": False, **options}, print)
    variables = {**call.variables, "PYTHONPATH": f"{ROOT}:{root}"}
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
            "base/onnxruntime/emit has made nothing yet; run './recast run base --target onnxruntime'",
        ),
    ],
)
def test_what_is_not_there_is_refused(root: Path, what: str, message: str) -> None:
    with pytest.raises(RecastError) as refused:
        target_verb.call(root, "shout", {"what": what, "text": ""}, print)
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
        assert stage in registry.REGISTRY and stage.endswith(".emit")
        assert predictor.environment in environments.names(ROOT)
        assert (ROOT / f"{predictor.module.replace('.', '/')}.py").is_file()


def test_the_runners_own_verbs_do_not_pay_for_the_registry() -> None:
    code = "import sys; from pipeline import arguments; from pipeline.cli import _VERBS; "
    code += "arguments.parse(['run', 'x'], _VERBS, print); sys.exit('stages.registry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
