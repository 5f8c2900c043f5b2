# environment: torch
from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file

from recast.stages.base import Inputs, Metrics, ModelReference, ProjectCode, StageError
from recast.stages.common.dataset import read
from recast.stages.common.torch_models.model_class import build_model
from recast.stages.common.torch_models.weights import write_weights
from recast.stages.parity import activations, layer_names
from recast.stages.trunk import export
from recast.stages.trunk.export import KEPT_METADATA, LAST_OPSET, LAST_TORCHSCRIPT_OPSET, STAGE, ExportParams, strip
from tests.lib import own_models
from tests.lib.contracts import contract as contract_of

NETS = """
import torch
from torch import nn

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
    def forward(self, x):
        return self.fc(x.reshape(int(x.shape[0]), 784))

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
    def forward(self, x):
        x = x.flatten(1)
        return self.fc(x if x.mean() > 0 else -x)

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)

class Svd(Flat):
    def forward(self, x):
        return self.fc(torch.linalg.svd(x)[0].flatten(1))

class Folded(nn.Module):
    def forward(self, x):
        return nn.functional.fold(nn.functional.unfold(x, 2, stride=2), (28, 28), 2, stride=2)

class Fold(Flat):
    def __init__(self):
        super().__init__()
        self.fold = Folded()
    def forward(self, x):
        return self.fc(self.fold(x).flatten(1))

class Scripted(Flat):
    def __init__(self):
        super().__init__()
        self.scripted = torch.jit.script(nn.ReLU())
    def forward(self, x):
        return self.fc(self.scripted(x).flatten(1))

class InPlace(Flat):
    def forward(self, x):
        x.mul_(2)
        return self.fc(x.flatten(1))

class ByNumpy(Flat):
    def forward(self, x):
        return self.fc(torch.from_numpy(x.detach().numpy() * 2).flatten(1))

class Log(Flat):
    def forward(self, x):
        return torch.log(self.fc(x.flatten(1)) - 1e9)
"""

DIGITS, MNIST = "models.digits_cnn:DigitsCnn", "models.mnist_cnn:MnistCnn"


def write_inputs(root: Path, model: str, stored: int = 12) -> Inputs:
    data, train = root / "data", root / "train"
    data.mkdir(parents=True)
    train.mkdir()
    x = np.random.default_rng(0).integers(0, 256, (stored, 1, 28, 28)).astype(np.uint8)
    np.savez(data / "calibration.npz", x=x, y=np.zeros(stored, np.int64))
    classes = tuple(str(digit) for digit in range(10))
    contract_of("own", (1, 28, 28), "uint8", 255.0, (0.5,), (0.5,), classes).write(data)
    torch.manual_seed(0)
    write_weights(build_model(ModelReference(name=model), ProjectCode()), train / "model.safetensors")
    return Inputs({"data": data, "train": train}, scratch=root)


def run(root: Path, model: str = DIGITS, stored: int = 12, **params: Any) -> tuple[Metrics, Path]:
    inputs = write_inputs(root, model, stored)
    out = root / "export"
    out.mkdir()
    return STAGE.run(ExportParams(model={"name": model}, **params), inputs, out), out


def refused(root: Path, model: str = DIGITS, **params: Any) -> str:
    with pytest.raises(StageError) as caught:
        run(root, model, **params)
    assert caught.value.remedy
    return f"{caught.value.message} | {caught.value.remedy}"


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return own_models.lay(tmp_path, NETS, monkeypatch)


@pytest.mark.parametrize(
    ("model", "opset", "exporter"),
    [(DIGITS, 18, "dynamo"), (MNIST, 18, "dynamo"), (DIGITS, 20, "dynamo"), (DIGITS, 12, "torchscript"),
     (MNIST, 12, "torchscript"), (DIGITS, 7, "torchscript")],
)  # fmt: skip
def test_the_opset_asked_for_comes_out_and_computes_the_same(
    tmp_path: Path, model: str, opset: int, exporter: str
) -> None:
    metrics, out = run(tmp_path, model, opset=opset)
    assert metrics["exporter"] == exporter and metrics["opset"] == opset and 0 < metrics["max_abs_error"] < 1e-5
    written = ["activations.safetensors", "layers.json", "model.onnx", "reference.safetensors"]
    assert sorted(file.name for file in out.iterdir()) == written
    proto = onnx.load(out / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert [entry.version for entry in proto.opset_import] == [opset]
    assert metrics["nodes"] == len(proto.graph.node) and metrics["ir_version"] == proto.ir_version
    assert not any(node.op_type == "Dropout" for node in proto.graph.node)
    batches = [value.type.tensor_type.shape.dim[0].dim_param for value in (proto.graph.input[0], proto.graph.output[0])]
    assert batches == ["batch", "batch"]

    reference = load_file(out / "reference.safetensors")
    samples, _ = read(tmp_path / "data", "calibration")
    assert reference["input"].dtype == reference["output"].dtype == np.float32
    assert (reference["input"] == samples[:8]).all() and reference["output"].shape == (8, 10)
    session = onnxruntime.InferenceSession(out / "model.onnx")
    found = session.run(["output"], {"input": reference["input"][:3]})[0]
    np.testing.assert_allclose(found, reference["output"][:3], atol=1e-5)


def test_the_older_exporter_can_be_chosen_for_opset_18(tmp_path: Path) -> None:
    metrics, _ = run(tmp_path, opset=18, exporter="torchscript")
    assert metrics["exporter"] == "torchscript" and metrics["opset"] == 18


@pytest.mark.parametrize("opset", [12, 18])
def test_names_a_fixed_batch_and_the_number_of_samples(tmp_path: Path, opset: int) -> None:
    names = {"input_names": ["image"], "output_names": ["scores"]}
    _, out = run(tmp_path, opset=opset, dynamic_batch=False, samples=3, **names)
    graph = onnx.load(out / "model.onnx").graph
    assert (graph.input[0].name, graph.output[0].name) == ("image", "scores")
    assert [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == [1, 1, 28, 28]
    assert len(load_file(out / "reference.safetensors")["input"]) == 3


def test_the_same_bytes_come_out_of_two_clones(tmp_path: Path) -> None:
    """Two processes, each with its own copy of the code and its inputs under another path."""
    repository = Path(__file__).resolve().parents[3]
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from recast.stages.base import Inputs
        from recast.stages.trunk.export import STAGE, ExportParams
        root = Path(sys.argv[1])
        inputs = Inputs({"data": root / "data", "train": root / "train"}, scratch=root)
        for opset in (12, 18):
            params = ExportParams(model={"name": "models.digits_cnn:DigitsCnn"}, opset=opset)
            (root / f"export/{opset}").mkdir(parents=True)
            STAGE.run(params, inputs, root / f"export/{opset}")
    """)
    found = []
    for clone in (tmp_path / "one", tmp_path / "another/deeper"):
        write_inputs(clone, DIGITS)
        for folder in ("src", "stages", "models"):
            shutil.copytree(repository / folder, clone / folder, symlinks=True)
        command = [sys.executable, "-c", script, str(clone)]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(clone / "src"), str(clone)])}
        subprocess.run(command, cwd=clone, check=True, capture_output=True, env=variables)
        found.append({file.relative_to(clone): file.read_bytes() for file in sorted((clone / "export").rglob("*.*"))})
    assert found[0] == found[1] and len(found[0]) == 8
    for name, content in found[0].items():
        for place in (str(tmp_path), "/site-packages/", sys.prefix, ".py", "+cpu"):
            assert place.encode() not in content, (name, place)


def test_nodes_still_say_from_which_module_they_come(tmp_path: Path) -> None:
    _, out = run(tmp_path)
    graph = onnx.load(out / "model.onnx").graph
    kept = {entry.key for node in graph.node for entry in node.metadata_props}
    assert kept == set(KEPT_METADATA)
    scopes = [entry.value for node in graph.node for entry in node.metadata_props if "name_scopes" in entry.key]
    assert any("'conv1'" in scope for scope in scopes) and any("'fc2'" in scope for scope in scopes)
    assert all(node.name and not node.doc_string for node in graph.node)


def test_strip_leaves_what_is_computed(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"], doc_string="/home/me/net.py:3")
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/me/net.py")
    node.metadata_props.add(key="namespace", value=": Net/relu: ReLU")
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:]), doc_string="/home")
    proto.producer_version = "2.13.0+cu130"
    strip(proto)
    assert b"/home" not in proto.SerializeToString() and proto.producer_version == "2.13.0"
    assert [entry.key for entry in proto.graph.node[0].metadata_props] == ["namespace"]
    onnx.checker.check_model(proto)


# what is refused


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"exporter": "dynamo", "opset": 12},
            "the dynamo exporter writes opset 18 or later, not 12: use exporter auto",
        ),
        ({"input_names": ["x"], "output_names": ["x"]}, "hold 'x' twice"),
        ({"input_names": [""]}, "String should match pattern"),
        ({"opset": 6}, "greater than or equal to 7"),
        ({"opset": 27}, "less than or equal to 26"),
        (
            {"exporter": "torchscript", "opset": 24},
            "the torchscript exporter writes opset 23 at most, not 24: use exporter auto",
        ),
        ({"tolerance": 0}, "greater than 0"),
        ({"samples": 1}, "greater than or equal to 2"),
        ({"dynamic": True}, "Extra inputs are not permitted"),
    ],
)
def test_params_that_cannot_be_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ExportParams(model={"name": DIGITS}, **params)


def test_another_opset_than_asked_for_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what torch 2.13 does when the newer exporter is asked for an old opset
    monkeypatch.setattr("recast.stages.trunk.export.FIRST_DYNAMO_OPSET", 7)
    message = refused(tmp_path, exporter="dynamo", opset=12)
    assert "opset 12 was asked for, but the dynamo exporter wrote 18" in message


def test_the_last_opsets_are_those_of_the_exporters_and_of_onnxruntime(tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    assert run(tmp_path / "last", opset=LAST_OPSET)[0]["opset"] == LAST_OPSET
    (tmp_path / "older").mkdir()
    metrics, _ = run(tmp_path / "older", opset=LAST_TORCHSCRIPT_OPSET, exporter="torchscript")
    assert metrics["opset"] == LAST_TORCHSCRIPT_OPSET
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    later = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", LAST_OPSET + 1)], ir_version=10)
    with pytest.raises(Exception, match="opset"):
        onnxruntime.InferenceSession(later.SerializeToString())
    with pytest.raises(RuntimeError, match="Unsupported onnx_opset_version"):
        torch.onnx.export(
            torch.nn.ReLU(), (torch.ones(1),), io.BytesIO(), dynamo=False, opset_version=LAST_TORCHSCRIPT_OPSET + 1
        )


def test_a_model_that_fixes_its_batch_names_the_remedy(tmp_path: Path, nets: str) -> None:
    message = refused(tmp_path / "dynamic", f"{nets}:Fixed")
    assert f"{nets}:Fixed was exported with the batch size of 'output' fixed to 2" in message
    assert "set export.dynamic_batch to false" in message
    refused(tmp_path / "older", f"{nets}:Fixed", opset=12)
    metrics, _ = run(tmp_path / "fixed", f"{nets}:Fixed", dynamic_batch=False)
    assert metrics["max_abs_error"] < 1e-5


def test_a_model_whose_graph_depends_on_values_cannot_be_exported(tmp_path: Path, nets: str) -> None:
    for opset in (18, 13):  # the older exporter would follow one branch, without a word
        message = refused(tmp_path / str(opset), f"{nets}:Branching", opset=opset)
        assert f"{nets}:Branching branches on a value that it computes from its input" in message
        assert f"{nets}.py:18" in message and "torch.where" in message


@pytest.mark.parametrize(
    ("opset", "name", "said", "remedies"),
    [
        (18, "Svd", "it cannot write '_linalg_svd' in Svd.forward at NETS.py:27", ["use another operation there"]),
        (
            13,
            "Fold",
            "it cannot write 'col2im' in layer 'fold' (Folded) at NETS.py:",
            ["set export.opset to 18 or later"],
        ),
        (18, "Scripted", "ReLU.forward() takes 2 positional arguments but 3 were given (NETS.py:", ["mend NETS.py:"]),
    ],
)
def test_why_an_exporter_refuses_is_said_of_the_model(
    tmp_path: Path, nets: str, opset: int, name: str, said: str, remedies: list[str]
) -> None:
    message = refused(tmp_path, f"{nets}:{name}", opset=opset).replace(nets, "NETS")
    assert f"exporter cannot export NETS:{name} to opset {opset}: {said}" in message
    assert all(remedy in message for remedy in remedies)
    assert not any(word in message for word in ("\x1b", "Next steps", "GitHub", "github", "OpOverload", "see the log"))


@pytest.mark.parametrize("opset", [13, 18])
def test_a_model_may_write_into_its_input(tmp_path: Path, nets: str, opset: int) -> None:
    metrics, out = run(tmp_path, f"{nets}:InPlace", opset=opset)
    assert metrics["max_abs_error"] < 1e-5
    assert (load_file(out / "reference.safetensors")["input"] == read(tmp_path / "data", "calibration")[0][:8]).all()


def test_a_model_that_leaves_pytorch_is_refused_by_the_older_exporter(tmp_path: Path, nets: str) -> None:
    """It would write what NumPy made of the example as a constant."""
    message = refused(tmp_path, f"{nets}:ByNumpy", opset=13)
    assert f"{nets}:ByNumpy takes out of its tensor a value that it computes from its input" in message


def test_a_fixed_batch_inside_the_model_is_said_without_the_runtimes_words(tmp_path: Path, nets: str) -> None:
    message = refused(tmp_path, f"{nets}:Fixed", opset=13)
    assert f"{nets}:Fixed was exported for batches of 2 samples only: Reshape '/Reshape' takes no other" in message
    assert "onnxruntime" not in message and "set export.dynamic_batch to false" in message


def test_scores_that_are_not_finite_are_traced_to_the_line(tmp_path: Path, nets: str) -> None:
    message = refused(tmp_path, f"{nets}:Log")
    assert f"{nets}:Log gives NaN or infinity, first from log in Log.forward at {nets}.py:" in message


def test_an_error_above_the_tolerance_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, tolerance=1e-12)
    assert "the ONNX model's outputs differ from PyTorch's by up to" in message
    # of the largest output, which is below 1
    assert re.search(r"more than \d\.\d+e-13", message)


def test_too_few_calibration_samples_are_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, stored=4)
    assert "there are 4 calibration samples, and 8 are to be compared | raise data.calibration_samples" in message


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, DIGITS)
    with pytest.raises(
        StageError, match=r"the train stage's model\.safetensors does not fit MnistCnn: of another shape"
    ):
        STAGE.run(ExportParams(model={"name": MNIST}), inputs, tmp_path)


def test_weights_larger_than_an_onnx_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recast.stages.trunk.export.LARGEST_FILE", 1000)
    assert "GiB; an ONNX file holds at most 2" in refused(tmp_path)


def test_metrics_are_plain_json(tmp_path: Path) -> None:
    metrics, _ = run(tmp_path)
    assert json.loads(json.dumps(metrics)) == metrics
    recorded = ["layers_left_out", "layers_recorded"]
    assert sorted(metrics) == sorted(["exporter", "ir_version", "max_abs_error", "nodes", "opset", *recorded])


@pytest.mark.parametrize(("opset", "exporter"), [(18, "dynamo"), (18, "torchscript"), (7, "torchscript")])
def test_activations_and_the_layer_of_each_tensor_are_recorded(tmp_path: Path, opset: int, exporter: str) -> None:
    metrics, out = run(tmp_path, opset=opset, exporter=exporter, activation_samples=3)
    sampled = activations.read(out / "activations.safetensors")
    names = [layer.name for layer in sampled.layers]
    layers = ["conv1", "relu1", "pool1", "conv2", "relu2", "flatten", "fc1", "relu3", "dropout", "fc2"]
    assert names == [*layers, activations.MODEL]
    assert (metrics["layers_recorded"], metrics["layers_left_out"]) == (11, 0)
    reference = load_file(out / "reference.safetensors")
    np.testing.assert_array_equal(sampled.tensors[f"{activations.MODEL}.in.0"], reference["input"][:3])
    np.testing.assert_allclose(sampled.tensors["fc2.out.0"], reference["output"][:3], atol=1e-5)
    graph = onnx.load(out / "model.onnx").graph
    names_of = layer_names.read(out / "layers.json")
    # Dropout is no node of the ONNX model
    assert list(names_of.values()) == [name for name in layers if name != "dropout"]
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    expected = {"conv1": "Conv", "pool1": "MaxPool", "relu3": "Relu", "fc2": "Gemm"}
    assert expected.items() <= {layer: made_by[tensor] for tensor, layer in names_of.items()}.items()


def test_more_activation_samples_than_samples_are_as_many_as_there_are(tmp_path: Path) -> None:
    _, out = run(tmp_path, samples=2)
    sampled = activations.read(out / "activations.safetensors")
    assert len(sampled.tensors["conv1.out.0"]) == 2


def test_a_failed_export_says_where_the_error_comes_from_and_keeps_the_report(tmp_path: Path) -> None:
    message = refused(tmp_path, tolerance=1e-12)
    assert "; no single layer is at fault: from pytorch to exported the output keeps 1" in message
    assert (tmp_path / "export" / "parity.json").is_file() and (tmp_path / "export" / "error_by_layer.csv").is_file()


def test_an_exporter_that_changes_a_layer_is_told_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*args: Any) -> Any:
        made = exported(*args)
        relu = [node for node in made.graph.node if node.op_type == "Relu"][1]
        relu.op_type = "Identity"
        return made

    exported = export.to_onnx
    monkeypatch.setattr(export, "to_onnx", faulty)
    assert "; the error jumps at layer relu3 (pytorch → exported): SQNR falls from 1" in refused(tmp_path)
