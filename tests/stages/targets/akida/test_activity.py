# environment: akida
from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import activity, emit, layer_alone, runtime
from recast.stages.targets.akida.activity import Activity
from tests.lib.akida.calibrated_model import workplace
from tests.lib.akida.networks import NETWORKS, dense, residual
from tests.lib.onnx_models import CONTRACT, images

FOLDED = "ConvBnFusion_W_"
"""what stands before a layer's name where a BatchNorm was folded into it"""


def measured(root: Path, network: Any, **params: Any) -> tuple[runtime.AkidaModel, NDArray[Any], dict[str, Activity]]:
    work = workplace(root, network, **params)
    work.run(emit.STAGE, "emit")
    stored = images(8, seed=4)[0]
    taken = runtime.read_input(root / "emit").prepare(stored, CONTRACT.normalise(stored))
    model = runtime.load(root / "emit" / "model.fbz")
    return model, taken, {one.layer: one for one in activity.measure(model, taken)}


def read_by(model: runtime.AkidaModel, layer: Any, taken: NDArray[Any]) -> NDArray[Any]:
    """What the layer reads, (n, height, width, channels)."""
    (before,) = layer.inbounds
    made: NDArray[Any] = layer_alone.up_to(model.to_dict(), before).forward(taken)
    return made


def done(x: NDArray[Any], kernel: int, stride: int, pads: tuple[int, int], filters: int) -> NDArray[np.int64]:
    """(n,): multiplications by a nonzero value in a convolution over x, counted one by one."""
    padded = np.pad(x != 0, ((0, 0), pads, pads, (0, 0)))
    count = np.zeros(len(x), np.int64)
    for top in range(0, padded.shape[1] - kernel + 1, stride):
        for left in range(0, padded.shape[2] - kernel + 1, stride):
            count += padded[:, top : top + kernel, left : left + kernel].reshape(len(x), -1).sum(axis=1)
    return count * filters


def test_zeros_are_those_of_the_integer_model(tmp_path: Path) -> None:
    _, taken, found = measured(tmp_path, NETWORKS["plain"].make(0))
    integers = onnx_files.read_model(tmp_path / "calibrate" / "model.onnx")
    tensors = {node.name: node.output[0] for node in integers.graph.node}
    compared = 0
    for name, one in found.items():
        if not one.values:
            continue
        only = type(integers)()
        only.CopyFrom(integers)
        (kept,) = [info for info in only.graph.value_info if info.name == tensors[name]]
        del only.graph.output[:]
        only.graph.output.append(kept)
        made = onnx_files.Session(only, 1, "the integer model").run(images(8, seed=4)[0])
        assert one.zeros == pytest.approx((made == 0).mean()), name
        compared += 1
    assert compared == 5 and len(taken) == 8
    # the scores are read by nothing
    assert found["scores"].values == 0 and found["scores"].zeros is None


def test_work_bounds_what_is_counted_one_by_one_and_is_no_more_than_the_macs(tmp_path: Path) -> None:
    model, taken, found = measured(tmp_path, NETWORKS["plain"].make(0))
    layers = {layer.name: layer for layer in model.layers}
    for name, stride, pads in ((f"{FOLDED}conv1", 1, (1, 1)), ("down", 2, (0, 1))):
        counted = done(read_by(model, layers[name], taken), 3, stride, pads, 8)
        assert (counted <= found[name].work).all() and (found[name].work <= found[name].macs).all(), name
        # no more than what the borders take away, which is not counted
        assert found[name].work.max() < 1.5 * counted.max()
    # every weight of a dense layer is used once: what is counted is what is done
    read = read_by(model, layers["fc2"], taken)
    assert (found["fc2"].work == 16 * np.count_nonzero(read.reshape(8, -1), axis=1)).all()
    assert found["fc2"].work.max() < found["fc2"].macs == 256
    # the unit of the input multiplies zeros as well
    assert (found[f"{FOLDED}conv0"].work == found[f"{FOLDED}conv0"].macs).all()


@pytest.mark.parametrize("network", [dense, residual], ids=["dense", "residual"])
def test_models_whose_input_is_quantized_and_that_branch(tmp_path: Path, network: Any) -> None:
    model, _, found = measured(tmp_path, network(0), input="normalised")
    assert sum(one.macs for one in found.values()) == model.macs
    assert all(0 <= one.zeros <= 1 for one in found.values() if one.zeros is not None)
    assert "Quantizer" in {one.type for one in found.values()}


def test_the_table_and_the_metrics_are_of_the_sample_with_most_work(tmp_path: Path) -> None:
    few = [
        Activity("a", "Conv2D", 100, 10, np.array([2, 6]), np.array([100, 100])),
        Activity("b", "Dense1D", 20, 0, np.zeros(0, int), np.array([4, 12])),
    ]
    assert activity.metrics(few) == {
        "activation_sparsity": pytest.approx(0.6),
        "work_at_most": 112,
        "work_at_most_mean": 108.0,
    }
    activity.write(few, tmp_path / "a.csv")
    rows = list(csv.reader((tmp_path / "a.csv").open()))
    assert rows == [
        ["layer", "type", "zeros", "macs", "work_at_most"],
        ["a", "Conv2D", "0.6000", "100", "100"],
        ["b", "Dense1D", "", "20", "12"],
    ]
