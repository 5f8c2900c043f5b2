"""Every way a recipe can be wrong gives one clear error with its place, exit code 2, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.cli.main import main

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in ["ab", "bc", "cd", "de", "ef", "fg"]
)
TAIL = "\nstages:\n  data: {dataset: digits}\ntargets:\n  akida: {}\n"
HEAD = "model: models.net:Net\n"
DATA = "stages:\n  data: {dataset: digits}\n"
TARGETS = "targets:\n  akida: {}\n"
TWO = "stages:\n  data:\n    dataset: npz\n    path: own.npz\n    inputs:\n      image: {}\n      meta: {}\n"

# name -> files, where, what it says
BROKEN: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    "empty file": ({"recipes/r.yaml": ""}, "r.yaml:1:1", "is empty"),
    "only a comment": ({"recipes/r.yaml": "# later\n"}, "r.yaml:1:1", "is empty"),
    "a list": ({"recipes/r.yaml": "- model\n"}, "r.yaml:1:1", "must be a mapping, not a list"),
    "plain text": ({"recipes/r.yaml": "digits\n"}, "r.yaml:1:1", "must be a mapping, not text"),
    "a number": ({"recipes/r.yaml": "42\n"}, "r.yaml:1:1", "must be a mapping, not a whole number"),
    "a tab": ({"recipes/r.yaml": "model: models.net:Net\nstages:\n\tdata: {}\n"}, "r.yaml:3:1", "a tab"),
    "an open bracket": ({"recipes/r.yaml": "stages: {data: {dataset: digits}\n"}, "r.yaml:2:1", "not valid YAML"),
    "a colon too many": ({"recipes/r.yaml": "model: a: b\n"}, "r.yaml:1:9", "not valid YAML"),
    "an unquoted colon, at which only DVC's reader stops": (
        {"recipes/r.yaml": "model: {name: models.net:Net, args: {}}\n" + DATA + TARGETS},
        "r.yaml:1:25",
        "quote text that holds a colon",
    ),
    "bad indentation": ({"recipes/r.yaml": "stages:\n  data: {}\n train: {}\n"}, "r.yaml:3:2", "not valid YAML"),
    "two documents": ({"recipes/r.yaml": "model: a\n---\nmodel: b\n"}, "r.yaml:2:1", "not valid YAML"),
    "not UTF-8": ({"recipes/r.yaml": b"model: \xff\xfe\n"}, "r.yaml:1:1", "not UTF-8"),
    "a NUL byte": ({"recipes/r.yaml": b"model: \x00\n"}, "r.yaml:1:", "not valid YAML"),
    "a duplicate key": ({"recipes/r.yaml": HEAD + HEAD + DATA + TARGETS}, "r.yaml:2:1", "duplicate key 'model'"),
    "a duplicate param": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {epochs: 1, epochs: 2}\n" + TARGETS},
        "r.yaml:4:22",
        "duplicate key 'epochs'",
    ),
    "an alias bomb": ({"recipes/r.yaml": BOMB}, "r.yaml:", "expands to more than"),
    "an alias of itself": ({"recipes/r.yaml": "stages: &s {data: *s}\n"}, "r.yaml:", "expands to more than"),
    "nested too deeply": ({"recipes/r.yaml": "a: " + "[" * 3000 + "]" * 3000 + "\n"}, "r.yaml:1:", ""),
    "an unknown alias": ({"recipes/r.yaml": "stages: *nowhere\n"}, "r.yaml:1:9", "not valid YAML"),
    "an anchor given twice": (
        {"recipes/r.yaml": "model: &a models.net:Net\nstages: &a {data: {dataset: digits}}\n"},
        "r.yaml:2:9",
        "an anchor that stands above already; give one of the two another name",
    ),
    "a directive": ({"recipes/r.yaml": "%YAML 1.1\n---\nstages: {}\n"}, "r.yaml:1:1", "recipes are YAML 1.2"),
    "a set": ({"recipes/r.yaml": "stages: !!set {data}\n"}, "r.yaml:1:9", "a value tagged !!set is not supported"),
    "null that is none": ({"recipes/r.yaml": "stages: !!null x\n"}, "r.yaml:1:9", "'x' cannot be read as !!null"),
    "an escape": ({"recipes/r.yaml": 'model: "\\e[31mred"\n'}, "r.yaml:1:8", "holds a control character"),
    "a merge key": ({"recipes/r.yaml": HEAD + "stages:\n  <<: {data: {}}\n" + TARGETS}, "r.yaml:3:3", "merge keys"),
    "a python tag": ({"recipes/r.yaml": "model: !!python/object/apply:os.system [ls]\n"}, "r.yaml:1:", ""),
    "a date": ({"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: 2026-01-01}\n" + TARGETS}, "r.yaml:3:", "date"),
    "a key that is a number": ({"recipes/r.yaml": "1: x\n"}, "r.yaml:1:1", "a key must be plain text"),
    "not a number": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {lr: .nan}\n" + TARGETS},
        "r.yaml:4:15",
        "no usable value",
    ),
    "an unknown key": (
        {"recipes/r.yaml": HEAD + "stage: {}\n" + DATA + TARGETS},
        "r.yaml:2:1",
        "did you mean 'stages'",
    ),
    "an unknown stage": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  trian: {}\n" + TARGETS},
        "r.yaml:4:3",
        "no trunk stage named 'trian'; did you mean 'train'?",
    ),
    "a target's stage in the trunk": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  quantize: {}\n" + TARGETS},
        "r.yaml:4:3",
        "belongs below the target",
    ),
    "an unknown target": (
        {"recipes/r.yaml": HEAD + DATA + "targets:\n  akita: {}\n"},
        "r.yaml:5:3",
        "no target named 'akita' in recipes/targets/; did you mean 'akida'?",
    ),
    "an unknown stage of a target": (
        {"recipes/r.yaml": HEAD + DATA + "targets:\n  akida:\n    quantise: {}\n"},
        "r.yaml:6:5",
        "did you mean 'quantize'?",
    ),
    "a target that is a path": (
        {"recipes/r.yaml": HEAD + DATA + "targets:\n  ../../etc: {}\n"},
        "r.yaml:5:3",
        "no plain name",
    ),
    "a target with a shell word": (
        {"recipes/r.yaml": HEAD + DATA + "targets:\n  '$(rm -rf x)': {}\n"},
        "r.yaml:5:3",
        "no plain name",
    ),
    "targets that are a list": (
        {"recipes/r.yaml": HEAD + DATA + "targets: [akida]\n"},
        "r.yaml:4:1",
        "must be a mapping",
    ),
    "stages that are text": ({"recipes/r.yaml": HEAD + "stages: all\n" + TARGETS}, "r.yaml:2:1", "must be a mapping"),
    "a stage that is a number": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: 3\n" + TARGETS},
        "r.yaml:4:3",
        "'train' must be a mapping, not 3; write 'train: {PARAM: value}', or 'train: {}' to take it as it is",
    ),
    "no targets": ({"recipes/r.yaml": HEAD + DATA}, "r.yaml:1:1", "has no target"),
    "no model": ({"recipes/r.yaml": DATA + TARGETS}, "r.yaml:1:1", "names no model"),
    "no dataset": ({"recipes/r.yaml": HEAD + TARGETS}, "r.yaml:1:1", "needs 'dataset'"),
    "an unknown dataset": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: mnits}\n" + TARGETS},
        "r.yaml:3:10",
        "'dataset' cannot be 'mnits'; did you mean 'mnist'?",
    ),
    "an unknown param": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {epoch: 3}\n" + TARGETS},
        "r.yaml:4:11",
        "did you mean 'epochs'?",
    ),
    "text for a number": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {epochs: ten}\n" + TARGETS},
        "r.yaml:4:11",
        "'epochs' must be a whole number of 1 or more, not text 'ten'; epochs is: passes over",
    ),
    "a quoted number": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {epochs: '3'}\n" + TARGETS},
        "r.yaml:4:11",
        "'epochs' must be a whole number of 1 or more, not text '3'; write it without quotes: 3",
    ),
    "true for a number": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {epochs: true}\n" + TARGETS},
        "r.yaml:4:11",
        "'epochs' must be a whole number of 1 or more, not true; epochs is: passes over",
    ),
    "a number out of range": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {epochs: -1}\n" + TARGETS},
        "r.yaml:4:11",
        "'epochs' must be a whole number of 1 or more, not -1; epochs is: passes over",
    ),
    "an unknown resource": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {resources: {cpus: 2}}\n" + TARGETS},
        "r.yaml:4:23",
        "did you mean 'cpu'?",
    ),
    "a model without a class": (
        {"recipes/r.yaml": "model: models.net\n" + DATA + TARGETS},
        "r.yaml:1:1",
        "must be 'module:Class'",
    ),
    "a model in no file": (
        {"recipes/r.yaml": "model: models.nets:Net\n" + DATA + TARGETS},
        "r.yaml:1:1",
        "models/nets.py, which does not exist; did you mean 'net'?",
    ),
    "a model the file lacks": (
        {"recipes/r.yaml": "model: models.net:Nett\n" + DATA + TARGETS},
        "r.yaml:1:1",
        "defines no 'Nett'; did you mean 'Net'?",
    ),
    "a model with a wrong argument type": (
        {"recipes/r.yaml": "model: {name: 'models.net:Net', args: 3}\n" + DATA + TARGETS},
        "r.yaml:1:33",
        "the model's 'args' must be a mapping of its arguments, not 3",
    ),
    "a model outside": (
        {"recipes/r.yaml": "model: ../x:Net\n" + DATA + TARGETS},
        "r.yaml:1:1",
        "must be 'module:Class'",
    ),
    "a model with an unknown key": (
        {"recipes/r.yaml": "model: {name: 'models.net:Net', arg: {}}\n" + DATA + TARGETS},
        "r.yaml:1:33",
        "'model' has no 'arg'; did you mean 'args'?",
    ),
    "a model that is a list": ({"recipes/r.yaml": "model: [a]\n" + DATA + TARGETS}, "r.yaml:1:1", "model"),
    "a model in a stage": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {model: 'a:B'}\n" + TARGETS},
        "r.yaml:4:11",
        "say it at the top",
    ),
    "missing weights": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {weights: w.safetensors}\n" + TARGETS},
        "r.yaml:4:11",
        "no such file or folder in the repository: 'w.safetensors'",
    ),
    "weights outside": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {weights: ../../w.pt}\n" + TARGETS},
        "r.yaml:4:11",
        "stays inside it",
    ),
    "absolute weights": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {weights: /etc/passwd}\n" + TARGETS},
        "r.yaml:4:11",
        "stays inside it",
    ),
    "an import without its file": (
        {"recipes/r.yaml": "stages:\n  data: {dataset: digits}\n  import: {path: m.onnx}\n" + TARGETS},
        "r.yaml:3:12",
        "no such file",
    ),
    "import beside train": (
        {"recipes/r.yaml": "stages:\n  data: {dataset: digits}\n  import: {path: m.onnx}\n  train: {}\n" + TARGETS},
        "r.yaml:4:3",
        "no stage 'train': it has 'import' instead",
    ),
    "a target that overrides what import replaced": (
        {
            "recipes/r.yaml": "stages:\n  data: {dataset: digits}\n  import: {path: m.onnx}\n"
            "targets:\n  akida:\n    export: {opset: 13}\n",
            "m.onnx": "x",
        },
        "r.yaml:6:5",
        "no stage 'export'",
    ),
    "a target that imports": (
        {"recipes/r.yaml": HEAD + DATA + "targets:\n  akida:\n    import: {path: nowhere.onnx}\n"},
        "r.yaml:6:5",
        "no stage 'import': it has 'train' and 'export' instead",
    ),
    "a part of a param missing": (
        {"recipes/r.yaml": HEAD + "stages:\n  data: {dataset: digits}\n  train: {early_stopping: {}}\n" + TARGETS},
        "r.yaml:4:11",
        "needs 'early_stopping.patience'; patience is: epochs without",
    ),
    "extends nothing there": (
        {"recipes/r.yaml": "extends: bass\n"},
        "r.yaml:1:1",
        "extends 'bass', but there is no recipes/bass.yaml; did you mean 'base'?",
    ),
    "isolated, but not said how": (
        {"recipes/r.yaml": "isolated: sometimes\n" + HEAD + DATA + TARGETS},
        "r.yaml:1:1",
        "'isolated' must be true or false",
    ),
    "extends a path": ({"recipes/r.yaml": "extends: ../base\n"}, "r.yaml:1:1", "must be the plain name of a recipe"),
    "extends itself": ({"recipes/r.yaml": "extends: r\n"}, "r.yaml:1:1", "extend each other: r → r"),
    "extends in a loop": (
        {"recipes/r.yaml": "extends: q\n", "recipes/q.yaml": "extends: p\n", "recipes/p.yaml": "extends: r\n"},
        ":1:1",
        "recipes extend each other",
    ),
    "a name that is no identifier": (
        {"recipes/my-net.yaml": HEAD + DATA + TARGETS},
        "my-net.yaml:1:1",
        "no plain name for a recipe",
    ),
    "a name with a space": ({"recipes/a b.yaml": HEAD + DATA + TARGETS}, "a b.yaml:1:1", "no plain name"),
    "a reserved name": ({"recipes/guard.yaml": HEAD + DATA + TARGETS}, "guard.yaml:1:1", "reserved"),
    "a yml file": ({"recipes/r.yml": HEAD + DATA + TARGETS}, "r.yml:1:1", "rename it to r.yaml"),
    "a target named as the trunk": (
        {
            "recipes/targets/train.yaml": "stages: {emit: {}}\n",
            "recipes/r.yaml": HEAD + DATA + "targets: {train: {}}\n",
        },
        "targets/train.yaml:1:1",
        "may not bear the trunk's name",
    ),
    "a target of unregistered stages": (
        {"recipes/targets/tpu.yaml": "stages:\n  emit: {}\n", "recipes/r.yaml": HEAD + DATA + "targets: {tpu: {}}\n"},
        "targets/tpu.yaml:2:3",
        "no registered stage named 'tpu.emit'",
    ),
    "a target without stages": (
        {"recipes/targets/tpu.yaml": "stages: {}\n", "recipes/r.yaml": HEAD + DATA + "targets: {tpu: {}}\n"},
        "targets/tpu.yaml:1:1",
        "at least one stage",
    ),
    "stages in a cycle": (
        {
            "recipes/targets/tpu.yaml": "uses:\n  calibrate: onnxruntime.calibrate\n  quantize: onnxruntime.emit\n"
            "stages:\n  quantize: {}\n  calibrate: {}\n",
            "recipes/r.yaml": HEAD + DATA + "targets: {tpu: {}}\n",
        },
        "targets/tpu.yaml:4:1",
        "stages read each other: ",
    ),
    "an input nobody makes": (
        {
            "recipes/targets/tpu.yaml": "uses: {verify: onnxruntime.verify}\nstages:\n  verify: {}\n",
            "recipes/r.yaml": HEAD + DATA + "targets: {tpu: {}}\n",
        },
        "targets/tpu.yaml:3:3",
        "stage 'verify' reads 'emit'",
    ),
    "a stage that uses a list": (
        {
            "recipes/targets/tpu.yaml": "uses: {verify: [onnxruntime.verify]}\nstages:\n  verify: {}\n",
            "recipes/r.yaml": HEAD + DATA + "targets: {tpu: {}}\n",
        },
        "targets/tpu.yaml:1:8",
        'no registered stage named ["onnxruntime.verify"]; did you mean',
    ),
    "defaults with an unknown key": (
        {"params.yaml": "stage: 0\n"},
        "params.yaml:1:1",
        "unknown key 'stage'; did you mean 'stages'?",
    ),
    "a wrong default": (
        {"params.yaml": "stages:\n  train: {seed: x}\n"},
        "params.yaml:2:11",
        "'seed' must be a whole number of 0 or more, not text 'x'; seed is: seed of",
    ),
    "a place for data from which programs are run": (
        {"params.yaml": "data_root: [downloads, .venv/lib/python3.11/site-packages]\n"},
        "params.yaml:1:1",
        "'data_root' may not lie in",
    ),
    "weights that are a program": (
        {
            "recipes/r.yaml": HEAD
            + "stages:\n  data: {dataset: digits}\n  train: {pretrained: net.py, url: 'http://x', sha256: '"
            + "0" * 64
            + "'}\n"
            + TARGETS
        },
        "r.yaml:4:11",
        "'pretrained' must be a file of weights, which ends in .safetensors, .pt,",
    ),
    "a wrong place for data": ({"params.yaml": "data_root: 3\n"}, "params.yaml:1:1", "must be a folder"),
    "two inputs for a target that takes one": (
        {"own.npz": "", "recipes/r.yaml": HEAD + TWO + "targets:\n  c: {}\n  wasm: {}\n  akida: {}\n"},
        "r.yaml:12:3",
        "the target akida holds models with 1 input, and data.inputs names 2 (image, meta): a model of akida is one "
        "chain of layers, from one input to one output; drop the target; c, onnxruntime, wasm can hold it",
    ),
    "two outputs for a target that gives one": (
        {
            "recipes/r.yaml": HEAD
            + "stages:\n  data: {dataset: digits}\n  export: {output_names: [a, b]}\n"
            + "targets: {onnxruntime: {}, ezkl: {}}\n"
        },
        "r.yaml:5:28",
        "the target ezkl holds models with 1 output, and export.output_names names 2 (a, b)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recipe_gives_a_clear_error(name, write, monkeypatch, capsys):
    files, where, message = BROKEN[name]
    monkeypatch.chdir(write(files))
    with pytest.raises(SystemExit) as exit:
        main(["check"])
    said = capsys.readouterr().err
    assert exit.value.code == 2, said
    assert where in said
    assert message in said
    assert "Traceback" not in said and "problem" in said


def test_the_table_reaches_what_the_issue_names():
    assert len(BROKEN) >= 40


def test_a_sound_repository_is_sound(write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    with pytest.raises(SystemExit) as exit:
        main(["check"])
    assert exit.value.code == 0
    assert "recipes/base.yaml: sound" in capsys.readouterr().out


def test_a_broken_base_is_reported_once_and_not_blamed_on_what_extends_it(write, monkeypatch, capsys):
    # a is read before its bases, z after: neither may be blamed
    extending = {
        "recipes/a.yaml": "extends: mine\n",
        "recipes/mine.yaml": "extends: base\n",
        "recipes/z.yaml": "extends: base\n",
    }
    files = {"recipes/base.yaml": "stage: {}\n", **extending}
    monkeypatch.chdir(write(files))
    with pytest.raises(SystemExit):
        main(["check"])
    said = capsys.readouterr().err
    assert "base.yaml:1:1: unknown key 'stage'" in said and "1 problem, nothing was run" in said


def test_all_errors_of_all_recipes_come_together(write, monkeypatch, capsys):
    broken = HEAD + "stages:\n  data: {dataset: digitz}\n  train: {epochs: x, lr: y}\n" + TARGETS
    monkeypatch.chdir(write({"recipes/r.yaml": broken, "recipes/s.yaml": "stage: {}\n"}))
    with pytest.raises(SystemExit):
        main(["check"])
    said = capsys.readouterr().err
    for place in ("r.yaml:3:10", "r.yaml:4:11", "r.yaml:4:22", "s.yaml:1:1"):
        assert place in said
    assert "4 problems, nothing was run" in said


@pytest.mark.parametrize("name", ["../secrets", "a;ls", "nowhere", ""])
def test_a_recipe_asked_for_by_a_bad_name_is_refused(name, write, monkeypatch, capsys):
    monkeypatch.chdir(write({}))
    with pytest.raises(SystemExit) as exit:
        main(["check", name])
    assert exit.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_outside_a_repository(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(["check"])
    assert exit.value.code == 2
    assert "change to your project" in capsys.readouterr().err
