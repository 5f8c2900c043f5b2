# environment: onnx
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.trunk import simplify
from tests.lib.onnx_models import Workplace, cnn, cnn_nodes, cnn_weights, contents, initializer, model, write_data
from tests.lib.onnx_models import write_export as export


def workplace(root: Path, exported: Any) -> Workplace:
    export(root / "export", exported, write_data(root / "data"))
    return Workplace(root)


def with_constants(opset: int = 18) -> Any:
    """cnn() with a bias that is a sum of constants, which a simplifier folds."""
    import onnx

    nodes, weights = cnn_nodes(), cnn_weights()
    nodes[-1].input[2] = "sum"
    nodes.insert(0, onnx.helper.make_node("Add", ["head.bias", "head.bias"], ["sum"], "node_sum"))
    return model(nodes, weights, opset=opset)


@pytest.mark.parametrize("tool", ["onnxsim", "onnxslim"])
def test_folds_constants_and_keeps_what_it_computes(tmp_path: Path, tool: str) -> None:
    work = workplace(tmp_path, with_constants())
    metrics = work.run(simplify.STAGE, "simplify", tool=tool)
    assert (metrics["nodes_before"], metrics["nodes"]) == (6, 5)
    assert metrics["opset"] == 18
    assert metrics["max_abs_error"] < 1e-5
    simplified = onnx_files.read_model(tmp_path / "simplify" / "model.onnx")
    assert onnx_files.only_input(simplified, "it").shape == (None, 1, 8, 8)
    assert not [entry.key for entry in simplified.metadata_props]
    attributes = [attribute.name for node in simplified.graph.node for attribute in node.attribute]
    assert "allowzero" not in attributes


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        workplace(root, with_constants()).run(simplify.STAGE, "simplify")
    assert contents(tmp_path / "a" / "simplify") == contents(tmp_path / "b" / "simplify")


def test_a_fixed_batch_is_checked_too(tmp_path: Path) -> None:
    assert workplace(tmp_path, cnn(batch=3)).run(simplify.STAGE, "simplify")["max_abs_error"] < 1e-5


def test_converts_opset_and_ir_version(tmp_path: Path) -> None:
    metrics = workplace(tmp_path, cnn(opset=13)).run(simplify.STAGE, "simplify", opset=18, ir_version=9)
    assert (metrics["opset"], metrics["ir_version"]) == (18, 9)


def test_the_last_versions_are_those_that_onnxruntime_reads() -> None:
    def load(opset: int, ir_version: int) -> None:
        values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
        graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
        imports = [onnx.helper.make_opsetid("", opset)]
        onnxruntime.InferenceSession(
            onnx.helper.make_model(graph, opset_imports=imports, ir_version=ir_version).SerializeToString()
        )

    last = (simplify.LAST_OPSET, simplify.LAST_IR_VERSION)
    load(*last)
    for later in ((last[0] + 1, last[1]), (last[0], last[1] + 1)):
        with pytest.raises(Exception, match=r"opset|IR version"):
            load(*later)
    for params in ({"opset": last[0] + 1}, {"ir_version": last[1] + 1}):
        with pytest.raises(ValidationError, match="less than or equal to"):
            simplify.SimplifyParams(**params)


def test_old_ir_versions_list_weights_as_inputs(tmp_path: Path) -> None:
    import onnx

    nodes = cnn_nodes()
    nodes[3] = onnx.helper.make_node("Flatten", ["pooled"], ["flat"], "node_flatten")
    weights = [weight for weight in cnn_weights() if weight.name != "flat_shape"]
    work = workplace(tmp_path, model(nodes, weights, opset=7))
    assert work.run(simplify.STAGE, "simplify", ir_version=3)["ir_version"] == 3
    simplified = onnx_files.read_model(tmp_path / "simplify" / "model.onnx")
    assert len(simplified.graph.input) == 5
    assert onnx_files.only_input(simplified, "it").name == "image"


def test_a_conversion_that_fails_says_to_export_at_that_opset(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="cannot simplify and convert the model to opset 12") as caught:
        workplace(tmp_path, cnn()).run(simplify.STAGE, "simplify", opset=12)
    assert "set export.opset to 12" in caught.value.remedy


def test_an_ir_version_too_old_for_the_opset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="opset 18 needs IR version 8 or later, not 4"):
        workplace(tmp_path, cnn()).run(simplify.STAGE, "simplify", ir_version=4)


def test_a_result_that_differs_from_the_reference_is_refused(tmp_path: Path) -> None:
    import onnx

    work = workplace(tmp_path, cnn())
    weights = cnn_weights()
    weights[-1] = initializer("head.bias", [0.5, 0, 0, 0])
    onnx.save(model(cnn_nodes(), weights), tmp_path / "export" / "model.onnx")
    with pytest.raises(StageError, match=r"differs from the exporter's reference output by 0\.5"):
        work.run(simplify.STAGE, "simplify")


def test_nan_is_refused(tmp_path: Path) -> None:
    weights = cnn_weights()
    weights[-1] = initializer("head.bias", [np.nan, 0, 0, 0])
    with pytest.raises(StageError, match="gives NaN or infinity"):
        workplace(tmp_path, model(cnn_nodes(), weights)).run(simplify.STAGE, "simplify")


def test_a_missing_reference_is_refused(tmp_path: Path) -> None:
    work = workplace(tmp_path, cnn())
    (tmp_path / "export" / "reference.safetensors").unlink()
    with pytest.raises(StageError, match="cannot read the reference outputs") as caught:
        work.run(simplify.STAGE, "simplify")
    assert caught.value.remedy == "run the recipe again, which makes it anew"


def test_a_crash_of_the_tool_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(simplify.simplify_process, "__file__", str(crash))
    with pytest.raises(StageError, match=r"onnxsim crashed \(signal 11\)") as caught:
        workplace(tmp_path, cnn()).run(simplify.STAGE, "simplify")
    assert caught.value.remedy == "try simplify.tool: onnxslim"


def test_a_tool_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = tmp_path / "hang.py"
    hang.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(simplify.simplify_process, "__file__", str(hang))
    with pytest.raises(StageError, match="did not finish within 1 s"):
        workplace(tmp_path, cnn()).run(simplify.STAGE, "simplify", timeout_seconds=1)


def test_planning_needs_no_vendor_package() -> None:
    modules = "trunk.simplify trunk.import_onnx targets.onnxruntime.verify targets.akida.verify targets.akida.quantize"
    code = (
        "import sys\n"
        "for name in ('numpy', 'onnx', 'onnxruntime', 'akida', 'quantizeml', 'safetensors'): sys.modules[name] = None\n"
        f"for name in {modules.split()}: __import__(f'recast.stages.{{name}}')\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


FAULTY = """
import sys
import onnx
tool, source, destination, *_ = sys.argv[1:]
changed = onnx.load(source)
next(node for node in changed.graph.node if node.op_type == "Relu").op_type = "Neg"
onnx.save(changed, destination)
"""


def test_a_simplifier_that_changes_a_layer_is_told_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = tmp_path / "faulty.py"
    faulty.write_text(FAULTY)
    monkeypatch.setattr(simplify.simplify_process, "__file__", str(faulty))
    with pytest.raises(StageError, match=r"the error jumps at layer positive \(exported → simplified\)") as caught:
        workplace(tmp_path, cnn()).run(simplify.STAGE, "simplify")
    assert "given the right input it has -6.0 dB" in caught.value.message


def test_a_model_that_never_was_what_pytorch_computed_blames_no_layer_of_the_simplifier(tmp_path: Path) -> None:
    import onnx

    work = workplace(tmp_path, cnn())
    weights = cnn_weights()
    weights[-1] = initializer("head.bias", [0.5, 0, 0, 0])
    onnx.save(model(cnn_nodes(), weights), tmp_path / "export" / "model.onnx")
    with pytest.raises(StageError) as caught:
        work.run(simplify.STAGE, "simplify")
    assert "layer" not in caught.value.message


@pytest.mark.parametrize("tool", ["onnxsim", "onnxslim"])
@pytest.mark.parametrize("ir_version", [3, 8])
def test_weights_that_are_listed_as_inputs_are_constants(tmp_path: Path, tool: str, ir_version: int) -> None:
    """IR 3 demands the list, and keeps it; later ones may have it."""
    import onnx

    exported = cnn(opset=8)
    exported.ir_version = ir_version
    exported.graph.input.extend(
        onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in exported.graph.initializer
    )
    metrics = workplace(tmp_path, exported).run(simplify.STAGE, "simplify", tool=tool)
    assert metrics["ir_version"] == ir_version
    made = onnx_files.read_model(tmp_path / "simplify" / "model.onnx")
    assert len(made.graph.input) == (1 if ir_version == 8 else 1 + len(made.graph.initializer))


def test_an_ir_version_below_that_of_the_operator_set_is_kept(tmp_path: Path) -> None:
    exported = cnn(opset=12)
    exported.ir_version = 6  # ONNX 1.7, the first with operator set 12, has 7
    assert workplace(tmp_path, exported).run(simplify.STAGE, "simplify")["ir_version"] == 6
