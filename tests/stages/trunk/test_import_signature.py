# environment: onnx
"""Several inputs and outputs, of every type, through import, simplify and the int8 of onnxruntime."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common import dataset, reference
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.cairo import quantize as of_cairo
from recast.stages.targets.onnxruntime import calibrate, emit, quantize, verify
from recast.stages.targets.onnxruntime.runtime import predictor
from recast.stages.trunk import data, import_onnx, simplify
from tests.lib.onnx_models import Workplace
from tests.lib.signatures import INPUTS, many, write_npz

NAMES = list(INPUTS)


def imported(root: Path, model: Any, task: Any = "none", inputs: Any = None, **arrays: Any) -> Workplace:
    """What `data` and `import` make of it."""
    work = Workplace(root)
    npz = write_npz(root / "own.npz", **arrays)
    onnx.save(model, root / "given.onnx")
    given = {"task": task, "validation_fraction": 0, "inputs": INPUTS if inputs is None else inputs}
    work.run(data.STAGE, "data", {"path": npz}, dataset="npz", path="own.npz", **given)
    work.run(import_onnx.STAGE, "export", {"path": root / "given.onnx"}, path="given.onnx", task=task)
    return work


def refusal(root: Path, *args: Any, **options: Any) -> str:
    with pytest.raises(StageError) as caught:
        imported(root, *args, **options)
    return f"{caught.value.message} | {caught.value.remedy}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A recipe of that model, run to its end; the folder, and what verify measured."""
    work = imported(tmp_path_factory.mktemp("many"), many())
    for stage, name in (
        (simplify.STAGE, "simplify"),
        (quantize.STAGE, "quantize"),
        (calibrate.STAGE, "calibrate"),
        (emit.STAGE, "emit"),
    ):
        work.run(stage, name)
    return work.root, work.run(verify.STAGE, "verify", task="none", min_agreement=0.8)


def test_every_type_of_input_is_stored_and_given_as_it_is_taken(whole: tuple[Path, Any]) -> None:
    root, _ = whole
    contract = dataset.read_contract(root / "data")
    assert contract.names == NAMES
    assert [one.dtype for one in contract.inputs] == ["float32", "int64", "bool", "float16", "uint8"]
    taken, _ = dataset.read_taken(root / "data", "test")
    assert [str(one.dtype) for one in taken.arrays.values()] == [one.dtype for one in contract.inputs]
    given, made = reference.read(root / "export" / reference.FILE)
    assert set(given.arrays) == set(NAMES) and made.arrays["class"].dtype == np.int64
    again = onnx_files.Session(root / "simplify" / "model.onnx", 1).run(given)
    assert all(np.allclose(again.arrays[name], made.arrays[name], rtol=1e-4) for name in made.arrays)


def test_the_int8_model_is_compared_output_by_output(whole: tuple[Path, Any]) -> None:
    root, metrics = whole
    found = json.loads((root / "verify" / "parity.json").read_text())
    assert set(found["outputs"]) == {"scores", "class", "energy"}
    assert metrics["agreement"] == min(one["agreement"] for one in found["outputs"].values())
    floats = [found["outputs"][name] for name in ("scores", "energy")]
    assert metrics["sqnr_db"] == pytest.approx(min(one["sqnr_db"] for one in floats), rel=1e-3)
    assert "sqnr_db" not in found["outputs"]["class"]  # whole numbers have no distance
    assert [one["to"] for one in found["conversions"]] == ["simplified", "prepared", "quantized", "emitted"]
    for one in found["conversions"]:
        assert {"scores", "energy", "class"} <= {layer["tensor"] for layer in one["layers"]}
        assert one["blamed"] is None and one["note"] == ""


def test_the_emitted_folder_says_all_that_its_user_needs(whole: tuple[Path, Any]) -> None:
    """The README's own code runs, and gives what the pipeline's predictor gives."""
    root, _ = whole
    contract = json.loads((root / "emit" / "input.json").read_text())
    assert [one["tensor"] for one in contract["inputs"]] == NAMES
    assert [(one["name"], one["shape"], one["dtype"]) for one in contract["outputs"]] == [
        ("scores", [4], "float32"),
        ("class", [], "int64"),
        ("energy", [], "float32"),
    ]
    readme = (root / "emit" / "README.md").read_text()
    assert "| input | `half` | float16 | (N, 8) |" in readme and "| output | `class` | int64 | (N) |" in readme
    code = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
    code += "\nprint(json.dumps([float(value) for value in outputs[0]]))\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=root / "emit", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stored = dataset.read_samples(root / "data", "test")[0][:1]
    zeros = type(stored)({name: np.zeros_like(array) for name, array in stored.arrays.items()})
    expected = predictor(root / "emit", 1)(zeros).arrays["scores"][0]  # type: ignore[union-attr]
    assert np.allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-6)


def test_a_damaged_output_is_blamed_by_its_name(whole: tuple[Path, Any], tmp_path: Path) -> None:
    root, _ = whole
    for name in ("data", "export", "simplify", "quantize", "calibrate", "emit"):
        shutil.copytree(root / name, tmp_path / name)
    model = onnx.load(tmp_path / "emit" / "model.onnx")
    (weight,) = (one for one in model.graph.node if "energy" in one.output)
    weight.op_type = "ReduceMax"
    onnx.save(model, tmp_path / "emit" / "model.onnx")
    with pytest.raises(StageError) as caught:
        Workplace(tmp_path).run(verify.STAGE, "verify", task="none")
    assert "of the output 'energy' is below min_agreement" in caught.value.message
    assert "the error jumps at layer energy (quantized → emitted)" in caught.value.message


def test_a_fixed_batch_and_names_that_differ(tmp_path: Path) -> None:
    """Where no input is named as the data name theirs, their order counts, if shapes and types fit."""
    work = imported(tmp_path, many(4, names=("a", "b", "c", "d", "e")))
    given, _ = reference.read(tmp_path / "export" / reference.FILE)
    assert sorted(given.arrays) == ["a", "b", "c", "d", "e"]
    assert work.run(simplify.STAGE, "simplify")["max_abs_error"] < 1e-5
    for stage, name in ((quantize.STAGE, "quantize"), (calibrate.STAGE, "calibrate"), (emit.STAGE, "emit")):
        work.run(stage, name)
    assert work.run(verify.STAGE, "verify", task="none", min_agreement=0.8)["samples"] == 19
    emitted = dataset.read_contract(tmp_path / "emit")
    assert [(one.name, one.tensor) for one in emitted.inputs][:2] == [("image", "a"), ("ids", "b")]


def test_a_task_reads_the_output_it_names(tmp_path: Path) -> None:
    model = many()
    del model.graph.output[1]
    work = imported(tmp_path, model, {"name": "classification", "output": "scores"})
    assert json.loads((work.root / "data" / "input.json").read_text())["task"]["output"] == "scores"


@pytest.mark.parametrize(
    ("task", "inputs", "arrays", "said"),
    [
        ("classification", None, {}, "gives int64 outputs as 'class' | export it without its last step"),
        (
            {"name": "none", "output": 7},
            None,
            {},
            "task.output is 7, and the model's outputs are scores, class",
        ),
        (
            "none",
            INPUTS | {"half": {}},
            {},
            "'half' of given.onnx is float16, and the data gives float32 as half",
        ),
        ("none", INPUTS | {"half": {}}, {}, "set data.inputs.half.dtype to float16"),
        ("none", INPUTS | {"octets": {}}, {}, "set data.inputs.octets.dtype to uint8"),
        ("none", {"image": {}, "ids": {}}, {}, "has 5 inputs (image, ids, mask, half, octets), and the data have 2"),
        ("none", INPUTS, {"octets": None}, "own.npz holds half, ids, image, mask, y, and none for the input octets"),
        ("none", INPUTS, {"ids": np.zeros((9, 3), int)}, "own.npz: image has 96 samples, ids 9 | give one of each"),
        ("none", INPUTS, {"ids": np.zeros((96, 4), int)}, "takes samples of shape (3), but npz has (4,) as ids"),
        ("none", INPUTS | {"ids": {"mean": 1}}, {}, "drop data.inputs.ids.mean"),
        (
            "none",
            INPUTS | {"half": {"dtype": "uint8"}},
            {},
            "as float32, and data.inputs.half.dtype is uint8",
        ),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, task: Any, inputs: Any, arrays: Any, said: str) -> None:
    assert said in refusal(tmp_path, many(), task, inputs, **arrays)


def test_names_that_are_partly_alike_are_not_guessed(tmp_path: Path) -> None:
    said = refusal(tmp_path, many(names=("image", "b", "c", "d", "e")))
    assert "given.onnx takes 5 inputs (image, b, c, d, e), and is given image, ids, mask, half, octets" in said


def test_whole_numbers_that_simplifying_changes_are_refused(whole: tuple[Path, Any], tmp_path: Path) -> None:
    root, _ = whole
    shutil.copytree(root / "export", tmp_path / "export")
    given, made = reference.read(tmp_path / "export" / reference.FILE)
    made.arrays["class"][0] += 1
    reference.write(tmp_path / "export" / reference.FILE, given, made)
    with pytest.raises(StageError, match="differs from the exporter's reference output in class by 1, more than 0"):
        Workplace(tmp_path).run(simplify.STAGE, "simplify")


def test_other_targets_say_that_they_take_one(whole: tuple[Path, Any], tmp_path: Path) -> None:
    shutil.copytree(whole[0] / "simplify", tmp_path / "simplify")
    with pytest.raises(StageError) as caught:
        Workplace(tmp_path).run(of_cairo.STAGE, "quantize")
    assert "has 5 inputs (image, ids, mask, half, octets), and this target runs" in str(caught.value)
    assert "choose the target onnxruntime, which takes several inputs" in caught.value.remedy
    with pytest.raises(StageError, match="the model takes 5 inputs"):
        dataset.read(whole[0] / "data", "test")


@pytest.mark.parametrize("name", ["y", "classes", "image_test", ""])
def test_names_of_other_arrays_are_no_inputs(name: str) -> None:
    with pytest.raises(ValueError, match=f"cannot hold '{name}'"):
        data.DataParams(dataset="npz", path="own.npz", inputs={name: {}})


def test_preparation_is_said_once() -> None:
    with pytest.raises(ValueError, match="move `mean` there"):
        data.DataParams(dataset="npz", path="own.npz", mean=0.5, inputs={"image": {}})
    with pytest.raises(ValueError, match="`inputs` is for npz"):
        data.DataParams(dataset="digits", inputs={"image": {}})
