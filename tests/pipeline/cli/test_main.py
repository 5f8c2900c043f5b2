"""The verbs: their output, their help, their exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from recast.pipeline.cli.main import main
from recast.stages import registry
from tests.lib.repository import ROOT

GROUPS = {
    "a project": ("init", "new", "list", "doctor"),
    "recipes": ("check", "plan", "explain"),
    "results": ("run", "show", "compare", "report", "blame", "repair"),
    "releases": ("release", "verify-release", "rebuild", "releases"),
    "what targets add": tuple(registry.VERBS),
    "this machine and the team": ("share", "worker", "sync", "env", "completion"),
    "plumbing, which other programs call": ("stage", "merge-lock", "schema"),
}
VERBS = tuple(verb for verbs in GROUPS.values() for verb in verbs)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(list(arguments))
    said = capsys.readouterr()
    return exit.value.code or 0, said.out, said.err


def test_help_names_every_verb_and_the_exit_codes(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0 and "exit codes: 0 done" in out
    # each in its group, with its line
    shown = {title: re.findall(r"^  (\S+) +\S", body, re.MULTILINE) for title, body in headed(out)}
    assert {title: tuple(shown[title]) for title in GROUPS} == GROUPS and "  --version " in out


def headed(text):
    """The parts of a help, by their headings."""
    parts = re.split(r"^(\S.*):\n", text, flags=re.MULTILINE)
    return zip(parts[1::2], parts[2::2], strict=True)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_for_its_options(verb, capsys):
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0 and len(out.splitlines()) > 5
    example = out.partition("\nexample:\n")[2]
    assert re.match(rf"  (eval \"\$\()?recast {verb}\b.*\n\Z", example), "one line, as one types it"


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["plan", "--format", "svg"]])
def test_wrong_usage_exits_2(arguments, capsys):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "usage: recast" in err


def test_plan_as_text(write, monkeypatch, capsys):
    monkeypatch.chdir(write({"recipes/mine.yaml": "extends: base\nstages:\n  export: {opset: 17}\n"}))
    code, out, _ = run(capsys, "plan", "mine", "--no-status")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["base/train", "torch", "←", "base/data"] in lines
    assert ["export", "torch", "←", "base/data,", "base/train"] in lines


def test_plan_as_json(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    code, out, _ = run(capsys, "plan", "--format", "json", "--no-status")
    plan = json.loads(out)
    assert code == 0
    assert plan["stages"]["base/train"]["params"]["epochs"] == 3
    assert plan["stages"]["base/train"]["inputs"] == {"data": "base/data"}
    assert plan["recipes"]["base"]["targets"]["akida"]["emit"] == "base/akida/emit"


def test_plan_as_mermaid(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    code, out, _ = run(capsys, "plan", "--format", "mermaid", "--no-status")
    assert code == 0 and out.startswith("flowchart LR\n") and "subgraph base" in out and "s0 --> s1" in out


def test_plan_with_a_stale_dvc_yaml_says_how_to_go_on(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    code, _, err = run(capsys, "plan")
    assert code == 2 and "run './recast sync', or add --no-status" in err


def test_sync_writes_and_check_agrees(write, monkeypatch, capsys):
    place = write({})
    monkeypatch.chdir(place)
    assert run(capsys, "sync", "--check")[0] == 2
    code, out, _ = run(capsys, "sync")
    assert code == 0 and "wrote dvc.yaml" in out
    assert (place / "device.txt").read_text() == "cpu\n"
    assert run(capsys, "sync", "--check")[0] == 0
    assert run(capsys, "sync")[1] == ""


def test_a_recipe_that_does_not_exist(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    for arguments in (["run", "bass"], ["plan", "bass"], ["stage", "bass", "train"]):
        code, _, err = run(capsys, *arguments)
        assert code == 2 and "no recipe named 'bass'" in err and "did you mean 'base'?" in err


def test_a_target_that_does_not_exist(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    code, _, err = run(capsys, "run", "base", "--target", "akita")
    assert code == 2 and "did you mean 'akida'?" in err


def test_several_targets_and_stages_are_all_run(write, monkeypatch, capsys):
    place = write({})
    uses = ", ".join(f"{stage}: akida.{stage}" for stage in ("quantize", "calibrate", "emit", "verify"))
    chip = f"uses: {{{uses}}}\n" + (place / "recipes/targets/akida.yaml").read_text()
    (place / "recipes/targets/chip.yaml").write_text(chip)
    recipe = place / "recipes/base.yaml"
    recipe.write_text(recipe.read_text() + "  chip: {}\n")
    monkeypatch.chdir(place)

    def dry(*arguments):
        code, out, _ = run(capsys, "run", "base", "--dry", "--force", "--json", *arguments)
        assert code == 0
        return {id.removeprefix("base/") for id in json.loads(out)["stages"]}

    both = dry("--target", "akida", "--target", "chip")
    assert both == dry("--target", "akida") | dry("--target=chip") and both == dry("--target", "chip", "--target=akida")
    assert {"akida/verify", "chip/verify"} <= both and "onnxruntime/emit" not in both
    assert dry("--stage", "train", "--stage", "akida/quantize") == {"data", *dry("--stage", "akida/quantize")}
    emitted = dry("--target", "akida", "--target", "chip", "--stage", "emit")
    assert {"akida/emit", "chip/emit"} <= emitted and not {"akida/verify", "chip/verify"} & emitted


def test_the_device_is_shown_and_chosen(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    assert "means cpu" in run(capsys, "env", "device")[1]
    assert "means cuda" in run(capsys, "env", "device", "cuda")[1]
    assert run(capsys, "env", "device", "tpu")[0] == 2


def test_the_verbs_work_from_a_folder_below(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}) / "recipes")
    assert run(capsys, "check", "base")[0] == 0


def test_a_bug_of_ours_exits_3_and_keeps_its_traceback_in_a_file(write, monkeypatch, capsys):
    place = write({})
    monkeypatch.chdir(place)

    def broken(*arguments):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("recast.pipeline.planning.make_plan.make_plan", broken)
    code, _, err = run(capsys, "check")
    assert code == 3 and "a bug of Recast: ZeroDivisionError: oh" in err and "Traceback" not in err
    assert "ZeroDivisionError" in (place / ".recast/logs/bug.log").read_text()


def test_a_reader_that_goes_away_is_no_error():
    command = f"cd '{ROOT}' && ./recast plan --no-status --format json | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_a_machine_that_refuses_is_no_bug_of_ours(write, monkeypatch, capsys):
    place = write({})
    monkeypatch.chdir(place)

    def refused(*arguments):
        raise PermissionError(13, "Permission denied", str(place / "artifacts"))

    monkeypatch.setattr("recast.pipeline.planning.make_plan.make_plan", refused)
    code, _, err = run(capsys, "check")
    assert code == 2 and "artifacts: Permission denied; see that it can be read" in err and "bug" not in err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["innit"], "there is no 'innit'; did you mean 'init'?"),
        (["completion", "bahs"], "there is no 'bahs'; did you mean 'bash'?"),
        (["chekc"], "there is no 'chekc'; did you mean 'check'?"),
        (["Run", "digits"], "there is no 'Run'; did you mean 'run'?"),
        (["prov", "x"], "there is no 'prov'; did you mean 'prove'?"),
        (["env", "lst"], "there is no 'lst'; did you mean 'list'?"),
        (["plan", "--format", "jsn"], "there is no 'jsn'; did you mean 'json'?"),
        (["run", "digits", "--targt", "wasm"], "unrecognized arguments: --targt wasm; did you mean '--target'?"),
        (["run", "digits", "--jbos=3"], "unrecognized arguments: --jbos=3; did you mean '--jobs'?"),
    ],
)
def test_a_misspelt_verb_choice_or_option_is_told_what_was_meant(arguments, meant, capsys):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and meant in err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["check", "Base"], "no recipe named 'Base' in recipes/; did you mean 'base'?"),
        (["run", "bass"], "no recipe named 'bass' in recipes/; did you mean 'base'?"),
        (["explain", "bass/train"], "no recipe named 'bass' in recipes/; did you mean 'base'?"),
        (
            ["check", "my-net"],
            "'my-net' is no recipe name; use letters, digits and _, starting with a letter; known: base",
        ),
        (["check", "recipes/base.yaml"], "'recipes/base.yaml' is a file and no recipe's name; name the recipe: base"),
        (["check", "\x1b[31m"], "'\\x1b[31m' is no recipe name"),
    ],
)
def test_a_misspelt_recipe_is_told_what_was_meant(arguments, meant, write, monkeypatch, capsys):
    # a file of that name is there, and is refused: it must not be proposed
    monkeypatch.chdir(write({"recipes/my-net.yaml": "a: 1\n"}))
    code, _, err = run(capsys, *arguments)
    assert code == 2 and meant in err and "\x1b" not in err


def on_a_terminal(place, code, **variables):
    """What a Python program writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"PYTHONPATH": str(ROOT / "src"), **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=place, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the terminal's other end was closed
        while part := os.read(ours, 4096):
            said += part
    process.wait()
    os.close(ours)
    return said.decode()


def test_errors_are_coloured_on_a_terminal_that_can(write):
    place = write({"recipes/r.yaml": "stage: {}\n"})
    check = "from recast.pipeline.cli.main import main; main(['check'])"
    said = on_a_terminal(place, check, TERM="xterm")
    assert "\x1b[1;31mrecipes/r.yaml:1:1:\x1b[0m unknown key 'stage'" in said
    for variables in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        said = on_a_terminal(place, check, **variables)
        assert "recipes/r.yaml:1:1: unknown key 'stage'" in said and "\x1b" not in said


def test_dvc_leaves_no_escape_on_the_terminal(write):
    code = "import dvc.repo; from recast.pipeline.cli.main import main; main(['check', 'base'])"
    said = on_a_terminal(write({}), code, TERM="dumb")
    assert "base.yaml: sound" in said and "\x1b" not in said
    # it would: this is what the test looks for
    assert "\x1b" in on_a_terminal(write({}), "import dvc.repo; print('sound')", TERM="dumb")
