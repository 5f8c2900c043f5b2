# environment: torch
from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from recast.stages.base import StageError
from recast.stages.parity import activations
from recast.stages.targets.zml.codegen import modules, norms, operations, products, resizing, signals, windows
from recast.stages.targets.zml.codegen.trace import trace
from tests.lib.zml import op_models
from tests.lib.zml.op_models import emit_model

NETWORKS = ("Images", "Sequences", "Signals", "Pixels", "Mixed")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_emits_a_folder_with_a_struct_per_layer_under_pytorchs_names(tmp_path: Path) -> None:
    metrics = emit_model(tmp_path, "Images")
    folder = tmp_path / "emit"
    assert set(contents(folder)) == {
        "model.zig",
        "model.safetensors",
        "activations.safetensors",
        "torch2zml.zig",
        "BUILD.bazel",
        "ZML_COMMIT",
        "input.json",
        "README.md",
    }
    model = (folder / "model.zig").read_text()
    assert "pub const BlockConv1 = struct" in model
    assert '@"error": Error,' in model  # a keyword of Zig
    assert 'const branches_0 = self.branches.@"0".forward(functions);' in model
    assert metrics["layers"] == metrics["layers_sampled"]
    with safe_open(folder / "model.safetensors", "np") as weights:
        # tied weights are there under both names
        assert (weights.get_tensor("tied.weight") == weights.get_tensor("again.weight")).all()
        assert "num_batches_tracked" not in "".join(weights.keys())
    assert "const tolerance: f32 = 0.001;" in (folder / "torch2zml.zig").read_text()


def test_functions_bear_the_names_that_the_activations_have() -> None:
    model, x = op_models.Accumulates().eval(), torch.randn(4, 4)
    layer = trace(model, x).root.layer
    assert layer is not None
    constants = {line.split()[1] for line in layer.body if line.startswith("const ") and ".forward(" not in line}
    functions = {layer.name for layer in activations.collect(model, x).layers if layer.function}
    assert constants - {"x"} == functions == {"relu_1", "add_1", "add_2", "mul", "add_3"}


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    emit_model(tmp_path, "Sequences")
    emit_model(tmp_path, "Sequences", "again")
    assert contents(tmp_path / "emit") == contents(tmp_path / "again")


def test_batchnorm_is_folded_only_if_asked(tmp_path: Path) -> None:
    assert emit_model(tmp_path, "Images")["folded"] == 3
    assert emit_model(tmp_path, "Images", "unfolded", fold_batchnorm=False)["folded"] == 0
    assert "running_var" not in (tmp_path / "emit" / "model.zig").read_text()
    assert "running_var" in (tmp_path / "unfolded" / "model.zig").read_text()


def test_every_operation_is_in_a_model_that_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    wanted: set[str] = set()

    def recorded(name: str, operation: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> str:
            used.add(name)
            return operation(*args, **kwargs)

        return record

    for module in (operations, windows, products, norms, signals, resizing):
        for name, operation in inspect.getmembers(module, inspect.isfunction):
            if operation.__module__ != module.__name__ or name.startswith("_"):
                continue
            if next(iter(inspect.signature(operation).parameters)) == "call":
                wanted.add(name)
                monkeypatch.setattr(module, name, recorded(name, operation))
    assert "conv2d" in wanted
    for model in NETWORKS:
        emit_model(tmp_path / model, model, fold_batchnorm=False)
    assert used == wanted
    layers = {type(module) for name in NETWORKS for module in getattr(op_models, name)().modules()}
    assert set(modules.modules()) <= layers


def test_a_layer_without_counterpart_is_named_with_what_is_supported(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"cannot write layer 'body\.1' \(PReLU\)") as refusal:
        emit_model(tmp_path, "Unsupported")
    assert "Conv2d, ConvTranspose2d, Dropout," in refusal.value.remedy


def test_a_function_without_counterpart_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"model's own code \(Erfinv.forward\): there is no erfinv here"):
        emit_model(tmp_path, "Erfinv")


def test_code_that_depends_on_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"torch.fx cannot trace the model's own code \(Branching.forward\)"):
        emit_model(tmp_path, "Branching")


@pytest.mark.parametrize(("name", "said"), [("TwoOutputs", "2 outputs"), ("NamedOutputs", "2 outputs")])
def test_several_outputs_are_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(StageError, match=f"the model gives {said}, and this target runs models that give one tensor"):
        emit_model(tmp_path, name)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="24 calibration samples, and activations are to be taken on 25"):
        emit_model(tmp_path, "Images", samples=25)
