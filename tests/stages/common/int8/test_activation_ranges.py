# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.int8 import activation_ranges
from recast.stages.common.int8.activation_ranges import Method
from recast.stages.common.onnx_models import onnx_files
from tests.lib.onnx_models import cnn, initializer, model
from tests.lib.onnxruntime_chain import prepared

X = np.random.default_rng(0).normal(size=(60, 1, 8, 8)).astype(np.float32)
X[7] *= 5
METHODS = ("minmax", "mean", "entropy", "percentile")


def by_onnxruntime(made: Any, name: str, folder: Path, batch: int) -> dict[str, tuple[float, float]]:
    """Of onnxruntime's own calibrator, which needs batches of one length."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    methods = {
        "minmax": (CalibrationMethod.MinMax, {}),
        "entropy": (CalibrationMethod.Entropy, {}),
        "percentile": (CalibrationMethod.Percentile, {"percentile": 98.0}),
    }
    method, extra = methods[name]
    onnx_files.write_model(made, folder / "source.onnx")
    calibrator = create_calibrator(
        folder / "source.onnx",
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=method,
        extra_options=extra,
    )
    batches = iter(np.split(X, len(X) // batch))

    class Reader:
        def get_next(self) -> dict[str, Any] | None:
            part = next(batches, None)
            return None if part is None else {"image": part}

    calibrator.collect_data(Reader())
    return {
        key: (float(np.min(data.lowest)), float(np.max(data.highest)))
        for key, data in calibrator.compute_data().items()
    }


@pytest.mark.parametrize("name", ["minmax", "entropy", "percentile"])
def test_ranges_are_onnxruntimes_whatever_the_batch(
    tmp_path: Path, name: Literal["minmax", "entropy", "percentile"]
) -> None:
    made = prepared(cnn(), tmp_path)
    expected = by_onnxruntime(made, name, tmp_path, batch=20)
    for batch in (20, 60, 7, 64, 1):
        found = activation_ranges.find(made, X, Method(name, 98.0), batch, threads=1)
        assert {key: (float(low), float(high)) for key, (low, high) in found.items()} == expected


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_the_mean_of_what_samples_have(tmp_path: Path, batch: int) -> None:
    made = prepared(cnn(), tmp_path)
    found = activation_ranges.find(made, X, Method("mean", 99.0), batch, threads=1)
    rows = X.reshape(len(X), -1)
    assert found["image"] == pytest.approx((rows.min(axis=1).mean(), rows.max(axis=1).mean()), rel=1e-6)
    widest = activation_ranges.find(made, X, Method("minmax", 99.0), batch, threads=1)
    # one sample that is five times as bright counts as one
    assert found["image"][1] < 0.4 * widest["image"][1]
    assert found.keys() == widest.keys()
    assert all(widest[name][0] <= low <= high <= widest[name][1] for name, (low, high) in found.items())


def test_a_fixed_batch_that_does_not_divide_the_samples(tmp_path: Path) -> None:
    expected = activation_ranges.find(prepared(cnn(), tmp_path), X, Method("minmax", 99.0), 60, threads=1)
    assert (
        activation_ranges.find(prepared(cnn(batch=7), tmp_path), X, Method("minmax", 99.0), 64, threads=1) == expected
    )


def chain(*operations: str) -> Any:
    """The image flattened, then operations one after another, then a dense layer."""
    import onnx

    names = ["flat", *(f"t{index}" for index in range(len(operations)))]
    nodes = [onnx.helper.make_node("Flatten", ["image"], ["flat"], "flatten")]
    nodes += [
        onnx.helper.make_node(op, [source], [made], made)
        for op, source, made in zip(operations, names, names[1:], strict=False)
    ]
    nodes.append(onnx.helper.make_node("MatMul", [names[-1], "weight"], ["scores"], "head"))
    return model(nodes, [initializer("weight", np.ones((64, 4)))])


@pytest.mark.parametrize("name", METHODS)
def test_a_nan_in_the_inside_of_a_tensor_is_named(name: Any) -> None:
    """onnxruntime's ReduceMin passes over it, unless it comes first."""
    samples = np.abs(X)
    samples[3, 0, 4, 4] *= -1
    with pytest.raises(StageError, match=r"NaN or infinity on the calibration samples, first in 't0'"):
        activation_ranges.find(chain("Sqrt"), samples, Method(name, 99.0), 8, threads=1)


@pytest.mark.parametrize("name", METHODS)
def test_a_tensor_without_elements_has_the_range_of_zero(name: Any) -> None:
    import onnx

    made = chain()
    made.graph.node.insert(1, onnx.helper.make_node("Slice", ["flat", "zero", "zero", "one"], ["none"], "slice"))
    made.graph.initializer.extend([initializer("zero", [0], np.int64), initializer("one", [1], np.int64)])
    found = activation_ranges.find(made, X, Method(name, 99.0), 8, threads=1)
    assert found["none"] == (0.0, 0.0)
    assert found["flat"][0] < 0 < found["flat"][1]


@pytest.mark.parametrize("scale", [0.0, 1e-44, 1e-38, 1e30])
@pytest.mark.parametrize("name", METHODS)
def test_tiny_huge_and_constant_values(name: Any, scale: float) -> None:
    found = activation_ranges.find(chain("Relu"), (X * np.float32(scale)), Method(name, 99.0), 8, threads=1)
    assert all(np.isfinite(bounds).all() and bounds[0] <= bounds[1] for bounds in found.values())


def test_memory_bounds_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepared(cnn(), tmp_path)
    expected = activation_ranges.find(made, X, Method("minmax", 99.0), 64, threads=1)
    watched = activation_ranges.Watched(made, 1)
    each = sum(values.nbytes for _, values in watched.values(X[:1], 1))
    monkeypatch.setattr(activation_ranges, "MOST_BYTES", 5 * each)
    assert watched.affordable(X) == 5
    assert activation_ranges.find(made, X, Method("minmax", 99.0), 64, threads=1) == expected
