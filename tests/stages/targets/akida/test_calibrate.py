# environment: akida
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import calibrate, inputs, integers, quantize
from recast.stages.trunk.rewrites import simplify_process
from tests.lib.akida.networks import residual
from tests.lib.onnx_models import CONTRACT, Workplace, cnn, contents, images, write_data


def workplace(root: Path, **params: Any) -> Workplace:
    write_data(root / "data")
    (root / "simplify").mkdir()
    exported = cnn()
    simplify_process.drop_idle_allowzero(exported)
    onnx_files.write_model(exported, root / "simplify" / "model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize", **params)
    return work


def test_makes_an_integer_model_that_takes_stored_samples(tmp_path: Path) -> None:
    metrics = workplace(tmp_path).run(calibrate.STAGE, "calibrate", samples=64)
    assert metrics["layers"] == 3
    made = onnx_files.read_model(tmp_path / "calibrate" / "model.onnx")
    assert made.graph.input[0].type.tensor_type.elem_type == 2  # onnx.TensorProto.UINT8
    assert [node.op_type[:12] for node in made.graph.node] == ["QuantizedInp", "QuantizedDen", "Dequantizer"]
    x, y = images(64, seed=0)
    assert (onnx_files.Session(made, threads=1).run(x).argmax(axis=1) == y).mean() > 0.95


def test_ranges_are_per_channel_and_those_of_the_samples() -> None:
    x = CONTRACT.normalise(images(16, seed=1)[0])
    ranges = integers.activation_ranges(cnn(), x, per_tensor=False, batch_size=5, threads=1)
    assert ranges["image"][0] == pytest.approx([x.min()])
    assert ranges["features"][0].shape == (2,)
    # the second filter copies the pixel under its centre and adds one
    assert ranges["features"][1][1] == pytest.approx(x.max() + 1)
    assert ranges["scores"][0].shape == (1,)
    assert integers.activation_ranges(cnn(), x, True, 5, 1)["features"][0].shape == (1,)


def test_samples_unlike_the_others_need_not_widen_the_ranges() -> None:
    """One of 256 samples is sixteen times as large: all others were left a sixteenth of the steps."""
    network, x = residual(0), CONTRACT.normalise(images(256, seed=0)[0])
    x[0] *= 16
    lowered = inputs.lower("normalised", network, CONTRACT)
    tested = CONTRACT.normalise(images(128, seed=5)[0])
    expected = onnx_files.Session(network, threads=1).run(tested)
    sqnr = {}
    for percentile in (100, 99):
        scheme = integers.Scheme("normalised", "int8", False)
        made, found = integers.integer_model(lowered, x, CONTRACT, scheme, 50, 1, percentile)
        wrong = onnx_files.Session(made, threads=1).run(tested) - expected
        sqnr[percentile] = 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(wrong))
        by_sample = x.reshape(256, -1)
        assert found["image"][1] == pytest.approx([np.percentile(by_sample.max(axis=1), percentile)])
        assert found["image"][0] == pytest.approx([np.percentile(by_sample.min(axis=1), 100 - percentile)])
    assert sqnr[100] < 14 and sqnr[99] > 28


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    """quantizeml orders what it writes by the hash of strings, which differs from process to process."""
    code = (
        "import sys; from pathlib import Path; from tests.stages.targets.akida.test_calibrate import *\n"
        "workplace(Path(sys.argv[1])).run(calibrate.STAGE, 'calibrate', samples=32)"
    )
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], env=environment, check=True)
    for stage in ("quantize", "calibrate"):
        assert contents(tmp_path / "1" / stage) == contents(tmp_path / "2" / stage)


def test_more_samples_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"calibrate\.samples is 128, but there are 64") as caught:
        workplace(tmp_path).run(calibrate.STAGE, "calibrate", samples=128)
    assert caught.value.remedy.startswith("lower calibrate.samples to 64")


def test_unless_told_it_calibrates_on_as_many_samples_as_brainchips_tool(tmp_path: Path) -> None:
    """Those of the data first, then train samples drawn by the seed; fewer where there are no more."""
    import inspect

    from quantizeml.models import quantize as vendors

    assert inspect.signature(vendors).parameters["num_samples"].default == calibrate.SAMPLES == 1024
    work = workplace(tmp_path)
    assert work.run(calibrate.STAGE, "few")["samples"] == 64
    # of all train samples one is brighter than those that calibrate, and is drawn by some seeds only
    x = np.zeros((1500, 1, 8, 8), np.uint8)
    x[7] = 255
    np.savez(tmp_path / "data" / "train.npz", x=x, y=np.zeros(1500, np.int64))
    assert work.run(calibrate.STAGE, "calibrate")["samples"] == 1024
    work.run(calibrate.STAGE, "again")
    assert contents(tmp_path / "calibrate") == contents(tmp_path / "again")
    made = {seed: drawn(tmp_path, seed) for seed in range(8)}
    assert {len(one) for one in made.values()} == {1024}
    assert all((one[:64] == images(64, 1)[0]).all() for one in made.values())
    assert len({(one[64:] == 255).any() for one in made.values()}) == 2
    assert calibrate.chosen_samples(  # what is told is what is taken
        calibrate.CalibrateParams(samples=5), tmp_path / "data", CONTRACT, "stored"
    ).shape == (5, 1, 8, 8)
    np.savez(tmp_path / "data" / "train.npz", x=x[:100], y=np.zeros(100, np.int64))
    assert work.run(calibrate.STAGE, "all")["samples"] == 164


def drawn(root: Path, seed: int) -> Any:
    return calibrate.chosen_samples(calibrate.CalibrateParams(seed=seed), root / "data", CONTRACT, "stored")


def test_no_samples_and_nan_samples(tmp_path: Path) -> None:
    work = workplace(tmp_path, input="normalised")
    labels = np.zeros(4, np.int64)
    np.savez(tmp_path / "data" / "calibration.npz", x=np.zeros((0, 1, 8, 8), np.uint8), y=labels[:0])
    with pytest.raises(StageError, match="the calibration split is empty"):
        work.run(calibrate.STAGE, "calibrate")
    np.savez(tmp_path / "data" / "calibration.npz", x=np.full((4, 1, 8, 8), np.nan, np.float32), y=labels)
    with pytest.raises(StageError, match=r"NaN or infinity \(first at sample 0\)"):
        Workplace(tmp_path).run(calibrate.STAGE, "calibrate2", samples=4)
