# environment: onnx
from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common import reference
from recast.stages.common.onnx_models import onnx_files
from recast.stages.trunk import import_onnx, simplify
from tests.lib.onnx_models import (
    CONTRACT,
    Workplace,
    cnn,
    cnn_nodes,
    cnn_weights,
    contents,
    initializer,
    model,
    write_data,
)
from tests.stages.common.onnx_models.test_onnx_files import external


def run(root: Path, exported: Any, **params: Any) -> dict[str, Any]:
    """Run the stage on a model, or on bytes, that lies in the repository as `given.onnx`."""
    path = root / "given.onnx"
    path.write_bytes(exported if isinstance(exported, bytes) else exported.SerializeToString())
    return run_on(root, path, **params)


def run_on(root: Path, path: Path, **params: Any) -> dict[str, Any]:
    if not (root / "data").exists():
        write_data(root / "data")
    return Workplace(root).run(import_onnx.STAGE, "export", {"path": path}, path=path.name, **params)


def refusal(root: Path, exported: Any, **params: Any) -> str:
    with pytest.raises(StageError) as caught:
        run(root, exported, **params)
    return caught.value.message


@pytest.mark.parametrize("batch", ["batch", 5])
def test_stands_in_for_export(tmp_path: Path, batch: Any) -> None:
    metrics = run(tmp_path, cnn(batch))
    assert metrics["accuracy"] == 1.0
    assert (metrics["nodes"], metrics["opset"], metrics["ir_version"]) == (5, 18, 8)
    assert import_onnx.STAGE.stands_for == "export"
    given, expected = reference.read(tmp_path / "export" / "reference.safetensors")
    assert (given.shape, expected.shape) == ((64, 1, 8, 8), (64, 4))
    assert given.dtype == expected.dtype == np.float32
    # what it writes is what simplify reads
    assert Workplace(tmp_path).run(simplify.STAGE, "simplify")["max_abs_error"] < 1e-5


def test_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run(tmp_path / name, cnn())
    assert contents(tmp_path / "a" / "export") == contents(tmp_path / "b" / "export")


def test_sha256_is_checked(tmp_path: Path) -> None:
    digest = hashlib.sha256(cnn().SerializeToString()).hexdigest()
    assert "is not the file the recipe names" in refusal(tmp_path, cnn(), sha256="0" * 64)
    (tmp_path / "again").mkdir()
    run(tmp_path / "again", cnn(), sha256=digest)


def test_weights_in_other_files_need_a_folder_of_their_own(tmp_path: Path) -> None:
    path = external(tmp_path / "model", "weights.bin")
    with pytest.raises(StageError, match="keeps weights in other files") as caught:
        run_on(tmp_path, path)
    assert "set import.path to that folder" in caught.value.remedy
    (tmp_path / "b").mkdir()
    assert run_on(tmp_path / "b", path.parent)["accuracy"] == 1.0


def test_a_folder_must_hold_one_model(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(StageError, match=r"must hold exactly one \.onnx file, not 0 \(none\)"):
        run_on(tmp_path, tmp_path / "models")


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"nonsense" * 9, "is not an ONNX file")])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal(tmp_path, content)


def test_a_link_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(cnn().SerializeToString())
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real")
    with pytest.raises(StageError, match="is a symbolic link"):
        run_on(tmp_path, tmp_path / "link.onnx")
    (tmp_path / "b").mkdir()
    with pytest.raises(StageError, match=r"there is no file none\.onnx"):
        run_on(tmp_path / "b", tmp_path / "none.onnx")


def test_another_sample_shape_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, model(cnn_nodes(), cnn_weights(), ("batch", 1, 8, 12)))
    # shape inference already sees that 8x12 does not fit the head, or the stage sees it does not fit the data
    assert "(1, 8, 12)" in message or "not valid ONNX" in message


def test_another_rank_is_refused(tmp_path: Path) -> None:
    import onnx

    nodes = [onnx.helper.make_node("Gemm", ["image", "head.weight"], ["scores"], "node_head", transB=1)]
    flat = model(nodes, [initializer("head.weight", np.ones((4, 64)))], ("batch", 64))
    assert "takes samples of shape (64), but quadrants has (1, 8, 8)" in refusal(tmp_path, flat)


def test_an_input_that_is_not_float_is_refused(tmp_path: Path) -> None:
    import onnx

    nodes = cnn_nodes()
    nodes[0].input[0] = "float"
    nodes.insert(0, onnx.helper.make_node("Cast", ["image"], ["float"], "node_cast", to=onnx.TensorProto.FLOAT))
    exported = model(nodes, cnn_weights())
    exported.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    assert "input 'image' of given.onnx is uint8, and the data gives float32" in refusal(tmp_path, exported)


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    import onnx

    exported = cnn()
    exported.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))
    assert "has 2 inputs (image, mask)" in refusal(tmp_path, exported)


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    weights = cnn_weights()
    weights[-2] = initializer("head.weight", np.zeros((3, 32)))
    weights[-1] = initializer("head.bias", np.zeros(3))
    exported = model(cnn_nodes(), weights)
    exported.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    said = "gives outputs of shape (64, 3) for 64 samples; the data's 4 classes need (64, 4)"
    assert said in refusal(tmp_path, exported)


def test_operators_nobody_knows_are_refused(tmp_path: Path) -> None:
    import onnx

    exported = cnn()
    exported.graph.node[1].op_type, exported.graph.node[1].domain = "Sparkle", "com.example"
    exported.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    assert "neither ONNX nor onnxruntime has: com.example.Sparkle" in refusal(tmp_path, exported)


def test_operators_onnxruntime_knows_are_taken(tmp_path: Path) -> None:
    import onnx

    exported = cnn()
    exported.graph.node[1].CopyFrom(
        onnx.helper.make_node("Gelu", ["features"], ["positive"], "node_gelu", domain="com.microsoft")
    )
    exported.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    assert run(tmp_path, exported)["accuracy"] > 0.9


def test_nan_is_refused(tmp_path: Path) -> None:
    weights = cnn_weights()
    weights[-1] = initializer("head.bias", [np.nan, 0, 0, 0])
    assert "gives NaN or infinity for the calibration samples" in refusal(tmp_path, model(cnn_nodes(), weights))


@pytest.mark.parametrize("ir_version", [3, 8])
@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 18, 21])
def test_a_model_without_an_axis_for_the_one_channel_is_taken(tmp_path: Path, opset: int, ir_version: int) -> None:
    """A network over the rows of an image, or over signals; Squeeze has its axes as an attribute before opset 13."""
    import onnx

    weights = [initializer("weight", np.random.default_rng(0).normal(size=(4, 8, 8)))]
    nodes = [
        onnx.helper.make_node("Conv", ["image", "weight"], ["convolved"]),
        onnx.helper.make_node("Flatten", ["convolved"], ["scores"]),
    ]
    given = model(nodes, weights, ("batch", 8, 8), opset)
    given.ir_version = ir_version
    if ir_version < 4:
        given.graph.input.append(onnx.helper.make_tensor_value_info("weight", 1, [4, 8, 8]))
    run(tmp_path, given)
    made = onnx_files.read_model(tmp_path / "export" / "model.onnx")
    assert onnx_files.only_input(made, "it").shape == (None, 1, 8, 8) and onnx_files.opset(made) == opset
    x, scores = reference.read(tmp_path / "export" / "reference.safetensors")
    assert np.array_equal(onnx_files.Session(given, threads=1).run(x[:, 0]), scores)


def test_only_an_axis_of_length_one_is_dropped(tmp_path: Path) -> None:
    import onnx

    nodes = [
        onnx.helper.make_node("Flatten", ["image"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    message = refusal(tmp_path, model(nodes, [initializer("w", np.ones((56, 4)))], ("batch", 8, 7)))
    assert "takes samples of shape (8, 7), but quadrants has (1, 8, 8)" in message


@pytest.mark.parametrize(
    ("shape", "own", "dataset", "remedy"),
    [
        (("batch", 1, 12, 10), (1, 8, 8), "digits", "set data.resize to [12, 10]"),
        (("batch", 1, 8, 8), (3, 8, 8), "cifar10", "set data.grayscale to true"),
        (("batch", 1, 4, 4), (3, 8, 8), "image_folder", "set data.grayscale to true and set data.resize to [4, 4]"),
        (("batch", 1, 8, 6), (8, 6, 1), "npz", "set data.layout to nhwc, since the file has channels last"),
        (("batch", 2, 20), (8,), "npz", "save the samples at data.path in the shape (N, 2, 20)"),
        (("batch", 3, "height", "width"), (1, 8, 8), "mnist", ""),
        (("batch", 64), (1, 8, 8), "mnist", ""),
    ],
)
def test_what_makes_samples_fit_is_named_and_nothing_else(
    tmp_path: Path, shape: tuple[int | str, ...], own: tuple[int, ...], dataset: str, remedy: str
) -> None:
    exported = model(cnn_nodes(), cnn_weights(), shape)
    with pytest.raises(StageError) as caught:
        contract = replace(CONTRACT, inputs=(replace(CONTRACT.only, shape=own),), dataset=dataset)
        import_onnx.check_inputs(exported, contract, "given.onnx")
    other = "name a model made for this dataset as import.path"
    assert caught.value.remedy == (f"{remedy}, or {other}" if remedy else other)


def test_a_model_that_mixes_the_samples_of_a_batch_is_refused(tmp_path: Path) -> None:
    """Time is the first axis of ONNX's LSTM: read as the batch, each sample goes on where the one before ended."""
    import onnx

    random, node = np.random.default_rng(0), onnx.helper.make_node
    nodes = [
        node("Flatten", ["image"], ["flat"]),
        node("Unsqueeze", ["flat", "one"], ["steps"]),
        node("LSTM", ["steps", "w", "r"], ["hidden", "", ""], hidden_size=4),
        node("Squeeze", ["hidden", "inner"], ["scores"]),
    ]
    weights = [
        initializer("one", [1], np.int64),
        initializer("inner", [1, 2], np.int64),
        initializer("w", random.normal(0, 0.3, (1, 16, 64))),
        initializer("r", random.normal(0, 0.5, (1, 16, 4))),
    ]
    message = refusal(tmp_path, model(nodes, weights))
    assert message.startswith("given.onnx mixes the samples of a batch: a sample's scores differ by ")
    assert message.endswith("the first layer that does is 'hidden' (LSTM)")
