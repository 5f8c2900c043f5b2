# environment: ezkl
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files, rewritten
from recast.stages.targets.ezkl import calibrate, emit, quantize, verify
from recast.stages.targets.ezkl.circuit import cost, products, settings
from recast.stages.targets.ezkl.circuit.network import one_sample
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.process.calls import Ezkl
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace, initializer

node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info


def network(
    nodes: list[Any], shape: tuple[int, ...], constants: dict[str, np.ndarray[Any, Any]], opset: int = circuits.OPSET
) -> Any:
    values = [initializer(name, array) for name, array in constants.items()]
    ends = [info("x", onnx.TensorProto.FLOAT, shape)], [info("y", onnx.TensorProto.FLOAT, None)]
    graph = onnx.helper.make_graph(nodes, "graph", *ends, values)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=7)
    return onnx.shape_inference.infer_shapes(made)


def convolution(
    shape: tuple[int, ...],
    kernels: tuple[int, ...],
    biased: bool = True,
    opset: int = circuits.OPSET,
    **attributes: Any,
) -> Any:
    random = np.random.default_rng(1)
    constants = {"kernels": random.normal(size=kernels)} | ({"bias": random.normal(size=kernels[0])} if biased else {})
    return network([node("Conv", ["x", *constants], ["y"], **attributes)], shape, constants, opset)


@pytest.mark.parametrize(
    ("shape", "kernels", "attributes"),
    [
        ((1, 3, 8, 9), (5, 3, 3, 2), {}),
        ((1, 3, 8, 9), (5, 3, 3, 2), {"biased": False}),
        ((1, 3, 8, 9), (4, 3, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
        ((1, 2, 7, 7), (3, 2, 7, 7), {"auto_pad": "VALID"}),
        ((1, 4, 20), (6, 4, 5), {"pads": [2, 2], "strides": [3]}),
        ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), {"pads": [0, 1, 0, 1, 0, 1]}),
    ],
    ids=["plain", "without bias", "padded, strided, dilated", "as large as the image", "one axis", "three axes"],
)
def test_the_product_computes_what_the_convolution_does(
    shape: tuple[int, ...], kernels: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    before = convolution(shape, kernels, **attributes)
    after, count = products.with_products(before)
    assert count == 1 and "Conv" not in {one.op_type for one in after.graph.node}
    assert {value.name for value in before.graph.initializer}.isdisjoint(v.name for v in after.graph.initializer)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    expected, actual = (onnx_files.Session(one, 1).run(x) for one in (before, after))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 17, 18, 21])
def test_its_nodes_are_those_of_the_models_own_operator_set(opset: int, tmp_path: Path) -> None:
    """Pad has its pads as an attribute before opset 11; EZKL reads both, as does onnxruntime."""
    shape = (1, 2, 6, 7)
    before = convolution(shape, (3, 2, 3, 3), opset=opset, pads=[1, 0, 2, 1], strides=[2, 1])
    after, count = products.with_products(before)
    assert count == 1 and onnx_files.opset(after) == opset
    x = np.random.default_rng(2).normal(size=(3, *shape[1:])).astype(np.float32)[:1]
    rewritten.check(before, after, x, "the product", threads=1)
    onnx.save(after, tmp_path / "network.onnx")
    written = tmp_path / "settings.json"
    Ezkl(tmp_path, 1)("gen_settings", model=str(tmp_path / "network.onnx"), output=str(written), py_run_args={})
    assert settings.read(written).einsum_cells > 0


def test_before_opset_7_convolutions_stay() -> None:
    before = convolution((1, 2, 6, 7), (3, 2, 3, 3), opset=6, pads=[1, 1, 1, 1])
    assert products.with_products(before)[1] == 0


@pytest.mark.parametrize(
    "attributes", [{"group": 4}, {"auto_pad": "SAME_UPPER"}], ids=["groups", "padding by the image's size"]
)
def test_what_is_no_product_stays(attributes: dict[str, Any]) -> None:
    before = convolution((1, 4, 8, 8), (4, 1 if "group" in attributes else 4, 3, 3), **attributes)
    after, count = products.with_products(before)
    assert count == 0
    assert after.graph == before.graph


def test_kernels_that_are_computed_stay() -> None:
    nodes = [node("Mul", ["k", "k"], ["kernels"]), node("Conv", ["x", "kernels"], ["y"])]
    _, count = products.with_products(network(nodes, (1, 2, 6, 6), {"k": np.ones((3, 2, 3, 3))}))
    assert count == 0


def test_a_network_is_changed_only_in_the_copy() -> None:
    model = one_sample(circuits.convolutional(), "the model")
    before = model.SerializeToString()
    after, count = products.with_products(model)
    assert count == 1
    assert model.SerializeToString() == before != after.SerializeToString()


MATRICES = {
    "vector by matrix": ([1, 10], [10, 4]),
    "matrix by matrix": ([3, 10], [10, 4]),
    "matrix by vector": ([5, 10], [10, 1]),
    "many rows": ([2, 3, 10], [10, 4]),
    "rows of one": ([4, 1, 10], [10, 4]),
    "one row of one": ([1, 1, 10], [10, 4]),
    "a matrix for each": ([2, 3, 10], [2, 10, 4]),
}


@pytest.mark.parametrize("case", list(MATRICES))
def test_which_products_ezkl_checks_at_a_random_point(case: str, tmp_path: Path) -> None:
    left, right = MATRICES[case]
    weight = np.random.default_rng(3).normal(size=right)
    onnx.save(network([node("MatMul", ["x", "w"], ["y"])], tuple(left), {"w": weight}), tmp_path / "network.onnx")
    written = tmp_path / "settings.json"
    Ezkl(tmp_path, 1)("gen_settings", model=str(tmp_path / "network.onnx"), output=str(written), py_run_args={})
    listed = json.loads(written.read_text())["einsum_params"]["equations"]
    kept = settings.read(written)
    assert len(kept.raw["einsum_params"]["equations"]) == (kept.einsum_cells > 0) < len(listed)


Both = tuple[Workplace, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The same network with its convolution as a product, emitted, and term by term; and what calibrate measured."""
    work = circuits.workplace(tmp_path_factory.mktemp("products"), circuits.convolutional())
    work.run(quantize.STAGE, "quantize", num_inner_cols=2)
    metrics = {
        form: work.run(calibrate.STAGE, folder, convolutions=form)
        for folder, form in (("calibrate", "products"), ("terms", "terms"))
    }
    work.run(emit.STAGE, "emit", insecure_srs=True, evm=False)
    return work, metrics


def test_products_take_fewer_rows_and_give_the_same_scores(both: Both) -> None:
    work, metrics = both
    product, terms = (settings.read(work.root / name / settings.FILE) for name in ("calibrate", "terms"))
    assert product.einsum_cells > 0 == terms.einsum_cells
    assert metrics["products"]["decomp_base"] == metrics["terms"]["decomp_base"]
    # 64 places, patches of 9 and 6 channels: two terms a row, and as many for the bias
    assert terms.rows - product.rows > 64 * 9 * 6 / 2
    assert metrics["products"]["max_abs_error"] == pytest.approx(metrics["terms"]["max_abs_error"], rel=0.2)
    operations = {one.op_type for one in onnx.load(work.root / "calibrate" / settings.NETWORK).graph.node}
    assert "Conv" not in operations and "MatMul" in operations


def test_a_proof_of_a_product_holds_and_forged_ones_do_not(both: Both) -> None:
    metrics = both[0].run(verify.STAGE, "verify", samples=4, parity_samples=2)
    assert metrics["forgeries_rejected"] == 5
    assert metrics["max_abs_error"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("visibility", ["private", "hashed", "polycommit"])
def test_kernels_that_are_no_part_of_the_circuit_are_multiplied_as_well(visibility: str, tmp_path: Path) -> None:
    work = circuits.emitted(
        tmp_path / "work", circuits.convolutional(), {"convolutions": "products"}, {"param_visibility": visibility}
    )
    metrics = work.run(verify.STAGE, "verify", samples=4, parity_samples=2)
    assert metrics["forgeries_rejected"] >= 5
    assert metrics["max_abs_error"] < 0.1


def test_the_key_with_products_is_as_large_as_predicted(both: Both, store: Path) -> None:
    emitted = both[0].root / "emit"
    identity = keys.identity(emitted, srs.read(emitted).sha256)
    actual = (store / "ezkl" / identity / keys.PROVING_KEY).stat().st_size
    assert cost.predict(settings.read(emitted / settings.FILE)).key == pytest.approx(actual, rel=0.15)


def test_products_that_are_checked_term_by_term_are_refused(tmp_path: Path) -> None:
    work = circuits.workplace(tmp_path / "unchecked", circuits.convolutional())
    work.run(quantize.STAGE, "quantize", disable_freivalds=True)
    with pytest.raises(StageError, match=r"quantize\.disable_freivalds has them checked term by term"):
        work.run(calibrate.STAGE, "calibrate", convolutions="products")
    assert work.run(calibrate.STAGE, "unset")["convolutions"] == "terms"


def test_products_of_a_network_without_convolutions_are_refused(tmp_path: Path) -> None:
    work = circuits.workplace(tmp_path / "mlp", circuits.mlp())
    work.run(quantize.STAGE, "quantize")
    with pytest.raises(StageError, match="no convolution that can be a product") as caught:
        work.run(calibrate.STAGE, "calibrate", convolutions="products")
    assert caught.value.remedy == "drop calibrate.convolutions"
