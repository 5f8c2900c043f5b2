"""`recast blame`: the report of a target's parity."""

from __future__ import annotations

import json
import os

import pytest

from recast.pipeline.cli.blame import as_json, as_text, blame
from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.make_plan import make_plan

AKIDA = Address("base", "akida")


def numbers(db, error=0.25, **more):
    return {"max_abs_error": error, "relative_error": 0.1, "sqnr_db": db, "cosine": 0.99, **more}


def layer(name, after, alone, before=None, only=None, covers=()):
    return {
        "layer": name,
        "tensor": name,
        "operation": "Conv",
        "covers": list(covers),
        "before": before and numbers(before, 0.01),
        "after": numbers(after),
        "alone": alone and numbers(alone),
        "output_if_only_this": only and numbers(only, agreement=0.9 if only < 20 else 1.0),
    }


def conversion(before, after, db, layers, blamed=None, note=""):
    return {
        "from": before,
        "to": after,
        "kind": "int8",
        "samples": 64,
        "output": numbers(db, agreement=0.75),
        "blamed": blamed,
        "note": note,
        "layers": layers,
    }


FLOAT = conversion("exported", "simplified", 200.0, [layer("conv1", 200.0, 200.0), layer("fc", 200.0, 200.0, 200.0)])
INT8 = conversion(
    "simplified",
    "quantized",
    9.0,
    [
        layer("relu1", 40.0, 41.0, only=50.0, covers=["conv1"]),
        layer("relu2", 8.0, 7.5, before=40.0, only=12.0, covers=["conv2"]),
        layer("fc", 9.0, 39.0, before=8.0, only=44.0),
    ],
    blamed="conv2 + relu2",
)


@pytest.fixture
def place(write):
    root = write({})

    def put(conversions, folder="artifacts/base/akida/verify", age=0, **more):
        (root / folder).mkdir(parents=True, exist_ok=True)
        path = root / folder / "parity.json"
        path.write_text(
            conversions if isinstance(conversions, str) else json.dumps({"conversions": conversions, **more})
        )
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
        return root

    return put


def test_what_is_blamed_is_said_first_with_the_error_before_and_after(place):
    root = place([FLOAT, INT8])
    text = as_text(blame(root, make_plan(root), AKIDA))
    assert text.splitlines()[0] == (
        "base/akida: verify passed. The error jumps at conv2 + relu2, from the simplified to the quantized model: "
        "SQNR falls from 40.0 dB (largest error 0.01) to 8.0 dB (largest error 0.25). "
        "Given the right input it has 7.5 dB."
    )
    steps = [line.split() for line in text.splitlines() if line.endswith(("–", " conv2 + relu2"))]
    assert steps[0] == ["exported", "→", "simplified", "0.25", "exact", "0.990000", "75.00%", "64", "–"]
    assert steps[1][3:] == ["0.25", "9.0", "dB", "0.990000", "75.00%", "64", "conv2", "+", "relu2"]
    assert [line for line in text.splitlines() if line.endswith("← jumps here")] == [
        "  conv2 + relu2   8.0 dB   7.5 dB           0.25  0.990000  ████████████████████████ 39.8 % ← jumps here"
    ]
    bars = {line.split("  ")[1]: line.split("  ")[-1] for line in text.splitlines() if "█" in line and "dB" in line}
    assert bars["conv1 + relu1"] == "█ 1 %" and bars["fc"] == "█░░░░░░░░░░░░░░░░░░░░ 35.5 %"
    assert "Plot: dvc plots show -t error_by_layer -x layer -y relative_error artifacts/base/akida/verify/" in text


def test_layers_are_ranked_by_what_they_cost_the_output(place):
    root = place([FLOAT, INT8])
    report = blame(root, make_plan(root), AKIDA)
    text = as_text(report)
    ranking = text[text.index("What costs most") :].splitlines()
    assert ranking[0] == "What costs most: the output if this layer alone is quantized."
    assert [line.split("  ")[1] for line in ranking[3:6]] == ["conv2 + relu2", "fc", "conv1 + relu1"]
    document = json.loads(as_json(report))
    assert document["ranking"] == ["conv2 + relu2", "fc", "conv1 + relu1"]
    assert document["blamed"] == {"layer": "conv2 + relu2", "from": "simplified", "to": "quantized"}
    assert document["conversions"] == [FLOAT, INT8]


def test_without_that_they_are_ranked_by_their_own_error(place):
    layers = [layer("a", 40.0, 41.0), layer("b", 30.0, None, before=40.0), layer("c", 35.0, 38.0, before=30.0)]
    root = place([conversion("simplified", "quantized", 35.0, layers)])
    report = blame(root, make_plan(root), AKIDA)
    assert json.loads(as_json(report))["ranking"] == ["b", "c", "a"]
    text = as_text(report)
    assert text.startswith("base/akida: verify passed. No layer's error jumps.")
    assert "What costs most, by the layer's own SQNR:" in text


def test_what_verify_measured_and_no_layer_explains_is_said(place):
    emitted = conversion(
        "quantized", "emitted", 12.0, [layer("conv1", 60.0, 60.0), layer("fc", 55.0, 60.0, before=60.0)]
    )
    emitted["remainder"] = numbers(12.5, 6.3)
    measured = {"samples": 64, **numbers(11.0, 6.3), "agreement": 0.95, "worst_sample": 20}
    root = place(
        [FLOAT, emitted],
        forms={"exported": "onnxruntime", "simplified": "onnxruntime", "emitted": "the chip"},
        verify={"compared": measured, "all": {**measured, "samples": 360, "worst_sample": 213}},
        unexplained=["The layers of the emitted model do not account for its output."],
        cpu="x86-64, AVX2 without VNNI",
    )
    report = blame(root, make_plan(root), AKIDA)
    text = as_text(report, "x86-64, AVX-512 with VNNI")
    lines = text.splitlines()
    assert lines[0] == "base/akida: verify passed. No layer's error jumps."
    assert lines[2] == "The layers of the emitted model do not account for its output."
    rows = {line.split("  ")[1]: line.split() for line in lines if line.startswith("  ")}
    assert rows["quantized → emitted"][3:6] == ["0.25", "12.0", "dB"]
    assert rows["its layers → emitted as a whole"][7:] == ["6.3", "12.5", "dB", "0.990000", "64", "–"]
    assert rows["compared by layer (64)"][4:] == ["6.3", "11.0", "dB", "95.00%", "20"]
    assert rows["all (360)"][2:] == ["6.3", "11.0", "dB", "95.00%", "213"]
    assert "  exported, simplified  onnxruntime" in lines and "  emitted               the chip" in lines
    assert (
        "These figures were measured on x86-64, AVX2 without VNNI, and this machine is x86-64, AVX-512 with VNNI: see "
        "'Kinds of CPU' in docs/parity.md."
    ) in lines
    document = json.loads(as_json(report, "x86-64, AVX2 without VNNI"))
    assert document["cpu"] == {"measured_on": report.cpu, "this_machine": report.cpu}
    assert document["unexplained"] == list(report.unexplained) and document["verify"]["all"]["worst_sample"] == 213


def test_several_outputs_are_shown_one_by_one(place):
    measured = {"samples": 64, **numbers(11.0, 6.3), "agreement": 0.5, "worst_sample": 20}
    outputs = {"scores": numbers(30.0, 0.5, agreement=1.0), "place": {"agreement": 0.5}}
    root = place([FLOAT, INT8], verify={"compared": measured, "all": measured}, outputs=outputs)
    report = blame(root, make_plan(root), AKIDA)
    lines = as_text(report).splitlines()
    start = lines.index("Of each output, on all of them:")
    rows = [line.split() for line in lines[start + 2 : start + 5]]
    assert rows[1:] == [["scores", "0.5", "30.0", "dB", "100.00%"], ["place", "–", "–", "50.00%"]]
    assert json.loads(as_json(report))["outputs"] == outputs


def test_a_layer_whose_integers_jump_is_said_to_by_how_many_steps(place):
    wrong = layer("conv1", 17.0, 17.0, before=200.0) | {"alone_steps": 128.0}
    root = place(
        [conversion("quantized", "emitted", 17.0, [wrong, layer("fc", 17.0, 200.0, before=17.0)], blamed="conv1")]
    )
    text = as_text(blame(root, make_plan(root), AKIDA))
    assert text.splitlines()[0].endswith("Given the right input it has 17.0 dB, and an integer is up to 128 steps off.")
    # what loses nothing costs nothing
    assert text[text.index("What costs most") :].splitlines()[2:4] == ["  layer  alone", "  conv1  17.0 dB"]


def test_the_report_of_a_failed_run_is_read_if_it_is_newer(place):
    place([FLOAT], age=100)
    root = place([FLOAT, INT8], ".recast/failed/base-akida-verify")
    report = blame(root, make_plan(root), AKIDA)
    assert report.failed and report.report == ".recast/failed/base-akida-verify/parity.json"
    text = as_text(report)
    assert text.startswith("base/akida: verify failed. The error jumps at conv2 + relu2")
    # DVC knows nothing of that file
    assert "dvc plots" not in text and ".recast/failed/base-akida-verify/error_by_layer.csv" in text
    place([FLOAT], age=-100)
    assert not blame(root, make_plan(root), AKIDA).failed


def test_a_runtime_that_shows_its_output_only(place):
    root = place(
        [FLOAT, conversion("simplified", "emitted", 30.0, [layer("scores", 30.0, None)], note="no such tensor")]
    )
    text = as_text(blame(root, make_plan(root), AKIDA))
    assert "Of emitted the runtime shows the output only." in text
    assert "simplified → emitted: no such tensor" in text


def test_what_is_missing_or_damaged_is_refused(place):
    root = place("{")
    plan = make_plan(root)
    with pytest.raises(RecastError, match=r"cannot read artifacts/base/akida/verify/parity\.json"):
        blame(root, plan, AKIDA)
    place({"no": "conversions"})
    with pytest.raises(RecastError, match=r"run 'recast run base --target akida --force'"):
        blame(root, plan, AKIDA)
    (root / "artifacts/base/akida/verify/parity.json").unlink()
    with pytest.raises(RecastError, match=r"base/akida/verify has written no parity\.json yet"):
        blame(root, plan, AKIDA)
