# environment: onnx
from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from tests.lib.damage import damaged
from tests.lib.onnx_models import cnn, cnn_nodes, cnn_weights, model


def refusal(path: Path) -> str:
    with pytest.raises(StageError) as caught:
        onnx_files.read_model(path)
    return caught.value.message


def external(folder: Path, location: str) -> Path:
    """cnn() with the weights of its head said to lie in `location`."""
    import onnx

    exported = cnn()
    tensor = next(weight for weight in exported.graph.initializer if weight.name == "head.weight")
    content = tensor.raw_data
    onnx.external_data_helper.set_external_data(tensor, location, length=len(content))
    tensor.ClearField("raw_data")
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(exported.SerializeToString())
    (folder / "weights.bin").write_bytes(content)
    return folder / "model.onnx"


def test_reads_and_writes_the_same_bytes(tmp_path: Path) -> None:
    onnx_files.write_model(cnn(), tmp_path / "model.onnx")
    onnx_files.write_model(onnx_files.read_model(tmp_path / "model.onnx"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_external_data_beside_the_model_is_embedded(tmp_path: Path) -> None:
    read = onnx_files.read_model(external(tmp_path / "model", "weights.bin"))
    assert not onnx_files.has_external_data(read)
    x = np.zeros((2, 1, 8, 8), np.float32)
    expected = onnx_files.Session(cnn(), threads=1).run(x)
    assert np.array_equal(onnx_files.Session(read, threads=1).run(x), expected)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "C:\\weights.bin", ""])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(4 * 4 * 32))
    assert "outside the model's folder" in refusal(external(tmp_path / "model", location))


def test_external_data_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4 * 4 * 32))
    path = external(tmp_path / "model", "link.bin")
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret")
    assert "symbolic link" in refusal(path)
    path = external(tmp_path / "model", "folder/secret")
    (tmp_path / "model" / "folder").symlink_to(tmp_path)
    assert "symbolic link" in refusal(path)


def test_external_data_that_is_cut_short_or_missing_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path / "model", "weights.bin")
    (tmp_path / "model" / "weights.bin").write_bytes(b"short")
    assert "beyond the end of weights.bin" in refusal(path)
    (tmp_path / "model" / "weights.bin").unlink()
    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 certainly not protobuf", "is not an ONNX file"),
        (b"\x08\x08", "holds no graph"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    assert message in refusal(tmp_path / "bad.onnx")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(cnn().SerializeToString()[:400])
    assert "bad.onnx" in refusal(tmp_path / "bad.onnx")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot read none.onnx" in refusal(tmp_path / "none.onnx")


def test_an_invalid_graph_is_refused(tmp_path: Path) -> None:
    nodes = cnn_nodes()
    nodes[1].input[0] = "nowhere"
    (tmp_path / "bad.onnx").write_bytes(model(nodes, cnn_weights()).SerializeToString())
    assert "is not valid ONNX" in refusal(tmp_path / "bad.onnx")


def test_one_input_and_output() -> None:
    assert onnx_files.only_input(cnn(), "it") == onnx_files.Port("image", (None, 1, 8, 8), onnx_files.FLOAT)
    two = model(cnn_nodes(), cnn_weights(), outputs=("scores", "flat"))
    with pytest.raises(StageError, match=r"it has 2 outputs \(scores, flat\)"):
        onnx_files.only_output(two, "it")


@pytest.mark.parametrize("batch", ["batch", 3])
def test_a_session_runs_any_number_of_samples(batch: Any) -> None:
    x = np.random.default_rng(0).normal(size=(7, 1, 8, 8)).astype(np.float32)
    session = onnx_files.Session(cnn(batch), threads=1)
    outputs = session.run(x, batch_size=2)
    assert outputs.shape == (7, 4)
    assert np.allclose(outputs, onnx_files.Session(cnn(), threads=1).run(x), atol=1e-6)
    assert [done for done, _ in session.batches(x, 2)] == ([3, 6, 7] if batch == 3 else [2, 4, 6, 7])


def test_a_session_names_the_wrong_shape() -> None:
    with pytest.raises(StageError, match=r"fails on \d+ samples of shape \(1, 9, 9\)"):
        onnx_files.Session(cnn(), threads=1, what="it").run(np.zeros((1, 1, 9, 9), np.float32))


def test_unused_domains_are_dropped() -> None:
    import onnx

    exported = cnn()
    exported.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx_files.drop_unused_domains(exported)
    assert [entry.domain for entry in exported.opset_import] == [""]


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_weights_that_are_listed_as_inputs_become_constants(ir_version: int) -> None:
    import onnx

    listed = cnn(opset=7)
    listed.ir_version = ir_version
    listed.graph.input.extend(
        onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in listed.graph.initializer
    )
    x = np.ones((2, 1, 8, 8), np.float32)
    expected = onnx_files.Session(cnn(opset=7), threads=1).run(x)
    made = onnx_files.with_constant_weights(listed)
    onnx_files.check(made, "it")
    assert [value.name for value in made.graph.input] == ["image"] and made.ir_version == max(4, ir_version)
    assert np.array_equal(onnx_files.Session(made, threads=1).run(x), expected)


def test_a_damaged_model_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for content in damaged(cnn().SerializeToString(), 100):
        path.write_bytes(content)
        with contextlib.suppress(StageError):
            onnx_files.read_model(path)
